//! How blocks come and go: out of a gap of the tree or a unit of a larger block, and back.
//!
//! The first blocks come from the lowest gigabyte, one by one; from then on they are units of larger blocks, so that the tree
//! stays small.
//!
//! A block that nothing is in goes back, but for one of each kind, and those that are hot: a driver that maps and unmaps one
//! buffer does not move blocks to and fro. These go when frames are wanted back, and when a request finds no other room.

use super::block::{Block, Division, Level, Zone};
use super::divided::{Divided, Place, Wanted};
use super::search::Fit;
use super::tree::{Extent, Tree, Use};
use super::units::UNITS;
use crate::platform::Platform;
use crate::slab::{Handle, SlabError};

impl<P: Platform> Divided<P> {
    /// Another block for a zone.
    pub(super) fn grow(
        &mut self,
        tree: &mut Tree<P>,
        fit: &Fit,
        zone: Zone,
        level: Level,
    ) -> Result<Option<Handle<Block>>, SlabError> {
        let (start, end) = self.bounds_within(zone, fit);
        if level == Level::Granules {
            // The lowest gigabyte is not whole, as address 0 is nobody's.
            let lowest = Level::Blocks.block_len().min(end);
            if let Some(block) = self.out_of_tree(tree, zone, level, (start, lowest))? {
                return Ok(Some(block));
            }
            if let Some(block) = self.out_of_block(tree, fit, zone)? {
                return Ok(Some(block));
            }
        }
        self.out_of_tree(tree, zone, level, (start, end))
    }

    /// Another block, all of which is within the request's limits.
    pub(super) fn grow_within(
        &mut self,
        tree: &mut Tree<P>,
        fit: &Fit,
        wanted: &Wanted,
    ) -> Result<Option<Handle<Block>>, SlabError> {
        let level = wanted.level;
        if !self.bounds.is_divided() {
            return Ok(None);
        }
        for zone in Zone::ALL {
            if !self.was_not_asked(zone, fit, wanted) {
                continue;
            }
            let (start, end) = self.bounds_within(zone, fit);
            let lowest = Level::Blocks.block_len().min(end);
            // As it is done for those without limits: small ones from the lowest gigabyte, then a large one to be divided.
            let places = [
                (level, (start, lowest)),
                (Level::Blocks, (start, end)),
                (level, (start, end)),
            ];
            for (level, bounds) in places {
                if let Some(block) = self.out_of_tree(tree, zone, level, bounds)? {
                    return Ok(Some(block));
                }
            }
        }
        Ok(None)
    }

    /// Whether nobody tried to make a block of a zone yet for such a request that found no room. Who was refused a block asks for no
    /// other.
    pub(super) fn was_not_asked(&self, zone: Zone, fit: &Fit, wanted: &Wanted) -> bool {
        let Wanted { level, order, .. } = *wanted;
        let (start, end) = self.bounds_within(zone, fit);
        let was_asked =
            self.bounds.serves(zone, fit) && self.blocks.with_room(zone, level, order).is_none();
        start < end && !was_asked
    }

    /// A block for a zone from a gap of the tree within these bounds.
    fn out_of_tree(
        &mut self,
        tree: &mut Tree<P>,
        zone: Zone,
        level: Level,
        (start, end): (u64, u64),
    ) -> Result<Option<Handle<Block>>, SlabError> {
        let len = level.block_len();
        if end.saturating_sub(start) < len {
            return Ok(None);
        }
        let Some(start) = tree.find(&Fit::block(len, start, end)) else {
            return Ok(None);
        };
        tree.reserve_nodes(1)?;
        let block = self.blocks.add(Block::new(start, level, zone))?;
        tree.insert(Extent::new(start, len, Use::Divided(block)))?;
        Ok(Some(block))
    }

    /// A block of granules for a zone that is a unit of a larger one.
    fn out_of_block(
        &mut self,
        tree: &mut Tree<P>,
        fit: &Fit,
        zone: Zone,
    ) -> Result<Option<Handle<Block>>, SlabError> {
        self.cool_down_at(Level::Blocks);
        let parent = match self.blocks.with_room(zone, Level::Blocks, 0) {
            Some(parent) => parent,
            None => match self.grow(tree, fit, zone, Level::Blocks)? {
                Some(parent) => parent,
                None => return Ok(None),
            },
        };
        match self.blocks.get(parent).units.find(0) {
            Some(unit) => self.divide(parent, unit).map(Some),
            None => Ok(None),
        }
    }

    /// Makes a block of a free unit of a larger one, which is not hot.
    pub(super) fn divide(
        &mut self,
        parent: Handle<Block>,
        unit: usize,
    ) -> Result<Handle<Block>, SlabError> {
        let it = self.blocks.get(parent);
        let mut block = Block::new(it.first_of(unit), Level::Granules, it.zone);
        block.parent = Some(parent);
        let block = self.blocks.add(block)?;
        self.blocks
            .set_division(parent, unit, Division::Block(block));
        self.blocks
            .change(parent, |parent| parent.units.take(unit, 1));
        Ok(block)
    }

    /// A block that nothing is in goes where it came from.
    pub(super) fn give_back(&mut self, tree: &mut Tree<P>, block: Handle<Block>) {
        let it = self.blocks.get(block);
        let (start, parent) = (it.start, it.parent);
        if self.recent == Some(block) {
            self.recent = None;
        }
        self.blocks.remove(block);
        let Some(parent) = parent else {
            return tree.remove(start);
        };
        self.cool_down_at(Level::Blocks);
        let place = Place {
            block: parent,
            unit: self.blocks.get(parent).unit_with(start),
            units: 1,
            start,
            len: UNITS as u64,
        };
        self.free(tree, &place);
    }

    /// Gives the blocks back that nothing is in and of which a granule is in `start..end`; how many.
    pub(super) fn give_back_unused(
        &mut self,
        tree: &mut Tree<P>,
        (start, end): (u64, u64),
    ) -> usize {
        let mut given = 0;
        // Those of granules first: then larger ones may be left with nothing in them.
        for level in Level::ALL {
            for zone in Zone::ALL {
                while let (Some(block), _) = self.blocks.unused(zone, level)
                    && self.blocks.get(block).reaches_into((start, end))
                {
                    self.give_back(tree, block);
                    given += 1;
                }
            }
        }
        given
    }

    /// Gives frames back that no block needs, and all blocks that nothing is in; returns how many frames.
    pub(super) fn reclaim(&mut self, tree: &mut Tree<P>) -> usize {
        self.cool_down();
        self.give_back_unused(tree, (0, u64::MAX));
        self.blocks.reclaim()
    }
}
