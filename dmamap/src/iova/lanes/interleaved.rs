//! Lent blocks and lanes in every order in which CPUs can come: loom makes them all.
//!
//! Blocks, lanes and what keeps a lane its CPU's are the sources that run, compiled a second time with atomics of loom's (see
//! [`crate::interleaved`]). The directory lies in frames, which are not loom's, so a pointer stands for it.

use alloc::boxed::Box;
use core::num::NonZeroU32;
use core::ptr::{NonNull, null_mut};

use loom::cell::UnsafeCell;
use loom::model::Builder;
use loom::sync::atomic::{AtomicPtr, AtomicU16, Ordering};
use loom::sync::{Arc, Mutex};
use loom::thread;

use super::{IovaRequest, LaneRequest, Level};
use crate::interleaved::machine::{Fences, Machine, be};
use crate::interleaved::percpu::PerCpu;
use crate::interleaved::sync;
use crate::iova::units::UNITS;
use crate::platform::Cpu;
use crate::slab::Handle;
use lane::Lane;
use lent::{LentBlock, Tails};

#[allow(dead_code, reason = "models ask for less")]
#[expect(clippy::duplicate_mod, reason = "once as it runs, once for loom")]
#[path = "lane.rs"]
mod lane;
#[allow(dead_code, reason = "blocks in models have no entries")]
#[expect(clippy::duplicate_mod, reason = "once as it runs, once for loom")]
#[path = "lent.rs"]
mod lent;

/// Where the block begins.
const START: u64 = 3 * UNITS as u64;

/// Granules that any range of a model is among.
const GRANULES: usize = 5;

/// How often loom takes the CPU away where nobody waits.
const PREEMPTIONS: usize = 2;

/// What ranges are for, and what the block lies in. loom ends the model where two use one thing at once, or one after the other
/// without knowing of it.
#[derive(Default)]
struct Memory {
    /// Of each granule, whether somebody has it.
    held: [UnsafeCell<bool>; GRANULES],
    block: UnsafeCell<()>,
}

impl Memory {
    /// Changes hands.
    fn pass(&self, granule: u64, from: bool, to: bool) {
        let held = &self.held[(granule - START) as usize];
        held.with_mut(|held| {
            // SAFETY: loom panics where it is not alone.
            let was = unsafe { held.replace(to) };
            assert_eq!(was, from, "granule {granule:#x} is one CPU's at a time");
        });
    }

    fn take(&self, granule: u64) {
        self.pass(granule, false, true);
    }

    fn give(&self, granule: u64) {
        self.pass(granule, true, false);
    }

    /// The block is looked at.
    fn touch(&self) {
        self.block.with(|_| ());
    }

    /// The block goes.
    fn lose(&self) {
        self.block.with_mut(|_| ());
    }
}

/// What is said of the length of ranges, each of which is one unit.
fn tails() -> Box<[AtomicU16]> {
    (0..GRANULES).map(|_| AtomicU16::new(0)).collect()
}

/// What is said of the range that begins with `granule`: of no two the same.
fn tail_of(granule: u64) -> u16 {
    (granule - START + 1) as u16
}

fn block_of(cpu: Cpu, tails: NonNull<[AtomicU16]>) -> LentBlock {
    let tails = Tails {
        words: tails,
        record: Handle::from_number(NonZeroU32::MIN),
    };
    let name = Handle::from_number(NonZeroU32::MIN);
    let block = LentBlock::new((START, Level::Blocks), name, None, Some(tails));
    block.become_of(cpu, Handle::from_number(NonZeroU32::MIN));
    block
}

fn check(model: impl Fn() + Send + Sync + 'static) {
    let mut builder = Builder::new();
    builder.preemption_bound = Some(PREEMPTIONS);
    builder.check(model);
}

/// Two leave a range each, in one word, while the owner begins, ends and collects.
#[test]
fn every_range_left_is_found_once_by_the_owner_who_then_has_the_block_alone() {
    check(|| {
        let tails = tails();
        let block = block_of(Cpu(0), NonNull::from(&*tails));
        let shared = Arc::new((block, Memory::default()));
        let (block, memory) = &*shared;
        let begin = || {
            let granule = block.begin(0, 1).unwrap();
            memory.take(granule);
            granule
        };
        let end = |granule| {
            memory.give(granule);
            block.end_range(granule, 1);
        };
        let own = begin();
        let others = [begin(), begin()].map(|granule| {
            let shared = shared.clone();
            thread::spawn(move || {
                let (block, memory) = &*shared;
                memory.give(granule);
                memory.touch();
                block.leave(granule);
            })
        });
        end(own);
        block.collect();
        // One of them is where a range was that was left, if any was.
        let next = [begin(), begin()];
        block.collect();
        end(begin());
        next.into_iter().for_each(end);
        while block.free_units() < UNITS {
            block.collect();
            thread::yield_now();
        }
        memory.lose();
        assert!(block.marks().is_unused());
        for other in others {
            other.join().unwrap();
        }
    });
}

