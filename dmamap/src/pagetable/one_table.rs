//! The common case: all leaves of a request stand side by side in one table.
//!
//! Such a request needs at most that table, and no second walk: it is right if the entries are what they must be, and then it is written.
//! What is not so simple, wrong requests among it, is left to [`map`](super::map) and [`unmap`](super::unmap), which do the same
//! for any request: nobody can tell from the table which of the two served one.

use core::ops::Range;

use super::frame_list::FrameList;
use super::map::{EMPTY, SAME_AGAIN, frames_of_table, table_request};
use super::page_words::address_bits;
use super::path::Path;
use super::words::{Words, store_steps};
use super::{Entry, Format, Gather, Grant, MapError, PageTable, PhysList, Span};
use crate::addr::{BusAddr, BusRange, PhysAddr, PhysRange};
use crate::platform::Platform;

/// Entries side by side in a table of `level`.
#[derive(Clone, Copy)]
struct Place {
    level: u32,
    first: usize,
    /// How many there are from the first on.
    room: u64,
}

/// What a request is for, if that is whole leaves of one size.
struct Memory {
    leaves: u64,
    /// The first piece, and whether it is all.
    first: PhysRange,
    is_one: bool,
    last: PhysAddr,
}

impl<P: Platform, F: Format> PageTable<P, F> {
    /// Maps `memory` at `bus` if that is so simple; whether it was.
    ///
    /// # Errors
    /// [`MapError::OutOfFrames`]; nothing has changed then.
    pub(super) fn map_in_one_table<L: PhysList + ?Sized>(
        &mut self,
        bus: BusAddr,
        memory: &mut L,
        grant: Grant,
    ) -> Result<bool, MapError> {
        if !self.reaches(bus, 1) {
            return Ok(false);
        }
        let stop = self.path.walk(bus.as_u64(), 1);
        if stop.word != EMPTY {
            return Ok(false);
        }
        let Some((place, all)) = self.choose_leaves(bus, stop.level, memory) else {
            return Ok(false);
        };
        let Place { level, first, .. } = place;
        let count = all.leaves as usize;
        // Of fewer leaves than a run none has a hint.
        let run_log2 = self.format.run_log2(level);
        let plain = run_log2 == 0 || count < 1 << run_log2;
        if !plain || all.last > self.format.last_phys() {
            return Ok(false);
        }
        if level < stop.level {
            let mut path = self.path;
            self.make_table(&mut path, bus, level)?;
            self.path = path;
        }
        let table = self.path.node(level).table;
        // The walk met the first, or else none is there yet.
        if !table.are_empty(first + 1..first + count) {
            return Ok(false);
        }
        // Counted first: a list that is not true to itself ends below, and what it wrote by then keeps its table.
        self.path.add_present(level, count);
        if all.is_one {
            self.write_leaves(table, (level, first), count, all.first.start(), grant);
        } else {
            self.write_pieces(table, (level, first..first + count), memory, grant);
        }
        self.publish(table, first..first + count);
        self.keep_near(bus, level);
        Ok(true)
    }

    /// Leaves for `memory` where a walk ended at an empty entry in a table of level `stop`: as large as its entries, or as small
    /// as there are where they are less than the table that is missing.
    fn choose_leaves<L: PhysList + ?Sized>(
        &self,
        bus: BusAddr,
        stop: u32,
        memory: &mut L,
    ) -> Option<(Place, Memory)> {
        let mut at = |level| {
            let place = self.place(bus, level)?;
            let all = self.survey_leaves(memory, place)?;
            Some((place, all))
        };
        at(stop).or_else(|| {
            let entries = self.format.geometry().entries(1) as u64;
            let small = if stop > 1 { at(1) } else { None };
            small.filter(|(_, all)| all.leaves < entries)
        })
    }

    /// Links the tables that are missing on the way to `bus`, down to `level`.
    pub(super) fn make_table(
        &mut self,
        path: &mut Path<P, F>,
        bus: BusAddr,
        level: u32,
    ) -> Result<(), MapError> {
        let missing = (level..path.deepest()).map(frames_of_table).sum();
        // All of them are below the root, and so of one size.
        let request = table_request(&self.format, 1);
        let mut stock = FrameList::allocate(self.platform, missing, request)?;
        while path.deepest() > level {
            self.frames += self.link(path, bus.as_u64(), &mut stock);
        }
        Ok(())
    }

