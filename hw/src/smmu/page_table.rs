//! Page-table entries: VMSAv8-64 descriptors (Arm Architecture Reference Manual, D8.3).
//!
//! Levels are counted from 1, the table of pages, towards the root; the manual calls that one level 3 and counts
//! down. A descriptor's lowest bits say what it is ([`Kind`]).
//!
//! ```
//! use hw::smmu::page_table::{Kind, Stage1, kind};
//!
//! let page = Stage1::new().with_valid(true).with_page(true).with_af(true).with_addr(0x1234_5000);
//! assert_eq!(page.into_bits(), 0x1234_5403);
//! assert_eq!(kind(1, page.into_bits()), Kind::Page);
//! assert_eq!(kind(2, page.into_bits()), Kind::Table);
//! ```

use bitfield_struct::bitfield;

/// Bits 47:12, which hold an output address, as far as it is a multiple of the granule.
pub const ADDRESS_MASK: u64 = 0x0000_ffff_ffff_f000;

/// Shareability: not shared.
pub const SH_NON: u8 = 0b00;
/// Outer shareable.
pub const SH_OUTER: u8 = 0b10;
/// Inner shareable.
pub const SH_INNER: u8 = 0b11;

/// Stage 1 access permissions, bits 2:1: reads and writes, also unprivileged.
pub const AP_READ_WRITE: u8 = 0b01;
/// Reads only, also unprivileged.
pub const AP_READ: u8 = 0b11;
/// What of both lets unprivileged accesses in (`AP[1]`, bit 6 of the word).
pub const AP_UNPRIVILEGED: u8 = 0b01;
/// Reads and writes, privileged only.
pub const AP_PRIVILEGED_READ_WRITE: u8 = 0b00;
/// Reads, privileged only.
pub const AP_PRIVILEGED_READ: u8 = 0b10;

/// Stage 2 access permissions: reads.
pub const S2AP_READ: u8 = 0b01;
/// Writes.
pub const S2AP_WRITE: u8 = 0b10;
/// Both.
pub const S2AP_READ_WRITE: u8 = 0b11;

/// Stage 2 memory attributes: Normal, outer and inner write-back.
pub const MEM_ATTR_WRITE_BACK: u8 = 0b1111;
/// Normal, outer and inner non-cacheable.
pub const MEM_ATTR_NON_CACHEABLE: u8 = 0b0101;

/// Stage 2 attributes of Device-nGnRE: registers, whose accesses are not merged, repeated or reordered.
pub const MEM_ATTR_DEVICE: u8 = 0b0001;
/// MAIR attribute: Normal, outer and inner write-back, non-transient, allocating.
pub const MAIR_WRITE_BACK: u8 = 0xff;
/// MAIR attribute: Normal, outer and inner non-cacheable.
pub const MAIR_NON_CACHEABLE: u8 = 0x44;
/// MAIR attribute: Device-nGnRE.
pub const MAIR_DEVICE: u8 = 0x04;

/// What a descriptor is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Bit 0 is clear: the walk ends with a fault, and other bits are software's.
    Invalid,
    /// A leaf above level 1. Whether one may stand there depends on granule and level.
    Block,
    /// A leaf of level 1.
    Page,
    /// The table of the next lower level.
    Table,
    /// Bits 1:0 are 0b01 at level 1: as good as invalid, and not for software.
    Reserved,
}

/// What a descriptor in a table of `level` is.
pub const fn kind(level: u32, word: u64) -> Kind {
    match (word & 0b11, level) {
        (0b11, 1) => Kind::Page,
        (0b11, _) => Kind::Table,
        (0b01, 1) => Kind::Reserved,
        (0b01, _) => Kind::Block,
        _ => Kind::Invalid,
    }
}

/// A descriptor that points at a table. (The NS, AP, XN and PXN limits are of stage 1; reserved in stage 2.)
#[bitfield(u64)]
#[derive(PartialEq, Eq)]
pub struct Table {
    /// Set.
    pub valid: bool,
    /// Set.
    pub table: bool,
    /// Ignored by hardware: free for software.
    #[bits(10)]
    pub ign: u16,
    #[bits(36)]
    addr_frame: u64,
    #[bits(3)]
    __: u8,
    /// Ignored by hardware: free for software.
    #[bits(8)]
    pub ign51: u8,
    /// All below is never executed with privilege.
    pub pxn_table: bool,
    /// All below is never executed.
    pub xn_table: bool,
    /// Access permissions that all below loses.
    #[bits(2)]
    pub ap_table: u8,
    /// All below is non-secure.
    pub ns_table: bool,
}

impl Table {
    /// Physical address of the next table.
    pub const fn addr(self) -> u64 {
        self.addr_frame() << 12
    }

