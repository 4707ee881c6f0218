//! A lane of an owner that is no CPU: whoever has it chooses from its blocks, alone and on whatever CPU that runs.
//!
//! What a CPU pays to be alone with its lane, the borrow checker has seen to here: `&mut` is all there is to it. The price is that
//! nobody else calls the blocks back: they are the owner's until it gives them up.

use core::ptr::NonNull;

use super::lane::Lane;
use super::lent::LentBlock;
use super::{AtHand, LaneRequest, Lanes, Lender, Level, Parted};
use crate::addr::{BusAddr, BusRange};
use crate::iova::IovaSpace;
use crate::platform::{Cpu, Platform};
use crate::sync::AtomicU64;

/// The lane of one owner. It is to be [given back](Lanes::give_back) at its end: else its blocks stay lent.
pub(crate) struct OwnedLane {
    lane: Lane,
    /// What its blocks call their owner: no CPU's number, and no other lane's.
    number: Cpu,
    /// Where a range ended last that was not in the block at hand: rings end where they began a while ago.
    ending: Option<NonNull<LentBlock>>,
}

// SAFETY: lent blocks are used by whoever has the lane, on whatever thread that runs.
unsafe impl Send for OwnedLane {}
// SAFETY: a shared reference reads at most.
unsafe impl Sync for OwnedLane {}

/// The blocks of the lane are within its owner's limits, all of them.
pub(crate) const ANYWHERE: (BusAddr, BusAddr) = (BusAddr::new(0), BusAddr::new(u64::MAX));

/// What became of a range that its lane was to free.
pub(crate) enum Ended {
    /// It is free.
    Done,
    /// It is, and nothing is left in its block, which is to be [taken back](Lanes::take_back).
    Unused(Parted),
    /// It is not in a block of this lane.
    Elsewhere,
}

impl OwnedLane {
    /// Begins a range; its first granule, and the entries of all of them. `None` where no block of the lane has room.
    #[inline]
    pub(crate) fn choose(&mut self, request: &LaneRequest<'_>) -> Option<(u64, &[AtomicU64])> {
        let (granule, block) = self.lane.choose(request).ok()?;
        Some((granule, block.entries(granule, request.units)))
    }

    /// Begins a range of one granule where the word at hand has room and entries, and calls `write` with its own; where that says no the
    /// range ends again. Its bus address.
    #[inline]
    pub(crate) fn choose_one(
        &mut self,
        granule_log2: u32,
        write: impl FnOnce(&AtomicU64) -> bool,
    ) -> Option<BusAddr> {
        let hot = self.lane.hot()?;
        hot.begin_one_if(ANYWHERE, granule_log2, write)
    }

    /// What is at hand of the lane: a range is begun and ended there as [`choose`](Self::choose) and [`Lanes::end`] do it, in less steps.
    #[inline(always)]
    pub(crate) fn at_hand(&mut self) -> Option<&mut AtHand> {
        self.lane.hot()
    }

    /// The entries of a range of `len` granules that begins with this one, if it is in the block that was chosen from last.
    #[inline]
    pub(crate) fn entries_at_hand(&self, granule: u64, len: usize) -> Option<&[AtomicU64]> {
        Some(self.lane.hot_with(granule)?.entries(granule, len))
    }

    /// The block of the lane that a granule is in, by looking at them all: what the directory says in one look. For when that cannot be
    /// asked.
    #[cold]
    fn block_among_all(&self, granule: u64) -> Option<NonNull<LentBlock>> {
        self.lane.blocks().find(|&block| {
            // SAFETY: a block of this lane is given up by the lane alone.
            unsafe { block.as_ref() }.contains(granule)
        })
    }
}

impl<P: Platform, S: Default> Lanes<P, S> {
    /// A lane with no block yet.
    pub(crate) fn own(&self, lender: &mut Lender<P>) -> OwnedLane {
        lender.owners += 1;
        OwnedLane {
            lane: Lane::default(),
            number: Cpu(usize::MAX - lender.owners),
            ending: None,
        }
    }

    /// Lends an owner's lane another block, as [`lend`](Self::lend); whether it has one.
    pub(crate) fn lend_to(
        &self,
        owned: &mut OwnedLane,
        lender: &mut Lender<P>,
        space: &mut IovaSpace<P>,
        request: &LaneRequest<'_>,
        leaves: impl FnOnce(u64) -> Option<Option<super::Leaves>>,
    ) -> bool {
        let Some((block, record)) = self.record(lender, space, request, leaves) else {
            return false;
        };
        // SAFETY: it was just recorded, and is taken back by its owner.
        let it = unsafe { block.as_ref() };
        it.become_of(owned.number, record);
        self.publish(block);
        owned.lane.add(block);
        true
    }

