//! The stage 2 tables of Arm SMMUs (VMSAv8-64): granules of 4, 16 and 64 KiB, input addresses of 25 to 48 bits, output
//! addresses of up to 48.
//!
//! The root is up to 16 tables in a row where that saves a level. Entries have `AF` preset, so that the unit never
//! writes to a table nor faults for it. Where walks are not coherent, memory is mapped non-cacheable and outer
//! shareable, else write-back and inner shareable. Registers are Device-nGnRE.
//!
//! ```
//! use dmamap::addr::PhysAddr;
//! use dmamap::pagetable::{ArmLpaeStage2, Entry, Format, Granule, Permission, Span};
//!
//! let format = ArmLpaeStage2::new(Granule::FourKib, 42, 44)?;
//! assert_eq!(format.geometry().levels(), 3);
//! assert_eq!(format.geometry().entries(3), 8 * 512);
//! let word = format.leaf(2, PhysAddr::new(0x4020_0000), Permission::Write, Span::Entry);
//! assert_eq!(word, 0x4020_07bd);
//! let phys = PhysAddr::new(0x4020_0000);
//! let leaf = Entry::Leaf { phys, permission: Permission::Write, span: Span::Entry };
//! assert_eq!(format.decode(2, word), leaf);
//! # Ok::<(), dmamap::pagetable::FormatError>(())
//! ```

use hw::smmu::page_table::{
    MEM_ATTR_DEVICE, MEM_ATTR_NON_CACHEABLE, MEM_ATTR_WRITE_BACK, S2AP_READ, S2AP_READ_WRITE,
    S2AP_WRITE, SH_INNER, SH_OUTER, STAGE2_RESERVED, Stage2,
};

use super::arm_lpae::{ArmLpae, LeafWord};
use super::{
    Entry, Format, FormatError, Geometry, Granule, LeafSizes, Permission, Runs, Span, WalkCoherence,
};
use crate::addr::PhysAddr;

/// log2 of how many tables the root may be (D8.2.2).
const CONCATENATED_LOG2: u32 = 4;

/// Arm stage 2 tables, as one unit walks them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArmLpaeStage2(ArmLpae);

impl ArmLpaeStage2 {
    /// Tables that translate addresses of `input_bits` to ones of `output_bits`, with as many levels as that takes;
    /// with blocks, no runs, and walks that snoop.
    ///
    /// # Errors
    /// [`FormatError`] for widths that do not exist.
    pub const fn new(
        granule: Granule,
        input_bits: u32,
        output_bits: u32,
    ) -> Result<Self, FormatError> {
        // `S2SL0` cannot name the last level as the first where pages are of 4 KiB.
        let fewest = if matches!(granule, Granule::FourKib) {
            2
        } else {
            1
        };
        let format = "Arm stage 2";
        match ArmLpae::new(
            format,
            granule,
            input_bits,
            output_bits,
            fewest,
            CONCATENATED_LOG2,
        ) {
            Ok(lpae) => Ok(Self(lpae)),
            Err(error) => Err(error),
        }
    }

    /// The same with blocks of fewer sizes. The granule itself always counts as among them.
    #[must_use]
    pub const fn with_leaf_sizes(mut self, leaf_sizes: LeafSizes) -> Self {
        self.0.leaf_sizes = self.0.leaf_sizes.intersection(leaf_sizes);
        self
    }

    /// The same with or without the contiguous bit.
    #[must_use]
    pub const fn with_runs(mut self, runs: Runs) -> Self {
        self.0.runs = runs;
        self
    }

    /// The same for a unit whose walks snoop, or not.
    #[must_use]
    pub const fn with_coherence(mut self, coherence: WalkCoherence) -> Self {
        self.0.coherence = coherence;
        self
    }
}

// SAFETY: the fields never change; a link or leaf decodes as what was encoded, a link with its address whole (masked
// by `ADDRESS_MASK` only); a word whose bit 0 is 0 is empty; level 1 holds leaves only; those of a run only where
// runs are hinted.
unsafe impl Format for ArmLpaeStage2 {
    #[inline]
    fn geometry(&self) -> Geometry {
        self.0.geometry()
    }

    #[inline]
    fn leaf_sizes(&self) -> LeafSizes {
        self.0.leaf_sizes
    }

    #[inline]
    fn coherence(&self) -> WalkCoherence {
        self.0.coherence
    }

    #[inline]
    fn last_phys(&self) -> PhysAddr {
        self.0.last_phys()
    }

    #[inline]
    fn run_log2(&self, level: u32) -> u32 {
        self.0.run_log2(level)
    }

    #[inline]
    fn leaf(&self, level: u32, phys: PhysAddr, permission: Permission, span: Span) -> u64 {
        let (mem_attr, sh) = match self.0.coherence {
            WalkCoherence::Snooped => (MEM_ATTR_WRITE_BACK, SH_INNER),
            WalkCoherence::NotSnooped => (MEM_ATTR_NON_CACHEABLE, SH_OUTER),
        };
        Stage2::new()
            .with_valid(true)
            .with_page(level == 1)
            .with_mem_attr(mem_attr)
            .with_s2ap(match permission {
                Permission::Read => S2AP_READ,
                Permission::Write => S2AP_WRITE,
                Permission::ReadWrite => S2AP_READ_WRITE,
            })
            .with_sh(sh)
            .with_af(true)
            .with_addr(phys.as_u64())
            .with_contiguous(span == Span::Run)
            .into_bits()
    }

    #[inline]
    fn for_registers(&self, leaf: u64) -> u64 {
        Stage2::from_bits(leaf)
            .with_mem_attr(MEM_ATTR_DEVICE)
            .with_sh(SH_OUTER)
            .into_bits()
    }

    #[inline]
    fn table(&self, _level: u32, phys: PhysAddr) -> u64 {
        self.0.table(phys)
    }

    #[inline]
    fn decode(&self, level: u32, word: u64) -> Entry {
        self.0.decode(level, word, |word| {
            let leaf = Stage2::from_bits(word);
            let permission = match leaf.s2ap() {
                S2AP_READ => Permission::Read,
                S2AP_WRITE => Permission::Write,
                S2AP_READ_WRITE => Permission::ReadWrite,
                _ => return None,
            };
            (word & STAGE2_RESERVED == 0 && !leaf.fnxs())
                .then(|| LeafWord::new(leaf.addr(), permission, leaf.contiguous()))
        })
    }
}
