//! How a pool gets memory: an area at a time, of the largest size that is to be had.

use core::sync::atomic::Ordering;

use super::SLOT_SIZE_LOG2;
use super::area::{Area, Memory};
use super::buddy::Buddy;
use super::pool::{Exposure, Pool};
use crate::addr::{FRAME_BYTES, FRAME_SIZE_LOG2, PhysAddr, PhysRange};
use crate::iommu::{DomainError, UnitError};
use crate::platform::{FrameRequest, Platform};

/// What became of giving an area memory.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Growing {
    /// It has memory now.
    Grown,
    /// It had some, or somebody else is at it.
    Taken,
    /// There is none: in the platform, within the pool's limit, or that the device can be given.
    NoMemory,
    /// There was, and a device may reach it although it was not given to it.
    Lost(UnitError),
}

/// Why there is no memory for an area.
enum NoArea {
    NoMemory,
    Lost(UnitError),
}

impl<P: Platform> Pool<P> {
    /// Gives area `n`, if it has none, memory with room for a block of `2^order` slots.
    pub(super) fn populate(&self, n: usize, order: u32, exposure: &dyn Exposure) -> Growing {
        let most = self.area_log2.load(Ordering::Relaxed);
        let least = (SLOT_SIZE_LOG2 + order).max(FRAME_SIZE_LOG2);
        if self.is_restricted() || least > most {
            return Growing::NoMemory;
        }
        if !self.areas[n].is_empty() || !self.areas[n].claim() {
            return Growing::Taken;
        }
        for log2 in (least..=most).rev() {
            let limit = self.limit_bytes.load(Ordering::Relaxed);
            let room = |held: u64| held.checked_add(1 << log2).filter(|&all| all <= limit);
            let counted = self
                .bytes
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, room);
            if counted.is_err() {
                continue;
            }
            match self.new_memory(log2, exposure) {
                Ok(memory) => {
                    self.areas[n].install(memory);
                    return Growing::Grown;
                }
                Err(NoArea::NoMemory) => {
                    self.bytes.fetch_sub(1 << log2, Ordering::Relaxed);
                }
                // The device may have it: it goes on to count, so that no more than the limit is ever lost.
                Err(NoArea::Lost(cause)) => {
                    self.lost_bytes.fetch_add(1 << log2, Ordering::Relaxed);
                    self.areas[n].give_up();
                    return Growing::Lost(cause);
                }
            }
        }
        self.areas[n].give_up();
        Growing::NoMemory
    }

    fn new_memory(&self, log2: u32, exposure: &dyn Exposure) -> Result<Memory<P>, NoArea> {
        let frames = self.reached_frames(log2, exposure);
        let frames = frames.ok_or(NoArea::NoMemory)?;
        let unused = |_| {
            // SAFETY: just lent to us, and no device was given it.
            unsafe { self.platform.free_frames(frames) };
            NoArea::NoMemory
        };
        // Only now: most of what it costs is wasted where there are no frames.
        let free = Buddy::new(self.platform, Area::<P>::order_of(1 << log2)).map_err(unused)?;
        match exposure.expose(frames) {
            Ok(bus) => Ok(Memory { frames, bus, free }),
            Err(DomainError::Unconfirmed { cause, .. }) => Err(NoArea::Lost(cause)),
            Err(_) => {
                // SAFETY: as above.
                unsafe { self.platform.free_frames(frames) };
                Err(NoArea::NoMemory)
            }
        }
    }

    /// Frames for an area that the device reaches: where there are some, of those that devices with few address lines reach too.
    fn reached_frames(&self, log2: u32, exposure: &dyn Exposure) -> Option<PhysRange> {
        let last = exposure.last();
        let low = last.min(PhysAddr::new(u32::MAX.into()));
        let reached = |last| {
            let frames = self.frames(1 << log2, log2, last)?;
            if !exposure.reaches(frames, None) {
                // SAFETY: just lent to us, and no device was given it.
                unsafe { self.platform.free_frames(frames) };
                return None;
            }
            Some(frames)
        };
        reached(low).or_else(|| (low < last).then(|| reached(last)).flatten())
    }

    pub(super) fn frames(
        &self,
        len_bytes: u64,
        align_log2: u32,
        last: PhysAddr,
    ) -> Option<PhysRange> {
        let request = FrameRequest {
            count: usize::try_from(len_bytes / FRAME_BYTES).ok()?,
            align_log2,
            last,
            node: None,
        };
        self.platform.allocate_frames(request).ok()
    }
}
