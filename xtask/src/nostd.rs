//! The crates a kernel links, linked without the standard library.
//!
//! The package `nostd-check` is such a program, with a panic handler of its own. The standard library brings
//! one too, so that linking it anywhere below is an error of the compiler. That this error would come is shown
//! each time, by a build that asks for it.

use crate::cargo::{capture, cargo, run};
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
    for outcome in [builds(&[]), bites()] {
        if !matches!(outcome, Outcome::Passed(_)) {
            return outcome;
        }
    }
    let installed = installed_targets();
    for target in &installed {
        let outcome = builds(&["--target", target]);
        if !matches!(outcome, Outcome::Passed(_)) {
            return outcome;
        }
    }
    Outcome::Passed(match installed.is_empty() {
        true => format!(
            "for the host; no bare-metal target is installed ({})",
            BARE_METAL.join(", ")
        ),
        false => format!("for the host, {}", installed.join(", ")),
    })
}

fn builds(more: &[&str]) -> Outcome {
    run(cargo(&BUILD).args(more))
}

/// The same program with the standard library below it must not build.
fn bites() -> Outcome {
    let output = match capture(cargo(&BUILD).args(["--features", "std"])) {
        Ok(output) => output,
        Err(error) => return Outcome::Failed(error),
    };
    let said = String::from_utf8_lossy(&output.stderr);
    if output.status.success() {
        return Outcome::Failed("a program that links std passes: the check shows nothing".into());
    }
    if !said.contains(TWO_PANIC_HANDLERS) {
        print!("{said}");
        return Outcome::Failed("a program that links std fails for another reason".into());
    }
    println!("with std linked below it the program does not build, as it must not");
    Outcome::Passed(String::new())
}

/// Those of [`BARE_METAL`] whose core library is in the toolchain.
fn installed_targets() -> Vec<&'static str> {
    let printed = |target: &&str| {
        let mut rustc =
            std::process::Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
        let output = rustc
            .args(["--print", "target-libdir", "--target", target])
            .output()
            .ok()?;
        let directory = String::from_utf8(output.stdout).ok()?;
        std::path::Path::new(directory.trim())
            .is_dir()
            .then_some(())
    };
    BARE_METAL
        .into_iter()
        .filter(|target| printed(target).is_some())
        .collect()
}
