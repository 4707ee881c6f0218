//! The device directory: from a device id to the context that names its tables (2.1).
//!
//! A radix tree of 1 to 3 levels of 4 KiB tables. Its leaves hold [`DeviceContext`]s of 4 or 8 words, as
//! [`ContextFormat`] says; the levels above hold [`DirectoryEntry`]s.
//!
//! ```
//! use hw::riscv::directory::{ContextFormat, DeviceContext, FirstStage, FirstStageMode, TranslationControl};
//!
//! let device = 0x0118; // 01:03.0
//! let format = ContextFormat::Base;
//! assert_eq!(format.index(device, 0), 0x18);
//! assert_eq!(format.index(device, 1), 0x02);
//! let context = DeviceContext {
//!     tc: TranslationControl::new().with_v(true),
//!     fsc: FirstStage::new().with_mode(FirstStageMode::Sv39).with_root(0x8000_0000),
//!     ..DeviceContext::default()
//! };
//! assert_eq!(context.to_words()[3], 0x8000_0000_0008_0000);
//! ```

use bitfield_struct::{bitenum, bitfield};

/// Bytes of a table of any level.
pub const TABLE_BYTES: u64 = 4096;
/// Bytes of an entry above the lowest level.
pub const ENTRY_BYTES: u64 = 8;
/// Bits of a device id.
pub const DEVICE_ID_BITS: u32 = 24;

/// Which of the two forms a unit's device contexts have (2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContextFormat {
    /// 32 bytes, on units without [`msi_flat`](super::regs::Capabilities::msi_flat).
    Base,
    /// 64 bytes, on units with it.
    Extended,
}

impl ContextFormat {
    /// Bytes of one device context.
    pub const fn context_bytes(self) -> u64 {
        match self {
            Self::Base => 32,
            Self::Extended => 64,
        }
    }

    /// Bits of a device id that a directory of `levels` levels, 1 to 3, takes in.
    pub const fn device_id_bits(self, levels: u32) -> u32 {
        let bits = match self {
            Self::Base => 7,
            Self::Extended => 6,
        } + 9 * (levels - 1);
        if bits > DEVICE_ID_BITS {
            DEVICE_ID_BITS
        } else {
            bits
        }
    }

    /// `DDI[level]`: the index of `device` in the table of `level`, the lowest being 0.
    pub const fn index(self, device: u32, level: u32) -> usize {
        let leaf_bits = match self {
            Self::Base => 7,
            Self::Extended => 6,
        };
        if level == 0 {
            (device & ((1 << leaf_bits) - 1)) as usize
        } else {
            (device >> (leaf_bits + 9 * (level - 1)) & 0x1ff) as usize
        }
    }
}

/// An entry of the directory above its lowest level (2.1.1).
#[bitfield(u64)]
#[derive(PartialEq, Eq)]
pub struct DirectoryEntry {
    /// Valid.
    pub v: bool,
    #[bits(9)]
    __: u16,
    /// Physical page number of the next table.
    #[bits(44)]
    pub ppn: u64,
    #[bits(10)]
    __: u16,
}

impl DirectoryEntry {
    /// Bits that must be zero while `V` is set.
    pub const RESERVED: u64 = 0xffc0_0000_0000_03fe;

    /// Physical address of the next table.
    pub const fn table(self) -> u64 {
        self.ppn() << 12
    }

    /// With the next table at physical address `phys`, a multiple of 4 KiB (lower bits are dropped).
    #[must_use]
    pub const fn with_table(self, phys: u64) -> Self {
        self.with_ppn(phys >> 12)
    }
}

/// `tc`: translation control (2.1.3.1).
#[bitfield(u64)]
#[derive(PartialEq, Eq)]
pub struct TranslationControl {
    /// Valid: while it is clear all other bits of the context are ignored.
    pub v: bool,
    /// Translation requests and translated requests are served.
    pub en_ats: bool,
    /// Page requests are served.
    pub en_pri: bool,
    /// Translation requests are answered with guest-physical addresses.
    pub t2gpa: bool,
    /// Disable translation faults: most faults of the device are not recorded.
    pub dtf: bool,
    /// The first-stage context is a process directory.
    pub pdtv: bool,
    /// Answers to page requests carry a PASID.
    pub prpr: bool,
    /// The unit updates accessed and dirty bits of second-stage entries.
    pub gade: bool,
    /// The unit updates accessed and dirty bits of first-stage entries.
    pub sade: bool,
    /// Requests without a process id have process id 0.
    pub dpe: bool,
    /// First-stage entries are big-endian.
    pub sbe: bool,
    /// First-stage tables are those of 32-bit machines.
    pub sxl: bool,
    #[bits(12)]
    __: u16,
    /// For custom use.
    pub custom: u8,
    __: u32,
}

