//! What lanes are asked for, and which of them serves it.

use super::super::block::Level;
use super::super::units::{UNITS, UNITS_LOG2};
use super::{IovaRequest, MOST};

/// Which blocks a range of so many granules is in, where it is in a lent one, and how many of their units it has; `None` where it is
/// in none.
#[inline]
pub(crate) fn level_of(granules: u64) -> Option<(Level, usize)> {
    if granules.wrapping_sub(1) < MOST {
        return Some((Level::Granules, granules as usize));
    }
    let units = granules.div_ceil(UNITS as u64);
    (units.wrapping_sub(1) < MOST).then_some((Level::Blocks, units as usize))
}

/// The order of large units, their number and how many granules there are of the last, of a range of `granules` that `2^order` have room for,
/// which are more than a block of granules serves.
#[inline]
pub(crate) fn large_size((order, granules): (u32, u64)) -> ((u32, usize), u16) {
    let unit_log2 = Level::Blocks.unit_log2();
    let before_last = (granules - 1) >> unit_log2;
    let tail = granules - (before_last << unit_log2);
    (
        (order.wrapping_sub(unit_log2), before_last as usize + 1),
        tail as u16,
    )
}

/// A request that lanes serve.
pub(crate) struct LaneRequest<'a> {
    /// Which blocks serve it.
    pub(crate) level: Level,
    /// How many of their units it takes.
    pub(crate) units: usize,
    /// How many granules it has of the last of them.
    pub(super) tail: u16,
    /// `2^order` units have room for it with its alignment.
    pub(super) order: u32,
    pub(super) granule_log2: u32,
    pub(super) request: &'a IovaRequest,
}

impl<'a> LaneRequest<'a> {
    /// `None` where lanes of granules serve no such requests: [large ones](Self::of_large) may.
    #[inline(always)]
    pub(crate) fn of(request: &'a IovaRequest, granule_log2: u32) -> Option<Self> {
        let granules = request.len_bytes() >> granule_log2;
        Self::of_units(Level::Granules, granules, request, granule_log2)
    }

    /// `None` where no lanes serve such requests: what the space says of them is said there.
    #[inline(always)]
    pub(crate) fn of_large(request: &'a IovaRequest, granule_log2: u32) -> Option<Self> {
        let granules = request.len_bytes() >> granule_log2;
        if granules <= MOST {
            return None;
        }
        let units = granules.div_ceil(UNITS as u64);
        Self::of_units(Level::Blocks, units, request, granule_log2)
    }

    #[inline(always)]
    fn of_units(
        level: Level,
        units: u64,
        request: &'a IovaRequest,
        granule_log2: u32,
    ) -> Option<Self> {
        let granules = request.len_bytes() >> granule_log2;
        let is_whole = granules << granule_log2 == request.len_bytes();
        if !is_whole || units.wrapping_sub(1) >= MOST || request.offset() != 0 {
            return None;
        }
        let unit_log2 = granule_log2 + level.unit_log2();
        let len_order = u64::BITS - (units - 1).leading_zeros();
        let order = len_order.max(request.align_log2().saturating_sub(unit_log2));
        // At a multiple of its size nothing crosses a boundary that is no less.
        let is_within = request.boundary_log2() >= unit_log2 + len_order;
        (order < UNITS_LOG2 && is_within).then_some(Self {
            level,
            units: units as usize,
            tail: (granules - ((units - 1) << level.unit_log2())) as u16,
            order,
            granule_log2,
            request,
        })
    }

    /// log2 of the bytes in a unit.
    #[inline]
    pub(super) fn unit_log2(&self) -> u32 {
        self.granule_log2 + self.level.unit_log2()
    }

    /// Whether all of the block that begins with unit `start` is within the request's limits.
    #[inline]
    pub(super) fn takes(&self, start: u64) -> bool {
        let first = start << self.unit_log2();
        let last = first + (((UNITS as u64) << self.unit_log2()) - 1);
        let limits = self.request.limits();
        limits.0.as_u64() <= first && last <= limits.1.as_u64()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::iova::units::WORD_LOG2;

    /// What is said of ordinary requests is what is said of any.
    #[test]
    fn ordinary_requests_are_requests() {
        let mut ordinary = 0;
        for granule_log2 in [12, 14, 16] {
            for len_bytes in (0..34).flat_map(|log2| [1 << log2, 3 << log2, 5 << log2]) {
                for (align_log2, boundary_log2) in
                    (0..26).flat_map(|a| (0..26).map(move |b| (a, b)))
                {
                    for offset in [0, 1 << granule_log2] {
                        let request = IovaRequest::new(len_bytes)
                            .aligned(align_log2, offset)
                            .within(boundary_log2);
                        let Some(size) = request.size_in(granule_log2) else {
                            continue;
                        };
                        let order = request.order_in(granule_log2);
                        if order <= WORD_LOG2 {
                            assert_eq!((order, 1 << order), size, "{request}");
                        }
                        if size.0 < UNITS_LOG2 {
                            let plain = LaneRequest::of(&request, granule_log2);
                            let plain = plain.map(|it| (it.order, it.units as u64));
                            assert_eq!(plain, Some(size), "{request}");
                            ordinary += 1;
                        } else if size.0 < 2 * UNITS_LOG2 - 1 {
                            let plain = LaneRequest::of_large(&request, granule_log2);
                            let plain = plain.map(|it| ((it.order, it.units), it.tail));
                            assert_eq!(plain, Some(large_size(size)), "{request}");
                            ordinary += 1;
                        }
                    }
                }
            }
        }
        assert!(ordinary > 1000, "{ordinary} are ordinary");
    }
}
