//! Page-table entries: Sv39, Sv48, Sv57 and their x4 forms (RISC-V privileged specification, 12.4 to 12.6).
//!
//! Level 1 is the table of 4 KiB leaves; a table has 3, 4 or 5 levels of 512 entries. The x4 forms, of the second
//! stage, have a root of 2048 entries and so translate two bits more. In the first stage addresses must be
//! canonical: the bits above the translated ones are copies of the highest of these.
//!
//! ```
//! use hw::riscv::page_table::Entry;
//!
//! let leaf = Entry::new().with_v(true).with_r(true).with_u(true).with_a(true).with_addr(0x1234_5000);
//! assert_eq!(leaf.into_bits(), 0x048d_1453);
//! assert!(leaf.is_leaf());
//! ```

use bitfield_struct::bitfield;

/// One entry.
#[bitfield(u64)]
#[derive(PartialEq, Eq)]
pub struct Entry {
    /// Valid.
    pub v: bool,
    /// Reads are permitted.
    pub r: bool,
    /// Writes are permitted. Reserved without `R`.
    pub w: bool,
    /// Instructions may be fetched.
    pub x: bool,
    /// User mode may access: all requests without privilege, and the second stage takes all for such. Reserved in
    /// entries that point at a table.
    pub u: bool,
    /// Global. Ignored in the second stage.
    pub g: bool,
    /// Accessed: where it is clear, an access faults or the unit sets it. Reserved in entries that point at a table.
    pub a: bool,
    /// Dirty: likewise, for writes.
    pub d: bool,
    /// Ignored by hardware: free for software.
    #[bits(2)]
    pub rsw: u8,
    /// Number of the frame.
    #[bits(44)]
    pub ppn: u64,
    #[bits(7)]
    __: u8,
    /// Memory type of a leaf (Svpbmt). Reserved in entries that point at a table, and without that extension.
    #[bits(2)]
    pub pbmt: u8,
    /// One of a naturally aligned run (Svnapot), whose size is in the lower bits of `PPN`. Reserved in entries that
    /// point at a table, and without that extension.
    pub n: bool,
}

impl Entry {
    /// Physical address of the page or of the next table. (That of a run's page has [`NAPOT_64K`] in its lower bits.)
    pub const fn addr(self) -> u64 {
        self.ppn() << 12
    }

    /// With the page or next table at physical address `phys`, a multiple of 4 KiB (lower bits are dropped, and
    /// so are those above bit 55).
    #[must_use]
    pub const fn with_addr(self, phys: u64) -> Self {
        self.with_ppn(phys << 8 >> 20)
    }

    /// Whether a valid entry ends the walk.
    pub const fn is_leaf(self) -> bool {
        self.r() || self.w() || self.x()
    }
}

/// Bits 60:54, reserved in every entry.
pub const RESERVED: u64 = 0x1fc0_0000_0000_0000;
/// Bits of the memory type.
pub const PBMT: u64 = 0x6000_0000_0000_0000;
/// Bit 63: [`Entry::n`].
pub const N: u64 = 1 << 63;
/// Bits reserved in an entry that points at a table besides these: `U`, `A`, `D`.
pub const TABLE_RESERVED: u64 = 0xd0;

/// Address bits 15:12 of a page in a run of 64 KiB, the only size of a run there is.
pub const NAPOT_64K: u64 = 0x8000;
/// The address bits that say the size of a run of 64 KiB.
pub const NAPOT_64K_MASK: u64 = 0xf000;
