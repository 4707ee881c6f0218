//! Chooses Z: which bus addresses of a domain a mapping gets.
//!
//! [`IovaSpace`] keeps one balanced tree of the extents *in use*, allocated or reserved, ordered by address
//! (`tree.rs`). Each knows the gap before it and the widest gap in its subtree, so the free space needs no
//! records of its own: allocating inserts one extent, freeing removes one and thereby needs no memory, and
//! neighbouring gaps are one gap without being merged. The same tree tells what is allocated, so a wrong free
//! is refused.
//!
//! The lowest gap that is wide enough however it is aligned is found in O(log n); only when none is,
//! the gaps that fit by luck are looked through, with all subtrees skipped that are too narrow or too high
//! (`search.rs`). Low addresses are used again first: that keeps tables few and walk caches warm.
//!
//! The caller frees a range only after the invalidation that covers it completed.
//!
//! ```no_run
//! use dmamap::addr::{BusAddr, BusRange};
//! use dmamap::iova::{IovaError, IovaRequest, IovaSpace};
//! use dmamap::platform::Platform;
//!
//! fn example<P: Platform>(platform: P, aperture: BusRange, msi: BusRange) -> Result<(), IovaError> {
//!     let mut space = IovaSpace::new(platform, aperture, 12)?;
//!     space.reserve(msi)?;
//!     let z = space.allocate(IovaRequest::new(0x4000).below(BusAddr::new(0xffff_ffff)))?;
//!     assert_eq!(z.len_bytes(), 0x4000);
//!     space.free(z)?;
//!     assert_eq!(space.free(z), Err(IovaError::NotAllocated { range: z }));
//!     Ok(())
//! }
//! ```

mod error;
mod kept;
mod request;
mod search;
mod tree;

pub use error::IovaError;
pub use request::IovaRequest;

use crate::addr::{BusAddr, BusRange, FRAME_SIZE_LOG2};
use crate::platform::Platform;
pub(crate) use kept::KeptRanges;
use search::{Fit, LIMITLESS};
use tree::{Extent, Node, Tree, Use};

/// Numbers of an [`IovaSpace`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IovaStatistics {
    /// Ranges allocated and not freed.
    pub live_allocations: u64,
    /// Bytes in them.
    pub live_bytes: u64,
    /// Tree nodes looked at since birth: the cost of all calls, free of clocks.
    pub nodes_visited: u64,
}

/// The bus addresses of one domain. Called under the domain's lock.
pub struct IovaSpace<P: Platform> {
    tree: Tree<P>,
    granule_log2: u32,
    live_allocations: u64,
    live_granules: u64,
    kept: KeptRanges,
}

impl<P: Platform> IovaSpace<P> {
    /// The addresses of `aperture` that lie in whole granules of `2^granule_log2` bytes, without the granule
    /// at address 0: a device's register that was never written must not hold a valid address.
    ///
    /// # Errors
    /// [`IovaError::Granule`] unless a granule is 4 KiB to 1 GiB.
    pub fn new(platform: P, aperture: BusRange, granule_log2: u32) -> Result<Self, IovaError> {
        if !(FRAME_SIZE_LOG2..=30).contains(&granule_log2) {
            return Err(IovaError::Granule { granule_log2 });
        }
        let start = first_granule(aperture.start(), granule_log2).max(1);
        let end = match aperture.is_empty() {
            true => start,
            false => end_granule(aperture.last(), granule_log2),
        };
        Ok(Self {
            tree: Tree::new(platform, start, end.max(start)),
            granule_log2,
            live_allocations: 0,
            live_granules: 0,
            kept: KeptRanges::default(),
        })
    }

    /// Keeps `range`, widened to whole granules, from being allocated. Reserved ranges may overlap each other and
    /// leave the aperture: both only say again that nothing may be allocated there.
    ///
    /// # Errors
    /// - [`IovaError::InUse`] when part of it is allocated.
    /// - [`IovaError::OutOfMemory`].
    ///
    /// Nothing is reserved then.
    pub fn reserve(&mut self, range: BusRange) -> Result<(), IovaError> {
        if range.is_empty() {
            return Ok(());
        }
        let (aperture_start, aperture_end) = self.tree.bounds();
        let start = (range.start().as_u64() >> self.granule_log2).max(aperture_start);
        let end = ((range.last().as_u64() >> self.granule_log2) + 1).min(aperture_end);
        let mut holes = 0;
        self.each_hole(start, end, |_, _, _| {
            holes += 1;
            Ok(())
        })?;
        self.tree.reserve_nodes(holes)?;
        self.each_hole(start, end, |tree, start, end| {
            tree.insert(Extent::new(start, end - start, Use::Reserved))
                .map_err(IovaError::from)
        })
    }

    /// Calls `visit` with the start and end of each part of `start..end` that is not in use.
    fn each_hole(
        &mut self,
        start: u64,
        end: u64,
        mut visit: impl FnMut(&mut Tree<P>, u64, u64) -> Result<(), IovaError>,
    ) -> Result<(), IovaError> {
        let mut at = start;
        while at < end {
            let (before, after) = self.tree.around(at);
            if let Some(extent) = before
                && extent.end() > at
            {
                if extent.kind != Use::Reserved {
                    return Err(IovaError::InUse {
                        allocated: self.range(extent),
                    });
                }
                at = extent.end();
                continue;
            }
            let hole_end = after.map_or(end, |extent| extent.start.min(end));
            visit(&mut self.tree, at, hole_end)?;
            at = hole_end;
        }
        Ok(())
    }

