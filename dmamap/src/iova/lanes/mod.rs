//! A lane for each CPU: bus addresses chosen without the lock of the space they come from.
//!
//! Blocks of 512 granules are lent out of an [`IovaSpace`], which then counts all of them as in use, to single CPUs. A CPU
//! begins and ends ranges in its blocks by plain stores (`lane.rs`), alone as it is with them ([`PerCpu`]). Which block an
//! address is in everybody finds (`directory.rs`); who frees a range of another CPU's leaves a bit in it (`lent.rs`).
//!
//! What a lane does not serve goes the way of the space itself: longer ranges, limits that its blocks are not within, spaces
//! that are not divided. What is seldom asked and about the whole space comes after all blocks were called
//! [back](Lanes::recall): what is reserved, kept or counted, and a last look for room.
//!
//! A block comes with the entries of a page table for its granules, where there is one: they are looked up once, when it is lent,
//! and whoever has a range writes its entries without a walk.

mod directory;
#[cfg(test)]
mod interleaved;
mod lane;
mod lent;
mod owned;

use core::ptr::NonNull;
use core::sync::atomic::AtomicU64;

use super::divided::Bounds;
use super::search::Fit;
use super::units::{Marks, UNITS, UNITS_LOG2};
use super::{IovaRequest, IovaSpace};
use crate::percpu::PerCpu;
use crate::platform::{Cpu, Platform};
use crate::slab::{Handle, Slab};
use crate::sync;
use directory::Directory;
use lane::{Lane, NotChosen};
pub(crate) use lent::Leaves;
use lent::LentBlock;
pub(crate) use owned::{Ended, OwnedLane};

/// The most granules of a range that lanes serve: longer ones are never in a lent block.
pub(crate) const MOST: u64 = UNITS as u64 / 2;

/// The lanes of a space. `S` is what else each CPU keeps for itself.
pub(crate) struct Lanes<P: Platform, S> {
    cpus: PerCpu<P, Seat<S>>,
    directory: Directory<P>,
    bounds: Bounds,
}

/// What a CPU has for itself.
struct Seat<S> {
    lane: Lane,
    beside: S,
}

/// What there is of lent blocks under the lock of their space.
pub(crate) struct Lender<P: Platform> {
    records: Slab<P, LentBlock>,
    /// Lanes there have been whose owner is no CPU.
    owners: usize,
}

/// A request that lanes serve.
pub(crate) struct LaneRequest<'a> {
    /// How many granules it asks for.
    pub(crate) granules: usize,
    /// `2^order` granules have room for it with its alignment.
    order: u32,
    granule_log2: u32,
    request: &'a IovaRequest,
}

/// Why no lane chose a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoChoice {
    /// This CPU's has no room: [lend](Lanes::lend) it a block.
    NoRoom,
    /// The space is to be asked.
    Elsewhere,
}

/// What became of a range that was to be freed.
pub(crate) enum Freed {
    /// It is free.
    Done,
    /// It is, and nothing is left in its block, which is to be [taken back](Lanes::take_back).
    Unused(Parted),
    /// It is not one of a lane, as far as this CPU can tell now: the space is to be asked.
    Elsewhere,
}

/// What became of a block that was to be lent.
pub(crate) enum Lending {
    /// This CPU's lane has it.
    Lent,
    /// There is none, or no memory for it.
    Refused,
    /// This CPU's lane is not to be had: the block is to be [taken back](Lanes::take_back).
    Unused(Parted),
}

/// A block that no lane has, and in which nothing is in use.
pub(crate) struct Parted(NonNull<LentBlock>);

// SAFETY: it stands for the block alone.
unsafe impl Send for Parted {}

