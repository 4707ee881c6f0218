//! The short way through a CPU's lane: a page, or a few, in the word of bus addresses that is at hand with its entries.
//!
//! Nothing is looked up there: the word says which units are free, and each unit's entry lies where the unit does. Where the word has no
//! room, or another word or block has the range, nothing was done, and [`lanes`](super::lanes) does the same the longer way. What is for
//! one page alone is compiled for that: nearly all that is mapped is one.

use core::slice::from_ref;
use core::sync::atomic::AtomicU64;

use super::lanes::DomainLanes;
use super::{Domain, RevokeError};
use crate::addr::{BusAddr, BusRange, PhysRange};
use crate::iommu::flush_queue::{Stage, Ticket};
use crate::iova::lanes::{AtHand, Level};
use crate::pagetable::{FewFrames, Grant, PageWords, publish};
use crate::platform::Platform;

impl<P: Platform> Domain<P> {
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
            true => unsafe { self.unmap_at_hand::<true>(range) },
            // SAFETY: the caller's promise.
            false => unsafe { self.unmap_at_hand::<false>(range) },
        }
    }

    /// As [`unmap_owned`](Self::unmap_owned): the way is short where the pages are whole in a word of the block that this CPU chose from
    /// last, as they nearly always are. What is for one page alone is compiled for that.
    ///
    /// # Safety
    /// As [`unmap_owned`](Self::unmap_owned), and `range` is a page if that is said.
    #[inline(never)]
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

    /// Clears the entries of `range` and stages it for the next flush, if it is whole in a word of the block that this CPU chose from last,
    /// and there is a ticket, which is returned; else nothing was done.
    ///
    /// # Safety
    /// As [`unmap_owned`](Self::unmap_owned).
    #[inline]
    pub(in crate::iommu) unsafe fn retire_short(&self, range: BusRange) -> Option<Ticket> {
        match self.is_page(range) {
            // SAFETY: the caller's promise.
            true => unsafe { self.retire_at_hand::<true>(range) },
            // SAFETY: the caller's promise.
            false => unsafe { self.retire_at_hand::<false>(range) },
        }
    }

    /// As [`retire_short`](Self::retire_short).
    ///
    /// # Safety
    /// As [`unmap_at_hand`](Self::unmap_at_hand).
    #[inline(never)]
    unsafe fn retire_at_hand<const IS_PAGE: bool>(&self, range: BusRange) -> Option<Ticket> {
        let retire = |entries: &[AtomicU64], stage: &mut Stage| {
            let ticket = stage.ticket(range)?;
            self.clear_entries(entries)?;
            stage.push(range);
            Some(ticket)
        };
        // SAFETY: the caller's promise.
        unsafe { self.at_hand::<IS_PAGE, _>(range, retire) }
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
}

impl<P: Platform> DomainLanes<P> {
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
}
