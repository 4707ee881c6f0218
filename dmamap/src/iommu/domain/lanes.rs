//! Mapping and unmapping in the lane of a CPU: without the domain's lock, and without a walk.
//!
//! A lane has blocks of bus addresses ([`lanes`](crate::iova::lanes)), and for each the entries of the table
//! ([held](crate::pagetable)). What it does not serve, and whatever it is too late or too early for, goes the domain's own way, which
//! comes to the same. The order of taking Z back is that of [`Domain::unmap`]: clear, invalidate, wait, and only then
//! free.

use alloc::boxed::Box;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU64, Ordering};

use super::{Chooser, Domain, DomainError, Inner, Reach, RevokeError};
use crate::addr::{BusAddr, BusRange};
use crate::iommu::flush_queue::{Owed, Stage};
use crate::iommu::unconfirmed::Unconfirmed;
use crate::iommu::unit::Change;
use crate::iova::lanes::{
    Freed, LaneRequest, Lanes, Lending, LentRange, MOST, NoChoice, Parted, Recall,
};
use crate::iova::{IovaError, IovaRequest, IovaSpace};
use crate::pagetable::{Gather, Grant, LeafWords, PhysList, TableChange, WalkCoherence};
use crate::platform::Platform;

/// The lanes of a domain whose entries can be held.
pub(super) struct DomainLanes<P: Platform> {
    lanes: Lanes<P, Stage>,
    words: Box<dyn LeafWords>,
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

impl<P: Platform> DomainLanes<P> {
    pub(super) fn new(platform: P, space: &IovaSpace<P>, words: Box<dyn LeafWords>) -> Self {
        Self {
            lanes: Lanes::new(platform, space),
            words,
        }
    }

    /// Writes entries back where the unit does not snoop.
    fn publish(&self, platform: P, entries: &[AtomicU64]) {
        if self.words.coherence() == WalkCoherence::NotSnooped {
            platform.clean_cache(NonNull::from(entries).cast(), size_of_val(entries));
        }
    }

    /// Clears the entries of `range`, if that is the whole range that begins there.
    fn clear(
        &self,
        platform: P,
        lent: &LentRange<'_>,
        (range, page_log2): (BusRange, u32),
    ) -> Result<(), RevokeError> {
        let granules = lent.granules().ok_or(RevokeError::NotMapped)?;
        if granules as u64 != range.len_bytes() >> page_log2 {
            let mapping = BusRange::new(range.start(), (granules as u64) << page_log2);
            let mapping = mapping.map_err(|_| RevokeError::NotMapped)?;
            return Err(RevokeError::NotWhole { mapping });
        }
        let entries = lent.entries(granules);
        // They were written together, and are cleared together.
        if entries
            .first()
            .is_none_or(|entry| entry.load(Ordering::Relaxed) == 0)
        {
            return Err(RevokeError::NotMapped);
        }
        for entry in entries {
            entry.store(0, Ordering::Release);
        }
        self.publish(platform, entries);
        Ok(())
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
        let all @ DomainLanes { lanes, words } = self.lanes.as_ref()?;
        let lane_request = LaneRequest::of(&request, self.page_size_log2)?;
        let fitting = words.fits(memory, lane_request.granules)?;
        let mut choose = || {
            lanes.choose(&lane_request, |granule, entries| {
                let bus = BusAddr::new(granule << self.page_size_log2);
                words.write(bus, entries, memory, fitting, grant);
                all.publish(self.platform, entries);
                bus
            })
        };
        let chosen = match choose() {
            Err(NoChoice::NoRoom) if self.lend(&lane_request) => choose(),
            chosen => chosen,
        };
        BusRange::new(chosen.ok()?, request.len_bytes).ok()
    }

    /// Lends this CPU's lane a block; whether it has one.
    #[cold]
    fn lend(&self, request: &LaneRequest<'_>) -> bool {
        let Some(DomainLanes { lanes, .. }) = &self.lanes else {
            return false;
        };
        let lending = {
            let mut inner = self.inner.lock();
            // While a table is being unlinked, mappings are to invalidate for themselves, which lanes do not.
            let Inner {
                unlinking: 0,
                iova,
                lender,
                table: Some(table),
                reach: Reach::Live,
                chooser: Chooser::Layer,
                ..
            } = &mut *inner
            else {
                return false;
            };
            lanes.lend(lender, iova, request, |granule| {
                let bus = BusAddr::new(granule << self.page_size_log2);
                table.hold(bus).map(Some)
            })
        };
        match lending {
            Lending::Lent => true,
            Lending::Refused => false,
            Lending::Unused(block) => {
                self.take_back(block);
                false
            }
        }
    }

