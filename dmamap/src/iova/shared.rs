//! A space that many CPUs choose from at once.
//!
//! Most of what they ask is answered in a lane of their own (`lanes`), and the rest by the [`IovaSpace`] under its lock.
//! A domain does the same under the lock that it has for its tables, too.
//!
//! ```no_run
//! use dmamap::addr::BusRange;
//! use dmamap::iova::{IovaError, IovaRequest, SharedSpace};
//! use dmamap::platform::Platform;
//!
//! fn example<P: Platform>(platform: P, aperture: BusRange) -> Result<(), IovaError> {
//!     let space = SharedSpace::new(platform, aperture, 12)?;
//!     let z = space.allocate(IovaRequest::new(0x4000))?;
//!     // SAFETY: it was just allocated, and is not used any more.
//!     unsafe { space.free(z) }
//! }
//! ```

use super::lanes::{
    Freed, LaneRequest, Lanes, Lender, Lending, Level, NoChoice, OwnedLane, Parted, Recall,
    large_size, level_of,
};
use super::units::{IN_WORD, UNITS_LOG2, WORD_LOG2};
use super::{IovaError, IovaRequest, IovaSpace, IovaStatistics};
use crate::addr::{BusAddr, BusRange};
use crate::platform::Platform;

/// log2 of the most granules of a range that one word of large blocks tells of.
const IN_LARGE_WORD_LOG2: u32 = Level::Blocks.unit_log2() + WORD_LOG2;

/// Bus addresses that many CPUs choose from at once.
pub struct SharedSpace<P: Platform> {
    lanes: Lanes<P, ()>,
    locked: lock_api::Mutex<P::Lock, Locked<P>>,
}

struct Locked<P: Platform> {
    space: IovaSpace<P>,
    lender: Lender<P>,
}

impl<P: Platform> SharedSpace<P> {
    /// As [`IovaSpace::new`].
    ///
    /// # Errors
    /// [`IovaError::Granule`] unless a granule is 4 KiB to 1 GiB.
    pub fn new(platform: P, aperture: BusRange, granule_log2: u32) -> Result<Self, IovaError> {
        let space = IovaSpace::new(platform, aperture, granule_log2)?;
        Ok(Self {
            lanes: Lanes::new(platform, &space),
            locked: lock_api::Mutex::new(Locked {
                space,
                lender: Lender::new(platform),
            }),
        })
    }

    /// Chooses a range, as [`IovaSpace::allocate`].
    ///
    /// # Errors
    /// As [`IovaSpace::allocate`].
    #[inline]
    pub fn allocate(&self, request: IovaRequest) -> Result<BusRange, IovaError> {
        let log2 = self.granule_log2();
        let order = request.order_in(log2);
        if order <= WORD_LOG2 {
            let start = self.lanes.at_hand(Level::Granules, |hot| {
                hot.begin((order, 1 << order), request.limits(), log2)
            });
            if let Some(start) = start {
                return Ok(BusRange::of_existing(start, request.len_bytes()));
            }
        } else if let Some(size) = request.size_in(log2)
            && let Some(start) = self.choose_long(size, request.limits())
        {
            return Ok(BusRange::of_existing(start, request.len_bytes()));
        }
        // Only this copy is ever in memory, so that nothing of it is written on the ways above.
        let copy = request;
        match self.choose_any(&copy) {
            Some(start) => Ok(BusRange::of_existing(start, request.len_bytes())),
            None => self.allocate_locked(&copy),
        }
    }

    /// Where a range begins that is part of a power of two of granules, or more than a word has, in what is at hand of the lane of granules or
    /// that of large blocks. It is told and says no more than that, as that stays in registers.
    #[inline(never)]
    fn choose_long(&self, size: (u32, u64), limits: (BusAddr, BusAddr)) -> Option<BusAddr> {
        let log2 = self.granule_log2();
        match size {
            (order @ 0..UNITS_LOG2, granules) => self.lanes.at_hand(Level::Granules, |hot| {
                hot.begin_any((order, granules as usize), limits, log2)
            }),
            size @ (UNITS_LOG2..=IN_LARGE_WORD_LOG2, _) => {
                self.lanes.at_hand(Level::Blocks, |hot| {
                    let unit_log2 = log2 + Level::Blocks.unit_log2();
                    hot.begin_large(large_size(size), limits, unit_log2)
                })
            }
            _ => None,
        }
    }

