//! The steps of the gate, cheapest first.

use crate::bench::counts;
use crate::cargo::{cargo, cargo_once, has_component, run};
use crate::gate::{Outcome, Step};
use crate::miri;
use crate::nostd;
use crate::qemu;

/// All steps, in the order they run.
pub(crate) fn all() -> Vec<Step> {
    vec![
        step("format", "the source is formatted as rustfmt does", || {
            with_component("fmt", "rustfmt", || {
                run(&mut cargo(&["fmt", "--all", "--", "--check"]))
            })
        }),
        step(
            "lints",
            "the compiler and clippy have nothing to say",
            || {
                let arguments = [
                    "clippy",
                    "--workspace",
                    "--all-targets",
                    "--features",
                    "cli/end-to-end",
                    "--",
                    "-D",
                    "warnings",
                ];
                with_component("clippy", "clippy", || run(&mut cargo_once(&arguments)))
            },
        ),
        step(
            "docs",
            "the manual builds, and every link in it leads somewhere",
            || {
                run(cargo_once(&["doc", "--workspace", "--no-deps"])
                    .env("RUSTDOCFLAGS", "-D warnings"))
            },
        ),
        step(
            "no_std",
            "what a kernel links stands without the standard library",
            nostd::check,
        ),
        step("qemu", "there is a QEMU to judge by", qemu::step),
        step(
            "tests",
            "unit, integration and documentation tests, and what the documents name exists",
            // Of the program what is inside it alone, with its assertions: whole runs, of which most are long, are left to
            // the step `end-to-end`. The layer and the models are run with theirs by everything else here.
            || run(&mut cargo_once(&["test", "--workspace"])),
        ),
        step(
            "miri",
            "what needs no board has no undefined behaviour",
            miri::check,
        ),
        step(
            "end-to-end",
            "the program as users build it, on real files",
            || {
                run(&mut cargo(&[
                    "test",
                    "--release",
                    "--package",
                    "cli",
                    "--features",
                    "end-to-end",
                ]))
            },
        ),
        step(
            "counts",
            "no hot path takes more instructions than are recorded",
            counts::step,
        ),
        step(
            "journeys",
            "every journey on every board, and a thousand random steps compared with an oracle",
            || {
                run(&mut cargo(&[
                    "run",
                    "--quiet",
                    "--release",
                    "--package",
                    "cli",
                    // As the step `end-to-end` built it: without, it would be compiled once more.
                    "--features",
                    "end-to-end",
                    "--",
                    "journeys",
                ]))
            },
        ),
    ]
}

fn step(
    name: &'static str,
    purpose: &'static str,
    run: impl FnOnce() -> Outcome + 'static,
) -> Step {
    Step {
        name,
        purpose,
        run: Box::new(run),
    }
}

/// A check that needs a toolchain component is skipped, with the way to get it, where that is missing.
fn with_component(subcommand: &str, component: &str, check: impl FnOnce() -> Outcome) -> Outcome {
    match has_component(subcommand, component) {
        Ok(()) => check(),
        Err(how_to_get_it) => Outcome::Skipped(how_to_get_it),
    }
}
