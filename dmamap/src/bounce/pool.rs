//! A pool: a table of areas, which get memory when they are first needed.
//!
//! What was given back on a CPU that CPU keeps ready, and lends again without a lock (`ready`). The first areas are the CPUs' own: an
//! allocation goes on with the current CPU's, so that CPUs rarely meet at a lock, and then to the others. When none has room the
//! next area gets memory, up to the pool's limit; when that is reached, what CPUs keep ready is called back; and when that does
//! not help, or the mapping is longer than an area, the mapping gets frames of its own.

use core::ops::Range;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use alloc::boxed::Box;

use super::area::{Area, Lent, Memory};
use super::buddy::{Buddy, ORDERS};
use super::figures::{Level, PoolFigures};
use super::growth::Growing;
use super::magazine::{Magazine, RunStart};
use super::record::Holds;
use super::request::RunRequest;
use super::run::{Place, Run, RunPlace};
use super::tally::Tally;
use super::transient::{TransientRun, TransientRuns};
use super::{BounceError, SLOT_BYTES, SLOT_SIZE_LOG2};
use crate::addr::{BusAddr, BusRange, FRAME_BYTES, FRAME_SIZE_LOG2, PhysAddr, PhysRange};
use crate::iommu::DomainError;
use crate::percpu::PerCpu;
use crate::platform::Platform;
use crate::slab::Handle;

/// Areas of a pool.
const AREAS: usize = 64;

/// The device that memory is asked for, as far as a pool needs to know it.
pub(crate) trait Exposure {
    /// The highest physical address that is of use.
    fn last(&self) -> PhysAddr;

    /// Whether the device can be given memory at `frames`, which the device always has at `bus`.
    fn reaches(&self, frames: PhysRange, bus: Option<BusAddr>) -> bool;

    /// Called once for new memory of an area: where the device always has it, if it is to have it always.
    fn expose(&self, frames: PhysRange) -> Result<Option<BusAddr>, DomainError>;
}

/// Where a pool's memory comes from.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Growth {
    /// The platform's frames, when they are needed.
    OnDemand,
    /// It was given this memory and gets no more.
    Fixed(PhysRange),
}

pub(crate) struct Pool<P: Platform> {
    pub(super) platform: P,
    pub(super) growth: Growth,
    pub(super) areas: Box<[Area<P>]>,
    /// Areas that are a CPU's own.
    pub(super) homes: usize,
    pub(super) area_log2: AtomicU32,
    pub(super) limit_bytes: AtomicU64,
    /// Those that are lost, too.
    pub(super) bytes: AtomicU64,
    pub(super) lost_bytes: AtomicU64,
    /// What each CPU keeps ready.
    pub(super) cpus: PerCpu<P, Magazine>,
    /// The most slots that one keeps.
    pub(super) most_kept: AtomicU32,
    /// Held by whoever stops all CPUs.
    pub(super) recalls: lock_api::Mutex<P::Lock, ()>,
    pub(super) tally: Tally,
    transients: lock_api::Mutex<P::Lock, TransientRuns<P>>,
    transient: Level,
    refused: AtomicU64,
}

impl<P: Platform> Pool<P> {
    /// A pool without memory.
    pub(crate) fn new(platform: P, area_bytes: u64, limit_bytes: u64) -> Self {
        let pool = Self {
            platform,
            growth: Growth::OnDemand,
            areas: (0..AREAS).map(|_| Area::empty()).collect(),
            homes: platform.cpu_count().clamp(1, AREAS / 2),
            area_log2: AtomicU32::new(0),
            limit_bytes: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            lost_bytes: AtomicU64::new(0),
            cpus: PerCpu::new(platform, |_| Magazine::EMPTY),
            most_kept: AtomicU32::new(0),
            recalls: lock_api::Mutex::new(()),
            tally: Tally::new(platform.cpu_count()),
            transients: lock_api::Mutex::new(TransientRuns::new(platform)),
            transient: Level::default(),
            refused: AtomicU64::new(0),
        };
        pool.set_limits(area_bytes, limit_bytes);
        pool
    }

