//! `cargo xtask test`: the whole gate. `cargo xtask soak`: the same for hours.
//!
//! - [`gate`] runs steps and counts them; [`steps`] says what they are
//! - [`nostd`] shows that the crates a kernel links stand without the standard library
//! - [`mutants`] breaks the source, and shows that the tests notice; by rules too: each sync and barrier
//! - [`qemu`] finds or gets the QEMU whose models are a board
//! - [`bench`] measures the layer beside what others have, and counts its instructions with [`valgrind`]; [`debian`] is where
//!   QEMU, Linux's sources and Valgrind come from
//! - [`sanitizers`] and [`miri`] watch tests run, with what the [`nightly`] toolchain has
//! - [`soak`] runs long campaigns of the program over its settings and seeds
//! - [`cargo`] finds the workspace and runs Cargo in it

mod bench;
mod cargo;
mod debian;
mod gate;
mod miri;
mod mutants;
mod nightly;
mod nostd;
mod qemu;
mod sanitizers;
mod soak;
mod steps;
mod valgrind;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Builds, checks and tests dmamap.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// The gate: format, lints, documentation, no_std, all tests. With CI=true a skipped step is a failure.
    Test {
        /// Run only the steps whose name contains one of these.
        #[arg(value_name = "STEP")]
        only: Vec<String>,
        /// Print the names of the steps and do nothing.
        #[arg(long)]
        list: bool,
    },
    /// Long campaigns: the tests marked `ignored`, then the program over depths, queues, tempers and seeds.
    Soak(soak::Campaign),
    /// Breaks the source on purpose, in a copy, one rule of DMA at a time: a test named for it must fail.
    Mutants(mutants::Mutants),
    /// Leaves out each sync and each barrier of the drivers and the layer in turn, in a copy: a test must fail.
    Syncs(mutants::Syncs),
    Qemu(qemu::Qemu),
    Bench(bench::Bench),
    /// The threaded tests under the thread sanitizer and the address sanitizer; it takes a nightly toolchain.
    Sanitize(sanitizers::Sanitize),
}

fn main() -> ExitCode {
    match Arguments::parse().command {
        Command::Test { list: true, .. } => {
            for step in steps::all() {
                println!("{:12} {}", step.name, step.purpose);
            }
            ExitCode::SUCCESS
        }
        Command::Test { only, list: false } => gate::run(steps::all(), &only),
        Command::Soak(campaign) => gate::run(campaign.steps(), &[]),
        Command::Mutants(mutants) => mutants.run(),
        Command::Syncs(syncs) => syncs.run(),
        Command::Qemu(qemu) => qemu.run(),
        Command::Bench(bench) => bench.run(),
        Command::Sanitize(sanitize) => gate::run(sanitize.steps(), &[]),
    }
}
