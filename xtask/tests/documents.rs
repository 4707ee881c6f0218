//! What the documents name exists: paths of ARCHITECTURE.md and of the books, and paths and tests of
//! docs/parity.md. And what must not be missing in them is there: folders, and files with `unsafe` code.
//!
//! Named is what stands in `backquotes` or is the target of a link. It is taken for a path from the root of
//! the repository if it has a slash or a source file's ending, and for a test if it is a path to a file, `::`,
//! and the name of a function: `hosted/tests/platform.rs::ioremap_refuses_ram`.

use std::fs;
use std::path::Path;

/// Endings by which a word without a slash is a path all the same.
const ENDINGS: [&str; 4] = [".rs", ".md", ".toml", ".lock"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

fn read(document: &str) -> String {
    fs::read_to_string(root().join(document)).unwrap_or_else(|error| panic!("{document}: {error}"))
}

/// What a document names, in order.
fn names(text: &str) -> Vec<&str> {
    let mut names = Vec::new();
    let mut in_fence = false;
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            in_fence = !in_fence;
        } else if !in_fence {
            names.extend(line.split('`').skip(1).step_by(2));
            let targets = line
                .split("](")
                .skip(1)
                .filter_map(|rest| rest.split(')').next());
            names.extend(targets.map(|target| target.split('#').next().unwrap_or_default()));
        }
    }
    names
}

/// The path and, behind `::`, the function a name stands for; `None` for what is not a path in the repository.
fn path_of(name: &str) -> Option<(&str, Option<&str>)> {
    let (path, function) = name
        .split_once(".rs::")
        .map_or((name, None), |(path, function)| {
            (&name[..path.len() + ".rs".len()], Some(function))
        });
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
    let outside = path.starts_with(['/', '-']) || path.starts_with("../");
    let looks_like_one = path.contains('/') || ENDINGS.iter().any(|ending| path.ends_with(ending));
    (!path.is_empty() && path.chars().all(plain) && !outside && looks_like_one)
        .then_some((path, function))
}

/// What is wrong with a name, if anything is.
fn mistake(name: &str) -> Option<String> {
    let (path, function) = path_of(name)?;
    let found = root().join(path);
    if !found.exists() {
        return Some(format!("`{path}` does not exist"));
    }
    let function = function?;
    let source = fs::read_to_string(found).unwrap_or_default();
    let test = function.rsplit("::").next().unwrap_or_default();
    // A suite that runs for several types has type parameters.
    let there = ["(", "<"]
        .iter()
        .any(|next| source.contains(&format!("fn {test}{next}")));
    (!there).then(|| format!("`{path}` has no test `{test}`"))
}

fn check(document: &str) {
    let text = read(document);
    let named = names(&text);
    assert!(
        named.iter().any(|name| path_of(name).is_some()),
        "{document} names no path"
    );
    let mistakes: Vec<_> = named.into_iter().filter_map(mistake).collect();
    assert!(
        mistakes.is_empty(),
        "{document}:\n  {}",
        mistakes.join("\n  ")
    );
}

#[test]
fn every_path_architecture_names_exists() {
    check("ARCHITECTURE.md");
}

#[test]
fn every_path_readme_names_exists() {
    check("README.md");
}

#[test]
fn every_path_and_test_the_books_name_exists() {
    check("docs/porting.md");
    check("docs/soundness.md");
    check("docs/performance.md");
}

#[test]
fn every_path_and_test_parity_names_exists() {
    check("docs/parity.md");
    let tests = read("docs/parity.md").matches(".rs::").count();
    assert!(
        tests > 0,
        "docs/parity.md names no test, as `path/file.rs::function`"
    );
}

/// Folders and files below `folder`, a path from the root, in that form.
fn below(folder: &str) -> Vec<String> {
    let entries =
        fs::read_dir(root().join(folder)).unwrap_or_else(|error| panic!("{folder}: {error}"));
    let mut paths = Vec::new();
    for entry in entries {
        let entry = entry.unwrap();
        let path = format!("{folder}/{}", entry.file_name().to_str().unwrap());
        if entry.file_type().unwrap().is_dir() {
            paths.extend(below(&path));
            paths.push(path + "/");
        } else {
            paths.push(path);
        }
    }
    paths
}

