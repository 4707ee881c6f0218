//! The stage 1 tables of Arm SMMUs (VMSAv8-64): granules of 4, 16 and 64 KiB, input addresses of 25 to 48 bits, output
//! addresses of up to 48.
//!
//! - Entries have `AF` preset, so that the unit never writes to a table nor faults for it; `nG` set, as each domain
//!   has its ASID; and grant unprivileged accesses, which most devices' are, but for leaves
//!   [for privileged requests only](super::Privilege::PrivilegedOnly), whose `AP[1]` is clear (Arm ARM, D8.4).
//! - What is valid can be read: [`Permission::Write`] is mapped as [`Permission::ReadWrite`].
//! - Registers are Device-nGnRE. Where walks are not coherent, memory is mapped non-cacheable and outer shareable, else write-back and inner
//!   shareable. The context descriptor must hold [`MAIR`](ArmLpaeStage1::MAIR).
//!
//! ```
//! use dmamap::addr::PhysAddr;
//! use dmamap::pagetable::{ArmLpaeStage1, Entry, Format, Granule, Permission, Span};
//!
//! let format = ArmLpaeStage1::new(Granule::FourKib, 39, 44)?;
//! assert_eq!(format.geometry().levels(), 3);
//! let word = format.leaf(2, PhysAddr::new(0x4020_0000), Permission::Read, Span::Entry);
//! assert_eq!(word, 0x4020_0fc1);
//! let phys = PhysAddr::new(0x4020_0000);
//! let leaf = Entry::Leaf { phys, permission: Permission::Read, span: Span::Entry };
//! assert_eq!(format.decode(2, word), leaf);
//! # Ok::<(), dmamap::pagetable::FormatError>(())
//! ```

use hw::smmu::page_table::{
    AP_PRIVILEGED_READ, AP_PRIVILEGED_READ_WRITE, AP_READ, AP_READ_WRITE, AP_UNPRIVILEGED,
    MAIR_DEVICE, MAIR_NON_CACHEABLE, MAIR_WRITE_BACK, SH_INNER, SH_OUTER, STAGE1_RESERVED, Stage1,
};

use super::arm_lpae::{ArmLpae, LeafWord};
use super::{
    Entry, Format, FormatError, Geometry, Granule, LeafSizes, Permission, Privileges, Runs, Span,
    WalkCoherence,
};
use crate::addr::PhysAddr;

/// Which byte of MAIR says write-back.
const WRITE_BACK: u8 = 0;
/// Which says non-cacheable.
const NON_CACHEABLE: u8 = 1;
/// Which says that there are registers.
const DEVICE: u8 = 2;

/// Arm stage 1 tables, as one unit walks them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArmLpaeStage1(ArmLpae);

impl ArmLpaeStage1 {
    /// The memory attributes that entries refer to.
    pub const MAIR: u64 = (MAIR_WRITE_BACK as u64) << (8 * WRITE_BACK)
        | (MAIR_NON_CACHEABLE as u64) << (8 * NON_CACHEABLE)
        | (MAIR_DEVICE as u64) << (8 * DEVICE);

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
        match ArmLpae::new("Arm stage 1", granule, input_bits, output_bits, 1, 0) {
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
unsafe impl Format for ArmLpaeStage1 {
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
        let (attr_indx, sh) = match self.0.coherence {
            WalkCoherence::Snooped => (WRITE_BACK, SH_INNER),
            WalkCoherence::NotSnooped => (NON_CACHEABLE, SH_OUTER),
        };
        Stage1::new()
            .with_valid(true)
            .with_page(level == 1)
            .with_attr_indx(attr_indx)
            .with_ap(if permission.writes() {
                AP_READ_WRITE
            } else {
                AP_READ
            })
            .with_sh(sh)
            .with_af(true)
            .with_n_g(true)
            .with_addr(phys.as_u64())
            .with_contiguous(span == Span::Run)
            .into_bits()
    }

    #[inline]
    fn for_registers(&self, leaf: u64) -> u64 {
        // Shareability is not looked at: such memory is outer shareable.
        Stage1::from_bits(leaf)
            .with_attr_indx(DEVICE)
            .with_sh(SH_OUTER)
            .into_bits()
    }

    fn privileges(&self) -> Privileges {
        Privileges::Told
    }

    #[inline]
    fn for_privileged(&self, leaf: u64) -> u64 {
        let word = Stage1::from_bits(leaf);
        word.with_ap(word.ap() & !AP_UNPRIVILEGED).into_bits()
    }

    #[inline]
    fn table(&self, _level: u32, phys: PhysAddr) -> u64 {
        self.0.table(phys)
    }

    #[inline]
    fn decode(&self, level: u32, word: u64) -> Entry {
        self.0.decode(level, word, |word| {
            let leaf = Stage1::from_bits(word);
            let permission = match leaf.ap() {
                AP_READ_WRITE | AP_PRIVILEGED_READ_WRITE => Permission::ReadWrite,
                AP_READ | AP_PRIVILEGED_READ => Permission::Read,
                _ => return None,
            };
            // Ours all have it; and by it a link is told from a page where it is none of its business.
            (leaf.af() && word & STAGE1_RESERVED == 0)
                .then(|| LeafWord::new(leaf.addr(), permission, leaf.contiguous()))
        })
    }
}
