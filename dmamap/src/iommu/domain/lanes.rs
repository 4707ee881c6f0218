//! Mapping and unmapping in the lane of a CPU: without the domain's lock, and without a walk.
//!
//! A lane has blocks of bus addresses ([`lanes`](crate::iova::lanes)), and for each the entries of the table
//! ([held](crate::pagetable)): for small pages, or for large ones (2 MiB, where the smallest have 4 KiB). Memory that is not whole large
//! pages is none for the latter, as their entries never lead to tables. What it does not serve, and whatever it is too late or too early for, goes the domain's own way, which
//! comes to the same. The order of taking Z back is that of [`Domain::unmap`]: clear, invalidate, wait, and only then
//! free.

use alloc::boxed::Box;
use core::slice::from_ref;
use core::sync::atomic::{AtomicU64, Ordering};

use super::{Domain, Inner, RevokeError};
use crate::addr::{BusAddr, BusRange, PhysRange};
use crate::iommu::flush_queue::{Owed, Stage, Ticket};
use crate::iommu::translation::Translation;
use crate::iommu::unconfirmed::Unconfirmed;
use crate::iommu::unit::{Change, UnitError};
use crate::iova::lanes::{AtHand, Freed, LaneRequest, Lanes, LentRange, Level, NoChoice, level_of};
use crate::iova::{IovaRequest, IovaSpace};
use crate::pagetable::{
    FewFrames, Gather, Grant, LeafWords, PageWords, PhysList, TableChange, publish, withdraw,
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

    /// Writes entries, of which the first is that of `bus`, for a piece that is [accepted](PageWords::count), and is as many pages; and back
    /// where the unit does not snoop.
    #[inline(always)]
    pub(super) fn write_run(
        &self,
        platform: P,
        (bus, entries): (BusAddr, &[AtomicU64]),
        piece: PhysRange,
        grant: Grant,
    ) {
        self.write_piece((bus, entries), piece, grant);
        self.publish(platform, entries);
    }

    #[inline(always)]
    fn write_piece(&self, (bus, entries): (BusAddr, &[AtomicU64]), piece: PhysRange, grant: Grant) {
        match self.pages.are_plain(entries.len()) {
            true => self.pages.write_pages(entries, piece, grant),
            false => self.words.write_piece(bus, entries, piece, grant),
        }
    }

    /// As [`write_run`](Self::write_run), of frames that are [accepted](PageWords::accepts_few).
    #[inline(always)]
    pub(super) fn write_few(
        &self,
        platform: P,
        (bus, entries): (BusAddr, &[AtomicU64]),
        few: &FewFrames,
        grant: Grant,
    ) {
        match few.runs().len() == entries.len() {
            // Each is one page, as nearly all are, and so no run.
            true => self.pages.write_each(entries, few.runs(), grant),
            false => self.write_runs((bus, entries), few.runs(), grant),
        }
        self.publish(platform, entries);
    }

    #[inline(never)]
    fn write_runs(
        &self,
        (bus, entries): (BusAddr, &[AtomicU64]),
        runs: &[PhysRange],
        grant: Grant,
    ) {
        let (mut rest, mut at) = (entries, bus.as_u64());
        for &run in runs {
            let pages = (run.len_bytes() >> self.pages.page_log2()) as usize;
            let Some((these, others)) = rest.split_at_checked(pages) else {
                break;
            };
            self.write_piece((BusAddr::new(at), these), run, grant);
            (rest, at) = (others, at + run.len_bytes());
        }
        debug_assert!(rest.is_empty(), "there is an entry for each page");
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
    fn clear_entries(&self, platform: P, entries: &[AtomicU64]) -> Option<()> {
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

    /// As [`map_list`](Self::map_list), of one page that is to lie within `limits`, inclusive, if this CPU's lane has room at hand: nearly
    /// always, and the way is short. Where it lies then.
    #[inline(never)]
    pub(crate) fn map_page(
        &self,
        limits: (BusAddr, BusAddr),
        page: PhysRange,
        grant: Grant,
    ) -> Option<BusAddr> {
        let DomainLanes { lanes, pages, .. } = self.lanes.as_ref()?;
        if self.tells_of_maps() {
            return None;
        }
        let write = |entry: &AtomicU64| self.write_page(pages, entry, page, grant);
        lanes.choose_one(limits, write)
    }

    /// As [`map_page`](Self::map_page), of whole pages, no more than the lane tells of by one word.
    #[inline(never)]
    pub(crate) fn map_run(
        &self,
        limits: (BusAddr, BusAddr),
        pages: PhysRange,
        grant: Grant,
    ) -> Option<BusAddr> {
        let all = self.lanes.as_ref()?;
        if self.tells_of_maps() {
            return None;
        }
        let count = all.pages.count(pages)?;
        all.lanes.choose_few(limits, count, |bus, entries| {
            all.write_run(self.platform, (bus, entries), pages, grant);
        })
    }

    /// As [`map_run`](Self::map_run), of frames that are to lie side by side, if pages are frames.
    #[inline(never)]
    pub(crate) fn map_few(
        &self,
        limits: (BusAddr, BusAddr),
        few: &FewFrames,
        grant: Grant,
    ) -> Option<BusAddr> {
        let all = self.lanes.as_ref()?;
        if self.tells_of_maps() || !all.pages.accepts_few(few) {
            return None;
        }
        all.lanes.choose_few(limits, few.frames(), |bus, entries| {
            all.write_few(self.platform, (bus, entries), few, grant);
        })
    }

    /// Writes the entry of a page, and back where the unit does not snoop; whether it does.
    #[inline(always)]
    pub(super) fn write_page(
        &self,
        pages: &PageWords,
        entry: &AtomicU64,
        page: PhysRange,
        grant: Grant,
    ) -> bool {
        let is_written = pages.write(entry, page, grant);
        publish(self.platform, pages.coherence(), from_ref(entry));
        is_written
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

    /// As [`unmap`](Self::unmap), of a mapping that somebody owns.
    ///
    /// # Errors
    /// As [`unmap`](Self::unmap).
    ///
    /// # Safety
    /// `range` is what a call of this domain returned that mapped it, and this is the first that takes it back.
    #[inline]
    pub(crate) unsafe fn unmap_owned(&self, range: BusRange) -> Result<(), RevokeError> {
        match self.is_page(range) {
            // SAFETY: the caller's promise.
            true => unsafe { self.unmap_page(range) },
            // SAFETY: the caller's promise.
            false => unsafe { self.unmap_few(range) },
        }
    }

    /// As [`unmap_owned`](Self::unmap_owned), of a page.
    ///
    /// # Safety
    /// As [`unmap_owned`](Self::unmap_owned).
    #[inline(never)]
    unsafe fn unmap_page(&self, page: BusRange) -> Result<(), RevokeError> {
        // SAFETY: the caller's promise.
        unsafe { self.unmap_at_hand::<true>(page) }
    }

    /// As [`unmap_owned`](Self::unmap_owned), of more than a page.
    ///
    /// # Safety
    /// As [`unmap_owned`](Self::unmap_owned).
    #[inline(never)]
    unsafe fn unmap_few(&self, range: BusRange) -> Result<(), RevokeError> {
        // SAFETY: the caller's promise.
        unsafe { self.unmap_at_hand::<false>(range) }
    }

    /// As [`unmap_owned`](Self::unmap_owned): the way is short where the pages are whole in a word of the block that this CPU chose from
    /// last, as they nearly always are. What is for one page alone is compiled for that.
    ///
    /// # Safety
    /// As [`unmap_owned`](Self::unmap_owned), and `range` is a page if that is said.
    #[inline(always)]
    unsafe fn unmap_at_hand<const IS_PAGE: bool>(
        &self,
        range: BusRange,
    ) -> Result<(), RevokeError> {
        let clear = |entries: &[AtomicU64], _: &mut Stage| self.clear_entries(entries);
        // SAFETY: the caller's promise.
        match unsafe { self.at_hand::<IS_PAGE, _>(range, clear) } {
            // SAFETY: it was mapped, this call's caller took it, and no unit knows it any more.
            Some(()) => self.forget_and(range, || unsafe { self.free_at_hand::<IS_PAGE>(range) }),
            // SAFETY: as above.
            None => unsafe { self.unmap_any(range) },
        }
    }

    #[inline(always)]
    pub(super) fn is_page(&self, range: BusRange) -> bool {
        range.len_bytes() == 1 << self.page_size_log2
    }

    /// How many pages a range has, which is one if that is said.
    #[inline(always)]
    fn pages_of<const IS_PAGE: bool>(&self, range: BusRange) -> usize {
        match IS_PAGE {
            true => 1,
            false => (range.len_bytes() >> self.page_size_log2) as usize,
        }
    }

    /// Calls `f` with the entries of `range`, where they are whole in a word of the block that this CPU chose from last, and with what the
    /// CPU has staged; `None` elsewhere, and where `f` says that it did nothing.
    ///
    /// # Safety
    /// As [`unmap_at_hand`](Self::unmap_at_hand).
    #[inline(always)]
    unsafe fn at_hand<const IS_PAGE: bool, R>(
        &self,
        range: BusRange,
        f: impl FnOnce(&[AtomicU64], &mut Stage) -> Option<R>,
    ) -> Option<R> {
        let DomainLanes { lanes, .. } = self.lanes.as_ref()?;
        let granule = range.start().as_u64() >> self.page_size_log2;
        // SAFETY: the caller's promise.
        unsafe { lanes.look_at_few(granule, self.pages_of::<IS_PAGE>(range), f) }.flatten()
    }

    /// As [`DomainLanes::clear_entries`].
    #[inline(always)]
    fn clear_entries(&self, entries: &[AtomicU64]) -> Option<()> {
        let lanes = self.lanes.as_ref()?;
        lanes.clear_entries(self.platform, entries)
    }

    /// As [`unmap_owned`](Self::unmap_owned), of a range of any length, wherever it is.
    ///
    /// # Safety
    /// As [`unmap_owned`](Self::unmap_owned).
    #[inline(never)]
    unsafe fn unmap_any(&self, range: BusRange) -> Result<(), RevokeError> {
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

    /// Clears the entries of `range` and stages it for the next flush, if it is whole in a word of the block that this CPU chose from last,
    /// and there is a ticket, which is returned; else nothing was done.
    ///
    /// # Safety
    /// As [`unmap_owned`](Self::unmap_owned).
    #[inline]
    pub(in crate::iommu) unsafe fn retire_short(&self, range: BusRange) -> Option<Ticket> {
        match self.is_page(range) {
            // SAFETY: the caller's promise.
            true => unsafe { self.retire_page(range) },
            // SAFETY: the caller's promise.
            false => unsafe { self.retire_few(range) },
        }
    }

    /// As [`retire_short`](Self::retire_short), of a page.
    ///
    /// # Safety
    /// As [`unmap_owned`](Self::unmap_owned).
    #[inline(never)]
    unsafe fn retire_page(&self, page: BusRange) -> Option<Ticket> {
        // SAFETY: the caller's promise.
        unsafe { self.retire_at_hand::<true>(page) }
    }

    /// As [`retire_short`](Self::retire_short), of more than a page.
    ///
    /// # Safety
    /// As [`unmap_owned`](Self::unmap_owned).
    #[inline(never)]
    unsafe fn retire_few(&self, range: BusRange) -> Option<Ticket> {
        // SAFETY: the caller's promise.
        unsafe { self.retire_at_hand::<false>(range) }
    }

    /// As [`retire_short`](Self::retire_short).
    ///
    /// # Safety
    /// As [`unmap_at_hand`](Self::unmap_at_hand).
    #[inline(always)]
    unsafe fn retire_at_hand<const IS_PAGE: bool>(&self, range: BusRange) -> Option<Ticket> {
        let retire = |entries: &[AtomicU64], stage: &mut Stage| {
            let ticket = stage.ticket()?;
            self.clear_entries(entries)?;
            stage.push(range);
            Some(ticket)
        };
        // SAFETY: the caller's promise.
        unsafe { self.at_hand::<IS_PAGE, _>(range, retire) }
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
            let Some(ticket) = stage.ticket() else {
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

    /// Lets all of `ranges` be chosen again, with the lock, as [`free_locked`](Self::free_locked) each.
    ///
    /// # Safety
    /// As [`free`](Self::free), of each.
    pub(in crate::iommu) unsafe fn free_all_locked(
        &self,
        inner: &mut Inner<P>,
        mut ranges: impl Iterator<Item = BusRange>,
        emptied: &mut Gather<P>,
    ) {
        let log2 = self.page_size_log2;
        let granules =
            |range: &BusRange| (range.start().as_u64() >> log2, range.len_bytes() >> log2);
        loop {
            let next = match &self.lanes {
                // SAFETY: the caller's promise.
                Some(all) => unsafe { all.lanes.free_many(&mut ranges, granules) },
                None => ranges.next(),
            };
            let Some(range) = next else { return };
            // SAFETY: as above.
            unsafe { self.free_locked(inner, range, emptied) };
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

    /// As [`free`](Self::free), of pages that were in one word of a lane: nearly always they are in the block at hand.
    ///
    /// # Safety
    /// As [`free`](Self::free), and `range` is a page if that is said.
    #[inline(always)]
    unsafe fn free_at_hand<const IS_PAGE: bool>(&self, range: BusRange) {
        let (start, log2) = (range.start(), self.page_size_log2);
        let pages = self.pages_of::<IS_PAGE>(range);
        // SAFETY: the caller's promise.
        let end = |hot: &mut AtHand| unsafe { hot.end(start, pages, log2) }.then_some(());
        let lanes = self.lanes.as_ref().map(|all| &all.lanes);
        let ended = lanes.and_then(|lanes| lanes.at_hand(Level::Granules, end));
        if ended.is_none() {
            // SAFETY: the caller's promise.
            unsafe { self.free(range) }
        }
    }

    /// As [`free`](Self::free), with the lock; `emptied` takes what is to be invalidated then.
    ///
    /// # Safety
    /// As [`free`](Self::free).
    pub(in crate::iommu) unsafe fn free_locked(
        &self,
        inner: &mut Inner<P>,
        range: BusRange,
        emptied: &mut Gather<P>,
    ) {
        let Some((DomainLanes { lanes, .. }, at, units)) = self.lanes_for(range) else {
            return inner.free(range);
        };
        // SAFETY: the caller's promise.
        match unsafe { lanes.free(at, units) } {
            Freed::Done => {}
            Freed::Unused(block) => self.take_back_locked(inner, block, emptied),
            // SAFETY: the caller's promise.
            Freed::Elsewhere => unsafe { self.free_elsewhere(inner, range) },
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
