//! The CPU's way to memory past its caches: to what it shares with a device that does not snoop, or writes in long streams.

use core::ptr::NonNull;

use crate::addr::{FRAME_BYTES, PhysRange};
use crate::buffer::{DmaBuffer, DmaMemory};
use crate::device::{Coherence, DeviceCore};
use crate::platform::{MemoryAttribute, Platform, VirtualMapError};

/// A mapping of a buffer's frames past the caches. While it lives nobody uses the buffer's own pointer; the frames' lines
/// are to be invalidated before somebody does again. Unmapped when dropped.
pub(crate) struct Uncached<P: Platform> {
    platform: P,
    start: NonNull<u8>,
    len_bytes: u64,
}

// SAFETY: an address of memory that the owner alone uses, and which every CPU reaches.
unsafe impl<P: Platform> Send for Uncached<P> {}

impl<P: Platform> Uncached<P> {
    /// Maps the frames of `buffer`, which is physically contiguous, as `attribute` says. What the CPU stored in the buffer is
    /// in memory then, and no line of it in a cache.
    pub(crate) fn map(
        core: &DeviceCore<P>,
        buffer: &mut DmaBuffer<P>,
        attribute: MemoryAttribute,
    ) -> Result<Self, VirtualMapError> {
        let len_bytes = buffer.len_bytes().next_multiple_of(FRAME_BYTES);
        let start = buffer.segment(0).start();
        let frames = PhysRange::new(start, len_bytes)
            .map_err(|_| VirtualMapError::OutOfAddressSpace { len_bytes })?;
        match core.coherence {
            Coherence::NotSnooped => {
                core.clean_cache(buffer.pointer(), len_bytes);
                core.invalidate_cache(buffer.pointer(), len_bytes);
            }
            // For the CPU's own two ways to the memory; no maintenance of the device's.
            Coherence::Snooped => {
                core.platform
                    .clean_cache(buffer.pointer(), len_bytes as usize);
                core.platform
                    .invalidate_cache(buffer.pointer(), len_bytes as usize);
            }
        }
        // SAFETY: whole frames of a buffer that is borrowed alone and kept by the caller as long as this value; just cleaned
        // and invalidated.
        let start = unsafe { core.platform.map_frames(frames, attribute)? };
        Ok(Self {
            platform: core.platform,
            start,
            len_bytes,
        })
    }

    /// Maps whole frames that no platform lends.
    ///
    /// # Safety
    /// They are RAM, nobody else accesses them as long as this value lives, and no line of them is in a cache.
    pub(crate) unsafe fn of_frames(
        platform: P,
        frames: PhysRange,
        attribute: MemoryAttribute,
    ) -> Result<Self, VirtualMapError> {
        // SAFETY: the caller's promise.
        let start = unsafe { platform.map_frames(frames, attribute)? };
        Ok(Self {
            platform,
            start,
            len_bytes: frames.len_bytes(),
        })
    }

    /// Ends the mapping; the CPU finds in `buffer`, whose frames were mapped, what is in memory.
    pub(crate) fn end(self, buffer: &impl DmaMemory) {
        let (platform, len_bytes) = (self.platform, self.len_bytes);
        drop(self);
        platform.invalidate_cache(buffer.pointer(), len_bytes as usize);
    }

    /// Where the CPU finds the first byte.
    pub(crate) fn pointer(&self) -> NonNull<u8> {
        self.start
    }
}

impl<P: Platform> Drop for Uncached<P> {
    fn drop(&mut self) {
        // SAFETY: mapped when this was made, and whoever used the addresses is its owner, which lets it go.
        unsafe { self.platform.unmap_frames(self.start, self.len_bytes) };
    }
}
