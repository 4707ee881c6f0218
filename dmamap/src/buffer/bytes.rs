//! How the CPU sees a buffer: bytes side by side, whatever physical memory is behind them.

use core::ptr::NonNull;
use core::slice;

use crate::addr::{FRAME_BYTES, VirtAddr};

/// The bytes of a buffer. Does not own their frames: the buffer that holds it does.
pub(super) struct Bytes {
    start: NonNull<u8>,
    len_bytes: usize,
}

// SAFETY: the bytes are this value's alone (`zeroed`); a pointer to them may be used from any thread.
unsafe impl Send for Bytes {}
// SAFETY: `&Bytes` allows reads of the memory only.
unsafe impl Sync for Bytes {}

impl Bytes {
    /// Zeroes `frames` frames from `start` on and gives access to the first `len_bytes` bytes.
    ///
    /// # Safety
    /// The frames hold `len_bytes` bytes, at most `isize::MAX`, and are readable and writable from `start` on
    /// while the value is used. No CPU access to them but through the value happens as long, and no device
    /// reaches them unless the buffer with the value was given to a mapping.
    pub(super) unsafe fn zeroed(start: NonNull<u8>, frames: usize, len_bytes: usize) -> Self {
        // SAFETY: the caller's frames are writable from `start` on.
        unsafe { start.write_bytes(0, frames * FRAME_BYTES as usize) };
        Self { start, len_bytes }
    }

    /// Zeroes `len_bytes` bytes from `start` on and gives access to them.
    ///
    /// # Safety
    /// As for [`zeroed`](Self::zeroed), for these bytes.
    pub(super) unsafe fn zeroed_part(start: NonNull<u8>, len_bytes: usize) -> Self {
        // SAFETY: the caller's bytes are writable from `start` on.
        unsafe { start.write_bytes(0, len_bytes) };
        Self { start, len_bytes }
    }

    pub(super) fn len_bytes(&self) -> u64 {
        self.len_bytes as u64
    }

    pub(super) fn virt(&self) -> VirtAddr {
        VirtAddr::from_ptr(self.start.as_ptr())
    }

    pub(super) fn pointer(&self) -> NonNull<u8> {
        self.start
    }

    pub(super) fn as_slice(&self) -> &[u8] {
        // SAFETY: the memory is ours, initialised (by `zeroed`, and any byte a device wrote is a `u8`), and no
        // device reaches it: a mapping would own the buffer and with it `self`.
        unsafe { slice::from_raw_parts(self.start.as_ptr(), self.len_bytes) }
    }

    pub(super) fn as_mut_slice(&mut self) -> &mut [u8] {
        // SAFETY: as for `as_slice`; `&mut self` makes the access exclusive.
        unsafe { slice::from_raw_parts_mut(self.start.as_ptr(), self.len_bytes) }
    }
}
