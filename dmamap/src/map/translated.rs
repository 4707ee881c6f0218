//! The translated route: Z is chosen for this device alone and recorded in its domain's tables.

use crate::addr::{BusAddr, BusRange, FRAME_BYTES, FRAME_SIZE_LOG2, PhysAddr, PhysRange};
use crate::device::{DEFAULT_SEGMENT_BOUNDARY_LOG2, Limits};
use crate::iommu::{Domain, DomainError};
use crate::iova::IovaRequest;
use crate::map::MapFailure;
use crate::map::plain::MOST_BYTES;
use crate::map::route::Alignment;
use crate::map::terms::{Boundary, Terms};
use crate::pagetable::{FewFrames, Grant, PhysList, Replay};
use crate::platform::Platform;
use crate::system::AddressOrder;

/// log2 of the leaves worth aligning for, largest first.
const LARGE_LEAVES_LOG2: [u32; 2] = [30, 21];

/// The first address that does not fit in 32 bits.
const ABOVE_32_BITS: BusAddr = BusAddr::new(1 << 32);

/// Where a mapping's bus addresses shall lie.
#[cfg_attr(test, derive(Debug, PartialEq, Eq))]
pub(crate) struct Placement {
    /// Whole pages from the one with the first byte on.
    pages: IovaRequest,
    /// Bits of the address, and their value, that are owed: with these alone other addresses will do.
    owed: (u32, u64),
    /// log2 of the boundary that is owed; 64 for none.
    owed_boundary_log2: u32,
    page_log2: u32,
    /// Whether addresses without the request's alignment will do.
    alignment: Alignment,
    /// Bytes of the first page before the mapping's first.
    head: u64,
    /// From there to the last byte of the last piece.
    len_bytes: u64,
    /// Where the pieces that shall lie there begin and end.
    pieces: Edges,
}

/// Where the pieces of `memory` shall lie, `first` being the first: congruent to Y where memory allows a large leaf, so that
/// the table can use one; else aligned to their own size, so that one invalidation command covers them; and
/// whatever else, as `terms` ask. All of each page that a piece touches becomes reachable.
pub(crate) fn place<L: PhysList + ?Sized>(
    page_log2: u32,
    terms: &Terms,
    first: PhysRange,
    memory: &mut L,
) -> Result<Placement, MapFailure> {
    let extent = extent(page_log2, memory)?;
    place_extent(page_log2, terms, first, extent)
}

/// As [`place`], of memory that comes to `extent`.
fn place_extent(
    page_log2: u32,
    terms: &Terms,
    first: PhysRange,
    extent: Extent,
) -> Result<Placement, MapFailure> {
    let Extent {
        whole,
        tail,
        pieces,
    } = extent;
    let alignment = terms.shape.alignment();
    let page = first.start().align_down(page_log2).as_u64();
    let head = first.start().as_u64() - page;
    let order_log2 = u64::BITS - (whole - 1).leading_zeros();
    let [huge_log2, large_log2] = LARGE_LEAVES_LOG2;
    let large_log2 = match first.len_bytes() {
        small if small >> large_log2 == 0 => None,
        large if large >> huge_log2 == 0 => Some(large_log2),
        _ => Some(huge_log2),
    };
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
        owed: (kept_log2, kept),
        owed_boundary_log2: match terms.boundary {
            Boundary::Required(_) => boundary_log2.unwrap_or(u64::BITS),
            Boundary::Preferred(_) => u64::BITS,
        },
        page_log2,
        alignment,
        head,
        len_bytes: end - head,
        pieces,
    })
}

/// How much memory comes to in whole pages.
struct Extent {
    /// Bytes of the whole pages of all pieces.
    whole: u64,
    /// Those of them after the last piece.
    tail: u64,
    pieces: Edges,
}

/// Where pieces begin and end.
#[derive(Clone, Copy, PartialEq, Eq)]
#[cfg_attr(test, derive(Debug))]
enum Edges {
    /// Where pages do.
    AtPages,
    /// Inside pages, some of them.
    InPages,
}

/// What the pieces of `memory` come to.
#[inline]
fn extent<L: PhysList + ?Sized>(page_log2: u32, memory: &mut L) -> Result<Extent, MapFailure> {
    let in_page = (1u64 << page_log2) - 1;
    let (mut whole, mut tail, mut pieces) = (0u64, 0, Edges::AtPages);
    memory.restart();
    while let Some(piece) = memory.next_range() {
        let mut widened = piece.len_bytes();
        if widened == 0 || (piece.start().as_u64() | widened) & in_page != 0 {
            pieces = Edges::InPages;
            (widened, tail) = whole_pages_of(page_log2, piece)?;
        } else {
            tail = 0;
        }
        whole = whole.checked_add(widened).ok_or(MapFailure::TooLong {
            len_bytes: whole,
            max_bytes: u64::MAX >> page_log2 << page_log2,
        })?;
    }
    match whole {
        0 => Err(MapFailure::Empty),
        whole => Ok(Extent {
            whole,
            tail,
            pieces,
        }),
    }
}

