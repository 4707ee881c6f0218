//! The second-stage tables of Intel VT-d (VT-d specification 3.7 and 9.8): 3, 4 or 5 levels, leaves of 4 KiB,
//! 2 MiB and 1 GiB.
//!
//! ```
//! use dmamap::addr::PhysAddr;
//! use dmamap::pagetable::{Entry, Format, LeafSizes, Permission, Span, VtdSecondStage};
//!
//! let format = VtdSecondStage::new(4, 46)?.with_leaf_sizes(LeafSizes::FOUR_KIB | LeafSizes::TWO_MIB);
//! let word = format.leaf(2, PhysAddr::new(0x4020_0000), Permission::Read, Span::Entry);
//! assert_eq!(word, 0x4020_0081);
//! let phys = PhysAddr::new(0x4020_0000);
//! let leaf = Entry::Leaf { phys, permission: Permission::Read, span: Span::Entry };
//! assert_eq!(format.decode(2, word), leaf);
//! assert_eq!(format.decode(3, word), Entry::Reserved, "no leaves of 1 GiB here");
//! # Ok::<(), dmamap::pagetable::FormatError>(())
//! ```

use hw::vtd::second_stage::{self, Entry as Word, Kind};

use super::{
    Entry, Format, FormatError, Geometry, Granule, LeafSizes, Permission, SnoopControl, Span,
    WalkCoherence,
};
use crate::addr::PhysAddr;

const FORMAT: &str = "VT-d second-stage";

/// VT-d second-stage tables, as one unit walks them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VtdSecondStage {
    levels: u32,
    host_address_bits: u32,
    leaf_sizes: LeafSizes,
    snoop: SnoopControl,
    coherence: WalkCoherence,
}

impl VtdSecondStage {
    /// Tables of `levels` levels on a host whose physical addresses have `host_address_bits`; with leaves of
    /// 4 KiB, no forced snooping, and walks that snoop.
    ///
    /// # Errors
    /// [`FormatError`] for shapes that do not exist.
    pub const fn new(levels: u32, host_address_bits: u32) -> Result<Self, FormatError> {
        if levels < 3 || levels > 5 {
            return Err(FormatError::Levels {
                format: FORMAT,
                levels,
                first: 3,
                last: 5,
            });
        }
        if host_address_bits < 32 || host_address_bits > 52 {
            return Err(FormatError::PhysBits {
                format: FORMAT,
                bits: host_address_bits,
                first: 32,
                last: 52,
            });
        }
        Ok(Self {
            levels,
            host_address_bits,
            leaf_sizes: LeafSizes::FOUR_KIB,
            snoop: SnoopControl::AsRequested,
            coherence: WalkCoherence::Snooped,
        })
    }

    /// The same with leaves of `leaf_sizes` ([`Cap::sslps`](hw::vtd::regs::Cap::sslps)).
    #[must_use]
    pub const fn with_leaf_sizes(self, leaf_sizes: LeafSizes) -> Self {
        Self { leaf_sizes, ..self }
    }

    /// The same with or without forced snooping.
    #[must_use]
    pub const fn with_snoop_control(self, snoop: SnoopControl) -> Self {
        Self { snoop, ..self }
    }

    /// The same for a unit whose walks snoop, or not ([`Ecap::c`](hw::vtd::regs::Ecap::c)).
    #[must_use]
    pub const fn with_coherence(self, coherence: WalkCoherence) -> Self {
        Self { coherence, ..self }
    }

    /// Bits that must be zero in an entry.
    #[inline]
    fn reserved(&self, level: u32, kind: Kind) -> u64 {
        let address = second_stage::ADDRESS_MASK & !self.last_phys().as_u64();
        let features = match (kind, self.snoop) {
            (Kind::Leaf, SnoopControl::Force) => second_stage::TM,
            // A leaf of another kind of table is not ours, whatever the unit would make of it.
            _ => second_stage::TM | second_stage::SNP,
        };
        second_stage::reserved(level, kind) | address | features
    }
}

// SAFETY: the fields never change; a link or leaf decodes as what was encoded, with its address whole (masked by
// `ADDRESS_MASK` only); a word whose R and W bits are 0 is empty; level 1 holds leaves only.
unsafe impl Format for VtdSecondStage {
    #[inline]
    fn geometry(&self) -> Geometry {
        let granule = Granule::FourKib;
        let input_bits = granule.size_log2() + granule.index_bits() * self.levels;
        Geometry::new(granule, self.levels, input_bits)
    }

    #[inline]
    fn leaf_sizes(&self) -> LeafSizes {
        self.leaf_sizes
    }

    #[inline]
    fn coherence(&self) -> WalkCoherence {
        self.coherence
    }

    #[inline]
    fn last_phys(&self) -> PhysAddr {
        PhysAddr::new((1 << self.host_address_bits) - 1)
    }

    #[inline]
    fn leaf(&self, level: u32, phys: PhysAddr, permission: Permission, _span: Span) -> u64 {
        Word::new()
            .with_r(permission.reads())
            .with_w(permission.writes())
            .with_ps(level > 1)
            .with_snp(self.snoop == SnoopControl::Force)
            .with_addr(phys.as_u64())
            .into_bits()
    }

    #[inline]
    fn table(&self, _level: u32, phys: PhysAddr) -> u64 {
        // Permissions are the leaf's: those of the tables above must not take any away.
        Word::new()
            .with_r(true)
            .with_w(true)
            .with_addr(phys.as_u64())
            .into_bits()
    }

    #[inline]
    fn decode(&self, level: u32, word: u64) -> Entry {
        let entry = Word::from_bits(word);
        if !entry.is_present() {
            return Entry::Empty;
        }
        let kind = if level == 1 || entry.ps() {
            Kind::Leaf
        } else {
            Kind::Table
        };
        if kind == Kind::Leaf
            && level > 1
            && !self.leaf_sizes.contains(second_stage::size_log2(level))
            || word & self.reserved(level, kind) != 0
        {
            return Entry::Reserved;
        }
        let phys = PhysAddr::new(entry.addr());
        if kind == Kind::Table {
            return Entry::Table(phys);
        }
        let permission = match (entry.r(), entry.w()) {
            (true, true) => Permission::ReadWrite,
            (true, false) => Permission::Read,
            (false, _) => Permission::Write,
        };
        Entry::Leaf {
            phys,
            permission,
            span: Span::Entry,
        }
    }
}
