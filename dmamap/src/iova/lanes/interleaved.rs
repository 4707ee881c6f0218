//! Lent blocks and lanes in every order in which CPUs can come: loom makes them all.
//!
//! Blocks, lanes and what keeps a lane its CPU's are the sources that run, compiled a second time with atomics of loom's (see
//! [`crate::interleaved`]). The directory lies in frames, which are not loom's, so a pointer stands for it.

use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;
use core::num::NonZeroU32;
use core::ptr::{NonNull, null_mut};

use loom::cell::UnsafeCell;
use loom::sync::atomic::{AtomicPtr, AtomicU16, Ordering};
use loom::sync::{Arc, Mutex};
use loom::thread;

use super::{IovaRequest, LaneRequest, Level};
use crate::interleaved::check;
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
#[path = "at_hand.rs"]
mod at_hand;
#[allow(dead_code, reason = "models ask for less")]
#[expect(clippy::duplicate_mod, reason = "once as it runs, once for loom")]
#[path = "lane.rs"]
mod lane;
#[allow(dead_code, reason = "blocks in models have no entries")]
#[expect(clippy::duplicate_mod, reason = "once as it runs, once for loom")]
#[path = "lent.rs"]
mod lent;
#[expect(clippy::duplicate_mod, reason = "once as it runs, once for loom")]
#[path = "word.rs"]
mod word;

/// Where the block begins.
const START: u64 = 3 * UNITS as u64;

/// log2 of a granule's bytes.
const GRANULE_LOG2: u32 = 12;

/// Granules that any range of a model is among.
const GRANULES: usize = 5;

/// How often loom takes the CPU away where nobody waits.
const PREEMPTIONS: usize = 2;

/// What ranges are for, what the block lies in, and the table that its entries are in. loom ends the model where two use one thing at
/// once, or one after the other without knowing of it.
#[derive(Default)]
struct Memory {
    /// Of each granule, whether somebody has it.
    held: [UnsafeCell<bool>; GRANULES],
    block: UnsafeCell<()>,
    table: UnsafeCell<()>,
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

    /// An entry is written, or cleared.
    fn write_entry(&self) {
        self.table.with(|_| ());
    }

