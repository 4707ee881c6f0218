//! The tables of the RISC-V IOMMU (RISC-V privileged specification 12.4 to 12.6 and 15.5): Sv39, Sv48 and Sv57 in the
//! first stage, their x4 forms in the second; leaves of 4 KiB, 2 MiB and 1 GiB.
//!
//! - The first stage translates canonical addresses, so that its aperture is the lower half of what the levels tell
//!   apart. The second translates two bits more, with a root of 16 KiB.
//! - Leaves have `U` set, as devices' requests have user privilege, and `A` and `D` preset, so that the unit never
//!   writes to a table nor faults for it.
//! - What can be written can be read: [`Permission::Write`] is mapped as [`Permission::ReadWrite`].
//! - Runs (Svnapot) are of 64 KiB; their entries are alike.
//!
//! ```
//! use dmamap::addr::PhysAddr;
//! use dmamap::pagetable::{Entry, Format, Permission, Riscv, Span};
//!
//! let format = Riscv::second_stage(3, 56)?;
//! assert_eq!(format.geometry().aperture_last(), (1 << 41) - 1);
//! assert_eq!(Riscv::first_stage(3, 56)?.geometry().aperture_last(), (1 << 38) - 1);
//! let word = format.leaf(2, PhysAddr::new(0x4020_0000), Permission::Read, Span::Entry);
//! assert_eq!(word, 0x1008_00d3);
//! let phys = PhysAddr::new(0x4020_0000);
//! let leaf = Entry::Leaf { phys, permission: Permission::Read, span: Span::Entry };
//! assert_eq!(format.decode(2, word), leaf);
//! # Ok::<(), dmamap::pagetable::FormatError>(())
//! ```

use hw::riscv::page_table::{
    Entry as Word, N, NAPOT_64K, NAPOT_64K_MASK, PBMT, RESERVED, TABLE_RESERVED,
};

use super::{
    Entry, Format, FormatError, Geometry, Granule, LeafSizes, Permission, Runs, Span, WalkCoherence,
};
use crate::addr::PhysAddr;

/// log2 of the pages in 64 KiB.
const RUN_LOG2: u32 = 4;

/// Whose addresses are translated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// A process's: Sv39, Sv48, Sv57.
    First,
    /// A guest's: Sv39x4, Sv48x4, Sv57x4.
    Second,
}

/// Tables of the RISC-V IOMMU, as one unit walks them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Riscv {
    stage: Stage,
    levels: u32,
    host_address_bits: u32,
    leaf_sizes: LeafSizes,
    runs: Runs,
    coherence: WalkCoherence,
}

impl Riscv {
    /// First-stage tables of `levels` levels, 3 for Sv39, on a host whose physical addresses have
    /// `host_address_bits`; with leaves of all sizes, no runs, and walks that snoop.
    ///
    /// # Errors
    /// [`FormatError`] for shapes that do not exist.
    pub const fn first_stage(levels: u32, host_address_bits: u32) -> Result<Self, FormatError> {
        Self::new(
            Stage::First,
            "RISC-V first-stage",
            levels,
            host_address_bits,
        )
    }

    /// Second-stage tables of `levels` levels, 3 for Sv39x4; likewise.
    ///
    /// # Errors
    /// [`FormatError`] for shapes that do not exist.
    pub const fn second_stage(levels: u32, host_address_bits: u32) -> Result<Self, FormatError> {
        Self::new(
            Stage::Second,
            "RISC-V second-stage",
            levels,
            host_address_bits,
        )
    }

    const fn new(
        stage: Stage,
        format: &'static str,
        levels: u32,
        host_address_bits: u32,
    ) -> Result<Self, FormatError> {
        if levels < 3 || levels > 5 {
            return Err(FormatError::Levels {
                format,
                levels,
                first: 3,
                last: 5,
            });
        }
        if host_address_bits < 32 || host_address_bits > 56 {
            return Err(FormatError::PhysBits {
                format,
                bits: host_address_bits,
                first: 32,
                last: 56,
            });
        }
        Ok(Self {
            stage,
            levels,
            host_address_bits,
            leaf_sizes: LeafSizes::FOUR_KIB
                .union(LeafSizes::TWO_MIB)
                .union(LeafSizes::ONE_GIB),
            runs: Runs::Plain,
            coherence: WalkCoherence::Snooped,
        })
    }

