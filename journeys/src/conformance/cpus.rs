//! CPUs, and what is one CPU's at a time.

use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use dmamap::platform::Platform;

use super::{OnEachCpu, Violation};

/// What each CPU does: often enough that two meet.
const TURNS: u64 = 20_000;

/// How long a CPU is pinned.
const SPINS: u32 = 100;

/// No CPU: nothing was found.
const NONE: usize = usize::MAX;

/// Returns how often a CPU was pinned.
pub(super) fn check<P: Platform>(
    platform: P,
    on_each_cpu: OnEachCpu<'_>,
) -> Result<usize, Violation> {
    let count = platform.cpu_count();
    let busy: Vec<AtomicBool> = (0..count).map(|_| AtomicBool::new(false)).collect();
    let (beyond, shared) = (AtomicUsize::new(NONE), AtomicUsize::new(NONE));
    let ran = AtomicU64::new(0);
    // A load and a store, not one step: what the lock is for.
    let counter = lock_api::Mutex::<P::Lock, _>::new(0_u64);
    let torn = AtomicU64::new(0);
    on_each_cpu(&|| {
        ran.fetch_add(1, Ordering::AcqRel);
        for turn in 0..TURNS {
            platform.pin(|cpu| match busy.get(cpu.0) {
                None => beyond.store(cpu.0, Ordering::Release),
                Some(busy) => {
                    if busy.swap(true, Ordering::AcqRel) {
                        shared.store(cpu.0, Ordering::Release);
                    }
                    // Most of the time goes by in here: whoever else is let in meets this one.
                    for _ in 0..SPINS {
                        core::hint::spin_loop();
                    }
                    busy.store(false, Ordering::Release);
                }
            });
            let mut counter = counter.lock();
            let seen = torn.load(Ordering::Relaxed);
            if turn % 64 == 0 {
                platform.relax();
            }
            torn.store(seen + 1, Ordering::Relaxed);
            *counter += 1;
        }
    });
    let ran = ran.load(Ordering::Acquire);
    if ran < 2 {
        return Err(Violation::NotEachCpu { ran });
    }
    match (
        beyond.load(Ordering::Acquire),
        shared.load(Ordering::Acquire),
    ) {
        (NONE, NONE) => {}
        (NONE, cpu) => return Err(Violation::CpuShared { cpu }),
        (cpu, _) => return Err(Violation::NoSuchCpu { cpu, count }),
    }
    let total = ran * TURNS;
    let lost = total - torn.load(Ordering::Acquire).min(total);
    match lost {
        0 => Ok(total as usize),
        _ => Err(Violation::LockDoesNotExclude { lost, total }),
    }
}
