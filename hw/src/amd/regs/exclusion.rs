//! The exclusion range: bus addresses that pass untranslated (section 3.4).

use bitfield_struct::bitfield;

/// `Exclusion Base`: where the range begins, and whether it is on.
#[bitfield(u64)]
#[derive(PartialEq, Eq)]
pub struct ExclusionBase {
    /// The range is excluded from translation.
    pub exen: bool,
    /// For all devices; otherwise for those whose device table entry says so (`EX`).
    pub allow: bool,
    #[bits(10)]
    __: u16,
    #[bits(40)]
    base_frame: u64,
    #[bits(12)]
    __: u16,
}

impl ExclusionBase {
    /// Bits that must be zero.
    pub const RESERVED: u64 = 0xfff0_0000_0000_0ffc;

    /// First address of the range.
    pub const fn base(self) -> u64 {
        self.base_frame() << 12
    }

    /// With `address`, a multiple of 4 KiB below 2^52 (other bits are dropped), as first address.
    #[must_use]
    pub const fn with_base(self, address: u64) -> Self {
        self.with_base_frame(address >> 12 & ((1 << 40) - 1))
    }
}

/// `Exclusion Range Limit`: where the range ends.
#[bitfield(u64)]
#[derive(PartialEq, Eq)]
pub struct ExclusionLimit {
    #[bits(12)]
    __: u16,
    #[bits(40)]
    limit_frame: u64,
    #[bits(12)]
    __: u16,
}

impl ExclusionLimit {
    /// Bits that must be zero.
    pub const RESERVED: u64 = 0xfff0_0000_0000_0fff;

    /// Last address of the range: the last of a frame.
    pub const fn limit(self) -> u64 {
        self.limit_frame() << 12 | 0xfff
    }

    /// With the frame of `address`, below 2^52, as the last one of the range.
    #[must_use]
    pub const fn with_limit(self, address: u64) -> Self {
        self.with_limit_frame(address >> 12 & ((1 << 40) - 1))
    }
}