    /// Where a range begins that any block of this CPU's lanes has room for, or one more that is lent to it.
    #[inline(never)]
    fn choose_any(&self, request: &IovaRequest) -> Option<BusAddr> {
        let log2 = self.granule_log2();
        let lane_request =
            LaneRequest::of(request, log2).or_else(|| LaneRequest::of_large(request, log2))?;
        let granule = match self.lanes.choose(&lane_request, |granule, _| granule) {
            Ok(granule) => granule,
            Err(why) => self.choose_otherwise(&lane_request, why)?,
        };
        Some(BusAddr::new(granule << log2))
    }

    /// The same once more, with another block, if all that is missing is room.
    #[cold]
    fn choose_otherwise(&self, request: &LaneRequest<'_>, why: NoChoice) -> Option<u64> {
        if why != NoChoice::NoRoom || !self.lend(request) {
            return None;
        }
        let chosen = self.lanes.choose(request, |granule, _| granule);
        chosen.ok()
    }

    fn lend(&self, request: &LaneRequest<'_>) -> bool {
        let mut locked = self.locked.lock();
        let Locked { space, lender } = &mut *locked;
        match self.lanes.lend(lender, space, request, |_| Some(None)) {
            Lending::Lent => true,
            Lending::Refused => false,
            Lending::Unused(block) => {
                self.lanes.take_back(lender, space, block, |_, _| ());
                false
            }
        }
    }

    pub(super) fn granule_log2(&self) -> u32 {
        self.lanes.granule_log2()
    }

    #[inline]
    pub(super) fn lanes(&self) -> &Lanes<P, ()> {
        &self.lanes
    }

    pub(super) fn own(&self) -> OwnedLane {
        self.lanes.own(&mut self.locked.lock().lender)
    }

    /// Lends an owner's lane a block; it may have none then.
    #[cold]
    pub(super) fn lend_to(&self, owned: &mut OwnedLane, request: &LaneRequest<'_>) {
        let Locked { space, lender } = &mut *self.locked.lock();
        let leaves = |_| Some(None);
        self.lanes.lend_to(owned, lender, space, request, leaves);
    }

    /// The space has all blocks of an owner's lane again.
    pub(super) fn give_back(&self, owned: &mut OwnedLane) {
        let Locked { space, lender } = &mut *self.locked.lock();
        // SAFETY: the lock is held, and nothing is called from within a lane.
        unsafe {
            self.lanes
                .give_back(owned, lender, space, |_, _| (), |_| ())
        };
    }

    /// The space has a block again that no lane has a use for.
    #[cold]
    pub(super) fn take_back(&self, block: Parted) {
        let Locked { space, lender } = &mut *self.locked.lock();
        self.lanes.take_back(lender, space, block, |_, _| ());
    }

    #[cold]
    fn allocate_locked(&self, request: &IovaRequest) -> Result<BusRange, IovaError> {
        let mut locked = self.locked.lock();
        match locked.space.allocate(*request) {
            // Lanes may hold what it needs.
            Err(IovaError::IovaExhausted { .. }) if locked.lender.has_lent() => {
                let widest = self.recall(&mut locked, Recall::Room(*request));
                let outcome = locked.space.allocate(*request);
                outcome.map_err(|error| error.beside_gap(widest << self.granule_log2()))
            }
            outcome => outcome,
        }
    }

    /// Makes a range free again.
    ///
    /// # Errors
    /// As [`IovaSpace::free`], where it is noticed that the promise was broken.
    ///
    /// # Safety
    /// The range was [allocated](Self::allocate), as it is, and not freed since.
    #[inline]
    pub unsafe fn free(&self, range: BusRange) -> Result<(), IovaError> {
        let log2 = self.granule_log2();
        let granules = range.len_bytes() >> log2;
        if granules.wrapping_sub(1) >= IN_WORD {
            // SAFETY: the caller's promise.
            return unsafe { self.free_long(range, granules) };
        }
        match self.lanes.at_hand(Level::Granules, |hot| {
            // SAFETY: the caller's promise.
            unsafe { hot.end(range.start(), granules as usize, log2) }.then_some(())
        }) {
            Some(()) => Ok(()),
            // SAFETY: the caller's promise.
            None => unsafe { self.free_any(range) },
        }
    }

