//! Domain ids: what units tag cached translations with. One namespace for all units of a machine, as wide
//! as the narrowest of them.

use alloc::vec;
use alloc::vec::Vec;

use crate::iommu::unit::DomainId;

/// Which ids are taken.
pub(crate) struct DomainIds {
    taken: Vec<u64>,
}

impl DomainIds {
    /// Ids 1 up to, not including, `count`. Id 0 is never given: under caching mode units tag absent
    /// entries with it (VT-d 6.1).
    pub(crate) fn new(count: u32) -> Self {
        let count = count.min(1 << 16) as usize;
        let mut taken = vec![0; count.div_ceil(64)];
        if let Some(last) = taken.last_mut()
            && !count.is_multiple_of(64)
        {
            *last = u64::MAX << (count % 64);
        }
        if let Some(first) = taken.first_mut() {
            *first |= 1;
        }
        Self { taken }
    }

    /// The lowest id nobody has.
    pub(crate) fn allocate(&mut self) -> Option<DomainId> {
        let (n, word) = self
            .taken
            .iter_mut()
            .enumerate()
            .find(|(_, word)| **word != u64::MAX)?;
        let bit = word.trailing_ones();
        *word |= 1 << bit;
        Some(DomainId((n as u32 * 64 + bit) as u16))
    }

    /// Takes an id back; no unit has anything cached under it any more.
    pub(crate) fn free(&mut self, id: DomainId) {
        self.taken[usize::from(id.0 / 64)] &= !(1 << (id.0 % 64));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn id_zero_and_ids_beyond_the_unit_are_never_given() {
        let mut ids = DomainIds::new(16);
        let given: Vec<_> = core::iter::from_fn(|| ids.allocate())
            .map(|id| id.0)
            .collect();
        assert_eq!(given, (1..16).collect::<Vec<_>>());
        ids.free(DomainId(7));
        assert_eq!(ids.allocate(), Some(DomainId(7)));
        assert_eq!(ids.allocate(), None);
    }

    #[test]
    fn all_sixteen_bit_ids_are_usable() {
        let mut ids = DomainIds::new(1 << 16);
        let last = core::iter::from_fn(|| ids.allocate()).last();
        assert_eq!(last, Some(DomainId(u16::MAX)));
    }
}
