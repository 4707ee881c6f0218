//! Mapping and unmapping in the lane of a CPU: without the domain's lock, and without a walk.
//!
//! A lane has blocks of bus addresses ([`lanes`](crate::iova::lanes)), and for each the entries of the table
//! ([held](crate::pagetable)): for small pages, or for large ones (2 MiB, where the smallest have 4 KiB). Memory that is not whole large
//! pages is none for the latter, as their entries never lead to tables. What it does not serve, and whatever it is too late or too early for, goes the domain's own way, which
//! comes to the same. The order of taking Z back is that of [`Domain::unmap`]: clear, invalidate, wait, and only then
//! free.

use alloc::boxed::Box;
use core::sync::atomic::{AtomicU64, Ordering};

use super::{Domain, Inner, RevokeError};
use crate::addr::{BusAddr, BusRange};
use crate::iommu::flush_queue::{Owed, Stage};
use crate::iommu::translation::Translation;
use crate::iommu::unconfirmed::Unconfirmed;
use crate::iommu::unit::{Change, UnitError};
use crate::iova::lanes::{
    Freed, LaneRequest, Lanes, LentRange, Level, NoChoice, Stopped, level_of,
};
use crate::iova::{IovaRequest, IovaSpace};
use crate::pagetable::{
    Gather, Grant, LeafWords, PageWords, PhysList, TableChange, publish, withdraw,
};
use crate::platform::Platform;

/// The lanes of a domain whose entries can be held.
pub(super) struct DomainLanes<P: Platform> {
    pub(super) lanes: Lanes<P, Stage>,
    /// What entries of blocks of granules say, and of large ones, where there are such that their units are pages of the table.
    pub(super) words: Box<dyn LeafWords>,
    /// What entries of single pages say.
    pub(super) pages: PageWords,
    large_words: Option<Box<dyn LeafWords>>,
}

/// What became of a range that a CPU was to retire without the lock.
pub(in crate::iommu) enum Staging {
    /// It was retired, or refused.
    Done(Result<Owed, RevokeError>),
    /// Nothing yet: the CPU has no ticket, or no room.
    NoTicket,
    /// Nothing: the domain is to be asked.
    Elsewhere,
}

/// The level of the tables whose entries are units of blocks of a level.
pub(super) fn table_level(level: Level) -> u32 {
    match level {
        Level::Granules => 1,
        Level::Blocks => 2,
    }
}

impl<P: Platform> DomainLanes<P> {
    /// `None` where no entries of the table can be held.
    pub(super) fn new(
        platform: P,
        space: &IovaSpace<P>,
        table: &dyn Translation<P>,
    ) -> Option<Self> {
        let words = table.leaf_words(table_level(Level::Granules))?;
        let unit_log2 = words.page_log2() + Level::Blocks.unit_log2();
        let large_words = table.leaf_words(table_level(Level::Blocks));
        Some(Self {
            lanes: Lanes::new(platform, space),
            pages: words.of_pages(),
            words,
            large_words: large_words.filter(|words| words.page_log2() == unit_log2),
        })
    }

    /// Writes entries back where the unit does not snoop.
    #[inline]
    pub(super) fn publish(&self, platform: P, entries: &[AtomicU64]) {
        publish(platform, self.pages.coherence(), entries);
    }

    /// Clears the entries of `range`, if that is the whole range that begins there.
    fn clear(
        &self,
        platform: P,
        lent: &LentRange<'_>,
        (range, page_log2): (BusRange, u32),
    ) -> Result<(), RevokeError> {
        let (granules, entries) = lent.range().ok_or(RevokeError::NotMapped)?;
        if granules != range.len_bytes() >> page_log2 {
            let mapping = BusRange::new(range.start(), granules << page_log2);
            let mapping = mapping.map_err(|_| RevokeError::NotMapped)?;
            return Err(RevokeError::NotWhole { mapping });
        }
        self.clear_entries(platform, entries)
            .ok_or(RevokeError::NotMapped)
    }

    /// Clears entries; `None` where they are clear. They were written together, and are cleared together.
    #[inline(always)]
    pub(super) fn clear_entries(&self, platform: P, entries: &[AtomicU64]) -> Option<()> {
        if entries.first()?.load(Ordering::Relaxed) == 0 {
            return None;
        }
        withdraw(platform, self.pages.coherence(), entries);
        Some(())
    }
}

impl<P: Platform> Domain<P> {
    /// As [`map_list`](Self::map_list) where the lane of this CPU serves such requests; how the units learn of it is left to do.
    pub(super) fn map_in_lane(
        &self,
        request: IovaRequest,
        memory: &mut dyn PhysList,
        grant: Grant,
    ) -> Option<BusRange> {
        let all = self.lanes.as_ref()?;
        match LaneRequest::of(&request, self.page_size_log2) {
            Some(lane_request) => self.map_as(all, &*all.words, &lane_request, memory, grant),
            None => {
                let words = all.large_words.as_deref()?;
                let lane_request = LaneRequest::of_large(&request, self.page_size_log2)?;
                self.map_as(all, words, &lane_request, memory, grant)
            }
        }
        .and_then(|bus| BusRange::new(bus, request.len_bytes()).ok())
    }

