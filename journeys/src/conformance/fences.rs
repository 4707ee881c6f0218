//! Fences that one CPU has another execute: two CPUs store, then look for what the other stored, and one of them leaves it to the
//! other to fence. One sees it at least.

use core::hint::{black_box, spin_loop};
use core::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering, compiler_fence};

use dmamap::platform::Platform;

use super::{Means, Violation};

/// How often it is tried: a CPU that does not fence sees old values now and then.
const ROUNDS: u64 = 50_000;

/// How long at most: one CPU is pinned all the time.
const LASTS_NS: u64 = 300_000_000;

/// How long CPUs wait for each other: machines are busy, and virtual.
const GRACE_NS: u64 = 10_000_000_000;

/// Who is to fence stores a little later each round, up to so many steps: the other one may be slow.
const LATEST: u64 = 512;

/// No round: it is over.
const OVER: u64 = u64::MAX;

/// How often it was tried; 0 where the port says that it has none, or that there is one CPU.
pub(super) fn check<P: Platform>(platform: P, means: &Means<'_>) -> Result<usize, Violation> {
    if !platform.fences_cpus() || means.online_cpus < 2 {
        return Ok(0);
    }
    let litmus = Litmus::new(platform);
    let ran = AtomicUsize::new(0);
    (means.on_each_cpu)(&|| match ran.fetch_add(1, Ordering::AcqRel) {
        0 => litmus.fence_other(),
        1 => platform.pin(|_| litmus.be_fenced()),
        _ => {}
    });
    litmus.outcome()
}

/// What is written by one CPU, apart from what others write.
#[derive(Default)]
#[repr(align(128))]
struct Line(AtomicU64);

struct Litmus<P: Platform> {
    platform: P,
    /// Held around the fence, as who stops CPUs holds one.
    lock: lock_api::Mutex<P::Lock, ()>,
    /// The round that has begun.
    begun: Line,
    /// What the CPU stores that fences for both: the round.
    heavy: Line,
    /// What the other one stores.
    light: Line,
    /// Of `heavy`, what the other one saw.
    seen: Line,
    /// The round that the other one has done.
    done: Line,
    is_there: AtomicBool,
    /// The other one, pinned, has waited long enough.
    has_waited: AtomicBool,
    /// Rounds that went well.
    rounds: Line,
    /// A round that did not.
    broken: Line,
}

impl<P: Platform> Litmus<P> {
    fn new(platform: P) -> Self {
        Self {
            platform,
            lock: lock_api::Mutex::new(()),
            begun: Line::default(),
            heavy: Line::default(),
            light: Line::default(),
            seen: Line::default(),
            done: Line::default(),
            is_there: AtomicBool::new(false),
            has_waited: AtomicBool::new(false),
            rounds: Line::default(),
            broken: Line::default(),
        }
    }

    /// The CPU that fences for both.
    fn fence_other(&self) {
        if self.wait(|| self.is_there.load(Ordering::Acquire)) {
            self.try_rounds();
        }
        self.begun.0.store(OVER, Ordering::Release);
    }

    fn try_rounds(&self) {
        let start_ns = self.platform.now_ns();
        for round in 1..=ROUNDS {
            if self.platform.now_ns().saturating_sub(start_ns) > LASTS_NS {
                return;
            }
            let held = self.lock.lock();
            self.begun.0.store(round, Ordering::Release);
            for step in 0..round * 7 % LATEST {
                black_box(step);
            }
            self.heavy.0.store(round, Ordering::Relaxed);
            self.platform.fence_cpus();
            let saw = self.light.0.load(Ordering::Relaxed) == round;
            drop(held);
            let is_done = || self.done.0.load(Ordering::Acquire) == round;
            let gave_up = || self.has_waited.load(Ordering::Acquire);
            if !self.wait(|| is_done() || gave_up()) || gave_up() {
                return;
            }
            if !saw && self.seen.0.load(Ordering::Relaxed) != round {
                return self.broken.0.store(round, Ordering::Release);
            }
            self.rounds.0.store(round, Ordering::Release);
        }
    }

    /// The CPU that is made to fence.
    fn be_fenced(&self) {
        self.is_there.store(true, Ordering::Release);
        for round in 1.. {
            if !self.wait(|| self.begun.0.load(Ordering::Acquire) >= round) {
                return self.has_waited.store(true, Ordering::Release);
            }
            if self.begun.0.load(Ordering::Acquire) == OVER {
                return;
            }
            self.light.0.store(round, Ordering::Relaxed);
            compiler_fence(Ordering::SeqCst);
            let seen = self.heavy.0.load(Ordering::Relaxed);
            self.seen.0.store(seen, Ordering::Relaxed);
            self.done.0.store(round, Ordering::Release);
        }
    }

    /// Until `is_so`, at once when it is; `false` when that takes too long.
    fn wait(&self, is_so: impl Fn() -> bool) -> bool {
        let start_ns = self.platform.now_ns();
        while self.platform.now_ns().saturating_sub(start_ns) <= GRACE_NS {
            for _ in 0..200 {
                if is_so() {
                    return true;
                }
                spin_loop();
            }
            self.platform.relax();
        }
        is_so()
    }

    fn outcome(&self) -> Result<usize, Violation> {
        if self.has_waited.load(Ordering::Acquire) {
            return Err(Violation::FenceWaits);
        }
        match self.broken.0.load(Ordering::Acquire) {
            0 => Ok(self.rounds.0.load(Ordering::Acquire) as usize),
            round => Err(Violation::NotFenced { round }),
        }
    }
}
