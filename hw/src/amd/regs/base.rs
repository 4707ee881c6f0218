//! Where the structures in memory lie, and places in the two rings (section 3.4).

use bitfield_struct::bitfield;

use crate::amd::device_table;

/// `Device Table Base Address`: where the device table lies and how long it is.
#[bitfield(u64)]
#[derive(PartialEq, Eq)]
pub struct DeviceTableBase {
    /// Length of the table: `size + 1` times 4 KiB.
    #[bits(9)]
    pub size: u16,
    #[bits(3)]
    __: u8,
    #[bits(40)]
    base_frame: u64,
    #[bits(12)]
    __: u16,
}

impl DeviceTableBase {
    /// Bits that must be zero.
    pub const RESERVED: u64 = 0xfff0_0000_0000_0e00;

    /// Physical address of the table.
    pub const fn base(self) -> u64 {
        self.base_frame() << 12
    }

    /// With the table at physical address `phys`, a multiple of 4 KiB below 2^52 (other bits are dropped).
    #[must_use]
    pub const fn with_base(self, phys: u64) -> Self {
        self.with_base_frame(phys >> 12 & FRAME_MASK)
    }

    /// Bytes of the whole table.
    pub const fn len_bytes(self) -> u64 {
        (self.size() as u64 + 1) * 4096
    }

    /// Number of its entries: requests of device ids from here on find none.
    pub const fn entries(self) -> u64 {
        self.len_bytes() / device_table::ENTRY_BYTES
    }
}

const FRAME_MASK: u64 = (1 << 40) - 1;

/// Bytes of one command and of one event.
pub const RING_ENTRY_BYTES: u64 = 16;

/// The smallest [`RingBase::entries_log2`] that is not reserved: 256 entries.
pub const MIN_RING_LOG2: u8 = 8;

/// `Command Buffer Base Address` and `Event Log Base Address`: where a ring lies and how long it is. Writing it sets
/// the ring's head and tail to zero.
#[bitfield(u64)]
#[derive(PartialEq, Eq)]
pub struct RingBase {
    #[bits(12)]
    __: u16,
    #[bits(40)]
    base_frame: u64,
    #[bits(4)]
    __: u8,
    /// Length (`ComLen`, `EventLen`): the ring has `2^entries_log2` entries; below [`MIN_RING_LOG2`] reserved.
    #[bits(4)]
    pub entries_log2: u8,
    #[bits(4)]
    __: u8,
}

impl RingBase {
    /// Bits that must be zero.
    pub const RESERVED: u64 = 0xf0f0_0000_0000_0fff;

    /// Physical address of the ring.
    pub const fn base(self) -> u64 {
        self.base_frame() << 12
    }

    /// With the ring at physical address `phys`, a multiple of 4 KiB below 2^52 (other bits are dropped).
    #[must_use]
    pub const fn with_base(self, phys: u64) -> Self {
        self.with_base_frame(phys >> 12 & FRAME_MASK)
    }

    /// Number of entries, or `None` for a reserved length.
    pub const fn entries(self) -> Option<u64> {
        if self.entries_log2() < MIN_RING_LOG2 {
            None
        } else {
            Some(1 << self.entries_log2())
        }
    }

    /// Bytes of the whole ring, or `None` for a reserved length.
    pub const fn len_bytes(self) -> Option<u64> {
        match self.entries() {
            Some(entries) => Some(entries * RING_ENTRY_BYTES),
            None => None,
        }
    }
}

/// Head and tail registers of the rings: a place in a ring.
#[bitfield(u64)]
#[derive(PartialEq, Eq)]
pub struct RingPointer {
    #[bits(4)]
    __: u8,
    #[bits(15)]
    sixteenths: u16,
    #[bits(45)]
    __: u64,
}

impl RingPointer {
    /// Bits that must be zero.
    pub const RESERVED: u64 = 0xffff_ffff_fff8_000f;

    /// Byte offset in the ring.
    pub const fn offset(self) -> u64 {
        (self.sixteenths() as u64) << 4
    }

    /// The place `bytes`, a multiple of 16 below 512 KiB (other bits are dropped), into the ring.
    #[inline]
    pub const fn from_offset(bytes: u64) -> Self {
        Self::from_bits(bytes & (0x7fff << Self::SIXTEENTHS_OFFSET))
    }
}
