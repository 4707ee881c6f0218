//! How a domain's record of Z → Y is written. No hardware reads it: it is the driver's own.

use crate::addr::PhysAddr;
use crate::pagetable::{Entry, Format, Geometry, LeafSizes, Permission, Span, WalkCoherence};

const READ: u64 = 1 << 0;
const WRITE: u64 = 1 << 1;
const TABLE: u64 = 1 << 2;
/// Of a leaf: the unit was told of it.
const TOLD: u64 = 1 << 3;
const ADDRESS: u64 = 0xf_ffff_ffff_f000;

/// Tables of any shape, with leaves of all sizes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RecordFormat {
    pub(super) geometry: Geometry,
    pub(super) host_address_bits: u32,
}

impl RecordFormat {
    /// Whether the unit was told of the leaf that `word` says.
    pub(super) const fn is_told(word: u64) -> bool {
        word & TOLD != 0
    }

    /// `word`, that of a leaf, once the unit was told of it. It decodes as the same.
    pub(super) const fn told(word: u64) -> u64 {
        word | TOLD
    }

    /// `word`, that of a leaf that the unit is to be told of. It decodes as the same.
    pub(super) const fn untold(word: u64) -> u64 {
        word & !TOLD
    }

    #[inline]
    fn decode_leaf(&self, level: u32, phys: PhysAddr, permission: Permission) -> Entry {
        let size_log2 = self.geometry.size_log2(level);
        if level > 1 && !self.leaf_sizes().contains(size_log2) {
            return Entry::Reserved;
        }
        Entry::Leaf {
            phys,
            permission,
            span: Span::Entry,
        }
    }
}

// SAFETY: the fields never change; leaves and links decode as what was encoded, their address whole; a word whose
// lower 12 bits are 0 is empty; level 1 holds no links, and levels without leaves none.
unsafe impl Format for RecordFormat {
    #[inline]
    fn geometry(&self) -> Geometry {
        self.geometry
    }

    #[inline]
    fn leaf_sizes(&self) -> LeafSizes {
        LeafSizes::TWO_MIB | LeafSizes::ONE_GIB | LeafSizes::THIRTY_TWO_MIB | LeafSizes::HALF_GIB
    }

    #[inline]
    fn coherence(&self) -> WalkCoherence {
        // Nobody but the CPU walks it.
        WalkCoherence::Snooped
    }

    #[inline]
    fn last_phys(&self) -> PhysAddr {
        PhysAddr::new((1 << self.host_address_bits.min(52)) - 1)
    }

    #[inline]
    fn leaf(&self, _level: u32, phys: PhysAddr, permission: Permission, _span: Span) -> u64 {
        let read = if permission.reads() { READ } else { 0 };
        let write = if permission.writes() { WRITE } else { 0 };
        phys.as_u64() & ADDRESS | read | write
    }

    #[inline]
    fn table(&self, _level: u32, phys: PhysAddr) -> u64 {
        phys.as_u64() & ADDRESS | TABLE
    }

    #[inline]
    fn decode(&self, level: u32, word: u64) -> Entry {
        const READ_WRITE: u64 = READ | WRITE;
        let phys = PhysAddr::new(word & ADDRESS);
        match word & !ADDRESS {
            TABLE if level > 1 => Entry::Table(phys),
            // Nothing, or a link of the list of unlinked tables.
            bits if bits & 0xfff == 0 => Entry::Empty,
            bits => match Self::untold(bits) {
                READ => self.decode_leaf(level, phys, Permission::Read),
                WRITE => self.decode_leaf(level, phys, Permission::Write),
                READ_WRITE => self.decode_leaf(level, phys, Permission::ReadWrite),
                _ => Entry::Reserved,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pagetable::Granule;

    const FORMAT: RecordFormat = RecordFormat {
        geometry: Geometry::new(Granule::FourKib, 4, 48),
        host_address_bits: 46,
    };

    #[test]
    fn what_is_encoded_is_decoded() {
        for permission in [Permission::Read, Permission::Write, Permission::ReadWrite] {
            for (level, phys) in [(1, 0x3fff_ffff_f000), (2, 0x20_0000), (3, 0x4000_0000)] {
                let phys = PhysAddr::new(phys);
                let word = FORMAT.leaf(level, phys, permission, Span::Entry);
                let leaf = Entry::Leaf {
                    phys,
                    permission,
                    span: Span::Entry,
                };
                assert_eq!(FORMAT.decode(level, word), leaf);
                assert!(!RecordFormat::is_told(word), "nobody told the unit yet");
                let told = RecordFormat::told(word);
                assert!(RecordFormat::is_told(told));
                assert_eq!(FORMAT.decode(level, told), leaf);
                assert_eq!(RecordFormat::untold(told), word);
            }
        }
        let phys = PhysAddr::new(0x1234_5000);
        for level in 2..=4 {
            assert_eq!(
                FORMAT.decode(level, FORMAT.table(level, phys)),
                Entry::Table(phys)
            );
        }
    }

    #[test]
    fn addresses_alone_and_zero_are_empty() {
        for word in [0, 0x1000, 0x3fff_ffff_f000, 0xffff_ffff_ffff_f000] {
            for level in 1..=4 {
                assert_eq!(FORMAT.decode(level, word), Entry::Empty, "{word:#x}");
            }
        }
    }

    #[test]
    fn what_is_never_written_is_reserved() {
        let table = FORMAT.table(1, PhysAddr::new(0x1000));
        assert_eq!(FORMAT.decode(1, table), Entry::Reserved);
        assert_eq!(FORMAT.decode(4, 0x1000 | READ), Entry::Reserved);
        assert_eq!(FORMAT.decode(2, 0x1000 | READ | TABLE), Entry::Reserved);
        assert_eq!(FORMAT.decode(1, 0x1010), Entry::Reserved);
        // Only leaves are told of.
        let told = RecordFormat::told(FORMAT.table(2, PhysAddr::new(0x1000)));
        assert_eq!(FORMAT.decode(2, told), Entry::Reserved);
        assert_eq!(
            FORMAT.decode(1, RecordFormat::told(0x1000)),
            Entry::Reserved
        );
    }
}