impl<'a> LaneRequest<'a> {
    /// `None` where lanes serve no such requests: what the space says of them is said there.
    #[inline]
    pub(crate) fn of(request: &'a IovaRequest, granule_log2: u32) -> Option<Self> {
        let granules = request.len_bytes >> granule_log2;
        let is_whole = granules << granule_log2 == request.len_bytes;
        if !is_whole || granules.wrapping_sub(1) >= MOST || request.offset != 0 {
            return None;
        }
        let len_order = u64::BITS - (granules - 1).leading_zeros();
        let order = len_order.max(request.align_log2.saturating_sub(granule_log2));
        // At a multiple of its size nothing crosses a boundary that is no less.
        let is_within = request.boundary_log2 >= granule_log2 + len_order;
        (order < UNITS_LOG2 && is_within).then_some(Self {
            granules: granules as usize,
            order,
            granule_log2,
            request,
        })
    }

    /// Whether all of the block that begins with granule `start` is within the request's limits.
    #[inline]
    fn takes(&self, start: u64) -> bool {
        let first = start << self.granule_log2;
        let last = first + ((UNITS as u64) << self.granule_log2) - 1;
        self.request.first.as_u64() <= first && last <= self.request.last.as_u64()
    }
}

impl<P: Platform> Lender<P> {
    pub(crate) fn new(platform: P) -> Self {
        Self {
            records: Slab::new(platform),
            owners: 0,
        }
    }

    /// Whether any block is lent.
    pub(crate) fn has_lent(&self) -> bool {
        !self.records.is_empty()
    }
}

impl<P: Platform, S: Default> Lanes<P, S> {
    /// Of `space`, before anybody chose from it.
    pub(crate) fn new(platform: P, space: &IovaSpace<P>) -> Self {
        Self {
            cpus: PerCpu::new(platform, |_| Seat {
                lane: Lane::default(),
                beside: S::default(),
            }),
            directory: Directory::new(platform, space.divided.bounds.end),
            bounds: space.divided.bounds,
        }
    }

    /// Frames that are held for blocks that are lent.
    pub(crate) fn frames(&self, lender: &Lender<P>) -> usize {
        self.directory.frames() + lender.records.frames()
    }

    /// Begins a range in this CPU's lane and calls `begin` with its first granule and the entries for all of them, which stay
    /// what they are until the range is freed.
    #[inline]
    pub(crate) fn choose<R>(
        &self,
        request: &LaneRequest<'_>,
        begin: impl FnOnce(u64, &[AtomicU64]) -> R,
    ) -> Result<R, NoChoice> {
        let chosen = self.cpus.with(|_, Seat { lane, .. }| {
            let (granule, block) = lane.choose(request)?;
            Ok(begin(granule, block.entries(granule, request.granules)))
        });
        match chosen {
            Some(Ok(done)) => Ok(done),
            Some(Err(NotChosen::NoRoom)) if self.may_lend(request) => Err(NoChoice::NoRoom),
            Some(Err(_)) | None => Err(NoChoice::Elsewhere),
        }
    }

    /// Whether any block there may be is for such requests.
    #[cold]
    pub(crate) fn may_lend(&self, request: &LaneRequest<'_>) -> bool {
        let fit = Fit::of(*request.request, request.granule_log2);
        fit.is_ok_and(|fit| self.bounds.serve(&fit))
    }

