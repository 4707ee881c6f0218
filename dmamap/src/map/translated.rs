//! The translated route: Z is chosen for this device alone and recorded in its domain's tables.

use crate::addr::{BusAddr, BusRange, PhysAddr, PhysRange};
use crate::iommu::{Domain, DomainError};
use crate::iova::IovaRequest;
use crate::map::MapFailure;
use crate::map::route::Alignment;
use crate::map::terms::{Boundary, Terms};
use crate::pagetable::{Grant, PhysList};
use crate::platform::Platform;
use crate::system::AddressOrder;

/// log2 of the leaves worth aligning for, largest first.
const LARGE_LEAVES_LOG2: [u32; 2] = [30, 21];

/// The first address that does not fit in 32 bits.
const ABOVE_32_BITS: BusAddr = BusAddr::new(1 << 32);

/// Where a mapping's bus addresses shall lie.
pub(crate) struct Placement {
    /// Whole pages from the one with the first byte on.
    pages: IovaRequest,
    /// The same where only what is owed is asked for.
    plain: IovaRequest,
    page_log2: u32,
    /// Whether addresses without the request's alignment will do.
    alignment: Alignment,
    /// Bytes of the first page before the mapping's first.
    head: u64,
    /// From there to the last byte of the last piece.
    len_bytes: u64,
}

/// Where the pieces of `memory` shall lie, `first` being the first: congruent to Y where memory allows a large leaf, so that
/// the table can use one; else aligned to their own size, so that one invalidation command covers them; and
/// whatever else, as `terms` ask. All of each page that a piece touches becomes reachable.
pub(crate) fn place(
    page_log2: u32,
    terms: &Terms,
    first: PhysRange,
    memory: &mut dyn PhysList,
) -> Result<Placement, MapFailure> {
    let alignment = terms.shape.alignment();
    let (whole, tail) = whole_pages(page_log2, memory)?;
    let page = first.start().align_down(page_log2).as_u64();
    let head = first.start().as_u64() - page;
    let order_log2 = u64::BITS - (whole - 1).leading_zeros();
    let large_log2 = LARGE_LEAVES_LOG2
        .into_iter()
        .find(|&log2| first.len_bytes() >> log2 != 0);
    let (align_log2, offset) = match (alignment, large_log2) {
        (Alignment::ToOrder, _) => (order_log2, 0),
        (Alignment::Convenient, None) => (order_log2.min(LARGE_LEAVES_LOG2[1]), 0),
        (Alignment::Convenient, Some(log2)) => (log2, page & ((1 << log2) - 1)),
    };
    // What is kept of Y: a mask below the page asks for nothing new.
    let kept_log2 = u64::BITS - terms.min_align_mask.leading_zeros();
    let kept_log2 = kept_log2.clamp(page_log2, u64::BITS - 1);
    let kept = page & ((1 << kept_log2) - 1);
    let end = whole - tail;
    let boundary_log2 = boundary_log2(page_log2, terms, first, (head, end), kept_log2)?;
    let plain = IovaRequest::new(whole)
        .aligned(kept_log2, kept)
        .below(terms.mask.last());
    let pages = match (kept_log2 > page_log2, large_log2) {
        // Congruent to Y in more bits than are to be kept.
        (true, Some(log2)) if log2 >= kept_log2 => plain.aligned(align_log2, offset),
        (true, _) => plain,
        (false, _) => plain.aligned(align_log2, offset),
    };
    Ok(Placement {
        pages: pages.within(boundary_log2.unwrap_or(u64::BITS)),
        plain: match terms.boundary {
            Boundary::Required(_) => plain.within(boundary_log2.unwrap_or(u64::BITS)),
            Boundary::Preferred(_) => plain,
        },
        page_log2,
        alignment,
        head,
        len_bytes: end - head,
    })
}

/// Bytes of the whole pages of all pieces of `memory`, and those of them after the last piece.
fn whole_pages(page_log2: u32, memory: &mut dyn PhysList) -> Result<(u64, u64), MapFailure> {
    let page_bytes = 1u64 << page_log2;
    let (mut whole, mut tail) = (0u64, 0);
    memory.restart();
    while let Some(piece) = memory.next_range() {
        let len_bytes = piece.len_bytes();
        if len_bytes == 0 {
            return Err(MapFailure::Empty);
        }
        let head = piece.start().as_u64() % page_bytes;
        let widened = head
            .checked_add(len_bytes)
            .and_then(|bytes| bytes.checked_next_multiple_of(page_bytes))
            .ok_or_else(|| MapFailure::past_the_end(piece.start(), len_bytes))?;
        whole = whole.checked_add(widened).ok_or(MapFailure::TooLong {
            len_bytes: whole,
            max_bytes: u64::MAX / page_bytes * page_bytes,
        })?;
        tail = widened - head - len_bytes;
    }
    match whole {
        0 => Err(MapFailure::Empty),
        whole => Ok((whole, tail)),
    }
}

