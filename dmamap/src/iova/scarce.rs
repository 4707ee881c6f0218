//! What is done for a request that no size class serves or has room for.
//!
//! The index knows of each block what fits in it, wherever it begins (`index.rs`, `rooms.rs`): the lowest block with a place is
//! found, or that there is none, in as many steps as the logarithm of the number of blocks, however full they are and in
//! whatever pattern. A device of few address lines finds what others left it, and where they left whole blocks it gets one
//! of its own. Then the gaps between blocks are looked at, and in the end blocks that nothing is in stop being blocks.
//!
//! Two free runs that meet where two blocks do are not seen as one. Nor is the rest of a large unit (2 MiB, of granules of 4 KiB)
//! of which a range has some.

use super::block::{Block, Level, Zone};
use super::blocks::Blocks;
use super::divided::{Divided, Wanted};
use super::index::Side;
use super::rooms::Need;
use super::search::Fit;
use super::tree::{Extent, Tree, Use};
use super::units::{UNITS, UNITS_LOG2, Use as UnitUse, WORDS};
use super::{IovaError, IovaSpace};
use crate::platform::Platform;
use crate::slab::Handle;

/// A range that is free in a block.
#[derive(Clone, Copy)]
struct Spot {
    block: Handle<Block>,
    /// Its first granule.
    start: u64,
}

/// What becomes of a large unit that has room for a range of less.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Rest {
    /// A block, so that others find the rest.
    Divided,
    /// Nobody gets the rest.
    Lost,
}

impl<P: Platform> IovaSpace<P> {
    /// The start of a range wherever there is room.
    pub(super) fn allocate_elsewhere(&mut self, fit: &Fit) -> Result<Option<u64>, IovaError> {
        let Self { tree, divided, .. } = self;
        divided.cool_down();
        let is_huge = fit.len > Level::Blocks.block_len() / 2;
        loop {
            if !is_huge && let Some(start) = divided.allocate_anywhere(tree, fit) {
                return Ok(Some(start));
            }
            if let Some(start) = tree.find(fit) {
                tree.insert(Extent::new(start, fit.len, Use::Allocated))?;
                return Ok(Some(start));
            }
            if let Some(start) = divided.take_lowest(Level::Blocks, fit, Rest::Lost) {
                return Ok(Some(start));
            }
            if divided.give_back_unused(tree, (fit.start, fit.end)) == 0 {
                return Ok(None);
            }
        }
    }
}

impl<P: Platform> Divided<P> {
    /// The start of a range in a block that there is, or in one that is made within the request's limits.
    fn allocate_anywhere(&mut self, tree: &mut Tree<P>, fit: &Fit) -> Option<u64> {
        if let Some(start) = self.take_lowest(Level::Granules, fit, Rest::Divided) {
            return Some(start);
        }
        let wanted = Wanted::of(fit);
        let may_grow = |wanted| {
            let mut zones = Zone::ALL.into_iter();
            zones.any(|zone| self.was_not_asked(zone, fit, wanted))
        };
        if !wanted.as_ref().is_none_or(may_grow) {
            return None;
        }
        if let Some(start) = self.take_lowest(Level::Blocks, fit, Rest::Divided) {
            return Some(start);
        }
        let wanted = wanted?;
        self.grow_within(tree, fit, &wanted).ok()??;
        let take = |level| self.take_lowest(level, fit, Rest::Divided);
        Level::ALL.into_iter().find_map(take)
    }

    /// The lowest place in a block of that level, and takes it.
    fn take_lowest(&mut self, level: Level, fit: &Fit, rest: Rest) -> Option<u64> {
        let Spot { mut block, start } = self.blocks.lowest(level, fit)?;
        if level == Level::Blocks && rest == Rest::Divided && fit.len < UNITS as u64 {
            let it = self.blocks.get(block);
            let unit = it.unit_with(start);
            if unit == it.unit_with(start + fit.len - 1) {
                block = self.divide(block, unit).ok()?;
            }
        }
        let it = self.blocks.get(block);
        let (first, last) = (it.unit_with(start), it.unit_with(start + fit.len - 1));
        self.take(block, first, last + 1 - first, (start, fit.len));
        // For a narrow device's next one.
        let it = self.blocks.get(block);
        if let Some(wanted) = Wanted::of(fit)
            && wanted.level == it.level
            && it.units.find(wanted.order).is_some()
        {
            self.heat(block);
        }
        Some(start)
    }
}

