//! Blocks that are lent out of a space, each to one CPU's lane ([`lanes`](super::lanes)).
//!
//! A lent block counts as in use as a whole, and nothing in it is anybody's, until it is taken back with what is in use of it.

use super::IovaSpace;
use super::block::{Block, Division, Level, Zone};
use super::divided::Divided;
use super::search::Fit;
use super::tree::Tree;
use super::units::{Marks, UNITS};
use crate::platform::Platform;
use crate::slab::Handle;

impl<P: Platform> IovaSpace<P> {
    /// Lends a block of that level within the limits of `fit`, and says which granule is its first. `None` where there is none in
    /// which nothing is in use, or no memory for one; nor is the last large block of a zone lent, for others to choose from.
    pub(super) fn lend(&mut self, fit: &Fit, level: Level) -> Option<(Handle<Block>, u64)> {
        let Self { tree, divided, .. } = self;
        let block = Zone::ALL.into_iter().find_map(|zone| {
            let block = divided.unused_block(tree, fit, (zone, level))?;
            divided.lend(block);
            let is_left = level == Level::Granules || divided.has_large(tree, zone);
            if !is_left {
                divided.take_back(block, Marks::FREE);
            }
            is_left.then_some(block)
        })?;
        Some((block, divided.blocks.get(block).start))
    }

    /// Takes a block back that was lent, in which `marks` say what is in use; `len` says of the range that begins in a unit and has
    /// so many how many granules that is.
    pub(super) fn take_back(
        &mut self,
        block: Handle<Block>,
        marks: Marks,
        len: impl Fn(usize, usize) -> u64,
    ) {
        let Self { tree, divided, .. } = self;
        let level = divided.blocks.get(block).level;
        let (ranges, granules) = marks.count(level, &len);
        self.live_allocations += ranges;
        self.live_granules += granules;
        if level == Level::Blocks {
            for unit in marks.firsts() {
                let units = marks.range_at(unit).unwrap_or(1);
                divided.say_range(block, unit, (units, len(unit, units)));
            }
        }
        divided.take_back(block, marks);
        if marks.is_unused() {
            divided.keep_or_give_back(tree, block);
        }
    }
}

impl<P: Platform> Divided<P> {
    /// A block of a zone in which nothing is in use, all of it within the limits of `fit`.
    fn unused_block(
        &mut self,
        tree: &mut Tree<P>,
        fit: &Fit,
        (zone, level): (Zone, Level),
    ) -> Option<Handle<Block>> {
        if !self.bounds.serves(zone, fit) {
            return None;
        }
        let unused = |divided: &Self| divided.blocks.unused(zone, level).0;
        let block = unused(self).or_else(|| {
            // The one at hand may have become unused.
            self.cool_down_at(level);
            unused(self)
        });
        let block = match block {
            Some(block) => block,
            None => self.grow(tree, fit, zone, level).ok()??,
        };
        let it = self.blocks.get(block);
        let fits = it.start >= fit.start && it.end() <= fit.end && it.is_plain();
        fits.then_some(block)
    }

    /// Whether a zone has a large block with room that nobody is lent, or room for one.
    fn has_large(&self, tree: &mut Tree<P>, zone: Zone) -> bool {
        let (start, end) = self.bounds_of(zone);
        let another = Fit::block(Level::Blocks.block_len(), start, end);
        self.blocks.with_room(zone, Level::Blocks, 0).is_some() || tree.find(&another).is_some()
    }

    fn lend(&mut self, block: Handle<Block>) {
        // Its first unit is no block, whatever it was.
        let len = self.blocks.get(block).level.block_len();
        self.say_range(block, 0, (UNITS, len));
        self.blocks.change(block, |it| {
            it.units.take(0, UNITS);
            it.lent = true;
        });
    }

    /// Says how long the range is that begins in a unit and has so many, where they do not say it themselves.
    fn say_range(&mut self, block: Handle<Block>, unit: usize, (units, len): (usize, u64)) {
        if self.blocks.get(block).level == Level::Blocks {
            let range = Division::range(0, len, units);
            self.blocks.set_division(block, unit, range);
        }
    }

    fn take_back(&mut self, block: Handle<Block>, marks: Marks) {
        self.blocks.change(block, |it| {
            it.units = marks.into();
            it.lent = false;
        });
    }
}
