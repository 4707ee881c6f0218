//! Stream table descriptors and entries: from a stream id to how its requests are translated (5.1, 5.2).
//!
//! A linear table is an array of [`StreamTableEntry`]. One of two levels is an array of [`Level1Descriptor`],
//! each of which points at an array of up to `2^SPLIT` entries.
//!
//! ```
//! use hw::smmu::stream::{Config, Level1Descriptor, Ste0, StreamTableEntry};
//!
//! // 2^8 entries at 0x8000.
//! let level1 = Level1Descriptor::new().with_span(9).with_l2ptr(0x8000);
//! assert_eq!((level1.into_bits(), level1.entries()), (0x8009, 256));
//! let entry = StreamTableEntry {
//!     word0: Ste0::new().with_v(true).with_config(Config::Stage1).with_s1_context_ptr(0x9000),
//!     ..StreamTableEntry::default()
//! };
//! assert_eq!(entry.to_words()[0], 0x900b);
//! ```

use bitfield_struct::{bitenum, bitfield};

/// Bytes of one entry.
pub const ENTRY_BYTES: u64 = 64;
/// 64-bit words of one entry.
pub const ENTRY_WORDS: usize = 8;
/// Bytes of one level 1 descriptor.
pub const LEVEL1_BYTES: u64 = 8;

/// One descriptor of the first level (5.1).
#[bitfield(u64)]
#[derive(PartialEq, Eq)]
pub struct Level1Descriptor {
    /// 0 where there is no array, else its length, encoded: `2^(span - 1)` entries. See
    /// [`Level1Descriptor::entries`].
    #[bits(5)]
    pub span: u8,
    __: bool,
    #[bits(46)]
    l2ptr_units: u64,
    #[bits(12)]
    __: u16,
}

impl Level1Descriptor {
    /// Greatest `span`; those above are reserved and behave as 0.
    pub const MAX_SPAN: u8 = 11;

    /// Physical address of the array of entries.
    pub const fn l2ptr(self) -> u64 {
        self.l2ptr_units() << 6
    }

    /// With the array at physical address `phys`, aligned to its length (bits below 64 are dropped, and so are
    /// those above bit 51).
    #[must_use]
    pub const fn with_l2ptr(self, phys: u64) -> Self {
        self.with_l2ptr_units(phys << 12 >> 18)
    }

    /// Entries of the array: 0 where there is none.
    pub const fn entries(self) -> u32 {
        match self.span() {
            span @ 1..=Self::MAX_SPAN => 1 << (span - 1),
            _ => 0,
        }
    }
}

/// `STE.Config`: how a stream's requests are treated (5.2).
#[bitenum]
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Config {
    /// They are aborted; nothing is recorded.
    #[fallback]
    Abort = 0,
    /// Reserved: as `Abort`.
    Reserved1 = 1,
    /// Reserved: as `Abort`.
    Reserved2 = 2,
    /// Reserved: as `Abort`.
    Reserved3 = 3,
    /// They pass untranslated.
    Bypass = 4,
    /// Stage 1 translates, stage 2 does not.
    Stage1 = 5,
    /// Stage 2 translates, stage 1 does not.
    Stage2 = 6,
    /// Both translate.
    Nested = 7,
}

impl Config {
    /// Whether stage 1 translates.
    pub const fn translates_stage1(self) -> bool {
        matches!(self, Self::Stage1 | Self::Nested)
    }

    /// Whether stage 2 translates.
    pub const fn translates_stage2(self) -> bool {
        matches!(self, Self::Stage2 | Self::Nested)
    }
}

/// `STE.S1Fmt`: the shape of a context descriptor table (5.2).
#[bitenum]
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContextTableFormat {
    /// One array.
    Linear = 0,
    /// Two levels, the second of 4 KiB.
    TwoLevel4K = 1,
    /// Two levels, the second of 64 KiB.
    TwoLevel64K = 2,
    /// Reserved.
    #[fallback]
    Reserved = 3,
}

/// Bits 63:0 of an entry.
#[bitfield(u64)]
#[derive(PartialEq, Eq)]
pub struct Ste0 {
    /// Valid.
    pub v: bool,
    /// How requests are treated.
    #[bits(3)]
    pub config: Config,
    /// Shape of the context descriptor table.
    #[bits(2)]
    pub s1fmt: ContextTableFormat,
    #[bits(46)]
    s1_context_ptr_units: u64,
    #[bits(7)]
    __: u8,
    /// `2^s1cdmax` context descriptors.
    #[bits(5)]
    pub s1cdmax: u8,
}

impl Ste0 {
    /// Bits that are to be zero.
    pub const RESERVED: u64 = 0x07f0_0000_0000_0000;

    /// Address of the context descriptor or of their table: physical, or intermediate where stage 2 translates.
    pub const fn s1_context_ptr(self) -> u64 {
        self.s1_context_ptr_units() << 6
    }

