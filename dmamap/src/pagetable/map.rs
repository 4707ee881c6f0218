//! Mapping: check everything, allocate everything, then write.

use super::frame_list::FrameList;
use super::path::{Node, Path};
use super::phys_list::Runs;
use super::shadow::Tally;
use super::words::Words;
use super::{
    Entry, Format, Grant, MAX_LEVELS, MapError, MemoryType, PageTable, Permission, PhysList,
    Privilege, Replay, Span, WalkCoherence,
};
use crate::addr::{BusAddr, PhysAddr, PhysRange};
use crate::platform::{FrameRequest, Platform};

/// What a request needs.
struct Survey {
    /// Tables and shadows that are missing.
    missing: usize,
    /// All of it, where that is leaves side by side in one table.
    only: Option<Batch>,
}

/// What a list is held to when it is gone through again.
pub(super) const SAME_AGAIN: &str = "a list of memory yields the same ranges again";

/// How the walker leaves entries that nothing is mapped by.
pub(super) const EMPTY: u64 = 0;

/// Leaves side by side in one table.
struct Batch {
    bus: u64,
    phys: u64,
    /// Level of the leaves.
    level: u32,
    span: Span,
    /// Level of the table where the walk ended: higher where tables are missing.
    stop_level: u32,
    count: usize,
}

impl<P: Platform, F: Format> PageTable<P, F> {
    /// Lets the device reach `phys` at `bus`, with the largest leaves that size, alignment and unit allow.
    ///
    /// # Errors
    /// As for [`map_list`](Self::map_list).
    #[inline]
    pub fn map(
        &mut self,
        bus: BusAddr,
        phys: PhysRange,
        permission: Permission,
    ) -> Result<(), MapError> {
        if self.map_near(bus, phys, permission.into()) {
            return Ok(());
        }
        let mut memory = Replay::new(core::iter::once(phys));
        self.map_walked(bus, &mut memory, permission.into())
    }

    /// Lets the device reach the ranges of `memory`, wherever they lie, side by side from `bus` on. Neighbours that
    /// are contiguous are mapped as one.
    ///
    /// # Errors
    /// - [`MapError::Misaligned`], [`MapError::PhysTooWide`], [`MapError::OutsideAperture`] for what can
    ///   never be mapped.
    /// - [`MapError::AlreadyMapped`] when an address is in use.
    /// - [`MapError::OutOfFrames`] when the tables that are missing were not to be had.
    ///
    /// Nothing has changed then, and nothing was visible to a unit.
    ///
    /// # Panics
    /// If `memory` has other ranges when it is gone through again.
    pub fn map_list<L: PhysList + ?Sized>(
        &mut self,
        bus: BusAddr,
        memory: &mut L,
        permission: Permission,
    ) -> Result<(), MapError> {
        self.map_list_of(bus, memory, permission.into())
    }

    /// As [`map_list`](Self::map_list), for memory or for registers, and for all requests or the privileged ones.
    ///
    /// # Errors
    /// As [`map_list`](Self::map_list).
    ///
    /// # Panics
    /// As [`map_list`](Self::map_list).
    pub fn map_list_of<L: PhysList + ?Sized>(
        &mut self,
        bus: BusAddr,
        memory: &mut L,
        grant: Grant,
    ) -> Result<(), MapError> {
        memory.restart();
        if let Some(first) = memory.next_range()
            && memory.next_range().is_none()
            && self.map_near(bus, first, grant)
        {
            return Ok(());
        }
        self.map_walked(bus, memory, grant)
    }

    /// The same with a walk.
    #[inline(never)]
    fn map_walked<L: PhysList + ?Sized>(
        &mut self,
        bus: BusAddr,
        memory: &mut L,
        grant: Grant,
    ) -> Result<(), MapError> {
        if self.map_in_one_table(bus, memory, grant)? {
            return Ok(());
        }
        let mut path = self.path;
        let Survey { missing, only } = self.survey(&mut path, bus, memory)?;
        // All of them are below the root, and so of one size.
        let request = table_request(&self.format, 1);
        let mut stock = FrameList::allocate(self.platform, missing, request)?;
        self.frames += match only {
            Some(batch) => self.write(&mut path, &batch, grant, &mut stock),
            None => self.write_all(&mut path, bus, memory, grant, &mut stock),
        };
        self.path = path;
        // SAFETY: frames left over were never linked. (There are none, if the list is true to itself.)
        unsafe { stock.free() };
        Ok(())
    }

