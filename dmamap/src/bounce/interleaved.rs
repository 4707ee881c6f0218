//! Runs that CPUs keep ready, in every order in which CPUs can come: loom makes them all.
//!
//! What a CPU keeps, what is noted of runs, how they are counted, and what keeps a CPU's part its own are the sources that run, compiled
//! a second time with atomics of loom's (see [`crate::interleaved`]). Areas have locks and lie in frames, which are not loom's: one
//! run and a mutex stand for them.

use loom::cell::UnsafeCell;
use loom::sync::{Arc, Mutex};
use loom::thread;

use super::run;
use crate::addr::PhysAddr;
use crate::interleaved::check;
use crate::interleaved::machine::{Fences, Machine, be};
use crate::interleaved::percpu::PerCpu;
use crate::interleaved::sync;
use crate::map::AnyDirection;
use crate::platform::Cpu;
use magazine::{Magazine, RunStart};
use record::{Holds, Kind, Record};
use run::Purpose;
use tally::Tally;

#[allow(dead_code, reason = "models ask for less")]
#[expect(clippy::duplicate_mod, reason = "once as it runs, once for loom")]
#[path = "magazine.rs"]
mod magazine;
#[allow(dead_code, reason = "models ask for less")]
#[expect(clippy::duplicate_mod, reason = "once as it runs, once for loom")]
#[path = "record.rs"]
mod record;
#[allow(dead_code, reason = "models ask for less")]
#[expect(clippy::duplicate_mod, reason = "once as it runs, once for loom")]
#[path = "tally.rs"]
mod tally;

/// How often loom takes the CPU away where nobody waits.
const PREEMPTIONS: usize = 2;

/// Slots of the one run.
const SLOTS: u32 = 1;

/// A pool of one run.
struct Pool {
    cpus: PerCpu<Machine, Magazine>,
    tally: Tally,
    /// Whether the run is free in the area, under its lock; who stops all CPUs has it too.
    area: Mutex<bool>,
    record: Record,
    /// The run's memory. loom ends the model where two use it at once, or one after the other without knowing of it.
    memory: UnsafeCell<u32>,
}

impl Pool {
    /// A pool whose run is free.
    fn new(fences: Fences) -> Arc<Self> {
        let machine = Machine { cpus: 2, fences };
        Arc::new(Self {
            cpus: PerCpu::new(machine, |_| Magazine::EMPTY),
            tally: Tally::new(2),
            area: Mutex::new(true),
            record: Record::inner(),
            memory: UnsafeCell::new(0),
        })
    }

    fn start() -> RunStart {
        RunStart::new(0, 0)
    }

    /// As pools lend what this CPU keeps ready.
    fn lend_ready(&self) -> bool {
        let lent = self.cpus.with(|cpu, magazine| {
            let at = magazine.first(SLOTS)?;
            assert_eq!(at, Self::start());
            assert_eq!(self.record.tag().kind(), Kind::Kept);
            magazine.pop(SLOTS, &self.record);
            self.note_lent();
            self.tally.lend_kept(cpu, SLOTS);
            Some(())
        });
        lent.flatten().is_some()
    }

    /// As pools lend what the area has.
    fn lend_of_area(&self, cpu: Cpu) -> bool {
        let taken = core::mem::take(&mut *self.area.lock().unwrap());
        if taken {
            self.note_lent();
            self.tally.take(cpu, SLOTS, 0);
        }
        taken
    }

    fn note_lent(&self) {
        let purpose = Purpose {
            offset: 0,
            len_bytes: 1,
            origin: PhysAddr::new(0),
            direction: AnyDirection::ToDevice,
        };
        self.record.lend(SLOTS, &purpose);
    }

    /// As pools take back what was lent: this CPU keeps it, or the area has it again.
    fn give_back(&self, cpu: Cpu) {
        assert_eq!(self.record.tag().kind(), Kind::Lent);
        let kept = self.cpus.with(|cpu, magazine| {
            magazine.push(SLOTS, Self::start(), &self.record, Holds::Anything);
            self.tally.keep_returned(cpu, SLOTS);
        });
        if kept.is_none() {
            let mut area = self.area.lock().unwrap();
            self.record.end_block();
            *area = true;
            self.tally.give_back(cpu, SLOTS);
        }
    }

