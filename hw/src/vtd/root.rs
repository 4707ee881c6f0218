//! Root and context entries: from a requester's bus, device and function to its domain's page table.
//!
//! A root table is one 4 KiB page of 256 [`RootEntry`], one per bus. Each present one points at a context
//! table, again a page, of 256 [`ContextEntry`], one per device and function.
//!
//! ```
//! use hw::vtd::root::{self, ContextEntry, RootEntry};
//!
//! let requester = 0x0118; // 01:03.0
//! assert_eq!(root::root_index(requester), 0x01);
//! assert_eq!(root::context_index(requester), 0x18);
//! let root = RootEntry::new().with_p(true).with_ctp(0x5000);
//! assert_eq!(root.to_words(), [0x5001, 0]);
//! # let _ = ContextEntry::new();
//! ```

use bitfield_struct::{bitenum, bitfield};

/// Bytes of a root table and of a context table.
pub const TABLE_BYTES: u64 = 4096;
/// Bytes of one entry of either.
pub const ENTRY_BYTES: u64 = 16;
/// Entries of either.
pub const ENTRIES: usize = 256;

/// Index of `requester`'s bus in the root table (3.4.2).
pub const fn root_index(requester: u16) -> usize {
    (requester >> 8) as usize
}

/// Index of `requester`'s device and function in its bus's context table (3.4.2).
pub const fn context_index(requester: u16) -> usize {
    (requester & 0xff) as usize
}

/// One entry of the root table (9.1).
#[bitfield(u128)]
#[derive(PartialEq, Eq)]
pub struct RootEntry {
    /// Present.
    pub p: bool,
    #[bits(11)]
    __: u16,
    #[bits(52)]
    ctp_frame: u64,
    #[bits(64)]
    __: u64,
}

impl RootEntry {
    /// Bits that must be zero while `P` is set, as `[low, high]` words, apart from address bits above the
    /// host address width.
    pub const RESERVED: [u64; 2] = [0x0000_0000_0000_0ffe, 0xffff_ffff_ffff_ffff];

    /// Physical address of the bus's context table.
    pub const fn ctp(self) -> u64 {
        self.ctp_frame() << 12
    }

    /// With the context table at physical address `phys`, a multiple of 4 KiB (lower bits are dropped).
    #[must_use]
    pub const fn with_ctp(self, phys: u64) -> Self {
        self.with_ctp_frame(phys >> 12)
    }

    /// The entry as it lies in memory: the words at offsets 0 and 8.
    pub const fn to_words(self) -> [u64; 2] {
        words(self.into_bits())
    }

    /// The entry whose words at offsets 0 and 8 are `words`.
    pub const fn from_words(words: [u64; 2]) -> Self {
        Self::from_bits(join(words))
    }
}

/// `ContextEntry::tt`: how a requester's requests are treated (9.3).
#[bitenum]
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TranslationType {
    /// Untranslated requests are translated by the table; translation and translated requests are blocked.
    Untranslated = 0,
    /// As `Untranslated`, and translation requests and translated requests are served (device-TLBs).
    DeviceTlb = 1,
    /// Untranslated requests pass; only where [`Ecap::pt`](super::regs::Ecap::pt) is set.
    PassThrough = 2,
    /// Reserved.
    #[fallback]
    Reserved = 3,
}

/// `ContextEntry::aw`: the depth of a domain's second-stage table (9.3).
#[bitenum]
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressWidth {
    /// 39-bit guest addresses, 3 levels.
    Bits39 = 1,
    /// 48-bit guest addresses, 4 levels.
    Bits48 = 2,
    /// 57-bit guest addresses, 5 levels.
    Bits57 = 3,
    /// A value the manual reserves.
    #[fallback]
    Reserved = 0,
}

impl AddressWidth {
    /// Number of levels of the table, or `None` for a reserved value.
    pub const fn levels(self) -> Option<u32> {
        match self {
            Self::Bits39 => Some(3),
            Self::Bits48 => Some(4),
            Self::Bits57 => Some(5),
            Self::Reserved => None,
        }
    }

    /// The width whose tables have `levels` levels, or `None` unless that is 3, 4 or 5.
    pub const fn from_levels(levels: u32) -> Option<Self> {
        match levels {
            3 => Some(Self::Bits39),
            4 => Some(Self::Bits48),
            5 => Some(Self::Bits57),
            _ => None,
        }
    }

    /// Width of a guest address in bits, or `None` for a reserved value.
    pub const fn address_bits(self) -> Option<u32> {
        match self.levels() {
            Some(levels) => Some(12 + 9 * levels),
            None => None,
        }
    }
}

/// One entry of a context table (9.3).
#[bitfield(u128)]
#[derive(PartialEq, Eq)]
pub struct ContextEntry {
    /// Present.
    pub p: bool,
    /// Fault processing disable: qualified faults of this requester are not recorded.
    pub fpd: bool,
    /// Translation type.
    #[bits(2)]
    pub tt: TranslationType,
    #[bits(8)]
    __: u8,
    #[bits(52)]
    ssptptr_frame: u64,
    /// Address width.
    #[bits(3)]
    pub aw: AddressWidth,
    /// Ignored by hardware.
    #[bits(4)]
    pub ign: u8,
    __: bool,
    /// Domain id.
    pub did: u16,
    #[bits(40)]
    __: u64,
}

impl ContextEntry {
    /// Bits that must be zero while `P` is set, as `[low, high]` words, apart from address bits above the
    /// host address width and domain-id bits above [`Cap::domain_id_bits`](super::regs::Cap::domain_id_bits).
    pub const RESERVED: [u64; 2] = [0x0000_0000_0000_0ff0, 0xffff_ffff_ff00_0080];

    /// Physical address of the second-stage table's root.
    pub const fn ssptptr(self) -> u64 {
        self.ssptptr_frame() << 12
    }

    /// With the table's root at physical address `phys`, a multiple of 4 KiB (lower bits are dropped).
    #[must_use]
    pub const fn with_ssptptr(self, phys: u64) -> Self {
        self.with_ssptptr_frame(phys >> 12)
    }

    /// The entry as it lies in memory: the words at offsets 0 and 8.
    pub const fn to_words(self) -> [u64; 2] {
        words(self.into_bits())
    }

    /// The entry whose words at offsets 0 and 8 are `words`.
    pub const fn from_words(words: [u64; 2]) -> Self {
        Self::from_bits(join(words))
    }
}

const fn words(bits: u128) -> [u64; 2] {
    [bits as u64, (bits >> 64) as u64]
}

const fn join([low, high]: [u64; 2]) -> u128 {
    low as u128 | (high as u128) << 64
}
