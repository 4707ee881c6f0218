//! What one CPU chooses from: blocks that are lent to it.
//!
//! Ranges come from the block that was chosen from last while that has room, and there from the word at hand (`at_hand.rs`) while that
//! has. Then a few others are looked at, in the order in which they were lent: what is freed in that order, as rings do, is found at once.
//! Only blocks with a good part free are worth changing to; else another one is asked for. So what blocks hold in pieces too small is
//! bounded, and a look is too.

use core::ptr::NonNull;

use super::at_hand::AtHand;
use super::lent::LentBlock;
use super::{LaneRequest, Level};
use crate::iova::units::UNITS;

/// Blocks looked at before another one is asked for.
pub(super) const LOOKS: usize = 8;

/// A block with less that is free is passed by.
pub(super) const WORTH_IT: usize = UNITS / 8;

/// The blocks of one CPU, in a circle.
#[derive(Default)]
pub(super) struct Lane {
    /// Chosen from last.
    hot: Option<AtHand>,
    /// The next to be looked at.
    hand: Option<NonNull<LentBlock>>,
    /// In which nothing was in use when it was last looked at, and which stays nevertheless.
    spare: Option<NonNull<LentBlock>>,
    blocks: usize,
}

// SAFETY: lent blocks are used by whoever has the lane, on whatever thread that runs.
unsafe impl Send for Lane {}

/// Why a lane chose nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NotChosen {
    /// It would take another block.
    NoRoom,
    /// Its blocks are not for such requests.
    Unserved,
}

impl Lane {
    /// Begins a range where one fits; its first granule, and its block.
    #[inline]
    pub(super) fn choose(
        &mut self,
        request: &LaneRequest<'_>,
    ) -> Result<(u64, &LentBlock), NotChosen> {
        let (size, unit_log2) = ((request.order, request.units), request.unit_log2());
        if let Some(hot) = &self.hot
            && let Some(bus) = hot.begin_any(size, request.request.limits(), unit_log2)
        {
            // SAFETY: a block in the circle is lent to this lane, until the lane parts with it.
            return Ok((bus.as_u64() >> unit_log2, unsafe { hot.pointer().as_ref() }));
        }
        self.choose_elsewhere(request)
    }

    /// The same where the word at hand has no room.
    #[inline(never)]
    fn choose_elsewhere(
        &mut self,
        request: &LaneRequest<'_>,
    ) -> Result<(u64, &LentBlock), NotChosen> {
        if let Some(pointer) = self.hot.as_ref().map(AtHand::pointer) {
            // SAFETY: as in `choose`.
            let block = unsafe { pointer.as_ref() };
            if !request.takes(block.start) {
                return Err(NotChosen::Unserved);
            }
            if let Some(granule) = block.begin(request.order, request.units) {
                self.choose_next_from(block, granule);
                return Ok((granule, block));
            }
        }
        for _ in 0..LOOKS.min(self.blocks) {
            let Some(pointer) = self.hand else { break };
            // SAFETY: as in `choose`.
            let block = unsafe { pointer.as_ref() };
            self.hand = block.next.get();
            block.collect();
            if !request.takes(block.start) || block.free_units() < WORTH_IT {
                continue;
            }
            if let Some(granule) = block.begin(request.order, request.units) {
                self.choose_next_from(block, granule);
                if self.spare == Some(pointer) {
                    self.spare = None;
                }
                return Ok((granule, block));
            }
        }
        Err(NotChosen::NoRoom)
    }

    /// Ranges come from this block, which is the lane's, from now on, and from its word with this granule first.
    fn choose_next_from(&mut self, block: &LentBlock, granule: u64) {
        // SAFETY: a block in the circle is lent to this lane; where it leaves the circle it is not kept here.
        self.hot = Some(unsafe { AtHand::of(block, granule) });
    }

    /// The block that was chosen from last, and the word of it that is looked at first.
    #[inline]
    pub(super) fn hot(&mut self) -> Option<&mut AtHand> {
        self.hot.as_mut()
    }

    /// All blocks.
    pub(super) fn blocks(&self) -> impl Iterator<Item = NonNull<LentBlock>> {
        let mut at = self.hand;
        core::iter::from_fn(move || {
            let block = at?;
            // SAFETY: as in `choose`.
            at = unsafe { block.as_ref() }.next.get();
            Some(block)
        })
        .take(self.blocks)
    }

