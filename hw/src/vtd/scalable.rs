//! Root and context entries of scalable mode: from a requester's bus, device and function to its PASID directory.
//!
//! A scalable-mode root table is one 4 KiB page of 256 [`RootEntry`], one per bus. Each points at two context
//! tables, again pages: of devices 0 to 15, and of devices 16 to 31. A table has 128 [`ContextEntry`] of 256 bits.
//!
//! ```
//! use hw::vtd::scalable::{self, ContextEntry, Half, RootEntry};
//!
//! let requester = 0x0198; // 01:13.0
//! assert_eq!(scalable::root_index(requester), 1);
//! assert_eq!(Half::of(requester), Half::Upper);
//! assert_eq!(scalable::context_index(requester), 0x18);
//! let root = RootEntry::new().with_table(Half::Upper, 0x5000);
//! assert_eq!(root.to_words(), [0, 0x5001]);
//! let context = ContextEntry::new().with_p(true).with_pdts(1).with_pasiddirptr(0x6000);
//! assert_eq!(context.to_words(), [0x6201, 0, 0, 0]);
//! ```

use bitfield_struct::bitfield;

/// Bytes of a root table and of a context table.
pub const TABLE_BYTES: u64 = 4096;
/// Bytes of one root entry.
pub const ROOT_ENTRY_BYTES: u64 = 16;
/// Entries of a root table.
pub const ROOT_ENTRIES: usize = 256;
/// Bytes of one context entry.
pub const CONTEXT_ENTRY_BYTES: u64 = 32;
/// Entries of a context table.
pub const CONTEXT_ENTRIES: usize = 128;

/// Index of `requester`'s bus in the root table (3.4.3).
pub const fn root_index(requester: u16) -> usize {
    (requester >> 8) as usize
}

/// Index of `requester`'s device and function in its context table (3.4.3).
pub const fn context_index(requester: u16) -> usize {
    (requester & 0x7f) as usize
}

/// One of the two context tables of a bus.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Half {
    /// Devices 0 to 15.
    Lower,
    /// Devices 16 to 31.
    Upper,
}

impl Half {
    /// The half that has `requester`'s context entry.
    pub const fn of(requester: u16) -> Self {
        if requester & 0x80 == 0 {
            Self::Lower
        } else {
            Self::Upper
        }
    }
}

/// One entry of the root table (9.2).
#[bitfield(u128)]
#[derive(PartialEq, Eq)]
pub struct RootEntry {
    /// Lower present.
    pub lp: bool,
    #[bits(11)]
    __: u16,
    #[bits(52)]
    lctp_frame: u64,
    /// Upper present.
    pub up: bool,
    #[bits(11)]
    __: u16,
    #[bits(52)]
    uctp_frame: u64,
}

impl RootEntry {
    /// Bits of one half that must be zero while it is present, apart from address bits above the host address width.
    pub const RESERVED: u64 = 0xffe;

    /// Physical address of one half's context table, if it is present.
    pub const fn table(self, half: Half) -> Option<u64> {
        match half {
            Half::Lower if self.lp() => Some(self.lctp_frame() << 12),
            Half::Upper if self.up() => Some(self.uctp_frame() << 12),
            _ => None,
        }
    }

    /// With one half present, and its context table at physical address `phys`, a multiple of 4 KiB (lower bits are
    /// dropped).
    #[must_use]
    pub const fn with_table(self, half: Half, phys: u64) -> Self {
        match half {
            Half::Lower => self.with_lp(true).with_lctp_frame(phys >> 12),
            Half::Upper => self.with_up(true).with_uctp_frame(phys >> 12),
        }
    }

    /// The entry as it lies in memory: the words at offsets 0 and 8, one per half.
    pub const fn to_words(self) -> [u64; 2] {
        let bits = self.into_bits();
        [bits as u64, (bits >> 64) as u64]
    }

    /// The entry whose words at offsets 0 and 8 are `words`.
    pub const fn from_words([low, high]: [u64; 2]) -> Self {
        Self::from_bits(low as u128 | (high as u128) << 64)
    }
}

/// One entry of a context table (9.4): its lower 128 bits. The upper 128 are reserved.
#[bitfield(u128)]
#[derive(PartialEq, Eq)]
pub struct ContextEntry {
    /// Present.
    pub p: bool,
    /// Fault processing disable: qualified faults of this requester are not recorded.
    pub fpd: bool,
    /// Device-TLB enable: translation requests are served. Reserved where [`Ecap::dt`](super::regs::Ecap::dt) is
    /// clear.
    pub dte: bool,
    /// PASID enable: requests with PASID are served. Reserved where [`Ecap::pasid`](super::regs::Ecap::pasid) is
    /// clear.
    pub paside: bool,
    /// Page-request enable. Reserved where [`Ecap::prs`](super::regs::Ecap::prs) is clear.
    pub pre: bool,
    #[bits(4)]
    __: u8,
    /// PASID directory size: `2^(pdts + 7)` entries, so PASIDs of `pdts + 13` bits.
    #[bits(3)]
    pub pdts: u8,
    #[bits(52)]
    pasiddirptr_frame: u64,
    /// PASID that requests without PASID are translated as, where [`Ecap::rps`](super::regs::Ecap::rps) is set;
    /// elsewhere that is 0, and the field is reserved.
    #[bits(20)]
    pub rid_pasid: u32,
    /// Requests without PASID are privileged. Reserved where [`Ecap::rprivs`](super::regs::Ecap::rprivs) is clear.
    pub rid_priv: bool,
    #[bits(43)]
    __: u64,
}

impl ContextEntry {
    /// Bits that must be zero while `P` is set, as words at offsets 0, 8, 16 and 24, on a unit that has everything
    /// the fields' documentation names, apart from address bits above the host address width.
    pub const RESERVED: [u64; 4] = [0x01e0, 0xffff_ffff_ffe0_0000, u64::MAX, u64::MAX];

    /// Physical address of the PASID directory.
    pub const fn pasiddirptr(self) -> u64 {
        self.pasiddirptr_frame() << 12
    }

    /// With the PASID directory at physical address `phys`, a multiple of 4 KiB (lower bits are dropped).
    #[must_use]
    pub const fn with_pasiddirptr(self, phys: u64) -> Self {
        self.with_pasiddirptr_frame(phys >> 12)
    }

    /// The entry as it lies in memory: the words at offsets 0, 8, 16 and 24.
    pub const fn to_words(self) -> [u64; 4] {
        let bits = self.into_bits();
        [bits as u64, (bits >> 64) as u64, 0, 0]
    }

    /// The entry whose words are `words`; the last two hold reserved bits only, and are dropped.
    pub const fn from_words([low, high, ..]: [u64; 4]) -> Self {
        Self::from_bits(low as u128 | (high as u128) << 64)
    }
}