    fn survey<L: PhysList + ?Sized>(
        &self,
        path: &mut Path<P, F>,
        bus: BusAddr,
        memory: &mut L,
    ) -> Result<Survey, MapError> {
        let (mut missing, mut batches) = (0, 0);
        let mut only = None;
        // The last table counted of each level: addresses only grow, so it is not met again after another.
        let mut counted = [None; MAX_LEVELS as usize + 1];
        let geometry = self.format.geometry();
        self.each_batch(path, bus, memory, |_, batch| {
            for table_level in batch.level..batch.stop_level {
                let table = Some(geometry.table_number(batch.bus, table_level));
                if counted[table_level as usize] != table {
                    counted[table_level as usize] = table;
                    missing += frames_of_table(table_level);
                }
            }
            batches += 1;
            only = (batches == 1).then_some(batch);
        })?;
        Ok(Survey { missing, only })
    }

    /// Writes what was surveyed, with the frames found missing; returns how many frames that took.
    fn write_all<L: PhysList + ?Sized>(
        &self,
        path: &mut Path<P, F>,
        bus: BusAddr,
        memory: &mut L,
        grant: Grant,
        stock: &mut FrameList<P>,
    ) -> usize {
        let mut linked = 0;
        let written = self.each_batch(path, bus, memory, |path, batch| {
            linked += self.write(path, &batch, grant, stock);
        });
        written.expect(SAME_AGAIN);
        linked
    }

    /// Writes leaves, and the tables that are missing on the way to them; returns how many frames that took.
    fn write(
        &self,
        path: &mut Path<P, F>,
        batch: &Batch,
        grant: Grant,
        stock: &mut FrameList<P>,
    ) -> usize {
        let mut linked = 0;
        while path.deepest() > batch.level {
            linked += self.link(path, batch.bus, stock);
        }
        let geometry = self.format.geometry();
        let table = path.node(batch.level).table;
        let first = geometry.index(batch.bus, batch.level);
        let size_log2 = geometry.size_log2(batch.level);
        let leaf = |n: usize| {
            let phys = PhysAddr::new(batch.phys + ((n as u64) << size_log2));
            self.leaf(batch.level, phys, batch.span, grant)
        };
        match batch.span {
            Span::Entry => {
                let phys = PhysAddr::new(batch.phys);
                self.write_leaves(table, (batch.level, first), batch.count, phys, grant);
            }
            Span::Run => table.store_all(first, (0..batch.count).map(leaf)),
        }
        self.publish(table, first..first + batch.count);
        path.add_present(batch.level, batch.count);
        linked
    }

    /// Writes `count` leaves from the entry `first` of a table of `level` on, for memory from `phys` on, that are no run.
    #[inline]
    pub(super) fn write_leaves(
        &self,
        table: Words<P>,
        (level, first): (u32, usize),
        count: usize,
        phys: PhysAddr,
        grant: Grant,
    ) {
        let word = self.leaf(level, phys, Span::Entry, grant);
        if count == 1 {
            return table.store(first, word);
        }
        // From page to page the same is added to the word.
        let second = phys.as_u64() + self.format.geometry().size(level);
        let step = self
            .leaf(level, PhysAddr::new(second), Span::Entry, grant)
            .wrapping_sub(word);
        table.store_steps(first..first + count, word, step);
    }

    #[inline]
    pub(super) fn leaf(&self, level: u32, phys: PhysAddr, span: Span, grant: Grant) -> u64 {
        leaf(&self.format, level, phys, span, grant)
    }

    /// Links a new table under the deepest of `path`, on the way to `bus`; returns the frames it took.
    pub(super) fn link(&self, path: &mut Path<P, F>, bus: u64, stock: &mut FrameList<P>) -> usize {
        let level = path.deepest();
        let (parent, index) = (path.node(level), self.format.geometry().index(bus, level));
        let mut take = || stock.pop().expect(SAME_AGAIN);
        let table = take();
        let shadow = has_shadow(level - 1).then(take);
        if self.format.coherence() == WalkCoherence::NotSnooped {
            table.clean(0..table.len());
        }
        // A unit that sees the link sees the zeros behind it.
        self.platform.dma_wmb();
        parent.set_tally(index, Tally::new(shadow.map(|shadow| shadow.phys())));
        parent
            .table
            .store(index, self.format.table(level, table.phys()));
        self.publish(parent.table, index..index + 1);
        path.add_present(level, 1);
        path.push(Node { table, shadow });
        table.frames() + shadow.map_or(0, |shadow| shadow.frames())
    }

    /// Goes through `memory` in batches of leaves; an address that is taken ends it.
    fn each_batch<L: PhysList + ?Sized>(
        &self,
        path: &mut Path<P, F>,
        bus: BusAddr,
        memory: &mut L,
        mut visit: impl FnMut(&mut Path<P, F>, Batch),
    ) -> Result<(), MapError> {
        let geometry = self.format.geometry();
        let mut mapped_bytes = 0u64;
        for run in Runs::new(memory) {
            self.accept(bus, mapped_bytes, run)?;
            let mut done = 0;
            while done < run.len_bytes() {
                let at = bus.as_u64() + mapped_bytes + done;
                let phys = run.start().as_u64() + done;
                let batch = self.next_batch(path, at, phys, run.len_bytes() - done)?;
                done += (batch.count as u64) << geometry.size_log2(batch.level);
                visit(path, batch);
            }
            mapped_bytes += run.len_bytes();
        }
        Ok(())
    }