    /// The table goes, which nothing is mapped by.
    fn unlink_table(&self) {
        self.table.with_mut(|_| ());
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
    let block = LentBlock::new(
        (START, Level::Blocks),
        GRANULE_LOG2,
        name,
        None,
        Some(tails),
    );
    block.become_of(cpu, Handle::from_number(NonZeroU32::MIN));
    block
}

/// The owner finds all that others leave, and the block goes.
fn end_with(block: &LentBlock, memory: &Memory) {
    while block.free_units() < UNITS {
        block.collect();
        thread::yield_now();
    }
    memory.lose();
    assert!(block.marks().is_unused());
}

/// Two leave a range each, in one word, while the owner begins, ends and collects.
#[test]
#[cfg_attr(miri, ignore = "loom switches stacks, which Miri does not do")]
fn every_range_left_is_found_once_by_the_owner_who_then_has_the_block_alone() {
    check(PREEMPTIONS, || {
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
        end_with(block, memory);
        for other in others {
            other.join().unwrap();
        }
    });
}

/// One leaves two ranges of a word by one store, and another one more, while the owner begins, ends and collects.
#[test]
#[cfg_attr(miri, ignore = "loom switches stacks, which Miri does not do")]
fn ranges_left_together_are_found_once_by_the_owner() {
    check(PREEMPTIONS, || {
        let tails = tails();
        let block = block_of(Cpu(0), NonNull::from(&*tails));
        let shared = Arc::new((block, Memory::default()));
        let (block, memory) = &*shared;
        let begin = || {
            let granule = block.begin(0, 1).unwrap();
            memory.take(granule);
            granule
        };
        let own = begin();
        let left = [vec![begin(), begin()], vec![begin()]];
        let others = left.map(|granules| {
            let shared = shared.clone();
            thread::spawn(move || {
                let (block, memory) = &*shared;
                let bit = |granule: &u64| {
                    memory.give(*granule);
                    1 << (granule - START)
                };
                let starts = granules.iter().map(bit).sum();
                memory.touch();
                block.leave_all(granules[0], starts);
            })
        });
        block.collect();
        let next = begin();
        memory.give(own);
        block.end_range(own, 1);
        memory.give(next);
        block.end_range(next, 1);
        end_with(block, memory);
        for other in others {
            other.join().unwrap();
        }
    });
}

/// What is left ends whole, and what is beside it stays, within a word and beyond it.
#[test]
#[cfg_attr(miri, ignore = "loom switches stacks, which Miri does not do")]
fn what_is_left_ends_whole_whatever_its_length() {
    // Of one word: single units alone, and others among them; then ranges that go on in the next.
    let orders: [&[u32]; 4] = [&[0, 0, 0, 0], &[0, 1, 0, 2], &[6, 7, 0], &[8, 6, 1]];
    for (orders, which) in orders
        .into_iter()
        .flat_map(|o| (0..1 << o.len()).map(move |w| (o, w)))
    {
        check(0, move || {
            let tails = tails();
            let block = block_of(Cpu(0), NonNull::from(&*tails));
            let ranges = orders.iter().map(|order| {
                let len = 1 << order;
                (block.begin(*order, len).unwrap(), len)
            });
            let ranges = ranges.collect::<Vec<_>>();
            let mut stays = UNITS - block.free_units();
            for (n, (granule, len)) in ranges.iter().enumerate() {
                if which >> n & 1 != 0 {
                    block.leave(*granule);
                    stays -= len;
                }
            }
            block.collect();
            assert_eq!(UNITS - block.free_units(), stays, "{orders:?} {which:#b}");
            for (n, (granule, len)) in ranges.into_iter().enumerate() {
                let is_there = which >> n & 1 == 0;
                assert_eq!(block.range_at(granule), is_there.then_some(len));
            }
        });
    }
}

/// Who has a range finds how long it is, whatever its owner begins and ends beside it meanwhile.
fn a_range_is_as_long_as_it_was(order: u32) {
    check(PREEMPTIONS, move || {
        let tails = tails();
        let block = Arc::new(block_of(Cpu(0), NonNull::from(&*tails)));
        let len = 1 << order;
        // Around both there was one range before.
        let before = block.begin(order + 1, 2 * len).unwrap();
        block.end_range(before, 2 * len);
        let theirs = block.begin(order, len).unwrap();
        let other = {
            let block = block.clone();
            thread::spawn(move || {
                assert_eq!(block.range_at(theirs), Some(len));
                assert!(block.is_range(theirs, len));
            })
        };
        let beside = block.begin(order, len).unwrap();
        assert_eq!(beside, theirs + len as u64);
        block.end_range(beside, len);
        block.begin(order, len).unwrap();
        other.join().unwrap();
    });
}

#[test]
#[cfg_attr(miri, ignore = "loom switches stacks, which Miri does not do")]
fn what_is_said_of_a_range_stays_so_while_its_owner_begins_others_beside_it() {
    a_range_is_as_long_as_it_was(0);
}

#[test]
#[cfg_attr(miri, ignore = "loom switches stacks, which Miri does not do")]
fn what_is_said_of_several_units_stays_so_while_their_owner_begins_others_beside_them() {
    a_range_is_as_long_as_it_was(1);
}

/// What an owner that is no CPU is called.
const OWNER: Cpu = Cpu(usize::MAX - 1);

/// Large units, as the block has.
fn request() -> IovaRequest {
    IovaRequest::new((UNITS as u64) << GRANULE_LOG2)
}

/// A space with one block, which is lent to CPU 0, or to an owner.
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
        let (world, block) = Self::with_block_of(Cpu(0), fences);
        world.lanes.with(|_, lane| lane.add(block)).unwrap();
        world
    }

    /// All lanes, and the block in one that an owner has.
    fn owned(fences: Fences) -> (Self, Lane) {
        let (world, block) = Self::with_block_of(OWNER, fences);
        let mut owned = Lane::default();
        owned.add(block);
        (world, owned)
    }

    fn with_block_of(owner: Cpu, fences: Fences) -> (Self, NonNull<LentBlock>) {
        let machine = Machine { cpus: 2, fences };
        let lanes = PerCpu::new(machine, |_| Lane::default());
        let tails = NonNull::from(Box::leak(tails()));
        let block = NonNull::from(Box::leak(Box::new(block_of(owner, tails))));
        let world = Self {
            lanes,
            directory: AtomicPtr::new(block.as_ptr()),
            in_use: Mutex::new(0),
            memory: Memory::default(),
        };
        (world, block)
    }

    fn choose(&self) -> Option<u64> {
        let chosen = self.lanes.with(|_, lane| self.choose_in(lane));
        let granule = chosen.flatten()?;
        self.memory.take(granule);
        Some(granule)
    }

    fn choose_in(&self, lane: &mut Lane) -> Option<u64> {
        let request = request();
        let request = LaneRequest::of_large(&request, GRANULE_LOG2)?;
        let (granule, block) = lane.choose(&request).ok()?;
        self.memory.touch();
        block.set_tail(granule, tail_of(granule));
        self.memory.write_entry();
        Some(granule)
    }

    /// As an owner, in its own lane.
    fn choose_owned(&self, owned: &mut Lane) -> u64 {
        let granule = self.choose_in(owned).unwrap();
        self.memory.take(granule);
        granule
    }

    /// As `Lanes::end`.
    fn end_owned(&self, owned: &mut Lane, granule: u64) {
        self.memory.give(granule);
        self.memory.write_entry();
        assert!(owned.end_hot(granule, 1), "there is no other block");
    }

    /// As `Lanes::give_back`.
    fn give_back(&self, mut owned: Lane) {
        let mut in_use = self.in_use.lock().unwrap();
        // SAFETY: the lock is held.
        let stopped = unsafe { self.lanes.stop() };
        self.take_blocks_of(&mut owned, &mut in_use);
        drop(stopped);
        self.reclaim(*in_use);
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
            self.memory.write_entry();
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
        self.memory.write_entry();
        match self.look() {
            // SAFETY: blocks go under the lock.
            Some(block) => unsafe { block.as_ref() }.leave(granule),
            None => {
                let bit = 1 << (granule - START);
                assert!(*in_use & bit != 0, "the range was lost with its block");
                *in_use &= !bit;
                self.reclaim(*in_use);
            }
        }
    }

    /// As the walker, which unlinks a table that has no entries and that no block holds. Under the lock.
    fn reclaim(&self, in_use: u64) {
        if in_use == 0 && self.look().is_none() {
            self.memory.unlink_table();
        }
    }

    /// As `Lanes::recall`.
    fn recall(&self) {
        let mut in_use = self.in_use.lock().unwrap();
        // SAFETY: the lock is held.
        let mut stopped = unsafe { self.lanes.stop() };
        for lane in stopped.each() {
            self.take_blocks_of(lane, &mut in_use);
        }
        drop(stopped);
        self.reclaim(*in_use);
    }

    fn take_blocks_of(&self, lane: &mut Lane, in_use: &mut u64) {
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

fn ranges_outlive_a_recall(fences: Fences) {
    check(PREEMPTIONS, move || {
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
#[cfg_attr(miri, ignore = "loom switches stacks, which Miri does not do")]
fn what_is_freed_while_a_block_is_called_back_is_not_lost() {
    ranges_outlive_a_recall(Fences::Own);
}

#[test]
#[cfg_attr(miri, ignore = "loom switches stacks, which Miri does not do")]
fn what_is_freed_while_a_block_is_called_back_is_not_lost_where_who_recalls_fences_for_all() {
    ranges_outlive_a_recall(Fences::OfAll);
}

fn ranges_outlive_their_owner(fences: Fences) {
    check(PREEMPTIONS, move || {
        be(Cpu(0));
        let (world, mut owned) = World::owned(fences);
        let world = Arc::new(world);
        let [theirs, own, left] = [(); 3].map(|()| world.choose_owned(&mut owned));
        let other = {
            let world = world.clone();
            thread::spawn(move || {
                be(Cpu(1));
                world.free(theirs);
            })
        };
        // While the other does, or not: what it has left by now the owner begins again.
        world.end_owned(&mut owned, own);
        let blocks = owned.blocks();
        // SAFETY: they are the owner's.
        blocks.for_each(|block| unsafe { block.as_ref() }.collect());
        let next = [(); 2].map(|()| world.choose_owned(&mut owned));
        world.end_owned(&mut owned, next[0]);
        world.give_back(owned);
        // These two are the space's now.
        [left, next[1]]
            .into_iter()
            .for_each(|granule| world.free(granule));
        other.join().unwrap();
        let in_use = *world.in_use.lock().unwrap();
        assert_eq!(in_use, 0, "what was freed is free, whoever knew of it");
    });
}

/// A CPU frees a range of an owner's block while the owner begins and ends others, takes what was left to it, and ends.
#[test]
#[cfg_attr(miri, ignore = "loom switches stacks, which Miri does not do")]
fn what_is_freed_of_an_owners_block_is_the_owners_or_the_spaces() {
    ranges_outlive_their_owner(Fences::Own);
}

#[test]
#[cfg_attr(miri, ignore = "loom switches stacks, which Miri does not do")]
fn what_is_freed_of_an_owners_block_is_the_owners_or_the_spaces_where_who_stops_fences_for_all() {
    ranges_outlive_their_owner(Fences::OfAll);
}
