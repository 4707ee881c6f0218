//! Finding the text that a mutation replaces.

use super::mutation::Mutation;

/// `source` with the mutation in it.
///
/// # Errors
/// If what it replaces does not occur exactly once.
pub(super) fn apply(mutation: &Mutation, source: &str) -> Result<String, String> {
    let Mutation {
        name,
        file,
        find,
        replace,
        ..
    } = mutation;
    let places = occurrences(source, find);
    match places.as_slice() {
        [place] => {
            let (before, after) = (&source[..place.start], &source[place.end..]);
            Ok([before, replace, after].concat())
        }
        others => Err(format!(
            "mutation {name}: its text occurs {} times in {file}, not once. \
             The source moved: update this mutation",
            others.len()
        )),
    }
}

/// Where `text` occurs in `source`, whatever its layout, which is the formatter's, and its comments.
fn occurrences(source: &str, text: &str) -> Vec<std::ops::Range<usize>> {
    let (source, text) = (significant(source), significant(text));
    if text.is_empty() || text.len() > source.len() {
        return Vec::new();
    }
    let same = |window: &[(usize, char)]| {
        window
            .iter()
            .zip(&text)
            .all(|(one, other)| one.1 == other.1)
    };
    let matching = source.windows(text.len()).filter(|window| same(window));
    let range = |window: &[(usize, char)]| {
        let (last, character) = window[window.len() - 1];
        window[0].0..last + character.len_utf8()
    };
    matching.map(range).collect()
}

/// The characters that matter with their offsets: no space, no comma that only ends a list, no line that is all
/// comment.
fn significant(text: &str) -> Vec<(usize, char)> {
    let mut dense = Vec::new();
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        if !line.trim_start().starts_with("//") {
            let characters = line.char_indices().filter(|(_, one)| !one.is_whitespace());
            dense.extend(characters.map(|(at, one)| (start + at, one)));
        }
        start += line.len();
    }
    let ends_list = |n: usize| {
        dense[n].1 == ','
            && dense
                .get(n + 1)
                .is_some_and(|next| matches!(next.1, ')' | ']' | '}'))
    };
    (0..dense.len())
        .filter(|&n| !ends_list(n))
        .map(|n| dense[n])
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::mutation::Selection;
    use super::*;

    fn mutation(find: &'static str, replace: &'static str) -> Mutation {
        Mutation {
            name: "test",
            selection: Selection::Whole,
            file: "file.rs",
            find,
            replace,
            why: "",
            caught_by: &[],
        }
    }

    #[test]
    fn layout_and_comments_do_not_matter() {
        let source = "fn f() {\n    call(\n        // First.\n        one,\n        two,\n    );\n    after();\n}\n";
        let edited = apply(&mutation("call(one, two);", "other();"), source);
        assert_eq!(edited.unwrap(), "fn f() {\n    other();\n    after();\n}\n");
    }

    #[test]
    fn text_that_is_gone_or_there_twice_is_an_error() {
        for (source, times) in [("b();", "0 times"), ("a(); b(); a ();", "2 times")] {
            let error = apply(&mutation("a();", ""), source).unwrap_err();
            assert!(
                error.contains(times) && error.contains("update this mutation"),
                "{error}"
            );
        }
    }

    #[test]
    fn what_is_left_out_leaves_the_rest_as_it_was() {
        let edited = apply(&mutation("ü();", ""), "a(); ü(); b();");
        assert_eq!(edited.unwrap(), "a();  b();");
    }
}