    /// The domain has a block again that a lane has no use for.
    #[cold]
    fn take_back(&self, block: Parted) {
        let mut gather = Gather::new(self.platform);
        let mut inner = self.inner.lock();
        self.take_back_locked(&mut inner, block, &mut gather);
        inner.note_unlinking(&gather);
        drop(inner);
        self.finish(gather);
    }

    /// The same with the lock; `gather` takes what is to be invalidated then.
    fn take_back_locked(&self, inner: &mut Inner<P>, block: Parted, gather: &mut Gather<P>) {
        let (
            Some(DomainLanes { lanes, .. }),
            Inner {
                iova,
                lender,
                table: Some(table),
                reach: Reach::Live,
                ..
            },
        ) = (&self.lanes, inner)
        else {
            // The domain has ended.
            return;
        };
        lanes.take_back(lender, iova, block, |granule| {
            let bus = BusAddr::new(granule << self.page_size_log2);
            table.let_go(bus, gather);
        });
    }

    /// The domain has all blocks again, with what is mapped in them. Returns what is to be invalidated then.
    pub(in crate::iommu) fn recall(&self, inner: &mut Inner<P>, recall: Recall) -> Gather<P> {
        let mut gather = Gather::new(self.platform);
        let Some(DomainLanes { lanes, .. }) = &self.lanes else {
            return gather;
        };
        if recall == Recall::KeepingFrames && !inner.lender.has_lent() {
            return gather;
        }
        let Inner {
            iova,
            lender,
            table,
            queue,
            ..
        } = inner;
        let let_go = |granule: u64| {
            if let Some(table) = table {
                let bus = BusAddr::new(granule << self.page_size_log2);
                table.let_go(bus, &mut gather);
            }
        };
        // SAFETY: the lock is held, and nobody is within a lane who takes it.
        unsafe { lanes.recall(lender, iova, recall, |stage| queue.take_in(stage), let_go) };
        inner.note_unlinking(&gather);
        gather
    }

    /// The domain has all blocks again.
    pub(super) fn call_back(&self, recall: Recall) {
        let mut inner = self.inner.lock();
        let emptied = self.recall(&mut inner, recall);
        drop(inner);
        self.finish(emptied);
    }

    /// Calls `f` with the lock and all blocks back: none is lent again before it is over.
    pub(super) fn with_blocks_back<T>(&self, f: impl FnOnce(&mut Inner<P>) -> T) -> T {
        let mut inner = self.inner.lock();
        let emptied = self.recall(&mut inner, Recall::KeepingFrames);
        let done = f(&mut inner);
        drop(inner);
        self.finish(emptied);
        done
    }

    /// Calls `choose`, which chooses bus addresses, with the lock; where there are none, once more with all blocks back, of which
    /// none is lent again between.
    pub(super) fn choose_locked<T>(
        &self,
        mut choose: impl FnMut(&mut Inner<P>) -> Result<T, DomainError>,
    ) -> Result<T, DomainError> {
        let mut inner = self.inner.lock();
        let chosen = choose(&mut inner);
        let is_exhausted = matches!(
            chosen,
            Err(DomainError::Iova(IovaError::IovaExhausted { .. }))
        );
        // Lanes may hold what it needs.
        if !is_exhausted || !inner.lender.has_lent() {
            return chosen;
        }
        let emptied = self.recall(&mut inner, Recall::KeepingFrames);
        let chosen = choose(&mut inner);
        drop(inner);
        self.finish(emptied);
        chosen
    }

    /// Has the units forget tables that lanes had no use for any more.
    pub(in crate::iommu) fn finish(&self, gather: Gather<P>) {
        if let Err((error, unconfirmed)) = self.sync(gather)
            && let Err(error) = self.keep(None, unconfirmed, error)
        {
            log::error!("an emptied table was not confirmed to be out of use: {error}");
        }
    }

