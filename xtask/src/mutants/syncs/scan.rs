//! Finding the calls in the source.

use std::fmt;
use std::fs;
use std::ops::Range;
use std::path::Path;

use super::super::mutation::Test;
use super::blank::{blanked, closing, find, opening};
use super::guards::guards;
use super::rules::{Arguments, Becomes, RULES, Rule};

/// One call that can be deleted.
#[derive(Debug)]
pub(super) struct Site {
    /// The file, from the workspace's root.
    pub(super) file: String,
    /// The line of the method's name, for people.
    line: usize,
    /// The function around it.
    function: String,
    /// The call without its arguments and layout; the second of two that are alike in a function ends in `#2`.
    call: String,
    rule: &'static Rule,
    /// Where the expression is, from its receiver on.
    expression: Range<usize>,
    /// Where the method's name is.
    method: Range<usize>,
    /// What is between its parentheses.
    arguments: Range<usize>,
}

impl Site {
    /// What it is called in the list of exceptions: stays when lines move.
    pub(super) fn key(&self) -> String {
        format!("{} {} {}", self.file, self.function, self.call)
    }

    /// The tests that have to notice when it is gone.
    pub(super) fn guards(&self) -> Vec<&'static Test> {
        guards(&self.file, self.rule.kind)
    }

    /// `source` without the call.
    pub(super) fn delete(&self, source: &str) -> String {
        let (range, text) = match self.rule.becomes {
            Becomes::Method(counterpart) => (&self.method, counterpart.to_owned()),
            Becomes::Nothing => {
                let arguments = &source[self.arguments.clone()];
                (&self.expression, format!("{{ let _ = ({arguments}); }}"))
            }
        };
        [&source[..range.start], &text, &source[range.end..]].concat()
    }
}

impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            file,
            line,
            function,
            call,
            ..
        } = self;
        write!(f, "{file}:{line} {function} {call}")
    }
}

/// All sites of the source at `root`.
pub(super) fn sites(root: &Path) -> Result<Vec<Site>, String> {
    let mut files = Vec::new();
    let mut directories: Vec<_> = RULES.iter().flat_map(|rule| rule.within).collect();
    directories.sort_unstable();
    directories.dedup();
    for directory in directories {
        list(root, &root.join(directory), &mut files).map_err(|error| error.to_string())?;
    }
    files.sort();
    let mut found = Vec::new();
    for file in files {
        let source = fs::read_to_string(root.join(&file)).map_err(|e| format!("{file}: {e}"))?;
        found.extend(sites_of(&file, &source));
    }
    Ok(found)
}

/// Files with source that is no test, from `root` on.
fn list(root: &Path, directory: &Path, files: &mut Vec<String>) -> std::io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let (path, kind) = entry.and_then(|entry| Ok((entry.path(), entry.file_type()?)))?;
        let name = path.to_string_lossy();
        if kind.is_dir() {
            list(root, &path, files)?;
        } else if name.ends_with(".rs") && !name.ends_with("tests.rs") {
            let from_root = path.strip_prefix(root).unwrap_or(&path);
            files.push(from_root.to_string_lossy().into_owned());
        }
    }
    Ok(())
}

fn sites_of(file: &str, source: &str) -> Vec<Site> {
    let code = blanked(source);
    let mut found: Vec<Site> = Vec::new();
    let mut at = 0;
    while let Some(open) = find(&code, at, b"(") {
        at = open + 1;
        let Some(mut site) = site_at(file, source, &code, open) else {
            continue;
        };
        let same =
            |other: &&Site| (&other.function, first(&other.call)) == (&site.function, &site.call);
        let alike = found.iter().filter(same).count();
        if alike > 0 {
            site.call = format!("{}#{}", site.call, alike + 1);
        }
        found.push(site);
    }
    found
}

/// A call as the first of its kind is called.
fn first(call: &str) -> &str {
    call.split('#').next().unwrap_or(call)
}

