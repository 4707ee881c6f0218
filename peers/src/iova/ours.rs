//! `dmamap`'s allocator, asked as its own mappings ask it: under the domain's lock, aligned to the length.

use dmamap::addr::{BusAddr, BusRange};
use dmamap::iova::{IovaRequest, IovaSpace};

use super::{APERTURE_LOG2, IovaAllocator, PAGE_LOG2};
use crate::PeersError;
use crate::frames::Frames;
use crate::spin_lock::Locked;

const PEER: &str = "dmamap";

/// [`IovaSpace`] behind a domain's lock.
pub struct Ours(Locked<IovaSpace<Frames>>);

impl Ours {
    /// With all bus addresses free but page 0.
    ///
    /// # Errors
    /// [`PeersError::Failed`] if there can be no such space.
    pub fn new() -> Result<Self, PeersError> {
        let failed = || PeersError::failed(PEER, "make a space");
        let aperture = BusRange::new(BusAddr::new(0), 1 << APERTURE_LOG2).map_err(|_| failed())?;
        let space = IovaSpace::new(Frames, aperture, PAGE_LOG2).map_err(|_| failed())?;
        Ok(Self(lock_api::Mutex::new(space)))
    }
}

impl IovaAllocator for Ours {
    fn peer(&self) -> &'static str {
        PEER
    }

    #[inline(never)]
    fn allocate(&self, pages: u64) -> Option<u64> {
        let request = IovaRequest::new(pages << PAGE_LOG2).aligned(PAGE_LOG2 + pages.ilog2(), 0);
        let range = self.0.lock().allocate(request).ok()?;
        Some(range.start().as_u64() >> PAGE_LOG2)
    }

    #[inline(never)]
    fn free(&self, first: u64, pages: u64) -> bool {
        let range = BusRange::new(BusAddr::new(first << PAGE_LOG2), pages << PAGE_LOG2);
        range.is_ok_and(|range| self.0.lock().free(range).is_ok())
    }
}