impl Fit {
    /// The same in blocks of granules, each of which is free as a whole or not at all.
    fn in_blocks(&self) -> Self {
        let head = self.offset % UNITS as u64;
        let blocks = |granules: u64| (granules >> UNITS_LOG2).max(1);
        Self {
            len: (head + self.len).div_ceil(UNITS as u64),
            align: blocks(self.align),
            offset: self.offset >> UNITS_LOG2,
            start: self.start.div_ceil(UNITS as u64),
            end: self.end >> UNITS_LOG2,
            boundary: blocks(self.boundary),
        }
    }
}

impl<P: Platform> Blocks<P> {
    /// The lowest place in a block of that level.
    fn lowest(&mut self, level: Level, fit: &Fit) -> Option<Spot> {
        let large = fit.in_blocks();
        let need = match level {
            Level::Granules => Need::of(fit),
            Level::Blocks => Need::of(&large),
        }?;
        // The block that reaches into the limits from below, then those that begin there.
        let from_below = fit.start & !(level.block_len() - 1);
        let before = match from_below < fit.start {
            true => self.beginning_at(from_below, level),
            false => None,
        };
        before
            .filter(|&block| self.get(block).rooms.hold(&need))
            .and_then(|block| self.place_in(block, fit, &large))
            .or_else(|| self.lowest_below(self.root, level, &need, (fit, &large)))
    }

    /// The block of that level that begins with a granule.
    fn beginning_at(&mut self, start: u64, level: Level) -> Option<Handle<Block>> {
        let mut next = self.root;
        while let Some(block) = next {
            let it = self.visit(block);
            let side = match start.cmp(&it.start) {
                core::cmp::Ordering::Less => Side::Before,
                core::cmp::Ordering::Greater => Side::After,
                core::cmp::Ordering::Equal if it.level == level => return next,
                // The larger one stands before the smaller.
                core::cmp::Ordering::Equal => match level {
                    Level::Blocks => Side::Before,
                    Level::Granules => Side::After,
                },
            };
            next = it.entry.child(side);
        }
        None
    }

    /// The lowest place in the blocks of that level that begin within the request's limits, in this subtree.
    fn lowest_below(
        &mut self,
        subtree: Option<Handle<Block>>,
        level: Level,
        need: &Need,
        fit: (&Fit, &Fit),
    ) -> Option<Spot> {
        let block = subtree?;
        let it = self.visit(block);
        if !it.entry.rooms(level).hold(need) {
            return None;
        }
        let (before, after) = (it.entry.child(Side::Before), it.entry.child(Side::After));
        let (is_from_start, is_before_end) = (it.start >= fit.0.start, it.start < fit.0.end);
        let may_hold = it.level == level && it.rooms.hold(need);
        let before = before.filter(|_| is_from_start);
        let mut found = self.lowest_below(before, level, need, fit);
        if found.is_none() && may_hold && is_from_start && is_before_end {
            found = self.place_in(block, fit.0, fit.1);
        }
        let after = after.filter(|_| found.is_none() && is_before_end);
        found.or_else(|| self.lowest_below(after, level, need, fit))
    }

    /// The lowest place in the units of a block itself.
    fn place_in(&mut self, block: Handle<Block>, fit: &Fit, large: &Fit) -> Option<Spot> {
        self.count(WORDS);
        let it = self.get(block);
        let marks = it.units.marks();
        let (first, end) = (it.start, it.end());
        let start = match it.level {
            Level::Granules => first + marks.place(fit, first)? as u64,
            Level::Blocks => {
                let run = |(unit, end)| fit.place(it.first_of(unit), it.first_of(end));
                let is_free = |unit| marks.next(unit, UnitUse::Free) == unit;
                // A range may begin or end inside a unit where the limits do.
                let at = |granule: u64| {
                    let unit = (first..end)
                        .contains(&granule)
                        .then(|| it.unit_with(granule))?;
                    is_free(unit).then(|| run(marks.run_around(unit))).flatten()
                };
                at(fit.start)
                    .or_else(|| {
                        let unit = marks.place(large, it.number())?;
                        run((unit, unit + large.len as usize))
                    })
                    .or_else(|| at(fit.end.checked_sub(1)?))?
            }
        };
        Some(Spot { block, start })
    }
}
