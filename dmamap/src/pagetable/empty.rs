//! Tables that became empty: kept linked for a while, then unlinked.

use super::shadow::Tally;
use super::{Format, Gather, PageTable};
use crate::platform::Platform;

/// How many tables that became empty stay linked: the most recent ones, as a driver that maps and unmaps in a
/// loop soon needs them again. Tables of the smallest pages cover 64 MiB together, of 4 KiB each, and take 128 KiB.
pub const KEPT_TABLES: usize = 32;

/// A table that was empty when it was noted.
#[derive(Clone, Copy, PartialEq, Eq)]
struct EmptyTable {
    /// First address it covers.
    base: u64,
    level: u32,
}

/// Every linked table that is empty, most recent first; some may have been filled since.
pub(super) struct EmptyTables {
    recent: [Option<EmptyTable>; KEPT_TABLES],
}

impl EmptyTables {
    pub(super) const fn new() -> Self {
        Self {
            recent: [None; KEPT_TABLES],
        }
    }

    /// Notes a table; returns one that is no longer noted for it.
    fn push(&mut self, table: EmptyTable) -> Option<EmptyTable> {
        let known = self.recent.iter().position(|noted| *noted == Some(table));
        let place = known.unwrap_or(KEPT_TABLES - 1);
        self.recent[..=place].rotate_right(1);
        let replaced = self.recent[0].replace(table);
        if known.is_some() { None } else { replaced }
    }

    fn pop(&mut self) -> Option<EmptyTable> {
        self.recent.iter_mut().find_map(Option::take)
    }
}

impl<P: Platform, F: Format> PageTable<P, F> {
    /// Unlinks every empty table; afterwards, and after `gather` was synced and released, an empty page table
    /// holds as many frames as it was born with.
    pub fn reclaim(&mut self, gather: &mut Gather<P>) {
        while let Some(table) = self.empty.pop() {
            self.unlink(table, gather);
        }
    }

    /// The table of `level` that covers `bus` has become empty.
    pub(super) fn emptied(&mut self, bus: u64, level: u32, gather: &mut Gather<P>) {
        let table = EmptyTable {
            base: self.format.geometry().table_base(bus, level),
            level,
        };
        if let Some(oldest) = self.empty.push(table) {
            self.unlink(oldest, gather);
        }
    }

    /// Unlinks a table if it is still there and empty, and those above that it leaves empty.
    fn unlink(&mut self, empty: EmptyTable, gather: &mut Gather<P>) {
        let geometry = self.format.geometry();
        let mut path = self.path;
        path.reset();
        path.walk(empty.base, empty.level);
        let mut level = empty.level;
        if path.deepest() != level || path.present(level) != Some(0) {
            return;
        }
        // It may be on the way to where the last request ended.
        self.path.reset();
        self.near.clear();
        while path.present(level) == Some(0) {
            let (child, parent) = (path.node(level), path.node(level + 1));
            let index = geometry.index(empty.base, level + 1);
            parent.table.store(index, 0);
            self.publish(parent.table, index..index + 1);
            parent.set_tally(index, Tally::new(None));
            gather.add_table(
                child.table,
                geometry.table_base(empty.base, level),
                geometry.size(level + 1),
            );
            self.frames -= child.table.frames();
            if let Some(shadow) = child.shadow {
                self.frames -= shadow.frames();
                // SAFETY: no unit knows of shadows, and the table it belonged to is out of the walker's sight.
                unsafe { shadow.free() };
            }
            level += 1;
            path.remove_present(level, 1);
        }
    }
}
