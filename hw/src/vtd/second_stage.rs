//! Entries of second-stage page tables (9.8): one layout for every level, with few differences.
//!
//! Level 1 is the table of 4 KiB leaves; a table of `n` levels is walked from level `n` down. Every table is
//! one 4 KiB page of 512 entries. An entry with neither `R` nor `W` is not present.
//!
//! ```
//! use hw::vtd::second_stage::{self, Entry};
//!
//! let leaf = Entry::new().with_r(true).with_w(true).with_addr(0x1234_5000);
//! assert_eq!(leaf.into_bits(), 0x1234_5003);
//! assert_eq!(second_stage::index(0x4020_3000, 1), 3);
//! assert_eq!(leaf.into_bits() & second_stage::reserved(1, second_stage::Kind::Leaf), 0);
//! ```

use bitfield_struct::bitfield;

/// Bytes of one table.
pub const TABLE_BYTES: u64 = 4096;
/// Entries of one table.
pub const ENTRIES: usize = 512;
/// Bytes of one entry.
pub const ENTRY_BYTES: u64 = 8;

/// Bits 51:12, which hold an address; those from the host address width on are reserved.
pub const ADDRESS_MASK: u64 = 0x000f_ffff_ffff_f000;

/// Bits that hardware ignores at every level and software may use: 63 and 61:52.
pub const IGNORED_HIGH: u64 = 0xbff0_0000_0000_0000;

/// One second-stage entry.
#[bitfield(u64)]
#[derive(PartialEq, Eq)]
pub struct Entry {
    /// Read permission.
    pub r: bool,
    /// Write permission.
    pub w: bool,
    /// Execute permission; ignored in legacy mode.
    pub x: bool,
    /// Extended memory type of a leaf; ignored in legacy mode.
    #[bits(3)]
    pub emt: u8,
    /// Ignore PAT of a leaf; ignored in legacy mode.
    pub ipat: bool,
    /// Page size: set in a leaf above level 1. Reserved above level 3, ignored at level 1.
    pub ps: bool,
    /// Accessed; ignored in legacy mode.
    pub a: bool,
    /// Dirty, of a leaf; ignored in legacy mode.
    pub d: bool,
    __: bool,
    /// Snoop behaviour of a leaf: the device's accesses snoop the CPU's caches whatever they ask for. Reserved
    /// where [`Ecap::sc`](super::regs::Ecap::sc) is clear, and in entries that point at a table.
    pub snp: bool,
    #[bits(40)]
    addr_frame: u64,
    /// Ignored by hardware: free for software.
    #[bits(10)]
    pub ign: u16,
    /// Transient mapping of a leaf (device-TLBs). Reserved where [`Ecap::dt`](super::regs::Ecap::dt) is
    /// clear, and in entries that point at a table.
    pub tm: bool,
    /// Ignored by hardware: free for software.
    pub ign63: bool,
}

impl Entry {
    /// Physical address of the page or of the next table.
    pub const fn addr(self) -> u64 {
        self.addr_frame() << 12
    }

    /// With the page or next table at physical address `phys`, a multiple of 4 KiB (lower bits are dropped, and
    /// so are those above bit 51).
    #[must_use]
    pub const fn with_addr(self, phys: u64) -> Self {
        self.with_addr_frame(phys << 12 >> 24)
    }

    /// Whether the entry grants anything; one that does not ends the walk with a fault.
    pub const fn is_present(self) -> bool {
        self.r() || self.w()
    }
}

/// What an entry of a given level points at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A page.
    Leaf,
    /// The table of the next lower level.
    Table,
}

/// log2 of the bytes that one entry of `level` covers: 12, 21, 30, 39, 48.
pub const fn size_log2(level: u32) -> u32 {
    12 + 9 * (level - 1)
}

/// Index of `bus` in its table of `level`.
pub const fn index(bus: u64, level: u32) -> usize {
    (bus >> size_log2(level)) as usize & (ENTRIES - 1)
}

/// Bits that must be zero in an entry of `level` and `kind` on a unit that has snoop control and device-TLBs,
/// apart from address bits from the host address width on.
///
/// Without [`Ecap::sc`](super::regs::Ecap::sc) add [`SNP`], without [`Ecap::dt`](super::regs::Ecap::dt) [`TM`].
/// A leaf of a size that [`Cap::sslps`](super::regs::Cap::sslps) lacks has its `PS` bit reserved.
pub const fn reserved(level: u32, kind: Kind) -> u64 {
    match (kind, level) {
        // 62 and 11; PS must be 0 where no leaf of that size exists, and so names a table elsewhere.
        (Kind::Table, 4..) => 0x4000_0000_0000_0880,
        (Kind::Table, _) => 0x4000_0000_0000_0800,
        (Kind::Leaf, 1) => 0,
        // Address bits below the page size.
        (Kind::Leaf, 2) => 0x0000_0000_001f_f000,
        (Kind::Leaf, 3) => 0x0000_0000_3fff_f000,
        (Kind::Leaf, _) => 0x0000_0000_0000_0080,
    }
}

/// Bit 11 of a leaf: [`Entry::snp`].
pub const SNP: u64 = 1 << 11;
/// Bit 62 of a leaf: [`Entry::tm`].
pub const TM: u64 = 1 << 62;