    #[inline]
    fn map_as(
        &self,
        all: &DomainLanes<P>,
        words: &dyn LeafWords,
        lane_request: &LaneRequest<'_>,
        memory: &mut dyn PhysList,
        grant: Grant,
    ) -> Option<BusAddr> {
        let fitting = words.fits(memory, lane_request.units)?;
        let mut choose = || {
            all.lanes.choose(lane_request, |granule, entries| {
                let bus = BusAddr::new(granule << self.page_size_log2);
                words.write(bus, entries, memory, fitting, grant);
                all.publish(self.platform, entries);
                bus
            })
        };
        let chosen = match choose() {
            Err(NoChoice::NoRoom) if self.lend(lane_request) => choose(),
            chosen => chosen,
        };
        chosen.ok()
    }

    /// As [`unmap_owned`](Self::unmap_owned), of a range of any length, wherever it is.
    ///
    /// # Safety
    /// As [`unmap_owned`](Self::unmap_owned).
    #[inline(never)]
    pub(super) unsafe fn unmap_any(&self, range: BusRange) -> Result<(), RevokeError> {
        let Some((all, at, _)) = self.lanes_for(range) else {
            return self.unmap(range);
        };
        // SAFETY: the caller's promise.
        let cleared = unsafe {
            all.lanes.look(at, |lent, _| {
                all.clear(self.platform, &lent, (range, self.page_size_log2))
            })
        };
        match cleared {
            Some(Ok(())) => self.forget_leaves(range),
            Some(Err(error)) => Err(error),
            None => self.unmap(range),
        }
    }

    /// Has the units forget `range`, the leaves of which were cleared, and then frees it.
    fn forget_leaves(&self, range: BusRange) -> Result<(), RevokeError> {
        // SAFETY: it was mapped, this call's caller took it, and no unit knows it any more.
        self.forget_and(range, || unsafe { self.free(range) })
    }

    /// Has the units forget `range`, the leaves of which were cleared, and then calls `free`.
    #[inline(always)]
    pub(super) fn forget_and(
        &self,
        range: BusRange,
        free: impl FnOnce(),
    ) -> Result<(), RevokeError> {
        let change = Change {
            range,
            tables: TableChange::Kept,
        };
        match self.each_walker(|unit| unit.invalidate(self.id, change)) {
            Ok(()) => {
                free();
                Ok(())
            }
            Err(error) => self.keep_leaves(range, error),
        }
    }

    #[cold]
    fn keep_leaves(&self, range: BusRange, error: UnitError) -> Result<(), RevokeError> {
        let gather = Gather::of_leaves(self.platform, range);
        Ok(self.keep(Some(range), Unconfirmed::of(gather), error)?)
    }

