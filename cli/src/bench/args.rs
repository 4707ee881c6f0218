//! The settings of `dmamap bench`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args as ClapArgs, ValueEnum};
use dmamap::map::AnyDirection;

use crate::args::{MachineArgs, Policy, parse_size};

/// Who moves the data that is never moved: it decides what the device may do, and which caches are maintained.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum DirectionChoice {
    /// The device reads
    ToDevice,
    /// The device writes
    FromDevice,
    /// The device reads and writes
    #[default]
    Bidirectional,
}

impl DirectionChoice {
    /// As mappings take it.
    pub(super) fn any(self) -> AnyDirection {
        match self {
            Self::ToDevice => AnyDirection::ToDevice,
            Self::FromDevice => AnyDirection::FromDevice,
            Self::Bidirectional => AnyDirection::Bidirectional,
        }
    }
}

#[derive(Clone, Debug, ClapArgs)]
pub(crate) struct BenchArgs {
    #[command(flatten)]
    pub(crate) machine: MachineArgs,

    /// How long the device reaches a buffer [default: strict, and identity with --iommu none]
    #[arg(long, value_enum)]
    pub(crate) policy: Option<Policy>,

    /// Mappings of fewer bytes are copied to memory that stays mapped, instead of being mapped and
    /// invalidated; 0: none (only with --policy strict)
    #[arg(long, value_name = "BYTES", default_value = "0", value_parser = parse_size)]
    pub(crate) copy_below: u64,

    /// Threads that map and unmap at the same time, for one device
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(crate) threads: u16,

    /// Bytes of each mapping, in one piece: a number, or with a suffix K, M, G [default: 4K]
    #[arg(long, value_name = "BYTES", value_parser = parse_size, conflicts_with = "list")]
    pub(crate) size: Option<u64>,

    /// Each mapping is a list (scatter-gather) of so many separate pages instead
    #[arg(long, value_name = "PAGES", value_parser = clap::value_parser!(u32).range(1..=1 << 20))]
    pub(crate) list: Option<u32>,

    /// Mappings that each thread keeps alive; the oldest is unmapped first. 1: each is unmapped at once
    #[arg(long, value_name = "DEPTH", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1 << 20))]
    pub(crate) ring: u32,

    /// Mappings of the same kind that are alive besides, from before the first until after the last
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) live: u64,

    /// Who would move the data
    #[arg(long, value_enum, default_value_t)]
    pub(crate) direction: DirectionChoice,

    /// How long to measure, in seconds; a fifth of it more is spent on getting warm. With --plot: for
    /// each point
    #[arg(long, value_name = "S", default_value = "1", value_parser = parse_seconds)]
    pub(crate) seconds: Duration,

    /// Also measure with 1, 10, 100 … mappings alive besides (up to --live, or 100000), and with 1, 2,
    /// 4 … threads (up to --threads, or the host's CPUs), and draw both into FILE, as SVG
    #[arg(long, value_name = "FILE")]
    pub(crate) plot: Option<PathBuf>,

    /// Print one JSON object and nothing else
    #[arg(long)]
    pub(crate) json: bool,
}

/// Longest time that is measured for.
const MAX_SECONDS: f64 = 86_400.0;

fn parse_seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text
        .parse()
        .map_err(|_| "a number of seconds, as 2 or 0.5".to_string())?;
    if !(seconds > 0.0 && seconds <= MAX_SECONDS) {
        return Err(format!("more than 0 seconds, at most {MAX_SECONDS}"));
    }
    Ok(Duration::from_secs_f64(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_some_and_finite() {
        assert_eq!(parse_seconds("0.25"), Ok(Duration::from_millis(250)));
        assert_eq!(parse_seconds("86400"), Ok(Duration::from_secs(86_400)));
        for bad in ["", "0", "-1", "nan", "inf", "1e9", "1s", "0x1"] {
            assert!(parse_seconds(bad).is_err(), "{bad:?}");
        }
    }
}
