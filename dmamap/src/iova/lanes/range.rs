//! A range in a lent block, as whoever has it finds it.

use core::sync::atomic::AtomicU64;

use super::lent::LentBlock;

/// Where a range may begin in a lent block.
pub(crate) struct LentRange<'a> {
    pub(super) block: &'a LentBlock,
    pub(super) unit: u64,
}

impl LentRange<'_> {
    /// How many granules the range has that begins there, and the entries of its units, none where the blocks have none; `None` if
    /// no range does. Of one that is not the caller's it may be anything.
    #[inline]
    pub(crate) fn range(&self) -> Option<(u64, &[AtomicU64])> {
        let units = self.block.range_at(self.unit)?;
        let granules = self.block.granules(self.unit, units);
        Some((granules, self.block.entries(self.unit, units)))
    }

    /// Frees the range, which its owner will find.
    ///
    /// # Safety
    /// The caller has it and gives it up.
    pub(crate) unsafe fn free(self) {
        self.block.leave(self.unit);
    }

    /// Keeps the range from being chosen again, also when its block goes back to the space, which keeps it then. Under the space's
    /// lock.
    ///
    /// # Safety
    /// As [`free`](Self::free).
    pub(crate) unsafe fn keep(self) {
        self.block.keep(self.unit);
    }
}