    /// A pool of `memory` alone.
    ///
    /// # Errors
    /// [`BounceError::Exhausted`] where there are no frames for its bookkeeping, or `memory` is no whole frame.
    ///
    /// # Safety
    /// `memory` is RAM that the platform has a pointer to and that nobody else uses, now or later.
    pub(crate) unsafe fn of(platform: P, memory: PhysRange) -> Result<Self, BounceError> {
        let pool = Self {
            growth: Growth::Fixed(memory),
            ..Self::new(platform, FRAME_BYTES, 0)
        };
        let end = memory.start().as_u64().saturating_add(memory.len_bytes());
        let end = end >> FRAME_SIZE_LOG2 << FRAME_SIZE_LOG2;
        let mut start = memory.start().as_u64().next_multiple_of(FRAME_BYTES);
        let nothing = BounceError::Exhausted {
            len_bytes: memory.len_bytes(),
            last: memory.last(),
        };
        for area in &pool.areas {
            let Some(left) = end.checked_sub(start).filter(|&left| left >= FRAME_BYTES) else {
                break;
            };
            // The largest block that is aligned to its own size.
            let aligned_log2 = start.trailing_zeros().min(left.ilog2());
            let log2 = aligned_log2.min(SLOT_SIZE_LOG2 + ORDERS as u32 - 1);
            let frames = PhysRange::new(PhysAddr::new(start), 1 << log2).map_err(|_| nothing)?;
            let free = Buddy::new(platform, Area::<P>::order_of(1 << log2)).map_err(|_| nothing)?;
            if area.claim() {
                let bus = None;
                area.install(Memory { frames, bus, free });
            }
            pool.bytes.fetch_add(1 << log2, Ordering::Relaxed);
            start += 1 << log2;
        }
        match pool.bytes.load(Ordering::Relaxed) {
            0 => Err(nothing),
            bytes => {
                pool.set_most_kept(bytes, bytes);
                Ok(pool)
            }
        }
    }

    /// How long areas made from now on are, and how much they may hold together.
    pub(crate) fn set_limits(&self, area_bytes: u64, limit_bytes: u64) {
        let longest = SLOT_BYTES << (ORDERS - 1);
        let area_bytes = area_bytes.clamp(FRAME_BYTES, longest);
        let area_log2 = area_bytes.next_power_of_two().ilog2();
        self.area_log2.store(area_log2, Ordering::Relaxed);
        self.limit_bytes.store(limit_bytes, Ordering::Relaxed);
        self.set_most_kept(1 << area_log2, limit_bytes);
    }

    /// A CPU keeps no more than an area, and all CPUs no more than half of the pool.
    fn set_most_kept(&self, area_bytes: u64, limit_bytes: u64) {
        let share = limit_bytes / (2 * self.platform.cpu_count().max(1) as u64);
        let slots = area_bytes.min(share) >> SLOT_SIZE_LOG2;
        // An area is at most 2^15 slots, but what a pool was given may be more.
        let slots = u32::try_from(slots).unwrap_or(u32::MAX);
        self.most_kept.store(slots, Ordering::Relaxed);
    }

    /// Whether it was given its memory and gets no more.
    pub(crate) fn is_restricted(&self) -> bool {
        matches!(self.growth, Growth::Fixed(_))
    }

    /// Whether `frames` are of the memory that it was given.
    pub(crate) fn was_given(&self, frames: PhysRange) -> bool {
        matches!(self.growth, Growth::Fixed(memory) if memory.covers(frames))
    }

    /// Bytes of the longest run that an idle pool is sure to lend a device that `exposure` speaks for: that of an area, as a
    /// pool that grows may find no memory for longer ones.
    pub(crate) fn longest_run(&self, exposure: &dyn Exposure) -> u64 {
        match self.growth {
            Growth::OnDemand => 1 << self.area_log2.load(Ordering::Relaxed),
            Growth::Fixed(_) => {
                let areas = self.areas.iter().filter_map(Area::frames);
                let reached = areas.filter(|&frames| exposure.reaches(frames, None));
                reached.map(PhysRange::len_bytes).max().unwrap_or(0)
            }
        }
    }

    /// Lends memory for a mapping.
    ///
    /// # Errors
    /// [`BounceError`]; nothing is lent then.
    #[inline]
    pub(crate) fn allocate(
        &self,
        want: &RunRequest,
        exposure: &impl Exposure,
    ) -> Result<Run, BounceError> {
        match self.lend_ready(want, exposure) {
            Some(run) => Ok(run),
            None => self.allocate_slowly(want, exposure),
        }
    }

    #[cold]
    #[inline(never)]
    fn allocate_slowly(
        &self,
        want: &RunRequest,
        exposure: &dyn Exposure,
    ) -> Result<Run, BounceError> {
        let found = self.find_room(want, exposure);
        if found.is_err() {
            self.refused.fetch_add(1, Ordering::Relaxed);
        }
        found
    }