    /// Calls `f` with the range that begins with this granule, and with what this CPU has beside its lane; `None` where it is not
    /// in a lent block, as far as this CPU can tell now.
    ///
    /// # Safety
    /// The caller has a range of the space that begins there.
    #[inline]
    pub(crate) unsafe fn look<R>(
        &self,
        granule: u64,
        f: impl FnOnce(LentRange<'_>, &mut S) -> R,
    ) -> Option<R> {
        let looked = self.cpus.with(|_, Seat { lane, beside }| {
            let block = match lane.hot_with(granule) {
                Some(hot) => hot,
                // SAFETY: the block has the caller's range, so it is not taken back but by who stops this CPU first.
                None => unsafe { self.directory.get(granule)?.as_ref() },
            };
            Some(f(LentRange { block, granule }, beside))
        });
        looked.flatten()
    }

    /// The range that begins with this granule, under the lock; `None` where it is not in a lent block.
    pub(crate) fn look_locked<'a>(
        &self,
        _lock: &'a Lender<P>,
        granule: u64,
    ) -> Option<LentRange<'a>> {
        // SAFETY: blocks are taken back under the lock, so what is found stays.
        let block = unsafe { self.directory.get(granule)?.as_ref() };
        Some(LentRange { block, granule })
    }

    /// Calls `f` with what this CPU has beside its lane; `None` where that is not to be had now.
    pub(crate) fn beside<R>(&self, f: impl FnOnce(&mut S) -> R) -> Option<R> {
        self.cpus.with(|_, Seat { beside, .. }| f(beside))
    }

    /// Calls `f` with what each CPU has beside its lane.
    ///
    /// # Safety
    /// As [`recall`](Self::recall).
    pub(crate) unsafe fn each_beside(&self, mut f: impl FnMut(&mut S)) {
        // SAFETY: one at a time has the lock.
        let mut stopped = unsafe { self.cpus.stop() };
        stopped.each().for_each(|seat| f(&mut seat.beside));
    }

    /// Frees a range of `len` granules.
    ///
    /// # Safety
    /// The caller has the range, whole, and gives it up.
    #[inline]
    pub(crate) unsafe fn free(&self, granule: u64, len: usize) -> Freed {
        let freed = self.cpus.with(|cpu, Seat { lane, .. }| {
            if let Some(hot) = lane.hot_with(granule) {
                hot.end_range(granule, len);
                return Freed::Done;
            }
            // SAFETY: the caller's promise.
            unsafe { self.free_found(cpu, lane, granule, len) }
        });
        freed.unwrap_or(Freed::Elsewhere)
    }

    /// The same where the block is another one than the last.
    ///
    /// # Safety
    /// As [`free`](Self::free).
    unsafe fn free_found(&self, cpu: Cpu, lane: &mut Lane, granule: u64, len: usize) -> Freed {
        let Some(block) = self.directory.get(granule) else {
            return Freed::Elsewhere;
        };
        // SAFETY: the block has the caller's range, so it is not taken back but by who stops this CPU first.
        let block = unsafe { block.as_ref() };
        if block.owner() != cpu {
            block.leave(granule);
            return Freed::Done;
        }
        match lane.end_range(block, granule, len) {
            None => Freed::Done,
            Some(unused) => Freed::Unused(Parted(unused)),
        }
    }

    /// Lends this CPU another block for requests like this one. `leaves` is asked for the entries that go with the block whose
    /// first granule it is given; it says `None` where they are not to be had.
    pub(crate) fn lend(
        &self,
        lender: &mut Lender<P>,
        space: &mut IovaSpace<P>,
        request: &LaneRequest<'_>,
        leaves: impl FnOnce(u64) -> Option<Option<Leaves>>,
    ) -> Lending {
        let Some((block, record)) = self.record(lender, space, request, leaves) else {
            return Lending::Refused;
        };
        // SAFETY: it was just recorded, and is taken back under the lock.
        let it = unsafe { block.as_ref() };
        let lent = self.cpus.with(|cpu, Seat { lane, .. }| {
            it.become_of(cpu, record);
            self.directory.set(it.start, Some(block));
            lane.add(block);
        });
        match lent {
            Some(()) => Lending::Lent,
            None => {
                it.become_of(Cpu(usize::MAX), record);
                Lending::Unused(Parted(block))
            }
        }
    }

    /// A block that is lent, with its record, and that is nobody's yet; `None` where there is none, or no memory for it.
    fn record(
        &self,
        lender: &mut Lender<P>,
        space: &mut IovaSpace<P>,
        request: &LaneRequest<'_>,
        leaves: impl FnOnce(u64) -> Option<Option<Leaves>>,
    ) -> Option<(NonNull<LentBlock>, Handle<LentBlock>)> {
        let fit = Fit::of(*request.request, request.granule_log2).ok()?;
        let (block, start) = space.lend(&fit)?;
        let has_room = lender.records.reserve(1).is_ok() && self.directory.make_way(start).is_ok();
        let leaves = has_room.then(|| leaves(start)).flatten();
        let Some(leaves) = leaves else {
            space.take_back(block, Marks::FREE);
            return None;
        };
        let record = lender.records.insert(LentBlock::new(start, block, leaves));
        let Ok(record) = record else {
            unreachable!("room for a record was reserved");
        };
        Some((NonNull::from(&lender.records[record]), record))
    }

    /// The space has an unused block again; `part` is called with its first granule, as nobody needs its entries any more.
    pub(crate) fn take_back(
        &self,
        lender: &mut Lender<P>,
        space: &mut IovaSpace<P>,
        Parted(block): Parted,
        part: impl FnOnce(u64),
    ) {
        // SAFETY: a block that no lane has stays until this.
        let block = unsafe { block.as_ref() };
        self.give(lender, space, block, part);
    }

    /// The space has a block again, with all ranges in it.
    fn give(
        &self,
        lender: &mut Lender<P>,
        space: &mut IovaSpace<P>,
        block: &LentBlock,
        part: impl FnOnce(u64),
    ) {
        let (start, record) = (block.start, block.record());
        part(start);
        self.directory.set(start, None);
        space.take_back(block.block, block.marks());
        if let Some(record) = record {
            lender.records.remove(record);
        }
    }

    /// Calls all blocks back, with all ranges in them: from now on the space has these. `part` is called with the first granule
    /// of each block whose entries are no longer kept for it; `beside` with what each CPU has beside its lane, before.
    ///
    /// # Safety
    /// The caller has the lock that `lender` and `space` are under, and is within no other call of these lanes.
    pub(crate) unsafe fn recall(
        &self,
        lender: &mut Lender<P>,
        space: &mut IovaSpace<P>,
        recall: Recall,
        mut beside: impl FnMut(&mut S),
        mut part: impl FnMut(u64),
    ) {
        // SAFETY: one at a time has the lock.
        let mut stopped = unsafe { self.cpus.stop() };
        for seat in stopped.each() {
            beside(&mut seat.beside);
            while let Some(block) = seat.lane.take() {
                // SAFETY: the lane had it, and all are stopped.
                let block = unsafe { block.as_ref() };
                block.collect();
                self.give(lender, space, block, &mut part);
            }
        }
        if recall != Recall::KeepingFrames {
            if lender.records.is_empty() {
                // SAFETY: no CPU looks: those in lanes are stopped, others have the lock.
                unsafe { self.directory.free() };
            }
            lender.records.reclaim();
        }
        if recall == Recall::ForGood {
            stopped.forever();
        }
    }
}

