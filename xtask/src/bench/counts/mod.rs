//! `cargo xtask bench --counts`: how many instructions the hot paths take, and whether that is more than it was.
//!
//! - [`callgrind`] counts them in the program `counts`
//! - [`record`] is the file they are recorded in, and how they may differ from it
//!
//! Instructions are the same on a busy machine as on an idle one, so that a gate can hold on to them.

mod callgrind;
mod record;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde_json::json;

use crate::cargo::{cargo, root};
use crate::gate::Outcome;
use crate::valgrind::{Network, Valgrind};
use record::Comparison;

/// Where counts are recorded, below the root.
const RECORD: &str = "docs/instructions.txt";

/// What one round of a path takes.
#[derive(Clone, Debug, PartialEq)]
struct Count {
    path: String,
    instructions: f64,
}

/// What becomes of the counts, beside being printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Nothing.
    Print,
    /// They are compared with the record.
    Check,
    /// They are the record.
    Record,
}

/// How they are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// For people.
    Table,
    /// An array of objects.
    Json,
}

/// Counts the paths whose name contains `only`.
pub(super) fn run(only: Option<&str>, purpose: Purpose, form: Form, network: Network) -> ExitCode {
    match counted(only, network).and_then(|counts| finish(&counts, only, purpose, form)) {
        Ok(Comparison { worse, better }) => {
            better.iter().for_each(|line| eprintln!("less: {line}"));
            worse.iter().for_each(|line| eprintln!("MORE: {line}"));
            match worse.is_empty() {
                true => ExitCode::SUCCESS,
                false => ExitCode::FAILURE,
            }
        }
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}

/// The gate's step: no path takes more than is recorded.
pub(crate) fn step() -> Outcome {
    if cfg!(not(all(target_os = "linux", target_arch = "x86_64"))) {
        return Outcome::Absent("What is recorded was counted on x86-64, under Linux.".into());
    }
    if let Err(why) = Valgrind::find_or_get(Network::Allowed) {
        return Outcome::Skipped(why);
    }
    match counted(None, Network::Allowed)
        .and_then(|counts| finish(&counts, None, Purpose::Check, Form::Table))
    {
        Ok(Comparison { worse, better }) if worse.is_empty() => {
            Outcome::Passed(match better.len() {
                0 => String::new(),
                count => format!(
                    "{count} paths take less than is recorded: cargo xtask bench --counts --record"
                ),
            })
        }
        Ok(Comparison { worse, .. }) => Outcome::Failed(worse.join("\n")),
        Err(why) => Outcome::Failed(why),
    }
}

fn counted(only: Option<&str>, network: Network) -> Result<Vec<Count>, String> {
    let valgrind = Valgrind::find_or_get(network)?;
    let program = program()?;
    let folder = root().join("target").join("counts");
    // Profiles of an earlier run are nobody's.
    crate::debian::remove(&folder)?;
    crate::debian::make(&folder)?;
    let arguments: Vec<&str> = only.map(|text| vec!["--only", text]).unwrap_or_default();
    callgrind::count(&valgrind, &program, &arguments, &folder)
}

/// Builds the program, and says where it is.
fn program() -> Result<PathBuf, String> {
    let build = ["build", "--quiet", "--release", "--package", "counts"];
    let mut command = cargo(&build);
    command.arg("--message-format=json-render-diagnostics");
    command.stderr(std::process::Stdio::inherit());
    let output = command.output();
    let output = output.map_err(|error| format!("cargo cannot be run: {error}"))?;
    if !output.status.success() {
        return Err(format!("cargo build of counts: {}", output.status));
    }
    let said = String::from_utf8_lossy(&output.stdout);
    executable(&said).ok_or_else(|| "cargo does not say where the program is".into())
}

/// The executable that Cargo's messages name.
fn executable(messages: &str) -> Option<PathBuf> {
    let message = |line: &str| serde_json::from_str::<serde_json::Value>(line).ok();
    let named = |message: serde_json::Value| Some(message["executable"].as_str()?.into());
    messages
        .lines()
        .filter_map(message)
        .filter_map(named)
        .next_back()
}

fn finish(
    counts: &[Count],
    only: Option<&str>,
    purpose: Purpose,
    form: Form,
) -> Result<Comparison, String> {
    match form {
        Form::Json => println!("{}", as_json(counts)),
        Form::Table => {
            for count in counts {
                println!("{:>9.1}  {}", count.instructions, count.path);
            }
        }
    }
    let path = root().join(RECORD);
    match purpose {
        Purpose::Print => Ok(Comparison::default()),
        Purpose::Check => check(&path, only, counts),
        Purpose::Record => {
            crate::debian::write(&path, &record::text(counts))?;
            Ok(Comparison::default())
        }
    }
}

/// Compares with the record at `path`, as far as `only` asks.
fn check(path: &Path, only: Option<&str>, counts: &[Count]) -> Result<Comparison, String> {
    let text = fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let mut recorded = record::parse(&text)?;
    recorded.retain(|count| only.is_none_or(|text| count.path.contains(text)));
    Ok(record::compare(&recorded, counts))
}

fn as_json(counts: &[Count]) -> serde_json::Value {
    let one = |count: &Count| json!({ "path": count.path, "instructions": count.instructions });
    counts.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_is_where_cargo_says() {
        let messages = concat!(
            "{\"reason\":\"compiler-artifact\",\"executable\":null}\n",
            "{\"reason\":\"compiler-artifact\",\"executable\":\"/t/counts\"}\n",
            "{\"reason\":\"build-finished\",\"success\":true}\n"
        );
        assert_eq!(executable(messages), Some("/t/counts".into()));
        assert_eq!(executable("{}\n"), None);
    }

    #[test]
    fn a_doctored_record_is_found_out() {
        let recorded = fs::read_to_string(root().join(RECORD)).unwrap();
        let counts = record::parse(&recorded).unwrap();
        assert!(counts.len() > 10, "the paths are recorded");
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("instructions.txt");
        fs::write(&path, &recorded).unwrap();
        assert!(check(&path, None, &counts).unwrap().worse.is_empty());
        // As if all had been less once.
        let less = counts.iter().map(|count| Count {
            instructions: count.instructions * 0.9,
            ..count.clone()
        });
        let doctored = record::text(&less.collect::<Vec<_>>());
        fs::write(&path, doctored).unwrap();
        assert_eq!(
            check(&path, None, &counts).unwrap().worse.len(),
            counts.len()
        );
        let iova: Vec<_> = counts
            .iter()
            .filter(|count| count.path.contains("iova"))
            .cloned()
            .collect();
        assert_eq!(
            check(&path, Some("iova"), &iova).unwrap().worse.len(),
            iova.len()
        );
        assert!(check(&folder.path().join("none"), None, &counts).is_err());
    }

    #[test]
    fn json_names_each_path() {
        let counts = [Count {
            path: "a".into(),
            instructions: 1.5,
        }];
        assert_eq!(
            as_json(&counts),
            json!([{ "path": "a", "instructions": 1.5 }])
        );
    }
}
