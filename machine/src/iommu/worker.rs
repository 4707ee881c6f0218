//! The threads of a unit, and when its own thread works.
//!
//! Work is done by whoever waits for it: a driver that polls steps the unit, and a thread of the unit's own does
//! what is left a little later. So a driver that waits is served at once, and one that does not wait finds that
//! nothing was done yet.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

/// How long work waits for someone who polls, before the unit's own thread does it.
const LATENCY: Duration = Duration::from_micros(200);
/// Rounds without work after which the thread sleeps until it is woken.
const IDLE_ROUNDS: u32 = 16;

/// Tells the unit's own thread that there is work.
#[derive(Debug, Default)]
pub(super) struct Worker {
    busy: AtomicBool,
    asleep: AtomicBool,
    stop: Mutex<bool>,
    changed: Condvar,
}

impl Worker {
    /// There may be work from now on. Not under a lock that a step takes.
    pub(super) fn kick(&self) {
        self.busy.store(true, Ordering::SeqCst);
        if self.asleep.load(Ordering::SeqCst) {
            let _stop = self.stop.lock();
            self.changed.notify_one();
        }
    }

    /// Whether there may be work.
    pub(super) fn is_busy(&self) -> bool {
        self.busy.load(Ordering::SeqCst)
    }

    /// There is no work. Called under the lock under which work is left, as otherwise a kick may be lost.
    pub(super) fn rest(&self) {
        self.busy.store(false, Ordering::SeqCst);
    }

    /// The unit's own thread: calls `step`, which does what can be done without waiting, until [`stop`](Self::stop).
    pub(super) fn run(&self, step: impl Fn()) {
        let mut idle_rounds = 0;
        loop {
            {
                let mut stop = self.stop.lock();
                if *stop {
                    return;
                }
                if idle_rounds < IDLE_ROUNDS {
                    self.changed.wait_for(&mut stop, LATENCY);
                } else {
                    // Whoever makes work looks at `asleep` after setting `busy`, we the other way round.
                    self.asleep.store(true, Ordering::SeqCst);
                    if !self.is_busy() {
                        self.changed.wait(&mut stop);
                    }
                    self.asleep.store(false, Ordering::SeqCst);
                    idle_rounds = 0;
                    continue;
                }
            }
            if self.is_busy() {
                idle_rounds = 0;
                step();
            } else {
                idle_rounds += 1;
            }
        }
    }

    /// Ends [`run`](Self::run).
    pub(super) fn stop(&self) {
        *self.stop.lock() = true;
        self.changed.notify_all();
    }
}

/// Threads that end with their unit.
#[derive(Debug, Default)]
pub(super) struct Threads(Mutex<Vec<JoinHandle<()>>>);

impl Threads {
    /// Starts one.
    pub(super) fn spawn(
        &self,
        name: String,
        run: impl FnOnce() + Send + 'static,
    ) -> Result<(), io::ErrorKind> {
        let thread = thread::Builder::new()
            .name(name)
            .spawn(run)
            .map_err(|error| error.kind())?;
        self.0.lock().push(thread);
        Ok(())
    }

    /// Waits for the end of all; whoever ends them told them before.
    pub(super) fn join(&self) {
        for thread in self.0.lock().drain(..) {
            // A thread that panicked has told so already.
            let _ = thread.join();
        }
    }
}
