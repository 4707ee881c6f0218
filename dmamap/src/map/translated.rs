//! The translated route: Z is chosen for this device alone and recorded in its domain's tables.

use crate::addr::{BusAddr, BusRange, DmaMask, FRAME_BYTES, FRAME_SIZE_LOG2, PhysAddr, PhysRange};
use crate::iommu::{Domain, DomainError};
use crate::iova::IovaRequest;
use crate::map::route::Alignment;
use crate::map::{MapFailure, Permission};
use crate::pagetable::{MemoryType, PhysList};
use crate::platform::Platform;
use crate::system::AddressOrder;

/// log2 of the leaves worth aligning for, largest first.
const LARGE_LEAVES_LOG2: [u32; 2] = [30, 21];

/// Where a mapping's bus addresses shall lie.
pub(crate) struct Placement {
    /// Whole frames from the one with the first byte on.
    frames: IovaRequest,
    /// log2 of the smallest page.
    page_log2: u32,
    /// Whether addresses without the request's alignment will do.
    alignment: Alignment,
    /// Bytes of the first frame before the mapping's first.
    head: u64,
    len_bytes: u64,
}

/// Where `len_bytes` bytes of which the first piece is `first` shall lie: congruent to Y where memory allows a
/// large leaf, so that the table can use one; else aligned to their own size, so that one invalidation command
/// covers them.
pub(crate) fn place(
    page_log2: u32,
    mask: DmaMask,
    first: PhysRange,
    len_bytes: u64,
    alignment: Alignment,
) -> Result<Placement, MapFailure> {
    let page_bytes = 1u64 << page_log2;
    let head = first.start().frame_offset();
    let frame = first.start().align_down(FRAME_SIZE_LOG2);
    let whole = head
        .checked_add(len_bytes)
        .and_then(|bytes| bytes.checked_next_multiple_of(FRAME_BYTES))
        .ok_or(MapFailure::TooLong { len_bytes })?;
    // What is not the buffer's must not become reachable: only whole pages are lent.
    if !frame.is_aligned(page_log2) || !whole.is_multiple_of(page_bytes) {
        return Err(MapFailure::NotWholePages {
            memory: first,
            page_bytes,
        });
    }
    let order_log2 = u64::BITS - (whole - 1).leading_zeros();
    let large_log2 = LARGE_LEAVES_LOG2
        .into_iter()
        .find(|&log2| first.len_bytes() >> log2 != 0);
    let (align_log2, offset) = match (alignment, large_log2) {
        (Alignment::ToOrder, _) => (order_log2, 0),
        (Alignment::Convenient, None) => (order_log2.min(LARGE_LEAVES_LOG2[1]), 0),
        (Alignment::Convenient, Some(log2)) => (log2, frame.as_u64() & ((1 << log2) - 1)),
    };
    let last = mask.last();
    Ok(Placement {
        frames: IovaRequest {
            len_bytes: whole,
            align_log2,
            offset,
            first: BusAddr::new(0),
            last,
        },
        page_log2,
        alignment,
        head,
        len_bytes,
    })
}

/// Maps `memory`, pieces whose inner ends lie on frame boundaries, at consecutive bus addresses. Whole frames
/// become reachable; the range returned starts at the first byte.
pub(crate) fn map<P: Platform>(
    domain: &Domain<P>,
    place: Placement,
    memory: &mut dyn PhysList,
    permission: Permission,
    memory_type: MemoryType,
) -> Result<BusRange, MapFailure> {
    let mut frames = WholeFrames(memory);
    let high = IovaRequest {
        first: ABOVE_32_BITS,
        ..place.frames
    };
    if domain.address_order() == AddressOrder::HighFirst && high.first <= high.last {
        match domain.map_list(high, &mut frames, permission, memory_type) {
            Err(DomainError::Iova(_)) => {}
            outcome => return Ok(place.range(outcome?)),
        }
    }
    let range = match domain.map_list(place.frames, &mut frames, permission, memory_type) {
        // A small mask may only have room without the alignment.
        Err(DomainError::Iova(_)) if place.alignment == Alignment::Convenient => {
            let plain = IovaRequest {
                align_log2: place.page_log2,
                offset: 0,
                ..place.frames
            };
            domain.map_list(plain, &mut frames, permission, memory_type)
        }
        outcome => outcome,
    }?;
    Ok(place.range(range))
}

/// The first address that does not fit in 32 bits.
const ABOVE_32_BITS: BusAddr = BusAddr::new(1 << 32);

impl Placement {
    /// The bytes asked for, of the whole frames that were found.
    fn range(&self, frames: BusRange) -> BusRange {
        frames
            .slice(self.head, self.len_bytes)
            .expect("the request had room for the head and the bytes")
    }
}

/// Pieces of memory, widened to the frames they lie in.
struct WholeFrames<'a>(&'a mut dyn PhysList);

impl PhysList for WholeFrames<'_> {
    fn restart(&mut self) {
        self.0.restart();
    }

    fn next_range(&mut self) -> Option<PhysRange> {
        let piece = self.0.next_range()?;
        let start: PhysAddr = piece.start().align_down(FRAME_SIZE_LOG2);
        let len = (piece.start().frame_offset() + piece.len_bytes()).next_multiple_of(FRAME_BYTES);
        Some(PhysRange::new(start, len).unwrap_or(piece))
    }
}

/// The whole pages that a mapping's range lies in.
pub(crate) fn pages(range: BusRange, page_log2: u32) -> BusRange {
    let start = range.start().align_down(page_log2);
    let head = range.start().as_u64() - start.as_u64();
    let len = (head + range.len_bytes()).next_multiple_of(1 << page_log2);
    BusRange::new(start, len).expect("a mapped range was allocated in whole pages")
}
