//! The CPU's way to memory that it shares with a device which does not snoop: past its caches.

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
    /// Maps the frames of `buffer`, which is physically contiguous, for a device that does not snoop; `None` for one that
    /// does. What the CPU stored in the buffer is in memory then, and no line of it in a cache.
    pub(crate) fn for_device(
        core: &DeviceCore<P>,
        buffer: &mut DmaBuffer<P>,
    ) -> Result<Option<Self>, VirtualMapError> {
        if core.coherence == Coherence::Snooped {
            return Ok(None);
        }
        let len_bytes = buffer.len_bytes().next_multiple_of(FRAME_BYTES);
        let start = buffer.segment(0).start();
        let frames = PhysRange::new(start, len_bytes)
            .map_err(|_| VirtualMapError::OutOfAddressSpace { len_bytes })?;
        core.clean_cache(buffer.pointer(), len_bytes);
        core.invalidate_cache(buffer.pointer(), len_bytes);
        // SAFETY: whole frames of a buffer that is borrowed alone and kept by the caller as long as this value; just cleaned
        // and invalidated.
        let start = unsafe {
            core.platform
                .map_frames(frames, MemoryAttribute::Uncached)?
        };
        Ok(Some(Self {
            platform: core.platform,
            start,
            len_bytes,
        }))
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
