//! PASID directory and PASID table: from a requester's process address space to its page table (scalable mode).
//!
//! A directory has [`DirectoryEntry`]s, each of which points at a PASID table: a page of 64 [`Entry`] of 512 bits.
//!
//! ```
//! use hw::vtd::pasid::{self, DirectoryEntry, Entry, Translation};
//! use hw::vtd::root::AddressWidth;
//!
//! assert_eq!((pasid::directory_index(0x1043), pasid::table_index(0x1043)), (0x41, 3));
//! let entry = Entry::new()
//!     .with_p(true)
//!     .with_pgtt(Translation::SecondStage)
//!     .with_aw(AddressWidth::Bits48)
//!     .with_ssptptr(0x8000)
//!     .with_did(5);
//! assert_eq!(entry.to_words()[..3], [0x8089, 5, 0]);
//! # let _ = DirectoryEntry::new();
//! ```

use bitfield_struct::{bitenum, bitfield};

use super::root::AddressWidth;

/// Bytes of one directory entry.
pub const DIRECTORY_ENTRY_BYTES: u64 = 8;
/// Bytes of a PASID table.
pub const TABLE_BYTES: u64 = 4096;
/// Bytes of one entry of a PASID table.
pub const ENTRY_BYTES: u64 = 64;
/// 64-bit words of one entry of a PASID table.
pub const ENTRY_WORDS: usize = 8;
/// Entries of a PASID table.
pub const ENTRIES: usize = 64;

/// Index of `pasid` in the directory: bits 19:6 (3.4.3).
pub const fn directory_index(pasid: u32) -> usize {
    (pasid >> 6) as usize
}

/// Index of `pasid` in its PASID table: bits 5:0 (3.4.3).
pub const fn table_index(pasid: u32) -> usize {
    (pasid & 0x3f) as usize
}

/// One entry of a PASID directory (9.5).
#[bitfield(u64)]
#[derive(PartialEq, Eq)]
pub struct DirectoryEntry {
    /// Present.
    pub p: bool,
    /// Fault processing disable, for all PASIDs of the table.
    pub fpd: bool,
    #[bits(10)]
    __: u16,
    #[bits(52)]
    smptblptr_frame: u64,
}

impl DirectoryEntry {
    /// Bits that must be zero while `P` is set, apart from address bits above the host address width.
    pub const RESERVED: u64 = 0xffc;

    /// Physical address of the PASID table.
    pub const fn smptblptr(self) -> u64 {
        self.smptblptr_frame() << 12
    }

    /// With the PASID table at physical address `phys`, a multiple of 4 KiB (lower bits are dropped).
    #[must_use]
    pub const fn with_smptblptr(self, phys: u64) -> Self {
        self.with_smptblptr_frame(phys >> 12)
    }
}

/// `Entry::pgtt`: PASID granular translation type (9.6).
#[bitenum]
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Translation {
    /// A value the manual reserves.
    #[fallback]
    Reserved = 0,
    /// First-stage translation only.
    FirstStage = 1,
    /// Second-stage translation only.
    SecondStage = 2,
    /// First-stage translation, and what it gives through the second stage.
    Nested = 3,
    /// Requests pass; only where [`Ecap::pt`](super::regs::Ecap::pt) is set.
    PassThrough = 4,
}

/// `Entry::fspm`: the depth of a first-stage table (9.6).
#[bitenum]
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FirstStagePaging {
    /// 4 levels, 48 address bits.
    Levels4 = 0,
    /// 5 levels, 57 address bits; only where [`Cap::fs5lp`](super::regs::Cap::fs5lp) is set.
    Levels5 = 1,
    /// A value the manual reserves.
    #[fallback]
    Reserved = 2,
}

impl FirstStagePaging {
    /// Number of levels of the table, or `None` for a reserved value.
    pub const fn levels(self) -> Option<u32> {
        match self {
            Self::Levels4 => Some(4),
            Self::Levels5 => Some(5),
            Self::Reserved => None,
        }
    }

    /// The mode whose tables have `levels` levels, or `None` unless that is 4 or 5.
    pub const fn from_levels(levels: u32) -> Option<Self> {
        match levels {
            4 => Some(Self::Levels4),
            5 => Some(Self::Levels5),
            _ => None,
        }
    }
}

/// Word 0 of a PASID-table entry.
#[bitfield(u64)]
#[derive(PartialEq, Eq)]
struct Word0 {
    p: bool,
    fpd: bool,
    #[bits(3)]
    aw: AddressWidth,
    ssee: bool,
    #[bits(3)]
    pgtt: Translation,
    ssade: bool,
    #[bits(2)]
    __: u8,
    #[bits(52)]
    ssptptr_frame: u64,
}

/// Word 1 of a PASID-table entry.
#[bitfield(u64)]
#[derive(PartialEq, Eq)]
struct Word1 {
    did: u16,
    #[bits(7)]
    __: u8,
    pwsnp: bool,
    pgsnp: bool,
    cd: bool,
    emte: bool,
    #[bits(3)]
    emt: u8,
    pwt: bool,
    pcd: bool,
    pat: u32,
}

/// Word 2 of a PASID-table entry.
#[bitfield(u64)]
#[derive(PartialEq, Eq)]
struct Word2 {
    sre: bool,
    ere: bool,
    #[bits(2)]
    fspm: FirstStagePaging,
    wpe: bool,
    nxe: bool,
    smep: bool,
    eafe: bool,
    #[bits(4)]
    __: u8,
    #[bits(52)]
    fsptptr_frame: u64,
}

