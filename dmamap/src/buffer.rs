//! Memory a device may be given, and what that proves: X → Y.
//!
//! The safe API maps only memory whose type implements [`DmaMemory`]: owned, made of whole frames of the
//! machine's RAM, at a place that does not change. [`DmaBuffer`] is physically contiguous (`kmalloc`),
//! [`ScatteredBuffer`] contiguous for the CPU only (`vmalloc`). While such a buffer is mapped the mapping
//! owns it, so no reference to memory that a device may write exists; `unmap` gives it back.
//!
//! ```
//! # use board as _;
//! # fn example<P: dmamap::platform::Platform>(platform: P) -> Result<(), dmamap::buffer::BufferError> {
//! use dmamap::buffer::{DmaBuffer, DmaMemory};
//!
//! let mut buffer = DmaBuffer::allocate(platform, 6000)?;
//! buffer.as_mut_slice()[..5].copy_from_slice(b"hello");
//! // X is a CPU address; Y is where it lies, and its frames are this buffer's alone.
//! assert_eq!(buffer.segment(0).len_bytes(), 6000);
//! # Ok(())
//! # }
//! ```

use core::fmt;
use core::ptr::NonNull;

use alloc::vec::Vec;

use crate::addr::{FRAME_BYTES, FRAME_SIZE_LOG2, PhysAddr, PhysRange, VirtAddr};
use crate::platform::{FrameRequest, OutOfFrames, Platform, VirtualMapError};

/// Why a buffer could not be allocated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BufferError {
    /// A buffer holds at least one byte.
    #[error("a DMA buffer of 0 bytes cannot be mapped")]
    Empty,
    /// The length does not fit the machine's addresses.
    #[error("a DMA buffer of {len_bytes:#x} bytes cannot exist on this machine")]
    TooLong {
        /// Bytes asked for.
        len_bytes: u64,
    },
    /// The platform has no such frames left.
    #[error(transparent)]
    OutOfFrames(#[from] OutOfFrames),
    /// The platform cannot map scattered frames side by side.
    #[error(transparent)]
    Virtual(#[from] VirtualMapError),
}

/// Memory that a mapping may own and a device may reach.
///
/// # Safety
/// An implementer promises, for as long as the value lives and wherever it is moved to:
/// - every byte from [`virt`](Self::virt) on for [`len_bytes`](Self::len_bytes) is readable and writable by
///   the CPU, and [`segment`](Self::segment) tells which physical memory it is;
/// - the value owns every frame it touches whole: no other data lies in them, so that a device that
///   reaches the whole page reaches nothing else;
/// - all CPU access to the memory goes through the value, so that moving the value into a mapping ends
///   every reference to the memory;
/// - forgetting the value leaks the memory and never reuses it.
pub unsafe trait DmaMemory: Send + 'static {
    /// Number of bytes a device may be given; at least 1.
    fn len_bytes(&self) -> u64;

    /// X: where the CPU sees the first byte; a frame's first byte.
    fn virt(&self) -> VirtAddr;

    /// The pointer behind [`virt`](Self::virt), with leave to access all bytes.
    fn pointer(&self) -> NonNull<u8>;

    /// Y: the physically contiguous run of this memory from byte `offset` on, up to the memory's end.
    /// Empty where `offset` is at or past the end.
    fn segment(&self, offset: u64) -> PhysRange;
}

/// Number of frames that `len_bytes` bytes from a frame's start touch.
pub(crate) fn frames_for(len_bytes: u64) -> Result<usize, BufferError> {
    if len_bytes == 0 {
        return Err(BufferError::Empty);
    }
    usize::try_from(len_bytes.div_ceil(FRAME_BYTES))
        .ok()
        .filter(|frames| {
            frames
                .checked_mul(FRAME_BYTES as usize)
                .is_some_and(|n| n <= isize::MAX as usize)
        })
        .ok_or(BufferError::TooLong { len_bytes })
}

/// Physically contiguous memory of whole frames, zeroed when allocated (`kmalloc`).
pub struct DmaBuffer<P: Platform> {
    platform: P,
    frames: PhysRange,
    start: NonNull<u8>,
    len_bytes: usize,
}

// SAFETY: the buffer owns its memory exclusively; a pointer to it may be used from any thread.
unsafe impl<P: Platform> Send for DmaBuffer<P> {}
// SAFETY: `&DmaBuffer` allows reads of the memory only.
unsafe impl<P: Platform> Sync for DmaBuffer<P> {}

