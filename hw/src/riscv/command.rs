//! Commands of the command queue, 128 bits each (3.1).
//!
//! One type per format. Bits 9:0 of every command, `opcode` and `func3`, say which it is; each constructor has
//! them set. [`kind`] reads them back.
//!
//! ```
//! use hw::riscv::command::{self, Fence, Kind, TableInvalidation};
//!
//! let flush = TableInvalidation::vma().with_pscv(true).with_pscid(7).with_av(true).with_addr(0x1_0000);
//! assert_eq!(flush.to_words(), [0x1_0000_7401, 0x4000]);
//! assert_eq!(command::kind(flush.to_words()), Some(Kind::InvalidateFirstStage));
//!
//! let fence = Fence::new().with_pr(true).with_pw(true).with_av(true).with_data(1).with_addr(0x2000);
//! assert_eq!(fence.to_words(), [0x1_0000_3402, 0x800]);
//! ```

use bitfield_struct::bitfield;

/// Bytes of one command.
pub const COMMAND_BYTES: u64 = 16;

/// Which command a pair of words is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `IOTINVAL.VMA`: [`TableInvalidation`] of first-stage tables (3.1.1).
    InvalidateFirstStage,
    /// `IOTINVAL.GVMA`: [`TableInvalidation`] of second-stage tables (3.1.1).
    InvalidateSecondStage,
    /// `IOFENCE.C`: [`Fence`] (3.1.2).
    Fence,
    /// `IODIR.INVAL_DDT`: [`DirectoryInvalidation`] of device contexts (3.1.3).
    InvalidateDevice,
    /// `IODIR.INVAL_PDT`: [`DirectoryInvalidation`] of process contexts (3.1.3).
    InvalidateProcess,
    /// `ATS.INVAL`; only where [`ats`](super::regs::Capabilities::ats) is set (3.1.4).
    InvalidateDeviceCache,
    /// `ATS.PRGR`; only where [`ats`](super::regs::Capabilities::ats) is set (3.1.4).
    PageResponse,
}

/// The kind of the command whose words at offsets 0 and 8 are `words`, or `None` for one that is reserved.
pub const fn kind([low, _]: [u64; 2]) -> Option<Kind> {
    match (low & 0x7f, low >> 7 & 7) {
        (1, 0) => Some(Kind::InvalidateFirstStage),
        (1, 1) => Some(Kind::InvalidateSecondStage),
        (2, 0) => Some(Kind::Fence),
        (3, 0) => Some(Kind::InvalidateDevice),
        (3, 1) => Some(Kind::InvalidateProcess),
        (4, 0) => Some(Kind::InvalidateDeviceCache),
        (4, 1) => Some(Kind::PageResponse),
        _ => None,
    }
}