/// One entry of a PASID table (9.6). Fields that its translation type does not use are ignored by hardware.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    words: [u64; ENTRY_WORDS],
}

macro_rules! fields {
    ($($word:ident = $index:literal {
        $($(#[$doc:meta])* $get:ident, $with:ident: $type:ty;)*
    })*) => {
        impl Entry {
            $($(
                $(#[$doc])*
                pub const fn $get(self) -> $type {
                    $word::from_bits(self.words[$index]).$get()
                }

                /// With this field.
                #[must_use]
                pub const fn $with(mut self, value: $type) -> Self {
                    self.words[$index] = $word::from_bits(self.words[$index]).$with(value).into_bits();
                    self
                }
            )*)*
        }
    };
}

fields! {
    Word0 = 0 {
        /// Present.
        p, with_p: bool;
        /// Fault processing disable.
        fpd, with_fpd: bool;
        /// Address width: the depth of the second-stage table.
        aw, with_aw: AddressWidth;
        /// Second-stage execute enable.
        ssee, with_ssee: bool;
        /// PASID granular translation type.
        pgtt, with_pgtt: Translation;
        /// Second-stage access and dirty flags enable; reserved where
        /// [`Ecap::ssads`](super::regs::Ecap::ssads) is clear.
        ssade, with_ssade: bool;
    }
    Word1 = 1 {
        /// Domain id.
        did, with_did: u16;
        /// Page-walk snoop: walks of the tables snoop the CPU's caches; reserved where
        /// [`Ecap::smpwc`](super::regs::Ecap::smpwc) is clear.
        pwsnp, with_pwsnp: bool;
        /// Page snoop: accesses to pages snoop the CPU's caches; reserved where
        /// [`Ecap::sc`](super::regs::Ecap::sc) is clear.
        pgsnp, with_pgsnp: bool;
        /// Cache disable, of memory types.
        cd, with_cd: bool;
        /// Extended memory type enable.
        emte, with_emte: bool;
        /// Extended memory type.
        emt, with_emt: u8;
        /// Page-level write-through of the first-stage table.
        pwt, with_pwt: bool;
        /// Page-level cache disable of the first-stage table.
        pcd, with_pcd: bool;
        /// Page attribute table, of first-stage memory types.
        pat, with_pat: u32;
    }
    Word2 = 2 {
        /// Supervisor requests enable; reserved where [`Ecap::srs`](super::regs::Ecap::srs) is clear.
        sre, with_sre: bool;
        /// Execute requests enable; reserved where [`Ecap::ers`](super::regs::Ecap::ers) is clear.
        ere, with_ere: bool;
        /// First-stage paging mode.
        fspm, with_fspm: FirstStagePaging;
        /// Write protect enable: supervisor requests too heed read-only pages.
        wpe, with_wpe: bool;
        /// No-execute enable: `XD` of first-stage entries counts.
        nxe, with_nxe: bool;
        /// Supervisor mode execute prevention.
        smep, with_smep: bool;
        /// Extended accessed flag enable; reserved where [`Ecap::eafs`](super::regs::Ecap::eafs) is clear.
        eafe, with_eafe: bool;
    }
}

impl Default for Entry {
    fn default() -> Self {
        Self::new()
    }
}

impl Entry {
    /// Bits that must be zero while `P` is set, word by word, on a unit that has everything the fields'
    /// documentation names, apart from address bits above the host address width and domain-id bits above
    /// [`Cap::domain_id_bits`](super::regs::Cap::domain_id_bits).
    pub const RESERVED: [u64; ENTRY_WORDS] = [
        0x0c00,
        0x7f_0000,
        0x0f00,
        u64::MAX,
        u64::MAX,
        u64::MAX,
        u64::MAX,
        u64::MAX,
    ];

    /// An entry of zeros.
    pub const fn new() -> Self {
        Self {
            words: [0; ENTRY_WORDS],
        }
    }

    /// Physical address of the second-stage table's root.
    pub const fn ssptptr(self) -> u64 {
        Word0::from_bits(self.words[0]).ssptptr_frame() << 12
    }

    /// With the second-stage table's root at physical address `phys`, a multiple of 4 KiB (lower bits are dropped).
    #[must_use]
    pub const fn with_ssptptr(mut self, phys: u64) -> Self {
        self.words[0] = Word0::from_bits(self.words[0])
            .with_ssptptr_frame(phys >> 12)
            .into_bits();
        self
    }

    /// Physical address of the first-stage table's root.
    pub const fn fsptptr(self) -> u64 {
        Word2::from_bits(self.words[2]).fsptptr_frame() << 12
    }

    /// With the first-stage table's root at physical address `phys`, a multiple of 4 KiB (lower bits are dropped).
    #[must_use]
    pub const fn with_fsptptr(mut self, phys: u64) -> Self {
        self.words[2] = Word2::from_bits(self.words[2])
            .with_fsptptr_frame(phys >> 12)
            .into_bits();
        self
    }

    /// The entry as it lies in memory, word by word.
    pub const fn to_words(self) -> [u64; ENTRY_WORDS] {
        self.words
    }

    /// The entry whose words are `words`.
    pub const fn from_words(words: [u64; ENTRY_WORDS]) -> Self {
        Self { words }
    }
}
