//! Building the copy's test programs.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

use super::mutation::Test;

/// A test program that is built, and where Cargo would run it.
#[derive(Clone)]
pub(super) struct Program {
    pub(super) executable: PathBuf,
    pub(super) directory: PathBuf,
    /// Where it builds, if it builds something itself.
    pub(super) artefacts: PathBuf,
}

/// Builds the program that `test` is in.
///
/// # Errors
/// If it does not build: what the compiler says.
pub(super) fn build(tree: &Path, artefacts: &Path, test: &Test) -> Result<Program, String> {
    let mut command = crate::cargo::cargo(&["test", "--no-run", "--message-format", "json"]);
    command
        .args(["--package", test.package, "--all-features"])
        .current_dir(tree)
        .env("CARGO_TARGET_DIR", artefacts)
        // Nobody debugs a mutant, and programs without it are linked in half the time.
        .env("CARGO_PROFILE_DEV_DEBUG", "0")
        .env_remove("CARGO_ENCODED_RUSTFLAGS");
    match test.target.program() {
        None => command.arg("--lib"),
        Some(program) => command.args(["--test", program]),
    };
    let output = run(&mut command)?;
    let messages = String::from_utf8_lossy(&output.stdout);
    let messages: Vec<Value> = messages
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect();
    if !output.status.success() {
        let rendered = messages
            .iter()
            .filter_map(|message| message["message"]["rendered"].as_str());
        let errors: String = rendered.filter(|text| text.starts_with("error")).collect();
        let complaint = String::from_utf8_lossy(&output.stderr);
        return Err(format!(
            "{errors}{}",
            if errors.is_empty() { &complaint } else { "" }
        ));
    }
    let executable = messages.iter().rev().find_map(|message| {
        let is_test = message["profile"]["test"] == true;
        is_test
            .then(|| message["executable"].as_str().map(PathBuf::from))
            .flatten()
    });
    let executable = executable.ok_or_else(|| format!("Cargo built no program for {test}"))?;
    Ok(Program {
        executable,
        directory: tree.join(test.package),
        artefacts: artefacts.to_owned(),
    })
}

fn run(command: &mut Command) -> Result<Output, String> {
    command
        .output()
        .map_err(|error| format!("Cargo cannot be run: {error}"))
}
