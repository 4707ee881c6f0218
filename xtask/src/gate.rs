//! Runs steps one after the other, all of them, and sums up.

use std::process::ExitCode;
use std::time::{Duration, Instant};

/// One thing to check.
pub(crate) struct Step {
    /// A short name, to run it alone.
    pub(crate) name: &'static str,
    /// What it shows.
    pub(crate) purpose: &'static str,
    /// Does it.
    pub(crate) run: Box<dyn FnOnce() -> Outcome>,
}

/// What became of a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It holds; with a remark on how far, perhaps.
    Passed(String),
    /// It does not, and why.
    Failed(String),
    /// It could not be checked, and what would make it possible.
    Skipped(String),
    /// As `Skipped`, for want of a tool that is not part of the toolchain the project builds with: it fails nowhere,
    /// and is told of everywhere.
    Absent(String),
}

/// Whether a step that could not run lets the gate pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Skips {
    Tolerated,
    Fail,
}

/// Runs `steps`, or those whose name contains one of `only`; fails unless all pass.
pub(crate) fn run(steps: Vec<Step>, only: &[String]) -> ExitCode {
    let skips = match std::env::var("CI").as_deref() {
        Ok("true" | "1") => Skips::Fail,
        _ => Skips::Tolerated,
    };
    let wanted = |step: &Step| only.is_empty() || only.iter().any(|name| step.name.contains(name));
    let steps: Vec<Step> = steps.into_iter().filter(wanted).collect();
    if steps.is_empty() {
        println!(
            "no step is called {}: see `cargo xtask test --list`",
            only.join(" or ")
        );
        return ExitCode::from(2);
    }
    let count = steps.len();
    let mut results = Vec::new();
    for (index, step) in steps.into_iter().enumerate() {
        println!(
            "\n==== [{}/{count}] {}: {}",
            index + 1,
            step.name,
            step.purpose
        );
        let start = Instant::now();
        let outcome = (step.run)();
        println!("---- {}: {}", step.name, describe(&outcome));
        results.push((step.name, outcome, start.elapsed()));
    }
    let summary = Summary::new(&results, skips);
    print!("\n{}", summary.text);
    if summary.passes {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

struct Summary {
    text: String,
    passes: bool,
}

impl Summary {
    /// A line per step, a verdict as `cargo test` words it, and the counts alone on the last line.
    fn new(results: &[(&str, Outcome, Duration)], skips: Skips) -> Self {
        let mut text = String::from("==== summary\n");
        let (mut passed, mut failed, mut skipped) = (0, 0, 0);
        for (name, outcome, took) in results {
            let counted = match (outcome, skips) {
                (Outcome::Passed(_), _) => &mut passed,
                (Outcome::Failed(_), _) | (Outcome::Skipped(_), Skips::Fail) => &mut failed,
                (Outcome::Skipped(_), Skips::Tolerated) | (Outcome::Absent(_), _) => &mut skipped,
            };
            *counted += 1;
            text += &format!(
                "{name:12} {:7.1} s  {}\n",
                took.as_secs_f32(),
                describe(outcome)
            );
        }
        if skips == Skips::Fail
            && results
                .iter()
                .any(|(_, outcome, _)| matches!(outcome, Outcome::Skipped(_)))
        {
            text += "With CI=true a skipped step counts as failed.\n";
        }
        for (name, outcome, _) in results {
            if let Outcome::Absent(how_to_get_it) = outcome {
                text += &format!("Not checked here: {name}. {how_to_get_it}\n");
            }
        }
        let passes = failed == 0;
        let verdict = if passes { "ok" } else { "FAILED" };
        text += &format!(
            "\ngate result: {verdict}. {passed} passed; {failed} failed; {skipped} skipped\n"
        );
        text += &format!("{passed} passed, {failed} failed, {skipped} skipped\n");
        Self { text, passes }
    }
}

fn describe(outcome: &Outcome) -> String {
    let (verdict, remark) = match outcome {
        Outcome::Passed(remark) => ("passed", remark),
        Outcome::Failed(reason) => ("FAILED", reason),
        Outcome::Skipped(reason) | Outcome::Absent(reason) => ("SKIPPED", reason),
    };
    if remark.is_empty() {
        verdict.into()
    } else {
        format!("{verdict}: {remark}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(outcomes: &[Outcome], skips: Skips, last_line: &str, passes: bool) {
        let results: Vec<_> = outcomes
            .iter()
            .map(|outcome| ("step", outcome.clone(), Duration::ZERO))
            .collect();
        let summary = Summary::new(&results, skips);
        assert_eq!(summary.text.lines().last(), Some(last_line));
        assert_eq!(summary.passes, passes);
    }

    #[test]
    fn a_skip_fails_the_gate_only_where_all_must_run() {
        let passed = Outcome::Passed(String::new());
        let failed = Outcome::Failed("because".into());
        let skipped = Outcome::Skipped("no tool".into());
        check(
            &[passed.clone(), passed.clone()],
            Skips::Fail,
            "2 passed, 0 failed, 0 skipped",
            true,
        );
        let one_skip = [passed.clone(), skipped];
        check(
            &one_skip,
            Skips::Tolerated,
            "1 passed, 0 failed, 1 skipped",
            true,
        );
        check(
            &one_skip,
            Skips::Fail,
            "1 passed, 1 failed, 0 skipped",
            false,
        );
        check(
            &[failed, passed],
            Skips::Tolerated,
            "1 passed, 1 failed, 0 skipped",
            false,
        );
    }

    #[test]
    fn a_check_whose_tool_is_absent_fails_nowhere_and_is_told_of() {
        let absent = Outcome::Absent("rustup toolchain install nightly".into());
        for skips in [Skips::Fail, Skips::Tolerated] {
            check(
                &[Outcome::Passed(String::new()), absent.clone()],
                skips,
                "1 passed, 0 failed, 1 skipped",
                true,
            );
        }
        let results = [("miri", absent, Duration::ZERO)];
        let text = Summary::new(&results, Skips::Fail).text;
        assert!(text.contains("Not checked here: miri. rustup toolchain install nightly"));
        assert!(!text.contains("counts as failed"));
    }
}
