//! The MSI-X capability and its table (7.7.2): interrupts as memory writes to bus addresses.

use bitfield_struct::bitfield;

/// Offset of [`MessageControl`] in the capability, 16 bits.
pub const MESSAGE_CONTROL: u16 = 0x02;
/// Offset of the table's [`Location`] in the capability, 32 bits.
pub const TABLE: u16 = 0x04;
/// Offset of the pending bits' [`Location`] in the capability, 32 bits.
pub const PENDING_BITS: u16 = 0x08;
/// Bytes of the capability.
pub const CAPABILITY_BYTES: u16 = 0x0c;

/// Bytes of one table entry.
pub const ENTRY_BYTES: u64 = 16;
/// Offset of bits 31:0 of the message's address in an entry, 32 bits.
pub const ENTRY_ADDRESS: u64 = 0x0;
/// Offset of bits 63:32 of the message's address in an entry, 32 bits.
pub const ENTRY_ADDRESS_UPPER: u64 = 0x4;
/// Offset of the message's data in an entry, 32 bits.
pub const ENTRY_DATA: u64 = 0x8;
/// Offset of [`VectorControl`] in an entry, 32 bits.
pub const ENTRY_VECTOR_CONTROL: u64 = 0xc;

/// Most entries a table can have.
pub const ENTRIES_MAX: u16 = 2048;

/// Message control register (7.7.2.2).
#[bitfield(u16)]
#[derive(PartialEq, Eq)]
pub struct MessageControl {
    /// Number of table entries, encoded as one less; read only.
    #[bits(11)]
    pub table_size: u16,
    #[bits(3)]
    __: u8,
    /// All entries are masked, whatever their own mask bits say.
    pub function_mask: bool,
    /// MSI-X is used instead of interrupt pins.
    pub enable: bool,
}

impl MessageControl {
    /// Number of table entries: 1 to [`ENTRIES_MAX`].
    pub const fn entries(self) -> u16 {
        self.table_size() + 1
    }
}

/// Where the table or the pending bits lie (7.7.2.3, 7.7.2.4).
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct Location {
    /// Index of the BAR ("BIR").
    #[bits(3)]
    pub bar: u8,
    #[bits(29)]
    offset_qwords: u32,
}

impl Location {
    /// Byte offset in the BAR.
    pub const fn offset(self) -> u32 {
        self.offset_qwords() << 3
    }

    /// With `bytes`, a multiple of 8 (lower bits are dropped), as offset in the BAR.
    #[must_use]
    pub const fn with_offset(self, bytes: u32) -> Self {
        self.with_offset_qwords(bytes >> 3)
    }
}

/// Vector control word of a table entry (7.7.2.7).
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct VectorControl {
    /// Messages of this entry wait in the pending bits. Set at reset.
    pub mask: bool,
    #[bits(31)]
    __: u32,
}
