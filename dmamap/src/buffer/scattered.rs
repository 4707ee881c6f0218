//! Memory in frames from anywhere, side by side for the CPU only.

use core::fmt;
use core::mem;
use core::ptr::NonNull;

use alloc::vec::Vec;

use super::bytes::Bytes;
use super::{BufferError, DmaMemory, frames_for, phys_at};
use crate::addr::{FRAME_BYTES, FRAME_SIZE_LOG2, PhysAddr, PhysRange, VirtAddr};
use crate::device::Device;
use crate::platform::{FrameRequest, Platform};

/// Memory of whole frames that lie side by side for the CPU and anywhere in memory (`vmalloc`), zeroed
/// when allocated.
pub struct ScatteredBuffer<P: Platform> {
    platform: P,
    frames: Vec<PhysAddr>,
    /// Frames that were lent in a row, and go back so.
    run_frames: usize,
    bytes: Bytes,
}

impl<P: Platform> ScatteredBuffer<P> {
    /// Allocates `len_bytes` zeroed bytes, frame by frame.
    ///
    /// # Errors
    /// [`BufferError`] when the length is 0, or frames or virtual address space are used up.
    pub fn allocate(platform: P, len_bytes: u64) -> Result<Self, BufferError> {
        Self::allocate_in_runs(platform, len_bytes, FRAME_SIZE_LOG2)
    }

    /// Allocates at least `len_bytes` zeroed bytes in whole pages of `device`'s IOMMU, each physically contiguous and aligned
    /// ([`page_bytes`](Device::page_bytes)): memory that can be mapped for it.
    ///
    /// # Errors
    /// As [`allocate`](Self::allocate).
    pub fn allocate_for(device: &Device<P>, len_bytes: u64) -> Result<Self, BufferError> {
        let page_bytes = device.page_bytes();
        let whole = match page_bytes {
            FRAME_BYTES => len_bytes,
            _ => len_bytes
                .checked_next_multiple_of(page_bytes)
                .ok_or(BufferError::TooLong { len_bytes })?,
        };
        Self::allocate_in_runs(device.platform(), whole, page_bytes.ilog2())
    }

    /// `len_bytes` bytes in runs of `2^run_log2` bytes, aligned to as much.
    fn allocate_in_runs(platform: P, len_bytes: u64, run_log2: u32) -> Result<Self, BufferError> {
        let run_frames = 1_usize << (run_log2 - FRAME_SIZE_LOG2);
        let count = frames_for(len_bytes)?.next_multiple_of(run_frames);
        let too_long = BufferError::TooLong { len_bytes };
        let mut memory_bytes = 0;
        platform.memory_map(&mut |ram| memory_bytes += ram.len_bytes());
        if len_bytes > memory_bytes {
            // Known without taking the last frame from everybody first.
            return Err(too_long);
        }
        let mut frames = Vec::new();
        frames.try_reserve_exact(count).map_err(|_| too_long)?;
        let mut lent = LentFrames {
            platform,
            frames,
            run_frames,
        };
        for _ in 0..count / run_frames {
            let run = platform.allocate_frames(FrameRequest {
                align_log2: run_log2,
                ..FrameRequest::new(run_frames)
            })?;
            let frame = |n| PhysAddr::new(run.start().as_u64() + n * FRAME_BYTES);
            lent.frames.extend((0..run_frames as u64).map(frame));
        }
        // SAFETY: each frame was just lent to us and goes back only after `unmap_scattered`.
        let start = unsafe { platform.map_scattered(&lent.frames)? };
        // SAFETY: `map_scattered` made all `count` frames, enough for `len_bytes` bytes, readable and
        // writable from `start` on, until `drop`.
        let bytes = unsafe { Bytes::zeroed(start, count, len_bytes as usize) };
        let frames = mem::take(&mut lent.frames);
        Ok(Self {
            platform,
            frames,
            run_frames,
            bytes,
        })
    }

    /// The bytes.
    pub fn as_slice(&self) -> &[u8] {
        self.bytes.as_slice()
    }

    /// The bytes, to change them.
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        self.bytes.as_mut_slice()
    }

    /// Y: the physical address of byte `offset`, or `None` past the end.
    pub fn phys(&self, offset: u64) -> Option<PhysAddr> {
        phys_at(self, offset)
    }
}

// SAFETY: as for `DmaBuffer`: the frames are whole and this value's alone until `drop`.
unsafe impl<P: Platform> DmaMemory for ScatteredBuffer<P> {
    fn len_bytes(&self) -> u64 {
        self.bytes.len_bytes()
    }

    fn virt(&self) -> VirtAddr {
        self.bytes.virt()
    }

    fn pointer(&self) -> NonNull<u8> {
        self.bytes.pointer()
    }

    fn segment(&self, offset: u64) -> PhysRange {
        let total = self.len_bytes();
        let frames = self.frames.get((offset / FRAME_BYTES) as usize..);
        let Some([first, later @ ..]) = frames else {
            return PhysRange::new(PhysAddr::new(0), 0).expect("an empty range exists");
        };
        // Frames that happen to follow each other in memory are one run.
        let mut len = FRAME_BYTES;
        for frame in later {
            if frame.as_u64() != first.as_u64().wrapping_add(len) {
                break;
            }
            len += FRAME_BYTES;
        }
        let within = offset % FRAME_BYTES;
        let len = (len - within).min(total.saturating_sub(offset));
        let start = PhysAddr::new(first.as_u64() + within);
        PhysRange::new(start, len).expect("frames lie inside the address space")
    }
}

impl<P: Platform> Drop for ScatteredBuffer<P> {
    fn drop(&mut self) {
        let start = self.bytes.pointer();
        // SAFETY: `start` and the count are of the mapping made in `allocate`; nothing borrows it any more.
        unsafe { self.platform.unmap_scattered(start, self.frames.len()) };
        drop(LentFrames {
            platform: self.platform,
            frames: mem::take(&mut self.frames),
            run_frames: self.run_frames,
        });
    }
}

impl<P: Platform> fmt::Debug for ScatteredBuffer<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "ScatteredBuffer({} bytes in {} frames)",
            self.len_bytes(),
            self.frames.len()
        )
    }
}

/// Runs of frames on their way back to the platform.
struct LentFrames<P: Platform> {
    platform: P,
    frames: Vec<PhysAddr>,
    run_frames: usize,
}

impl<P: Platform> Drop for LentFrames<P> {
    fn drop(&mut self) {
        let run_bytes = self.run_frames as u64 * FRAME_BYTES;
        for &first in self.frames.iter().step_by(self.run_frames) {
            let run =
                PhysRange::new(first, run_bytes).expect("frames lie inside the address space");
            // SAFETY: each was lent as one run, and no virtual mapping of it is left.
            unsafe { self.platform.free_frames(run) };
        }
    }
}