    /// With the next table at physical address `phys`, a multiple of the granule (bits below 12 are dropped, and so
    /// are those above 47).
    #[must_use]
    pub const fn with_addr(self, phys: u64) -> Self {
        self.with_addr_frame(phys << 16 >> 28)
    }
}

/// Reserved bits of a [`Table`]: 50:48.
pub const TABLE_RESERVED: u64 = 0x0007_0000_0000_0000;
/// Bits of a [`Table`] that limit what lies below in stage 1, and are reserved in stage 2: 63:59.
pub const TABLE_LIMITS: u64 = 0xf800_0000_0000_0000;

/// A page or block of stage 1.
#[bitfield(u64)]
#[derive(PartialEq, Eq)]
pub struct Stage1 {
    /// Set.
    pub valid: bool,
    /// Set in a page, clear in a block.
    pub page: bool,
    /// Which attribute of MAIR the memory has.
    #[bits(3)]
    pub attr_indx: u8,
    /// Non-secure.
    pub ns: bool,
    /// Access permissions, bits 2:1: [`AP_READ_WRITE`], [`AP_READ`].
    #[bits(2)]
    pub ap: u8,
    /// Shareability.
    #[bits(2)]
    pub sh: u8,
    /// Access flag: where it is clear, an access faults or the unit sets it.
    pub af: bool,
    /// Not global: belongs to one ASID.
    pub n_g: bool,
    #[bits(36)]
    addr_frame: u64,
    #[bits(2)]
    __: u8,
    /// Guarded page, of instructions.
    pub gp: bool,
    /// Dirty bit modifier.
    pub dbm: bool,
    /// One of a contiguous run.
    pub contiguous: bool,
    /// Never executed with privilege.
    pub pxn: bool,
    /// Never executed, or not without privilege.
    pub uxn: bool,
    /// Ignored by hardware: free for software.
    #[bits(4)]
    pub ign: u8,
    /// Attributes of the implementation.
    #[bits(4)]
    pub pbha: u8,
    /// Ignored by hardware.
    pub ign63: bool,
}

impl Stage1 {
    /// Physical address of the page or block.
    pub const fn addr(self) -> u64 {
        self.addr_frame() << 12
    }

    /// With the page or block at physical address `phys` (bits below 12 are dropped, and so are those above 47).
    #[must_use]
    pub const fn with_addr(self, phys: u64) -> Self {
        self.with_addr_frame(phys << 16 >> 28)
    }
}

/// A page or block of stage 2.
#[bitfield(u64)]
#[derive(PartialEq, Eq)]
pub struct Stage2 {
    /// Set.
    pub valid: bool,
    /// Set in a page, clear in a block.
    pub page: bool,
    /// Memory attributes: [`MEM_ATTR_WRITE_BACK`], [`MEM_ATTR_NON_CACHEABLE`].
    #[bits(4)]
    pub mem_attr: u8,
    /// Access permissions: [`S2AP_READ`], [`S2AP_WRITE`] or both.
    #[bits(2)]
    pub s2ap: u8,
    /// Shareability.
    #[bits(2)]
    pub sh: u8,
    /// Access flag: where it is clear, an access faults or the unit sets it.
    pub af: bool,
    /// Reserved, or with stage 2 forced write-back a part of the attributes.
    pub fnxs: bool,
    #[bits(36)]
    addr_frame: u64,
    #[bits(3)]
    __: u8,
    /// Dirty bit modifier.
    pub dbm: bool,
    /// One of a contiguous run.
    pub contiguous: bool,
    /// Who may execute.
    #[bits(2)]
    pub xn: u8,
    /// Of the realm's and secure state's tables.
    pub ns: bool,
    /// Ignored by hardware: free for software.
    #[bits(3)]
    pub ign: u8,
    /// Attributes of the implementation.
    #[bits(4)]
    pub pbha: u8,
    /// Ignored by hardware.
    pub ign63: bool,
}

impl Stage2 {
    /// Physical address of the page or block.
    pub const fn addr(self) -> u64 {
        self.addr_frame() << 12
    }

    /// With the page or block at physical address `phys` (bits below 12 are dropped, and so are those above 47).
    #[must_use]
    pub const fn with_addr(self, phys: u64) -> Self {
        self.with_addr_frame(phys << 16 >> 28)
    }
}

/// Reserved bits of a page or block of stage 1: 49:48.
pub const STAGE1_RESERVED: u64 = 0x0003_0000_0000_0000;
/// Reserved bits of a page or block of stage 2: 50:48.
pub const STAGE2_RESERVED: u64 = 0x0007_0000_0000_0000;

/// Bits of the address field that are below the size of a page, block or table of `2^size_log2` bytes and so must be
/// zero. (Where the architecture adds nT to blocks, bit 16, zero is its neutral value.)
pub const fn below_size(size_log2: u32) -> u64 {
    (1 << size_log2) - 0x1000
}
