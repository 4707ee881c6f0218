//! What fits in gaps between extents, the larger of two gaps being what fits in both.
//!
//! What is no longer than can be said is told as of blocks, exactly (`rooms.rs`). Of longer ranges it is known whether they fit where
//! they may begin anywhere, or are aligned to their own size; and whether a place is so aligned at all.

use super::rooms::{Need, Rooms};
use super::search::Fit;

/// What fits in a gap, or in one of several.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Gaps {
    rooms: Rooms,
    /// The longest range that may begin anywhere.
    widest: u64,
    /// The longest that is aligned to its size, rounded up to a power of two. All that are shorter fit as well.
    natural: u64,
    /// log2 of the largest alignment of a granule, plus one.
    aligned: u8,
}

/// What a request needs of a gap.
pub(super) struct GapNeed {
    rooms: Option<Need>,
    len: u64,
    is_natural: bool,
    align_log2: u32,
}

impl GapNeed {
    pub(super) fn of(fit: &Fit) -> Self {
        let align_log2 = match fit.offset {
            0 => fit.align.trailing_zeros(),
            offset => offset.trailing_zeros(),
        };
        let order = fit.len.next_power_of_two().trailing_zeros();
        Self {
            rooms: Need::of_gap(fit),
            len: fit.len,
            is_natural: fit.offset == 0 && align_log2 >= order,
            align_log2,
        }
    }
}

impl Gaps {
    pub(super) const NONE: Self = Self {
        rooms: Rooms::NONE,
        widest: 0,
        natural: 0,
        aligned: 0,
    };

    /// Of the gap `start..end`, which may be empty; granule 0 is in no gap.
    pub(super) fn of((start, end): (u64, u64)) -> Self {
        let Some(log2) = (end - start).checked_ilog2() else {
            return Self::NONE;
        };
        let aligned_from = |log2: u32| start.next_multiple_of(1 << log2);
        // Of as many granules half are a run at a multiple of its size, if not all.
        let order = match aligned_from(log2) + (1 << log2) <= end {
            true => log2,
            false => log2 - 1,
        };
        let more = end.saturating_sub(aligned_from(order + 1));
        let changed = (start.wrapping_sub(1) ^ (end - 1)).ilog2();
        Self {
            rooms: Rooms::of_gap((start, end)),
            widest: end - start,
            natural: more.max(1 << order),
            aligned: ((end - 1) >> changed << changed).trailing_zeros() as u8 + 1,
        }
    }

    /// The larger of each.
    pub(super) fn join(&mut self, other: &Self) {
        self.rooms.join(&other.rooms);
        self.widest = self.widest.max(other.widest);
        self.natural = self.natural.max(other.natural);
        self.aligned = self.aligned.max(other.aligned);
    }

    pub(super) fn widest(&self) -> u64 {
        self.widest
    }

    /// Whether a range fits, or may.
    pub(super) fn hold(&self, need: &GapNeed) -> bool {
        let len = match need.is_natural {
            true => self.natural,
            false => self.widest,
        };
        len >= need.len
            && u32::from(self.aligned) > need.align_log2
            && need.rooms.as_ref().is_none_or(|need| self.rooms.hold(need))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::iova::search::LIMITLESS;

    #[test]
    fn what_fits_in_a_gap_agrees_with_an_oracle() {
        for start in 1..70u64 {
            for end in start..140 {
                let gaps = Gaps::of((start, end));
                assert_eq!(gaps.widest(), end - start);
                for (len, align_log2) in
                    (1..72u64).flat_map(|len| (0..9).map(move |log2| (len, log2)))
                {
                    let fit = Fit {
                        len,
                        align: 1 << align_log2,
                        offset: 0,
                        start: 0,
                        end: u64::MAX,
                        boundary: LIMITLESS,
                    };
                    let fits = fit.place(start, end).is_some();
                    let held = gaps.hold(&GapNeed::of(&fit));
                    assert_eq!(held, fits, "{start}..{end}: {len} at {align_log2}");
                    let fit = Fit {
                        align: 1,
                        boundary: 1 << align_log2,
                        ..fit
                    };
                    let fits = fit.place(start, end).is_some();
                    let held = len <= fit.boundary && gaps.hold(&GapNeed::of(&fit));
                    assert_eq!(held, fits, "{start}..{end}: {len} within {align_log2}");
                }
            }
        }
    }
}
