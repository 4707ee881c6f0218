//! Unmapping: check that whole leaves and nothing else would go, then clear.

use super::page_words::address_bits;
use super::path::Path;
use super::{Entry, Format, Gather, PageTable, Span, UnmapError};
use crate::addr::{BusAddr, BusRange};
use crate::platform::Platform;

/// Leaves side by side in one table.
struct Batch {
    level: u32,
    first: usize,
    count: usize,
    len_bytes: u64,
}

impl<P: Platform, F: Format> PageTable<P, F> {
    /// Clears every entry of `range`, which is mapped from end to end. A device may go on using them until what
    /// `gather` names was invalidated. Where [`Gather::tables`] says that tables were unlinked, whoever maps before
    /// that is done must invalidate too; likewise after [`reclaim`](Self::reclaim).
    ///
    /// # Errors
    /// - [`UnmapError::NotMapped`] when an address is not mapped.
    /// - [`UnmapError::WouldSplit`] when a large leaf, or a contiguous run, lies only partly in `range`.
    /// - [`UnmapError::Misaligned`], [`UnmapError::OutsideAperture`].
    ///
    /// Nothing has changed then.
    #[inline]
    pub fn unmap(&mut self, range: BusRange, gather: &mut Gather<P>) -> Result<(), UnmapError> {
        if self.unmap_near(range, gather) {
            return Ok(());
        }
        self.unmap_walked(range, gather)
    }

    /// The same with a walk.
    #[inline(never)]
    fn unmap_walked(&mut self, range: BusRange, gather: &mut Gather<P>) -> Result<(), UnmapError> {
        if self.unmap_in_one_table(range, gather) {
            return Ok(());
        }
        let parts = range.start().as_u64() | range.len_bytes();
        if parts.trailing_zeros() < self.granule_log2() {
            let granule_bytes = 1 << self.granule_log2();
            return Err(UnmapError::Misaligned {
                range,
                granule_bytes,
            });
        }
        if !self.reaches(range.start(), range.len_bytes()) {
            return Err(UnmapError::OutsideAperture {
                range,
                last: self.aperture_last(),
            });
        }
        if range.is_empty() {
            return Ok(());
        }
        let mut path = self.path;
        let first = self.next_leaves(&mut path, range.start().as_u64(), range.len_bytes())?;
        let only = first.len_bytes == range.len_bytes();
        if !only {
            self.check(&mut path, range, first.len_bytes)?;
        }
        self.clear(&mut path, range, only.then_some(first), gather);
        self.path = path;
        Ok(())
    }

    /// Whether all of `range` from `done` on is whole leaves.
    fn check(
        &self,
        path: &mut Path<P, F>,
        range: BusRange,
        mut done: u64,
    ) -> Result<(), UnmapError> {
        while done < range.len_bytes() {
            let at = range.start().as_u64() + done;
            done += self
                .next_leaves(path, at, range.len_bytes() - done)?
                .len_bytes;
        }
        Ok(())
    }

    /// Clears `range`, of which `next`, if it is known, is first, and where `path` is.
    fn clear(
        &mut self,
        path: &mut Path<P, F>,
        range: BusRange,
        mut next: Option<Batch>,
        gather: &mut Gather<P>,
    ) {
        let mut done = 0;
        while done < range.len_bytes() {
            let at = range.start().as_u64() + done;
            let batch = next.take().unwrap_or_else(|| {
                self.next_leaves(path, at, range.len_bytes() - done)
                    .expect("the range was checked under the same lock")
            });
            let table = path.node(batch.level).table;
            let entries = batch.first..batch.first + batch.count;
            table.clear(entries.clone());
            self.publish(table, entries);
            gather.add_leaves(at, batch.len_bytes);
            if path.remove_present(batch.level, batch.count) == Some(0) {
                self.emptied(at, batch.level, gather);
                // Tables may have been unlinked.
                path.reset();
            }
            done += batch.len_bytes;
        }
    }

    /// The leaves from `bus` on that stand in one table.
    fn next_leaves(
        &self,
        path: &mut Path<P, F>,
        bus: u64,
        len_bytes: u64,
    ) -> Result<Batch, UnmapError> {
        let stop = path.walk(bus, 1);
        let at = BusAddr::new(bus);
        let corrupt = |word| UnmapError::Corrupt {
            bus: at,
            level: stop.level,
            word,
        };
        let span = match stop.entry {
            Entry::Leaf { span, .. } => span,
            Entry::Empty => return Err(UnmapError::NotMapped { bus: at }),
            Entry::Table(_) | Entry::Reserved => return Err(corrupt(stop.word)),
        };
        let (level, leaf_size_log2) = (stop.level, self.span_log2(stop.level, span));
        if !at.is_aligned(leaf_size_log2) || len_bytes >> leaf_size_log2 == 0 {
            let leaf = BusRange::new(at.align_down(leaf_size_log2), 1 << leaf_size_log2);
            return Err(UnmapError::WouldSplit {
                leaf: leaf.expect("a leaf lies in the aperture"),
            });
        }
        let geometry = self.format.geometry();
        let (table, first) = (path.node(level).table, geometry.index(bus, level));
        let room = geometry.entries(level) - first;
        let room = room.min((len_bytes >> geometry.size_log2(level)) as usize);
        // The walk met the first. What has its bits, but for the address, is a leaf like it.
        let mut count = match room {
            2.. => {
                let rest = first + 1..first + room;
                let mask = !address_bits(&self.format, level, span);
                1 + table.count_alike(rest, mask, stop.word)
            }
            _ => room,
        };
        if span == Span::Run {
            // Whole runs only: the last one of `range` may reach beyond it, which is found when its turn comes.
            let run_log2 = self.format.run_log2(level);
            let whole = count >> run_log2 << run_log2;
            if whole == 0 {
                // The walker never leaves part of a run.
                return Err(corrupt(table.load((first + count).min(table.len() - 1))));
            }
            count = whole;
        }
        Ok(Batch {
            level,
            first,
            count,
            len_bytes: (count as u64) << geometry.size_log2(level),
        })
    }
}
