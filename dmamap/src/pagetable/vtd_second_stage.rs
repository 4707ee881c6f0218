//! The second-stage tables of Intel VT-d (VT-d specification 3.7 and 9.8): 3, 4 or 5 levels, leaves of 4 KiB,
//! 2 MiB and 1 GiB.
//!
//! ```
//! use dmamap::addr::PhysAddr;
//! use dmamap::pagetable::{Entry, Format, LeafSizes, Permission, VtdSecondStage};
//!
//! let format = VtdSecondStage::new(4, 46)?.with_leaf_sizes(LeafSizes::FOUR_KIB | LeafSizes::TWO_MIB);
//! let word = format.leaf(2, PhysAddr::new(0x4020_0000), Permission::Read);
//! assert_eq!(word, 0x4020_0081);
//! let leaf = Entry::Leaf { phys: PhysAddr::new(0x4020_0000), permission: Permission::Read };
//! assert_eq!(format.decode(2, word), leaf);
//! assert_eq!(format.decode(3, word), Entry::Reserved, "no leaves of 1 GiB here");
//! # Ok::<(), dmamap::pagetable::FormatError>(())
//! ```

use hw::vtd::second_stage::{self, Entry as Word, Kind};

use super::{Entry, Format, LeafSizes, Permission, WalkCoherence};
use crate::addr::PhysAddr;

/// A table cannot have this shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// Tables have 3, 4 or 5 levels.
    #[error("VT-d second-stage tables have 3, 4 or 5 levels, not {levels}")]
    Levels {
        /// What was asked for.
        levels: u32,
    },
    /// Host addresses have 32 to 52 bits.
    #[error("a host address width of {bits} bits is not between 32 and 52")]
    HostAddressBits {
        /// What was asked for.
        bits: u32,
    },
}

/// Whether leaves make a device's accesses snoop the CPU's caches whatever the device asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SnoopControl {
    /// They do ([`Ecap::sc`](hw::vtd::regs::Ecap::sc) is set).
    Force,
    /// The device decides; the bit is reserved where the unit lacks snoop control.
    AsRequested,
}

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
            return Err(FormatError::Levels { levels });
        }
        if host_address_bits < 32 || host_address_bits > 52 {
            return Err(FormatError::HostAddressBits {
                bits: host_address_bits,
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
    fn levels(&self) -> u32 {
        self.levels
    }

    fn leaf_sizes(&self) -> LeafSizes {
        self.leaf_sizes
    }

    fn coherence(&self) -> WalkCoherence {
        self.coherence
    }

    fn last_phys(&self) -> PhysAddr {
        PhysAddr::new((1 << self.host_address_bits) - 1)
    }

    fn leaf(&self, level: u32, phys: PhysAddr, permission: Permission) -> u64 {
        Word::new()
            .with_r(permission.reads())
            .with_w(permission.writes())
            .with_ps(level > 1)
            .with_snp(self.snoop == SnoopControl::Force)
            .with_addr(phys.as_u64())
            .into_bits()
    }

    fn table(&self, _level: u32, phys: PhysAddr) -> u64 {
        // Permissions are the leaf's: those of the tables above must not take any away.
        Word::new()
            .with_r(true)
            .with_w(true)
            .with_addr(phys.as_u64())
            .into_bits()
    }

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
        if kind == Kind::Leaf && level > 1 && !self.leaf_sizes.at_level(level)
            || word & self.reserved(level, kind) != 0
        {
            return Entry::Reserved;
        }
        let phys = PhysAddr::new(entry.addr());
        match (kind, entry.r(), entry.w()) {
            (Kind::Table, ..) => Entry::Table(phys),
            (Kind::Leaf, true, true) => Entry::Leaf {
                phys,
                permission: Permission::ReadWrite,
            },
            (Kind::Leaf, true, false) => Entry::Leaf {
                phys,
                permission: Permission::Read,
            },
            (Kind::Leaf, false, _) => Entry::Leaf {
                phys,
                permission: Permission::Write,
            },
        }
    }
}
