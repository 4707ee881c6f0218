//! Faults, many of them: requests that are refused, straight to the unit. The same for every kind of unit.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::patience::{NEVER, StopOnDrop};
use crate::{PAGE, Rig};
use dmamap::iommu::Requester;
use dmamap::iommu::fault::{FIRST_FAULTS, FaultReport};
use machine::bus::Access;
use machine::iommu::translator::Translator;

/// A request that must be refused.
pub fn refuse(unit: &impl Translator, requester: u16, bus: u64) {
    assert!(unit.translate(requester, bus, Access::Write).is_err());
}

/// However many requesters fault, a bounded number is remembered, and all are counted.
pub fn the_log_is_bounded(rig: Rig, unit: &impl Translator) {
    for requester in 0..4 * FIRST_FAULTS as u16 {
        refuse(unit, requester, PAGE);
        rig.system().service_faults();
    }
    let faults = rig.system().faults();
    assert_eq!(faults.total, 4 * FIRST_FAULTS as u64);
    let first: Vec<u16> = faults
        .first_per_requester
        .iter()
        .map(|one| one.requester.id)
        .collect();
    assert_eq!(first, (0..FIRST_FAULTS as u16).collect::<Vec<_>>());
    rig.finish_after_faults();
}

/// How long a storm lasts.
const A_STORM: Duration = Duration::from_millis(200);
/// How often `work` is done in one, at least: on a busy host it lasts longer.
const ROUNDS: u32 = 6;

/// Has so many threads make faults while `work` is done again and again.
pub fn storm(unit: &impl Translator, threads: u16, mut work: impl FnMut()) {
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let _stop = StopOnDrop(&stop);
        for thread in 0..threads {
            let stop = &stop;
            scope.spawn(move || {
                let mut n = 0_u16;
                while !stop.load(Ordering::Relaxed) {
                    n = n.wrapping_add(1);
                    refuse(unit, 0x4000 | (thread << 8) | (n % 40), u64::from(n) * PAGE);
                }
            });
        }
        let begun = Instant::now();
        let mut rounds = 0;
        while begun.elapsed() < A_STORM || rounds < ROUNDS {
            assert!(
                begun.elapsed() < NEVER,
                "{rounds} rounds of work in a storm"
            );
            work();
            rounds += 1;
        }
    });
}

/// That each of `all` faults was reported or is known to be lost, and no requester is listed twice.
pub fn assert_counted(faults: &FaultReport, recorded: u64, lost: u64, all: u64) {
    assert_eq!(faults.total, recorded);
    assert_eq!(faults.overflows > 0, lost > 0);
    assert_eq!(all, recorded + lost);
    let first = &faults.first_per_requester;
    let requesters: HashSet<Requester> = first.iter().map(|one| one.requester).collect();
    assert!((1..=FIRST_FAULTS).contains(&first.len()));
    assert_eq!(requesters.len(), first.len(), "a requester is listed twice");
}
