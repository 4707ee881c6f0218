//! `cargo xtask bench --peers`: dmamap's figures beside those of others, under the same loads.
//!
//! - [`linux`] fetches the sources of Linux into `target/peers`, and unpacks the few files that are needed
//! - [`library`] compiles them, with what `peers/linux` puts in the rest of the kernel's place
//!
//! What is measured and how, the package `peers` says; what it means, `docs/performance.md`.

mod library;
mod linux;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::cargo::{cargo, root};
use crate::debian;

/// Measures dmamap beside others: Linux's own code (its sources are fetched once, 150 MB), and published crates.
#[derive(clap::Args)]
pub(crate) struct Bench {
    /// The allocator of bus addresses and the page tables, beside those of others.
    #[arg(long, required = true)]
    peers: bool,
    /// Only the items whose name contains this, for example "page table" or "10^3".
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// Also with 10^7 ranges live: minutes, and gigabytes of memory.
    #[arg(long)]
    long: bool,
    /// An array of {item, peer, ours_ns, peer_ns, ratio} on standard output instead of a table.
    #[arg(long)]
    json: bool,
    /// Samples of each contestant in each item.
    #[arg(long, value_name = "NUMBER")]
    samples: Option<usize>,
    /// Use no network: leave Linux out unless its sources are there already.
    #[arg(long)]
    offline: bool,
}

impl Bench {
    pub(crate) fn run(&self) -> ExitCode {
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
        assert!(parse(&[]).is_err(), "there is no other benchmark");
    }
}
