//! Cargo, run in the workspace.

use std::path::Path;
use std::process::{Command, Output};

use crate::gate::Outcome;

/// The workspace's root.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap_or(Path::new("."))
}

/// A Cargo command at the workspace's root.
pub(crate) fn cargo(arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // Variables of the Cargo that runs this program would be taken for settings of the one started here.
    for (name, _) in std::env::vars_os() {
        let of_a_package = name
            .to_str()
            .is_some_and(|name| name.starts_with("CARGO_PKG_"));
        if of_a_package || name == "CARGO_MANIFEST_DIR" || name == "CARGO_MANIFEST_PATH" {
            command.env_remove(name);
        }
    }
    command.args(arguments).current_dir(root());
    command
}

/// The same where everything is built once, as by the gate: what would make the next build faster costs a quarter of this
/// one. The alias `xtask` leaves it out too, or this program would be built for the tests again.
pub(crate) fn cargo_once(arguments: &[&str]) -> Command {
    let mut command = cargo(arguments);
    command.env("CARGO_INCREMENTAL", "0");
    command
}

/// Runs a command with its output on the terminal.
pub(crate) fn run(command: &mut Command) -> Outcome {
    println!("$ {}", shown(command));
    match command.status() {
        Ok(status) if status.success() => Outcome::Passed(String::new()),
        Ok(status) => Outcome::Failed(format!("`{}`: {status}", shown(command))),
        Err(error) => Outcome::Failed(format!("`{}` cannot be run: {error}", shown(command))),
    }
}

/// Runs a command and collects what it says.
pub(crate) fn capture(command: &mut Command) -> Result<Output, String> {
    println!("$ {}", shown(command));
    command
        .output()
        .map_err(|error| format!("`{}` cannot be run: {error}", shown(command)))
}

/// Whether the Cargo subcommand is there: `Err` says how to get the component that brings it.
pub(crate) fn has_component(subcommand: &str, component: &str) -> Result<(), String> {
    let found = cargo(&[subcommand, "--version"])
        .output()
        .is_ok_and(|output| output.status.success());
    if found {
        return Ok(());
    }
    Err(format!(
        "`cargo {subcommand}` is missing; get it with: rustup component add {component}"
    ))
}

/// A command as one would type it.
pub(crate) fn shown(command: &Command) -> String {
    let program = Path::new(command.get_program())
        .file_name()
        .unwrap_or_default();
    let set = command
        .get_envs()
        .filter_map(|(name, value)| Some((name, value?)));
    let set = set
        .map(|(name, value)| format!("{}={:?} ", name.to_string_lossy(), value.to_string_lossy()));
    let words = std::iter::once(program).chain(command.get_args());
    let words: Vec<_> = words.map(|word| word.to_string_lossy()).collect();
    set.collect::<String>() + &words.join(" ")
}