    /// Clears the entries of `range` and stages it for the next flush.
    ///
    /// # Safety
    /// As [`unmap_owned`](Self::unmap_owned).
    #[inline(never)]
    pub(in crate::iommu) unsafe fn retire_in_lane(&self, range: BusRange) -> Staging {
        let Some((all, at, _)) = self.lanes_for(range) else {
            return Staging::Elsewhere;
        };
        let retire = |lent: LentRange<'_>, stage: &mut Stage| {
            let Some(ticket) = stage.ticket(range) else {
                return Staging::NoTicket;
            };
            let cleared = all.clear(self.platform, &lent, (range, self.page_size_log2));
            Staging::Done(cleared.map(|()| {
                stage.push(range);
                Owed::one(ticket, range)
            }))
        };
        // SAFETY: the caller's promise.
        let staged = unsafe { all.lanes.look(at, retire) };
        staged.unwrap_or(Staging::Elsewhere)
    }

    /// Gives this CPU a ticket, and the queue what it has staged; whether it has one then.
    pub(in crate::iommu) fn exchange(&self, inner: &mut Inner<P>) -> bool {
        let Some(DomainLanes { lanes, .. }) = &self.lanes else {
            return false;
        };
        let cpus = self.platform.cpu_count();
        let exchanged = lanes.beside(|stage| inner.queue.exchange(stage, cpus));
        exchanged.unwrap_or(false)
    }

    /// The queue has what all CPUs have staged.
    pub(in crate::iommu) fn take_in_stages(&self, inner: &mut Inner<P>) {
        if let Some(DomainLanes { lanes, .. }) = &self.lanes
            && inner.queue.has_staged()
        {
            // SAFETY: the lock is held, and nobody is within a lane who takes it.
            unsafe { lanes.each_beside(|stage| inner.queue.take_in(stage)) };
        }
    }

    /// Lets all of `ranges` be chosen again, in lanes without the lock: they may be many, and others map and retire meanwhile. Returns the
    /// tables that nobody needs any more, which are to be [finished](Self::finish).
    ///
    /// # Safety
    /// As [`free`](Self::free), of each.
    pub(in crate::iommu) unsafe fn free_all(
        &self,
        mut ranges: impl Iterator<Item = BusRange>,
    ) -> Gather<P> {
        let mut emptied = Gather::new(self.platform);
        let log2 = self.page_size_log2;
        let granules =
            |range: &BusRange| (range.start().as_u64() >> log2, range.len_bytes() >> log2);
        loop {
            let stopped = match &self.lanes {
                // SAFETY: the caller's promise.
                Some(all) => unsafe { all.lanes.free_many(&mut ranges, granules) },
                None => Stopped {
                    unused: None,
                    next: ranges.next(),
                },
            };
            if let Some(block) = stopped.unused {
                self.take_back_gathering(block, &mut emptied);
            }
            let Some(range) = stopped.next else {
                return emptied;
            };
            // SAFETY: as above.
            unsafe { self.free_gathering(range, &mut emptied) };
        }
    }

    /// Lets `range` be chosen again.
    ///
    /// # Safety
    /// It was chosen, whole, and its owner gives it up.
    #[inline(never)]
    pub(super) unsafe fn free(&self, range: BusRange) {
        let Some((DomainLanes { lanes, .. }, at, units)) = self.lanes_for(range) else {
            return self.inner.lock().free(range);
        };
        // SAFETY: the caller's promise.
        match unsafe { lanes.free(at, units) } {
            Freed::Done => {}
            Freed::Unused(block) => self.take_back(block),
            // SAFETY: the caller's promise.
            Freed::Elsewhere => unsafe { self.free_elsewhere(&mut self.inner.lock(), range) },
        }
    }

    /// As [`free`](Self::free); `emptied` takes what is to be invalidated then.
    ///
    /// # Safety
    /// As [`free`](Self::free).
    unsafe fn free_gathering(&self, range: BusRange, emptied: &mut Gather<P>) {
        let Some((DomainLanes { lanes, .. }, at, units)) = self.lanes_for(range) else {
            return self.inner.lock().free(range);
        };
        // SAFETY: the caller's promise.
        match unsafe { lanes.free(at, units) } {
            Freed::Done => {}
            Freed::Unused(block) => self.take_back_gathering(block, emptied),
            // SAFETY: the caller's promise.
            Freed::Elsewhere => unsafe { self.free_elsewhere(&mut self.inner.lock(), range) },
        }
    }

    /// The same of a range that this CPU did not find in a lane.
    ///
    /// # Safety
    /// As [`free`](Self::free).
    unsafe fn free_elsewhere(&self, inner: &mut Inner<P>, range: BusRange) {
        match self.lent(inner, range) {
            // SAFETY: the caller's promise.
            Some(lent) => unsafe { lent.free() },
            None => inner.free(range),
        }
    }

    /// The lanes, where a range may be in a lent block; which blocks those are, the range's first granule, and how many of their units
    /// it has.
    #[inline]
    fn lanes_for(&self, range: BusRange) -> Option<(&DomainLanes<P>, (Level, u64), usize)> {
        let lanes = self.lanes.as_ref()?;
        let (level, units) = level_of(range.len_bytes() >> self.page_size_log2)?;
        let granule = range.start().as_u64() >> self.page_size_log2;
        Some((lanes, (level, granule), units))
    }

    /// Where `range` begins in a lent block, with the lock.
    pub(in crate::iommu) fn lent<'a>(
        &self,
        inner: &'a Inner<P>,
        range: BusRange,
    ) -> Option<LentRange<'a>> {
        let DomainLanes { lanes, .. } = self.lanes.as_ref()?;
        let granule = range.start().as_u64() >> self.page_size_log2;
        lanes.look_locked(&inner.lender, granule)
    }

    /// Clears the entries of `range`, which is one mapping, whole: in a lent block, or by the walker.
    ///
    /// # Errors
    /// [`RevokeError`] where it is not; nothing has changed then.
    pub(in crate::iommu) fn clear_locked(
        &self,
        inner: &mut Inner<P>,
        range: BusRange,
        gather: &mut Gather<P>,
    ) -> Result<(), RevokeError> {
        if let (Some(all), Some(lent)) = (&self.lanes, self.lent(inner, range)) {
            all.clear(self.platform, &lent, (range, self.page_size_log2))?;
            gather.absorb(Gather::of_leaves(self.platform, range));
            return Ok(());
        }
        super::whole(&mut inner.iova, range)?;
        let table = inner.table.as_mut().expect("a live domain has a table");
        Ok(table.unmap(range, gather)?)
    }
}

#[cfg(test)]
mod tests {
    use super::Stage;
    use crate::iova::lanes::idle_bytes;

    #[test]
    fn an_idle_cpu_keeps_no_more_than_two_kib_of_a_domain() {
        let bytes = idle_bytes::<Stage>();
        assert!(bytes <= 2048, "{bytes} bytes");
        std::println!("{bytes} bytes for a CPU that has nothing in use");
    }
}
