//! The shape of a table: how much a page holds, how many levels there are, how many address bits they tell apart.

use crate::addr::{FRAME_BYTES, FRAME_SIZE_LOG2};

/// Levels of the deepest table a [`Format`](super::Format) may have.
pub const MAX_LEVELS: u32 = 6;

/// log2 of the bytes of an entry.
const ENTRY_SIZE_LOG2: u32 = 3;

/// How many index bits a root may have more than other tables: 16 of them side by side.
const MAX_CONCATENATED_LOG2: u32 = 4;

/// The smallest page of a table, and the bytes of its tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Granule {
    /// 4 KiB: 512 entries a table.
    FourKib,
    /// 16 KiB: 2048 entries.
    SixteenKib,
    /// 64 KiB: 8192 entries.
    SixtyFourKib,
}

impl Granule {
    /// log2 of its bytes.
    #[inline]
    pub const fn size_log2(self) -> u32 {
        match self {
            Self::FourKib => 12,
            Self::SixteenKib => 14,
            Self::SixtyFourKib => 16,
        }
    }

    /// Bits of an address that a table resolves.
    #[inline]
    pub const fn index_bits(self) -> u32 {
        self.size_log2() - ENTRY_SIZE_LOG2
    }
}

/// The shape of a table. Every table is as large as the smallest page, but for the root: it resolves
/// whatever the levels below leave of the input address, so it may use a part of its frame only, or be up to
/// 16 tables in a row.
///
/// ```
/// use dmamap::pagetable::{Geometry, Granule};
///
/// // RISC-V's Sv39x4: three levels of 9 bits, and a root of four tables.
/// let geometry = Geometry::new(Granule::FourKib, 3, 41);
/// assert_eq!([1, 2, 3].map(|level| geometry.size_log2(level)), [12, 21, 30]);
/// assert_eq!([1, 2, 3].map(|level| geometry.entries(level)), [512, 512, 2048]);
/// assert_eq!(geometry.table_bytes(3), 16 << 10);
/// assert_eq!(geometry.index(0x1ff_c020_3000, 3), 0x7ff);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    granule: Granule,
    levels: u32,
    input_bits: u32,
}

impl Geometry {
    /// Tables of `levels` levels that translate addresses of `input_bits`.
    ///
    /// Not every combination [exists](Self::exists); the other methods' answers for one that does not mean nothing.
    #[inline]
    pub const fn new(granule: Granule, levels: u32, input_bits: u32) -> Self {
        Self {
            granule,
            levels,
            input_bits,
        }
    }

    /// Whether there are 1 to [`MAX_LEVELS`] levels, the root has at least two entries, and it is at most
    /// sixteen tables large.
    pub const fn exists(self) -> bool {
        if self.levels < 1 || self.levels > MAX_LEVELS || self.input_bits > u64::BITS {
            return false;
        }
        let below = self.size_log2(self.levels);
        self.input_bits > below
            && self.input_bits - below <= self.granule.index_bits() + MAX_CONCATENATED_LOG2
    }

    /// The smallest page.
    #[inline]
    pub const fn granule(self) -> Granule {
        self.granule
    }

    /// Number of levels.
    #[inline]
    pub const fn levels(self) -> u32 {
        self.levels
    }

    /// Bits of the addresses translated.
    #[inline]
    pub const fn input_bits(self) -> u32 {
        self.input_bits
    }

    /// The last address translated: from 0 on, as many as the input bits can tell apart.
    #[inline]
    pub const fn aperture_last(self) -> u64 {
        u64::MAX >> (u64::BITS - self.input_bits)
    }

    /// log2 of the bytes an entry of `level` covers.
    #[inline]
    pub const fn size_log2(self, level: u32) -> u32 {
        self.granule.size_log2() + self.granule.index_bits() * (level - 1)
    }

    /// Bytes an entry of `level` covers.
    #[inline]
    pub const fn size(self, level: u32) -> u64 {
        1 << self.size_log2(level)
    }

    /// log2 of [`entries`](Self::entries).
    #[inline]
    pub const fn entries_log2(self, level: u32) -> u32 {
        if level == self.levels {
            self.input_bits - self.size_log2(level)
        } else {
            self.granule.index_bits()
        }
    }

    /// Entries of a table of `level` that some address leads to.
    #[inline]
    pub const fn entries(self, level: u32) -> usize {
        1 << self.entries_log2(level)
    }

    /// The entry for `bus` in its table of `level`.
    #[inline]
    pub const fn index(self, bus: u64, level: u32) -> usize {
        (bus >> self.size_log2(level)) as usize & (self.entries(level) - 1)
    }

    /// Bytes of a table of `level`, a power of two to which it is also aligned: its entries, in whole frames.
    #[inline]
    pub const fn table_bytes(self, level: u32) -> u64 {
        let bytes = (self.entries(level) as u64) << ENTRY_SIZE_LOG2;
        if bytes < FRAME_BYTES {
            FRAME_BYTES
        } else {
            bytes
        }
    }

    /// Frames of a table of `level`.
    #[inline]
    pub const fn table_frames(self, level: u32) -> usize {
        (self.table_bytes(level) >> FRAME_SIZE_LOG2) as usize
    }

    /// Frames of a table below the root: all of these are of one size.
    #[inline]
    pub(super) const fn frames_below_root(self) -> usize {
        1 << (self.granule.size_log2() - FRAME_SIZE_LOG2)
    }

    /// Entries of a table below the root.
    #[inline]
    pub(super) const fn entries_below_root(self) -> usize {
        1 << self.granule.index_bits()
    }

    /// As [`index`](Self::index), where the table is below the root.
    #[inline]
    pub(super) const fn index_below_root(self, bus: u64, level: u32) -> usize {
        (bus >> self.size_log2(level)) as usize & (self.entries_below_root() - 1)
    }

    /// What tells the table of `level`, below the root, that covers `bus` from its neighbours.
    #[inline]
    pub(super) const fn table_number(self, bus: u64, level: u32) -> u64 {
        bus >> self.size_log2(level + 1)
    }

    /// The first address that the table of `level`, below the root, that covers `bus` covers.
    #[inline]
    pub(super) const fn table_base(self, bus: u64, level: u32) -> u64 {
        let log2 = self.size_log2(level + 1);
        bus >> log2 << log2
    }
}
