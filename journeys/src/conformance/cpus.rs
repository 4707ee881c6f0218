//! CPUs, and what is one CPU's at a time.

use alloc::vec::Vec;
use core::hint::spin_loop;
use core::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use dmamap::platform::{Cpu, Platform};

use super::{Means, Violation};

/// What each CPU does: often enough that two meet.
const TURNS: u64 = 20_000;

/// How long a CPU is pinned, and the lock held: most of the time that a turn takes, so that whoever else is let in
/// meets this one.
const SPINS: u32 = 50;

/// How long CPUs wait for each other: machines are busy, and virtual.
const GRACE_NS: u64 = 10_000_000_000;

/// No CPU: nothing was found.
const NONE: usize = usize::MAX;

/// What was looked at.
pub(super) struct Seen {
    /// CPUs that were pinned at the same time.
    pub(super) cpus: usize,
    /// Times a CPU was pinned.
    pub(super) pins: usize,
}

pub(super) fn check<P: Platform>(platform: P, means: &Means<'_>) -> Result<Seen, Violation> {
    let (count, online) = (platform.cpu_count(), means.online_cpus);
    if online > count {
        return Err(Violation::TooFewCpus { count, online });
    }
    let seats = Seats::new(platform, online);
    let ran = AtomicU64::new(0);
    let lock = lock_api::Mutex::<P::Lock, _>::new(());
    // A load and a store, not one step: what the lock is for. Atomic, as the lock may be one in name only.
    let changes = AtomicU64::new(0);
    (means.on_each_cpu)(&|| {
        ran.fetch_add(1, Ordering::AcqRel);
        platform.pin(|cpu| seats.gather(cpu));
        for turn in 0..TURNS {
            platform.pin(|cpu| seats.take(cpu));
            let _held = lock.lock();
            let seen = changes.load(Ordering::Relaxed);
            spin();
            if turn % 64 == 0 {
                platform.relax();
            }
            changes.store(seen + 1, Ordering::Relaxed);
        }
    });
    let cpus = seats.outcome()?;
    let now = platform.cpu_count();
    if now != count {
        return Err(Violation::CpuCountChanges { before: count, now });
    }
    let total = ran.load(Ordering::Acquire) * TURNS;
    let lost = total - changes.load(Ordering::Acquire).min(total);
    match lost {
        0 => Ok(Seen {
            cpus,
            pins: total as usize,
        }),
        _ => Err(Violation::LockDoesNotExclude { lost, total }),
    }
}

fn spin() {
    for _ in 0..SPINS {
        spin_loop();
    }
}

/// Who is on which CPU.
struct Seats<P> {
    platform: P,
    /// CPUs that are to be seen at once.
    online: usize,
    /// By the CPU's number.
    busy: Vec<AtomicBool>,
    /// CPUs that were pinned while those before them still were.
    met: Vec<AtomicBool>,
    /// Nobody waits for others any more: all are there, or one did not come.
    go: AtomicBool,
    /// A number that no CPU has.
    beyond: AtomicUsize,
    /// A CPU that two were on at once.
    shared: AtomicUsize,
    /// A CPU that was another one when it was pinned again.
    moved: AtomicUsize,
}

impl<P: Platform> Seats<P> {
    fn new(platform: P, online: usize) -> Self {
        let flags = || {
            (0..platform.cpu_count())
                .map(|_| AtomicBool::new(false))
                .collect()
        };
        let none = || AtomicUsize::new(NONE);
        Self {
            platform,
            online,
            busy: flags(),
            met: flags(),
            go: AtomicBool::new(false),
            beyond: none(),
            shared: none(),
            moved: none(),
        }
    }

    /// Stays on `cpu` until somebody is on each of the others too: then each has been seen, under a number of its own.
    fn gather(&self, cpu: Cpu) {
        self.enter(cpu, || {
            // Who comes when the others have left was not there at once with them.
            let in_time = !self.go.load(Ordering::Acquire);
            if in_time && let Some(met) = self.met.get(cpu.0) {
                met.store(true, Ordering::Release);
            }
            let start_ns = self.platform.now_ns();
            while !self.go.load(Ordering::Acquire) {
                let late = self.platform.now_ns().saturating_sub(start_ns) > GRACE_NS;
                if late || self.met() >= self.online || self.trouble().is_err() {
                    self.go.store(true, Ordering::Release);
                }
                self.platform.relax();
            }
        });
    }

    /// Is on `cpu` for a while, pinned again in the middle of it.
    fn take(&self, cpu: Cpu) {
        self.enter(cpu, || {
            spin();
            self.platform.pin(|inner| {
                if inner != cpu {
                    self.moved.store(cpu.0, Ordering::Release);
                }
            });
            // Still nobody else's: the outer closure has not ended.
            spin();
        });
    }

    fn enter(&self, cpu: Cpu, stay: impl FnOnce()) {
        let Some(busy) = self.busy.get(cpu.0) else {
            return self.beyond.store(cpu.0, Ordering::Release);
        };
        if busy.swap(true, Ordering::AcqRel) {
            self.shared.store(cpu.0, Ordering::Release);
        }
        stay();
        busy.store(false, Ordering::Release);
    }

    fn met(&self) -> usize {
        let met = |met: &&AtomicBool| met.load(Ordering::Acquire);
        self.met.iter().filter(met).count()
    }

    fn trouble(&self) -> Result<(), Violation> {
        let at = |found: &AtomicUsize| Some(found.load(Ordering::Acquire)).filter(|&at| at != NONE);
        let count = self.busy.len();
        match (at(&self.beyond), at(&self.moved), at(&self.shared)) {
            (Some(cpu), ..) => Err(Violation::NoSuchCpu { cpu, count }),
            (_, Some(cpu), _) => Err(Violation::PinMoves { cpu }),
            (.., Some(cpu)) => Err(Violation::CpuShared { cpu }),
            _ => Ok(()),
        }
    }

    /// How many CPUs were pinned at once.
    fn outcome(&self) -> Result<usize, Violation> {
        self.trouble()?;
        let (seen, online) = (self.met(), self.online);
        match seen >= online.max(1) {
            true => Ok(seen),
            false => Err(Violation::NotEachCpu { seen, online }),
        }
    }
}