/// What a [recall](Lanes::recall) is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Recall {
    /// What is in use: lanes are lent blocks again, perhaps at once.
    KeepingFrames,
    /// Frames too that were held for lent blocks.
    WithFrames,
    /// All of it, and no lane is used any more.
    ForGood,
}

/// Where a range may begin in a lent block.
pub(crate) struct LentRange<'a> {
    block: &'a LentBlock,
    granule: u64,
}

impl LentRange<'_> {
    /// How many granules the range has that begins there; `None` if none does. Of a range that is not the caller's it may be
    /// anything.
    #[inline]
    pub(crate) fn granules(&self) -> Option<usize> {
        self.block.range_at(self.granule)
    }

    /// The entries of so many granules from there on; none where the blocks have none.
    #[inline]
    pub(crate) fn entries(&self, granules: usize) -> &[AtomicU64] {
        self.block.entries(self.granule, granules)
    }

    /// Frees the range, which its owner will find.
    ///
    /// # Safety
    /// The caller has it and gives it up.
    pub(crate) unsafe fn free(self) {
        self.block.leave(self.granule);
    }

    /// Keeps the range from being chosen again, also when its block goes back to the space, which keeps it then. Under the space's
    /// lock.
    ///
    /// # Safety
    /// As [`free`](Self::free).
    pub(crate) unsafe fn keep(self) {
        self.block.keep(self.granule);
    }
}
