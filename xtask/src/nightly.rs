//! The nightly toolchain: what only it can do is checked where it is installed, and absent elsewhere.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::cargo::{capture, root};

/// Its name in rustup.
const TOOLCHAIN: &str = "nightly";

/// A Cargo command of the nightly toolchain, at the workspace's root.
pub(crate) fn cargo(arguments: &[&str]) -> Command {
    let mut command = Command::new("rustup");
    command
        .args(["run", TOOLCHAIN, "cargo"])
        .args(arguments)
        .current_dir(root());
    // What the Cargo that runs this program was told is not meant for another one.
    for name in ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "RUSTC", "CARGO"] {
        command.env_remove(name);
    }
    command
}

/// Whether a Cargo subcommand is there: `Err` says how to get the component that brings it.
pub(crate) fn has(subcommand: &str, component: &str) -> Result<(), String> {
    let found = cargo(&[subcommand, "--version"])
        .output()
        .is_ok_and(|output| output.status.success());
    found.then_some(()).ok_or_else(|| how_to_get(component))
}

/// Whether the standard library for the machine that compiles is there, built: programs for `--target HOST` link it.
pub(crate) fn has_built_library() -> Result<(), String> {
    let of_host =
        |(host, sysroot): (String, PathBuf)| sysroot.join("lib/rustlib").join(host).join("lib");
    let libraries = host().zip(sysroot()).map(of_host);
    let found = libraries.is_some_and(|libraries| holds_std(&libraries));
    found.then_some(()).ok_or_else(|| how_to_get("rust-std"))
}

/// Whether the crate `std` is in `directory`, to be linked statically.
fn holds_std(directory: &Path) -> bool {
    let Ok(entries) = std::fs::read_dir(directory) else {
        return false;
    };
    let mut names = entries.flatten().map(|entry| entry.file_name());
    names.any(|name| {
        let name = name.to_string_lossy();
        name.starts_with("libstd-") && name.ends_with(".rlib")
    })
}

/// Whether the standard library can be built anew: its source is there, and the packages it uses.
pub(crate) fn has_library() -> Result<(), String> {
    let manifest = sysroot()
        .map(|sysroot| sysroot.join("lib/rustlib/src/rust/library/Cargo.toml"))
        .filter(|manifest| manifest.exists())
        .ok_or_else(|| how_to_get("rust-src"))?;
    let fetched = cargo(&["fetch", "--quiet", "--locked", "--manifest-path"])
        .arg(manifest)
        .output()
        .is_ok_and(|output| output.status.success());
    fetched
        .then_some(())
        .ok_or_else(|| "the packages the standard library uses cannot be fetched".into())
}

fn how_to_get(component: &str) -> String {
    format!(
        "it takes a nightly toolchain; get it with: rustup toolchain install {TOOLCHAIN} --component {component}"
    )
}

fn sysroot() -> Option<PathBuf> {
    asked(&["--print", "sysroot"]).map(|answer| PathBuf::from(answer.trim()))
}

/// The target the toolchain builds for by itself.
pub(crate) fn host() -> Option<String> {
    let text = asked(&["-vV"])?;
    let line = text.lines().find_map(|line| line.strip_prefix("host: "))?;
    Some(line.to_owned())
}

fn asked(arguments: &[&str]) -> Option<String> {
    let mut command = Command::new("rustup");
    command.args(["run", TOOLCHAIN, "rustc"]).args(arguments);
    let output = capture(&mut command).ok()?;
    let text = output.status.success().then_some(output.stdout)?;
    String::from_utf8(text).ok()
}