impl TranslationControl {
    /// Bits that must be zero while `V` is set.
    pub const RESERVED: u64 = 0xffff_ffff_00ff_f000;
}

/// `iohgatp.MODE` where [`gxl`](super::regs::Features::gxl) is clear (2.1.3.2).
#[bitenum]
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecondStageMode {
    /// No second stage.
    Bare = 0,
    /// 41-bit guest-physical addresses, 3 levels.
    Sv39x4 = 8,
    /// 50-bit guest-physical addresses, 4 levels.
    Sv48x4 = 9,
    /// 59-bit guest-physical addresses, 5 levels.
    Sv57x4 = 10,
    /// Reserved.
    #[fallback]
    Reserved = 15,
}

impl SecondStageMode {
    /// Levels of the table, or `None` without one.
    pub const fn levels(self) -> Option<u32> {
        match self {
            Self::Sv39x4 => Some(3),
            Self::Sv48x4 => Some(4),
            Self::Sv57x4 => Some(5),
            Self::Bare | Self::Reserved => None,
        }
    }

    /// The mode whose tables have `levels` levels, or `None` unless that is 3, 4 or 5.
    pub const fn from_levels(levels: u32) -> Option<Self> {
        match levels {
            3 => Some(Self::Sv39x4),
            4 => Some(Self::Sv48x4),
            5 => Some(Self::Sv57x4),
            _ => None,
        }
    }
}

/// `iohgatp`: the second-stage table (2.1.3.2).
#[bitfield(u64)]
#[derive(PartialEq, Eq)]
pub struct SecondStage {
    /// Physical page number of the root table, which has 16 KiB and starts at a multiple of that.
    #[bits(44)]
    pub ppn: u64,
    /// Guest soft-context id: what the unit tags cached translations with.
    pub gscid: u16,
    /// Depth of the table.
    #[bits(4, default = SecondStageMode::Bare)]
    pub mode: SecondStageMode,
}

impl SecondStage {
    /// Bytes, and alignment, of the root table.
    pub const ROOT_BYTES: u64 = 0x4000;

    /// Physical address of the root table.
    pub const fn root(self) -> u64 {
        self.ppn() << 12
    }

    /// With the root table at physical address `phys`, a multiple of 16 KiB (bits below 4 KiB are dropped).
    #[must_use]
    pub const fn with_root(self, phys: u64) -> Self {
        self.with_ppn(phys >> 12)
    }
}

/// `ta`: translation attributes (2.1.3.3).
#[bitfield(u64)]
#[derive(PartialEq, Eq)]
pub struct TranslationAttributes {
    #[bits(12)]
    __: u16,
    /// Process soft-context id: what the unit tags cached first-stage translations with.
    #[bits(20)]
    pub pscid: u32,
    __: u8,
    /// Resource control id; only where [`qosid`](super::regs::Capabilities::qosid) is set.
    #[bits(12)]
    pub rcid: u16,
    /// Monitoring counter id; only where [`qosid`](super::regs::Capabilities::qosid) is set.
    #[bits(12)]
    pub mcid: u16,
}

impl TranslationAttributes {
    /// Bits that must be zero on any unit.
    pub const RESERVED: u64 = 0x0000_00ff_0000_0fff;
    /// Bits that must be zero on units without [`qosid`](super::regs::Capabilities::qosid).
    pub const QOS: u64 = 0xffff_ff00_0000_0000;
}

/// `iosatp.MODE` where [`TranslationControl::sxl`] is clear (2.1.3.4).
#[bitenum]
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FirstStageMode {
    /// No first stage.
    Bare = 0,
    /// 39-bit addresses, 3 levels.
    Sv39 = 8,
    /// 48-bit addresses, 4 levels.
    Sv48 = 9,
    /// 57-bit addresses, 5 levels.
    Sv57 = 10,
    /// Reserved or for custom use.
    #[fallback]
    Reserved = 15,
}

