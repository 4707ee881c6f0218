//! A lane of one owner in a domain: mapping and unmapping without the lock, without asking which CPU it is.
//!
//! It is a CPU's lane ([`lanes`](super::lanes)) that `&mut` keeps to one caller. Nobody calls its blocks back, so there are three things
//! that wait for its end: they are not reserved nor handed over; a table that was the domain's is freed only then, as the lane writes
//! its entries also after the domain ended; and a range whose unmap no unit confirmed stays taken in its block.

use core::sync::atomic::AtomicU64;

use super::blocks::Lendable;
use super::lanes::{DomainLanes, table_level};
use super::{Domain, Inner, Reach, RevokeError};
use crate::addr::{BusAddr, BusRange, PhysRange};
use crate::iommu::flush_queue::{Owed, OwnStage, Room};
use crate::iommu::retire::log_unconfirmed;
use crate::iommu::unconfirmed::Unconfirmed;
use crate::iommu::unit::Change;
use crate::iova::IovaRequest;
use crate::iova::lanes::{ANYWHERE, AtHand, Ended, LaneRequest, Level, MOST, OwnedLane};
use crate::pagetable::{FewFrames, Gather, Grant, PageWords, PhysList, TableChange, withdraw};
use crate::platform::Platform;

/// A lane of a domain. It is to be [ended](Domain::end_lane).
pub(crate) struct DomainLane {
    owned: OwnedLane,
    stage: OwnStage,
    words: PageWords,
}

impl<P: Platform> Domain<P> {
    /// A lane that has no block yet; `None` where the table has no entries to hold, or there is no memory.
    pub(crate) fn own_lane(&self) -> Option<DomainLane> {
        let DomainLanes { lanes, pages, .. } = self.lanes.as_ref()?;
        let stage = OwnStage::of(self.platform, |with| with(&mut self.inner.lock().queue))?;
        let mut inner = self.inner.lock();
        inner.owners += 1;
        Some(DomainLane {
            owned: lanes.own(&mut inner.lender),
            stage,
            words: *pages,
        })
    }

    /// The domain has all blocks of a lane again, with what is mapped in them, once what it has staged is settled.
    pub(crate) fn end_lane(&self, lane: &mut DomainLane) {
        self.settle_lane(lane);
        let Some(DomainLanes { lanes, .. }) = &self.lanes else {
            return;
        };
        let mut gather = Gather::new(self.platform);
        let mut inner = self.inner.lock();
        inner.queue.remove_stage(&mut lane.stage);
        inner.owners -= 1;
        if inner.reach == Reach::Revoked {
            if inner.owners == 0
                && let Some(table) = inner.ended.take()
            {
                drop(inner);
                // SAFETY: when the domain ended every unit had confirmed that it neither walks nor remembers the table, and
                // this was the last who wrote entries of it.
                unsafe { table.free() };
            }
            return;
        }
        let lost = {
            let Inner {
                iova,
                lender,
                table,
                ..
            } = &mut *inner;
            let mut lost = Gather::new(self.platform);
            let part = |level: Level, granule: u64| {
                if let Some(table) = table {
                    let bus = BusAddr::new(granule << self.page_size_log2);
                    table.let_go(bus, table_level(level), &mut gather);
                }
            };
            let kept = |range: BusRange| lost.absorb(Gather::of_leaves(self.platform, range));
            // SAFETY: the lock is held, and nothing is called from within a lane.
            unsafe { lanes.give_back(&mut lane.owned, lender, iova, part, kept) };
            lost
        };
        // Whoever asks the units next asks about these, too.
        inner.give_up(Unconfirmed::of(lost));
        inner.note_unlinking(&gather);
        drop(inner);
        self.finish(gather);
    }

    /// Maps a page of memory in the lane, and says where; how the units learn of it is left to do. `None` where the domain
    /// is to be asked.
    #[inline(never)]
    pub(crate) fn map_page_in(
        &self,
        lane: &mut DomainLane,
        page: PhysRange,
        grant: Grant,
    ) -> Option<BusAddr> {
        let DomainLane { owned, words, .. } = lane;
        let write = |entry: &AtomicU64| self.write_page(words, entry, page, grant);
        owned.choose_one(self.page_size_log2, write)
    }