    /// With the context descriptors at `phys`, a multiple of 64 (lower bits are dropped, and so are those above
    /// bit 51).
    #[must_use]
    pub const fn with_s1_context_ptr(self, phys: u64) -> Self {
        self.with_s1_context_ptr_units(phys << 12 >> 18)
    }
}

/// `STE.EATS`: what the unit does for PCIe ATS (5.2).
#[bitenum]
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AtsTreatment {
    /// Translation requests and translated requests are aborted.
    Abort = 0,
    /// Both are served.
    Serve = 1,
    /// Translated requests are translated by stage 2.
    SplitStage = 2,
    /// Translated requests are checked by device permission tables.
    #[fallback]
    Checked = 3,
}

/// Bits 127:64 of an entry. Cacheability and shareability as in [`cacheability`] and [`shareability`].
#[bitfield(u64)]
#[derive(PartialEq, Eq)]
pub struct Ste1 {
    /// What becomes of requests without a substream, where there are substreams: 0 terminate, 1 bypass, 2 they
    /// use substream 0.
    #[bits(2)]
    pub s1dss: u8,
    /// Inner cacheability of reads of context descriptors.
    #[bits(2)]
    pub s1cir: u8,
    /// Outer cacheability of reads of context descriptors.
    #[bits(2)]
    pub s1cor: u8,
    /// Shareability of reads of context descriptors.
    #[bits(2)]
    pub s1csh: u8,
    /// Stage 2 hardware-use bits 62:59 are the implementation's.
    #[bits(4)]
    pub s2hwu: u8,
    /// Destructive reads are allowed.
    pub dre: bool,
    /// Contiguous hint: `2^cont` entries have equal configurations.
    #[bits(4)]
    pub cont: u8,
    /// Directed cache prefetches are allowed.
    pub dcp: bool,
    /// PRI responses carry a substream id.
    pub ppar: bool,
    /// Events of equal requests may be merged.
    pub mev: bool,
    /// Free for software.
    #[bits(4)]
    pub software: u8,
    __: bool,
    /// Stage 2 forces write-back.
    pub s2fwb: bool,
    /// Stage 1 controls partitioning.
    pub s1mpam: bool,
    /// Stage 1 must not stall requests.
    pub s1stalld: bool,
    /// What the unit does for PCIe ATS.
    #[bits(2)]
    pub eats: AtsTreatment,
    /// Stream world: the exception level translations are tagged with. 0 is NS-EL1, 2 is NS-EL2.
    #[bits(2)]
    pub strw: u8,
    /// Memory type, where `MTCFG` is set.
    #[bits(4)]
    pub memattr: u8,
    /// The memory type is replaced.
    pub mtcfg: bool,
    /// Allocation hints.
    #[bits(4)]
    pub alloccfg: u8,
    #[bits(3)]
    __: u8,
    /// Shareability of requests that bypass: 1 keeps their own.
    #[bits(2)]
    pub shcfg: u8,
    /// Security override.
    #[bits(2)]
    pub nscfg: u8,
    /// Privilege override.
    #[bits(2)]
    pub privcfg: u8,
    /// Instruction override.
    #[bits(2)]
    pub instcfg: u8,
    /// The implementation's.
    #[bits(12)]
    pub implementation: u16,
}

impl Ste1 {
    /// Bits that are to be zero.
    pub const RESERVED: u64 = 0x0000_0e00_0100_0000;
}

/// Cacheability as entries and context descriptors encode it (`S1CIR`, `S2IR0`, `IR0` and their like).
pub mod cacheability {
    /// Not cacheable.
    pub const NON_CACHEABLE: u8 = 0;
    /// Write-back, with allocation at reads and writes.
    pub const WRITE_BACK: u8 = 1;
    /// Write-through.
    pub const WRITE_THROUGH: u8 = 2;
    /// Write-back, without allocation at writes.
    pub const WRITE_BACK_NO_ALLOCATE: u8 = 3;
}

/// Shareability as entries and context descriptors encode it (`S1CSH`, `S2SH0`, `SH0`).
pub mod shareability {
    /// Not shareable.
    pub const NON_SHAREABLE: u8 = 0;
    /// Outer shareable.
    pub const OUTER_SHAREABLE: u8 = 2;
    /// Inner shareable.
    pub const INNER_SHAREABLE: u8 = 3;
}

/// `CD.TG0` and `STE.S2TG`: the granule of a page table (5.2, 5.4).
#[bitenum]
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Granule {
    /// 4 KiB.
    Size4K = 0,
    /// 64 KiB.
    Size64K = 1,
    /// 16 KiB.
    Size16K = 2,
    /// Reserved.
    #[fallback]
    Reserved = 3,
}

impl Granule {
    /// log2 of the granule's bytes, or `None` for a reserved value.
    pub const fn size_log2(self) -> Option<u32> {
        match self {
            Self::Size4K => Some(12),
            Self::Size16K => Some(14),
            Self::Size64K => Some(16),
            Self::Reserved => None,
        }
    }