/// The call whose arguments begin at `open`, if a rule knows it.
fn site_at(file: &str, source: &str, code: &[u8], open: usize) -> Option<Site> {
    let method = word_before(code, open);
    let dot = before_space(code, method.start).checked_sub(1)?;
    let close = closing(code, open)?;
    let count = count_arguments(&code[open + 1..close]);
    let rule = RULES.iter().find(|rule| {
        rule.call.as_bytes() == &code[method.clone()]
            && code[dot] == b'.'
            && rule
                .within
                .iter()
                .any(|directory| file.starts_with(directory))
            && match rule.arguments {
                Arguments::Any => true,
                Arguments::Exactly(wanted) => wanted == count,
            }
    })?;
    let start = start_of_receiver(code, dot);
    let call = std::str::from_utf8(&code[start..method.end]).ok()?;
    Some(Site {
        file: file.to_owned(),
        line: source[..method.start].lines().count(),
        function: function_around(code, start)?,
        call: call.split_whitespace().collect(),
        rule,
        expression: start..close + 1,
        method,
        arguments: open + 1..close,
    })
}

/// Where the expression before the dot begins.
fn start_of_receiver(code: &[u8], dot: usize) -> usize {
    let mut start = dot;
    loop {
        let mut end = before_space(code, start);
        while end > 0 && code[end - 1] == b'?' {
            end = before_space(code, end - 1);
        }
        let mut begin = end;
        while begin > 0 && matches!(code[begin - 1], b')' | b']') {
            match opening(code, begin - 1) {
                Some(open) => begin = open,
                None => return start,
            }
        }
        // Type arguments of a call.
        if begin != end && begin > 0 && code[begin - 1] == b'>' {
            while begin > 0 && code[begin - 1] != b'<' {
                begin -= 1;
            }
            begin = begin.saturating_sub(1);
            while begin > 0 && code[begin - 1] == b':' {
                begin -= 1;
            }
        }
        begin = word_before(code, begin).start;
        if begin == end {
            return start;
        }
        start = begin;
        let link = before_space(code, begin);
        match link {
            _ if code[..link].ends_with(b".") => start = link - 1,
            _ if code[..link].ends_with(b"::") => start = link - 2,
            _ => return start,
        }
    }
}

fn word_before(code: &[u8], end: usize) -> Range<usize> {
    let is_letter = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
    let letters = code[..end].iter().rev().take_while(|byte| is_letter(byte));
    end - letters.count()..end
}

fn before_space(code: &[u8], end: usize) -> usize {
    let spaces = code[..end].iter().rev();
    end - spaces.take_while(|byte| byte.is_ascii_whitespace()).count()
}

/// How many expressions are separated by commas.
fn count_arguments(arguments: &[u8]) -> usize {
    let (mut depth, mut count, mut is_begun) = (0_i32, 0, false);
    for byte in arguments {
        match byte {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth -= 1,
            b',' if depth == 0 => {
                count += usize::from(is_begun);
                is_begun = false;
                continue;
            }
            _ => {}
        }
        is_begun |= !byte.is_ascii_whitespace();
    }
    count + usize::from(is_begun)
}

/// The name of the function that begins last before `at`.
fn function_around(code: &[u8], at: usize) -> Option<String> {
    let text = std::str::from_utf8(&code[..at]).ok()?;
    let (_, after) = text.rsplit_once("fn ")?;
    let is_letter = |one: char| one.is_alphanumeric() || one == '_';
    Some(after.chars().take_while(|&one| is_letter(one)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(source: &str) -> Vec<Site> {
        sites_of("drivers/src/here.rs", source)
    }

    #[test]
    fn a_call_is_deleted_with_its_receiver_or_replaced_by_its_counterpart() {
        let source = "fn f() { self.memory\n  .platform() // .dma_mb()\n  .dma_rmb();\n let x = a::<u8>(1)?.status.read(); }";
        let sites = found(source);
        let names: Vec<_> = sites.iter().map(|site| site.call.as_str()).collect();
        assert_eq!(
            names,
            ["self.memory.platform().dma_rmb", "a::<u8>(1)?.status.read"]
        );
        assert!(
            sites[0]
                .delete(source)
                .starts_with("fn f() { { let _ = (); };")
        );
        assert!(
            sites[1]
                .delete(source)
                .ends_with("a::<u8>(1)?.status.read_relaxed(); }")
        );
    }

    #[test]
    fn alike_calls_are_numbered_and_others_are_not_sites() {
        let source = "fn f() { x.write(1); x.write(2); x.write(3, 4); read(); fn dma_wmb(&self) {} }\nfn g() { x.write(5,); }";
        let keys: Vec<_> = found(source).iter().map(Site::key).collect();
        let wanted = ["f x.write", "f x.write#2", "g x.write"];
        assert_eq!(keys, wanted.map(|key| format!("drivers/src/here.rs {key}")));
    }
}
