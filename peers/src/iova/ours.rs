//! `dmamap`'s allocator, asked as its own mappings ask it: in the lane of the CPU, aligned to the length.

use dmamap::addr::{BusAddr, BusRange};
use dmamap::iova::{IovaRequest, SharedSpace, SpaceLane};

use super::{APERTURE_LOG2, IovaAllocator, PAGE_LOG2};
use crate::PeersError;
use crate::frames::Frames;

const PEER: &str = "dmamap";

/// [`SharedSpace`], as a domain has one.
pub struct Ours(SharedSpace<Frames>);

impl Ours {
    /// With all bus addresses free but page 0.
    ///
    /// # Errors
    /// [`PeersError::Failed`] if there can be no such space.
    pub fn new() -> Result<Self, PeersError> {
        let failed = || PeersError::failed(PEER, "make a space");
        let aperture = BusRange::new(BusAddr::new(0), 1 << APERTURE_LOG2).map_err(|_| failed())?;
        let space = SharedSpace::new(Frames, aperture, PAGE_LOG2).map_err(|_| failed())?;
        Ok(Self(space))
    }

    /// A lane for one owner.
    pub fn lane(&self) -> SpaceLane<'_, Frames> {
        self.0.lane(BusAddr::new(0)..=BusAddr::new(u64::MAX))
    }
}

impl IovaAllocator for Ours {
    fn peer(&self) -> &'static str {
        PEER
    }

    #[inline(never)]
    fn allocate(&self, pages: u64) -> Option<u64> {
        let request = IovaRequest::naturally_aligned(pages << PAGE_LOG2);
        let range = self.0.allocate(request).ok()?;
        Some(range.start().as_u64() >> PAGE_LOG2)
    }

    #[inline(never)]
    fn free(&self, first: u64, pages: u64) -> bool {
        let range = BusRange::new(BusAddr::new(first << PAGE_LOG2), pages << PAGE_LOG2);
        // SAFETY: the loads free what they allocated, once.
        range.is_ok_and(|range| unsafe { self.0.free(range) }.is_ok())
    }
}
