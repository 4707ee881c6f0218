//! The crate vm-allocator, with which hypervisors place devices.

use vm_allocator::{AddressAllocator, AllocPolicy, RangeInclusive};

use super::{APERTURE_LOG2, IovaAllocator, PAGE_LOG2};
use crate::PeersError;
use crate::spin_lock::Locked;

const PEER: &str = "vm-allocator";

/// Its `AddressAllocator`, the first match.
pub struct VmAllocator(Locked<AddressAllocator>);

impl VmAllocator {
    /// With all bus addresses free but page 0.
    ///
    /// # Errors
    /// [`PeersError::Failed`] if there can be no such space.
    pub fn new() -> Result<Self, PeersError> {
        let page = 1 << PAGE_LOG2;
        let allocator = AddressAllocator::new(page, (1 << APERTURE_LOG2) - page);
        let allocator = allocator.map_err(|_| PeersError::failed(PEER, "make a space"))?;
        Ok(Self(lock_api::Mutex::new(allocator)))
    }
}

impl IovaAllocator for VmAllocator {
    fn peer(&self) -> &'static str {
        PEER
    }

    #[inline(never)]
    fn allocate(&self, pages: u64) -> Option<u64> {
        let len = pages << PAGE_LOG2;
        let range = self
            .0
            .lock()
            .allocate(len, len, AllocPolicy::FirstMatch)
            .ok()?;
        Some(range.start() >> PAGE_LOG2)
    }

    #[inline(never)]
    fn free(&self, first: u64, pages: u64) -> bool {
        let range = RangeInclusive::new(first << PAGE_LOG2, ((first + pages) << PAGE_LOG2) - 1);
        range.is_ok_and(|range| self.0.lock().free(&range).is_ok())
    }

    fn most_live(&self) -> u64 {
        1_000
    }
}
