//! The block of granules that was chosen from last, at hand.
//!
//! A driver that maps and unmaps finds room in the same block again and again. While a block is *hot* what is in use of it is
//! kept beside the space itself, not in the slab, and the block is in no list: a range is chosen and freed by a few words of
//! bits, without one look elsewhere. It *cools down*, which brings everything else up to date, before anybody who is to see all
//! blocks goes through them: when it has no room, when ranges are kept, reserved, or looked for wherever they are, and when
//! frames are wanted back.
//!
//! Nothing is reserved or kept in a hot block, so that each of its ranges is somebody's.

use super::block::{Block, Level};
use super::divided::{Divided, Wanted};
use super::search::Fit;
use super::tree::Tree;
use super::units::{Marks, UNITS};
use crate::platform::Platform;
use crate::slab::Handle;

/// What is in use of the hot block.
pub(super) struct Hot {
    block: Handle<Block>,
    /// Its first granule, and one past its last.
    start: u64,
    end: u64,
    marks: Marks,
}

impl Hot {
    /// The start of a range, where this block serves such requests and has room.
    #[inline]
    fn allocate(&mut self, fit: &Fit) -> Option<u64> {
        if fit.start > self.start || fit.end < self.end {
            return None;
        }
        let wanted = Wanted::of(fit).filter(|wanted| wanted.level == Level::Granules)?;
        let unit = self.marks.find(wanted.order)?;
        self.marks.take(unit, wanted.units);
        Some(self.start + unit as u64)
    }

    /// The unit of a granule of the block's.
    #[inline]
    fn unit_with(&self, granule: u64) -> Option<usize> {
        let unit = granule.checked_sub(self.start)?;
        (unit < UNITS as u64).then_some(unit as usize)
    }
}

impl<P: Platform> Divided<P> {
    /// The start of a range in the hot block.
    #[inline]
    pub(super) fn allocate_hot(&mut self, fit: &Fit) -> Option<u64> {
        self.hot.as_mut()?.allocate(fit)
    }

    /// How many granules the range has that begins with `granule`; `None` where another block is to be asked.
    #[inline]
    pub(super) fn hot_range_at(&self, granule: u64) -> Option<Option<usize>> {
        let hot = self.hot.as_ref()?;
        let unit = hot.unit_with(granule)?;
        Some(hot.marks.range_at(unit))
    }

    /// Makes a range of the hot block free, of `len` granules from `start` on.
    #[inline]
    pub(super) fn free_hot(&mut self, start: u64, len: usize) {
        if let Some(hot) = &mut self.hot
            && let Some(unit) = hot.unit_with(start)
        {
            hot.marks.give(unit, len);
        }
    }

    /// Makes a block of granules the hot one, where none is.
    pub(super) fn heat(&mut self, block: Handle<Block>) {
        let it = self.blocks.get(block);
        let is_plain = it.reserved.is_empty() && it.kept.is_empty() && it.asked.is_empty();
        if self.hot.is_some() || it.level != Level::Granules || !is_plain {
            return;
        }
        self.hot = Some(Hot {
            block,
            start: it.start,
            end: it.end(),
            marks: *it.units.marks(),
        });
        self.blocks.unlist(block);
    }

    /// From now on no block is hot.
    pub(super) fn cool_down(&mut self, tree: &mut Tree<P>) {
        let Some(Hot { block, marks, .. }) = self.hot.take() else {
            return;
        };
        self.blocks.change(block, |it| it.units = marks.into());
        self.give_back_surplus(tree, block);
    }
}
