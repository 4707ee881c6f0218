//! Blocks of granules that are lent out of a space, each to one CPU's lane ([`lanes`](super::lanes)).
//!
//! A lent block counts as in use as a whole, and nothing in it is anybody's, until it is taken back with what is in use of it.

use super::IovaSpace;
use super::block::{Block, Level, Zone};
use super::divided::Divided;
use super::search::Fit;
use super::units::{Marks, UNITS};
use crate::platform::Platform;
use crate::slab::Handle;

impl<P: Platform> IovaSpace<P> {
    /// Lends a block within the limits of `fit`, and says which granule is its first. `None` where there is none in which nothing is
    /// in use, or no memory for one.
    pub(super) fn lend(&mut self, fit: &Fit) -> Option<(Handle<Block>, u64)> {
        let Self { tree, divided, .. } = self;
        let block = Zone::ALL.into_iter().find_map(|zone| {
            if !divided.bounds.serves(zone, fit) {
                return None;
            }
            let unused = |divided: &Divided<P>| divided.blocks.unused(zone, Level::Granules).0;
            if let Some(block) = unused(divided) {
                return Some(block);
            }
            // The one at hand may have become unused.
            divided.cool_down_at(Level::Granules);
            match unused(divided) {
                Some(block) => Some(block),
                None => divided.grow(tree, fit, zone, Level::Granules).ok()?,
            }
        })?;
        let it = divided.blocks.get(block);
        if it.start < fit.start || it.end() > fit.end || !it.is_plain() {
            return None;
        }
        let start = it.start;
        divided.blocks.change(block, |it| {
            it.units.take(0, UNITS);
            it.lent = true;
        });
        Some((block, start))
    }

    /// Takes a block back that was lent, in which `marks` say what is in use.
    pub(super) fn take_back(&mut self, block: Handle<Block>, marks: Marks) {
        self.divided.blocks.change(block, |it| {
            it.units = marks.into();
            it.lent = false;
        });
        self.live_allocations += marks.firsts().count() as u64;
        self.live_granules += UNITS as u64 - marks.free_units() as u64;
        if marks.is_unused() {
            self.divided.keep_or_give_back(&mut self.tree, block);
        }
    }
}
