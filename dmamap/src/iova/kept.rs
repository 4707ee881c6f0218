//! Ranges whose owner is gone while a unit may still translate them: nobody gets them until it is known that none does.
//!
//! They stay where they are, chained through their own nodes or marked in their blocks, so that keeping one needs no memory and
//! cannot fail.

use super::block::Block;
use super::divided::Place;
use super::tree::{Node, Use};
use super::{IovaError, IovaSpace, Owned};
use crate::addr::BusRange;
use crate::platform::Platform;
use crate::slab::Handle;

/// Some of a space's kept ranges. They stay kept whatever becomes of this.
#[derive(Default)]
pub(crate) struct KeptRanges {
    extents: Option<Node>,
    /// The first of the blocks with some, if this is about blocks.
    blocks: Option<Handle<Block>>,
    asks_about_blocks: bool,
}

impl<P: Platform> IovaSpace<P> {
    /// Instead of [`free`](Self::free): nobody owns `range` any more, and it is not chosen again before
    /// [`release_kept`](Self::release_kept).
    ///
    /// # Errors
    /// As [`free`](Self::free); nothing has changed then.
    pub(crate) fn keep(&mut self, range: BusRange) -> Result<(), IovaError> {
        self.divided.cool_down();
        match self.owned(range)? {
            Owned::Hot(_) => unreachable!("no block is hot"),
            Owned::Extent(node, _) => {
                let before = self.kept.replace(node);
                let extent = self.tree.extent_mut(node);
                extent.kind = Use::Kept;
                extent.next_kept = before;
            }
            Owned::Units(Place { block, unit, .. }) => {
                self.chain(block);
                let block = self.divided.blocks.get_mut(block);
                block.kept.insert(unit);
            }
        }
        Ok(())
    }

    /// Makes sure that a block is among those with kept ranges.
    fn chain(&mut self, block: Handle<Block>) {
        let it = self.divided.blocks.get_mut(block);
        if it.kept.is_empty() {
            it.next_kept = self.divided.first_kept.replace(block);
        }
    }

    /// All ranges kept until now, for one of the two calls below; or only some, while somebody has those of an earlier call.
    pub(crate) fn take_kept(&mut self) -> KeptRanges {
        let extents = self.kept.take();
        if self.divided.asking {
            return KeptRanges {
                extents,
                ..KeptRanges::default()
            };
        }
        self.divided.asking = true;
        let blocks = self.divided.first_kept.take();
        let mut next = blocks;
        while let Some(block) = next {
            let block = self.divided.blocks.get_mut(block);
            block.asked = core::mem::take(&mut block.kept);
            block.next_asked = block.next_kept.take();
            next = block.next_asked;
        }
        KeptRanges {
            extents,
            blocks,
            asks_about_blocks: true,
        }
    }

    /// Makes `kept`, which this space gave, free again.
    pub(crate) fn release_kept(&mut self, kept: KeptRanges) {
        let mut next = kept.extents;
        while let Some(node) = next {
            let extent = *self.tree.extent_mut(node);
            next = extent.next_kept;
            self.tree.remove(extent.start);
            self.count_free(extent.len);
        }
        let mut next = kept.blocks;
        while let Some(block) = next {
            let it = self.divided.blocks.get_mut(block);
            let asked = core::mem::take(&mut it.asked);
            next = it.next_asked.take();
            for unit in asked.iter() {
                if let Some(place) = self.divided.range_of(block, unit) {
                    self.divided.free(&mut self.tree, &place);
                    self.count_free(place.len);
                }
            }
        }
        self.end_asking(kept.asks_about_blocks);
    }

    /// Takes `kept`, which this space gave, back, to be given another time.
    pub(crate) fn return_kept(&mut self, kept: KeptRanges) {
        if let Some(first) = kept.extents {
            let mut last = first;
            while let Some(next) = self.tree.extent_mut(last).next_kept {
                last = next;
            }
            self.tree.extent_mut(last).next_kept = self.kept.replace(first);
        }
        let mut next = kept.blocks;
        while let Some(block) = next {
            self.chain(block);
            let it = self.divided.blocks.get_mut(block);
            let asked = core::mem::take(&mut it.asked);
            it.kept.join(asked);
            next = it.next_asked.take();
        }
        self.end_asking(kept.asks_about_blocks);
    }

    fn end_asking(&mut self, was_about_blocks: bool) {
        if was_about_blocks {
            self.divided.asking = false;
        }
    }
}
