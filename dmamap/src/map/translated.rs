//! The translated route: Z is chosen for this device alone and recorded in its domain's tables.

use crate::addr::{BusAddr, BusRange, DmaMask, PhysAddr, PhysRange};
use crate::iommu::{Domain, DomainError};
use crate::iova::IovaRequest;
use crate::map::route::Alignment;
use crate::map::{MapFailure, Permission};
use crate::pagetable::{MemoryType, PhysList};
use crate::platform::Platform;
use crate::system::AddressOrder;

/// log2 of the leaves worth aligning for, largest first.
const LARGE_LEAVES_LOG2: [u32; 2] = [30, 21];

/// What a mapping's bus addresses must be beside within reach.
#[derive(Clone, Copy)]
pub(crate) struct Room {
    /// log2 of the smallest page.
    pub(crate) page_log2: u32,
    /// log2 of the lowest bit of addresses that need not be kept; at most the page's offset counts where it is less.
    pub(crate) keep_log2: u32,
    pub(crate) mask: DmaMask,
    pub(crate) alignment: Alignment,
}

/// Where a mapping's bus addresses shall lie.
pub(crate) struct Placement {
    /// Whole pages from the one with the first byte on.
    pages: IovaRequest,
    /// The same, if the alignment cannot be had.
    plain: IovaRequest,
    page_log2: u32,
    /// Whether addresses without the request's alignment will do.
    alignment: Alignment,
    /// Bytes of the first page before the mapping's first.
    head: u64,
    len_bytes: u64,
}

/// Where `len_bytes` bytes of which the first piece is `first` shall lie: congruent to Y where memory allows a
/// large leaf, so that the table can use one; else aligned to their own size, so that one invalidation command
/// covers them. All of each page they touch becomes reachable.
pub(crate) fn place(room: Room, first: PhysRange, len_bytes: u64) -> Result<Placement, MapFailure> {
    let page_log2 = room.page_log2;
    let page_bytes = 1u64 << page_log2;
    let page = first.start().align_down(page_log2);
    let head = first.start().as_u64() - page.as_u64();
    let whole = head
        .checked_add(len_bytes)
        .and_then(|bytes| bytes.checked_next_multiple_of(page_bytes))
        .ok_or(MapFailure::TooLong { len_bytes })?;
    let order_log2 = u64::BITS - (whole - 1).leading_zeros();
    let large_log2 = LARGE_LEAVES_LOG2
        .into_iter()
        .find(|&log2| first.len_bytes() >> log2 != 0);
    let congruent = |log2: u32| (log2, page.as_u64() & ((1 << log2) - 1));
    let keep_log2 = room.keep_log2.max(page_log2).min(u64::BITS - 1);
    let (align_log2, offset) = match (room.alignment, large_log2) {
        (Alignment::ToOrder, _) => (order_log2, 0),
        (Alignment::Convenient, Some(log2)) => congruent(log2.max(keep_log2)),
        (Alignment::Convenient, None) if keep_log2 > page_log2 => congruent(keep_log2),
        (Alignment::Convenient, None) => (order_log2.min(LARGE_LEAVES_LOG2[1]), 0),
    };
    let (plain_log2, plain_offset) = match keep_log2 > page_log2 {
        true => congruent(keep_log2),
        false => (page_log2, 0),
    };
    let request = IovaRequest::new(whole).below(room.mask.last());
    Ok(Placement {
        pages: request.aligned(align_log2, offset),
        plain: request.aligned(plain_log2, plain_offset),
        page_log2,
        alignment: room.alignment,
        head,
        len_bytes,
    })
}

/// Maps `memory`, pieces whose inner ends lie on page boundaries, at consecutive bus addresses. Whole pages
/// become reachable; the range returned starts at the first byte.
pub(crate) fn map<P: Platform>(
    domain: &Domain<P>,
    place: Placement,
    memory: &mut dyn PhysList,
    permission: Permission,
    memory_type: MemoryType,
) -> Result<BusRange, MapFailure> {
    let mut pages = WholePages {
        list: memory,
        page_log2: place.page_log2,
    };
    let high = place.pages.from(ABOVE_32_BITS);
    if domain.address_order() == AddressOrder::HighFirst && high.first <= high.last {
        match domain.map_list(high, &mut pages, permission, memory_type) {
            Err(DomainError::Iova(_)) => {}
            outcome => return Ok(place.range(outcome?)),
        }
    }
    let range = match domain.map_list(place.pages, &mut pages, permission, memory_type) {
        // A small mask may only have room without the alignment.
        Err(DomainError::Iova(_)) if place.alignment == Alignment::Convenient => {
            domain.map_list(place.plain, &mut pages, permission, memory_type)
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

/// Pieces of memory, widened to the pages they lie in.
struct WholePages<'a> {
    list: &'a mut dyn PhysList,
    page_log2: u32,
}

impl PhysList for WholePages<'_> {
    fn restart(&mut self) {
        self.list.restart();
    }

    fn next_range(&mut self) -> Option<PhysRange> {
        let piece = self.list.next_range()?;
        let start: PhysAddr = piece.start().align_down(self.page_log2);
        let head = piece.start().as_u64() - start.as_u64();
        let len = (head + piece.len_bytes()).next_multiple_of(1 << self.page_log2);
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
