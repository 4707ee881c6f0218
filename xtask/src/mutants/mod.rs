//! `cargo xtask mutants`: breaks the source on purpose, one mutation at a time, and requires that a test named
//! for it fails.
//!
//! The rules of DMA are mostly about what must *not* be left out: an invalidation, a wait, a flush, a range
//! that is reserved. Code from which one of these is missing runs well nearly always. So each rule has a
//! [`Mutation`] here that breaks it, and the tests that must notice; a mutation that survives is a rule that
//! nothing guards.
//!
//! - [`catalogue`] holds the mutations; [`mutation`] says what one is
//! - [`edit`] finds the text that one replaces, however it is laid out
//! - [`tree`] keeps a copy of the source, so that nothing is broken where people work
//! - [`cargo`] builds the copy's tests, [`trial`] runs one of them within a bound
//! - [`hunt`] does all that for one mutation, [`report`] prints what came of it
//! - [`syncs`] breaks the source by a rule instead: each sync and each barrier is left out in turn

mod cargo;
mod catalogue;
mod edit;
mod hunt;
mod mutation;
mod report;
mod syncs;
mod tree;
mod trial;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use self::catalogue::catalogue;
use self::hunt::Hunt;
use self::mutation::{Mutation, Selection};
use self::report::Report;
pub(crate) use self::syncs::Syncs;

/// Which mutations to try, and how.
#[derive(clap::Args)]
pub(crate) struct Mutants {
    /// Try only mutations whose name contains one of these.
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// Try only the core ones: what unmapping, invalidation, page tables and firmware's scopes rest on.
    #[arg(long)]
    core: bool,
    /// Print the mutations, what each breaks and which tests must notice; try none.
    #[arg(long)]
    list: bool,
    /// Seconds after which a test counts as hanging. Hanging is not noticing: a test has a bound of its own.
    #[arg(long, default_value_t = 60)]
    timeout: u64,
}

impl Mutants {
    /// Succeeds if every mutation that was tried was caught.
    pub(crate) fn run(&self) -> ExitCode {
        let selected: Vec<&Mutation> = catalogue().filter(|one| self.selects(one)).collect();
        if selected.is_empty() {
            println!("no such mutation: see `cargo xtask mutants --list`");
            return ExitCode::from(2);
        }
        if self.list {
            selected.into_iter().for_each(report::describe);
            return ExitCode::SUCCESS;
        }
        match self.hunt(&selected) {
            Ok(report) => {
                print!("{report}");
                match report.all_caught() {
                    true => ExitCode::SUCCESS,
                    false => ExitCode::FAILURE,
                }
            }
            Err(why) => {
                println!("ended early: {why}");
                ExitCode::FAILURE
            }
        }
    }

    fn selects(&self, mutation: &Mutation) -> bool {
        let named = self.names.iter().any(|name| mutation.name.contains(name));
        (named || self.names.is_empty()) && (!self.core || mutation.selection == Selection::Core)
    }

    fn hunt(&self, selected: &[&Mutation]) -> Result<Report, String> {
        let begun = Instant::now();
        let hunt = Hunt::prepare(Duration::from_secs(self.timeout))?;
        // All at once, before the first is tried: where the source moved, the table is to be updated first.
        for mutation in selected {
            hunt.check(mutation)?;
        }
        println!("==== unmutated: every named test passes");
        hunt.baseline(selected)?;
        println!("---- {:.1} s", begun.elapsed().as_secs_f32());
        let mut report = Report::default();
        for (n, mutation) in selected.iter().enumerate() {
            println!(
                "\n==== [{}/{}] {}: {}",
                n + 1,
                selected.len(),
                mutation.name,
                mutation.why
            );
            let begun = Instant::now();
            let verdict = hunt.attempt(mutation)?;
            println!("---- {verdict}");
            report.add(mutation, verdict, begun.elapsed());
        }
        Ok(report)
    }
}
