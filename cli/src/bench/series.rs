//! How the cost of a pair grows with the mappings that are alive, and with the threads.

use std::thread;

use super::load::Load;
use crate::args::MachineArgs;

/// Mappings alive besides, up to which is measured if nobody says.
const DEFAULT_LIVE: u64 = 100_000;
/// Memory these may take then, in bytes.
const DEFAULT_MEMORY_BYTES: u64 = 1 << 30;

/// 1, 10, 100 … below `last`, and `last`.
pub(super) fn decades(last: u64) -> Vec<u64> {
    steps(last, 10)
}

/// 1, 2, 4 … below `last`, and `last`.
pub(super) fn doublings(last: u16) -> Vec<u16> {
    let steps = steps(last.into(), 2).into_iter();
    steps.filter_map(|step| step.try_into().ok()).collect()
}

fn steps(last: u64, factor: u64) -> Vec<u64> {
    let last = last.max(1);
    let below = std::iter::successors(Some(1_u64), |step| step.checked_mul(factor))
        .take_while(|&step| step < last);
    below.chain([last]).collect()
}

/// Loads with ever more mappings alive besides.
pub(super) fn by_live(load: &Load, args: &MachineArgs) -> Vec<Load> {
    let last = match load.live {
        0 => default_live(load, args.ram),
        live => live,
    };
    let loads = decades(last).into_iter();
    loads.map(|live| Load { live, ..*load }).collect()
}

/// As many as are told nothing of, or as fit well.
fn default_live(load: &Load, ram: u64) -> u64 {
    let room = DEFAULT_MEMORY_BYTES.min(ram / 2);
    let one = Load {
        threads: 1,
        ring: 1,
        live: 0,
        ..*load
    };
    let bytes = one.memory_bytes().unwrap_or(u64::MAX).max(1);
    DEFAULT_LIVE.min(room / bytes).max(1)
}

/// Loads with ever more threads.
pub(super) fn by_threads(load: &Load) -> Vec<Load> {
    let cpus = thread::available_parallelism().map_or(1, usize::from);
    let cpus = u16::try_from(cpus).unwrap_or(u16::MAX).min(256);
    let loads = doublings(load.threads.max(cpus)).into_iter();
    loads.map(|threads| Load { threads, ..*load }).collect()
}

#[cfg(test)]
mod tests {
    use dmamap::map::AnyDirection;

    use super::super::load::Piece;
    use super::*;
    use crate::args::Policy;

    #[test]
    fn steps_begin_with_one_and_end_with_the_last() {
        assert_eq!(decades(0), [1]);
        assert_eq!(decades(1), [1]);
        assert_eq!(decades(10), [1, 10]);
        assert_eq!(decades(2500), [1, 10, 100, 1000, 2500]);
        assert_eq!(decades(u64::MAX).len(), 21);
        assert_eq!(doublings(1), [1]);
        assert_eq!(doublings(6), [1, 2, 4, 6]);
        assert_eq!(doublings(u16::MAX).last(), Some(&u16::MAX));
    }

    #[test]
    fn who_says_nothing_gets_as_many_as_fit_well() {
        let load = |bytes| Load {
            piece: Piece::Single { bytes },
            direction: AnyDirection::ToDevice,
            policy: Policy::Strict,
            copy_below_bytes: 0,
            threads: 7,
            ring: 100,
            live: 0,
        };
        assert_eq!(default_live(&load(4096), 8 << 30), DEFAULT_LIVE);
        assert_eq!(default_live(&load(1 << 20), 8 << 30), 1024);
        assert_eq!(default_live(&load(1 << 20), 64 << 20), 32);
        assert_eq!(default_live(&load(u64::MAX), 64 << 20), 1);
    }
}