    /// The block of an owner's lane that a granule is in.
    ///
    /// # Safety
    /// The caller has a range of the space that begins there.
    unsafe fn block_in(&self, owned: &OwnedLane, granule: u64) -> Option<NonNull<LentBlock>> {
        let has_it = |block: &NonNull<LentBlock>| {
            // SAFETY: a block of this lane is given up by the lane alone.
            unsafe { block.as_ref() }.contains(granule)
        };
        if let Some(ending) = owned.ending.filter(has_it) {
            return Some(ending);
        }
        // Within the CPU's value, as the block may be another's, which then is not taken back meanwhile.
        let looked = self.cpus.with(|_, _| {
            let found = self.directory(Level::Granules).get(granule)?;
            // SAFETY: the block has the caller's range, so it is not taken back but by who stops this CPU first.
            let is_own = unsafe { found.as_ref() }.owner() == owned.number;
            is_own.then_some(found)
        });
        looked.unwrap_or_else(|| owned.block_among_all(granule))
    }

    /// The entries of a range of `len` granules that begins with this one, if it is in a block of the owner's lane.
    ///
    /// # Safety
    /// The caller has the range.
    #[inline]
    pub(crate) unsafe fn entries_in<'a>(
        &self,
        owned: &'a OwnedLane,
        granule: u64,
        len: usize,
    ) -> Option<&'a [AtomicU64]> {
        if let Some(hot) = owned.lane.hot_with(granule) {
            return Some(hot.entries(granule, len));
        }
        // SAFETY: the caller's promise; and a block of this lane is given up by the lane alone.
        Some(unsafe { self.block_in(owned, granule)?.as_ref() }.entries(granule, len))
    }

    /// Frees a range of `len` granules in an owner's lane.
    ///
    /// # Safety
    /// The caller has the range, whole, and gives it up if it is in a block of the lane.
    #[inline]
    pub(crate) unsafe fn end(&self, owned: &mut OwnedLane, granule: u64, len: usize) -> Ended {
        if owned.lane.end_hot(granule, len) {
            return Ended::Done;
        }
        // SAFETY: the caller's promise.
        unsafe { self.end_found(owned, granule, len) }
    }

    /// The same where the block is another one than the last.
    ///
    /// # Safety
    /// As [`end`](Self::end).
    unsafe fn end_found(&self, owned: &mut OwnedLane, granule: u64, len: usize) -> Ended {
        // SAFETY: the caller's promise.
        let Some(pointer) = (unsafe { self.block_in(owned, granule) }) else {
            return Ended::Elsewhere;
        };
        // SAFETY: a block of this lane is given up by the lane alone, which the caller has.
        let block = unsafe { pointer.as_ref() };
        owned.ending = Some(pointer);
        match owned.lane.end_range(block, granule, len) {
            None => Ended::Done,
            Some(unused) => {
                owned.ending = None;
                Ended::Unused(Parted(unused))
            }
        }
    }

    /// The space has all blocks of an owner's lane again, with what is in use of them. `part` is called with the level and
    /// first granule of each, as nobody keeps its entries for it any more. What was [kept](super::LentRange::keep) in them the space keeps, and
    /// `kept` is told.
    ///
    /// # Safety
    /// As [`recall`](Self::recall).
    pub(crate) unsafe fn give_back(
        &self,
        owned: &mut OwnedLane,
        lender: &mut Lender<P>,
        space: &mut IovaSpace<P>,
        mut part: impl FnMut(Level, u64),
        mut kept: impl FnMut(BusRange),
    ) {
        // Others may be at a range of a block, to free it.
        // SAFETY: one at a time has the lock.
        let stopped = unsafe { self.cpus.stop() };
        owned.ending = None;
        while let Some(block) = owned.lane.take() {
            // SAFETY: the lane had it, and all are stopped.
            let block = unsafe { block.as_ref() };
            block.collect();
            let (start, marks, lost) = (block.start, block.marks(), block.kept());
            self.give(lender, space, block, &mut part);
            for unit in lost.iter() {
                let Some(len) = marks.range_at(unit) else {
                    continue;
                };
                let log2 = space.granule_log2;
                let bus = BusAddr::new((start + unit as u64) << log2);
                let range = BusRange::of_existing(bus, (len as u64) << log2);
                let outcome = space.keep(range);
                outcome.expect("what is kept in a block is in use in it");
                kept(range);
            }
        }
        drop(stopped);
    }
}
