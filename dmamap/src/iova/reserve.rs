//! Keeping addresses from ever being chosen: where a device reaches something else than memory, or memory that firmware gave
//! it for good.
//!
//! What is nobody's becomes an extent of the tree. In a block the units are marked of which some granule is to be kept, and need
//! no memory for it. A large unit that a range has part of is promised: it is reserved when the range goes.

use super::block::Block;
use super::divided::Divided;
use super::tree::{Extent, Use};
use super::units::Use as UnitUse;
use super::{IovaError, IovaSpace};
use crate::addr::BusRange;
use crate::platform::Platform;
use crate::slab::Handle;

/// Part of a space that is not an extent in use as a whole.
enum Part {
    /// Start and end of a part that nothing is in.
    Hole(u64, u64),
    /// An extent that ranges are chosen from.
    Divided(Handle<Block>),
}

impl<P: Platform> IovaSpace<P> {
    /// Keeps `range`, widened to whole granules, from being allocated. Reserved ranges may overlap each other and
    /// leave the aperture: both only say again that nothing may be allocated there.
    ///
    /// # Errors
    /// - [`IovaError::InUse`] when part of it is allocated.
    /// - [`IovaError::OutOfMemory`].
    ///
    /// Nothing is reserved then.
    pub fn reserve(&mut self, range: BusRange) -> Result<(), IovaError> {
        if range.is_empty() {
            return Ok(());
        }
        self.divided.cool_down();
        let (aperture_start, aperture_end) = self.tree.bounds();
        let start = (range.start().as_u64() >> self.granule_log2).max(aperture_start);
        let end = ((range.last().as_u64() >> self.granule_log2) + 1).min(aperture_end);
        let mut holes = 0;
        self.each_part(start, end, |space, part| match part {
            Part::Hole(..) => {
                holes += 1;
                Ok(())
            }
            Part::Divided(block) => match space.divided.in_use(block, (start, end)) {
                Some((start, len)) => Err(IovaError::InUse {
                    allocated: space.range(start, len),
                }),
                None => Ok(()),
            },
        })?;
        self.tree.reserve_nodes(holes)?;
        self.each_part(start, end, |space, part| match part {
            Part::Hole(start, end) => {
                let extent = Extent::new(start, end - start, Use::Reserved);
                space.tree.insert(extent).map_err(IovaError::from)
            }
            Part::Divided(block) => {
                space.divided.reserve(block, (start, end));
                Ok(())
            }
        })
    }

    /// Calls `visit` with each part of `start..end` that is not an extent in use as a whole.
    fn each_part(
        &mut self,
        start: u64,
        end: u64,
        mut visit: impl FnMut(&mut Self, Part) -> Result<(), IovaError>,
    ) -> Result<(), IovaError> {
        let mut at = start;
        while at < end {
            let (before, after) = self.tree.around(at);
            if let Some(extent) = before
                && extent.end() > at
            {
                match extent.kind {
                    Use::Reserved => {}
                    Use::Divided(block) => visit(self, Part::Divided(block))?,
                    Use::Allocated | Use::Kept => {
                        return Err(IovaError::InUse {
                            allocated: self.range(extent.start, extent.len),
                        });
                    }
                }
                at = extent.end();
                continue;
            }
            let hole_end = after.map_or(end, |extent| extent.start.min(end));
            visit(self, Part::Hole(at, hole_end))?;
            at = hole_end;
        }
        Ok(())
    }
}

impl<P: Platform> Divided<P> {
    /// The first range that somebody has, or had and nobody may have yet, and of which a granule is in `start..end`.
    fn in_use(&self, block: Handle<Block>, (start, end): (u64, u64)) -> Option<(u64, u64)> {
        let it = self.blocks.get(block);
        if !it.reaches_into((start, end)) {
            return None;
        }
        it.units.marks().firsts().find_map(|unit| {
            if let Some(child) = self.child(block, unit) {
                return self.in_use(child, (start, end));
            }
            let place = self.range_of(block, unit)?;
            let overlaps = place.start < end && start < place.start + place.len;
            (overlaps && !it.reserved.contains(unit)).then_some((place.start, place.len))
        })
    }

    /// Reserves the units of which a granule is in `start..end`; more than was asked for, where units are larger.
    fn reserve(&mut self, block: Handle<Block>, (start, end): (u64, u64)) {
        let it = self.blocks.get(block);
        let (start, end) = (start.max(it.start), end.min(it.end()));
        if start >= end {
            return;
        }
        for unit in it.unit_with(start)..=it.unit_with(end - 1) {
            let it = self.blocks.get(block);
            if let Some(child) = self.child(block, unit) {
                self.reserve(child, (start, end));
            } else if it.units.marks().next(unit, UnitUse::Free) == unit {
                self.reserve_unit(block, unit);
            } else if !it.reserved.contains(unit) {
                self.blocks.promise(block, unit);
            }
        }
    }

    /// Reserves the units at the ends of a range that just went, if they were promised to be.
    pub(super) fn keep_promises(&mut self, block: Handle<Block>, ends: [usize; 2]) {
        for unit in ends {
            if self.blocks.is_promised(block, unit) {
                self.reserve_unit(block, unit);
            }
        }
    }

    /// Reserves a unit that is free.
    fn reserve_unit(&mut self, block: Handle<Block>, unit: usize) {
        let it = self.blocks.get(block);
        let whole = (it.first_of(unit), 1 << it.level.unit_log2());
        self.take(block, unit, 1, whole);
        self.blocks.get_mut(block).reserved.insert(unit);
    }
}