macro_rules! command_words {
    ($name:ident, $reserved:expr) => {
        impl $name {
            /// Bits that must be zero, as `[low, high]` words; a command with one set is illegal.
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

/// `IOTINVAL`: invalidates what is cached of page tables (3.1.1, 8.2, 8.3).
#[bitfield(u128)]
#[derive(PartialEq, Eq)]
pub struct TableInvalidation {
    /// Operation group.
    #[bits(7, default = 1)]
    pub opcode: u8,
    /// Operation: 0 for first-stage tables (`VMA`), 1 for second-stage tables (`GVMA`).
    #[bits(3)]
    pub func3: u8,
    /// `ADDR` counts.
    pub av: bool,
    __: bool,
    /// Process soft-context id.
    #[bits(20)]
    pub pscid: u32,
    /// `PSCID` counts; not with `GVMA`.
    pub pscv: bool,
    /// `GSCID` counts; without it `VMA` is about tables without a second stage, `GVMA` about all.
    pub gv: bool,
    /// Not leaves alone but entries of every level on the way to `ADDR`; only where
    /// [`nl`](super::regs::Capabilities::nl) is set.
    pub nl: bool,
    #[bits(9)]
    __: u16,
    /// Guest soft-context id.
    pub gscid: u16,
    #[bits(13)]
    __: u16,
    /// `ADDR` names a range, its lowest zero bit saying how many pages; only where
    /// [`s`](super::regs::Capabilities::s) is set.
    pub s: bool,
    #[bits(52)]
    addr_page: u64,
    #[bits(2)]
    __: u8,
}
command_words!(
    TableInvalidation,
    [0xf000_0ff8_0000_0800, 0xc000_0000_0000_01ff]
);

impl TableInvalidation {
    /// The words of `IOTINVAL.VMA` about everything of `pscid`, which has 20 bits.
    #[inline]
    pub const fn pscid_words(pscid: u32) -> [u64; 2] {
        let [low, high] = const { TableInvalidation::vma().with_pscv(true).to_words() };
        [low | (pscid as u64) << Self::PSCID_OFFSET, high]
    }

    /// The words of `IOTINVAL.GVMA` about everything of `gscid`.
    #[inline]
    pub const fn gscid_words(gscid: u16) -> [u64; 2] {
        let [low, high] = const { TableInvalidation::gvma().with_gv(true).to_words() };
        [low | (gscid as u64) << Self::GSCID_OFFSET, high]
    }

    /// The bits that make of the words of one about everything one that is about `2^pages_log2` pages from `bus` on, which is
    /// a multiple of their size; of more than leaves if `nl` is set. With `pages_log2` 0 to 51; 0 names no range.
    #[inline]
    pub const fn page_bits(nl: bool, bus: u64, pages_log2: u32) -> [u64; 2] {
        let s = pages_log2 > 0;
        let below_zero = ((1 << pages_log2) - 1) >> 1;
        let page = (bus >> 12 | below_zero) << (Self::ADDR_PAGE_OFFSET - 64);
        let low = 1 << Self::AV_OFFSET | (nl as u64) << Self::NL_OFFSET;
        [low, page | (s as u64) << (Self::S_OFFSET - 64)]
    }

    /// Bits that must be zero on units without [`nl`](super::regs::Capabilities::nl).
    pub const NL: [u64; 2] = [0x0000_0004_0000_0000, 0];
    /// Bits that must be zero on units without [`s`](super::regs::Capabilities::s).
    pub const S: [u64; 2] = [0, 0x0000_0000_0000_0200];

    /// `IOTINVAL.VMA`: of first-stage tables.
    pub const fn vma() -> Self {
        Self::new()
    }

    /// `IOTINVAL.GVMA`: of second-stage tables.
    pub const fn gvma() -> Self {
        Self::new().with_func3(1)
    }

    /// The bus address it is about.
    pub const fn addr(self) -> u64 {
        self.addr_page() << 12
    }

    /// With `bus`, a multiple of 4 KiB (lower bits are dropped), as the address it is about.
    #[must_use]
    pub const fn with_addr(self, bus: u64) -> Self {
        self.with_addr_page(bus >> 12)
    }

    /// About `2^pages_log2` pages from `bus` on, which is a multiple of their size; `pages_log2` is 1 to 51
    /// (8.3).
    #[must_use]
    pub const fn with_range(self, bus: u64, pages_log2: u32) -> Self {
        let below_zero = (1 << (pages_log2 - 1)) - 1;
        self.with_s(true).with_addr_page(bus >> 12 | below_zero)
    }

    /// First address it is about, and the base-2 logarithm of the number of pages.
    pub const fn range(self) -> (u64, u32) {
        if !self.s() {
            return (self.addr(), 0);
        }
        let pages_log2 = self.addr_page().trailing_ones() + 1;
        let first = self.addr_page() >> pages_log2 << pages_log2;
        (first << 12, pages_log2)
    }
}

/// `IOFENCE.C`: done when every command before it is (3.1.2).
#[bitfield(u128)]
#[derive(PartialEq, Eq)]
pub struct Fence {
    /// Operation group.
    #[bits(7, default = 2)]
    pub opcode: u8,
    /// Operation.
    #[bits(3)]
    pub func3: u8,
    /// `DATA` is written to `ADDR` when the fence is done.
    pub av: bool,
    /// A wired interrupt is raised when it is done; reserved where interrupts are messages.
    pub wsi: bool,
    /// Requests that read and that the unit has processed are globally done first.
    pub pr: bool,
    /// Requests that write and that the unit has processed are globally done first.
    pub pw: bool,
    #[bits(18)]
    __: u32,
    /// What is written.
    pub data: u32,
    #[bits(62)]
    addr_dwords: u64,
    #[bits(2)]
    __: u8,
}
command_words!(Fence, [0x0000_0000_ffff_c000, 0xc000_0000_0000_0000]);

impl Fence {
    /// The words of one that writes `data` to physical address `phys`, a multiple of 4 (lower bits are dropped), after every
    /// request that reads and writes.
    #[inline]
    pub const fn status_words(data: u32, phys: u64) -> [u64; 2] {
        let [low, high] = const {
            Fence::new()
                .with_pr(true)
                .with_pw(true)
                .with_av(true)
                .to_words()
        };
        [low | (data as u64) << Self::DATA_OFFSET, high | phys >> 2]
    }

    /// Physical address that `DATA` is written to.
    pub const fn addr(self) -> u64 {
        self.addr_dwords() << 2
    }

    /// With physical address `phys`, a multiple of 4 (lower bits are dropped), as where `DATA` is written.
    #[must_use]
    pub const fn with_addr(self, phys: u64) -> Self {
        self.with_addr_dwords(phys >> 2)
    }
}

/// `IODIR`: invalidates what is cached of directories (3.1.3).
#[bitfield(u128)]
#[derive(PartialEq, Eq)]
pub struct DirectoryInvalidation {
    /// Operation group.
    #[bits(7, default = 3)]
    pub opcode: u8,
    /// Operation: 0 for the device directory (`INVAL_DDT`), 1 for process directories (`INVAL_PDT`).
    #[bits(3)]
    pub func3: u8,
    #[bits(2)]
    __: u8,
    /// Process id; reserved with `INVAL_DDT`.
    #[bits(20)]
    pub pid: u32,
    __: bool,
    /// `DID` counts; must be set with `INVAL_PDT`.
    pub dv: bool,
    #[bits(6)]
    __: u8,
    /// Device id.
    #[bits(24)]
    pub did: u32,
    #[bits(64)]
    __: u64,
}
command_words!(
    DirectoryInvalidation,
    [0x0000_00fd_0000_0c00, 0xffff_ffff_ffff_ffff]
);

impl DirectoryInvalidation {
    /// Bits that must be zero with `INVAL_DDT`.
    pub const PID: [u64; 2] = [0x0000_0000_ffff_f000, 0];

    /// `IODIR.INVAL_DDT`: of device contexts.
    pub const fn ddt() -> Self {
        Self::new()
    }

    /// `IODIR.INVAL_PDT`: of process contexts.
    pub const fn pdt() -> Self {
        Self::new().with_func3(1)
    }
}