/// Bytes of the whole pages that a piece lies in, and those of them after it.
#[inline]
fn whole_pages_of(page_log2: u32, piece: PhysRange) -> Result<(u64, u64), MapFailure> {
    let len_bytes = piece.len_bytes();
    if len_bytes == 0 {
        return Err(MapFailure::Empty);
    }
    let in_page = (1u64 << page_log2) - 1;
    let head = piece.start().as_u64() & in_page;
    match head
        .checked_add(len_bytes)
        .and_then(|bytes| bytes.checked_add(in_page))
    {
        Some(bytes) => {
            let widened = bytes & !in_page;
            Ok((widened, widened - head - len_bytes))
        }
        None => Err(MapFailure::past_the_end(piece.start(), len_bytes)),
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
    let range = match place.pieces {
        Edges::AtPages => place.choose(domain, |request| domain.map_list(request, memory, grant)),
        Edges::InPages => {
            let mut pages = WholePages {
                list: memory,
                page_log2: place.page_log2,
            };
            place.choose(domain, |request| {
                domain.map_list(request, &mut pages, grant)
            })
        }
    }?;
    Ok(place.range(range))
}

/// As [`map`] where [`place`] says, of a few pieces, if there is room at hand, for a device with `limits`, whose domain has pages of one
/// frame; else nothing was done.
#[inline(always)]
pub(super) fn map_few<P: Platform, L: PhysList + ?Sized>(
    domain: &Domain<P>,
    limits: &Limits,
    terms: &Terms,
    pieces: &mut L,
) -> Option<BusRange> {
    let within = limits_for_small(domain.address_order(), limits, terms)?;
    let mut few = FewFrames::NONE;
    if !few.become_of(pieces) {
        return None;
    }
    let first = domain.map_few(within, &few, terms.grant())?;
    Some(few.range(first))
}

/// What is asked first for `len_bytes` bytes of memory in one piece, in the pages that it touches, where they are fewer than those of
/// a large leaf and the device's `limits` leave them alone: nearly all that is mapped. `None` elsewhere.
#[inline]
pub(super) fn request_for_small(
    order: AddressOrder,
    limits: &Limits,
    terms: &Terms,
    (len_bytes, pages): (u64, PhysRange),
) -> Option<IovaRequest> {
    let [_, large_log2] = LARGE_LEAVES_LOG2;
    let is_small = len_bytes.wrapping_sub(1) < (1 << large_log2) - 1;
    if !is_small {
        return None;
    }
    let (first, last) = limits_for_small(order, limits, terms)?;
    let whole = pages.len_bytes();
    let order_log2 = u64::BITS - (whole - 1).leading_zeros();
    let request = IovaRequest::new(whole)
        .aligned(order_log2.min(large_log2), 0)
        .from(first)
        .below(last)
        .within(DEFAULT_SEGMENT_BOUNDARY_LOG2);
    Some(request)
}

/// As [`map`] where [`place`] says, for memory in one piece of a device with `limits`, whose domain has pages of one frame.
#[inline(always)]
pub(crate) fn map_one<P: Platform>(
    domain: &Domain<P>,
    limits: &Limits,
    terms: &Terms,
    piece: PhysRange,
) -> Result<BusRange, MapFailure> {
    let (order, pages) = (domain.address_order(), widened(piece, FRAME_SIZE_LOG2));
    if (1..=MOST_BYTES).contains(&pages.len_bytes())
        && let Some(within) = limits_for_small(order, limits, terms)
        && let Some(first) = match pages.len_bytes() {
            FRAME_BYTES => domain.map_page(within, pages, terms.grant()),
            _ => domain.map_run(within, pages, terms.grant()),
        }
    {
        let head = piece.start().as_u64() - pages.start().as_u64();
        let start = BusAddr::new(first.as_u64() + head);
        return Ok(BusRange::of_existing(start, piece.len_bytes()));
    }
    map_small(domain, limits, terms, (piece, pages))
}

/// Where memory shorter than a large leaf may lie first, inclusive, where pages [end](Limits::pages_end) there; `None` where more is to be
/// asked.
#[inline]
pub(super) fn pages_for_small(order: AddressOrder, end: u64) -> Option<(BusAddr, BusAddr)> {
    let last = BusAddr::new((end << FRAME_SIZE_LOG2).checked_sub(1)?);
    Some((first_for_small(order, last), last))
}

/// Where memory shorter than a large leaf may lie first, inclusive; `None` where more is asked for, also by the device's `limits`.
#[inline]
fn limits_for_small(
    order: AddressOrder,
    limits: &Limits,
    terms: &Terms,
) -> Option<(BusAddr, BusAddr)> {
    if terms.shape.alignment() != Alignment::Convenient || limits.concern_small_memory() {
        return None;
    }
    let last = terms.mask.narrowed_to(limits.bus_last()).last();
    Some((first_for_small(order, last), last))
}

/// The first address of those up to `last` that are asked for first.
#[inline]
fn first_for_small(order: AddressOrder, last: BusAddr) -> BusAddr {
    match order {
        AddressOrder::HighFirst if ABOVE_32_BITS <= last => ABOVE_32_BITS,
        _ => BusAddr::new(0),
    }
}

/// As [`map_one`], of memory of any length, which touches `pages`.
#[inline(never)]
fn map_small<P: Platform>(
    domain: &Domain<P>,
    limits: &Limits,
    terms: &Terms,
    (piece, pages): (PhysRange, PhysRange),
) -> Result<BusRange, MapFailure> {
    let (order, memory) = (domain.address_order(), (piece.len_bytes(), pages));
    let Some(request) = request_for_small(order, limits, terms, memory) else {
        return map_one_anywhere(domain, limits, *terms, piece);
    };
    let mut list = Replay::new(core::iter::once(pages));
    match domain.map_list(request, &mut list, terms.grant()) {
        Ok(range) => {
            let head = piece.start().as_u64() - pages.start().as_u64();
            let range = range.slice(head, piece.len_bytes());
            Ok(range.expect("the request had room for the head and the bytes"))
        }
        Err(DomainError::Iova(_)) => map_one_anywhere(domain, limits, *terms, piece),
        Err(error) => Err(error.into()),
    }
}

/// As [`map_one`], wherever there is room.
#[inline(never)]
fn map_one_anywhere<P: Platform>(
    domain: &Domain<P>,
    limits: &Limits,
    terms: Terms,
    piece: PhysRange,
) -> Result<BusRange, MapFailure> {
    let terms = terms.within(limits);
    let mut list = Replay::new(core::iter::once(piece));
    let place = place(domain.page_size_log2(), &terms, piece, &mut list)?;
    map(domain, place, &mut list, terms.grant())
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
    /// Makes the request that serves best, and others only where there is no room for it; and once more where what waits for a flush may be
    /// in the way.
    #[inline]
    fn choose<P: Platform>(
        &self,
        domain: &Domain<P>,
        mut make: impl FnMut(IovaRequest) -> Result<BusRange, DomainError>,
    ) -> Result<BusRange, DomainError> {
        match self.choose_now(domain, &mut make) {
            Err(error) if error.lacks_addresses() && domain.flush_addresses() => {
                self.choose_now(domain, &mut make)
            }
            outcome => outcome,
        }
    }

    #[inline]
    fn choose_now<P: Platform>(
        &self,
        domain: &Domain<P>,
        make: &mut impl FnMut(IovaRequest) -> Result<BusRange, DomainError>,
    ) -> Result<BusRange, DomainError> {
        if domain.address_order() == AddressOrder::HighFirst && ABOVE_32_BITS <= self.pages.last() {
            match make(self.pages.from(ABOVE_32_BITS)) {
                Err(DomainError::Iova(_)) => {}
                outcome => return outcome,
            }
        }
        match make(self.pages) {
            // A small mask may only have room without the alignment.
            Err(DomainError::Iova(_)) if self.alignment == Alignment::Convenient => {
                let (kept_log2, kept) = self.owed;
                let plain = self.pages.aligned(kept_log2, kept);
                make(plain.within(self.owed_boundary_log2))
            }
            outcome => outcome,
        }
    }

    /// The bytes asked for, of the whole pages that were found.
    #[inline]
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
        self.list
            .next_range()
            .map(|piece| widened(piece, self.page_log2))
    }
}

