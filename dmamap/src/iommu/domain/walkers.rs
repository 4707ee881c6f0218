//! The units that walk a domain's table: which they are, and what they are told when it changes.

use core::sync::atomic::Ordering;

use super::{Domain, DomainError, Linked};
use crate::addr::BusRange;
use crate::iommu::requester::Attachment;
use crate::iommu::translation::Translate;
use crate::iommu::unconfirmed::Unconfirmed;
use crate::iommu::unit::{AtMap, Change, Unit, UnitError};
use crate::pagetable::{Gather, TableChange};
use crate::platform::Platform;

impl<P: Platform> Domain<P> {
    /// Tells the units of a mapping (`dma_iova_sync`).
    ///
    /// A unit that still remembers a table somebody is unlinking would walk into it, and not find what was just mapped through
    /// its successor: then the mapping invalidates for itself.
    pub(crate) fn make_visible(&self, range: BusRange, how: Linked) -> Result<(), UnitError> {
        match how {
            Linked::OnKeptTables if !self.tells_of_maps() => Ok(()),
            how => self.tell(range, how),
        }
    }

    #[inline(never)]
    fn tell(&self, range: BusRange, how: Linked) -> Result<(), UnitError> {
        let change = Change {
            range,
            tables: TableChange::Unlinked,
        };
        let how = match how {
            // The table may only be waiting for a flush, which is made now.
            Linked::WhileUnlinking if self.flush_tables() => Linked::WhileUnlinking,
            Linked::WhileUnlinking | Linked::OnKeptTables => Linked::OnKeptTables,
        };
        self.each_walker(|unit| {
            unit.sync_map(self.id, range)?;
            match how {
                Linked::WhileUnlinking => unit.invalidate(self.id, change),
                Linked::OnKeptTables => Ok(()),
            }
        })
    }

    /// Whether any of the units there have been is to be told of mappings.
    #[inline]
    pub(crate) fn tells_of_maps(&self) -> bool {
        self.told.load(Ordering::Acquire) != 0
    }

    /// Invalidates what `gather` holds, waits, and frees the tables in it.
    pub(super) fn sync(&self, gather: Gather<P>) -> Result<(), (UnitError, Unconfirmed<P>)> {
        let Some(range) = gather.range() else {
            return Ok(());
        };
        let change = Change {
            range,
            tables: gather.tables(),
        };
        match self.each_walker(|unit| unit.invalidate(self.id, change)) {
            Ok(()) => {
                // SAFETY: the tables were unlinked under the lock, and every unit that walked them has
                // confirmed that nothing of them is cached and requests in flight have drained.
                unsafe { gather.release() };
                if change.tables == TableChange::Unlinked {
                    self.inner.lock().unlinking -= 1;
                }
                Ok(())
            }
            Err(error) => {
                // They count as unlinking until the units confirm that.
                Err((error, Unconfirmed::of(gather)))
            }
        }
    }

    #[inline(always)]
    pub(in crate::iommu) fn each_walker(
        &self,
        mut call: impl FnMut(&dyn Unit<P>) -> Result<(), UnitError>,
    ) -> Result<(), UnitError> {
        let mut outcome = Ok(());
        for n in Numbers(self.walkers.load(Ordering::Acquire)) {
            // Every unit is asked even after one failed: the others must not keep stale entries.
            if let Err(error) = call(&*self.units[n]) {
                outcome = outcome.and(Err(error));
            }
        }
        outcome
    }

    /// What units are told of the table.
    pub(crate) fn root(&self) -> Option<Translate> {
        self.inner.lock().table.as_ref().map(|table| table.root())
    }

    /// Lets `attachment` use the domain through unit number `unit`.
    pub(crate) fn attach(&self, unit: usize, attachment: Attachment) -> Result<(), DomainError> {
        let translate = self.root().ok_or(DomainError::Revoked)?;
        if self.units[unit].facts().at_map != AtMap::Nothing {
            self.told.fetch_or(1 << unit, Ordering::AcqRel);
        }
        // Before the unit is told: from its first walk on every unmap must include it.
        self.walkers.fetch_or(1 << unit, Ordering::AcqRel);
        Ok(self.units[unit].move_to(attachment, self.id, translate)?)
    }
}

/// The numbers of the bits that are set, from the lowest on.
struct Numbers(u64);

impl Iterator for Numbers {
    type Item = usize;

    #[inline]
    fn next(&mut self) -> Option<usize> {
        let n = self.0.trailing_zeros();
        // Of the bits the lowest goes, if there is one.
        self.0 &= self.0.wrapping_sub(1);
        (n < u64::BITS).then_some(n as usize)
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::Numbers;

    #[test]
    fn every_bit_is_a_unit_once() {
        let all = |set| Numbers(set).collect::<Vec<_>>();
        assert_eq!(all(0), []);
        assert_eq!(all(1 << 63 | 1 << 5 | 1), [0, 5, 63]);
        assert_eq!(all(u64::MAX), (0..64).collect::<Vec<_>>());
    }
}