    /// As [`map_page_in`](Self::map_page_in), of whole pages, no more than the lane tells of by one word.
    #[inline(never)]
    pub(crate) fn map_run_in(
        &self,
        lane: &mut DomainLane,
        pages: PhysRange,
        grant: Grant,
    ) -> Option<BusAddr> {
        let all = self.lanes.as_ref()?;
        let count = all.pages.count(pages)?;
        let hot = lane.owned.at_hand()?;
        hot.begin_with(count, ANYWHERE, self.page_size_log2, |bus, entries| {
            all.write_run(self.platform, (bus, entries), pages, grant);
        })
    }

    /// As [`map_run_in`](Self::map_run_in), of frames that are to lie side by side.
    #[inline(never)]
    pub(crate) fn map_few_in(
        &self,
        lane: &mut DomainLane,
        few: &FewFrames,
        grant: Grant,
    ) -> Option<BusAddr> {
        let all = self.lanes.as_ref()?;
        if !all.pages.accepts_few(few) {
            return None;
        }
        let (hot, log2) = (lane.owned.at_hand()?, self.page_size_log2);
        hot.begin_with(few.frames(), ANYWHERE, log2, |bus, entries| {
            all.write_few(self.platform, (bus, entries), few, grant);
        })
    }

    /// As [`map_list`](Self::map_list) in the lane; how the units learn of it is left to do. `None` where the domain is to be asked.
    pub(crate) fn map_list_in(
        &self,
        lane: &mut DomainLane,
        request: IovaRequest,
        memory: &mut dyn PhysList,
        grant: Grant,
    ) -> Option<BusRange> {
        let all @ DomainLanes { lanes, words, .. } = self.lanes.as_ref()?;
        let lane_request = LaneRequest::of(&request, self.page_size_log2)?;
        let fitting = words.fits(memory, lane_request.units)?;
        for _ in 0..2 {
            if let Some((granule, entries)) = lane.owned.choose(&lane_request) {
                let bus = BusAddr::new(granule << self.page_size_log2);
                words.write(bus, entries, memory, fitting, grant);
                all.publish(self.platform, entries);
                return Some(BusRange::of_existing(bus, request.len_bytes()));
            }
            if !lanes.may_lend(&lane_request) || !self.lend_to(lane, &lane_request) {
                break;
            }
        }
        None
    }

    /// Lends the lane another block; whether it has one.
    #[cold]
    fn lend_to(&self, lane: &mut DomainLane, request: &LaneRequest<'_>) -> bool {
        let Some(DomainLanes { lanes, .. }) = &self.lanes else {
            return false;
        };
        let mut inner = self.inner.lock();
        let Some(Lendable {
            iova,
            lender,
            table,
            queue,
        }) = inner.lendable()
        else {
            return false;
        };
        let mut held = None;
        let lent = lanes.lend_to(&mut lane.owned, lender, iova, request, |granule| {
            let bus = BusAddr::new(granule << self.page_size_log2);
            held = Some(bus);
            table.hold(bus, table_level(request.level)).map(Some)
        });
        if lent && let Some(bus) = held {
            queue.add_block(&lane.stage, self.block_at(bus));
        }
        lent
    }

    /// The addresses of the block that begins there.
    fn block_at(&self, bus: BusAddr) -> BusRange {
        BusRange::of_existing(bus, (2 * MOST) << self.page_size_log2)
    }

    /// As [`unmap_owned`](Self::unmap_owned), of whose ranges may be in the lane.
    ///
    /// # Errors
    /// As [`unmap`](Self::unmap).
    ///
    /// # Safety
    /// As [`unmap_owned`](Self::unmap_owned).
    #[inline]
    pub(crate) unsafe fn unmap_in(
        &self,
        lane: &mut DomainLane,
        range: BusRange,
    ) -> Result<(), RevokeError> {
        // SAFETY: the caller's promise.
        let Some(entries) = (unsafe { self.entries_in(&lane.owned, range) }) else {
            // SAFETY: as above.
            return unsafe { self.unmap_owned(range) };
        };
        self.empty(&lane.words, entries);
        self.forget_in(lane, range)
    }

