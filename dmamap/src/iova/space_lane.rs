//! A part of a shared space for one owner: ranges without a lock, without a locked operation, and without asking which CPU it is.
//!
//! What a driver's ring needs: one thread begins and ends its ranges, mostly of one length. Others may still free what it began, by
//! the [space](SharedSpace::free) itself.
//!
//! ```no_run
//! use dmamap::addr::BusAddr;
//! use dmamap::iova::{IovaError, SharedSpace};
//! use dmamap::platform::Platform;
//!
//! fn example<P: Platform>(space: &SharedSpace<P>) -> Result<(), IovaError> {
//!     // For a device of 32 address lines.
//!     let mut lane = space.lane(BusAddr::new(0)..=BusAddr::new(u32::MAX.into()));
//!     let z = lane.allocate(4096)?;
//!     // SAFETY: it was just allocated, and is not used any more.
//!     unsafe { lane.free(z) }
//! }
//! ```

use core::ops::RangeInclusive;

use super::lanes::{ANYWHERE, Ended, LaneRequest, MOST, OwnedLane};
use super::shared::SharedSpace;
use super::units::{IN_WORD, WORD_LOG2};
use super::{IovaError, IovaRequest};
use crate::addr::{BusAddr, BusRange};
use crate::platform::Platform;

/// A lane of a [`SharedSpace`] that one owner has. It is lent bus addresses as it needs them, 512 granules at a time; what it has
/// nobody else is given, nor [reserved](SharedSpace::reserve), before it is dropped, and [counts](SharedSpace::statistics) do not
/// tell what of it is in use. Ranges that live when it is dropped go on living.
pub struct SpaceLane<'a, P: Platform> {
    space: &'a SharedSpace<P>,
    owned: OwnedLane,
    granule_log2: u32,
    granule_bytes: u64,
    limits: RangeInclusive<BusAddr>,
}

impl<P: Platform> SharedSpace<P> {
    /// A lane for ranges within `limits`, inclusive.
    pub fn lane(&self, limits: RangeInclusive<BusAddr>) -> SpaceLane<'_, P> {
        SpaceLane {
            space: self,
            owned: self.own(),
            granule_log2: self.granule_log2(),
            granule_bytes: 1 << self.granule_log2(),
            limits,
        }
    }
}

impl<P: Platform> SpaceLane<'_, P> {
    /// Chooses a range of `len_bytes`, at a multiple of that, or of the next power of two.
    ///
    /// # Errors
    /// As [`IovaSpace::allocate`](super::IovaSpace::allocate).
    #[inline]
    pub fn allocate(&mut self, len_bytes: u64) -> Result<BusRange, IovaError> {
        // One granule by itself: nearly nothing of it depends on its length then.
        let start = match len_bytes == self.granule_bytes {
            true => self.choose_at_hand((0, 1)),
            false => self.choose_few(len_bytes),
        };
        match start {
            Some(start) => Ok(BusRange::of_existing(start, len_bytes)),
            None => self.allocate_any(len_bytes),
        }
    }

    /// Begins a range of so many granules, if the word at hand has room for `2^order`.
    #[inline(always)]
    fn choose_at_hand(&mut self, size: (u32, usize)) -> Option<BusAddr> {
        let hot = self.owned.at_hand()?;
        hot.begin(size, ANYWHERE, self.granule_log2)
    }

    /// As [`choose_at_hand`](Self::choose_at_hand), of any length that a word has. It says no more than where, as that stays in registers.
    #[inline(never)]
    fn choose_few(&mut self, len_bytes: u64) -> Option<BusAddr> {
        if len_bytes.is_power_of_two() {
            let order = len_bytes.trailing_zeros().wrapping_sub(self.granule_log2);
            return match order <= WORD_LOG2 {
                true => self.choose_at_hand((order, 1 << order)),
                false => None,
            };
        }
        match IovaRequest::naturally_aligned(len_bytes).size_in(self.granule_log2)? {
            (order @ 0..=WORD_LOG2, granules) => self.choose_at_hand((order, granules as usize)),
            _ => None,
        }
    }

    /// As [`allocate`](Self::allocate), of any length, and wherever in the lane there is room.
    #[inline(never)]
    fn allocate_any(&mut self, len_bytes: u64) -> Result<BusRange, IovaError> {
        let request = IovaRequest::naturally_aligned(len_bytes)
            .from(*self.limits.start())
            .below(*self.limits.end());
        let Some(lane_request) = LaneRequest::of(&request, self.granule_log2) else {
            return self.space.allocate(request);
        };
        let chosen = match self.owned.choose(&lane_request) {
            Some((granule, _)) => Some(granule),
            None => {
                self.space.lend_to(&mut self.owned, &lane_request);
                self.owned.choose(&lane_request).map(|(granule, _)| granule)
            }
        };
        match chosen {
            Some(granule) => Ok(self.range(granule, len_bytes)),
            None => self.space.allocate(request),
        }
    }

    #[inline]
    fn range(&self, granule: u64, len_bytes: u64) -> BusRange {
        let start = BusAddr::new(granule << self.granule_log2);
        BusRange::of_existing(start, len_bytes)
    }

    /// Makes a range free again, whoever allocated it.
    ///
    /// # Errors
    /// As [`SharedSpace::free`].
    ///
    /// # Safety
    /// As [`SharedSpace::free`].
    #[inline]
    pub unsafe fn free(&mut self, range: BusRange) -> Result<(), IovaError> {
        // SAFETY: the caller's promise.
        let ended = unsafe {
            match range.len_bytes() == self.granule_bytes {
                true => self.end_at_hand(range, 1),
                false => self.end_at_hand(range, range.len_bytes() >> self.granule_log2),
            }
        };
        match ended {
            true => Ok(()),
            // SAFETY: the caller's promise.
            false => unsafe { self.free_any(range) },
        }
    }

    /// Ends a range of so many granules that is at hand, if a word may have as many; whether it is.
    ///
    /// # Safety
    /// As [`free`](Self::free), if it is.
    #[inline(always)]
    unsafe fn end_at_hand(&mut self, range: BusRange, granules: u64) -> bool {
        if granules.wrapping_sub(1) >= IN_WORD {
            return false;
        }
        let log2 = self.granule_log2;
        match self.owned.at_hand() {
            // SAFETY: the caller's promise.
            Some(hot) => unsafe { hot.end(range.start(), granules as usize, log2) },
            None => false,
        }
    }

    /// As [`free`](Self::free).
    ///
    /// # Safety
    /// As [`free`](Self::free).
    #[inline(never)]
    unsafe fn free_any(&mut self, range: BusRange) -> Result<(), IovaError> {
        let granule = range.start().as_u64() >> self.granule_log2;
        let granules = range.len_bytes() >> self.granule_log2;
        if granules.wrapping_sub(1) >= MOST {
            // SAFETY: the caller's promise.
            return unsafe { self.space.free(range) };
        }
        // SAFETY: the caller's promise.
        match unsafe {
            self.space
                .lanes()
                .end(&mut self.owned, granule, granules as usize)
        } {
            Ended::Done => Ok(()),
            Ended::Unused(block) => {
                self.space.take_back(block);
                Ok(())
            }
            // SAFETY: the caller's promise.
            Ended::Elsewhere => unsafe { self.space.free(range) },
        }
    }
}

impl<P: Platform> Drop for SpaceLane<'_, P> {
    fn drop(&mut self) {
        self.space.give_back(&mut self.owned);
    }
}
