//! What is done for a request that no size class serves or has room for.
//!
//! First the gaps between blocks are looked at, as for requests that no block serves. Where none fits, blocks that nothing is
//! in stop being blocks. And in the end the blocks within the request's limits are gone through for a run that is long enough
//! wherever it begins: a device of few address lines finds what others left it. That is linear in blocks of 512 granules, each of
//! which is passed by after one look at its bits if it has no such run.
//!
//! Two free runs that meet where two blocks do are not seen as one. Nor is the rest of a large unit (2 MiB, of granules of 4 KiB)
//! of which a range has some: ranges of more than 256 granules have theirs alone.

use super::block::{Block, Level, Zone};
use super::divided::Divided;
use super::search::Fit;
use super::tree::{Extent, Use};
use super::units::{UNITS, Use as UnitUse};
use super::{IovaError, IovaSpace};
use crate::platform::Platform;
use crate::slab::Handle;

impl<P: Platform> IovaSpace<P> {
    /// The start of a range from a gap of the tree; and where none fits, from wherever in the blocks there is room.
    pub(super) fn allocate_elsewhere(&mut self, fit: &Fit) -> Result<Option<u64>, IovaError> {
        let Self { tree, divided, .. } = self;
        divided.cool_down();
        let mut found = tree.find(fit);
        if found.is_none() && divided.give_back_unused(tree, (fit.start, fit.end)) > 0 {
            found = tree.find(fit);
        }
        if let Some(start) = found {
            tree.insert(Extent::new(start, fit.len, Use::Allocated))?;
            return Ok(Some(start));
        }
        Ok(Zone::ALL.into_iter().find_map(|zone| {
            let (start, end) = self.divided.bounds_of(zone);
            let bounds = (start.max(fit.start), end.min(fit.end));
            let may_have_room = self.divided.blocks.longest(zone) >= fit.len;
            may_have_room
                .then(|| self.search_blocks(fit, bounds))
                .flatten()
        }))
    }

    /// The lowest place in blocks of which a granule is in `at..end`, and takes it.
    fn search_blocks(&mut self, fit: &Fit, (mut at, end): (u64, u64)) -> Option<u64> {
        while at < end {
            let (before, after) = self.tree.around(at);
            let Some(extent) = before.filter(|extent| extent.end() > at) else {
                at = after?.start;
                continue;
            };
            if let Use::Divided(block) = extent.kind
                && let Some(start) = self.divided.search(block, fit)
            {
                return Some(start);
            }
            at = extent.end();
        }
        None
    }
}

impl<P: Platform> Divided<P> {
    /// The lowest place in the free units of a block, or of those that it is divided into, and takes it.
    fn search(&mut self, block: Handle<Block>, fit: &Fit) -> Option<u64> {
        let it = self.blocks.get(block);
        let may_hold = it.level == Level::Blocks || it.may_hold(fit.len);
        if !it.reaches_into((fit.start, fit.end)) || !may_hold {
            return None;
        }
        let mut unit = 0;
        while unit < UNITS {
            let units = self.blocks.get(block).units;
            let free = units.marks().next(unit, UnitUse::Free);
            // Before the free units are those in use, some of which may be blocks.
            if let Some(start) = self.search_children(block, unit..free, fit) {
                return Some(start);
            }
            let end = units.marks().next(free, UnitUse::Taken);
            let it = self.blocks.get(block);
            if let Some(start) = fit.place(it.first_of(free), it.first_of(end)) {
                let (first, last) = (it.unit_with(start), it.unit_with(start + fit.len - 1));
                self.take(block, first, last + 1 - first, (start, fit.len));
                return Some(start);
            }
            unit = end;
        }
        None
    }

    /// The same for the blocks that these units are.
    fn search_children(
        &mut self,
        block: Handle<Block>,
        mut units: core::ops::Range<usize>,
        fit: &Fit,
    ) -> Option<u64> {
        if self.blocks.get(block).level == Level::Granules {
            return None;
        }
        units.find_map(|unit| {
            let child = self.child(block, unit)?;
            self.search(child, fit)
        })
    }
}
