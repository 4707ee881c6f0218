//! What a thread does between two looks at hardware that has not answered yet.

use std::cell::Cell;
use std::time::Duration;
use std::{hint, thread};

use crate::clock;

/// Looks that are as close together as the CPU allows.
const SPINS: u32 = 48;

/// Looks, after those, between which other threads may run.
const YIELDS: u32 = 400;

/// How long a thread that waits longer sleeps between two looks.
const NAP: Duration = Duration::from_micros(50);

/// Calls further apart than this belong to different waits.
const PAUSE_NS: u64 = 5_000;

thread_local! {
    /// Calls of the wait this thread is in, and when the last of those was.
    static WAIT: Cell<(u32, u64)> = const { Cell::new((0, 0)) };
}

/// Lets others work: the longer the wait, the more.
pub(crate) fn relax() {
    let now = clock::now_ns();
    let (calls, last) = WAIT.get();
    let calls = if now.saturating_sub(last) > PAUSE_NS {
        0
    } else {
        calls
    };
    match calls {
        0..SPINS => hint::spin_loop(),
        SPINS..YIELDS => thread::yield_now(),
        _ => thread::sleep(NAP),
    }
    WAIT.set((calls.saturating_add(1), clock::now_ns()));
}
