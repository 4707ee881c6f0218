//! Unmapping: check that whole leaves and nothing else would go, then clear.

use super::level::{self, ENTRIES};
use super::path::Path;
use super::{Entry, Format, Gather, PageTable, UnmapError};
use crate::addr::{BusAddr, BusRange, FRAME_SIZE_LOG2};
use crate::platform::Platform;

/// Leaves side by side in one table.
struct Batch {
    level: u32,
    first: usize,
    count: usize,
}

impl Batch {
    fn len_bytes(&self) -> u64 {
        (self.count as u64) << level::size_log2(self.level)
    }
}

impl<P: Platform, F: Format> PageTable<P, F> {
    /// Clears every entry of `range`, which is mapped from end to end. A device may go on using them until what
    /// `gather` names was invalidated. Where [`Gather::tables`] says that tables were unlinked, whoever maps before
    /// that is done must invalidate too; likewise after [`reclaim`](Self::reclaim).
    ///
    /// # Errors
    /// - [`UnmapError::NotMapped`] when an address is not mapped.
    /// - [`UnmapError::WouldSplit`] when a large leaf lies only partly in `range`.
    /// - [`UnmapError::Misaligned`], [`UnmapError::OutsideAperture`].
    ///
    /// Nothing has changed then.
    pub fn unmap(&mut self, range: BusRange, gather: &mut Gather<P>) -> Result<(), UnmapError> {
        let parts = range.start().as_u64() | range.len_bytes();
        if parts.trailing_zeros() < FRAME_SIZE_LOG2 {
            return Err(UnmapError::Misaligned { range });
        }
        if !self.reaches(range.start(), range.len_bytes()) {
            return Err(UnmapError::OutsideAperture {
                range,
                last: self.aperture_last(),
            });
        }
        self.check(range)?;
        self.clear(range, gather);
        Ok(())
    }

    fn check(&self, range: BusRange) -> Result<(), UnmapError> {
        let mut path = self.path();
        let mut done = 0;
        while done < range.len_bytes() {
            let at = range.start().as_u64() + done;
            done += self
                .next_leaves(&mut path, at, range.len_bytes() - done)?
                .len_bytes();
        }
        Ok(())
    }

    fn clear(&mut self, range: BusRange, gather: &mut Gather<P>) {
        let mut path = self.path();
        let mut done = 0;
        while done < range.len_bytes() {
            let at = range.start().as_u64() + done;
            let batch = self
                .next_leaves(&mut path, at, range.len_bytes() - done)
                .expect("the range was checked under the same lock");
            let table = path.node(batch.level).table;
            let entries = batch.first..batch.first + batch.count;
            entries.clone().for_each(|index| table.store(index, 0));
            self.publish(table, entries);
            gather.add_leaves(at, batch.len_bytes(), level::size_log2(batch.level));
            if path.remove_present(batch.level, batch.count) == Some(0) {
                self.emptied(at, batch.level, gather);
                // Tables may have been unlinked.
                path.reset();
            }
            done += batch.len_bytes();
        }
    }

    /// The leaves from `bus` on that stand in one table.
    fn next_leaves(
        &self,
        path: &mut Path<P>,
        bus: u64,
        len_bytes: u64,
    ) -> Result<Batch, UnmapError> {
        let stop = path.walk(&self.format, bus, 1);
        let at = BusAddr::new(bus);
        match stop.entry {
            Entry::Leaf { .. } => {}
            Entry::Empty => return Err(UnmapError::NotMapped { bus: at }),
            Entry::Table(_) | Entry::Reserved => {
                return Err(UnmapError::Corrupt {
                    bus: at,
                    level: stop.level,
                    word: stop.word,
                });
            }
        }
        let (level, size) = (stop.level, level::size(stop.level));
        if !at.is_aligned(level::size_log2(level)) || len_bytes < size {
            let leaf = BusRange::new(at.align_down(level::size_log2(level)), size);
            return Err(UnmapError::WouldSplit {
                leaf: leaf.expect("a leaf lies in the aperture"),
            });
        }
        let (table, first) = (path.node(level).table, level::index(bus, level));
        let room = (ENTRIES - first).min((len_bytes / size) as usize);
        let leaf = |&index: &usize| {
            matches!(
                self.format.decode(level, table.load(index)),
                Entry::Leaf { .. }
            )
        };
        Ok(Batch {
            level,
            first,
            count: (first..first + room).take_while(leaf).count(),
        })
    }
}