impl<P: Platform> DmaBuffer<P> {
    /// Allocates `len_bytes` zeroed bytes anywhere in memory.
    ///
    /// # Errors
    /// [`BufferError`] when the length is 0 or no contiguous frames are left.
    pub fn allocate(platform: P, len_bytes: u64) -> Result<Self, BufferError> {
        Self::allocate_within(
            platform,
            len_bytes,
            PhysAddr::new(u64::MAX),
            FRAME_SIZE_LOG2,
        )
    }

    /// Allocates zeroed bytes none of which lies above `last`, the first a multiple of
    /// `2^align_log2` bytes (at least a frame).
    ///
    /// # Errors
    /// As [`allocate`](Self::allocate).
    pub fn allocate_within(
        platform: P,
        len_bytes: u64,
        last: PhysAddr,
        align_log2: u32,
    ) -> Result<Self, BufferError> {
        let count = frames_for(len_bytes)?;
        let align_log2 = align_log2.max(FRAME_SIZE_LOG2);
        let frames = platform.allocate_frames(FrameRequest {
            count,
            align_log2,
            last,
            node: None,
        })?;
        let start = platform.frame_pointer(frames.start());
        // SAFETY: the frames were just lent to us; the pointer reaches all of them for writing.
        unsafe { start.write_bytes(0, count * FRAME_BYTES as usize) };
        Ok(Self {
            platform,
            frames,
            start,
            len_bytes: len_bytes as usize,
        })
    }

    /// The bytes.
    pub fn as_slice(&self) -> &[u8] {
        // SAFETY: the memory is ours, initialised (zeroed at allocation, and any byte a device wrote is a
        // `u8`), and no device reaches it: a mapping would own `self`.
        unsafe { core::slice::from_raw_parts(self.start.as_ptr(), self.len_bytes) }
    }

    /// The bytes, to change them.
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        // SAFETY: as for `as_slice`; `&mut self` makes the access exclusive.
        unsafe { core::slice::from_raw_parts_mut(self.start.as_ptr(), self.len_bytes) }
    }

    /// Y: the physical address of byte `offset`, or `None` past the end.
    pub fn phys(&self, offset: u64) -> Option<PhysAddr> {
        (offset < self.len_bytes as u64).then(|| self.segment(offset).start())
    }
}

// SAFETY: the frames are this value's alone and whole; they stay where they are until `drop`; access goes
// through `as_slice` and `as_mut_slice`, which borrow the value; forgetting it never frees the frames.
unsafe impl<P: Platform> DmaMemory for DmaBuffer<P> {
    fn len_bytes(&self) -> u64 {
        self.len_bytes as u64
    }

    fn virt(&self) -> VirtAddr {
        VirtAddr::from_ptr(self.start.as_ptr())
    }

    fn pointer(&self) -> NonNull<u8> {
        self.start
    }

    fn segment(&self, offset: u64) -> PhysRange {
        let offset = offset.min(self.len_bytes as u64);
        self.frames
            .slice(offset, self.len_bytes as u64 - offset)
            .expect("the frames hold the buffer")
    }
}

impl<P: Platform> Drop for DmaBuffer<P> {
    fn drop(&mut self) {
        // SAFETY: the range came from `allocate_frames`; no mapping owns the buffer (it would own `self`)
        // and no reference outlives it.
        unsafe { self.platform.free_frames(self.frames) };
    }
}

impl<P: Platform> fmt::Debug for DmaBuffer<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "DmaBuffer({} bytes at {:?})",
            self.len_bytes, self.frames
        )
    }
}

/// Memory of whole frames that lie side by side for the CPU and anywhere in memory (`vmalloc`), zeroed
/// when allocated.
pub struct ScatteredBuffer<P: Platform> {
    platform: P,
    start: NonNull<u8>,
    frames: Vec<PhysAddr>,
    len_bytes: usize,
}

// SAFETY: as for `DmaBuffer`.
unsafe impl<P: Platform> Send for ScatteredBuffer<P> {}
// SAFETY: as for `DmaBuffer`.
unsafe impl<P: Platform> Sync for ScatteredBuffer<P> {}