    /// As [`unmap`](Self::unmap), of a mapping that somebody owns.
    ///
    /// # Errors
    /// As [`unmap`](Self::unmap).
    ///
    /// # Safety
    /// `range` is what a call of this domain returned that mapped it, and this is the first that takes it back.
    pub(crate) unsafe fn unmap_owned(&self, range: BusRange) -> Result<(), RevokeError> {
        let Some((all, granule, _)) = self.lanes_for(range) else {
            return self.unmap(range);
        };
        // SAFETY: the caller's promise.
        let cleared = unsafe {
            all.lanes.look(granule, |lent, _| {
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
        let change = Change {
            range,
            tables: TableChange::Kept,
        };
        match self.each_walker(|unit| unit.invalidate(self.id, change)) {
            Ok(()) => {
                // SAFETY: it was mapped, this call's caller took it, and no unit knows it any more.
                unsafe { self.free(range) };
                Ok(())
            }
            Err(error) => {
                let gather = Gather::of_leaves(self.platform, range);
                Ok(self.keep(Some(range), Unconfirmed::of(gather), error)?)
            }
        }
    }

    /// Clears the entries of `range` and stages it for the next flush.
    ///
    /// # Safety
    /// As [`unmap_owned`](Self::unmap_owned).
    pub(in crate::iommu) unsafe fn retire_in_lane(&self, range: BusRange) -> Staging {
        let Some((all, granule, _)) = self.lanes_for(range) else {
            return Staging::Elsewhere;
        };
        let retire = |lent: LentRange<'_>, stage: &mut Stage| {
            let Some(ticket) = stage.ticket() else {
                return Staging::NoTicket;
            };
            let cleared = all.clear(self.platform, &lent, (range, self.page_size_log2));
            Staging::Done(cleared.map(|()| stage.push(ticket, range)))
        };
        // SAFETY: the caller's promise.
        let staged = unsafe { all.lanes.look(granule, retire) };
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

    /// Lets `range` be chosen again.
    ///
    /// # Safety
    /// It was chosen, whole, and its owner gives it up.
    pub(super) unsafe fn free(&self, range: BusRange) {
        let Some((DomainLanes { lanes, .. }, granule, granules)) = self.lanes_for(range) else {
            return self.inner.lock().free(range);
        };
        // SAFETY: the caller's promise.
        match unsafe { lanes.free(granule, granules) } {
            Freed::Done => {}
            Freed::Unused(block) => self.take_back(block),
            Freed::Elsewhere => {
                let mut emptied = Gather::new(self.platform);
                let mut inner = self.inner.lock();
                // SAFETY: the caller's promise.
                unsafe { self.free_locked(&mut inner, range, &mut emptied) };
                inner.note_unlinking(&emptied);
                drop(inner);
                self.finish(emptied);
            }
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
        let Some((DomainLanes { lanes, .. }, granule, granules)) = self.lanes_for(range) else {
            return inner.free(range);
        };
        // SAFETY: the caller's promise.
        match unsafe { lanes.free(granule, granules) } {
            Freed::Done => {}
            Freed::Unused(block) => self.take_back_locked(inner, block, emptied),
            Freed::Elsewhere => match self.lent(inner, range) {
                // SAFETY: the caller's promise.
                Some(lent) => unsafe { lent.free() },
                None => inner.free(range),
            },
        }
    }

    /// The lanes, where a range may be in a lent block; its first granule, and how many it has.
    #[inline]
    fn lanes_for(&self, range: BusRange) -> Option<(&DomainLanes<P>, u64, usize)> {
        let granules = range.len_bytes() >> self.page_size_log2;
        let lanes = self.lanes.as_ref().filter(|_| granules <= MOST)?;
        let granule = range.start().as_u64() >> self.page_size_log2;
        Some((lanes, granule, granules as usize))
    }

    /// Where `range` begins in a lent block, with the lock.
    pub(super) fn lent<'a>(&self, inner: &'a Inner<P>, range: BusRange) -> Option<LentRange<'a>> {
        let (DomainLanes { lanes, .. }, granule, _) = self.lanes_for(range)?;
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

    /// Frames that lanes hold.
    pub(super) fn lane_frames(&self, inner: &Inner<P>) -> usize {
        let lanes = self.lanes.as_ref().map(|all| &all.lanes);
        lanes.map_or(0, |lanes| lanes.frames(&inner.lender))
    }
}