/// `piece` and the rest of the pages of `2^page_log2` bytes that it touches.
#[inline]
pub(crate) fn widened(piece: PhysRange, page_log2: u32) -> PhysRange {
    if (piece.start().as_u64() | piece.len_bytes()) & ((1 << page_log2) - 1) == 0 {
        return piece;
    }
    let start: PhysAddr = piece.start().align_down(page_log2);
    let head = piece.start().as_u64() - start.as_u64();
    let len = up_to_page(head + piece.len_bytes(), page_log2);
    PhysRange::new(start, len).unwrap_or(piece)
}

/// The whole pages that a mapping's range lies in.
#[inline]
pub(crate) fn pages(range: BusRange, page_log2: u32) -> BusRange {
    if (range.start().as_u64() | range.len_bytes()) & ((1 << page_log2) - 1) == 0 {
        return range;
    }
    let start = range.start().align_down(page_log2);
    let head = range.start().as_u64() - start.as_u64();
    let len = up_to_page(head + range.len_bytes(), page_log2);
    BusRange::new(start, len).expect("a mapped range was allocated in whole pages")
}

/// The least number of bytes from `bytes` on that comes to whole pages, if there is one.
#[inline]
fn up_to_page(bytes: u64, page_log2: u32) -> u64 {
    let in_page = (1 << page_log2) - 1;
    (bytes + in_page) & !in_page
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::addr::DmaMask;
    use crate::map::Bidirectional;
    use crate::map::terms::Shape;

    /// Terms of every kind, for memory of any kind.
    fn all_terms() -> impl Iterator<Item = Terms> {
        let boundaries = [
            Boundary::Preferred(u64::MAX),
            Boundary::Preferred(u64::from(u32::MAX)),
            Boundary::Required(0xffff),
            Boundary::Required(0xfff),
        ];
        let shapes = [Shape::Single, Shape::Pieces, Shape::AlignedBlock];
        let masks = [0, 0xfff, 0x1_ffff, 0x3f_ffff];
        shapes.into_iter().flat_map(move |shape| {
            masks.into_iter().flat_map(move |min_align_mask| {
                boundaries.map(|boundary| Terms {
                    boundary,
                    min_align_mask,
                    ..Terms::new(DmaMask::ALL, shape, Bidirectional)
                })
            })
        })
    }

    fn pieces() -> impl Iterator<Item = PhysRange> {
        let starts = [0, 0x1000, 0x1801, 0xf000, 0x4020_0000, u64::MAX - 0x1fff];
        let lens = [
            0,
            1,
            0x7ff,
            0x1000,
            0x1001,
            0x1_0000,
            2 << 20,
            (1 << 30) + 1,
        ];
        starts.into_iter().flat_map(move |start| {
            lens.into_iter()
                .filter_map(move |len| PhysRange::new(PhysAddr::new(start), len).ok())
        })
    }

    #[test]
    fn small_memory_is_asked_for_as_any_other_is() {
        let mut small = 0;
        for (terms, piece) in
            all_terms().flat_map(|terms| pieces().map(move |piece| (terms, piece)))
        {
            for page_log2 in [12, 14, 16] {
                let limits = Limits::new(BusAddr::new(u64::MAX >> 16));
                limits.set_min_align_mask(terms.min_align_mask);
                if let Boundary::Required(boundary) = terms.boundary {
                    limits.set_segment_boundary(boundary);
                }
                let order = AddressOrder::LowFirst;
                let memory = (piece.len_bytes(), widened(piece, page_log2));
                let asked = request_for_small(order, &limits, &terms, memory);
                if let Some(request) = asked {
                    let terms = terms.within(&limits);
                    let mut list = Replay::new(core::iter::once(piece));
                    let placed = place(page_log2, &terms, piece, &mut list).unwrap();
                    assert_eq!(placed.pages, request, "{piece}");
                    assert_eq!(placed.head, piece.start().as_u64() & ((1 << page_log2) - 1));
                    small += 1;
                }
            }
        }
        assert!(small > 0);
    }

    #[test]
    fn whole_pages_are_those_that_a_piece_touches() {
        for (piece, page_log2) in pieces().flat_map(|piece| [12, 14, 16].map(|log2| (piece, log2)))
        {
            let page = 1u128 << page_log2;
            let (start, len) = (piece.start().as_u64(), piece.len_bytes());
            let (first, end) = (
                u128::from(start) / page,
                u128::from(start) + u128::from(len),
            );
            let whole = (end.div_ceil(page) - first) * page;
            let tail = end.next_multiple_of(page) - end;
            match whole_pages_of(page_log2, piece) {
                Ok(found) => {
                    assert_eq!((u128::from(found.0), u128::from(found.1)), (whole, tail));
                    assert_eq!(
                        u128::from(widened(piece, page_log2).len_bytes()),
                        whole,
                        "{piece}"
                    );
                }
                Err(failure) => assert!(len == 0, "{piece}: {failure}"),
            }
        }
    }
}
