//! What paths took when somebody last looked at it and was content: a file of the repository, and the comparison with it.
//!
//! A line for each path, the instructions and the name; what begins with `#` says what is counted.

use std::fmt::Write;

use super::Count;

/// How much more than recorded a path may take, in parts of 1000: other processors have other copies of `memcpy`.
const TOLERANCE_PER_MILLE: f64 = 50.0;

/// What stands before the counts.
const HEAD: &str = "\
# Instructions of the hot paths, one round of each: cargo xtask bench --counts --record
# docs/performance.md says what is counted and what is not.
";

/// The file's text.
pub(super) fn text(counts: &[Count]) -> String {
    let mut text = HEAD.to_owned();
    for count in counts {
        let _ = writeln!(text, "{:>9.1}  {}", count.instructions, count.path);
    }
    text
}

/// What a file says.
///
/// # Errors
/// The first line that says nothing.
pub(super) fn parse(text: &str) -> Result<Vec<Count>, String> {
    let lines = text.lines().map(str::trim);
    let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    let one = |line: &str| {
        let (instructions, path) = line.split_once("  ")?;
        let instructions: f64 = instructions.trim().parse().ok()?;
        Some(Count {
            path: path.trim().to_owned(),
            instructions,
        })
    };
    lines
        .map(|line| one(line).ok_or_else(|| format!("what count is {line:?}?")))
        .collect()
}

/// How two sets of counts compare.
#[derive(Debug, Default)]
pub(super) struct Comparison {
    /// A line for each path that takes more than it may, or is in one set alone.
    pub(super) worse: Vec<String>,
    /// A line for each path that takes so much less that it should be recorded.
    pub(super) better: Vec<String>,
}

/// Compares what was counted with what was recorded.
pub(super) fn compare(recorded: &[Count], counted: &[Count]) -> Comparison {
    let mut comparison = Comparison::default();
    for now in counted {
        let Some(then) = recorded.iter().find(|count| count.path == now.path) else {
            let line = format!(
                "{}: {:.1}, and none is recorded",
                now.path, now.instructions
            );
            comparison.worse.push(line);
            continue;
        };
        let per_mille = (now.instructions - then.instructions) * 1000.0 / then.instructions;
        let line = format!(
            "{}: {:.1} instructions, recorded are {:.1} ({:+.1} %)",
            now.path,
            now.instructions,
            then.instructions,
            per_mille / 10.0
        );
        // A count that is no number compares as neither: it may not pass.
        match per_mille {
            small if small.abs() <= TOLERANCE_PER_MILLE => {}
            less if less < 0.0 => comparison.better.push(line),
            _ => comparison.worse.push(line),
        }
    }
    for then in recorded {
        if !counted.iter().any(|count| count.path == then.path) {
            let line = format!("{}: recorded, and not counted any more", then.path);
            comparison.worse.push(line);
        }
    }
    comparison
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(path: &str, instructions: f64) -> Count {
        let path = path.into();
        Count { path, instructions }
    }

    #[test]
    fn what_is_written_is_read_again() {
        let counts = [
            count("iova pair 4K", 491.0),
            count("map, unmap 64K", 5545.8),
        ];
        let text = text(&counts);
        assert!(text.contains("    491.0  iova pair 4K\n"), "{text}");
        assert_eq!(parse(&text).unwrap(), counts);
        assert!(parse("491.0").is_err() && parse("many  iova pair 4K").is_err());
    }

    #[test]
    fn a_path_that_takes_more_than_it_may_is_told_with_both_numbers() {
        let recorded = [count("a", 100.0), count("b", 100.0)];
        let comparison = compare(&recorded, &[count("a", 105.0), count("b", 105.1)]);
        assert_eq!(comparison.worse.len(), 1, "{comparison:?}");
        let line = &comparison.worse[0];
        assert!(
            line.contains("b: 105.1") && line.contains("100.0"),
            "{line}"
        );
        assert!(comparison.better.is_empty());
    }

    #[test]
    fn a_path_that_takes_less_passes_and_is_told() {
        let comparison = compare(&[count("a", 100.0)], &[count("a", 94.0)]);
        assert!(comparison.worse.is_empty());
        assert_eq!(comparison.better.len(), 1);
    }

    #[test]
    fn paths_of_one_set_alone_do_not_pass() {
        let comparison = compare(&[count("gone", 1.0)], &[count("new", 1.0)]);
        assert_eq!(comparison.worse.len(), 2, "{comparison:?}");
        let doctored = [count("a", 0.0), count("b", f64::NAN)];
        let counted = [count("a", 10.0), count("b", 10.0)];
        assert_eq!(compare(&doctored, &counted).worse.len(), 2);
    }
}
