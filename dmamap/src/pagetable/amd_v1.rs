//! The host tables of AMD-Vi (AMD IOMMU specification 2.2.3): 1 to 6 levels, leaves of 4 KiB, 2 MiB and 1 GiB.
//!
//! The unit combines the permissions of all levels, so entries of tables grant both. Runs are of 16 leaves: their
//! entries are alike and hold the run's size in their lower address bits.
//!
//! ```
//! use dmamap::addr::PhysAddr;
//! use dmamap::pagetable::{AmdV1, Entry, Format, Permission, Runs, Span};
//!
//! let format = AmdV1::new(4, 48)?.with_runs(Runs::Hinted);
//! assert_eq!(format.table(3, PhysAddr::new(0x7000)), 0x6000_0000_0000_7401);
//! let word = format.leaf(1, PhysAddr::new(0x4020_3000), Permission::Write, Span::Run);
//! assert_eq!(word, 0x4000_0000_4020_7e01, "one of the 64 KiB from 0x4020_0000 on");
//! let phys = PhysAddr::new(0x4020_0000);
//! let leaf = Entry::Leaf { phys, permission: Permission::Write, span: Span::Run };
//! assert_eq!(format.decode(1, word), leaf);
//! # Ok::<(), dmamap::pagetable::FormatError>(())
//! ```

use hw::amd::page_table::{
    self, Entry as Word, LEAF_RESERVED, NEXT_LEVEL_LEAF, NEXT_LEVEL_SIZED, TABLE_RESERVED,
};

use super::{
    Entry, Format, FormatError, Geometry, Granule, LeafSizes, Permission, Runs, SnoopControl, Span,
    WalkCoherence,
};
use crate::addr::PhysAddr;

const FORMAT: &str = "AMD-Vi host";

/// The size field tells any power of two; 16 entries are two cache lines, and what other units choose too.
const RUN_LOG2: u32 = 4;

/// AMD-Vi host tables, as one unit walks them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AmdV1 {
    levels: u32,
    host_address_bits: u32,
    leaf_sizes: LeafSizes,
    runs: Runs,
    snoop: SnoopControl,
    coherence: WalkCoherence,
}

