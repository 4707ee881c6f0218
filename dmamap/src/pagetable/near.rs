//! Tables of leaves that requests were served from lately: one within such a table goes without a walk.
//!
//! For each is kept where it is, where its entries are counted, and what its leaves say. That is right as long as the table is
//! linked where it was: whoever unlinks a table forgets all of these. A request is served from here only if nothing but leaves
//! that are no part of a run is to be written to entries that are empty, or to be cleared. What else it may be, a wrong one too, is left
//! to the [walk](super::one_table), which does the same: nobody can tell from the table which of the two served a request.

use core::sync::atomic::AtomicU64;

use super::held::{publish, withdraw};
use super::page_words::PageWords;
use super::shadow::Tally;
use super::words::{Words, are_empty};
use super::{Format, Gather, Grant, KEPT_TABLES, PageTable};
use crate::addr::{BusAddr, BusRange, PhysRange};
use crate::platform::Platform;

/// How many tables are kept in mind; which of them depends on addresses. As many as stay linked when they are empty.
const NEAR: usize = KEPT_TABLES;

/// Of these levels: tables further up have a page of 1 GiB and more.
const LEVELS: usize = 2;

/// A table below the root whose entries are leaves.
#[derive(Clone, Copy)]
struct Table<P> {
    /// The first address that it covers.
    base: u64,
    level: u32,
    table: Words<P>,
    /// The shadow of the table that links it, and the word there that is about it.
    shadow: Words<P>,
    index: usize,
}

impl<P: Platform> Table<P> {
    /// Its entries for `len_bytes` of whole pages from `bus` on, one at least, if it has all of them.
    #[inline]
    fn range(&self, bus: BusAddr, len_bytes: u64, words: &PageWords) -> Option<&[AtomicU64]> {
        let (offset, page_log2) = (bus.as_u64().wrapping_sub(self.base), words.page_log2());
        if (offset | len_bytes) & ((1 << page_log2) - 1) != 0 {
            return None;
        }
        let (first, count) = (offset >> page_log2, len_bytes >> page_log2);
        let rest = self.table.words().get(usize::try_from(first).ok()?..)?;
        let entries = rest.get(..usize::try_from(count).ok()?)?;
        (!entries.is_empty()).then_some(entries)
    }

    /// Counts anew, as `change` says, how many entries there are; returns it.
    #[inline]
    fn count(&self, change: impl FnOnce(usize) -> usize) -> usize {
        let tally = Tally::from_word(self.shadow.load(self.index));
        let present = change(tally.present());
        self.shadow
            .store(self.index, tally.with_present(present).word());
        present
    }
}

/// The tables, and what is written to such.
pub(super) struct NearTables<P> {
    tables: [Option<Table<P>>; NEAR],
    words: [PageWords; LEVELS],
    /// log2 of the bytes that a table of level 1 covers.
    covers_log2: u32,
}

impl<P: Platform> NearTables<P> {
    /// None yet.
    pub(super) fn new<F: Format>(format: &F) -> Self {
        // Where there is no second level, or it has no leaves, no table of it is kept.
        let second = LEVELS as u32;
        let second = if has_leaves(format, second) {
            second
        } else {
            1
        };
        Self {
            tables: [None; NEAR],
            words: [1, second].map(|level| PageWords::new(format, level)),
            covers_log2: format.geometry().size_log2(2),
        }
    }

    /// Forgets them: one is about to be unlinked.
    pub(super) fn clear(&mut self) {
        self.tables = [None; NEAR];
    }

    /// Two requests side by side are for one table, or for tables of which both are kept.
    #[inline]
    fn slot(&self, bus: BusAddr) -> usize {
        (bus.as_u64() >> self.covers_log2) as usize % NEAR
    }

    #[inline]
    fn find(&self, bus: BusAddr, len_bytes: u64) -> Option<(&Table<P>, &PageWords, &[AtomicU64])> {
        let table = self.tables[self.slot(bus)].as_ref()?;
        let words = self.words.get(table.level as usize - 1)?;
        Some((table, words, table.range(bus, len_bytes, words)?))
    }
}

/// Whether entries of a level below the root can be leaves.
pub(super) fn has_leaves<F: Format>(format: &F, level: u32) -> bool {
    let geometry = format.geometry();
    level < geometry.levels()
        && (level == 1 || format.leaf_sizes().contains(geometry.size_log2(level)))
}

impl<P: Platform, F: Format> PageTable<P, F> {
    /// Maps one piece of memory from a table that is near; whether it was.
    #[inline]
    pub(super) fn map_near(&self, bus: BusAddr, phys: PhysRange, grant: Grant) -> bool {
        match self.near.find(bus, phys.len_bytes()) {
            Some((table, words, entries))
                if words.are_plain(entries.len()) && words.accepts(phys) && are_empty(entries) =>
            {
                table.count(|present| present + entries.len());
                words.write_pages(entries, phys, grant);
                publish(self.platform, self.format.coherence(), entries);
                true
            }
            _ => false,
        }
    }

    /// Unmaps `range` from a table that is near; whether it was.
    #[inline]
    pub(super) fn unmap_near(&mut self, range: BusRange, gather: &mut Gather<P>) -> bool {
        let (bus, len_bytes) = (range.start(), range.len_bytes());
        match self.near.find(bus, len_bytes) {
            Some((table, words, entries)) if words.are_pages(entries) => {
                withdraw(self.platform, self.format.coherence(), entries);
                gather.add_leaves(bus.as_u64(), len_bytes);
                if table.count(|present| present - entries.len()) == 0 {
                    self.emptied(bus.as_u64(), table.level, gather);
                }
                true
            }
            _ => false,
        }
    }

    /// Keeps in mind the table of `level` on the path that the last walk went.
    pub(super) fn keep_near(&mut self, bus: BusAddr, level: u32) {
        if level as usize > LEVELS || !has_leaves(&self.format, level) {
            return;
        }
        let Some((parent, index)) = self.path.parent(level) else {
            return;
        };
        let Some(shadow) = parent.shadow else {
            return;
        };
        self.near.tables[self.near.slot(bus)] = Some(Table {
            base: self.format.geometry().table_base(bus.as_u64(), level),
            level,
            table: self.path.node(level).table,
            shadow,
            index,
        });
    }
}
