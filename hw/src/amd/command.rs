//! Entries of the command buffer, 128 bits each (section 2.4).
//!
//! One type per command. Bits 63:60 of every command say which it is; each type's `new` has them set. [`kind`] reads
//! them back.
//!
//! ```
//! use hw::amd::command::{self, CompletionWait, InvalidatePages, Kind, PageRange};
//!
//! // Two pages at 0x6000 of domain 7, and the tables on the way to them.
//! let flush = InvalidatePages::new()
//!     .with_domainid(7)
//!     .with_pde(true)
//!     .with_range(PageRange::Block { start: 0x6000, len_log2: 13 });
//! assert_eq!(flush.to_words(), [0x3000_0007_0000_0000, 0x6003]);
//! assert_eq!(flush.range(), PageRange::Block { start: 0x6000, len_log2: 13 });
//! assert_eq!(command::kind(flush.to_words()), Some(Kind::InvalidatePages));
//!
//! let wait = CompletionWait::new().with_s(true).with_store_address(0x2008).with_store_data(5);
//! assert_eq!(wait.to_words(), [0x1000_0000_0000_2009, 5]);
//! ```

use bitfield_struct::bitfield;

/// Which command a pair of words is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// [`CompletionWait`].
    CompletionWait = 1,
    /// [`InvalidateDeviceEntry`].
    InvalidateDeviceEntry = 2,
    /// [`InvalidatePages`].
    InvalidatePages = 3,
    /// INVALIDATE_IOTLB_PAGES: what a device caches itself (2.4.4).
    InvalidateIotlb = 4,
    /// [`InvalidateInterruptTable`].
    InvalidateInterruptTable = 5,
    /// PREFETCH_IOMMU_PAGES (2.4.6).
    Prefetch = 6,
    /// COMPLETE_PPR_REQUEST (2.4.7).
    CompletePageRequest = 7,
    /// [`InvalidateAll`].
    InvalidateAll = 8,
}

/// The kind of the command whose words at offsets 0 and 8 are `words`, or `None` for an opcode that is none of them.
pub const fn kind([low, _]: [u64; 2]) -> Option<Kind> {
    Some(match opcode(low) {
        1 => Kind::CompletionWait,
        2 => Kind::InvalidateDeviceEntry,
        3 => Kind::InvalidatePages,
        4 => Kind::InvalidateIotlb,
        5 => Kind::InvalidateInterruptTable,
        6 => Kind::Prefetch,
        7 => Kind::CompletePageRequest,
        8 => Kind::InvalidateAll,
        _ => return None,
    })
}

/// The opcode of the command whose word at offset 0 is `low`.
pub const fn opcode(low: u64) -> u8 {
    (low >> 60) as u8
}

macro_rules! command_words {
    ($name:ident, $reserved:expr) => {
        impl $name {
            /// Bits that must be zero, as `[low, high]` words; a command in which one is set is illegal.
            pub const RESERVED: [u64; 2] = $reserved;

            /// The command as it lies in memory: the words at offsets 0 and 8.
            pub const fn to_words(self) -> [u64; 2] {
                let bits = self.into_bits();
                [bits as u64, (bits >> 64) as u64]
            }

            /// The command whose words at offsets 0 and 8 are `words`.
            pub const fn from_words([low, high]: [u64; 2]) -> Self {
                Self::from_bits(low as u128 | (high as u128) << 64)
            }
        }
    };
}

/// COMPLETION_WAIT: tells when every command before it is done (2.4.1).
#[bitfield(u128)]
#[derive(PartialEq, Eq)]
pub struct CompletionWait {
    /// Store `store_data` at `store_address`.
    pub s: bool,
    /// Raise the completion wait interrupt.
    pub i: bool,
    /// Commands after this one begin only when it is done.
    pub f: bool,
    #[bits(49)]
    store_eighths: u64,
    __: u8,
    /// Opcode.
    #[bits(4, default = 1)]
    pub opcode: u8,
    /// What is stored.
    pub store_data: u64,
}
command_words!(CompletionWait, [0x0ff0_0000_0000_0000, 0]);

impl CompletionWait {
    /// The words of one that stores `data` at physical address `phys`, a multiple of 8 below 2^52 (other bits are dropped).
    #[inline]
    pub const fn store_words(data: u64, phys: u64) -> [u64; 2] {
        let [low, high] = const { CompletionWait::new().with_s(true).to_words() };
        [low | phys & ((1 << 52) - 8), high | data]
    }

    /// Physical address of the 64-bit word that is stored.
    pub const fn store_address(self) -> u64 {
        self.store_eighths() << 3
    }

    /// With `phys`, a multiple of 8 below 2^52 (other bits are dropped), as address of the word that is stored.
    #[must_use]
    pub const fn with_store_address(self, phys: u64) -> Self {
        self.with_store_eighths(phys >> 3 & ((1 << 49) - 1))
    }
}

/// INVALIDATE_DEVTAB_ENTRY: forgets what is cached of one device table entry (2.4.2).
#[bitfield(u128)]
#[derive(PartialEq, Eq)]
pub struct InvalidateDeviceEntry {
    /// Device id.
    pub deviceid: u16,
    #[bits(44)]
    __: u64,
    /// Opcode.
    #[bits(4, default = 2)]
    pub opcode: u8,
    #[bits(64)]
    __: u64,
}
command_words!(InvalidateDeviceEntry, [0x0fff_ffff_ffff_0000, u64::MAX]);