    fn write_pieces<L: PhysList + ?Sized>(
        &self,
        table: Words<P>,
        (level, entries): (u32, Range<usize>),
        memory: &mut L,
        grant: Grant,
    ) {
        let size_log2 = self.format.geometry().size_log2(level);
        // Each word is as far from that of memory at 0 as its memory is.
        let leaf = |phys| self.leaf(level, PhysAddr::new(phys), Span::Entry, grant);
        let zero = leaf(0);
        let step = leaf(1 << size_log2).wrapping_sub(zero);
        let (size, last_phys) = (1 << size_log2, self.format.last_phys());
        let entries = &table.words()[entries];
        let mut at = 0;
        memory.restart();
        while let Some(piece) = memory.next_range() {
            let (start, len_bytes) = (piece.start().as_u64(), piece.len_bytes());
            let count = (len_bytes >> size_log2) as usize;
            let is_whole = (start | len_bytes) & (size - 1) == 0 && piece.last() <= last_phys;
            let these = entries.get(at..).and_then(|rest| rest.get(..count));
            let (true, Some(these)) = (is_whole, these) else {
                panic!("{SAME_AGAIN}");
            };
            let word = zero.wrapping_add(step.wrapping_mul(start >> size_log2));
            store_steps(these, word, step);
            at += count;
        }
        assert_eq!(at, entries.len(), "{SAME_AGAIN}");
    }

    /// Looks at `memory`, if there is room for it in leaves of the place's level.
    fn survey_leaves<L: PhysList + ?Sized>(&self, memory: &mut L, place: Place) -> Option<Memory> {
        let size_log2 = self.format.geometry().size_log2(place.level);
        memory.restart();
        let first = memory.next_range()?;
        let (mut len_bytes, mut last) = (first.len_bytes(), first.last());
        let mut parts = first.start().as_u64() | len_bytes;
        let mut is_one = true;
        let room_bytes = place.room << size_log2;
        while len_bytes <= room_bytes
            && let Some(piece) = memory.next_range()
        {
            is_one = false;
            parts |= piece.start().as_u64() | piece.len_bytes();
            last = last.max(piece.last());
            len_bytes = len_bytes.checked_add(piece.len_bytes())?;
        }
        let leaves = len_bytes >> size_log2;
        let whole = parts.trailing_zeros() >= size_log2;
        (whole && (1..=place.room).contains(&leaves)).then_some(Memory {
            leaves,
            first,
            is_one,
            last,
        })
    }

    /// Unmaps `range` if that is so simple; whether it was.
    pub(super) fn unmap_in_one_table(&mut self, range: BusRange, gather: &mut Gather<P>) -> bool {
        let (bus, len_bytes) = (range.start(), range.len_bytes());
        if !self.reaches(bus, 1) {
            return false;
        }
        let stop = self.path.walk(bus.as_u64(), 1);
        let (
            Some(place),
            Entry::Leaf {
                span: span @ Span::Entry,
                ..
            },
        ) = (self.place(bus, stop.level), stop.entry)
        else {
            return false;
        };
        let Place { level, first, room } = place;
        let size_log2 = self.format.geometry().size_log2(level);
        let leaves = len_bytes >> size_log2;
        if len_bytes.trailing_zeros() < size_log2 || !(1..=room).contains(&leaves) {
            return false;
        }
        let (table, count) = (self.path.node(level).table, leaves as usize);
        if count > 1 {
            let mask = !address_bits(&self.format, level, span);
            if !table.are_alike(first + 1..first + count, mask, stop.word) {
                return false;
            }
        }
        table.clear(first..first + count);
        self.publish(table, first..first + count);
        gather.add_leaves(bus.as_u64(), len_bytes);
        self.keep_near(bus, level);
        if self.path.remove_present(level, count) == Some(0) {
            self.emptied(bus.as_u64(), level, gather);
        }
        true
    }

    /// The entries from that of `bus` on in its table of `level`, if leaves stand there and `bus` is where one begins.
    fn place(&self, bus: BusAddr, level: u32) -> Option<Place> {
        let geometry = self.format.geometry();
        let size_log2 = geometry.size_log2(level);
        let leaves = level == 1 || self.format.leaf_sizes().contains(size_log2);
        // The addresses of a root may end before its entries do.
        let below_root = level < geometry.levels();
        let first = geometry.index_below_root(bus.as_u64(), level);
        (leaves && below_root && bus.is_aligned(size_log2)).then(|| Place {
            level,
            first,
            room: (geometry.entries_below_root() - first) as u64,
        })
    }
}