    /// Chooses a range, the lowest that fits or nearly so.
    ///
    /// # Errors
    /// - [`IovaError::Malformed`] when the request asks for nothing, or for parts of granules.
    /// - [`IovaError::IovaExhausted`] when no gap fits.
    /// - [`IovaError::OutOfMemory`].
    ///
    /// Nothing has changed then.
    pub fn allocate(&mut self, request: IovaRequest) -> Result<BusRange, IovaError> {
        let fit = self.fit(request)?;
        let exhausted = IovaError::IovaExhausted {
            request,
            widest_gap_bytes: self.tree.widest_gap() << self.granule_log2,
        };
        let start = self.tree.find(&fit).ok_or(exhausted)?;
        let extent = Extent::new(start, fit.len, Use::Allocated);
        self.tree.insert(extent)?;
        self.live_allocations += 1;
        self.live_granules += fit.len;
        Ok(self.range(extent))
    }

    fn fit(&self, request: IovaRequest) -> Result<Fit, IovaError> {
        let malformed = IovaError::Malformed {
            request,
            granule_log2: self.granule_log2,
        };
        let granule = 1 << self.granule_log2;
        let aligned =
            request.len_bytes.is_multiple_of(granule) && request.offset.is_multiple_of(granule);
        let splits_granules = request.boundary_log2 < self.granule_log2;
        if request.len_bytes == 0 || !aligned || request.align_log2 >= u64::BITS || splits_granules
        {
            return Err(malformed);
        }
        let align = 1 << request.align_log2.saturating_sub(self.granule_log2);
        Ok(Fit {
            len: request.len_bytes >> self.granule_log2,
            align,
            offset: (request.offset >> self.granule_log2) & (align - 1),
            start: first_granule(request.first, self.granule_log2),
            end: end_granule(request.last, self.granule_log2),
            boundary: match request.boundary_log2 {
                0..u64::BITS => 1 << (request.boundary_log2 - self.granule_log2),
                _ => LIMITLESS,
            },
        })
    }

    /// Makes a range free again. Takes no memory, so it fails only when it should.
    ///
    /// # Errors
    /// - [`IovaError::NotAllocated`] when no allocated range starts there: it was never allocated, is free already,
    ///   or is reserved.
    /// - [`IovaError::PartialFree`] when the range allocated there is of another length.
    ///
    /// Nothing has changed then.
    pub fn free(&mut self, range: BusRange) -> Result<(), IovaError> {
        let (_, extent) = self.allocated(range)?;
        self.remove(extent);
        Ok(())
    }

    /// The node of `range`, which is allocated as it is.
    fn allocated(&mut self, range: BusRange) -> Result<(Node, Extent), IovaError> {
        let not_allocated = IovaError::NotAllocated { range };
        if !range.start().is_aligned(self.granule_log2) {
            return Err(not_allocated);
        }
        let start = range.start().as_u64() >> self.granule_log2;
        let node = self.tree.at(start).ok_or(not_allocated)?;
        let extent = *self.tree.extent_mut(node);
        if extent.kind != Use::Allocated {
            return Err(not_allocated);
        }
        let allocated = self.range(extent);
        if allocated != range {
            return Err(IovaError::PartialFree { range, allocated });
        }
        Ok((node, extent))
    }

    fn remove(&mut self, extent: Extent) {
        self.tree.remove(extent.start);
        self.live_allocations -= 1;
        self.live_granules -= extent.len;
    }

    /// Whether `range` is one that could be freed: allocated as it is, whole.
    ///
    /// # Errors
    /// As [`free`](Self::free).
    pub fn check(&mut self, range: BusRange) -> Result<(), IovaError> {
        self.allocated(range).map(drop)
    }

    /// Counts.
    pub fn statistics(&self) -> IovaStatistics {
        IovaStatistics {
            live_allocations: self.live_allocations,
            live_bytes: self.live_granules << self.granule_log2,
            nodes_visited: self.tree.nodes_visited(),
        }
    }

    /// Frames held for the tree.
    pub fn frames(&self) -> usize {
        self.tree.frames()
    }

    /// Gives frames the tree no longer needs back to the platform; returns how many.
    pub fn reclaim(&mut self) -> usize {
        self.tree.reclaim()
    }

    fn range(&self, extent: Extent) -> BusRange {
        let start = BusAddr::new(extent.start << self.granule_log2);
        BusRange::new(start, extent.len << self.granule_log2).expect("extents lie in the aperture")
    }
}

/// Number of the first granule that starts at or after `addr`.
fn first_granule(addr: BusAddr, granule_log2: u32) -> u64 {
    let below = addr.as_u64() >> granule_log2;
    below + u64::from(!addr.is_aligned(granule_log2))
}

/// One past the number of the last granule that ends at or before `last`, inclusive.
fn end_granule(last: BusAddr, granule_log2: u32) -> u64 {
    match last.as_u64().checked_add(1) {
        Some(end) => end >> granule_log2,
        None => 1 << (u64::BITS - granule_log2),
    }
}
