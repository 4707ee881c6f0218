//! Registers of the stream table: where it lies and what shape it has.

use bitfield_struct::{bitenum, bitfield};

/// `STRTAB_BASE`: where the stream table lies (6.3.23).
#[bitfield(u64)]
#[derive(PartialEq, Eq)]
pub struct StreamTableBase {
    #[bits(6)]
    __: u8,
    #[bits(46)]
    addr_units: u64,
    #[bits(10)]
    __: u16,
    /// Allocation hint for the unit's reads.
    pub ra: bool,
    __: bool,
}

impl StreamTableBase {
    /// Physical address of the table.
    pub const fn addr(self) -> u64 {
        self.addr_units() << 6
    }

    /// With the table at physical address `phys`, aligned to its size and to 64 bytes (lower bits are dropped,
    /// and so are those above bit 51).
    #[must_use]
    pub const fn with_addr(self, phys: u64) -> Self {
        self.with_addr_units(phys << 12 >> 18)
    }
}

/// `STRTAB_BASE_CFG.FMT`: the shape of the stream table (6.3.24).
#[bitenum]
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamTableFormat {
    /// Entries, one after the other.
    Linear = 0,
    /// Descriptors of arrays of entries.
    TwoLevel = 1,
    /// Reserved.
    #[fallback]
    Reserved = 2,
}

/// `STRTAB_BASE_CFG` (6.3.24).
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct StreamTableConfig {
    /// Bits of a stream id that the table covers.
    #[bits(6)]
    pub log2size: u8,
    /// Bits of a stream id that index the second level: 6, 8 or 10.
    #[bits(5)]
    pub split: u8,
    #[bits(5)]
    __: u8,
    /// Shape.
    #[bits(2)]
    pub fmt: StreamTableFormat,
    #[bits(14)]
    __: u16,
}
