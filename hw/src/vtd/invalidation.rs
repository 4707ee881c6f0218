//! Descriptors of the invalidation queue (6.5.2): 128 bits each, which in a queue of 256-bit descriptors, as
//! scalable mode demands, are followed by 128 zero bits.
//!
//! One type per descriptor. Bits 3:0 and 11:9 of every descriptor say which it is; each type's `new` has them
//! set. [`kind`] reads them back.
//!
//! ```
//! use hw::vtd::invalidation::{self, Iotlb, Kind, Wait};
//! use hw::vtd::regs::IotlbGranularity;
//!
//! let flush = Iotlb::new()
//!     .with_g(IotlbGranularity::Page)
//!     .with_dr(true)
//!     .with_dw(true)
//!     .with_did(7)
//!     .with_am(1)
//!     .with_addr(0x1_0000);
//! assert_eq!(flush.to_words(), [0x0007_00f2, 0x1_0001]);
//! assert_eq!(invalidation::kind(flush.to_words()), Some(Kind::Iotlb));
//!
//! let wait = Wait::new().with_sw(true).with_status_data(1).with_status_address(0x2000);
//! assert_eq!(wait.to_words(), [0x0000_0001_0000_0025, 0x2000]);
//! ```

use bitfield_struct::{bitenum, bitfield};

use super::regs::{ContextGranularity, FunctionMask, IotlbGranularity};

/// Bytes of one descriptor of 128 bits.
pub const DESCRIPTOR_BYTES: u64 = 16;
/// Bytes of one descriptor of 256 bits.
pub const WIDE_DESCRIPTOR_BYTES: u64 = 32;

/// Which descriptor a pair of words is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// [`ContextCache`] (6.5.2.1).
    ContextCache = 1,
    /// [`Iotlb`] (6.5.2.3).
    Iotlb = 2,
    /// [`DeviceTlb`] (6.5.2.5).
    DeviceTlb = 3,
    /// [`InterruptEntryCache`] (6.5.2.7).
    InterruptEntryCache = 4,
    /// [`Wait`] (6.5.2.8).
    Wait = 5,
    /// [`PasidIotlb`] (6.5.2.4); scalable mode only.
    PasidIotlb = 6,
    /// [`PasidCache`] (6.5.2.2); scalable mode only.
    PasidCache = 7,
}

/// The kind of the descriptor whose words at offsets 0 and 8 are `words`, or `None` for a type that
/// requests without device-TLB and page requests do not need.
pub const fn kind([low, _]: [u64; 2]) -> Option<Kind> {
    match type_code(low) {
        1 => Some(Kind::ContextCache),
        2 => Some(Kind::Iotlb),
        3 => Some(Kind::DeviceTlb),
        4 => Some(Kind::InterruptEntryCache),
        5 => Some(Kind::Wait),
        6 => Some(Kind::PasidIotlb),
        7 => Some(Kind::PasidCache),
        _ => None,
    }
}

/// The 7-bit type of a descriptor: bits 11:9 above bits 3:0 of its low word.
pub const fn type_code(low: u64) -> u8 {
    ((low >> 5 & 0x70) | (low & 0xf)) as u8
}

macro_rules! descriptor_words {
    ($name:ident, $reserved:expr) => {
        impl $name {
            /// Bits that must be zero, as `[low, high]` words; hardware stops the queue at one that is set.
            pub const RESERVED: [u64; 2] = $reserved;

            /// The descriptor as it lies in memory: the words at offsets 0 and 8.
            pub const fn to_words(self) -> [u64; 2] {
                let bits = self.into_bits();
                [bits as u64, (bits >> 64) as u64]
            }

            /// The descriptor whose words at offsets 0 and 8 are `words`.
            pub const fn from_words([low, high]: [u64; 2]) -> Self {
                Self::from_bits(low as u128 | (high as u128) << 64)
            }
        }
    };
}

/// Invalidates cached context entries (6.5.2.1).
#[bitfield(u128)]
#[derive(PartialEq, Eq)]
pub struct ContextCache {
    /// Type, bits 3:0.
    #[bits(4, default = 1)]
    pub type_low: u8,
    /// Granularity.
    #[bits(2)]
    pub g: ContextGranularity,
    #[bits(3)]
    __: u8,
    /// Type, bits 6:4.
    #[bits(3)]
    pub type_high: u8,
    #[bits(4)]
    __: u8,
    /// Domain id.
    pub did: u16,
    /// Source id: the requester.
    pub sid: u16,
    /// Function mask.
    #[bits(2)]
    pub fm: FunctionMask,
    #[bits(14)]
    __: u16,
    #[bits(64)]
    __: u64,
}
descriptor_words!(ContextCache, [0xfffc_0000_0000_f1c0, u64::MAX]);

