//! Choosing from blocks: what most ranges are chosen from.
//!
//! Blocks of 512 granules, and of 512 of these, are taken out of the tree and serve ranges of up to half their size by size
//! classes: finding room looks at one list head, one word of bits and eight bytes, however much is in use and in whatever
//! pattern (`units.rs`). A range costs two bits a granule. Where no block has room another is made (`growth.rs`), and where
//! that cannot be, or for what no size class serves, there are other ways (`scarce.rs`).

use super::block::{Block, Division, Level, Zone};
use super::blocks::Blocks;
use super::hot::HotBlocks;
use super::search::Fit;
use super::tree::Tree;
use super::units::{UNITS, UNITS_LOG2};
use crate::platform::Platform;
use crate::slab::Handle;

/// The smallest space that is divided into blocks, in blocks of granules: in smaller ones each place counts.
const SMALLEST_DIVIDED: u64 = 256;

/// Blocks, and where the tree they come from ends.
pub(super) struct Divided<P: Platform> {
    pub(super) blocks: Blocks<P>,
    pub(super) bounds: Bounds,
    /// The blocks that were chosen from last.
    pub(super) hot: HotBlocks,
    /// The block of granules that was looked for last.
    pub(super) recent: Option<Handle<Block>>,
    pub(super) first_kept: Option<Handle<Block>>,
    /// Whether somebody is asking about what was kept.
    pub(super) asking: bool,
}

/// What a space is divided into.
#[derive(Clone, Copy)]
pub(super) struct Bounds {
    /// The first granule of the space.
    start: u64,
    /// One past its last.
    pub(super) end: u64,
    /// The first granule from 4 GiB on.
    high_start: u64,
}

impl Bounds {
    /// Whether the space is large enough for blocks.
    pub(super) fn is_divided(&self) -> bool {
        self.end - self.start >= SMALLEST_DIVIDED << UNITS_LOG2
    }

    /// Whether all of a zone, or of those of its blocks that were chosen for such requests, is within the request's limits.
    #[inline]
    pub(super) fn serves(&self, zone: Zone, fit: &Fit) -> bool {
        self.is_divided()
            && match zone {
                Zone::Low => fit.start <= self.start && fit.end >= self.high_start.min(self.end),
                Zone::High => fit.start <= self.high_start && fit.end > self.high_start,
            }
    }

    /// Whether blocks of some zone may serve such requests.
    #[inline]
    pub(super) fn serve(&self, fit: &Fit) -> bool {
        Zone::ALL.into_iter().any(|zone| self.serves(zone, fit))
    }
}

/// A range in a block.
#[derive(Clone, Copy)]
pub(super) struct Place {
    pub(super) block: Handle<Block>,
    /// Its first unit, and how many it has.
    pub(super) unit: usize,
    pub(super) units: usize,
    /// Its first granule, and how many it has.
    pub(super) start: u64,
    pub(super) len: u64,
}

/// What a request looks for in blocks.
pub(super) struct Wanted {
    pub(super) level: Level,
    /// Units, and the order that has room for them with their alignment.
    pub(super) units: usize,
    pub(super) order: u32,
    /// The range's first granule in the first unit.
    pub(super) head: u64,
}

/// Whether a request may still ask for memory for a block.
enum Growth {
    Possible,
    /// There was none. Where there is none for a block there may be some for the tree, or room in another zone's blocks; a
    /// block there would take as much.
    Refused,
}

impl Wanted {
    /// `None` for what blocks cannot serve.
    #[inline]
    pub(super) fn of(fit: &Fit) -> Option<Self> {
        let level = match fit.len <= UNITS as u64 / 2 {
            true => Level::Granules,
            false => Level::Blocks,
        };
        let unit_log2 = level.unit_log2();
        let unit = 1u64 << unit_log2;
        let head = fit.offset;
        let units = head.checked_add(fit.len)?.div_ceil(unit);
        if head >= unit || units > UNITS as u64 / 2 {
            return None;
        }
        let len_order = units.next_power_of_two().trailing_zeros();
        let align_order = fit.align.trailing_zeros().saturating_sub(unit_log2);
        let order = len_order.max(align_order);
        // At a multiple of its size nothing crosses a boundary that is no less.
        let is_within = fit.boundary >> unit_log2 >= 1 << len_order;
        (order < UNITS_LOG2 && is_within).then_some(Self {
            level,
            units: units as usize,
            order,
            head,
        })
    }
}

impl<P: Platform> Divided<P> {
    pub(super) fn new(platform: P, (start, end): (u64, u64), high_start: u64) -> Self {
        Self {
            blocks: Blocks::new(platform),
            bounds: Bounds {
                start,
                end,
                high_start,
            },
            hot: HotBlocks::default(),
            recent: None,
            first_kept: None,
            asking: false,
        }
    }

    /// The start of a range, where blocks serve such requests and have room, or the tree has room for another block.
    #[inline]
    pub(super) fn allocate(&mut self, tree: &mut Tree<P>, fit: &Fit) -> Option<u64> {
        let wanted = Wanted::of(fit)?;
        self.allocate_hot(fit, &wanted)
            .or_else(|| self.allocate_cold(tree, fit, &wanted))
    }

    #[cold]
    fn allocate_cold(&mut self, tree: &mut Tree<P>, fit: &Fit, wanted: &Wanted) -> Option<u64> {
        if !self.bounds.is_divided() {
            return None;
        }
        self.cool_down_at(wanted.level);
        let mut growth = Growth::Possible;
        Zone::ALL.into_iter().find_map(|zone| {
            self.bounds
                .serves(zone, fit)
                .then(|| self.allocate_in(tree, fit, zone, wanted, &mut growth))
                .flatten()
        })
    }

