//! The crates a kernel links, linked without the standard library.
//!
//! The package `nostd-check` is such a program, with a panic handler of its own. The standard library brings
//! one too, so that linking it anywhere below is an error of the compiler. That this error would come is shown
//! each time, by a build that asks for it.

use std::path::Path;
use std::process::Command;

use crate::cargo::{capture, cargo_once, run};
use crate::gate::Outcome;

/// Targets that have no standard library at all. Those that are installed are built too.
const BARE_METAL: [&str; 3] = [
    "x86_64-unknown-none",
    "aarch64-unknown-none",
    "riscv64gc-unknown-none-elf",
];

const BUILD: [&str; 5] = ["build", "--package", "nostd-check", "--profile", "nostd"];

/// What the compiler says of two panic handlers.
const TWO_PANIC_HANDLERS: &str = "found duplicate lang item `panic_impl`";

pub(crate) fn check() -> Outcome {
    let installed = installed_targets();
    let checked = builds(&[]).and_then(|()| bites());
    let checked = installed.iter().fold(checked, |checked, target| {
        checked.and_then(|()| builds(&["--target", target]))
    });
    match checked {
        Err(why) => Outcome::Failed(why),
        Ok(()) if installed.is_empty() => Outcome::Passed(format!(
            "for the host; no bare-metal target is installed ({})",
            BARE_METAL.join(", ")
        )),
        Ok(()) => Outcome::Passed(format!("for the host, {}", installed.join(", "))),
    }
}

fn builds(more: &[&str]) -> Result<(), String> {
    match run(cargo_once(&BUILD).args(more)) {
        Outcome::Failed(why) | Outcome::Skipped(why) | Outcome::Absent(why) => Err(why),
        Outcome::Passed(_) => Ok(()),
    }
}

/// The same program with the standard library below it must not build.
fn bites() -> Result<(), String> {
    let output = capture(cargo_once(&BUILD).args(["--features", "std"]))?;
    let said = String::from_utf8_lossy(&output.stderr);
    if output.status.success() {
        return Err("a program that links std passes: the check shows nothing".into());
    }
    if !said.contains(TWO_PANIC_HANDLERS) {
        print!("{said}");
        return Err("a program that links std fails for another reason".into());
    }
    println!("with std linked below it the program does not build, as it must not");
    Ok(())
}

/// Those of [`BARE_METAL`] whose core library is in the toolchain.
fn installed_targets() -> Vec<&'static str> {
    BARE_METAL
        .into_iter()
        .filter(|target| is_installed(target))
        .collect()
}

fn is_installed(target: &str) -> bool {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let printed = Command::new(rustc)
        .args(["--print", "target-libdir", "--target", target])
        .output();
    let directory = printed
        .ok()
        .and_then(|output| String::from_utf8(output.stdout).ok());
    directory.is_some_and(|directory| Path::new(directory.trim()).is_dir())
}
