//! What Arm's two stages share (VMSAv8-64, Arm Architecture Reference Manual D8.2 and D8.3): the shape of the tables,
//! the links between them, and which leaves and contiguous runs each granule has.

use hw::smmu::page_table::{self, Kind, TABLE_LIMITS, TABLE_RESERVED, Table};

use super::{Entry, FormatError, Geometry, Granule, LeafSizes, Runs, Span, WalkCoherence};
use crate::addr::PhysAddr;

/// The narrowest input address: without `TTST`, T0SZ is at most 39.
const FIRST_INPUT_BITS: u32 = 25;
/// The widest, and the widest output address: without the extensions to 52 bits.
const LAST_BITS: u32 = 48;

/// One unit's tables of either stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ArmLpae {
    granule: Granule,
    levels: u32,
    input_bits: u32,
    output_bits: u32,
    pub(super) leaf_sizes: LeafSizes,
    pub(super) runs: Runs,
    pub(super) coherence: WalkCoherence,
}

impl ArmLpae {
    /// As few levels, `fewest` at least, as translate `input_bits` with a root of up to
    /// `2^concatenated_log2` tables.
    pub(super) const fn new(
        format: &'static str,
        granule: Granule,
        input_bits: u32,
        output_bits: u32,
        fewest: u32,
        concatenated_log2: u32,
    ) -> Result<Self, FormatError> {
        if input_bits < FIRST_INPUT_BITS || input_bits > LAST_BITS {
            return Err(FormatError::InputBits {
                format,
                bits: input_bits,
                first: FIRST_INPUT_BITS,
                last: LAST_BITS,
            });
        }
        if output_bits < 32 || output_bits > LAST_BITS {
            return Err(FormatError::PhysBits {
                format,
                bits: output_bits,
                first: 32,
                last: LAST_BITS,
            });
        }
        let mut levels = fewest;
        while granule.size_log2() + granule.index_bits() * levels + concatenated_log2 < input_bits {
            levels += 1;
        }
        Ok(Self {
            granule,
            levels,
            input_bits,
            output_bits,
            leaf_sizes: Self::sizes(granule),
            runs: Runs::Plain,
            coherence: WalkCoherence::Snooped,
        })
    }

    /// Pages and blocks of a granule (D8.3.1).
    const fn sizes(granule: Granule) -> LeafSizes {
        match granule {
            Granule::FourKib => LeafSizes::FOUR_KIB
                .union(LeafSizes::TWO_MIB)
                .union(LeafSizes::ONE_GIB),
            Granule::SixteenKib => LeafSizes::SIXTEEN_KIB.union(LeafSizes::THIRTY_TWO_MIB),
            Granule::SixtyFourKib => LeafSizes::SIXTY_FOUR_KIB.union(LeafSizes::HALF_GIB),
        }
    }

    #[inline]
    pub(super) fn geometry(&self) -> Geometry {
        Geometry::new(self.granule, self.levels, self.input_bits)
    }

    #[inline]
    pub(super) fn last_phys(&self) -> PhysAddr {
        PhysAddr::new((1 << self.output_bits) - 1)
    }

    /// Leaves in a contiguous run (D8.7.1): 64 KiB of pages of 4 KiB, 2 MiB of larger ones.
    #[inline]
    pub(super) fn run_log2(&self, level: u32) -> u32 {
        match (self.runs, self.granule, level) {
            (Runs::Plain, ..) => 0,
            (_, Granule::FourKib, _) => 4,
            (_, Granule::SixteenKib, 1) => 7,
            (_, Granule::SixteenKib | Granule::SixtyFourKib, _) => 5,
        }
    }

    /// log2 of what a leaf of `level` stands for.
    #[inline]
    fn span_log2(&self, level: u32, span: Span) -> u32 {
        let size_log2 = self.geometry().size_log2(level);
        match span {
            Span::Entry => size_log2,
            Span::Run => size_log2 + self.run_log2(level),
        }
    }

    /// Address bits that must be zero in an entry for `2^size_log2` bytes.
    #[inline]
    fn address_reserved(&self, size_log2: u32) -> u64 {
        page_table::ADDRESS_MASK & !self.last_phys().as_u64() | page_table::below_size(size_log2)
    }

    #[inline]
    pub(super) fn table(&self, phys: PhysAddr) -> u64 {
        Table::new()
            .with_valid(true)
            .with_table(true)
            .with_addr(phys.as_u64())
            .into_bits()
    }

    /// What a word says, where `leaf` reads a page or block of the stage: its address, permission and span,
    /// unless its attributes are reserved.
    #[inline]
    pub(super) fn decode(
        &self,
        level: u32,
        word: u64,
        leaf: impl FnOnce(u64) -> Option<LeafWord>,
    ) -> Entry {
        match page_table::kind(level, word) {
            Kind::Invalid => Entry::Empty,
            Kind::Reserved => Entry::Reserved,
            Kind::Table => {
                let address = self.address_reserved(self.granule.size_log2());
                // Limits on what lies below are not ours in stage 1, and reserved in stage 2.
                if word & (TABLE_RESERVED | TABLE_LIMITS | address) == 0 {
                    Entry::Table(PhysAddr::new(Table::from_bits(word).addr()))
                } else {
                    Entry::Reserved
                }
            }
            Kind::Page | Kind::Block => {
                let size_log2 = self.geometry().size_log2(level);
                let exists = level == 1 || self.leaf_sizes.contains(size_log2);
                match leaf(word) {
                    Some(leaf)
                        if exists
                            && word & self.address_reserved(size_log2) == 0
                            && (leaf.span == Span::Entry || self.runs == Runs::Hinted) =>
                    {
                        Entry::Leaf {
                            phys: PhysAddr::new(leaf.addr)
                                .align_down(self.span_log2(level, leaf.span)),
                            permission: leaf.permission,
                            span: leaf.span,
                        }
                    }
                    _ => Entry::Reserved,
                }
            }
        }
    }
}

/// A page or block, as its stage reads it.
pub(super) struct LeafWord {
    pub(super) addr: u64,
    pub(super) permission: super::Permission,
    pub(super) span: Span,
}

impl LeafWord {
    #[inline]
    pub(super) fn new(addr: u64, permission: super::Permission, contiguous: bool) -> Self {
        let span = if contiguous { Span::Run } else { Span::Entry };
        Self {
            addr,
            permission,
            span,
        }
    }
}
