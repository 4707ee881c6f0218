//! What is left to do after an unmap: the invalidation, and freeing what it frees.

use super::frame_list::FrameList;
use super::words::Words;
use crate::addr::{BusAddr, BusRange};
use crate::platform::Platform;

/// Whether cached inner steps of a walk may be stale.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TableChange {
    /// Only leaves changed: the way to them is as it was.
    Kept,
    /// At least one table is no longer part of the walk. Nothing may be mapped until the invalidation is
    /// confirmed: a unit might look for the new mapping in the old table.
    Unlinked,
}

/// Collects what unmaps of one domain leave behind, to be invalidated at once.
///
/// Unlinked tables wait here, in a chain through themselves, as many as there may be. Until every unit that
/// walks the domain's table has confirmed the invalidation it might still walk them. So there are two ways out:
/// [`release`](Self::release) after that, [`abandon`](Self::abandon) if it never came. Dropping abandons.
#[must_use = "what it names must be invalidated, and then released"]
pub struct Gather<P: Platform> {
    first: u64,
    last: u64,
    tables: FrameList<P>,
}

impl<P: Platform> Gather<P> {
    /// Nothing to do. Tables that are unlinked into it are of `platform`'s frames, which is what they go back to.
    #[inline]
    pub fn new(platform: P) -> Self {
        Self {
            first: u64::MAX,
            last: 0,
            tables: FrameList::new(platform),
        }
    }

    /// Leaves of `range` changed, and no table.
    pub(crate) fn of_leaves(platform: P, range: BusRange) -> Self {
        let mut gather = Self::new(platform);
        gather.add_leaves(range.start().as_u64(), range.len_bytes());
        gather
    }

    /// The addresses to be invalidated: from the first that changed to the last. `None` if none did.
    pub fn range(&self) -> Option<BusRange> {
        let len = self.last.checked_sub(self.first)?.saturating_add(1);
        BusRange::new(BusAddr::new(self.first), len).ok()
    }

    /// Whether the invalidation must include cached inner steps of walks.
    pub fn tables(&self) -> TableChange {
        if self.tables.frames() == 0 {
            TableChange::Kept
        } else {
            TableChange::Unlinked
        }
    }

    /// Frames that wait for the invalidation.
    pub fn frames(&self) -> usize {
        self.tables.frames()
    }

    /// Gives the unlinked tables back.
    ///
    /// # Safety
    /// Every unit that walks the table has confirmed an invalidation of [`range`](Self::range), with
    /// cached inner steps if [`tables`](Self::tables) says so, that began after the last unmap into this, and
    /// requests that used the old translation have drained. The table that was unmapped from is of the frames of the platform
    /// that this was [made](Self::new) for.
    #[inline]
    pub unsafe fn release(self) {
        if self.tables.frames() == 0 {
            // Nearly always: nothing is left to be dropped.
            core::mem::forget(self);
        } else {
            // SAFETY: the caller's promise.
            unsafe { self.free_tables() };
        }
    }

    /// # Safety
    /// As [`release`](Self::release).
    #[cold]
    unsafe fn free_tables(mut self) {
        // SAFETY: the walker unlinked the tables, and the caller says that no unit walks them, and whose frames they are.
        unsafe { self.tables.free() };
    }

    /// Keeps the unlinked tables out of use for ever, as a unit may still walk them; returns how many
    /// frames that costs.
    pub fn abandon(mut self) -> usize {
        self.tables.leak()
    }

    /// Takes over what is left to do of `other`.
    pub(crate) fn absorb(&mut self, mut other: Self) {
        self.first = self.first.min(other.first);
        self.last = self.last.max(other.last);
        self.tables.absorb(&mut other.tables);
    }

    /// Leaves of `len_bytes` from `bus` on were cleared.
    pub(crate) fn add_leaves(&mut self, bus: u64, len_bytes: u64) {
        self.widen(bus, len_bytes);
    }

    /// Takes an unlinked table that covered `len_bytes` from `bus`. Its words are zero.
    pub(super) fn add_table(&mut self, table: Words<P>, bus: u64, len_bytes: u64) {
        self.widen(bus, len_bytes);
        self.tables.push(table);
    }

    fn widen(&mut self, bus: u64, len_bytes: u64) {
        self.first = self.first.min(bus);
        self.last = self.last.max(bus + (len_bytes - 1));
    }
}

impl<P: Platform> Drop for Gather<P> {
    #[inline]
    fn drop(&mut self) {
        if self.tables.frames() > 0 {
            lose(&mut self.tables);
        }
    }
}

#[cold]
fn lose<P: Platform>(tables: &mut FrameList<P>) {
    let frames = tables.leak();
    log::error!(
        "an unmap was not followed by a confirmed invalidation: {frames} table frames are lost"
    );
}
