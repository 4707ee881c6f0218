//! One interrupt: its count, who waits for it, and its handler.

use std::hint;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use dmamap::platform::InterruptHandler;
use parking_lot::{Condvar, Mutex};

use crate::clock;

/// How often a waiter looks before it goes to sleep: a fast device has answered by then.
const LOOKS: u32 = 64;

/// How long a waiter sleeps before it lets the hardware know again that somebody waits.
const SLICE: Duration = Duration::from_millis(2);

pub(super) struct Vector {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    count: u64,
    handler: Option<InterruptHandler>,
    /// Arrivals whose handler has not run yet.
    pending: u64,
    /// The vector is in the dispatcher's queue, or the dispatcher runs its handler.
    queued: bool,
    running: bool,
}

/// What became of one turn of a handler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Turn {
    /// More arrivals wait for the handler: the vector goes back into the queue.
    pub(super) more: bool,
    /// The handler panicked; its arrival counts as handled.
    pub(super) panicked: bool,
}

impl Vector {
    pub(super) fn new(handler: Option<InterruptHandler>) -> Self {
        let state = State {
            count: 0,
            handler,
            pending: 0,
            queued: false,
            running: false,
        };
        Self {
            state: Mutex::new(state),
            changed: Condvar::new(),
        }
    }

    pub(super) fn count(&self) -> u64 {
        self.state.lock().count
    }

    /// Counts an arrival and wakes who waits. `true` if the vector must be queued for its handler.
    pub(super) fn arrive(&self) -> bool {
        let mut state = self.state.lock();
        state.count += 1;
        let mut enqueue = false;
        if state.handler.is_some() {
            state.pending += 1;
            enqueue = !state.queued;
            state.queued = true;
        }
        drop(state);
        self.changed.notify_all();
        enqueue
    }

    /// Runs the handler for one arrival, without any lock held.
    pub(super) fn run_handler(&self) -> Turn {
        let handler = {
            let mut state = self.state.lock();
            match state.handler.clone() {
                Some(handler) if state.pending > 0 => {
                    state.pending -= 1;
                    state.running = true;
                    handler
                }
                _ => {
                    state.queued = false;
                    return Turn {
                        more: false,
                        panicked: false,
                    };
                }
            }
        };
        let outcome = catch_unwind(AssertUnwindSafe(|| handler()));
        // The last owner may drop what the handler captured: not under the lock, and before `retire` returns.
        drop(handler);
        let mut state = self.state.lock();
        state.running = false;
        let more = state.pending > 0;
        state.queued = more;
        drop(state);
        self.changed.notify_all();
        Turn {
            more,
            panicked: outcome.is_err(),
        }
    }

    /// No handler runs any more when this returns, except one that called it (`from_handler`).
    pub(super) fn retire(&self, from_handler: bool) {
        let mut state = self.state.lock();
        let handler = state.handler.take();
        state.pending = 0;
        self.changed.notify_all();
        while state.running && !from_handler {
            self.changed.wait(&mut state);
        }
        drop(state);
        drop(handler);
    }

    pub(super) fn wait(&self, seen: u64, deadline_ns: u64, idle: impl Fn()) -> u64 {
        for _ in 0..LOOKS {
            let count = self.count();
            if count > seen {
                return count;
            }
            hint::spin_loop();
        }
        loop {
            idle();
            let mut state = self.state.lock();
            let left = Duration::from_nanos(deadline_ns.saturating_sub(clock::now_ns()));
            if state.count > seen || left.is_zero() {
                return state.count;
            }
            self.changed.wait_for(&mut state, left.min(SLICE));
            if state.count > seen {
                return state.count;
            }
        }
    }
}