    /// The granule of `2^size_log2` bytes, or `None` unless that is 12, 14 or 16.
    pub const fn from_size_log2(size_log2: u32) -> Option<Self> {
        match size_log2 {
            12 => Some(Self::Size4K),
            14 => Some(Self::Size16K),
            16 => Some(Self::Size64K),
            _ => None,
        }
    }
}

/// Bits 191:128 of an entry: stage 2.
#[bitfield(u64)]
#[derive(PartialEq, Eq)]
pub struct Ste2 {
    /// VMID that translations are tagged with.
    pub s2vmid: u16,
    /// The implementation's.
    pub implementation: u16,
    /// Input addresses have `64 - s2t0sz` bits.
    #[bits(6)]
    pub s2t0sz: u8,
    /// Level the walk starts at, encoded. See [`stage2_start_level`].
    #[bits(2)]
    pub s2sl0: u8,
    /// Inner cacheability of walks.
    #[bits(2)]
    pub s2ir0: u8,
    /// Outer cacheability of walks.
    #[bits(2)]
    pub s2or0: u8,
    /// Shareability of walks.
    #[bits(2)]
    pub s2sh0: u8,
    /// Granule.
    #[bits(2)]
    pub s2tg: Granule,
    /// Size of physical addresses, encoded as `IDR5.OAS`.
    #[bits(3)]
    pub s2ps: u8,
    /// The table is in VMSAv8-64 format.
    pub s2aa64: bool,
    /// The table is big-endian.
    pub s2endi: bool,
    /// Descriptors whose access flag is clear do not fault.
    pub s2affd: bool,
    /// Walks of stage 1 tables in device memory fault.
    pub s2ptw: bool,
    /// Hardware updates dirty state.
    pub s2hd: bool,
    /// Hardware updates access flags.
    pub s2ha: bool,
    /// Requests that fault are stalled.
    pub s2s: bool,
    /// Faults are recorded.
    pub s2r: bool,
    #[bits(5)]
    __: u8,
}

impl Ste2 {
    /// Bits that are to be zero.
    pub const RESERVED: u64 = 0xf800_0000_0000_0000;
}

/// The level a stage 2 walk of `granule` starts at for an `s2sl0`, or `None` for a reserved value (without small
/// translation tables).
pub const fn stage2_start_level(granule: Granule, s2sl0: u8) -> Option<u32> {
    match (granule, s2sl0) {
        (Granule::Size4K, 0..=2) => Some(2 - s2sl0 as u32),
        (Granule::Size16K | Granule::Size64K, 0..=2) => Some(3 - s2sl0 as u32),
        _ => None,
    }
}

/// The `s2sl0` that lets a stage 2 walk of `granule` start at `level`, or `None` if none does.
pub const fn stage2_sl0(granule: Granule, level: u32) -> Option<u8> {
    match (granule, level) {
        (Granule::Size4K, 0..=2) => Some((2 - level) as u8),
        (Granule::Size16K | Granule::Size64K, 1..=3) => Some((3 - level) as u8),
        _ => None,
    }
}

/// Bits 255:192 of an entry: the stage 2 table.
#[bitfield(u64)]
#[derive(PartialEq, Eq)]
pub struct Ste3 {
    #[bits(4)]
    __: u8,
    #[bits(48)]
    s2ttb_units: u64,
    #[bits(12)]
    __: u16,
}

impl Ste3 {
    /// Bits that are to be zero.
    pub const RESERVED: u64 = 0xfff0_0000_0000_000f;

    /// Physical address of the stage 2 table's root.
    pub const fn s2ttb(self) -> u64 {
        self.s2ttb_units() << 4
    }

    /// With the table's root at physical address `phys`, aligned to its size (bits below 16 are dropped, and so
    /// are those above bit 51).
    #[must_use]
    pub const fn with_s2ttb(self, phys: u64) -> Self {
        self.with_s2ttb_units(phys << 12 >> 16)
    }
}

/// One entry of a stream table (5.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StreamTableEntry {
    /// Bits 63:0.
    pub word0: Ste0,
    /// Bits 127:64.
    pub word1: Ste1,
    /// Bits 191:128.
    pub word2: Ste2,
    /// Bits 255:192.
    pub word3: Ste3,
    /// Bits 511:256: partitioning and secure state. Zero without them.
    pub rest: [u64; 4],
}

impl StreamTableEntry {
    /// The entry as it lies in memory.
    pub const fn to_words(self) -> [u64; ENTRY_WORDS] {
        [
            self.word0.into_bits(),
            self.word1.into_bits(),
            self.word2.into_bits(),
            self.word3.into_bits(),
            self.rest[0],
            self.rest[1],
            self.rest[2],
            self.rest[3],
        ]
    }

    /// The entry that lies in memory as `words`.
    pub const fn from_words(words: [u64; ENTRY_WORDS]) -> Self {
        Self {
            word0: Ste0::from_bits(words[0]),
            word1: Ste1::from_bits(words[1]),
            word2: Ste2::from_bits(words[2]),
            word3: Ste3::from_bits(words[3]),
            rest: [words[4], words[5], words[6], words[7]],
        }
    }
}
