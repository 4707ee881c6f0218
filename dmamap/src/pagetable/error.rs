//! Why a table refused.

use super::Permission;
use crate::addr::{BusAddr, BusRange, PhysAddr, PhysRange};
use crate::platform::OutOfFrames;

/// A unit's tables cannot have this shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// There are no tables of so many levels.
    #[error("{format} tables have {first} to {last} levels, not {levels}")]
    Levels {
        /// The format.
        format: &'static str,
        /// What was asked for.
        levels: u32,
        /// The fewest there are.
        first: u32,
        /// The most.
        last: u32,
    },
    /// Entries hold no physical addresses of that width.
    #[error("{format} tables lead to addresses of {first} to {last} bits, not {bits}")]
    PhysBits {
        /// The format.
        format: &'static str,
        /// What was asked for.
        bits: u32,
        /// The narrowest there are.
        first: u32,
        /// The widest.
        last: u32,
    },
    /// There are no tables for addresses of that width.
    #[error("{format} tables translate addresses of {first} to {last} bits, not {bits}")]
    InputBits {
        /// The format.
        format: &'static str,
        /// What was asked for.
        bits: u32,
        /// The narrowest there are.
        first: u32,
        /// The widest.
        last: u32,
    },
}

/// Why memory was not mapped. Nothing has changed then, nor did a unit see anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MapError {
    /// Something is mapped there.
    #[error("bus {bus} is mapped already, to physical {phys} ({permission}): unmap it first")]
    AlreadyMapped {
        /// The first address that is.
        bus: BusAddr,
        /// What it reaches.
        phys: PhysAddr,
        /// What the device may do there.
        permission: Permission,
    },
    /// No frame for a table.
    #[error("no frame for a page table: {0}")]
    OutOfFrames(#[from] OutOfFrames),
    /// The table cannot tell such addresses apart.
    #[error("{len_bytes:#x} bytes from bus {bus} pass the aperture's last address {last}")]
    OutsideAperture {
        /// First address asked for.
        bus: BusAddr,
        /// Length asked for, as far as it was looked at.
        len_bytes: u64,
        /// The last address that can be mapped.
        last: BusAddr,
    },
    /// Not whole pages.
    #[error(
        "bus {bus} to physical {phys}: starts and lengths are multiples of {granule_bytes:#x} bytes"
    )]
    Misaligned {
        /// First bus address of the part that is not.
        bus: BusAddr,
        /// The memory.
        phys: PhysRange,
        /// Bytes of the smallest page.
        granule_bytes: u64,
    },
    /// The unit cannot address the memory.
    #[error("physical {phys} lies above {last}, the last address the IOMMU can hold in an entry")]
    PhysTooWide {
        /// The memory.
        phys: PhysRange,
        /// The last address an entry can hold.
        last: PhysAddr,
    },
    /// An entry holds what was never written there.
    #[error("page-table entry {word:#x} of level {level} for bus {bus} is corrupt")]
    Corrupt {
        /// An address whose walk meets it.
        bus: BusAddr,
        /// Its table's level.
        level: u32,
        /// Its content.
        word: u64,
    },
}

/// Why bus addresses were not unmapped. Nothing has changed then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnmapError {
    /// Nothing is mapped there.
    #[error("bus {bus} is not mapped")]
    NotMapped {
        /// The first address that is not.
        bus: BusAddr,
    },
    /// A large page, or a contiguous run of pages, would have to be split.
    #[error("bus {leaf} is one page of the IOMMU: it is unmapped as a whole or not at all")]
    WouldSplit {
        /// The addresses of the page or run.
        leaf: BusRange,
    },
    /// The table cannot tell such addresses apart.
    #[error("bus {range} passes the aperture's last address {last}")]
    OutsideAperture {
        /// What was to be unmapped.
        range: BusRange,
        /// The last address that can be mapped.
        last: BusAddr,
    },
    /// Not whole pages.
    #[error("bus {range}: start and length are multiples of {granule_bytes:#x} bytes")]
    Misaligned {
        /// What was to be unmapped.
        range: BusRange,
        /// Bytes of the smallest page.
        granule_bytes: u64,
    },
    /// An entry holds what was never written there.
    #[error("page-table entry {word:#x} of level {level} for bus {bus} is corrupt")]
    Corrupt {
        /// An address whose walk meets it.
        bus: BusAddr,
        /// Its table's level.
        level: u32,
        /// Its content.
        word: u64,
    },
}
