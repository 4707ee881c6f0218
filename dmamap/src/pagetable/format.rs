//! What differs between the tables of different units.

use core::ops::{BitAnd, BitOr};

use super::{Entry, Permission};
use crate::addr::PhysAddr;

/// How one kind of unit writes page-table entries. A value holds what the unit at hand is capable of.
///
/// # Safety
/// The walker follows what `decode` says, so these laws must hold; its tests check them for each format:
/// - The answers of one value never change.
/// - What `leaf` and `table` encode, `decode` of the same level decodes.
/// - The word 0, and any word whose lower 12 bits are 0 and that is a frame's address, decodes as
///   [`Entry::Empty`]: the list of unlinked tables runs through their first words while units may still
///   walk them.
/// - `decode` of level 1 is never [`Entry::Table`], and of a level without leaves never [`Entry::Leaf`].
pub unsafe trait Format: Copy + Send + Sync + 'static {
    /// Number of levels, 1 to [`MAX_LEVELS`](super::MAX_LEVELS).
    fn levels(&self) -> u32;

    /// The page sizes that leaves may have.
    fn leaf_sizes(&self) -> LeafSizes;

    /// Whether the unit sees the CPU's caches when it walks.
    fn coherence(&self) -> WalkCoherence;

    /// The highest physical address that entries can hold.
    fn last_phys(&self) -> PhysAddr;

    /// The entry of `level` for a page at `phys`, which is aligned to its size and not above
    /// [`last_phys`](Self::last_phys).
    fn leaf(&self, level: u32, phys: PhysAddr, permission: Permission) -> u64;

    /// The entry of `level` that links the table at `phys`, one level down.
    fn table(&self, level: u32, phys: PhysAddr) -> u64;

    /// What a word in a table of `level` says.
    fn decode(&self, level: u32, word: u64) -> Entry;
}

/// A set of page sizes a unit understands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeafSizes(u8);

impl LeafSizes {
    /// 4 KiB: every unit.
    pub const FOUR_KIB: Self = Self(1 << 1);
    /// 2 MiB.
    pub const TWO_MIB: Self = Self(1 << 2);
    /// 1 GiB.
    pub const ONE_GIB: Self = Self(1 << 3);

    /// Whether leaves may stand in tables of `level`.
    pub const fn at_level(self, level: u32) -> bool {
        level < u8::BITS && self.0 >> level & 1 != 0
    }
}

impl BitAnd for LeafSizes {
    type Output = Self;

    fn bitand(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

impl BitOr for LeafSizes {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// Whether a unit's walks see what lies in the CPU's caches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WalkCoherence {
    /// They snoop.
    Snooped,
    /// They read memory: each modified entry must be written back.
    NotSnooped,
}
