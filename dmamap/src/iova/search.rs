//! Finding a gap that fits.

use super::gaps::GapNeed;
use super::tree::{Extent, Node, Tree};
use super::{IovaError, IovaRequest, end_granule, first_granule};
use crate::platform::Platform;

/// A boundary in granules that no range reaches: numbers of granules stay below 2^52.
pub(super) const LIMITLESS: u64 = 1 << 63;

/// A request in granules.
pub(super) struct Fit {
    /// Length; at least 1.
    pub(super) len: u64,
    /// A power of two.
    pub(super) align: u64,
    /// The start is this modulo `align`.
    pub(super) offset: u64,
    /// No granule before this may be part.
    pub(super) start: u64,
    /// No granule from here on may be part.
    pub(super) end: u64,
    /// No multiple of this power of two lies inside; beyond all granules where any may.
    pub(super) boundary: u64,
}

impl Fit {
    /// `request` in granules of `2^granule_log2` bytes.
    ///
    /// # Errors
    /// [`IovaError::Malformed`] when it asks for nothing, or for parts of granules.
    #[inline]
    pub(super) fn of(request: IovaRequest, granule_log2: u32) -> Result<Self, IovaError> {
        let malformed = IovaError::Malformed {
            request,
            granule_log2,
        };
        let granule = 1 << granule_log2;
        let aligned =
            request.len_bytes().is_multiple_of(granule) && request.offset().is_multiple_of(granule);
        let splits_granules = request.boundary_log2() < granule_log2;
        if request.len_bytes() == 0
            || !aligned
            || request.align_log2() >= u64::BITS
            || splits_granules
        {
            return Err(malformed);
        }
        let align = 1 << request.align_log2().saturating_sub(granule_log2);
        Ok(Self {
            len: request.len_bytes() >> granule_log2,
            align,
            offset: (request.offset() >> granule_log2) & (align - 1),
            start: first_granule(request.first(), granule_log2),
            end: end_granule(request.last(), granule_log2),
            boundary: match request.boundary_log2() {
                0..u64::BITS => 1 << (request.boundary_log2() - granule_log2),
                _ => LIMITLESS,
            },
        })
    }

    /// `len` granules, a power of two, at a multiple of that within these bounds.
    pub(super) fn block(len: u64, start: u64, end: u64) -> Self {
        Self {
            len,
            align: len,
            offset: 0,
            start,
            end,
            boundary: LIMITLESS,
        }
    }

    /// The lowest place in the gap `start..end`.
    pub(super) fn place(&self, start: u64, end: u64) -> Option<u64> {
        let start = start.max(self.start);
        // Granule numbers stay below 2^52 and alignments below 2^52, so nothing here overflows.
        let mut place = self.aligned(start);
        if self.crosses(place)? {
            // From the next block's start on: whatever crosses a boundary there would do so everywhere.
            let block = (place & !(self.boundary - 1)).checked_add(self.boundary)?;
            place = self.aligned(block);
            if self.crosses(place)? {
                return None;
            }
        }
        let place_end = place.checked_add(self.len)?;
        (place_end <= end.min(self.end)).then_some(place)
    }

    /// The lowest aligned granule from `start` on.
    fn aligned(&self, start: u64) -> u64 {
        start + (self.offset.wrapping_sub(start) & (self.align - 1))
    }

    /// Whether the range at `place` has a boundary inside; `None` if it would have no end.
    fn crosses(&self, place: u64) -> Option<bool> {
        let last = place.checked_add(self.len - 1)?;
        Some(place & !(self.boundary - 1) != last & !(self.boundary - 1))
    }

    /// Granules of a gap in which the range fits wherever it begins.
    fn roomy(&self) -> Option<u64> {
        let once = self.len.checked_add(self.align - 1)?;
        // Within a block of its alignment, and so between two boundaries.
        let in_block = self.offset + self.len <= self.align && self.align <= self.boundary;
        match self.boundary >= LIMITLESS || in_block {
            true => Some(once),
            // A place that crosses a boundary is left, and another begins less than a range further up.
            false => once.checked_mul(2),
        }
    }
}

impl<P: Platform> Tree<P> {
    /// The start of a place that fits.
    pub(super) fn find(&mut self, fit: &Fit) -> Option<u64> {
        if fit.len > fit.boundary {
            return None;
        }
        // A gap with room for every misalignment fits for sure, unless it is too high: then so are all later ones; or too
        // low.
        let place = fit.roomy().and_then(|len| {
            let (start, end) = self.lowest_gap(len)?;
            fit.place(start, end)
        });
        let need = GapNeed::of(fit);
        place
            .or_else(|| self.exact(self.root(), fit, &need))
            .or_else(|| {
                let (start, end) = self.tail();
                fit.place(start, end)
            })
    }

    /// The lowest gap of at least `len` granules.
    fn lowest_gap(&mut self, len: u64) -> Option<(u64, u64)> {
        let mut at = self.root();
        while let Some(node) = at {
            let extent = self.visit(node);
            if extent.gaps.widest() < len {
                // Only the root can be too narrow: the loop goes where a gap was promised.
                break;
            }
            let Extent {
                left, right, gap, ..
            } = *extent;
            let gap_before = extent.gap_before();
            at = match left {
                Some(left) if self.visit(left).gaps.widest() >= len => Some(left),
                _ if gap >= len => return Some(gap_before),
                _ => right,
            };
        }
        let (start, end) = self.tail();
        (end - start >= len).then_some((start, end))
    }

    /// The lowest place before an extent of the subtree. Linear only in the gaps within the limits that are long enough and have
    /// no such place, of which gaps do not tell (`gaps.rs`).
    fn exact(&mut self, subtree: Option<Node>, fit: &Fit, need: &GapNeed) -> Option<u64> {
        let extent = self.visit(subtree?);
        if !extent.gaps.hold(need) {
            return None;
        }
        let (start, end) = extent.gap_before();
        // Every gap to the left ends before this extent's, and every gap to the right starts after it.
        let left = extent.left.filter(|_| start > fit.start);
        let right = extent.right.filter(|_| extent.end() < fit.end);
        self.exact(left, fit, need)
            .or_else(|| fit.place(start, end))
            .or_else(|| self.exact(right, fit, need))
    }
}