/// log2 of the boundary that the bytes from `first` on can be kept from crossing, `span` being where in the whole pages they
/// begin and end, and `kept_log2` bits of the address being given; `None` if they cannot and need not, or never do.
fn boundary_log2(
    page_log2: u32,
    terms: &Terms,
    first: PhysRange,
    (head, end): (u64, u64),
    kept_log2: u32,
) -> Result<Option<u32>, MapFailure> {
    let boundary = terms.boundary.mask();
    let log2 = u64::BITS - boundary.leading_zeros();
    let given = first.start().as_u64() & boundary & ((1 << kept_log2) - 1);
    let fits = given
        .checked_add(end - head - 1)
        .is_some_and(|last| last <= boundary);
    match (fits, terms.boundary) {
        // Within a page the bus address is the memory's: nothing is left to choose.
        (true, _) => Ok((log2 >= page_log2).then_some(log2)),
        (false, Boundary::Preferred(_)) => Ok(None),
        (false, Boundary::Required(boundary)) => Err(MapFailure::CrossesBoundary {
            memory: first,
            boundary,
        }),
    }
}

/// Maps the whole pages of `memory`'s pieces at consecutive bus addresses; the range returned is from the first byte of the
/// first piece to the last of the last.
pub(crate) fn map<P: Platform>(
    domain: &Domain<P>,
    place: Placement,
    memory: &mut dyn PhysList,
    grant: Grant,
) -> Result<BusRange, MapFailure> {
    let mut pages = WholePages {
        list: memory,
        page_log2: place.page_log2,
    };
    let range = place.choose(domain, |request| {
        domain.map_list(request, &mut pages, grant)
    })?;
    Ok(place.range(range))
}

/// Chooses bus addresses for memory that will be linked to them later: whole pages, and where in them its first byte will be.
pub(crate) fn reserve<P: Platform>(
    domain: &Domain<P>,
    place: &Placement,
) -> Result<(BusRange, u64), MapFailure> {
    let pages = place.choose(domain, |request| domain.reserve_span(request))?;
    Ok((pages, place.head))
}

impl Placement {
    /// Makes the request that serves best, and others only where there is no room for it.
    fn choose<P: Platform>(
        &self,
        domain: &Domain<P>,
        mut make: impl FnMut(IovaRequest) -> Result<BusRange, DomainError>,
    ) -> Result<BusRange, DomainError> {
        let high = self.pages.from(ABOVE_32_BITS);
        if domain.address_order() == AddressOrder::HighFirst && high.first <= high.last {
            match make(high) {
                Err(DomainError::Iova(_)) => {}
                outcome => return outcome,
            }
        }
        match make(self.pages) {
            // A small mask may only have room without the alignment.
            Err(DomainError::Iova(_)) if self.alignment == Alignment::Convenient => {
                make(self.plain)
            }
            outcome => outcome,
        }
    }

    /// The bytes asked for, of the whole pages that were found.
    fn range(&self, pages: BusRange) -> BusRange {
        pages
            .slice(self.head, self.len_bytes)
            .expect("the request had room for the head and the bytes")
    }
}

/// Pieces of memory, widened to the pages they lie in.
pub(crate) struct WholePages<'a> {
    pub(crate) list: &'a mut dyn PhysList,
    pub(crate) page_log2: u32,
}

impl PhysList for WholePages<'_> {
    fn restart(&mut self) {
        self.list.restart();
    }

    fn next_range(&mut self) -> Option<PhysRange> {
        let piece = self.list.next_range()?;
        Some(widened(piece, self.page_log2))
    }
}

/// `piece` and the rest of the pages of `2^page_log2` bytes that it touches.
pub(crate) fn widened(piece: PhysRange, page_log2: u32) -> PhysRange {
    let start: PhysAddr = piece.start().align_down(page_log2);
    let head = piece.start().as_u64() - start.as_u64();
    let len = (head + piece.len_bytes()).next_multiple_of(1 << page_log2);
    PhysRange::new(start, len).unwrap_or(piece)
}

/// The whole pages that a mapping's range lies in.
pub(crate) fn pages(range: BusRange, page_log2: u32) -> BusRange {
    let start = range.start().align_down(page_log2);
    let head = range.start().as_u64() - start.as_u64();
    let len = (head + range.len_bytes()).next_multiple_of(1 << page_log2);
    BusRange::new(start, len).expect("a mapped range was allocated in whole pages")
}
