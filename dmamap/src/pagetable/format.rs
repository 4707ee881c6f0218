//! What differs between the tables of different units.

use core::ops::{BitAnd, BitOr};

use super::{Entry, Geometry, Permission, Span};
use crate::addr::PhysAddr;

/// How one kind of unit writes page-table entries. A value holds what the unit at hand is capable of.
///
/// # Safety
/// The walker follows what `decode` says, so these laws must hold; its tests check them for each format:
/// - The answers of one value never change.
/// - What `leaf` and `table` encode, `decode` of the same level decodes; but a format that cannot say that a device
///   may only write lets it read too, and decodes so.
/// - The word 0, and any word whose lower 12 bits are 0 and that is a frame's address, decodes as
///   [`Entry::Empty`]: the list of unlinked tables runs through their first words while units may still
///   walk them.
/// - Which bits of a leaf say where memory is depends on its level and span alone, and what else a word says does not depend
///   on those. The words of leaves of [`Span::Entry`] for pages side by side differ by the same amount from page to page.
/// - `decode` of level 1 is never [`Entry::Table`], and of a level without leaves never [`Entry::Leaf`]; it is
///   a leaf of [`Span::Run`] only where `run_log2` is not 0.
pub unsafe trait Format: Copy + Send + Sync + 'static {
    /// The shape of the table; it [exists](Geometry::exists).
    ///
    /// The walker asks each time, so that it is compiled for what the format knows beforehand: worth inlining.
    fn geometry(&self) -> Geometry;

    /// The page sizes that leaves may have. The smallest page counts as among them.
    fn leaf_sizes(&self) -> LeafSizes;

    /// Whether the unit sees the CPU's caches when it walks.
    fn coherence(&self) -> WalkCoherence;

    /// The highest physical address that entries can hold; below 2<sup>61</sup>.
    fn last_phys(&self) -> PhysAddr;

    /// log2 of how many leaves of `level` make a contiguous run ([`Span::Run`]); 0 where there are none, or the
    /// unit is not to be told of them.
    #[inline]
    fn run_log2(&self, level: u32) -> u32 {
        let _ = level;
        0
    }

    /// The entry of `level` for a page at `phys`, which is aligned to its size and not above
    /// [`last_phys`](Self::last_phys). With [`Span::Run`] for one page of a run, wherever in it.
    fn leaf(&self, level: u32, phys: PhysAddr, permission: Permission, span: Span) -> u64;

    /// `leaf`, a leaf as [`leaf`](Self::leaf) makes it, for registers instead of memory, where entries tell the two apart.
    /// It decodes as the same.
    fn for_registers(&self, leaf: u64) -> u64 {
        leaf
    }

    /// Whether leaves tell privileged requests from others.
    fn privileges(&self) -> Privileges {
        Privileges::NotTold
    }

    /// `leaf`, a leaf as [`leaf`](Self::leaf) makes it, for privileged requests only, where
    /// [`privileges`](Self::privileges) are told apart. It decodes as the same.
    fn for_privileged(&self, leaf: u64) -> u64 {
        leaf
    }

    /// The entry of `level` that links the table at `phys`, one level down.
    fn table(&self, level: u32, phys: PhysAddr) -> u64;

    /// What a word in a table of `level` says.
    fn decode(&self, level: u32, word: u64) -> Entry;
}

/// A set of page sizes a unit understands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeafSizes(u64);

impl LeafSizes {
    /// 4 KiB.
    pub const FOUR_KIB: Self = Self(1 << 12);
    /// 16 KiB.
    pub const SIXTEEN_KIB: Self = Self(1 << 14);
    /// 64 KiB.
    pub const SIXTY_FOUR_KIB: Self = Self(1 << 16);
    /// 2 MiB.
    pub const TWO_MIB: Self = Self(1 << 21);
    /// 32 MiB.
    pub const THIRTY_TWO_MIB: Self = Self(1 << 25);
    /// 512 MiB.
    pub const HALF_GIB: Self = Self(1 << 29);
    /// 1 GiB.
    pub const ONE_GIB: Self = Self(1 << 30);

    /// Whether pages of `2^size_log2` bytes are among them.
    #[inline]
    pub const fn contains(self, size_log2: u32) -> bool {
        size_log2 < u64::BITS && self.0 >> size_log2 & 1 != 0
    }

    /// Those of both.
    pub const fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Those of either.
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitAnd for LeafSizes {
    type Output = Self;

    fn bitand(self, other: Self) -> Self {
        self.intersection(other)
    }
}

impl BitOr for LeafSizes {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        self.union(other)
    }
}

/// Whether leaves can be closed to requests that are not privileged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Privileges {
    /// They can: [`Privilege::PrivilegedOnly`](super::Privilege::PrivilegedOnly) is kept.
    Told,
    /// They cannot, or all requests count as alike: every leaf is for all of the device's requests.
    NotTold,
}

/// Whether a unit's walks see what lies in the CPU's caches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WalkCoherence {
    /// They snoop.
    Snooped,
    /// They read memory: each modified entry must be written back.
    NotSnooped,
}

/// Whether leaves make a device's accesses snoop the CPU's caches whatever the device asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SnoopControl {
    /// They do. VT-d: only where [`Ecap::sc`](hw::vtd::regs::Ecap::sc) is set.
    Force,
    /// The device decides.
    AsRequested,
}

/// Whether leaves tell the unit that they are part of a contiguous run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Runs {
    /// They do, where memory and bus addresses are aligned for it.
    Hinted,
    /// They do not.
    Plain,
}