impl<P: Platform> ScatteredBuffer<P> {
    /// Allocates `len_bytes` zeroed bytes, frame by frame.
    ///
    /// # Errors
    /// [`BufferError`] when the length is 0, or frames or virtual address space are used up.
    pub fn allocate(platform: P, len_bytes: u64) -> Result<Self, BufferError> {
        let count = frames_for(len_bytes)?;
        let too_long = BufferError::TooLong { len_bytes };
        let mut memory_bytes = 0;
        platform.memory_map(&mut |ram| memory_bytes += ram.len_bytes());
        if len_bytes > memory_bytes {
            // Known without taking the last frame from everybody first.
            return Err(too_long);
        }
        let mut frames = Vec::new();
        frames.try_reserve_exact(count).map_err(|_| too_long)?;
        let mut lent = LentFrames { platform, frames };
        for _ in 0..count {
            lent.frames
                .push(platform.allocate_frames(FrameRequest::new(1))?.start());
        }
        // SAFETY: each frame was just lent to us and goes back only after `unmap_scattered`.
        let start = unsafe { platform.map_scattered(&lent.frames)? };
        // SAFETY: `map_scattered` made all `count` frames writable from `start` on.
        unsafe { start.write_bytes(0, count * FRAME_BYTES as usize) };
        let frames = core::mem::take(&mut lent.frames);
        Ok(Self {
            platform,
            start,
            frames,
            len_bytes: len_bytes as usize,
        })
    }

    /// The bytes.
    pub fn as_slice(&self) -> &[u8] {
        // SAFETY: as for `DmaBuffer::as_slice`.
        unsafe { core::slice::from_raw_parts(self.start.as_ptr(), self.len_bytes) }
    }

    /// The bytes, to change them.
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        // SAFETY: as for `DmaBuffer::as_mut_slice`.
        unsafe { core::slice::from_raw_parts_mut(self.start.as_ptr(), self.len_bytes) }
    }

    /// Y: the physical address of byte `offset`, or `None` past the end.
    pub fn phys(&self, offset: u64) -> Option<PhysAddr> {
        (offset < self.len_bytes as u64).then(|| self.segment(offset).start())
    }
}

// SAFETY: as for `DmaBuffer`: the frames are whole and this value's alone until `drop`.
unsafe impl<P: Platform> DmaMemory for ScatteredBuffer<P> {
    fn len_bytes(&self) -> u64 {
        self.len_bytes as u64
    }

    fn virt(&self) -> VirtAddr {
        VirtAddr::from_ptr(self.start.as_ptr())
    }

    fn pointer(&self) -> NonNull<u8> {
        self.start
    }

    fn segment(&self, offset: u64) -> PhysRange {
        let total = self.len_bytes as u64;
        let Some(&first) = self.frames.get((offset / FRAME_BYTES) as usize) else {
            return PhysRange::new(PhysAddr::new(0), 0).expect("an empty range exists");
        };
        let offset = offset.min(total);
        let within = offset % FRAME_BYTES;
        // Frames that happen to follow each other in memory are one run.
        let mut len = FRAME_BYTES - within;
        let mut next = first;
        for &frame in &self.frames[(offset / FRAME_BYTES) as usize + 1..] {
            if next.checked_add(FRAME_BYTES) != Some(frame) {
                break;
            }
            next = frame;
            len += FRAME_BYTES;
        }
        let start = PhysAddr::new(first.as_u64() + within);
        PhysRange::new(start, len.min(total - offset)).expect("frames lie inside the address space")
    }
}

impl<P: Platform> Drop for ScatteredBuffer<P> {
    fn drop(&mut self) {
        // SAFETY: `start` and the count are of the mapping made in `allocate`; nothing borrows it any more.
        unsafe { self.platform.unmap_scattered(self.start, self.frames.len()) };
        drop(LentFrames {
            platform: self.platform,
            frames: core::mem::take(&mut self.frames),
        });
    }
}

impl<P: Platform> fmt::Debug for ScatteredBuffer<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "ScatteredBuffer({} bytes in {} frames)",
            self.len_bytes,
            self.frames.len()
        )
    }
}

/// Single frames on their way back to the platform.
struct LentFrames<P: Platform> {
    platform: P,
    frames: Vec<PhysAddr>,
}

impl<P: Platform> Drop for LentFrames<P> {
    fn drop(&mut self) {
        for &frame in &self.frames {
            let range =
                PhysRange::new(frame, FRAME_BYTES).expect("a frame lies inside the address space");
            // SAFETY: each was lent as one frame, and no virtual mapping of it is left.
            unsafe { self.platform.free_frames(range) };
        }
    }
}
