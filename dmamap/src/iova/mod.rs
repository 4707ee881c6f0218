//! Chooses Z: which bus addresses of a domain a mapping gets.
//!
//! Most ranges are chosen from *blocks* of 512 granules, by size classes that are powers of two: where room is and whether a
//! free is right are answered from a few words of bits, however many ranges live and in whatever pattern
//! (`divided.rs`; `hot.rs`, `growth.rs`, `blocks.rs`, `block.rs`, `units.rs`).
//!
//! All blocks are also in an index by address, in which each knows what fits in itself and below it, for every alignment and
//! boundary. What no size class serves or has room for, and a device of few address lines, finds the lowest place there, or
//! that there is none, in O(log n) (`index.rs`, `rooms.rs`, `runs.rs`, `scarce.rs`).
//!
//! Under the blocks lies one balanced tree of the extents *in use*: blocks, reserved ranges, and the ranges that no block serves,
//! as they are too large, or as the space or what a block would take of it is small (`tree.rs`). Each extent knows the
//! gap before it and what fits in the gaps of its subtree, so the free space needs no records of its own: freeing removes an
//! extent and thereby needs no memory, and neighbouring gaps are one gap without being merged (`search.rs`, `gaps.rs`).
//!
//! Where nothing has room, blocks that nothing is in are given up. What may never be chosen is an extent, or marked in its block
//! (`reserve.rs`).
//!
//! Low addresses are used first: that keeps tables few and walk caches warm.
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

mod block;
mod blocks;
mod divided;
mod error;
mod gaps;
mod growth;
mod hot;
mod index;
mod kept;
pub(crate) mod lanes;
mod lend;
mod request;
mod reserve;
mod rooms;
mod runs;
mod scarce;
mod search;
mod shared;
mod space_lane;
mod tree;
mod units;

pub use error::IovaError;
pub use request::IovaRequest;
pub use shared::SharedSpace;
pub use space_lane::SpaceLane;

use crate::addr::{BusAddr, BusRange, FRAME_SIZE_LOG2};
use crate::platform::Platform;
use divided::{Divided, Place};
use hot::HotPlace;
pub(crate) use kept::KeptRanges;
use search::Fit;
use tree::{Extent, Node, Tree, Use};

/// Numbers of an [`IovaSpace`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IovaStatistics {
    /// Ranges allocated and not freed.
    pub live_allocations: u64,
    /// Bytes in them.
    pub live_bytes: u64,
    /// Tree nodes and blocks looked at since birth, and words of bits where blocks were searched: what calls cost, free of clocks.
    pub nodes_visited: u64,
}

/// The bus addresses of one domain. Called under the domain's lock.
pub struct IovaSpace<P: Platform> {
    tree: Tree<P>,
    divided: Divided<P>,
    granule_log2: u32,
    live_allocations: u64,
    live_granules: u64,
    /// The first extent that is kept.
    kept: Option<Node>,
}