    fn find_room(&self, want: &RunRequest, exposure: &dyn Exposure) -> Result<Run, BounceError> {
        let too_long = || BounceError::TooLong {
            len_bytes: want.len_bytes,
            max_bytes: self.longest_run(exposure),
        };
        if let Some((order, keep)) = block_of_area(want) {
            let growing = match self.slots(order, &keep, want, exposure) {
                Ok(run) => return Ok(run),
                Err(growing) => growing,
            };
            if let Growing::Lost(cause) = growing {
                return Err(BounceError::Unconfirmed { cause });
            }
            if self.is_restricted() {
                let last = exposure.last();
                let fits = want.len_bytes <= self.longest_run(exposure);
                return Err(if fits {
                    BounceError::Exhausted {
                        len_bytes: want.len_bytes,
                        last,
                    }
                } else {
                    too_long()
                });
            }
        }
        match self.growth {
            Growth::OnDemand => self.allocate_transient(want, exposure),
            Growth::Fixed(_) => Err(too_long()),
        }
    }

    /// Lends slots of an area, or nothing where there are none.
    pub(crate) fn lend_slots(&self, want: &RunRequest, exposure: &impl Exposure) -> Option<Run> {
        if let Some(run) = self.lend_ready(want, exposure) {
            return Some(run);
        }
        let (order, keep) = block_of_area(want)?;
        self.slots(order, &keep, want, exposure).ok()
    }

    /// Slots of an area that has some, or gets them. Without any it tells why none got them.
    fn slots(
        &self,
        order: u32,
        keep: &Range<u32>,
        want: &RunRequest,
        exposure: &dyn Exposure,
    ) -> Result<Run, Growing> {
        let home = self.platform.pin(|cpu| cpu.0 % self.homes);
        let mut growing = self.populate(home, order, exposure);
        if let Some(run) = self.lend_several(order, keep, want, exposure) {
            return Ok(run);
        }
        let any = |from: usize| {
            let mut areas = (from..self.areas.len()).chain(0..from);
            areas.find_map(|n| self.take(n, order, keep, want, exposure))
        };
        if let Some(run) = any(home) {
            return Ok(run);
        }
        for n in (self.homes..self.areas.len()).chain(0..self.homes) {
            // What one area is not given none is: it is not asked for again.
            if let Growing::NoMemory | Growing::Lost(_) = growing {
                break;
            }
            growing = self.populate(n, order, exposure);
            if growing == Growing::Grown
                && let Some(run) = self.take(n, order, keep, want, exposure)
            {
                return Ok(run);
            }
        }
        if let Growing::Lost(_) = growing {
            return Err(growing);
        }
        // What CPUs keep ready is free, too.
        let recalled = self.recall(|| any(home));
        recalled.flatten().ok_or(growing)
    }

    fn take(
        &self,
        area: usize,
        order: u32,
        keep: &Range<u32>,
        want: &RunRequest,
        exposure: &dyn Exposure,
    ) -> Option<Run> {
        let mut taken = None;
        let reaches = |frames, bus| exposure.reaches(frames, bus);
        self.areas[area].take(order, keep, 1, reaches, |slot| taken = Some(slot));
        let (slot, slots) = (taken?, keep.end - keep.start);
        self.platform.pin(|cpu| self.tally.take(cpu, slots, 0));
        Some(self.lend(area, slot, slots, want))
    }

    fn allocate_transient(
        &self,
        want: &RunRequest,
        exposure: &dyn Exposure,
    ) -> Result<Run, BounceError> {
        let last = exposure.last();
        let exhausted = BounceError::Exhausted {
            len_bytes: want.len_bytes,
            last,
        };
        let (len_bytes, align_log2) = want.frames().ok_or(exhausted)?;
        let memory = self.frames(len_bytes, align_log2, last).ok_or(exhausted)?;
        let purpose = want.purpose(want.offset);
        let noted = exposure.reaches(memory, None).then(|| {
            let run = TransientRun::new(memory, purpose);
            self.transients.lock().insert(run)
        });
        let Some(Ok(handle)) = noted else {
            // SAFETY: just lent to us, and no device was given it.
            unsafe { self.platform.free_frames(memory) };
            return Err(exhausted);
        };
        self.transient.rise(1);
        Ok(Run {
            place: Place::Transient(handle),
            memory,
            purpose,
            bus: None,
            holds: Holds::Anything,
        })
    }

    /// Takes a run back.
    ///
    /// # Safety
    /// The run is of this pool, and no device is using it for the mapping that it was lent for.
    #[inline]
    pub(crate) unsafe fn release(&self, run: Run) {
        match run.place {
            Place::Slots(start) => self.give_back(start),
            Place::Transient(handle) => {
                let removed = self.transients.lock().remove(handle);
                if let Some(removed) = removed {
                    self.transient.fall(1);
                    // SAFETY: lent as one range for this run alone, which the caller says is used by nobody.
                    unsafe { self.platform.free_frames(removed.memory) };
                }
            }
        }
    }

    pub(crate) fn anything_lent(&self) -> bool {
        self.tally.lent() != 0 || self.transient.now() != 0
    }