    /// As [`retire_owned`](Self::retire_owned), of whose ranges may be in the lane.
    ///
    /// # Errors
    /// As [`retire`](Self::retire).
    ///
    /// # Safety
    /// As [`unmap_owned`](Self::unmap_owned).
    #[inline]
    pub(crate) unsafe fn retire_in(
        &self,
        lane: &mut DomainLane,
        range: BusRange,
    ) -> Result<Owed, RevokeError> {
        // SAFETY: the caller's promise.
        let Some(entries) = (unsafe { self.entries_in(&lane.owned, range) }) else {
            // SAFETY: as above.
            return unsafe { self.retire_owned(range) };
        };
        let clear = || self.empty(&lane.words, entries);
        let staged = lane.stage.retire(range, clear);
        match staged {
            Some(owed) => Ok(owed),
            None => self.stage_anew(lane, range),
        }
    }

    /// As [`retire_in`](Self::retire_in), of one page in the block that was chosen from last, where there is room to stage it; else
    /// `None`, and nothing was done.
    ///
    /// # Errors
    /// As [`retire`](Self::retire).
    ///
    /// # Safety
    /// As [`unmap_owned`](Self::unmap_owned), unless it is `None`.
    #[inline]
    pub(crate) unsafe fn retire_page_in(
        &self,
        lane: &mut DomainLane,
        page: BusRange,
    ) -> Option<Result<(), RevokeError>> {
        let entries = self.entry_at_hand(&lane.owned, page)?;
        if !lane.stage.has_room() {
            return None;
        }
        let clear = || self.empty(&lane.words, entries);
        match lane.stage.retire(page, clear) {
            Some(_) => Some(Ok(())),
            None => Some(self.stage_anew(lane, page).map(|_| ())),
        }
    }

    /// As [`unmap_in`](Self::unmap_in), of one page in the block that was chosen from last; else `None`, and nothing was done.
    ///
    /// # Errors
    /// As [`unmap`](Self::unmap).
    ///
    /// # Safety
    /// As [`unmap_owned`](Self::unmap_owned), unless it is `None`.
    #[inline]
    pub(crate) unsafe fn unmap_page_in(
        &self,
        lane: &mut DomainLane,
        page: BusRange,
    ) -> Option<Result<(), RevokeError>> {
        let entries = self.entry_at_hand(&lane.owned, page)?;
        self.empty(&lane.words, entries);
        Some(self.forget_in(lane, page))
    }