/// Where a range that somebody has is recorded.
enum Owned {
    Extent(Node, Extent),
    Units(Place),
    Hot(HotPlace),
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
        let bounds = (start, end.max(start));
        let high_start = 1 << (u32::BITS - granule_log2);
        Ok(Self {
            tree: Tree::new(platform, bounds.0, bounds.1),
            divided: Divided::new(platform, bounds, high_start),
            granule_log2,
            live_allocations: 0,
            live_granules: 0,
            kept: None,
        })
    }

    /// Chooses a range: below 4 GiB where that fits, in a block whose room is no larger than need be, or in the lowest gap.
    ///
    /// # Errors
    /// - [`IovaError::Malformed`] when the request asks for nothing, or for parts of granules.
    /// - [`IovaError::IovaExhausted`] when no gap fits.
    /// - [`IovaError::OutOfMemory`].
    ///
    /// Nothing has changed then.
    pub fn allocate(&mut self, request: IovaRequest) -> Result<BusRange, IovaError> {
        let fit = Fit::of(request, self.granule_log2)?;
        let start = match self.divided.allocate(&mut self.tree, &fit) {
            Some(start) => start,
            None => self.allocate_elsewhere(&fit)?.ok_or_else(|| {
                let widest = self.tree.widest_gap().max(self.divided.widest());
                IovaError::IovaExhausted {
                    request,
                    widest_gap_bytes: widest << self.granule_log2,
                }
            })?,
        };
        self.live_allocations += 1;
        self.live_granules += fit.len;
        Ok(self.range(start, fit.len))
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
        match self.owned(range)? {
            Owned::Extent(_, extent) => self.tree.remove(extent.start),
            Owned::Units(place) => self.divided.free(&mut self.tree, &place),
            Owned::Hot(place) => self.divided.free_hot(&place),
        }
        self.count_free(range.len_bytes() >> self.granule_log2);
        Ok(())
    }

    fn count_free(&mut self, granules: u64) {
        self.live_allocations -= 1;
        self.live_granules -= granules;
    }

    /// Where `range` is recorded, which somebody has as it is.
    fn owned(&mut self, range: BusRange) -> Result<Owned, IovaError> {
        let not_allocated = IovaError::NotAllocated { range };
        if !range.start().is_aligned(self.granule_log2) {
            return Err(not_allocated);
        }
        let start = range.start().as_u64() >> self.granule_log2;
        let owned = self.owned_at(start).ok_or(not_allocated)?;
        let len = match &owned {
            Owned::Extent(_, extent) => extent.len,
            Owned::Units(place) => place.len,
            Owned::Hot(place) => place.len,
        };
        let allocated = self.range(start, len);
        if allocated != range {
            return Err(IovaError::PartialFree { range, allocated });
        }
        Ok(owned)
    }

    /// What somebody has that begins with this granule.
    fn owned_at(&mut self, start: u64) -> Option<Owned> {
        let Self { tree, divided, .. } = self;
        if let Some(place) = divided.hot_range_at(start) {
            return place.map(Owned::Hot);
        }
        let mut extent_there = None;
        let unit = divided.unit_of(start, || {
            let node = tree.node_before(start)?;
            let extent = *tree.extent_mut(node);
            match extent.kind {
                Use::Divided(block) if extent.end() > start => Some(block),
                _ => {
                    extent_there = Some((node, extent));
                    None
                }
            }
        });
        match unit {
            Some((block, unit)) => {
                divided.remember(block);
                divided.range_at(block, unit, start).map(Owned::Units)
            }
            None => extent_there
                .filter(|(_, extent)| extent.start == start && extent.kind == Use::Allocated)
                .map(|(node, extent)| Owned::Extent(node, extent)),
        }
    }

    /// Whether `range` is one that could be freed: allocated as it is, whole.
    ///
    /// # Errors
    /// As [`free`](Self::free).
    pub fn check(&mut self, range: BusRange) -> Result<(), IovaError> {
        self.owned(range).map(drop)
    }

    /// Counts.
    pub fn statistics(&self) -> IovaStatistics {
        IovaStatistics {
            live_allocations: self.live_allocations,
            live_bytes: self.live_granules << self.granule_log2,
            nodes_visited: self.tree.nodes_visited() + self.divided.blocks.visited(),
        }
    }

    /// Frames held for blocks and the tree.
    pub fn frames(&self) -> usize {
        self.tree.frames() + self.divided.frames()
    }

    /// Gives frames that are no longer needed back to the platform; returns how many.
    pub fn reclaim(&mut self) -> usize {
        self.divided.reclaim(&mut self.tree) + self.tree.reclaim()
    }

    fn range(&self, start: u64, len: u64) -> BusRange {
        let start = BusAddr::new(start << self.granule_log2);
        BusRange::new(start, len << self.granule_log2).expect("ranges lie in the aperture")
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
