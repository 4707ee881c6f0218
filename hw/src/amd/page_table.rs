//! Page-table entries of a domain (section 2.2.3).
//!
//! Level 1 is the table of 4 KiB leaves; a table has 1 to 6 levels of 512 entries. An entry says itself what it
//! leads to: [`NEXT_LEVEL_LEAF`] a page of its level's size, [`NEXT_LEVEL_SIZED`] a page whose size is in the lower
//! address bits, other values a table of that level.
//!
//! ```
//! use hw::amd::page_table::{Entry, sized_bits, sized_log2};
//!
//! let leaf = Entry::new().with_pr(true).with_ir(true).with_iw(true).with_addr(0x1234_5000);
//! assert_eq!(leaf.into_bits(), 0x6000_0000_1234_5001);
//! // A page of 64 KiB: three ones, and the zero that ends them.
//! assert_eq!(sized_bits(16), 0x7000);
//! assert_eq!(sized_log2(0x1234_7000), 16);
//! ```

use bitfield_struct::bitfield;

/// Bits 51:12, which hold an address.
pub const ADDRESS_MASK: u64 = 0x000f_ffff_ffff_f000;

/// Next level of a page of the size of its level.
pub const NEXT_LEVEL_LEAF: u8 = 0;
/// Next level of a page whose lower address bits hold its size. As many entries as it covers are alike.
pub const NEXT_LEVEL_SIZED: u8 = 7;

/// One entry: of a page (PTE) or of a table (PDE).
#[bitfield(u64)]
#[derive(PartialEq, Eq)]
pub struct Entry {
    /// Present.
    pub pr: bool,
    /// Ignored by hardware: free for software.
    #[bits(4)]
    pub ign1: u8,
    /// Accessed, set by the unit where the device's table entry enables it.
    pub a: bool,
    /// Dirty, of a page; likewise.
    pub d: bool,
    /// Ignored by hardware: free for software.
    #[bits(2)]
    pub ign7: u8,
    /// What the entry leads to.
    #[bits(3)]
    pub next_level: u8,
    #[bits(40)]
    addr_frame: u64,
    #[bits(7)]
    __: u8,
    /// Of a page: the U attribute of answers to translation requests (ATS). Reserved in entries of tables.
    pub u: bool,
    /// Of a page: accesses are coherent, whatever the device asks for. Reserved in entries of tables.
    pub fc: bool,
    /// Reads are permitted. Permissions of all levels are combined: what one denies is denied.
    pub ir: bool,
    /// Writes are permitted; likewise.
    pub iw: bool,
    /// Ignored by hardware: free for software.
    pub ign63: bool,
}

impl Entry {
    /// Physical address of the page or of the next table. (That of a page that holds its own size holds that too.)
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

/// Reserved bits of a page's entry: 58:52.
pub const LEAF_RESERVED: u64 = 0x07f0_0000_0000_0000;
/// Reserved bits of a table's entry: 60:52.
pub const TABLE_RESERVED: u64 = 0x1ff0_0000_0000_0000;

/// The lower address bits of a page of `2^size_log2` bytes, 13 at least, that holds its own size (table 14): ones
/// from bit 12 on, up to a zero below the page's own address bits.
pub const fn sized_bits(size_log2: u32) -> u64 {
    (1 << (size_log2 - 1)) - (1 << 12)
}

/// log2 of the size that the lower bits of an address say.
pub const fn sized_log2(addr: u64) -> u32 {
    (addr >> 12).trailing_ones() + 13
}