/// A space with one block, which is lent to CPU 0.
struct World {
    lanes: PerCpu<Machine, Lane>,
    directory: AtomicPtr<LentBlock>,
    /// A bit for each granule that the space itself knows to be in use; and its lock.
    in_use: Mutex<u64>,
    memory: Memory,
}

impl World {
    /// All lanes, the block in that of the CPU that calls.
    fn new(fences: Fences) -> Self {
        let machine = Machine { cpus: 2, fences };
        let lanes = PerCpu::new(machine, |_| Lane::default());
        let tails = NonNull::from(Box::leak(tails()));
        let block = NonNull::from(Box::leak(Box::new(block_of(Cpu(0), tails))));
        lanes.with(|_, lane| lane.add(block)).unwrap();
        Self {
            lanes,
            directory: AtomicPtr::new(block.as_ptr()),
            in_use: Mutex::new(0),
            memory: Memory::default(),
        }
    }

    fn choose(&self) -> Option<u64> {
        let request = IovaRequest::new(4096);
        let request = LaneRequest::of(&request, 12)?;
        let chosen = self.lanes.with(|_, lane| {
            let (granule, block) = lane.choose(&request).ok()?;
            self.memory.touch();
            block.set_tail(granule, tail_of(granule));
            Some(granule)
        });
        let granule = chosen.flatten()?;
        self.memory.take(granule);
        Some(granule)
    }

    /// The block.
    fn look(&self) -> Option<NonNull<LentBlock>> {
        let block = NonNull::new(self.directory.load(Ordering::Acquire));
        if block.is_some() {
            self.memory.touch();
        }
        block
    }

    /// As `Lanes::free`, and where that says that the space is to be asked, as a domain asks it.
    fn free(&self, granule: u64) {
        self.memory.give(granule);
        let freed = self.lanes.with(|cpu, lane| {
            let block = match lane.hot_with(granule) {
                Some(hot) => NonNull::from(hot),
                None => self.look()?,
            };
            // SAFETY: the block has the caller's range, so it is not taken back but by who stops this CPU first.
            let block = unsafe { block.as_ref() };
            let len = block.granules(granule, 1);
            assert_eq!(len, tail_of(granule).into(), "it is as long as it was");
            match block.owner() == cpu {
                true => assert!(lane.end_range(block, granule, 1).is_none()),
                false => block.leave(granule),
            }
            Some(())
        });
        if freed.flatten().is_some() {
            return;
        }
        let mut in_use = self.in_use.lock().unwrap();
        match self.look() {
            // SAFETY: blocks go under the lock.
            Some(block) => unsafe { block.as_ref() }.leave(granule),
            None => {
                let bit = 1 << (granule - START);
                assert!(*in_use & bit != 0, "the range was lost with its block");
                *in_use &= !bit;
            }
        }
    }

    /// As `Lanes::recall`.
    fn recall(&self) {
        let mut in_use = self.in_use.lock().unwrap();
        // SAFETY: the lock is held.
        let mut stopped = unsafe { self.lanes.stop() };
        for lane in stopped.each() {
            while let Some(pointer) = lane.take() {
                // SAFETY: the lane had it, and all are stopped.
                let block = unsafe { pointer.as_ref() };
                block.collect();
                let marks = block.marks();
                for unit in marks.firsts() {
                    *in_use |= 1 << unit;
                    let granule = START + unit as u64;
                    let len = block.granules(granule, 1);
                    assert_eq!(len, tail_of(granule).into(), "it is as long as it was");
                }
                let tails = block.tails.map(|tails| tails.words.as_ptr());
                self.directory.store(null_mut(), Ordering::Release);
                self.memory.lose();
                // SAFETY: it was leaked when it was lent, and is nobody's any more.
                drop(unsafe { Box::from_raw(pointer.as_ptr()) });
                // SAFETY: as above.
                drop(tails.map(|tails| unsafe { Box::from_raw(tails) }));
            }
        }
    }
}

fn ranges_outlive_a_recall(fences: Fences) {
    check(move || {
        be(Cpu(0));
        let world = Arc::new(World::new(fences));
        let theirs = world.choose().unwrap();
        let own = world.choose().unwrap();
        let other = {
            let world = world.clone();
            thread::spawn(move || {
                be(Cpu(1));
                world.free(theirs);
            })
        };
        let third = {
            let world = world.clone();
            thread::spawn(move || world.recall())
        };
        world.free(own);
        if let Some(next) = world.choose() {
            world.free(next);
        }
        other.join().unwrap();
        third.join().unwrap();
        let in_use = *world.in_use.lock().unwrap();
        assert_eq!(in_use, 0, "what was freed is free, whoever knew of it");
    });
}

/// The owner and another CPU free while a third calls the block back.
#[test]
fn what_is_freed_while_a_block_is_called_back_is_not_lost() {
    ranges_outlive_a_recall(Fences::Own);
}

#[test]
fn what_is_freed_while_a_block_is_called_back_is_not_lost_where_who_recalls_fences_for_all() {
    ranges_outlive_a_recall(Fences::OfAll);
}
