//! Split virtqueues (2.7): descriptors, the ring the driver fills and the ring the device fills.
//!
//! ```
//! use hw::virtio::queue::{self, Descriptor, DescriptorFlags};
//!
//! let descriptor = Descriptor {
//!     addr: 0x8000_1000,
//!     len: 4,
//!     flags: DescriptorFlags::new().with_write(true),
//!     next: 0,
//! };
//! assert_eq!(descriptor.to_words(), [0x8000_1000, 0x0002_0000_0004]);
//! assert_eq!(queue::available_entry(3), 10);
//! assert_eq!(queue::used_entry(1), 12);
//! assert_eq!((queue::available_bytes(8), queue::used_bytes(8)), (22, 70));
//! ```

use bitfield_struct::bitfield;

/// Most entries of a queue.
pub const SIZE_MAX: u16 = 1 << 15;

/// Alignment of the descriptor table in bytes.
pub const DESCRIPTOR_TABLE_ALIGN: u64 = 16;
/// Alignment of the available ring in bytes.
pub const AVAILABLE_ALIGN: u64 = 2;
/// Alignment of the used ring in bytes.
pub const USED_ALIGN: u64 = 4;

/// Bytes of one descriptor.
pub const DESCRIPTOR_BYTES: u64 = 16;

/// A piece of a buffer (2.7.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Descriptor {
    /// Physical address of the piece.
    pub addr: u64,
    /// Its length in bytes.
    pub len: u32,
    /// What it is.
    pub flags: DescriptorFlags,
    /// Index of the next descriptor, where [`DescriptorFlags::next`] is set.
    pub next: u16,
}

impl Descriptor {
    /// The descriptor as it lies in memory: the words at offsets 0 and 8.
    pub const fn to_words(self) -> [u64; 2] {
        let flags = self.flags.into_bits() as u64;
        [
            self.addr,
            self.len as u64 | flags << 32 | (self.next as u64) << 48,
        ]
    }

    /// The descriptor whose words at offsets 0 and 8 are `words`.
    pub const fn from_words([addr, rest]: [u64; 2]) -> Self {
        Self {
            addr,
            len: rest as u32,
            flags: DescriptorFlags::from_bits((rest >> 32) as u16),
            next: (rest >> 48) as u16,
        }
    }
}

/// Flags of a descriptor (2.7.5).
#[bitfield(u16)]
#[derive(PartialEq, Eq)]
pub struct DescriptorFlags {
    /// The buffer goes on at the next descriptor.
    pub next: bool,
    /// The device writes the piece; else it reads it.
    pub write: bool,
    /// The piece is a table of descriptors.
    pub indirect: bool,
    #[bits(13)]
    __: u16,
}

/// Offset of [`AvailableFlags`] in the available ring (2.7.6), 16 bits.
pub const AVAILABLE_FLAGS: u64 = 0;
/// Offset of the index at which the driver puts its next entry, 16 bits; it counts on beyond the queue's size.
pub const AVAILABLE_IDX: u64 = 2;

/// Offset of entry `slot`, the index modulo the queue's size: 16 bits, the first descriptor of a buffer.
pub const fn available_entry(slot: u16) -> u64 {
    4 + 2 * slot as u64
}

/// Bytes of the available ring of a queue of `size` entries, `used_event` counted.
pub const fn available_bytes(size: u16) -> u64 {
    6 + 2 * size as u64
}

/// What the driver wishes (2.7.6).
#[bitfield(u16)]
#[derive(PartialEq, Eq)]
pub struct AvailableFlags {
    /// No interrupt is wanted when a buffer is used.
    pub no_interrupt: bool,
    #[bits(15)]
    __: u16,
}

/// Offset of [`UsedFlags`] in the used ring (2.7.8), 16 bits.
pub const USED_FLAGS: u64 = 0;
/// Offset of the index at which the device puts its next entry, 16 bits; it counts on beyond the queue's size.
pub const USED_IDX: u64 = 2;
/// Bytes of an entry of the used ring.
pub const USED_ENTRY_BYTES: u64 = 8;

/// Offset of entry `slot`, the index modulo the queue's size: [`UsedEntry`].
pub const fn used_entry(slot: u16) -> u64 {
    4 + USED_ENTRY_BYTES * slot as u64
}

/// Bytes of the used ring of a queue of `size` entries, `avail_event` counted.
pub const fn used_bytes(size: u16) -> u64 {
    6 + USED_ENTRY_BYTES * size as u64
}

/// What the device wishes (2.7.8).
#[bitfield(u16)]
#[derive(PartialEq, Eq)]
pub struct UsedFlags {
    /// No notification is wanted when a buffer is made available.
    pub no_notify: bool,
    #[bits(15)]
    __: u16,
}

/// A buffer given back by the device (2.7.8): the words at offsets 0 and 4 of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UsedEntry {
    /// Index of its first descriptor.
    pub id: u32,
    /// Bytes that the device wrote.
    pub len: u32,
}

impl UsedEntry {
    /// The entry as it lies in memory: the words at offsets 0 and 4.
    pub const fn to_words(self) -> [u32; 2] {
        [self.id, self.len]
    }

    /// The entry whose words at offsets 0 and 4 are `words`.
    pub const fn from_words([id, len]: [u32; 2]) -> Self {
        Self { id, len }
    }
}
