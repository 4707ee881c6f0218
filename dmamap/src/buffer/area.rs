//! Contiguous memory kept for those who need much of it at once.
//!
//! After a while of running no platform has megabytes of frames in a row. A [`ContiguousArea`] takes them when the machine
//! boots and lends them as [`DmaBuffer`]s: next fit over a bit per frame. Coherent memory longer than a page comes from the
//! device's area ([`Device::set_contiguous_area`](crate::device::Device::set_contiguous_area)), else from the system's
//! ([`DmaSystem::set_contiguous_area`](crate::system::DmaSystem::set_contiguous_area)), else from the platform.
//!
//! ```
//! # use board as _;
//! # fn example<P: dmamap::platform::Platform>(platform: P) -> Result<(), dmamap::buffer::BufferError> {
//! use dmamap::addr::PhysAddr;
//! use dmamap::buffer::ContiguousArea;
//!
//! // 16 MiB below 4 GiB, for devices with 32 address lines.
//! let area = ContiguousArea::reserve(platform, 16 << 20, PhysAddr::new(u32::MAX.into()), 20)?;
//! let buffer = area.allocate(3 << 20, PhysAddr::new(u64::MAX), 20)?;
//! assert_eq!(area.figures().lent_frames, 768);
//! drop(buffer);
//! assert_eq!(area.figures().longest_free_frames, 4096);
//! # Ok(())
//! # }
//! ```

use alloc::sync::Arc;
use core::fmt;

use super::contiguous::DmaBuffer;
use super::{BufferError, frames_for};
use crate::addr::{FRAME_BYTES, FRAME_SIZE_LOG2, PhysAddr, PhysRange};
use crate::bitmap::{Bitmap, RunRequest};
use crate::platform::{FrameRequest, Platform};

/// Frames in a row, reserved once and lent in runs. Clones are the same area.
///
/// The frames go back to the platform when the last clone and the last buffer from it are gone.
pub struct ContiguousArea<P: Platform> {
    core: Arc<AreaCore<P>>,
}

/// How full an area is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AreaFigures {
    /// Frames of the area.
    pub frames: usize,
    /// Frames lent now.
    pub lent_frames: usize,
    /// Frames of the longest run that is free.
    pub longest_free_frames: usize,
}

struct AreaCore<P: Platform> {
    platform: P,
    frames: PhysRange,
    lent: lock_api::Mutex<P::Lock, Bitmap>,
}

/// A run of an area's frames, on loan until it is dropped.
pub(super) struct Lease<P: Platform> {
    core: Arc<AreaCore<P>>,
    first: usize,
    count: usize,
}

impl<P: Platform> ContiguousArea<P> {
    /// Takes `len_bytes` bytes of frames in a row from the platform, none above `last`, the first aligned to `2^align_log2`
    /// bytes. For boot code: later there may be none.
    ///
    /// # Errors
    /// [`BufferError`] when the length is 0 or no such frames are left.
    pub fn reserve(
        platform: P,
        len_bytes: u64,
        last: PhysAddr,
        align_log2: u32,
    ) -> Result<Self, BufferError> {
        let count = frames_for(len_bytes)?;
        let bits = Bitmap::new(count).map_err(|_| BufferError::TooLong { len_bytes })?;
        let frames = platform.allocate_frames(FrameRequest {
            count,
            align_log2: align_log2.max(FRAME_SIZE_LOG2),
            last,
            node: None,
        })?;
        Ok(Self {
            core: Arc::new(AreaCore {
                platform,
                frames,
                lent: lock_api::Mutex::new(bits),
            }),
        })
    }

    /// Lends `len_bytes` zeroed bytes in whole frames, none above `last`, the first aligned to `2^align_log2` bytes.
    ///
    /// # Errors
    /// [`BufferError::AreaFull`] when no run is free that is long enough.
    pub fn allocate(
        &self,
        len_bytes: u64,
        last: PhysAddr,
        align_log2: u32,
    ) -> Result<DmaBuffer<P>, BufferError> {
        let count = frames_for(len_bytes)?;
        let core = &self.core;
        let area = core.frames;
        let full = BufferError::AreaFull { len_bytes, area };
        let first_number = (area.start().as_u64() >> FRAME_SIZE_LOG2) as usize;
        // The frame that holds the last byte allowed counts only if all of it is allowed.
        let end_number = (last.as_u64() >> FRAME_SIZE_LOG2) as usize
            + usize::from(last.as_u64() % FRAME_BYTES == FRAME_BYTES - 1);
        let request = RunRequest {
            units: count,
            align: 1_usize
                .checked_shl(align_log2.saturating_sub(FRAME_SIZE_LOG2))
                .ok_or(full)?,
            phase: first_number,
            end: end_number.saturating_sub(first_number),
        };
        let first = core.lent.lock().take(request).ok_or(full)?;
        let lease = Lease {
            core: Arc::clone(core),
            first,
            count,
        };
        let frames = area
            .slice(first as u64 * FRAME_BYTES, count as u64 * FRAME_BYTES)
            .expect("a run that was found lies inside the area");
        // SAFETY: the frames are the area's, and for as long as the lease lives this loan's alone.
        Ok(unsafe { DmaBuffer::of_lease(core.platform, frames, len_bytes, lease) })
    }

    /// Y: the area's memory.
    pub fn memory(&self) -> PhysRange {
        self.core.frames
    }

    /// How full it is.
    pub fn figures(&self) -> AreaFigures {
        let lent = self.core.lent.lock();
        AreaFigures {
            frames: lent.units(),
            lent_frames: lent.taken(),
            longest_free_frames: lent.longest_free(),
        }
    }
}

impl<P: Platform> Clone for ContiguousArea<P> {
    fn clone(&self) -> Self {
        Self {
            core: Arc::clone(&self.core),
        }
    }
}

impl<P: Platform> fmt::Debug for ContiguousArea<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ContiguousArea({:?})", self.core.frames)
    }
}

impl<P: Platform> Drop for Lease<P> {
    fn drop(&mut self) {
        self.core.lent.lock().give(self.first, self.count);
    }
}

impl<P: Platform> Drop for AreaCore<P> {
    fn drop(&mut self) {
        // SAFETY: the range came from `allocate_frames`; every loan held the core, so none is left.
        unsafe { self.platform.free_frames(self.frames) };
    }
}