    fn allocate_in(
        &mut self,
        tree: &mut Tree<P>,
        fit: &Fit,
        zone: Zone,
        wanted: &Wanted,
        growth: &mut Growth,
    ) -> Option<u64> {
        let Wanted { level, order, .. } = *wanted;
        let block = match (self.blocks.with_room(zone, level, order), &growth) {
            (Some(block), _) => block,
            (None, Growth::Refused) => return None,
            (None, Growth::Possible) => match self.grow(tree, fit, zone, level) {
                Ok(block) => block?,
                Err(_) => {
                    *growth = Growth::Refused;
                    return None;
                }
            },
        };
        let it = self.blocks.get(block);
        if it.start < fit.start || it.end() > fit.end {
            return None;
        }
        let unit = it.units.find(order)?;
        let start = it.first_of(unit) + wanted.head;
        self.take(block, unit, wanted.units, (start, fit.len));
        self.heat(block);
        Some(start)
    }

    /// Begins the range of `len` granules from `start` on, in that many units from `unit` on of `block`.
    pub(super) fn take(
        &mut self,
        block: Handle<Block>,
        unit: usize,
        units: usize,
        (start, len): (u64, u64),
    ) {
        let it = self.blocks.get(block);
        if it.level == Level::Blocks {
            let head = start - it.first_of(unit);
            let range = Division::range(head, len, units);
            self.blocks.set_division(block, unit, range);
        }
        self.blocks.change(block, |it| it.units.take(unit, units));
    }

    /// The innermost block with a granule, and the unit of it: `outermost` is the extent of the tree with that granule.
    pub(super) fn unit_of(
        &self,
        granule: u64,
        outermost: impl FnOnce() -> Option<Handle<Block>>,
    ) -> Option<(Handle<Block>, usize)> {
        let contains = |block: &Handle<Block>| {
            let it = self.blocks.get(*block);
            (it.start..it.end()).contains(&granule)
        };
        let unit = |block| self.blocks.get(block).unit_with(granule);
        let block = match self.recent.filter(contains) {
            Some(block) => block,
            None => outermost()?,
        };
        Some(match self.child(block, unit(block)) {
            Some(child) => (child, unit(child)),
            None => (block, unit(block)),
        })
    }

    /// The block that a unit of a block is.
    pub(super) fn child(&self, block: Handle<Block>, unit: usize) -> Option<Handle<Block>> {
        let it = self.blocks.get(block);
        let is_there = it.level == Level::Blocks && it.units.marks().range_at(unit).is_some();
        match self.blocks.division(block, unit).filter(|_| is_there) {
            Some(Division::Block(child)) => Some(child),
            _ => None,
        }
    }

    /// The range that somebody has and that begins at a granule which is in this unit.
    pub(super) fn range_at(
        &self,
        block: Handle<Block>,
        unit: usize,
        granule: u64,
    ) -> Option<Place> {
        let it = self.blocks.get(block);
        let is_nobodys = it.lent
            || [it.reserved, it.kept, it.asked]
                .iter()
                .any(|units| units.contains(unit));
        self.range_of(block, unit)
            .filter(|place| !is_nobodys && place.start == granule)
    }

    /// The range that begins in this unit, whosever it is.
    pub(super) fn range_of(&self, block: Handle<Block>, unit: usize) -> Option<Place> {
        let it = self.blocks.get(block);
        let units = it.units.marks().range_at(unit)?;
        let first = it.first_of(unit);
        let (head, len) = Division::extent(self.blocks.division(block, unit), units)?;
        Some(Place {
            block,
            unit,
            units,
            start: first + head,
            len,
        })
    }

    /// Remembers a block of granules: what is looked for next is often in it, too.
    pub(super) fn remember(&mut self, block: Handle<Block>) {
        if self.blocks.get(block).level == Level::Granules {
            self.recent = Some(block);
        }
    }

    /// Makes a range free, and its block the tree's if nothing is in it.
    pub(super) fn free(&mut self, tree: &mut Tree<P>, place: &Place) {
        let Place {
            block, unit, units, ..
        } = *place;
        self.blocks.give(block, unit, units);
        if self.blocks.get(block).level == Level::Blocks {
            self.keep_promises(block, [unit, unit + units - 1]);
        }
        if self.blocks.get(block).units.marks().is_unused() {
            self.keep_or_give_back(tree, block);
        }
    }

    /// A block that nothing is in goes where it came from, but for one of its kind.
    pub(super) fn keep_or_give_back(&mut self, tree: &mut Tree<P>, block: Handle<Block>) {
        let it = self.blocks.get(block);
        if self.blocks.unused(it.zone, it.level).1.is_some() {
            self.give_back(tree, block);
        }
    }

    /// Granules in the largest run that blocks have.
    pub(super) fn widest(&self) -> u64 {
        self.blocks.widest()
    }

    /// The first granule of a zone that a request may have, and one past the last: no block of a zone leaves it.
    pub(super) fn bounds_within(&self, zone: Zone, fit: &Fit) -> (u64, u64) {
        let (start, end) = self.bounds_of(zone);
        (start.max(fit.start), end.min(fit.end))
    }

    /// The first granule of a zone, and one past its last.
    pub(super) fn bounds_of(&self, zone: Zone) -> (u64, u64) {
        match zone {
            Zone::Low => (self.bounds.start, self.bounds.high_start),
            Zone::High => (self.bounds.high_start, u64::MAX),
        }
    }

    /// Frames held for blocks.
    pub(super) fn frames(&self) -> usize {
        self.blocks.frames()
    }
}
