//! One physically contiguous run of memory.

use alloc::boxed::Box;
use core::fmt;
use core::mem::ManuallyDrop;
use core::ptr::NonNull;

use super::area::Lease;
use super::bytes::Bytes;
use super::{BufferError, DmaMemory, frames_for, phys_at};
use crate::addr::{FRAME_BYTES, FRAME_SIZE_LOG2, PhysAddr, PhysRange, VirtAddr};
use crate::bounce::{Pool, Run};
use crate::device::Device;
use crate::platform::{FrameRequest, Platform};

/// Physically contiguous memory of whole frames, zeroed when allocated (`kmalloc`).
pub struct DmaBuffer<P: Platform> {
    platform: P,
    frames: PhysRange,
    bytes: Bytes,
    home: Home<P>,
}

/// Where a buffer's frames go back to.
enum Home<P: Platform> {
    /// The platform lent them.
    Platform,
    /// They are of an area, and go back with this. Few are, and all are moved into mappings and out of them: so it is apart.
    Area(#[expect(dead_code, reason = "dropping it gives the frames back")] Box<Lease<P>>),
    /// They are of a device's own pool. Apart, likewise.
    Pool(&'static Pool<P>, ManuallyDrop<Box<Run>>),
}

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

    /// Allocates at least `len_bytes` zeroed bytes in whole pages of `device`'s IOMMU, which may be larger than a frame
    /// ([`page_bytes`](Device::page_bytes)): memory that can be mapped for it.
    ///
    /// # Errors
    /// As [`allocate`](Self::allocate).
    pub fn allocate_for(device: &Device<P>, len_bytes: u64) -> Result<Self, BufferError> {
        Self::allocate_for_within(device, len_bytes, PhysAddr::new(u64::MAX))
    }

    /// As [`allocate_for`](Self::allocate_for), nothing of it above `last`.
    pub(crate) fn allocate_for_within(
        device: &Device<P>,
        len_bytes: u64,
        last: PhysAddr,
    ) -> Result<Self, BufferError> {
        let page_bytes = device.page_bytes();
        let len_bytes = match page_bytes {
            FRAME_BYTES => len_bytes,
            _ => len_bytes
                .checked_next_multiple_of(page_bytes)
                .ok_or(BufferError::TooLong { len_bytes })?,
        };
        Self::allocate_within(device.platform(), len_bytes, last, page_bytes.ilog2())
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
        // SAFETY: the frames were just lent to us, enough for `len_bytes` bytes, and go back only in `drop`;
        // the pointer reaches all of them for reading and writing.
        let bytes = unsafe { Bytes::zeroed(start, count, len_bytes as usize) };
        Ok(Self {
            platform,
            frames,
            bytes,
            home: Home::Platform,
        })
    }

    /// `len_bytes` zeroed bytes of memory that `pool` lent as `run`, in whole frames.
    pub(crate) fn of_pool(platform: P, pool: &'static Pool<P>, run: Run, len_bytes: u64) -> Self {
        let frames = run.memory();
        let home = Home::Pool(pool, ManuallyDrop::new(Box::new(run)));
        // SAFETY: the run is this value's until it goes back in `drop`, and has whole frames for all bytes.
        unsafe { Self::at_home(platform, frames, len_bytes, home) }
    }

    /// `len_bytes` zeroed bytes in `frames` that go back with `lease`.
    ///
    /// # Safety
    /// The frames are lent to nobody else until the lease is dropped, and hold `len_bytes` bytes, at least 1.
    pub(super) unsafe fn of_lease(
        platform: P,
        frames: PhysRange,
        len_bytes: u64,
        lease: Lease<P>,
    ) -> Self {
        // SAFETY: the caller's promise.
        unsafe { Self::at_home(platform, frames, len_bytes, Home::Area(Box::new(lease))) }
    }

    /// # Safety
    /// As [`of_lease`](Self::of_lease), until the frames go back to `home`.
    unsafe fn at_home(platform: P, frames: PhysRange, len_bytes: u64, home: Home<P>) -> Self {
        let start = platform.frame_pointer(frames.start());
        let count = (frames.len_bytes() / FRAME_BYTES) as usize;
        // SAFETY: the frames are ours by the caller's promise, enough for `len_bytes` bytes, and go back only in `drop`;
        // the pointer reaches all of them for reading and writing.
        let bytes = unsafe { Bytes::zeroed(start, count, len_bytes as usize) };
        Self {
            platform,
            frames,
            bytes,
            home,
        }
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

// SAFETY: the frames are this value's alone and whole; they stay where they are until `drop`; access goes
// through `as_slice` and `as_mut_slice`, which borrow the value; forgetting it never frees the frames.
unsafe impl<P: Platform> DmaMemory for DmaBuffer<P> {
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
        let offset = offset.min(total);
        self.frames
            .slice(offset, total - offset)
            .expect("the frames hold the buffer")
    }
}

impl<P: Platform> Drop for DmaBuffer<P> {
    fn drop(&mut self) {
        match &mut self.home {
            // SAFETY: the range came from `allocate_frames`; no mapping owns the buffer (it would own `self`)
            // and no reference outlives it.
            Home::Platform => unsafe { self.platform.free_frames(self.frames) },
            // It goes back with the field.
            Home::Area(_) => {}
            // SAFETY: the run is of this pool and taken out once, as nothing follows a drop; for the rest as above.
            Home::Pool(pool, run) => unsafe { pool.release(*ManuallyDrop::take(run)) },
        }
    }
}

impl<P: Platform> fmt::Debug for DmaBuffer<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "DmaBuffer({} bytes at {:?})",
            self.len_bytes(),
            self.frames
        )
    }
}