    /// The block that was chosen from last, if that granule is in it. The lane does not part with it meanwhile.
    #[inline]
    pub(super) fn hot_with(&self, granule: u64) -> Option<&LentBlock> {
        let hot = self.hot.as_ref().map(AtHand::block);
        hot.filter(|hot| hot.contains(granule))
    }

    /// Ends a range in the block that was chosen from last, if it is in that; whether it is.
    #[inline]
    pub(super) fn end_hot(&mut self, granule: u64, len: usize) -> bool {
        let Some(hot) = &mut self.hot else {
            return false;
        };
        match len <= 64 {
            true => hot.end_unit(granule, len),
            false => hot.end_long_unit(granule, len),
        }
    }

    /// Ends a range of a block of this lane. Returns the block if nothing is in use of it any more and it is not worth keeping:
    /// the lane has parted with it.
    pub(super) fn end_range(
        &mut self,
        block: &LentBlock,
        granule: u64,
        len: usize,
    ) -> Option<NonNull<LentBlock>> {
        if self.end_hot(granule, len) {
            return None;
        }
        block.end_range(granule, len);
        self.part_if_unused(block)
    }

    /// Parts with a block of this lane, in which ranges have ended, if nothing is in use of it any more and it is not worth keeping.
    pub(super) fn part_if_unused(&mut self, block: &LentBlock) -> Option<NonNull<LentBlock>> {
        let pointer = NonNull::from(block);
        if !block.is_unused() {
            return None;
        }
        // A large one is so many addresses that it is asked for seldom enough.
        let is_small = block.level == Level::Granules;
        if is_small && self.spare.is_none_or(|spare| spare == pointer) {
            self.spare = Some(pointer);
            return None;
        }
        self.remove(pointer);
        Some(pointer)
    }

    /// Takes a block, which is chosen from next.
    pub(super) fn add(&mut self, block: NonNull<LentBlock>) {
        // SAFETY: it is lent to this lane from now on.
        let it = unsafe { block.as_ref() };
        // Before the hand: it is looked at after all others.
        let next = self.hand.unwrap_or(block);
        // SAFETY: as in `choose`.
        let previous = unsafe { next.as_ref() }.previous.get().unwrap_or(block);
        it.next.set(Some(next));
        it.previous.set(Some(previous));
        // SAFETY: as in `choose`.
        unsafe {
            next.as_ref().previous.set(Some(block));
            previous.as_ref().next.set(Some(block));
        }
        self.hand = Some(next);
        self.choose_next_from(it, it.start);
        self.blocks += 1;
    }

    /// A block leaves the circle.
    fn remove(&mut self, block: NonNull<LentBlock>) {
        // SAFETY: as in `choose`.
        let it = unsafe { block.as_ref() };
        let (next, previous) = (it.next.take(), it.previous.take());
        self.blocks -= 1;
        if self.hot.as_ref().map(AtHand::pointer) == Some(block) {
            self.hot = None;
        }
        if self.spare == Some(block) {
            self.spare = None;
        }
        let (Some(next), Some(previous)) = (next, previous) else {
            return;
        };
        // SAFETY: as in `choose`.
        unsafe {
            previous.as_ref().next.set(Some(next));
            next.as_ref().previous.set(Some(previous));
        }
        if self.hand == Some(block) {
            self.hand = (next != block).then_some(next);
        }
    }

    /// Parts with those blocks of which `parts` says so, told of each whether it was chosen from last; `part` is given them, which may
    /// be gone afterwards.
    pub(super) fn part_with(
        &mut self,
        mut parts: impl FnMut(&LentBlock, bool) -> bool,
        mut part: impl FnMut(&LentBlock),
    ) {
        let hot = self.hot.as_ref().map(AtHand::pointer);
        let mut at = self.hand;
        for _ in 0..self.blocks {
            let Some(pointer) = at else { break };
            // SAFETY: as in `choose`; and what was parted with before is not looked at again.
            let block = unsafe { pointer.as_ref() };
            at = block.next.get();
            if parts(block, hot == Some(pointer)) {
                self.remove(pointer);
                part(block);
            }
        }
    }

    /// Takes a block out of the lane; `None` when there is none left.
    pub(super) fn take(&mut self) -> Option<NonNull<LentBlock>> {
        let block = self.hand?;
        self.remove(block);
        Some(block)
    }
}