impl AmdV1 {
    /// Tables of `levels` levels on a host whose physical addresses have `host_address_bits`; with leaves of
    /// 4 KiB, no runs, no forced snooping, and walks that snoop.
    ///
    /// # Errors
    /// [`FormatError`] for shapes that do not exist. (Many a unit has less than 6 levels.)
    pub const fn new(levels: u32, host_address_bits: u32) -> Result<Self, FormatError> {
        if levels < 1 || levels > 6 {
            return Err(FormatError::Levels {
                format: FORMAT,
                levels,
                first: 1,
                last: 6,
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
            runs: Runs::Plain,
            snoop: SnoopControl::AsRequested,
            coherence: WalkCoherence::Snooped,
        })
    }

    /// The same with leaves of `leaf_sizes`.
    #[must_use]
    pub const fn with_leaf_sizes(self, leaf_sizes: LeafSizes) -> Self {
        Self { leaf_sizes, ..self }
    }

    /// The same with or without runs of 16 leaves.
    #[must_use]
    pub const fn with_runs(self, runs: Runs) -> Self {
        Self { runs, ..self }
    }

    /// The same with or without forced snooping (`FC`).
    #[must_use]
    pub const fn with_snoop_control(self, snoop: SnoopControl) -> Self {
        Self { snoop, ..self }
    }

    /// The same for a unit whose walks snoop, or not.
    #[must_use]
    pub const fn with_coherence(self, coherence: WalkCoherence) -> Self {
        Self { coherence, ..self }
    }

    /// Address bits above the host's.
    fn too_wide(&self) -> u64 {
        page_table::ADDRESS_MASK & !self.last_phys().as_u64()
    }

    #[inline]
    fn decode_leaf(&self, level: u32, entry: Word) -> Entry {
        let level_log2 = self.geometry().size_log2(level);
        let exists = level == 1 || self.leaf_sizes.contains(level_log2);
        let (span, size_log2, size_bits) = if entry.next_level() == NEXT_LEVEL_LEAF {
            (Span::Entry, level_log2, 0)
        } else {
            let size_log2 = level_log2 + RUN_LOG2;
            (Span::Run, size_log2, page_table::sized_bits(size_log2))
        };
        let below_size = (1 << size_log2) - 1;
        // A leaf of another kind is not ours, whatever the unit would make of it.
        let ours = (span == Span::Entry || self.runs == Runs::Hinted)
            && !entry.u()
            && entry.fc() == (self.snoop == SnoopControl::Force)
            && entry.addr() & below_size == size_bits;
        if !exists || !ours || entry.into_bits() & (LEAF_RESERVED | self.too_wide()) != 0 {
            return Entry::Reserved;
        }
        let permission = match (entry.ir(), entry.iw()) {
            (true, true) => Permission::ReadWrite,
            (true, false) => Permission::Read,
            (false, true) => Permission::Write,
            (false, false) => return Entry::Reserved,
        };
        Entry::Leaf {
            phys: PhysAddr::new(entry.addr() & !below_size),
            permission,
            span,
        }
    }
}

// SAFETY: the fields never change; a link or leaf decodes as what was encoded, a link with its address whole (masked
// by `ADDRESS_MASK` only); a word whose PR bit is 0 is empty; a table's next level is not 0, and so level 1 holds
// leaves only; those of a run only where runs are hinted.
unsafe impl Format for AmdV1 {
    #[inline]
    fn geometry(&self) -> Geometry {
        let granule = Granule::FourKib;
        let all = granule.size_log2() + granule.index_bits() * self.levels;
        // Six levels could tell more apart than 64 bits: the root has 128 entries then.
        let input_bits = if all > u64::BITS { u64::BITS } else { all };
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
    fn run_log2(&self, _level: u32) -> u32 {
        match self.runs {
            Runs::Hinted => RUN_LOG2,
            Runs::Plain => 0,
        }
    }

    #[inline]
    fn leaf(&self, level: u32, phys: PhysAddr, permission: Permission, span: Span) -> u64 {
        let size_log2 = self.geometry().size_log2(level);
        let (next_level, addr) = match span {
            Span::Entry => (NEXT_LEVEL_LEAF, phys.as_u64()),
            Span::Run => {
                let run_log2 = size_log2 + RUN_LOG2;
                let run = phys.align_down(run_log2).as_u64();
                (NEXT_LEVEL_SIZED, run | page_table::sized_bits(run_log2))
            }
        };
        Word::new()
            .with_pr(true)
            .with_next_level(next_level)
            .with_addr(addr)
            .with_fc(self.snoop == SnoopControl::Force)
            .with_ir(permission.reads())
            .with_iw(permission.writes())
            .into_bits()
    }

    #[inline]
    fn table(&self, level: u32, phys: PhysAddr) -> u64 {
        Word::new()
            .with_pr(true)
            .with_next_level((level - 1) as u8)
            .with_addr(phys.as_u64())
            .with_ir(true)
            .with_iw(true)
            .into_bits()
    }

    #[inline]
    fn decode(&self, level: u32, word: u64) -> Entry {
        let entry = Word::from_bits(word);
        if !entry.pr() {
            return Entry::Empty;
        }
        match entry.next_level() {
            NEXT_LEVEL_LEAF | NEXT_LEVEL_SIZED => self.decode_leaf(level, entry),
            // No level is skipped here, and none takes a permission away.
            next if u32::from(next) + 1 == level
                && entry.ir()
                && entry.iw()
                && word & (TABLE_RESERVED | self.too_wide()) == 0 =>
            {
                Entry::Table(PhysAddr::new(entry.addr()))
            }
            _ => Entry::Reserved,
        }
    }
}
