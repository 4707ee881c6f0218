//! `cargo xtask bench`: dmamap's figures beside those of others under the same loads, or the instructions of its own paths.
//!
//! - [`linux`] fetches the sources of Linux into `target/peers`, and unpacks the few files that are needed
//! - [`library`] compiles them, with what `peers/linux` puts in the rest of the kernel's place
//! - [`counts`] has instructions counted, and compares them with those that are recorded
//!
//! What is measured and how, the packages `peers` and `counts` say; what it means, `docs/performance.md`.

pub(crate) mod counts;
mod library;
mod linux;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::cargo::{cargo, root};
use crate::debian;
use crate::valgrind::Network;
use counts::{Form, Purpose};

/// Measures dmamap beside others: Linux's own code (its sources are fetched once, 150 MB), and published crates. Or counts
/// the instructions of its own paths, with Valgrind.
#[derive(clap::Args)]
#[command(group(clap::ArgGroup::new("what").required(true).args(["peers", "counts"])))]
pub(crate) struct Bench {
    /// The allocator of bus addresses and the page tables, beside those of others.
    #[arg(long)]
    peers: bool,
    /// Instructions of the paths that every map and unmap takes.
    #[arg(long, conflicts_with_all = ["long", "samples"])]
    counts: bool,
    /// Compare them with those recorded in docs/instructions.txt; fail where a path takes more.
    #[arg(long, requires = "counts", conflicts_with_all = ["record", "peers"])]
    check: bool,
    /// Record them there.
    #[arg(long, requires = "counts", conflicts_with_all = ["only", "peers"])]
    record: bool,
    /// Only the items whose name contains this, for example "page table" or "10^3".
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// Also with 10^7 ranges live: minutes, and gigabytes of memory.
    #[arg(long)]
    long: bool,
    /// An array of {item, peer, ours_ns, peer_ns, ratio}, or of {path, instructions}, on standard output instead of a table.
    #[arg(long)]
    json: bool,
    /// Samples of each contestant in each item.
    #[arg(long, value_name = "NUMBER")]
    samples: Option<usize>,
    /// Use no network: leave Linux out unless its sources are there already; have Valgrind there.
    #[arg(long)]
    offline: bool,
}

impl Bench {
    pub(crate) fn run(&self) -> ExitCode {
        match self.counts {
            true => self.count(),
            false => self.measure(),
        }
    }

    fn count(&self) -> ExitCode {
        let form = match self.json {
            true => Form::Json,
            false => Form::Table,
        };
        let network = match self.offline {
            true => Network::Unused,
            false => Network::Allowed,
        };
        counts::run(self.only.as_deref(), self.purpose(), form, network)
    }

    fn purpose(&self) -> Purpose {
        match (self.check, self.record) {
            (true, _) => Purpose::Check,
            (_, true) => Purpose::Record,
            _ => Purpose::Print,
        }
    }

    fn measure(&self) -> ExitCode {
        let folder = root().join("target").join("peers");
        // To the end: another benchmark would build the library anew while this one has it, and each be timed with the other.
        let lock = debian::lock(&folder.with_extension("lock"), "cargo xtask bench --peers");
        let linux = lock
            .as_ref()
            .map_err(Clone::clone)
            .and_then(|_| self.linux(&folder));
        let linux = match linux {
            Ok(library) => Some(library),
            Err(why) => {
                eprintln!("Linux is left out: {why}");
                None
            }
        };
        let mut command = cargo(&["run", "--quiet", "--release", "--package", "peers", "--"]);
        command.args(self.arguments(linux));
        match command.status() {
            Ok(status) if status.success() => ExitCode::SUCCESS,
            Ok(_) => ExitCode::FAILURE,
            Err(error) => {
                eprintln!("cargo cannot be run: {error}");
                ExitCode::FAILURE
            }
        }
    }

    /// What the program is told.
    fn arguments(&self, linux: Option<PathBuf>) -> Vec<String> {
        let mut arguments = Vec::new();
        if let Some(library) = linux {
            arguments.extend(["--linux".into(), library.display().to_string()]);
        }
        if let Some(text) = &self.only {
            arguments.extend(["--only".into(), text.clone()]);
        }
        if let Some(number) = self.samples {
            arguments.extend(["--samples".into(), number.to_string()]);
        }
        for (flag, given) in [("--long", self.long), ("--json", self.json)] {
            arguments.extend(given.then(|| flag.to_owned()));
        }
        arguments
    }

    /// The library with Linux's code, compiled each time; its sources are fetched if they are not there.
    fn linux(&self, folder: &Path) -> Result<PathBuf, String> {
        let tree = linux::tree(folder, self.offline)?;
        library::build(folder, &tree)
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(clap::Parser)]
    struct Words {
        #[command(flatten)]
        bench: Bench,
    }

    fn parse(words: &[&str]) -> Result<Bench, clap::Error> {
        let words = ["bench"].iter().chain(words);
        Words::try_parse_from(words).map(|words| words.bench)
    }

    #[test]
    fn what_is_asked_for_is_passed_on() {
        let plain = parse(&["--peers"]).unwrap();
        assert_eq!(plain.arguments(None), [] as [&str; 0]);
        let all = [
            "--peers",
            "--only",
            "page table",
            "--long",
            "--json",
            "--samples",
            "9",
        ];
        let arguments = parse(&all).unwrap().arguments(Some("x.so".into()));
        let expected = [
            "--linux",
            "x.so",
            "--only",
            "page table",
            "--samples",
            "9",
            "--long",
            "--json",
        ];
        assert_eq!(arguments, expected);
        assert!(parse(&[]).is_err(), "what is measured is said");
    }

    #[test]
    fn counts_are_printed_checked_or_recorded() {
        let purpose = |words: &[&str]| parse(words).unwrap().purpose();
        assert_eq!(purpose(&["--counts", "--json"]), Purpose::Print);
        assert_eq!(
            purpose(&["--counts", "--check", "--only", "iova"]),
            Purpose::Check
        );
        assert_eq!(purpose(&["--counts", "--record"]), Purpose::Record);
        for wrong in [
            &["--counts", "--peers"][..],
            &["--peers", "--check"],
            &["--counts", "--check", "--record"],
            // Else the other paths would be gone from the file.
            &["--counts", "--record", "--only", "iova"],
            &["--counts", "--long"],
        ] {
            assert!(parse(wrong).is_err(), "{wrong:?}");
        }
    }
}