    /// The same of ranges of more granules than a word has.
    ///
    /// # Safety
    /// As [`free`](Self::free).
    #[inline(never)]
    unsafe fn free_long(&self, range: BusRange, granules: u64) -> Result<(), IovaError> {
        let log2 = self.granule_log2();
        let freed = match level_of(granules) {
            Some((Level::Granules, granules)) => self.lanes.at_hand(Level::Granules, |hot| {
                // SAFETY: the caller's promise.
                unsafe { hot.end_long(range.start(), granules, log2) }.then_some(())
            }),
            Some((Level::Blocks, units)) if units as u64 <= IN_WORD => {
                self.lanes.at_hand(Level::Blocks, |hot| {
                    let unit_log2 = log2 + Level::Blocks.unit_log2();
                    // SAFETY: the caller's promise.
                    unsafe { hot.end(range.start(), units, unit_log2) }.then_some(())
                })
            }
            _ => None,
        };
        match freed {
            Some(()) => Ok(()),
            // SAFETY: the caller's promise.
            None => unsafe { self.free_any(range) },
        }
    }

    /// As [`free`](Self::free), of any range.
    ///
    /// # Safety
    /// As [`free`](Self::free).
    #[inline(never)]
    unsafe fn free_any(&self, range: BusRange) -> Result<(), IovaError> {
        let granule = range.start().as_u64() >> self.granule_log2();
        let Some((level, units)) = level_of(range.len_bytes() >> self.granule_log2()) else {
            return self.locked.lock().space.free(range);
        };
        // SAFETY: the caller's promise.
        match unsafe { self.lanes.free((level, granule), units) } {
            Freed::Done => Ok(()),
            freed => self.free_locked(freed, granule, range),
        }
    }

    /// What is left to do where the lane of this CPU did not do all.
    #[cold]
    fn free_locked(&self, freed: Freed, granule: u64, range: BusRange) -> Result<(), IovaError> {
        let mut locked = self.locked.lock();
        let Locked { space, lender } = &mut *locked;
        match freed {
            Freed::Done => Ok(()),
            Freed::Unused(block) => {
                self.lanes.take_back(lender, space, block, |_, _| ());
                Ok(())
            }
            Freed::Elsewhere => match self.lanes.look_locked(lender, granule) {
                Some(lent) => {
                    // SAFETY: `free` was promised that the caller has the range.
                    unsafe { lent.free() };
                    Ok(())
                }
                None => space.free(range),
            },
        }
    }

    /// Keeps `range` from being allocated, as [`IovaSpace::reserve`].
    ///
    /// # Errors
    /// As [`IovaSpace::reserve`].
    pub fn reserve(&self, range: BusRange) -> Result<(), IovaError> {
        let mut locked = self.locked.lock();
        self.recall(&mut locked, Recall::Addresses(range));
        locked.space.reserve(range)
    }

    /// Counts, what CPUs have among it.
    pub fn statistics(&self) -> IovaStatistics {
        let locked = self.locked.lock();
        // SAFETY: the lock is held, and nothing is called from within a lane.
        let (ranges, granules) = unsafe { self.lanes.count() };
        let mut statistics = locked.space.statistics();
        statistics.live_allocations += ranges;
        statistics.live_bytes += granules << self.granule_log2();
        statistics
    }

    /// Frames held.
    pub fn frames(&self) -> usize {
        let locked = self.locked.lock();
        locked.space.frames() + self.lanes.frames(&locked.lender)
    }

    /// Gives frames that are no longer needed back to the platform; returns how many.
    pub fn reclaim(&self) -> usize {
        let before = self.frames();
        let mut locked = self.locked.lock();
        self.recall(&mut locked, Recall::WithFrames);
        locked.space.reclaim();
        before.saturating_sub(locked.space.frames())
    }

    /// Says how many granules the longest run has that a lane kept.
    fn recall(&self, Locked { space, lender }: &mut Locked<P>, recall: Recall) -> u64 {
        // SAFETY: the lock is held, and nothing is called from within a lane.
        unsafe { self.lanes.recall(lender, space, recall, |()| (), |_, _| ()) }
    }
}