    /// The run that was lent for a mapping whose first byte the device finds at physical `first`.
    pub(crate) fn find(&self, first: PhysAddr) -> Option<Run> {
        let mut areas = self.areas.iter().enumerate();
        let found = areas.find_map(|(n, area)| Some(run(n, area.find(first)?)));
        if found.is_some() {
            return found;
        }
        if self.transient.now() == 0 {
            return None;
        }
        let transients = self.transients.lock();
        let is_it =
            |run: &TransientRun| run.memory.start().checked_add(run.purpose.offset) == Some(first);
        let (handle, found) = transients.find(is_it)?;
        Some(transient(handle, found))
    }

    /// The run that is lent there.
    ///
    /// # Safety
    /// It was lent by this pool and was not [released](Self::release).
    #[inline]
    pub(crate) unsafe fn run(&self, RunPlace(place): RunPlace) -> Option<Run> {
        match place {
            Place::Slots(start) => {
                // SAFETY: the caller's promise.
                let lent = unsafe { self.areas.get(start.area())?.run(start.slot()) }?;
                Some(run(start.area(), lent))
            }
            Place::Transient(handle) => {
                let transients = self.transients.lock();
                Some(transient(handle, transients.get(handle)?))
            }
        }
    }

    /// Gives the platform back the areas of which nothing is lent.
    ///
    /// # Safety
    /// No device reaches the pool's memory but through a mapping that lives.
    pub(crate) unsafe fn release_idle(&self) {
        // SAFETY: the caller's promise.
        unsafe { self.release_idle_where(|_| true) };
    }

    /// As [`release_idle`](Self::release_idle), of areas that devices always have those of which `lost` says that none does
    /// any more; the others are kept for good.
    ///
    /// # Safety
    /// As [`release_idle`](Self::release_idle), for what `lost` is true of or is in no device's tables.
    pub(crate) unsafe fn release_idle_where(&self, lost: impl Fn(BusRange) -> bool) {
        if self.is_restricted() {
            return;
        }
        self.recall(|| ());
        for area in &self.areas {
            if let Some(memory) = area.take_idle() {
                let len_bytes = memory.frames.len_bytes();
                let bus = memory
                    .bus
                    .and_then(|bus| BusRange::new(bus, len_bytes).ok());
                if !bus.is_none_or(&lost) {
                    // The area stays taken.
                    continue;
                }
                // SAFETY: lent as one range; nothing of it is lent on, and the caller says that no device has it.
                unsafe { self.platform.free_frames(memory.frames) };
                drop(memory.free);
                self.bytes.fetch_sub(len_bytes, Ordering::Relaxed);
                area.give_up();
            }
        }
        self.transients.lock().reclaim();
    }

    /// From the first to the last byte of a pool that was given its memory.
    pub(crate) fn memory(&self) -> Option<PhysRange> {
        if self.growth == Growth::OnDemand {
            return None;
        }
        let mut whole: Option<PhysRange> = None;
        for area in &self.areas {
            let Some(frames) = area.frames() else {
                continue;
            };
            whole = Some(match whole {
                None => frames,
                Some(known) => {
                    let start = known.start().min(frames.start());
                    let last = known.last().max(frames.last());
                    PhysRange::new(start, last.as_u64() - start.as_u64() + 1).ok()?
                }
            });
        }
        whole
    }

    pub(crate) fn figures(&self) -> PoolFigures {
        let lost_bytes = self.lost_bytes.load(Ordering::Relaxed);
        let bytes = self.bytes.load(Ordering::Relaxed);
        let bytes = bytes.saturating_sub(lost_bytes);
        PoolFigures {
            bytes,
            lost_bytes,
            slots: bytes >> SLOT_SIZE_LOG2,
            slots_in_use: self.tally.lent(),
            slots_high_water: self.tally.high_water(),
            transient: self.transient.now(),
            transient_high_water: self.transient.high_water(),
            refused: self.refused.load(Ordering::Relaxed),
        }
    }
}

/// The block of slots that a run of `want` lies in, if an area may have one, and which of its slots the run needs.
fn block_of_area(want: &RunRequest) -> Option<(u32, Range<u32>)> {
    want.block().filter(|(order, _)| *order < ORDERS as u32)
}

#[inline]
pub(super) fn run(area: usize, lent: Lent) -> Run {
    Run {
        place: Place::Slots(RunStart::new(area, lent.slot)),
        memory: lent.memory,
        purpose: lent.purpose,
        bus: lent.bus,
        holds: lent.holds,
    }
}

fn transient(handle: Handle<TransientRun>, noted: &TransientRun) -> Run {
    Run {
        place: Place::Transient(handle),
        memory: noted.memory,
        purpose: noted.purpose,
        bus: None,
        holds: Holds::Anything,
    }
}
