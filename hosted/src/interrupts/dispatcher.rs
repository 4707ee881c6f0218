//! The interrupt thread: runs handlers and timers of one kernel, one at a time, with no lock held.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, JoinHandle, ThreadId};
use std::time::Duration;

use dmamap::platform::InterruptHandler;
use parking_lot::{Condvar, Mutex};

use super::vector::Vector;
use crate::clock;

/// Queues of what the interrupt thread has to do. The thread starts with the first of it.
#[derive(Default)]
pub(crate) struct Dispatcher {
    state: Mutex<State>,
    work: Condvar,
    panics: AtomicU64,
}

#[derive(Default)]
struct State {
    vectors: VecDeque<Arc<Vector>>,
    timers: BinaryHeap<Reverse<Timer>>,
    timers_set: u64,
    thread: Option<JoinHandle<()>>,
    stopped: bool,
}

/// Ordered by deadline, then by when it was set.
struct Timer {
    deadline_ns: u64,
    serial: u64,
    handler: InterruptHandler,
}

/// What the thread does next.
enum Work {
    Vector(Arc<Vector>),
    Timer(InterruptHandler),
}

impl Dispatcher {
    /// Lets the interrupt thread run the handler of `vector`.
    pub(super) fn enqueue(self: &Arc<Self>, vector: Arc<Vector>) {
        self.submit(|state| state.vectors.push_back(vector));
    }

    /// Lets the interrupt thread run `handler` at `deadline_ns`.
    pub(crate) fn call_at(self: &Arc<Self>, deadline_ns: u64, handler: InterruptHandler) {
        self.submit(|state| {
            let serial = state.timers_set;
            state.timers_set += 1;
            state.timers.push(Reverse(Timer {
                deadline_ns,
                serial,
                handler,
            }));
        });
    }

    /// Whether the caller is a handler of this kernel.
    pub(super) fn is_current_thread(&self) -> bool {
        self.thread_id() == Some(thread::current().id())
    }

    /// Handlers that panicked.
    pub(crate) fn panic_count(&self) -> u64 {
        self.panics.load(Ordering::Relaxed)
    }

    /// Ends the interrupt thread after the handler that runs, and waits for that unless it is the caller.
    /// What is queued is dropped; nothing runs from now on.
    pub(crate) fn stop(&self) {
        let mut state = self.state.lock();
        state.stopped = true;
        let dropped = (
            std::mem::take(&mut state.vectors),
            std::mem::take(&mut state.timers),
        );
        let thread = state.thread.take();
        drop(state);
        self.work.notify_all();
        drop(dropped);
        if let Some(thread) = thread.filter(|thread| thread.thread().id() != thread::current().id())
            && thread.join().is_err()
        {
            log::error!("the interrupt thread panicked");
        }
    }

    fn submit(self: &Arc<Self>, add: impl FnOnce(&mut State)) {
        let mut state = self.state.lock();
        if state.stopped {
            return;
        }
        add(&mut state);
        if state.thread.is_none() {
            let dispatcher = Arc::clone(self);
            let spawned = thread::Builder::new()
                .name("interrupts".into())
                .spawn(move || dispatcher.run());
            match spawned {
                Ok(thread) => state.thread = Some(thread),
                // Tried again with the next piece of work.
                Err(error) => log::error!("no interrupt thread: {error}"),
            }
        }
        drop(state);
        self.work.notify_one();
    }

    fn thread_id(&self) -> Option<ThreadId> {
        self.state
            .lock()
            .thread
            .as_ref()
            .map(|thread| thread.thread().id())
    }

    fn run(&self) {
        while let Some(work) = self.next() {
            match work {
                Work::Vector(vector) => {
                    let turn = vector.run_handler();
                    self.panics
                        .fetch_add(u64::from(turn.panicked), Ordering::Relaxed);
                    if turn.more {
                        self.state.lock().vectors.push_back(vector);
                    }
                }
                Work::Timer(handler) => {
                    if catch_unwind(AssertUnwindSafe(|| handler())).is_err() {
                        self.panics.fetch_add(1, Ordering::Relaxed);
                    }
                }
            }
        }
    }

    /// Waits for work; `None` once stopped.
    fn next(&self) -> Option<Work> {
        let mut state = self.state.lock();
        loop {
            if state.stopped {
                return None;
            }
            let left = (state.timers.peek())
                .map(|Reverse(timer)| timer.deadline_ns.saturating_sub(clock::now_ns()));
            if left == Some(0)
                && let Some(Reverse(timer)) = state.timers.pop()
            {
                return Some(Work::Timer(timer.handler));
            }
            if let Some(vector) = state.vectors.pop_front() {
                return Some(Work::Vector(vector));
            }
            match left {
                Some(left) => {
                    self.work.wait_for(&mut state, Duration::from_nanos(left));
                }
                None => self.work.wait(&mut state),
            }
        }
    }
}

impl Timer {
    fn key(&self) -> (u64, u64) {
        (self.deadline_ns, self.serial)
    }
}

impl PartialEq for Timer {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Timer {}

impl PartialOrd for Timer {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Timer {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.key().cmp(&other.key())
    }
}
