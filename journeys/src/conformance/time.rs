//! The clock, waiting, and deadlines.

use alloc::sync::Arc;
use core::sync::atomic::{AtomicU64, Ordering};

use dmamap::platform::Platform;

use super::Violation;

/// Looks at the clock in a row.
const LOOKS: usize = 10_000;

/// Calls of `relax` after which a clock that has not moved is taken to stand: seconds, on any machine.
const MOST_LOOKS: u64 = 100_000_000;

/// How far ahead deadlines are set.
const AHEAD_NS: u64 = 2_000_000;

/// How long a deadline may be late: machines are busy, and virtual.
const GRACE_NS: u64 = 10_000_000_000;

pub(super) fn check<P: Platform>(platform: P) -> Result<(), Violation> {
    let mut earlier = platform.now_ns();
    for _ in 0..LOOKS {
        let later = platform.now_ns();
        if later < earlier {
            return Err(Violation::ClockGoesBack { earlier, later });
        }
        earlier = later;
    }
    wait(platform, AHEAD_NS, || false)?;
    deadline(platform)
}

/// Waits for `done`, or so long.
pub(super) fn wait<P: Platform>(
    platform: P,
    most_ns: u64,
    done: impl Fn() -> bool,
) -> Result<(), Violation> {
    let start = platform.now_ns();
    let mut looks = 0;
    while !done() && platform.now_ns().saturating_sub(start) < most_ns {
        platform.relax();
        looks += 1;
        if looks > MOST_LOOKS && platform.now_ns() == start {
            return Err(Violation::ClockStands { looks });
        }
    }
    Ok(())
}

fn deadline<P: Platform>(platform: P) -> Result<(), Violation> {
    struct Calls {
        times: AtomicU64,
        at_ns: AtomicU64,
    }
    let calls = Arc::new(Calls {
        times: AtomicU64::new(0),
        at_ns: AtomicU64::new(u64::MAX),
    });
    let deadline_ns = platform.now_ns() + AHEAD_NS;
    let called = Arc::clone(&calls);
    let handler = move || {
        called.at_ns.fetch_min(platform.now_ns(), Ordering::AcqRel);
        called.times.fetch_add(1, Ordering::AcqRel);
    };
    platform.call_at(deadline_ns, Arc::new(handler));
    let times = || calls.times.load(Ordering::Acquire);
    wait(platform, AHEAD_NS + GRACE_NS, || times() > 0)?;
    // A second call would come soon.
    wait(platform, 2 * AHEAD_NS, || times() > 1)?;
    let at_ns = calls.at_ns.load(Ordering::Acquire);
    match times() {
        1 if at_ns < deadline_ns => Err(Violation::CalledEarly {
            early_ns: deadline_ns - at_ns,
        }),
        1 => Ok(()),
        times => Err(Violation::NotCalledOnce { times }),
    }
}
