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

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;
    use core::num::NonZeroU32;

    use super::*;
    use crate::iova::block::Level;
    use crate::iova::units::UNITS;
    use crate::slab::Handle;

    /// In a block that is full of ranges of many lengths, and then has gaps.
    #[test]
    fn what_is_said_of_a_few_units_is_what_is_said_of_the_range() {
        const START: u64 = 5 * UNITS as u64;
        let name = Handle::from_number(NonZeroU32::MIN);
        let block = LentBlock::new((START, Level::Granules), 12, name, None, None);
        let lens = [1, 3, 2, 64, 1, 33, 1, 100, 16, 63, 7, 128, 1, 1, 5, 17];
        let begin = |len: &usize| {
            let order = len.next_power_of_two().ilog2();
            block.begin(order, *len).map(|granule| (granule, *len))
        };
        let ranges: Vec<_> = lens.iter().cycle().take(80).filter_map(begin).collect();
        assert!(ranges.len() > 20, "{ranges:?}");
        let check = || {
            for unit in START..START + UNITS as u64 {
                for len in 1..=64 {
                    let is_all = block.range_at(unit) == Some(len);
                    let is_in_word = unit % 64 + len as u64 <= 64;
                    let told = block.is_range(unit, len);
                    assert_eq!(told, is_all && is_in_word, "{len} units at {unit}");
                }
            }
        };
        check();
        for &(granule, len) in ranges.iter().step_by(3) {
            block.end_range(granule, len);
            check();
        }
    }
}
