//! Base address registers (7.5.1.2.1): bus addresses (A) where a function's registers answer.
//!
//! A BAR is sized by writing all ones, with decoding switched off, and reading back: address bits the function
//! does not compare stay 0.
//!
//! ```
//! use hw::pci::bar::{MemoryBar, MemoryBarType};
//!
//! let bar = MemoryBar::from_bits(0xfeb0_000c);
//! assert_eq!(bar.kind(), MemoryBarType::Bits64);
//! assert!(bar.prefetchable());
//! assert_eq!(bar.base(), 0xfeb0_0000);
//! ```

use bitfield_struct::{bitenum, bitfield};

/// Bit 0 of a BAR: set for IO, clear for memory.
pub const IO_SPACE: u32 = 1;
/// Address bits of a memory BAR's (lower) word.
pub const MEMORY_ADDRESS_MASK: u32 = 0xffff_fff0;
/// Address bits of an IO BAR.
pub const IO_ADDRESS_MASK: u32 = 0xffff_fffc;
/// Address bits of the expansion ROM register.
pub const ROM_ADDRESS_MASK: u32 = 0xffff_f800;
/// Enable bit of the expansion ROM register.
pub const ROM_ENABLE: u32 = 1;

/// Smallest memory BAR a PCI Express function may have, in bytes.
pub const MEMORY_MIN_BYTES: u64 = 128;

/// Width of a memory BAR.
#[bitenum]
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemoryBarType {
    /// One register, anywhere below 4 GiB.
    Bits32 = 0,
    /// One register, below 1 MiB; obsolete.
    Below1M = 1,
    /// Two registers, the second holds the upper 32 bits.
    Bits64 = 2,
    /// Reserved.
    #[fallback]
    Reserved = 3,
}

/// The (lower) word of a memory BAR.
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct MemoryBar {
    /// Clear in a memory BAR.
    pub io_space: bool,
    /// Width.
    #[bits(2, default = MemoryBarType::Bits32)]
    pub kind: MemoryBarType,
    /// Reads have no side effects and writes may be merged.
    pub prefetchable: bool,
    #[bits(28)]
    base_sixteenths: u32,
}

impl MemoryBar {
    /// (Lower 32 bits of the) bus address.
    pub const fn base(self) -> u32 {
        self.base_sixteenths() << 4
    }

    /// With `bus`, a multiple of 16 (lower bits are dropped), as (lower 32 bits of the) bus address.
    #[must_use]
    pub const fn with_base(self, bus: u32) -> Self {
        self.with_base_sixteenths(bus >> 4)
    }
}

/// An IO BAR.
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct IoBar {
    /// Set in an IO BAR.
    #[bits(default = true)]
    pub io_space: bool,
    __: bool,
    #[bits(30)]
    base_dwords: u32,
}

impl IoBar {
    /// IO bus address.
    pub const fn base(self) -> u32 {
        self.base_dwords() << 2
    }

    /// With `bus`, a multiple of 4 (lower bits are dropped), as IO bus address.
    #[must_use]
    pub const fn with_base(self, bus: u32) -> Self {
        self.with_base_dwords(bus >> 2)
    }
}