/// Which addresses an [`InvalidatePages`] is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageRange {
    /// `2^len_log2` bytes from `start`, which is a multiple of that; 4 KiB to 2^51 bytes.
    Block {
        /// First bus address.
        start: u64,
        /// Length, as a power of two: 12 to 51.
        len_log2: u8,
    },
    /// Every address of the domain.
    All,
}

/// INVALIDATE_IOMMU_PAGES: forgets translations of a domain (2.4.3).
#[bitfield(u128)]
#[derive(PartialEq, Eq)]
pub struct InvalidatePages {
    /// PASID, where `GN` is set.
    #[bits(20)]
    pub pasid: u32,
    #[bits(12)]
    __: u16,
    /// Domain id.
    pub domainid: u16,
    #[bits(12)]
    __: u16,
    /// Opcode.
    #[bits(4, default = 3)]
    pub opcode: u8,
    /// The address says how many pages; otherwise one of 4 KiB. See [`InvalidatePages::range`].
    pub s: bool,
    /// Cached page-directory entries on the way there are forgotten too.
    pub pde: bool,
    /// The addresses are a guest's.
    pub gn: bool,
    #[bits(9)]
    __: u16,
    #[bits(52)]
    address_page: u64,
}
command_words!(InvalidatePages, [0x0fff_0000_fff0_0000, 0x0ff8]);

impl InvalidatePages {
    /// The words of one of `range` in domain `domainid`, and of the tables on the way there if `pde` is set.
    #[inline]
    pub const fn words(domainid: u16, pde: bool, range: PageRange) -> [u64; 2] {
        let [low, high] = const { InvalidatePages::new().to_words() };
        let (s, address) = Self::named(range);
        let flags = (s as u64) << (Self::S_OFFSET - 64) | (pde as u64) << (Self::PDE_OFFSET - 64);
        let low = low | (domainid as u64) << Self::DOMAINID_OFFSET;
        [low, high | flags | address & !0xfff]
    }

    /// The addresses that `S` and the address field name: with `S` set, the lowest clear bit from bit 12 on is half
    /// the length, and what lies below it is not part of the address.
    pub const fn range(self) -> PageRange {
        let address = self.address_page() << 12;
        if !self.s() {
            return PageRange::Block {
                start: address,
                len_log2: 12,
            };
        }
        let len_log2 = (address | 0xfff).trailing_ones() + 1;
        // Bits 51 and up say the whole address space, however it is written.
        if len_log2 > MAX_BLOCK_LOG2 {
            return PageRange::All;
        }
        PageRange::Block {
            start: address & !((1 << len_log2) - 1),
            len_log2: len_log2 as u8,
        }
    }

    /// With `range` as addresses. A block of 2^52 bytes or more means every address.
    #[must_use]
    pub const fn with_range(self, range: PageRange) -> Self {
        let (s, address) = Self::named(range);
        self.with_s(s).with_address_page(address >> 12)
    }

    /// `S` and the address that name `range`; below bit 12 that is anything.
    #[inline]
    const fn named(range: PageRange) -> (bool, u64) {
        match range {
            PageRange::Block { start, len_log2 } if len_log2 <= 12 => (false, start),
            PageRange::Block { start, len_log2 } if len_log2 as u32 <= MAX_BLOCK_LOG2 => {
                let half = 1 << (len_log2 - 1);
                (true, start & !((half << 1) - 1) | (half - 1))
            }
            PageRange::Block { .. } | PageRange::All => (true, ALL_PAGES),
        }
    }
}

/// The largest block that is not all there is, as a power of two.
const MAX_BLOCK_LOG2: u32 = 51;

/// The address that with `S` set names every page (2.4.3).
const ALL_PAGES: u64 = 0x7fff_ffff_ffff_f000;

/// INVALIDATE_INTERRUPT_TABLE: forgets cached interrupt table entries of a device (2.4.5).
#[bitfield(u128)]
#[derive(PartialEq, Eq)]
pub struct InvalidateInterruptTable {
    /// Device id.
    pub deviceid: u16,
    #[bits(44)]
    __: u64,
    /// Opcode.
    #[bits(4, default = 5)]
    pub opcode: u8,
    #[bits(64)]
    __: u64,
}
command_words!(InvalidateInterruptTable, [0x0fff_ffff_ffff_0000, u64::MAX]);

/// INVALIDATE_IOMMU_ALL: forgets everything (2.4.8). Only where
/// [`ExtendedFeatures::iasup`](super::regs::ExtendedFeatures::iasup) is set.
#[bitfield(u128)]
#[derive(PartialEq, Eq)]
pub struct InvalidateAll {
    #[bits(60)]
    __: u64,
    /// Opcode.
    #[bits(4, default = 8)]
    pub opcode: u8,
    #[bits(64)]
    __: u64,
}
command_words!(InvalidateAll, [0x0fff_ffff_ffff_ffff, u64::MAX]);