/// Invalidates cached translations and page-walk entries (6.5.2.3).
#[bitfield(u128)]
#[derive(PartialEq, Eq)]
pub struct Iotlb {
    /// Type, bits 3:0.
    #[bits(4, default = 2)]
    pub type_low: u8,
    /// Granularity.
    #[bits(2)]
    pub g: IotlbGranularity,
    /// Drain writes: those in flight are globally visible before the invalidation completes.
    pub dw: bool,
    /// Drain reads: those in flight have read before the invalidation completes.
    pub dr: bool,
    __: bool,
    /// Type, bits 6:4.
    #[bits(3)]
    pub type_high: u8,
    #[bits(4)]
    __: u8,
    /// Domain id.
    pub did: u16,
    #[bits(32)]
    __: u32,
    /// Address mask: a page-selective invalidation covers `2^am` pages, aligned to their number.
    #[bits(6)]
    pub am: u8,
    /// Invalidation hint: only leaves changed, so that cached non-leaf entries may stay.
    pub ih: bool,
    #[bits(5)]
    __: u8,
    #[bits(52)]
    addr_page: u64,
}
descriptor_words!(Iotlb, [0xffff_ffff_0000_f100, 0x0000_0000_0000_0f80]);

impl Iotlb {
    /// First bus address of a page-selective invalidation.
    pub const fn addr(self) -> u64 {
        self.addr_page() << 12
    }

    /// With `bus`, a multiple of 4 KiB (lower bits are dropped), as first bus address.
    #[must_use]
    pub const fn with_addr(self, bus: u64) -> Self {
        self.with_addr_page(bus >> 12)
    }
}

/// The bits that make of the words of an [`Iotlb`] or a [`PasidIotlb`] of page granularity, which have the same fields in the
/// same places, one that is about `2^am` pages of domain `did` from `addr` on: to be or-ed to words that have them clear.
///
/// ```
/// use hw::vtd::invalidation::{Iotlb, page_bits};
/// use hw::vtd::regs::IotlbGranularity;
///
/// let page = Iotlb::new().with_g(IotlbGranularity::Page);
/// let words = page.with_did(7).with_am(1).with_ih(true).with_addr(0x1_0000).to_words();
/// let [[low, high], bits] = [page.to_words(), page_bits(7, 1, true, 0x1_0000)];
/// assert_eq!(words, [low | bits[0], high | bits[1]]);
/// ```
#[inline]
pub const fn page_bits(did: u16, am: u8, ih: bool, addr: u64) -> [u64; 2] {
    let mask = am as u64 & ((1 << Iotlb::AM_BITS) - 1);
    let hint = (ih as u64) << (Iotlb::IH_OFFSET - 64);
    let page = addr >> 12 << (Iotlb::ADDR_PAGE_OFFSET - 64);
    [(did as u64) << Iotlb::DID_OFFSET, page | hint | mask]
}

/// Invalidates translations that a device caches itself (6.5.2.5).
#[bitfield(u128)]
#[derive(PartialEq, Eq)]
pub struct DeviceTlb {
    /// Type, bits 3:0.
    #[bits(4, default = 3)]
    pub type_low: u8,
    #[bits(5)]
    __: u8,
    /// Type, bits 6:4.
    #[bits(3)]
    pub type_high: u8,
    /// Source id of the physical function whose queue is counted, bits 3:0.
    #[bits(4)]
    pub pfsid_low: u8,
    /// Maximum invalidations pending that the device announced.
    #[bits(5)]
    pub mip: u8,
    #[bits(11)]
    __: u16,
    /// Source id: the device.
    pub sid: u16,
    #[bits(4)]
    __: u8,
    /// Source id of the physical function whose queue is counted, bits 15:4.
    #[bits(12)]
    pub pfsid_high: u16,
    /// Size: clear for one page, else the lowest zero bit of the address says how many.
    pub s: bool,
    #[bits(11)]
    __: u16,
    #[bits(52)]
    addr_page: u64,
}
descriptor_words!(DeviceTlb, [0x000f_0000_ffe0_01f0, 0x0000_0000_0000_0ffe]);

impl DeviceTlb {
    /// First bus address.
    pub const fn addr(self) -> u64 {
        self.addr_page() << 12
    }

    /// With `bus`, a multiple of 4 KiB (lower bits are dropped), as first bus address.
    #[must_use]
    pub const fn with_addr(self, bus: u64) -> Self {
        self.with_addr_page(bus >> 12)
    }
}

/// Invalidates cached interrupt remapping entries (6.5.2.7).
#[bitfield(u128)]
#[derive(PartialEq, Eq)]
pub struct InterruptEntryCache {
    /// Type, bits 3:0.
    #[bits(4, default = 4)]
    pub type_low: u8,
    /// Granularity: clear for all entries, set for those that `iidx` and `im` name.
    pub g: bool,
    #[bits(4)]
    __: u8,
    /// Type, bits 6:4.
    #[bits(3)]
    pub type_high: u8,
    #[bits(15)]
    __: u16,
    /// Index mask: `2^im` entries.
    #[bits(5)]
    pub im: u8,
    /// Interrupt index.
    pub iidx: u16,
    #[bits(16)]
    __: u16,
    #[bits(64)]
    __: u64,
}
descriptor_words!(InterruptEntryCache, [0xffff_0000_07ff_f1e0, u64::MAX]);