#[test]
fn architecture_names_every_folder_of_the_layer_once() {
    let architecture = read("ARCHITECTURE.md");
    let folders = below("dmamap/src")
        .into_iter()
        .filter(|path| path.ends_with('/'));
    let wrong: Vec<_> = folders
        .filter(|folder| architecture.matches(&format!("`{folder}`")).count() != 1)
        .collect();
    assert!(
        wrong.is_empty(),
        "ARCHITECTURE.md does not name once: {wrong:?}"
    );
}

/// Whether a source has unsafe code: outside of comments, and of the unit tests at its end.
fn has_unsafe(source: &str) -> bool {
    let code = source.split("#[cfg(test)]\nmod tests {").next();
    let lines = code.unwrap_or_default().lines();
    lines
        .map(|line| line.split("//").next().unwrap_or_default())
        .any(|line| {
            let mut words = line.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
            words.any(|word| word == "unsafe")
        })
}

#[test]
fn soundness_names_every_file_with_unsafe_code() {
    let soundness = read("docs/soundness.md");
    let crates = [
        "dmamap", "drivers", "journeys", "firmware", "hw", "board", "machine", "qemu", "hosted",
        "cli", "peers",
    ];
    let sources = crates
        .iter()
        .flat_map(|name| below(&format!("{name}/src")))
        .filter(|path| path.ends_with(".rs"))
        .filter(|path| !path.ends_with("/tests.rs") && !path.ends_with("_tests.rs"))
        .filter(|path| !path.contains("/tests/"));
    let missing: Vec<_> = sources
        .filter(|path| has_unsafe(&read(path)))
        .filter(|path| !soundness.contains(&format!("`{path}`")))
        .collect();
    assert!(
        missing.is_empty(),
        "docs/soundness.md does not say what these rest on: {missing:#?}"
    );
    for (source, expected) in [
        ("unsafe { f() }", true),
        ("// unsafe { f() }", false),
        ("fn f(unsafely: u8) {}", false),
        ("#[cfg(test)]\nmod tests {\n    unsafe { f() }", false),
    ] {
        assert_eq!(has_unsafe(source), expected, "{source}");
    }
}

/// The front page of the documentation is compiled and run; the README has an excerpt.
#[test]
fn readme_shows_what_the_front_page_runs() {
    let front = read("dmamap/src/lib.rs");
    let readme = read("README.md");
    let code = |line: &str| {
        line.split("//")
            .next()
            .unwrap_or_default()
            .trim()
            .to_owned()
    };
    let ran: Vec<_> = front
        .lines()
        .filter_map(|line| line.strip_prefix("//! "))
        .map(code)
        .collect();
    let shown = readme
        .split("```rust\n")
        .nth(1)
        .expect("there is an example");
    let shown = shown.split("```").next().unwrap_or_default();
    let other: Vec<_> = shown
        .lines()
        .map(code)
        .filter(|line| !line.is_empty() && !ran.contains(line))
        .collect();
    assert!(shown.lines().count() > 5, "the example is short: {shown}");
    assert!(other.is_empty(), "dmamap/src/lib.rs has no {other:?}");
}

/// Rows that the mapping API must have: of masks, coherent memory, streaming, bounce buffers, some of translation, and all
/// rules.
fn rows_of_the_mapping_api() -> impl Iterator<Item = String> {
    let sections = [("B", 4), ("C", 5), ("D", 7), ("E", 7), ("R", 36)];
    let numbered = sections
        .into_iter()
        .flat_map(|(section, last)| (1..=last).map(move |n| format!("{section}{n}")));
    let others = ["F2", "F4", "F5", "F6", "F8", "I1", "I3", "I6"].map(str::to_owned);
    numbered.chain(others)
}

