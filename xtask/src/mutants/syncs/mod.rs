//! `cargo xtask syncs`: leaves out each sync and each barrier in turn, and requires that a test fails.
//!
//! On the computers this runs on, nearly all of them could be missing and nothing would be seen of it: processors keep
//! most order by themselves, and devices snoop. So where a call syncs, the tests that run have caches that no device
//! snoops, and where it orders, they look at the order itself. Whatever it is, the journeys run on machines with such
//! caches. What changes nothing when it is gone is in the list of [`exceptions`], with the reason.
//!
//! - [`rules`] says which calls are meant and what is left of one; [`blank`] and [`scan`] find them in the source
//! - [`guards`] says which tests have to notice, by the place of the call

mod blank;
mod exceptions;
mod guards;
mod rules;
mod scan;

use std::collections::HashSet;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use self::exceptions::Exceptions;
use self::rules::COUNTERPARTS;
use self::scan::{Site, sites};
use super::hunt::Hunt;
use super::report::{Report, Verdict};

/// Which calls to leave out, and how.
#[derive(clap::Args)]
pub(crate) struct Syncs {
    /// Leave out only calls whose line in the list contains one of these.
    #[arg(long, value_name = "TEXT")]
    only: Vec<String>,
    /// Print the calls, and which are said to change nothing; leave out none.
    #[arg(long)]
    list: bool,
    /// Seconds after which a test counts as hanging. Hanging is not noticing: a test has a bound of its own.
    #[arg(long, default_value_t = 120)]
    timeout: u64,
}

impl Syncs {
    /// Succeeds if every call that was left out was missed, but for the exceptions, which were not.
    pub(crate) fn run(&self) -> ExitCode {
        match self.try_run() {
            Ok(true) => ExitCode::SUCCESS,
            Ok(false) => ExitCode::FAILURE,
            Err(why) => {
                println!("ended early: {why}");
                ExitCode::FAILURE
            }
        }
    }

    fn try_run(&self) -> Result<bool, String> {
        let all = sites(crate::cargo::root())?;
        let exceptions = Exceptions::read(&all)?;
        let selected: Vec<&Site> = all.iter().filter(|site| self.selects(site)).collect();
        if selected.is_empty() {
            return Err("no such call: see `cargo xtask syncs --list`".into());
        }
        if self.list {
            for site in &selected {
                println!("{site}");
                if let Some(reason) = exceptions.reason(site) {
                    println!("    changes nothing: {reason}");
                }
            }
            println!("\n{} calls", selected.len());
            return Ok(true);
        }
        let report = self.leave_out(&selected, &exceptions)?;
        print!("{report}");
        Ok(report.all_caught())
    }

    fn selects(&self, site: &Site) -> bool {
        let line = site.to_string();
        self.only.is_empty() || self.only.iter().any(|text| line.contains(text))
    }

    fn leave_out(&self, selected: &[&Site], exceptions: &Exceptions) -> Result<Report, String> {
        let begun = Instant::now();
        let hunt = Hunt::prepare(Duration::from_secs(self.timeout))?;
        let mut appended = Vec::new();
        for (file, text) in COUNTERPARTS {
            appended.push(hunt.append(file, text)?);
        }
        println!("==== nothing left out: every test passes");
        let mut seen = HashSet::new();
        let tests = selected.iter().flat_map(|site| site.guards());
        hunt.all_pass(tests.filter(|test| seen.insert(test.to_string())))?;
        println!("---- {:.1} s", begun.elapsed().as_secs_f32());
        let mut report = Report::default();
        for (n, site) in selected.iter().enumerate() {
            println!("\n==== [{}/{}] {site}", n + 1, selected.len());
            let begun = Instant::now();
            let broken = site.delete(&hunt.read(&site.file)?);
            let verdict = hunt.attempt_text(&site.file, &broken, &site.guards())?;
            let verdict = match (verdict, exceptions.reason(site)) {
                (Verdict::Survived, Some(reason)) => Verdict::NoOp(reason.to_owned()),
                (Verdict::Caught(test, _), Some(_)) => Verdict::NoNoOp(test),
                (verdict, _) => verdict,
            };
            println!("---- {verdict}");
            report.add_named(site.to_string(), verdict, begun.elapsed());
        }
        Ok(report)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_known_calls_are_found_and_the_exceptions_are_among_them() {
        let all = sites(crate::cargo::root()).unwrap();
        let exceptions = Exceptions::read(&all).unwrap();
        let keys: HashSet<String> = all.iter().map(Site::key).collect();
        assert_eq!(keys.len(), all.len(), "no two calls have one name");
        for known in [
            "drivers/src/nvme/queue.rs submit self.platform.dma_wmb",
            "drivers/src/nvme/queue.rs next_completion self.completions.consume",
            "drivers/src/nvme/queue.rs release_completions self.platform.dma_mb",
            "drivers/src/edu/mod.rs transfer self.command.write",
            "drivers/src/virtio/ring.rs take_answers self.platform.dma_rmb",
            "drivers/src/virtio/share.rs copy_back lent.sync_for_cpu",
            "dmamap/src/map/live/syncs.rs clean core.clean_cache",
            "dmamap/src/map/view.rs begin live.sync_for_cpu",
            "dmamap/src/map/coherent/publish.rs publish self.memory.order_stores",
            "dmamap/src/mmio/register.rs write self.mapping.platform.dma_wmb",
        ] {
            assert!(keys.contains(known), "{known}");
            let site = all.iter().find(|site| site.key() == known).unwrap();
            assert_eq!(exceptions.reason(site), None, "{known}");
        }
        for site in &all {
            assert!(!site.guards().is_empty(), "{site} has no tests");
        }
    }
}