/// `PasidIotlb::g`: what a PASID-based IOTLB invalidation covers (6.5.2.4).
#[bitenum]
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PasidIotlbGranularity {
    /// A value the manual reserves.
    #[fallback]
    Reserved = 0,
    /// Everything of the PASID in its domain.
    Pasid = 2,
    /// Pages of the PASID in its domain.
    Page = 3,
}

/// Invalidates cached first-stage translations of one PASID, and page-walk entries (6.5.2.4).
#[bitfield(u128)]
#[derive(PartialEq, Eq)]
pub struct PasidIotlb {
    /// Type, bits 3:0.
    #[bits(4, default = 6)]
    pub type_low: u8,
    /// Granularity.
    #[bits(2)]
    pub g: PasidIotlbGranularity,
    #[bits(3)]
    __: u8,
    /// Type, bits 6:4.
    #[bits(3)]
    pub type_high: u8,
    #[bits(4)]
    __: u8,
    /// Domain id.
    pub did: u16,
    /// PASID.
    #[bits(20)]
    pub pasid: u32,
    #[bits(12)]
    __: u16,
    /// Address mask: a page-selective invalidation covers `2^am` pages, aligned to their number.
    #[bits(6)]
    pub am: u8,
    /// Invalidation hint: only leaves changed, so that cached non-leaf entries may stay.
    pub ih: bool,
    #[bits(5)]
    __: u8,
    #[bits(52)]
    addr_page: u64,
}
descriptor_words!(PasidIotlb, [0xfff0_0000_0000_f1c0, 0x0000_0000_0000_0f80]);

impl PasidIotlb {
    /// First bus address of a page-selective invalidation.
    pub const fn addr(self) -> u64 {
        self.addr_page() << 12
    }

    /// With `bus`, a multiple of 4 KiB (lower bits are dropped), as first bus address.
    #[must_use]
    pub const fn with_addr(self, bus: u64) -> Self {
        self.with_addr_page(bus >> 12)
    }
}

/// `PasidCache::g`: which cached PASID-table entries go (6.5.2.2).
#[bitenum]
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PasidCacheGranularity {
    /// Those of a domain.
    Domain = 0,
    /// Those of one PASID in a domain.
    Pasid = 1,
    /// A value the manual reserves.
    #[fallback]
    Reserved = 2,
    /// All.
    Global = 3,
}

/// Invalidates cached entries of PASID directories and PASID tables (6.5.2.2).
#[bitfield(u128)]
#[derive(PartialEq, Eq)]
pub struct PasidCache {
    /// Type, bits 3:0.
    #[bits(4, default = 7)]
    pub type_low: u8,
    /// Granularity.
    #[bits(2, default = PasidCacheGranularity::Domain)]
    pub g: PasidCacheGranularity,
    #[bits(3)]
    __: u8,
    /// Type, bits 6:4.
    #[bits(3)]
    pub type_high: u8,
    #[bits(4)]
    __: u8,
    /// Domain id.
    pub did: u16,
    /// PASID.
    #[bits(20)]
    pub pasid: u32,
    #[bits(12)]
    __: u16,
    #[bits(64)]
    __: u64,
}
descriptor_words!(PasidCache, [0xfff0_0000_0000_f1c0, u64::MAX]);

/// Says when all descriptors before it have completed (6.5.2.8).
#[bitfield(u128)]
#[derive(PartialEq, Eq)]
pub struct Wait {
    /// Type, bits 3:0.
    #[bits(4, default = 5)]
    pub type_low: u8,
    /// `IF`, interrupt flag: completion sets `ICS.IWC` and raises the event interrupt.
    pub interrupt: bool,
    /// Status write: completion writes the status data to the status address.
    pub sw: bool,
    /// `FN`, fence: descriptors after this one start only when those before it completed.
    pub fence: bool,
    /// Page-request drain.
    pub pd: bool,
    __: bool,
    /// Type, bits 6:4.
    #[bits(3)]
    pub type_high: u8,
    #[bits(20)]
    __: u32,
    /// Status data.
    pub status_data: u32,
    #[bits(2)]
    __: u8,
    #[bits(62)]
    status_dwords: u64,
}
descriptor_words!(Wait, [0x0000_0000_ffff_f100, 0x0000_0000_0000_0003]);

impl Wait {
    /// The words of one whose completion writes `data` to physical address `phys`, a multiple of 4 (lower bits are dropped).
    #[inline]
    pub const fn status_words(data: u32, phys: u64) -> [u64; 2] {
        let [low, high] = const { Wait::new().with_sw(true).to_words() };
        [
            low | (data as u64) << Self::STATUS_DATA_OFFSET,
            high | phys & !3,
        ]
    }

    /// Physical address that the status data is written to.
    pub const fn status_address(self) -> u64 {
        self.status_dwords() << 2
    }

    /// With the status data written to physical address `phys`, a multiple of 4 (lower bits are dropped).
    #[must_use]
    pub const fn with_status_address(self, phys: u64) -> Self {
        self.with_status_dwords(phys >> 2)
    }
}