impl FirstStageMode {
    /// Levels of the table, or `None` without one.
    pub const fn levels(self) -> Option<u32> {
        match self {
            Self::Sv39 => Some(3),
            Self::Sv48 => Some(4),
            Self::Sv57 => Some(5),
            Self::Bare | Self::Reserved => None,
        }
    }

    /// The mode whose tables have `levels` levels, or `None` unless that is 3, 4 or 5.
    pub const fn from_levels(levels: u32) -> Option<Self> {
        match levels {
            3 => Some(Self::Sv39),
            4 => Some(Self::Sv48),
            5 => Some(Self::Sv57),
            _ => None,
        }
    }
}

/// `fsc` as `iosatp`: the first-stage table, where [`TranslationControl::pdtv`] is clear (2.1.3.4).
#[bitfield(u64)]
#[derive(PartialEq, Eq)]
pub struct FirstStage {
    /// Physical page number of the root table; a guest-physical one under a second stage.
    #[bits(44)]
    pub ppn: u64,
    __: u16,
    /// Depth of the table.
    #[bits(4, default = FirstStageMode::Bare)]
    pub mode: FirstStageMode,
}

impl FirstStage {
    /// Bits that must be zero.
    pub const RESERVED: u64 = 0x0fff_f000_0000_0000;

    /// Physical address of the root table.
    pub const fn root(self) -> u64 {
        self.ppn() << 12
    }

    /// With the root table at physical address `phys`, a multiple of 4 KiB (lower bits are dropped).
    #[must_use]
    pub const fn with_root(self, phys: u64) -> Self {
        self.with_ppn(phys >> 12)
    }
}

/// `msiptp.MODE` (2.1.3.5).
#[bitenum]
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MsiTableMode {
    /// Messages are translated as any other write.
    Off = 0,
    /// Flat MSI page table.
    Flat = 1,
    /// Reserved or for custom use.
    #[fallback]
    Reserved = 15,
}

/// `msiptp`: the MSI page table; only in the extended format (2.1.3.5).
#[bitfield(u64)]
#[derive(PartialEq, Eq)]
pub struct MsiTable {
    /// Physical page number of the table.
    #[bits(44)]
    pub ppn: u64,
    __: u16,
    /// Whether there is one.
    #[bits(4, default = MsiTableMode::Off)]
    pub mode: MsiTableMode,
}

impl MsiTable {
    /// Bits that must be zero.
    pub const RESERVED: u64 = 0x0fff_f000_0000_0000;
}

/// Bits of `msi_addr_mask` and `msi_addr_pattern` that must be zero (2.1.3.6).
pub const MSI_PAGE_RESERVED: u64 = 0xfff0_0000_0000_0000;

/// A device context in either format; the base format has the first four fields (2.1.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeviceContext {
    /// Translation control.
    pub tc: TranslationControl,
    /// Second stage.
    pub iohgatp: SecondStage,
    /// Translation attributes.
    pub ta: TranslationAttributes,
    /// First stage.
    pub fsc: FirstStage,
    /// MSI page table.
    pub msiptp: MsiTable,
    /// Bits of a guest-physical page number that do not count when an interrupt file is recognised.
    pub msi_addr_mask: u64,
    /// The others of an interrupt file's page number.
    pub msi_addr_pattern: u64,
    /// Must be zero.
    pub reserved: u64,
}

impl DeviceContext {
    /// The context as it lies in memory; in the base format the first four words.
    pub const fn to_words(self) -> [u64; 8] {
        [
            self.tc.into_bits(),
            self.iohgatp.into_bits(),
            self.ta.into_bits(),
            self.fsc.into_bits(),
            self.msiptp.into_bits(),
            self.msi_addr_mask,
            self.msi_addr_pattern,
            self.reserved,
        ]
    }

    /// The context whose words are `words`; in the base format the last four are zero.
    pub const fn from_words(words: [u64; 8]) -> Self {
        Self {
            tc: TranslationControl::from_bits(words[0]),
            iohgatp: SecondStage::from_bits(words[1]),
            ta: TranslationAttributes::from_bits(words[2]),
            fsc: FirstStage::from_bits(words[3]),
            msiptp: MsiTable::from_bits(words[4]),
            msi_addr_mask: words[5],
            msi_addr_pattern: words[6],
            reserved: words[7],
        }
    }
}
