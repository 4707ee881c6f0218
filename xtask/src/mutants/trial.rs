//! Running tests within a bound.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::process::{Command, ExitStatus};
use std::thread;
use std::time::{Duration, Instant};

use super::cargo::Program;
use super::mutation::{Target, Test};

/// What the harness says of misuse that compiles.
const COMPILED: &str = "Expected test case to fail to compile, but it succeeded.";

/// How a run of tests ended.
#[derive(Debug)]
pub(super) enum Ending {
    /// All of them passed.
    Passed,
    /// One failed, or took the whole program down; with what was said of it.
    Failed(String),
    /// It had to be killed.
    Hung,
    /// Misuse does not compile for another reason than before; with what was said of it.
    OtherReason(String),
}

/// Runs `tests`, all of which must be there.
pub(super) fn run(program: &Program, tests: &[&Test], bound: Duration) -> Result<Ending, String> {
    let mut names: Vec<String> = tests.iter().map(|test| test.whole_name()).collect();
    names.sort_unstable();
    names.dedup();
    let cases: Vec<&Test> = (tests.iter().copied())
        .filter(|test| test.target == Target::CompileFail)
        .collect();
    for case in &cases {
        let file = format!("tests/compile_fail/{}.rs", case.name);
        if !program.directory.join(&file).exists() {
            return Err(format!("there is no {file} any more"));
        }
    }
    let mut command = Command::new(&program.executable);
    // One at a time: a test that is to notice must not be disturbed by another.
    command
        .args(["--exact", "--test-threads", "1"])
        .args(&names)
        .args((cases.iter()).map(|case| format!("trybuild=compile_fail/{}.rs", case.name)));
    command
        .current_dir(&program.directory)
        .env("RUST_BACKTRACE", "0")
        // As Cargo would: where misuse is compiled follows from these.
        .env("CARGO_MANIFEST_DIR", &program.directory)
        .env("CARGO_TARGET_DIR", &program.artefacts);
    let (status, said) =
        bounded(&mut command, bound).map_err(|error| format!("a test cannot be run: {error}"))?;
    let Some(status) = status else {
        return Ok(Ending::Hung);
    };
    let plural = if names.len() == 1 { "" } else { "s" };
    if !said.contains(&format!("running {} test{plural}\n", names.len())) {
        let names = names.join(", ");
        return Err(format!(
            "not all of these tests are there any more: {names}"
        ));
    }
    Ok(match status.success() {
        true => Ending::Passed,
        false if cases.is_empty() => Ending::Failed(complaint(&said, status)),
        false if said.contains(COMPILED) => Ending::Failed(COMPILED.to_owned()),
        false => Ending::OtherReason(said),
    })
}

/// Exit status, or `None` if it had to be killed, and all output.
fn bounded(command: &mut Command, bound: Duration) -> io::Result<(Option<ExitStatus>, String)> {
    // To a file: a pipe that nobody empties would stop a talkative program.
    let mut output = tempfile::tempfile()?;
    command
        .stdout(output.try_clone()?)
        .stderr(output.try_clone()?);
    let mut child = command.spawn()?;
    let deadline = Instant::now() + bound;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break Some(status);
        }
        if Instant::now() > deadline {
            child.kill()?;
            child.wait()?;
            break None;
        }
        thread::sleep(Duration::from_millis(5));
    };
    Ok((status, text_of(&mut output)?))
}

fn text_of(output: &mut File) -> io::Result<String> {
    output.rewind()?;
    let mut bytes = Vec::new();
    output.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The line after that of the first panic: what was not as it should be.
fn complaint(said: &str, status: ExitStatus) -> String {
    let mut lines = said
        .lines()
        .skip_while(|line| !line.contains("panicked at"));
    match lines.nth(1) {
        Some(line) => line.chars().take(160).collect(),
        None => status.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs tests of this very program.
    fn own(name: &'static str, bound: Duration) -> Result<Ending, String> {
        let directory = std::env::current_dir().unwrap();
        run(
            &Program {
                executable: std::env::current_exe().unwrap(),
                artefacts: directory.join("nowhere"),
                directory,
            },
            &[&Test::library("xtask", name)],
            bound,
        )
    }

    #[test]
    fn a_test_that_passes_is_told_from_one_that_is_not_there() {
        let there = "mutants::edit::tests::layout_and_comments_do_not_matter";
        let bound = Duration::from_secs(60);
        assert!(matches!(own(there, bound), Ok(Ending::Passed)));
        assert!(own("mutants::edit::tests::no_such_test", bound).is_err());
        assert!(matches!(
            own(there, Duration::ZERO),
            Ok(Ending::Hung | Ending::Passed)
        ));
    }

    #[test]
    fn the_complaint_is_what_the_panic_said() {
        use std::os::unix::process::ExitStatusExt;
        let said = "thread 'main' panicked at a.rs:1:2:\nassertion failed: x\n  left: 1\n";
        assert_eq!(
            complaint(said, ExitStatus::from_raw(0x100)),
            "assertion failed: x"
        );
        assert_eq!(
            complaint("", ExitStatus::from_raw(6)),
            "signal: 6 (SIGABRT)"
        );
    }
}