    /// As pools call back what all CPUs keep.
    fn recall(&self) {
        if !self.tally.any_kept() {
            return;
        }
        let mut area = self.area.lock().unwrap();
        // SAFETY: one at a time has the lock, and none waits for it within a CPU's part.
        let mut stopped = unsafe { self.cpus.stop() };
        for (number, magazine) in stopped.each().enumerate() {
            while magazine.first(SLOTS).is_some() {
                magazine.pop(SLOTS, &self.record);
                self.record.end_block();
                assert!(!*area, "a run is in one place");
                *area = true;
                self.tally.give_back_kept(Cpu(number), SLOTS);
            }
        }
    }

    /// What a driver does with the run that it was lent.
    fn use_memory(&self) {
        // SAFETY: loom panics where it is not alone.
        self.memory.with_mut(|memory| unsafe { *memory += 1 });
    }

    /// Maps and unmaps, if the run is to be had; whether it was.
    fn map_and_unmap(&self, cpu: Cpu) -> bool {
        be(cpu);
        let lent = self.lend_ready() || {
            self.recall();
            self.lend_of_area(cpu)
        };
        if lent {
            assert_ne!(self.tally.lent(), 0, "this one is lent");
            self.use_memory();
            self.give_back(cpu);
        }
        lent
    }

    /// When nobody does anything any more the run is free, in one place.
    fn check(&self) {
        self.recall();
        assert!(*self.area.lock().unwrap());
        assert!(!self.tally.any_kept());
        assert_eq!(self.tally.lent(), 0);
    }
}

/// CPU 0 keeps the run, and both want it: CPU 1 calls it back.
fn one_run_for_two(fences: Fences) {
    check(PREEMPTIONS, move || {
        let pool = Pool::new(fences);
        assert!(pool.map_and_unmap(Cpu(0)));
        let other = {
            let pool = pool.clone();
            thread::spawn(move || pool.map_and_unmap(Cpu(1)))
        };
        let mine = pool.map_and_unmap(Cpu(0));
        let theirs = other.join().unwrap();
        assert!(mine || theirs, "the run is lost");
        be(Cpu(0));
        pool.check();
    });
}

#[test]
#[cfg_attr(miri, ignore = "loom switches stacks, which Miri does not do")]
fn a_run_is_lent_to_one_at_a_time_whoever_calls_it_back() {
    one_run_for_two(Fences::Own);
}

#[test]
#[cfg_attr(miri, ignore = "loom switches stacks, which Miri does not do")]
fn a_run_is_lent_to_one_at_a_time_where_who_calls_it_back_fences_for_all() {
    one_run_for_two(Fences::OfAll);
}

/// A mapping is made on CPU 0 and ends on CPU 1, while CPU 0 calls back what that keeps.
#[test]
#[cfg_attr(miri, ignore = "loom switches stacks, which Miri does not do")]
fn a_run_that_comes_back_elsewhere_is_called_back_from_there() {
    check(PREEMPTIONS, || {
        let pool = Pool::new(Fences::Own);
        be(Cpu(0));
        assert!(pool.lend_of_area(Cpu(0)));
        pool.use_memory();
        let other = {
            let pool = pool.clone();
            thread::spawn(move || {
                be(Cpu(1));
                pool.use_memory();
                pool.give_back(Cpu(1));
                pool.map_and_unmap(Cpu(1))
            })
        };
        pool.map_and_unmap(Cpu(0));
        other.join().unwrap();
        be(Cpu(0));
        pool.check();
    });
}

/// A slot is lent at every moment, though never the same for long: nobody who counts may find none.
#[test]
#[cfg_attr(miri, ignore = "loom switches stacks, which Miri does not do")]
fn what_is_lent_all_the_time_is_counted_whoever_counts() {
    check(PREEMPTIONS, || {
        let tally = Arc::new(Tally::new(2));
        // One is lent on a CPU, one kept by the other.
        tally.take(Cpu(0), 1, 0);
        tally.take(Cpu(1), 0, 1);
        // The one that counts is the second thread: loom sees no reason to change to the first before what that
        // writes, where it has read it itself since.
        let other = {
            let tally = tally.clone();
            thread::spawn(move || {
                assert!(tally.lent() >= 1, "it was never so few");
            })
        };
        for _ in 0..2 {
            // The one that is kept is lent, and only then the other comes back, and is kept.
            tally.lend_kept(Cpu(1), 1);
            tally.keep_returned(Cpu(1), 1);
        }
        other.join().unwrap();
        assert_eq!((tally.lent(), tally.kept(Cpu(1))), (1, 1));
    });
}
