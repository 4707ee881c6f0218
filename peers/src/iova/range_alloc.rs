//! The crate range-alloc, which keeps free ranges in a list.

use range_alloc::RangeAllocator;

use super::{IovaAllocator, PAGES};
use crate::spin_lock::Locked;

/// Its `RangeAllocator`.
pub struct RangeAlloc(Locked<RangeAllocator<u64>>);

impl RangeAlloc {
    /// With all bus addresses free but page 0.
    pub fn new() -> Self {
        Self(lock_api::Mutex::new(RangeAllocator::new(1..PAGES)))
    }
}

impl Default for RangeAlloc {
    fn default() -> Self {
        Self::new()
    }
}

impl IovaAllocator for RangeAlloc {
    fn peer(&self) -> &'static str {
        "range-alloc"
    }

    #[inline(never)]
    fn allocate(&self, pages: u64) -> Option<u64> {
        Some(
            self.0
                .lock()
                .allocate_range_aligned(pages, pages)
                .ok()?
                .start,
        )
    }

    #[inline(never)]
    fn free(&self, first: u64, pages: u64) -> bool {
        self.0.lock().free_range(first..first + pages);
        true
    }

    fn most_holes(&self) -> u64 {
        1_000
    }
}