/// What a row of docs/parity.md lacks to be shown: a test that is there, and a mutation that makes it fail.
fn lacking(parity: &str, id: &str) -> Option<&'static str> {
    let row = parity
        .lines()
        .find(|line| line.starts_with(&format!("| {id} ")));
    let Some(row) = row else {
        return Some("is missing");
    };
    let (tests, mutations) = row.split_once("; broken by ").unwrap_or((row, ""));
    let is_test = |name: &&str| {
        let is_case = name.contains("/compile_fail/") && name.ends_with(".rs");
        is_case || name.contains(".rs::")
    };
    match () {
        () if !names(tests).iter().any(is_test) => Some("names no test"),
        () if mutations.split('*').nth(1).is_none() => Some("names no mutation"),
        () => None,
    }
}

#[test]
fn every_row_of_the_mapping_api_names_a_test_and_a_mutation_that_makes_it_fail() {
    let parity = read("docs/parity.md");
    let mistakes: Vec<_> = rows_of_the_mapping_api()
        .filter_map(|id| Some(format!("{id} {}", lacking(&parity, &id)?)))
        .collect();
    assert!(mistakes.is_empty(), "docs/parity.md: {mistakes:?}");
}

#[test]
fn rows_that_show_nothing_are_told_from_others() {
    let parity = "| R1 whole | type | `a/tests/compile_fail/b.rs`; broken by *c* |\n\
                  | R2 no test | works | `a/src/b.rs`; broken by *c* |\n\
                  | R3 no mutation | works | `a/tests/b.rs::c` |\n\
                  | R4 an empty list | works | `a/tests/b.rs::c`; broken by  |\n";
    for (id, expected) in [
        ("R1", None),
        ("R2", Some("names no test")),
        ("R3", Some("names no mutation")),
        ("R4", Some("names no mutation")),
        ("R5", Some("is missing")),
    ] {
        assert_eq!(lacking(parity, id), expected, "{id}");
    }
}

#[test]
fn every_mutation_parity_names_exists() {
    let folder = root().join("xtask/src/mutants/catalogue");
    let catalogue: String = fs::read_dir(folder)
        .unwrap()
        .map(|file| fs::read_to_string(file.unwrap().path()).unwrap())
        .collect();
    let parity = read("docs/parity.md");
    let lists = parity
        .lines()
        .filter_map(|line| Some(line.split_once("; broken by ")?.1));
    let named = lists.flat_map(|list| list.split('*').skip(1).step_by(2));
    let missing: Vec<_> = named
        .filter(|name| !catalogue.contains(&format!("name: \"{name}\"")))
        .collect();
    assert!(
        missing.is_empty(),
        "docs/parity.md names mutations that do not exist: {missing:?}"
    );
}

#[test]
fn names_are_told_from_other_words() {
    let text = "see `xtask/src/main.rs`, [here](docs/parity.md#a), `map_single`, `a::b`\n```\n`no/where`\n```\n";
    let named = ["xtask/src/main.rs", "map_single", "a::b", "docs/parity.md"];
    assert_eq!(names(text), named);
    for (name, expected) in [
        ("xtask/src/main.rs", Some(("xtask/src/main.rs", None))),
        (
            "a/b.rs::inner::works",
            Some(("a/b.rs", Some("inner::works"))),
        ),
        ("pagetable/", Some(("pagetable/", None))),
        ("Cargo.toml", Some(("Cargo.toml", None))),
        ("map_single", None),
        ("addr::BusAddr", None),
        ("/proc/iomem", None),
        ("--queue-depth", None),
        ("https://docs.rs", None),
        ("cargo xtask test", None),
    ] {
        assert_eq!(path_of(name), expected, "{name}");
    }
}

#[test]
fn mistakes_are_found() {
    assert_eq!(mistake("xtask/src/main.rs"), None);
    assert_eq!(
        mistake("xtask/tests/documents.rs::mistakes_are_found"),
        None
    );
    assert!(mistake("xtask/src/nothing.rs").is_some());
    assert!(mistake("xtask/tests/documents.rs::no_such_test").is_some());
}
