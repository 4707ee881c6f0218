//! The crate buddy_system_allocator, which kernels use for frames. It keeps no record of what is allocated, so a wrong
//! free goes unnoticed.

use buddy_system_allocator::FrameAllocator;

use super::{IovaAllocator, PAGES};
use crate::spin_lock::Locked;

/// Blocks of up to half the aperture.
const ORDERS: usize = PAGES.ilog2() as usize;

/// Its `FrameAllocator`.
pub struct Buddy(Locked<FrameAllocator<ORDERS>>);

impl Buddy {
    /// With all bus addresses free but page 0.
    pub fn new() -> Self {
        let mut frames = FrameAllocator::new();
        frames.add_frame(1, PAGES as usize);
        Self(lock_api::Mutex::new(frames))
    }
}

impl Default for Buddy {
    fn default() -> Self {
        Self::new()
    }
}

impl IovaAllocator for Buddy {
    fn peer(&self) -> &'static str {
        "buddy"
    }

    #[inline(never)]
    fn allocate(&self, pages: u64) -> Option<u64> {
        Some(self.0.lock().alloc(pages as usize)? as u64)
    }

    #[inline(never)]
    fn free(&self, first: u64, pages: u64) -> bool {
        self.0.lock().dealloc(first as usize, pages as usize);
        true
    }
}