    /// Refuses memory that can be mapped nowhere, or not `offset` bytes after `bus`.
    fn accept(&self, bus: BusAddr, offset: u64, run: PhysRange) -> Result<(), MapError> {
        let last = self.aperture_last();
        let outside = MapError::OutsideAperture {
            bus,
            len_bytes: offset.saturating_add(run.len_bytes()),
            last,
        };
        let at = bus.checked_add(offset).ok_or(outside)?;
        let parts = at.as_u64() | run.start().as_u64() | run.len_bytes();
        if parts.trailing_zeros() < self.granule_log2() {
            return Err(MapError::Misaligned {
                bus: at,
                phys: run,
                granule_bytes: 1 << self.granule_log2(),
            });
        }
        if run.last() > self.format.last_phys() {
            return Err(MapError::PhysTooWide {
                phys: run,
                last: self.format.last_phys(),
            });
        }
        if self.reaches(at, run.len_bytes()) {
            Ok(())
        } else {
            Err(outside)
        }
    }

    fn next_batch(
        &self,
        path: &mut Path<P, F>,
        bus: u64,
        phys: u64,
        len_bytes: u64,
    ) -> Result<Batch, MapError> {
        let stop = path.walk(bus, 1);
        let at = BusAddr::new(bus);
        match stop.entry {
            Entry::Empty => {}
            Entry::Leaf {
                phys,
                permission,
                span,
            } => {
                let offset = bus & ((1 << self.span_log2(stop.level, span)) - 1);
                return Err(MapError::AlreadyMapped {
                    bus: at,
                    phys: PhysAddr::new(phys.as_u64() + offset),
                    permission,
                });
            }
            Entry::Table(_) | Entry::Reserved => {
                return Err(MapError::Corrupt {
                    bus: at,
                    level: stop.level,
                    word: stop.word,
                });
            }
        }
        let geometry = self.format.geometry();
        let fits = |level: &u32| {
            let size_log2 = geometry.size_log2(*level);
            self.format.leaf_sizes().contains(size_log2)
                && (bus | phys).trailing_zeros() >= size_log2
                && len_bytes >> size_log2 != 0
        };
        let level = (2..=stop.level).rev().find(fits).unwrap_or(1);
        let first = geometry.index(bus, level);
        let room = geometry.entries(level) - first;
        let mut room = room.min((len_bytes >> geometry.size_log2(level)) as usize);
        let table = (level == stop.level).then(|| path.node(level).table);
        // Where the table is missing, nothing is in the way. Where it is not the walk met the first, which is empty.
        let count_empty = |room: usize| match (table, room) {
            (Some(table), 2..) => 1 + table.count_alike(first + 1..first + room, !0, EMPTY),
            _ => room,
        };
        let mut span = Span::Entry;
        // Larger than the table where that is a small root: then there is never room for one.
        let run = 1 << self.format.run_log2(level);
        if run > 1 && (bus ^ phys) >> geometry.size_log2(level) & (run as u64 - 1) == 0 {
            let from_boundary = first & (run - 1);
            if from_boundary == 0 && room >= run && count_empty(run) == run {
                span = Span::Run;
            } else {
                // Not past the place where the next run may begin.
                room = room.min(run - from_boundary);
            }
        }
        let mut count = count_empty(room);
        if span == Span::Run {
            count &= !(run - 1);
        }
        Ok(Batch {
            bus,
            phys,
            level,
            span,
            stop_level: stop.level,
            count,
        })
    }
}

/// The leaf of `level` for a page at `phys`.
#[inline]
pub(super) fn leaf<F: Format>(
    format: &F,
    level: u32,
    phys: PhysAddr,
    span: Span,
    grant: Grant,
) -> u64 {
    let leaf = format.leaf(level, phys, grant.permission, span);
    let leaf = match grant.memory_type {
        MemoryType::Normal => leaf,
        MemoryType::Registers => format.for_registers(leaf),
    };
    match grant.privilege {
        Privilege::Any => leaf,
        Privilege::PrivilegedOnly => format.for_privileged(leaf),
    }
}

/// Whether tables of `level` link others.
fn has_shadow(level: u32) -> bool {
    level > 1
}

/// Tables and shadows that a table of `level` consists of.
pub(super) fn frames_of_table(level: u32) -> usize {
    if has_shadow(level) { 2 } else { 1 }
}

/// A table of `level`, or its shadow.
pub(super) fn table_request<F: Format>(format: &F, level: u32) -> FrameRequest {
    let geometry = format.geometry();
    FrameRequest {
        align_log2: geometry.table_bytes(level).ilog2(),
        last: format.last_phys(),
        ..FrameRequest::new(geometry.table_frames(level))
    }
}