    /// The same with leaves of `leaf_sizes`.
    #[must_use]
    pub const fn with_leaf_sizes(self, leaf_sizes: LeafSizes) -> Self {
        Self { leaf_sizes, ..self }
    }

    /// The same for a unit with Svnapot, or without.
    #[must_use]
    pub const fn with_runs(self, runs: Runs) -> Self {
        Self { runs, ..self }
    }

    /// The same for a unit whose walks snoop, or not.
    #[must_use]
    pub const fn with_coherence(self, coherence: WalkCoherence) -> Self {
        Self { coherence, ..self }
    }

    #[inline]
    fn decode_leaf(&self, level: u32, entry: Word) -> Entry {
        let size_log2 = self.geometry().size_log2(level);
        let exists = level == 1 || self.leaf_sizes.contains(size_log2);
        // Another memory type is not ours, whatever the unit would make of it.
        if !exists || entry.into_bits() & PBMT != 0 {
            return Entry::Reserved;
        }
        let (span, span_log2, size_bits) = if !entry.n() {
            (Span::Entry, size_log2, 0)
        } else if level == 1 && self.runs == Runs::Hinted {
            (Span::Run, size_log2 + RUN_LOG2, NAPOT_64K)
        } else {
            return Entry::Reserved;
        };
        let permission = match (entry.r(), entry.w()) {
            (true, true) => Permission::ReadWrite,
            (true, false) => Permission::Read,
            (false, _) => return Entry::Reserved,
        };
        let below_size = (1 << span_log2) - 1;
        if entry.addr() & below_size != size_bits {
            return Entry::Reserved;
        }
        Entry::Leaf {
            phys: PhysAddr::new(entry.addr() & !below_size),
            permission,
            span,
        }
    }
}

// SAFETY: the fields never change; a link or leaf decodes as what was encoded, a link with its address whole; a word
// whose V bit is 0 is empty; `decode` makes no link of a word of level 1; leaves of a run only where runs are
// hinted.
unsafe impl Format for Riscv {
    #[inline]
    fn geometry(&self) -> Geometry {
        let granule = Granule::FourKib;
        let translated = granule.size_log2() + granule.index_bits() * self.levels;
        let input_bits = match self.stage {
            // Upper-half addresses begin with ones up to bit 63.
            Stage::First => translated - 1,
            Stage::Second => translated + 2,
        };
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
    fn run_log2(&self, level: u32) -> u32 {
        match (self.runs, level) {
            (Runs::Hinted, 1) => RUN_LOG2,
            _ => 0,
        }
    }

    #[inline]
    fn leaf(&self, _level: u32, phys: PhysAddr, permission: Permission, span: Span) -> u64 {
        let addr = match span {
            Span::Entry => phys.as_u64(),
            Span::Run => phys.as_u64() & !NAPOT_64K_MASK | NAPOT_64K,
        };
        Word::new()
            .with_v(true)
            .with_r(true)
            .with_w(permission.writes())
            .with_u(true)
            .with_a(true)
            .with_d(true)
            .with_addr(addr)
            .with_n(span == Span::Run)
            .into_bits()
    }

    #[inline]
    fn table(&self, _level: u32, phys: PhysAddr) -> u64 {
        Word::new()
            .with_v(true)
            .with_addr(phys.as_u64())
            .into_bits()
    }

    #[inline]
    fn decode(&self, level: u32, word: u64) -> Entry {
        let entry = Word::from_bits(word);
        if !entry.v() {
            return Entry::Empty;
        }
        if word & RESERVED != 0 || entry.addr() > self.last_phys().as_u64() {
            return Entry::Reserved;
        }
        if entry.is_leaf() {
            self.decode_leaf(level, entry)
        } else if level > 1 && word & (TABLE_RESERVED | PBMT | N) == 0 {
            Entry::Table(PhysAddr::new(entry.addr()))
        } else {
            Entry::Reserved
        }
    }
}
