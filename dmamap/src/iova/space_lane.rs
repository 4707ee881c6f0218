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

use super::lanes::{ANYWHERE, AtHand, Ended, LaneRequest, MOST, OwnedLane};
use super::shared::SharedSpace;
use super::units::IN_WORD;
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
        if len_bytes == self.granule_bytes
            && let Some(start) = self.choose_at_hand((0, 1))
        {
            return Ok(BusRange::of_existing(start, len_bytes));
        }
        self.allocate_long(len_bytes)
    }

    #[inline(always)]
    fn choose_at_hand(&mut self, size: (u32, usize)) -> Option<BusAddr> {
        let hot = self.owned.at_hand()?;
        hot.begin(size, ANYWHERE, self.granule_log2)
    }

    /// As [`allocate`](Self::allocate), of any length: as short where it is no more granules than a word has.
    #[inline(never)]
    fn allocate_long(&mut self, len_bytes: u64) -> Result<BusRange, IovaError> {
        let granules = len_bytes >> self.granule_log2;
        let is_whole = granules << self.granule_log2 == len_bytes;
        if is_whole && granules.wrapping_sub(1) < IN_WORD {
            let order = u64::BITS - (granules - 1).leading_zeros();
            let size = (order, granules as usize);
            if let Some(start) = self.choose_at_hand(size) {
                return Ok(BusRange::of_existing(start, len_bytes));
            }
        }
        self.allocate_any(len_bytes)
    }

    #[cold]
    fn allocate_any(&mut self, len_bytes: u64) -> Result<BusRange, IovaError> {
        let align_log2 = len_bytes.checked_next_power_of_two().map_or(0, u64::ilog2);
        let request = IovaRequest::new(len_bytes)
            .aligned(align_log2, 0)
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
        unsafe {
            match range.len_bytes() == self.granule_bytes && self.end_at_hand(range, 1) {
                true => Ok(()),
                false => self.free_long(range),
            }
        }
    }

    /// Ends a range of so many granules, no more than a word has, that is at hand; whether it is.
    ///
    /// # Safety
    /// As [`free`](Self::free), if it is.
    #[inline(always)]
    unsafe fn end_at_hand(&mut self, range: BusRange, granules: usize) -> bool {
        let log2 = self.granule_log2;
        // SAFETY: the caller's promise.
        let end = |hot: &mut AtHand| unsafe { hot.end(range.start(), granules, log2) };
        self.owned.at_hand().is_some_and(end)
    }

    /// As [`free`](Self::free), of any length: as short where it is in the word at hand.
    ///
    /// # Safety
    /// As [`free`](Self::free).
    #[inline(never)]
    unsafe fn free_long(&mut self, range: BusRange) -> Result<(), IovaError> {
        let granules = range.len_bytes() >> self.granule_log2;
        let is_short = granules.wrapping_sub(1) < IN_WORD;
        // SAFETY: the caller's promise.
        unsafe {
            match is_short && self.end_at_hand(range, granules as usize) {
                true => Ok(()),
                false => self.free_any(range),
            }
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
