//! The first-stage tables of Intel VT-d, those of x86-64 (VT-d specification 3.6 and 9.9): 4 or 5 levels, leaves of
//! 4 KiB, 2 MiB and 1 GiB.
//!
//! - Addresses are canonical, so that the aperture is the lower half of what the levels tell apart.
//! - Every entry has `U/S` set, as devices' requests have user privilege, and `A` and `D` preset, so that the unit
//!   never writes to a table.
//! - What is present can be read: [`Permission::Write`] is mapped as [`Permission::ReadWrite`].
//!
//! ```
//! use dmamap::addr::PhysAddr;
//! use dmamap::pagetable::{Entry, Format, LeafSizes, Permission, Span, X86FirstStage};
//!
//! let format = X86FirstStage::new(4, 46)?.with_leaf_sizes(LeafSizes::FOUR_KIB | LeafSizes::TWO_MIB);
//! assert_eq!(format.geometry().aperture_last(), 0x7fff_ffff_ffff);
//! let word = format.leaf(2, PhysAddr::new(0x4020_0000), Permission::Write, Span::Entry);
//! assert_eq!(word, 0x4020_00e7);
//! let phys = PhysAddr::new(0x4020_0000);
//! let leaf = Entry::Leaf { phys, permission: Permission::ReadWrite, span: Span::Entry };
//! assert_eq!(format.decode(2, word), leaf);
//! # Ok::<(), dmamap::pagetable::FormatError>(())
//! ```

use hw::vtd::first_stage::{self, Entry as Word};
use hw::vtd::second_stage::Kind;

use super::{
    Entry, Format, FormatError, Geometry, Granule, LeafSizes, Permission, Span, WalkCoherence,
};
use crate::addr::PhysAddr;

const FORMAT: &str = "x86 first-stage";

/// VT-d first-stage tables, as one unit walks them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct X86FirstStage {
    levels: u32,
    host_address_bits: u32,
    leaf_sizes: LeafSizes,
    coherence: WalkCoherence,
}

impl X86FirstStage {
    /// Tables of `levels` levels on a host whose physical addresses have `host_address_bits`; with leaves of
    /// 4 KiB, and walks that snoop.
    ///
    /// # Errors
    /// [`FormatError`] for shapes that do not exist.
    pub const fn new(levels: u32, host_address_bits: u32) -> Result<Self, FormatError> {
        if levels < 4 || levels > 5 {
            return Err(FormatError::Levels {
                format: FORMAT,
                levels,
                first: 4,
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
            coherence: WalkCoherence::Snooped,
        })
    }

    /// The same with leaves of `leaf_sizes`: 2 MiB on every unit, 1 GiB where its capabilities say so.
    #[must_use]
    pub const fn with_leaf_sizes(self, leaf_sizes: LeafSizes) -> Self {
        Self { leaf_sizes, ..self }
    }

    /// The same for a unit whose walks snoop, or not.
    #[must_use]
    pub const fn with_coherence(self, coherence: WalkCoherence) -> Self {
        Self { coherence, ..self }
    }

    /// Bits that must be zero in an entry.
    #[inline]
    fn reserved(&self, level: u32, kind: Kind) -> u64 {
        let address = first_stage::ADDRESS_MASK & !self.last_phys().as_u64();
        // A leaf of another memory type is not ours, whatever the unit would make of it; XD is not enabled.
        let memory_type = match (kind, level) {
            (Kind::Table, _) => 0,
            (Kind::Leaf, 1) => first_stage::PAT,
            (Kind::Leaf, _) => first_stage::LARGE_PAT,
        };
        first_stage::reserved(level, kind) | address | memory_type | first_stage::XD
    }
}

// SAFETY: the fields never change; a link or leaf decodes as what was encoded, with its address whole (masked by
// `ADDRESS_MASK` only); a word whose P bit is 0 is empty; level 1 holds leaves only; there are no runs.
unsafe impl Format for X86FirstStage {
    #[inline]
    fn geometry(&self) -> Geometry {
        let granule = Granule::FourKib;
        let translated = granule.size_log2() + granule.index_bits() * self.levels;
        // Upper-half addresses begin with ones up to bit 63.
        Geometry::new(granule, self.levels, translated - 1)
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
            .with_p(true)
            .with_rw(permission.writes())
            .with_us(true)
            .with_a(true)
            .with_d(true)
            .with_ps(level > 1)
            .with_addr(phys.as_u64())
            .into_bits()
    }

    #[inline]
    fn table(&self, _level: u32, phys: PhysAddr) -> u64 {
        // Permissions are the leaf's: those of the tables above must not take any away.
        Word::new()
            .with_p(true)
            .with_rw(true)
            .with_us(true)
            .with_a(true)
            .with_addr(phys.as_u64())
            .into_bits()
    }

    #[inline]
    fn decode(&self, level: u32, word: u64) -> Entry {
        let entry = Word::from_bits(word);
        if !entry.p() {
            return Entry::Empty;
        }
        let kind = if level == 1 || entry.ps() {
            Kind::Leaf
        } else {
            Kind::Table
        };
        let size_log2 = self.geometry().size_log2(level);
        if kind == Kind::Leaf && level > 1 && !self.leaf_sizes.contains(size_log2)
            || word & self.reserved(level, kind) != 0
        {
            return Entry::Reserved;
        }
        let phys = PhysAddr::new(entry.addr());
        match kind {
            Kind::Table => Entry::Table(phys),
            Kind::Leaf => Entry::Leaf {
                phys,
                permission: if entry.rw() {
                    Permission::ReadWrite
                } else {
                    Permission::Read
                },
                span: Span::Entry,
            },
        }
    }
}
