//! Registers of the invalidation queue (6.5.2) and of the interrupt remapping table.

use bitfield_struct::{bitenum, bitfield};

/// `IQH_REG` and `IQT_REG`: a place in the invalidation queue (11.4.9.1, 11.4.9.2).
#[bitfield(u64)]
#[derive(PartialEq, Eq)]
pub struct QueuePointer {
    #[bits(4)]
    __: u8,
    #[bits(15)]
    sixteenths: u16,
    #[bits(45)]
    __: u64,
}

impl QueuePointer {
    /// Byte offset in the queue.
    pub const fn offset(self) -> u64 {
        (self.sixteenths() as u64) << 4
    }

    /// The place `bytes`, a multiple of 16 below 512 KiB (other bits are dropped), into the queue.
    #[inline]
    pub const fn from_offset(bytes: u64) -> Self {
        Self::from_bits(bytes & (0x7fff << Self::SIXTEENTHS_OFFSET))
    }
}

/// `IQA_REG`: where the invalidation queue lies and how long it is (11.4.9.3).
#[bitfield(u64)]
#[derive(PartialEq, Eq)]
pub struct QueueAddress {
    /// Queue size: `2^qs` pages of 4 KiB.
    #[bits(3)]
    pub qs: u8,
    #[bits(8)]
    __: u8,
    /// Descriptor width: clear for 128 bits, set for 256.
    pub dw: bool,
    #[bits(52)]
    iqa_frame: u64,
}

impl QueueAddress {
    /// Physical address of the queue.
    pub const fn iqa(self) -> u64 {
        self.iqa_frame() << 12
    }

    /// With the queue at physical address `phys`, a multiple of 4 KiB (lower bits are dropped).
    #[must_use]
    pub const fn with_iqa(self, phys: u64) -> Self {
        self.with_iqa_frame(phys >> 12)
    }

    /// Bytes of the whole queue.
    pub const fn len_bytes(self) -> u64 {
        4096 << self.qs()
    }

    /// Bytes of one descriptor: 16, or 32 where `DW` is set.
    pub const fn descriptor_bytes(self) -> u64 {
        if self.dw() { 32 } else { 16 }
    }
}

/// `ICS_REG`: completion of invalidation wait descriptors that asked for an interrupt (11.4.9.4).
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct CompletionStatus {
    /// A wait descriptor with its IF bit set completed; cleared by writing 1.
    pub iwc: bool,
    #[bits(31)]
    __: u32,
}

/// `IQERCD_REG.IQEI`: why the invalidation queue stopped (11.4.9.9).
#[bitenum]
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueueErrorInfo {
    /// The unit does not say.
    #[fallback]
    Unknown = 0,
    /// The tail lies outside the queue.
    InvalidTail = 1,
    /// Fetching a descriptor failed.
    DescriptorFetch = 2,
    /// A descriptor's type is not one the unit has.
    InvalidDescriptorType = 3,
    /// A descriptor's reserved field is not zero.
    ReservedField = 4,
    /// The descriptor width does not fit the translation table mode.
    InvalidDescriptorWidth = 5,
    /// The tail is not aligned to the descriptor width.
    TailNotAligned = 6,
    /// The translation table mode is not one the unit has.
    InvalidTranslationTableMode = 7,
}

/// `IQERCD_REG`: details of the queue errors in `FSTS_REG` (11.4.9.9).
#[bitfield(u64)]
#[derive(PartialEq, Eq)]
pub struct QueueErrorRecord {
    /// Invalidation queue error information.
    #[bits(4)]
    pub iqei: QueueErrorInfo,
    #[bits(28)]
    __: u32,
    /// Source id of the device whose invalidation timed out.
    pub itesid: u16,
    /// Source id of the device whose completion was erroneous.
    pub icesid: u16,
}

/// `IRTA_REG`: where the interrupt remapping table lies (11.4.10).
#[bitfield(u64)]
#[derive(PartialEq, Eq)]
pub struct InterruptTableAddress {
    /// Size: `2^(s + 1)` entries.
    #[bits(4)]
    pub s: u8,
    #[bits(7)]
    __: u8,
    /// Extended interrupt mode enable.
    pub eime: bool,
    #[bits(52)]
    irta_frame: u64,
}

impl InterruptTableAddress {
    /// Physical address of the interrupt remapping table.
    pub const fn irta(self) -> u64 {
        self.irta_frame() << 12
    }

    /// With the table at physical address `phys`, a multiple of 4 KiB (lower bits are dropped).
    #[must_use]
    pub const fn with_irta(self, phys: u64) -> Self {
        self.with_irta_frame(phys >> 12)
    }
}
