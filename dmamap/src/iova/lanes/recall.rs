//! Calling blocks back that CPUs were lent: all of them, or those that somebody needs.
//!
//! A lane is lent blocks in which nothing is in use, and one that it had to give back with little in it is no use to it any more. So where some
//! blocks cannot be what they are called back for, a lane keeps a few of them, those that it would choose from next: who is
//! refused again and again does not take a block for each page from others. It keeps no more than a few, as whoever calls back looks at
//! each: a block is looked at once for each time that it is lent, but for these.

use super::lane::{LOOKS, WORTH_IT};
use super::lent::LentBlock;
use super::{Lanes, Lender, Level};
use crate::addr::BusRange;
use crate::iova::rooms::Rooms;
use crate::iova::search::Fit;
use crate::iova::{IovaRequest, IovaSpace, end_granule};
use crate::platform::Platform;

/// What blocks are called back for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Recall {
    /// A request that found no room elsewhere. Where blocks cannot have room for it either, lanes may keep some.
    Room(IovaRequest),
    /// These addresses. Of blocks without any of them lanes may keep some.
    Addresses(BusRange),
    /// What is in use: lanes are lent blocks again, perhaps at once.
    KeepingFrames,
    /// Frames too that were held for lent blocks.
    WithFrames,
    /// All of it, and no lane is used any more.
    ForGood,
}

impl<P: Platform, S: Default> Lanes<P, S> {
    /// Calls blocks back, with all ranges in them: from now on the space has these. `part` is called with the level and
    /// the first granule of each block whose entries are no longer kept for it; `beside` with what each CPU has beside its lane, before.
    /// Returns how many granules the longest free run of a block has that a lane kept.
    ///
    /// # Safety
    /// The caller has the lock that `lender` and `space` are under, and is within no other call of these lanes.
    pub(crate) unsafe fn recall(
        &self,
        lender: &mut Lender<P>,
        space: &mut IovaSpace<P>,
        recall: Recall,
        mut beside: impl FnMut(&mut S),
        mut part: impl FnMut(Level, u64),
    ) -> u64 {
        let mut widest = 0;
        // SAFETY: one at a time has the lock.
        let mut stopped = unsafe { self.cpus.stop() };
        for seat in stopped.each() {
            beside(&mut seat.beside);
            for lane in &mut seat.lanes {
                let mut kept = 0;
                let is_needed = |block: &LentBlock, is_hot: bool| {
                    block.collect();
                    let is_chosen_from = kept < LOOKS && block.free_units() >= WORTH_IT;
                    if !(is_hot || is_chosen_from) || recall.needs(block, self.granule_log2) {
                        return true;
                    }
                    kept += usize::from(!is_hot);
                    widest = widest.max(block.longest());
                    false
                };
                let give = |block: &LentBlock| self.give(lender, space, block, &mut part);
                lane.part_with(is_needed, give);
            }
        }
        if matches!(recall, Recall::WithFrames | Recall::ForGood) {
            if lender.records.is_empty() {
                for directory in &self.directories {
                    // SAFETY: no CPU looks: those in lanes are stopped, others have the lock.
                    unsafe { directory.free() };
                }
            }
            lender.records.reclaim();
            lender.tails.reclaim();
        }
        if matches!(recall, Recall::ForGood) {
            stopped.forever();
        }
        widest
    }

    /// How many ranges are in use of blocks that CPUs have, and how many granules these have.
    ///
    /// # Safety
    /// As [`recall`](Self::recall).
    pub(crate) unsafe fn count(&self) -> (u64, u64) {
        let (mut ranges, mut granules) = (0, 0);
        // SAFETY: one at a time has the lock.
        let mut stopped = unsafe { self.cpus.stop() };
        for lane in stopped.each().flat_map(|seat| &seat.lanes) {
            for block in lane.blocks() {
                // SAFETY: the lane has it, and all are stopped.
                let block = unsafe { block.as_ref() };
                block.collect();
                let in_use = block.marks().count(block.level, |unit, units| {
                    block.granules(block.start + unit as u64, units)
                });
                ranges += in_use.0;
                granules += in_use.1;
            }
        }
        (ranges, granules)
    }
}

impl Recall {
    /// Whether a block may be what is called back for, as far as it can be told.
    fn needs(&self, block: &LentBlock, granule_log2: u32) -> bool {
        match self {
            Self::Room(request) => {
                let Ok(fit) = Fit::of(*request, granule_log2) else {
                    return true;
                };
                // What nothing is in becomes part of what is larger.
                block.reaches_into((fit.start, fit.end))
                    && (block.is_unused() || block.longest() >= fit.len)
            }
            Self::Addresses(range) => {
                let first = range.start().as_u64() >> granule_log2;
                block.reaches_into((first, end_granule(range.last(), granule_log2) + 1))
            }
            Self::KeepingFrames | Self::WithFrames | Self::ForGood => true,
        }
    }
}

impl LentBlock {
    /// Whether one of its granules is in `start..end`.
    fn reaches_into(&self, (start, end): (u64, u64)) -> bool {
        let first = self.start << self.level.unit_log2();
        first < end && start < first + self.level.block_len()
    }

    /// Granules in its longest free run, as far as the owner knows.
    fn longest(&self) -> u64 {
        let rooms = Rooms::of(&self.marks(), self.start);
        rooms.longest() << self.level.unit_log2()
    }
}
