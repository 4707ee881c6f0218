//! First-stage page-table entries, those of x86-64 (section 9.9).
//!
//! Level 1 is the table of 4 KiB leaves; a table has 4 or 5 levels of 512 entries. Addresses must be canonical: the
//! bits above the translated ones are copies of the highest of these.
//!
//! ```
//! use hw::vtd::first_stage::{self, Entry};
//! use hw::vtd::second_stage::Kind;
//!
//! let leaf = Entry::new().with_p(true).with_rw(true).with_us(true).with_addr(0x1234_5000);
//! assert_eq!(leaf.into_bits(), 0x1234_5007);
//! assert_eq!(leaf.into_bits() & first_stage::reserved(1, Kind::Leaf), 0);
//! ```

use bitfield_struct::bitfield;

use super::second_stage::Kind;

/// Bits 51:12, which hold an address; those from the host address width on are reserved.
pub const ADDRESS_MASK: u64 = 0x000f_ffff_ffff_f000;

/// One first-stage entry.
#[bitfield(u64)]
#[derive(PartialEq, Eq)]
pub struct Entry {
    /// Present.
    pub p: bool,
    /// Writes are permitted; reads always are.
    pub rw: bool,
    /// Requests of user privilege are permitted: all requests that do not ask for supervisor privilege.
    pub us: bool,
    /// Page-level write-through.
    pub pwt: bool,
    /// Page-level cache disable.
    pub pcd: bool,
    /// Accessed. The unit sets it, in tables and leaves, where it is clear.
    pub a: bool,
    /// Dirty, of a leaf: the unit sets it at the first write. Ignored in entries that point at a table.
    pub d: bool,
    /// Page size: set in a leaf above level 1. Reserved above level 3; PAT at level 1.
    pub ps: bool,
    /// Global, of a leaf.
    pub g: bool,
    /// Ignored by hardware: free for software.
    pub ign9: bool,
    /// Extended accessed, where the PASID entry enables it; ignored elsewhere.
    pub ea: bool,
    /// Ignored by hardware: free for software.
    pub ign11: bool,
    #[bits(40)]
    addr_frame: u64,
    /// Ignored by hardware: free for software.
    #[bits(11)]
    pub ign: u16,
    /// Execute disable. Reserved where the PASID entry does not enable it (`NXE`).
    pub xd: bool,
}

impl Entry {
    /// Physical address of the page or of the next table. (Bit 12 of a leaf above level 1 is PAT.)
    pub const fn addr(self) -> u64 {
        self.addr_frame() << 12
    }

    /// With the page or next table at physical address `phys`, a multiple of 4 KiB (lower bits are dropped, and
    /// so are those above bit 51).
    #[must_use]
    pub const fn with_addr(self, phys: u64) -> Self {
        self.with_addr_frame(phys << 12 >> 24)
    }
}

/// Bits that must be zero in a present entry of `level` and `kind`, apart from address bits from the host address
/// width on, and from [`XD`] where it is not enabled.
///
/// Bit 12 of a leaf above level 1, its PAT, is not among them.
pub const fn reserved(level: u32, kind: Kind) -> u64 {
    match (kind, level) {
        // PS, where no leaf of that size exists.
        (_, 4..) => 0x80,
        (Kind::Table, _) => 0,
        // Address bits below the page size.
        (Kind::Leaf, 3) => 0x3fff_e000,
        (Kind::Leaf, 2) => 0x001f_e000,
        (Kind::Leaf, _) => 0,
    }
}

/// Bit 12 of a leaf above level 1: its part of the memory type.
pub const LARGE_PAT: u64 = 1 << 12;
/// Bit 7 of a leaf of level 1: its part of the memory type.
pub const PAT: u64 = 1 << 7;
/// Bit 63: [`Entry::xd`].
pub const XD: u64 = 1 << 63;