    /// The entry of `page`, if it is one, in the block that was chosen from last.
    #[inline]
    fn entry_at_hand<'a>(&self, owned: &'a OwnedLane, page: BusRange) -> Option<&'a [AtomicU64]> {
        let granule = page.start().as_u64() >> self.page_size_log2;
        let entries = owned.entries_at_hand(granule, 1)?;
        (page.len_bytes() == 1 << self.page_size_log2).then_some(entries)
    }

    /// Clears entries of a lane.
    #[inline]
    fn empty(&self, words: &PageWords, entries: &[AtomicU64]) {
        withdraw(self.platform, words.coherence(), entries);
    }

    /// Stages a range that was cleared, with another ticket.
    #[cold]
    fn stage_anew(&self, lane: &mut DomainLane, range: BusRange) -> Result<Owed, RevokeError> {
        self.settle_lane(lane);
        let drawn = self.draw_for(lane) || (self.make_room() && self.draw_for(lane));
        match drawn.then(|| lane.stage.stage(range)).flatten() {
            Some(owed) => Ok(owed),
            // Without room to put it off, or where a flush has begun already, it is done now.
            None => self.forget_in(lane, range).map(|()| Owed::NOTHING),
        }
    }

    /// Gives the lane a ticket for what it retires next; whether it has one.
    fn draw_for(&self, lane: &mut DomainLane) -> bool {
        let (drawn, timer) = {
            let mut inner = self.inner.lock();
            let lent = inner.queue.lend_room(Room::Lent);
            let may = lent.is_ok() && inner.reach == Reach::Live;
            let drawn = may && inner.queue.draw_for(&mut lane.stage);
            (drawn, inner.queue.set_timer())
        };
        self.call_at(timer);
        drawn
    }

    /// Flushes what the lane has staged, as bus addresses are missing; whether it had staged any.
    #[cold]
    pub(crate) fn flush_addresses_in(&self, lane: &mut DomainLane) -> bool {
        let has_staged = lane.stage.extent().is_some();
        self.settle_lane(lane);
        has_staged
    }

    /// What the lane has staged is free, once units have confirmed to know it no more; or kept, where they did not.
    fn settle_lane(&self, lane: &mut DomainLane) {
        let outcome = match lane.stage.is_covered() {
            // What others flush needs no second time.
            true => self.flush_through(lane.stage.owed()),
            false => self.flush_lane(&mut lane.stage),
        };
        let DomainLane { owned, stage, .. } = lane;
        match outcome {
            Ok(()) => {
                for range in stage.ranges() {
                    // SAFETY: its entries were cleared when it was staged, and every unit has confirmed to know it no more.
                    unsafe { self.end_in(owned, range) };
                }
            }
            Err(error) => {
                let mut inner = self.inner.lock();
                inner.queue.lose_stage(stage, error);
                self.keep_addresses(&mut inner, stage.ranges());
                for range in stage.ranges() {
                    inner.give_up(Unconfirmed::of(Gather::of_leaves(self.platform, range)));
                }
            }
        }
        stage.clear();
    }

    /// Has the units forget what is staged, and nothing of others, as a [strict unmap](Self::forget_in) does: no lock is held, and
    /// whoever else retires waits for nothing. Others may flush meanwhile, also what is staged here: then it is flushed twice.
    fn flush_lane(&self, stage: &mut OwnStage) -> Result<(), RevokeError> {
        let Some(range) = stage.extent() else {
            return Ok(());
        };
        // No lane unlinks tables.
        let change = Change {
            range,
            tables: TableChange::Kept,
        };
        match self.each_walker(|unit| unit.invalidate(self.id, change)) {
            Ok(()) => {
                stage.note_flushed(self.platform.now_ns());
                Ok(())
            }
            Err(error) => {
                let mut inner = self.inner.lock();
                if inner.reach == Reach::Revoked {
                    // Whoever ended the domain meanwhile was told that no device is in it.
                    return Ok(());
                }
                inner.queue.count_lost_stage(stage);
                drop(inner);
                log_unconfirmed(error.into());
                Err(error.into())
            }
        }
    }

    /// Has the units forget `range`, the entries of which were cleared, and then frees it.
    #[inline]
    fn forget_in(&self, lane: &mut DomainLane, range: BusRange) -> Result<(), RevokeError> {
        // SAFETY: it was mapped, this call's caller took it, and no unit knows it any more.
        self.forget_and(range, || unsafe { self.end_in(&mut lane.owned, range) })
    }

    /// Lets a range of the lane be chosen again.
    ///
    /// # Safety
    /// It was chosen in the lane, whole, and its owner gives it up.
    #[inline(always)]
    unsafe fn end_in(&self, owned: &mut OwnedLane, range: BusRange) {
        let (start, log2) = (range.start(), self.page_size_log2);
        // SAFETY: the caller's promise.
        let end = |hot: &mut AtHand| unsafe { hot.end(start, 1, log2) };
        if !(self.is_page(range) && owned.at_hand().is_some_and(end)) {
            // SAFETY: the caller's promise.
            unsafe { self.end_any_in(owned, range) }
        }
    }

    /// The same wherever in the lane it is.
    ///
    /// # Safety
    /// As [`end_in`](Self::end_in).
    #[inline(never)]
    unsafe fn end_any_in(&self, owned: &mut OwnedLane, range: BusRange) {
        let Some(DomainLanes { lanes, .. }) = &self.lanes else {
            return;
        };
        let granule = range.start().as_u64() >> self.page_size_log2;
        let granules = (range.len_bytes() >> self.page_size_log2) as usize;
        // SAFETY: the caller's promise.
        if let Ended::Unused(block) = unsafe { lanes.end(owned, granule, granules) } {
            self.take_back(block);
        }
    }

    /// The entries of a range, if it is in the lane.
    ///
    /// # Safety
    /// The caller has the range.
    #[inline]
    unsafe fn entries_in<'a>(
        &self,
        owned: &'a OwnedLane,
        range: BusRange,
    ) -> Option<&'a [AtomicU64]> {
        let DomainLanes { lanes, .. } = self.lanes.as_ref()?;
        let granule = range.start().as_u64() >> self.page_size_log2;
        let granules = range.len_bytes() >> self.page_size_log2;
        if granules > MOST {
            return None;
        }
        // SAFETY: the caller's promise.
        unsafe { lanes.entries_in(owned, granule, granules as usize) }
    }
}
