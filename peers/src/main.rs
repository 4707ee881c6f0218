//! Runs the loads and prints the figures.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use peers::PeersError;
use peers::item::{Length, items, settle};
use peers::linux::Linux;
use peers::measure::Effort;
use peers::report::{heading, json, line, rows};

/// The same loads on dmamap and on what others have. Ratios are ours ÷ theirs: below 1, ours is faster.
#[derive(Debug, Parser)]
#[command(name = "peers")]
struct Arguments {
    /// The library with Linux's code, as `cargo xtask bench --peers` compiles it; without it Linux is left out.
    #[arg(long, value_name = "FILE")]
    linux: Option<PathBuf>,
    /// Only the items whose name contains this, for example "page table" or "10^3".
    #[arg(long, value_name = "TEXT", default_value = "")]
    only: String,
    /// Also with 10^7 ranges live: minutes, and gigabytes of memory.
    #[arg(long)]
    long: bool,
    /// An array of objects instead of a table.
    #[arg(long)]
    json: bool,
    /// Samples of each contestant in each item.
    #[arg(long, value_name = "NUMBER", default_value_t = Effort::default().rounds)]
    samples: usize,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("peers: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), PeersError> {
    let linux = arguments.linux.as_deref().map(Linux::load).transpose()?;
    let length = match arguments.long {
        true => Length::Long,
        false => Length::Short,
    };
    let effort = Effort {
        rounds: arguments.samples.max(1),
        ..Effort::default()
    };
    let wanted = |name: &str| name.contains(&arguments.only);
    let cpus = settle()?;
    let mut all = Vec::new();
    if !arguments.json {
        println!("{}", heading());
    }
    for item in items(length, wanted) {
        if !item.fits(&cpus) {
            eprintln!(
                "peers: left out for want of CPUs: {}",
                item.names().join(", ")
            );
            continue;
        }
        let mut rows = rows(item.names(), &item.run(linux, &cpus, effort)?);
        rows.retain(|row| wanted(&row.item));
        if !arguments.json {
            rows.iter().for_each(|row| println!("{}", line(row)));
        }
        all.extend(rows);
    }
    if arguments.json {
        println!("{}", json(&all));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> Result<Arguments, clap::Error> {
        Arguments::try_parse_from(["peers"].iter().chain(words))
    }

    #[test]
    fn arguments_are_what_the_manual_says() {
        let plain = parse(&[]).unwrap();
        assert!(plain.linux.is_none() && plain.only.is_empty() && !plain.long && !plain.json);
        let all = [
            "--only",
            "page table",
            "--long",
            "--json",
            "--samples",
            "7",
            "--linux",
            "x.so",
        ];
        let all = parse(&all).unwrap();
        assert_eq!((all.only.as_str(), all.samples), ("page table", 7));
        assert_eq!(all.linux, Some("x.so".into()));
        assert!(all.long && all.json);
        assert!(parse(&["--samples", "many"]).is_err());
    }
}
