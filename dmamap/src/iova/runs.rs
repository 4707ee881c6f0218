//! Places among 512 units, all looked at at once: a request is a few operations on eight words, whatever is in use of them.

use super::search::Fit;
use super::units::{Marks, UNITS, WORDS};

/// The bits at multiples of 1, 2, 4, 8, 16, 32 and 64.
pub(super) const MULTIPLES: [u64; 7] = [
    u64::MAX,
    0x5555_5555_5555_5555,
    0x1111_1111_1111_1111,
    0x0101_0101_0101_0101,
    0x0001_0001_0001_0001,
    0x0000_0001_0000_0001,
    1,
];

/// A bit for each unit at which something may begin.
struct Starts([u64; WORDS]);

impl Marks {
    /// The lowest place, where the first of these units is the `start`th of all, and the request is in units.
    pub(super) fn place(&self, fit: &Fit, start: u64) -> Option<usize> {
        let (len, all) = (usize::try_from(fit.len).ok()?, UNITS as u64);
        // No range begins or ends beyond these units.
        let first = fit.start.saturating_sub(start);
        let last = fit.end.min(start + all).checked_sub(start + fit.len)?;
        if first > last {
            return None;
        }
        let mut starts = Starts::of_runs(self.free_words(), len);
        starts.only_from_to(first as usize, last as usize);
        if fit.align > 1 {
            let first = fit.offset.wrapping_sub(start) & (fit.align - 1);
            starts.only_aligned(usize::try_from(first).ok()?, fit.align);
        }
        if fit.boundary < all {
            // All units begin at a multiple of 512.
            starts.only_within(len, fit.boundary as usize);
        }
        starts.first()
    }
}

impl Starts {
    /// Where `len` ones in a row begin.
    fn of_runs(ones: [u64; WORDS], len: usize) -> Self {
        let (mut runs, mut known) = (ones, 1);
        while known < len && runs != [0; WORDS] {
            let more = known.min(len - known);
            let further = shifted(&runs, more);
            for (run, further) in runs.iter_mut().zip(further) {
                *run &= further;
            }
            known += more;
        }
        Self(runs)
    }

    /// Of these, those from `first` to `last`.
    fn only_from_to(&mut self, first: usize, last: usize) {
        for (at, word) in self.0.iter_mut().enumerate() {
            let base = at * 64;
            let above = match first.saturating_sub(base) {
                skipped @ 0..64 => u64::MAX << skipped,
                _ => 0,
            };
            let below = match (last + 1).saturating_sub(base) {
                0 => 0,
                kept => u64::MAX >> (64 - kept.min(64)),
            };
            *word &= above & below;
        }
    }

    /// Of these, `first` and those at a multiple of `align`, a power of two, from it.
    fn only_aligned(&mut self, first: usize, align: u64) {
        let pattern = MULTIPLES[(align.trailing_zeros() as usize).min(6)];
        for (at, word) in self.0.iter_mut().enumerate() {
            let base = at * 64;
            let is_among = match align {
                0..64 => true,
                _ => {
                    let at = base + first % 64;
                    at >= first && ((at - first) as u64).is_multiple_of(align)
                }
            };
            *word &= match is_among {
                true => pattern << (first % 64),
                false => 0,
            };
        }
    }

    /// Of these, those from which on `len` units cross no multiple of `boundary`, a power of two.
    fn only_within(&mut self, len: usize, boundary: usize) {
        let Some(starts) = (boundary + 1).checked_sub(len) else {
            self.0 = [0; WORDS];
            return;
        };
        // The first so many of each cell.
        for (at, word) in self.0.iter_mut().enumerate() {
            let (base, cell) = (at * 64, boundary.min(64));
            let starts = starts.saturating_sub(base % boundary).min(cell);
            let ones = match starts {
                0 => 0,
                starts => u64::MAX >> (64 - starts),
            };
            *word &= ones.wrapping_mul(MULTIPLES[cell.trailing_zeros() as usize]);
        }
    }

    fn first(&self) -> Option<usize> {
        let at = self.0.iter().position(|&word| word != 0)?;
        Some(at * 64 + self.0[at].trailing_zeros() as usize)
    }
}

/// The bits of units that are `by` further on, fewer than [`UNITS`]; none beyond the last.
fn shifted(bits: &[u64; WORDS], by: usize) -> [u64; WORDS] {
    let (words, by) = (by / 64, by % 64);
    core::array::from_fn(|at| {
        let word = |at: usize| bits.get(at).copied().unwrap_or(0);
        let carried = word(at + words + 1).checked_shl(64 - by as u32);
        word(at + words) >> by | carried.unwrap_or(0)
    })
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;
    use crate::iova::rooms::{Need, Rooms};
    use crate::iova::search::LIMITLESS;
    use crate::iova::units::{Units, Use};

    /// The same, place by place.
    fn oracle(marks: &Marks, fit: &Fit, start: u64) -> Option<usize> {
        (0..UNITS).find(|&unit| {
            let at = start + unit as u64;
            let last = at + fit.len - 1;
            unit + fit.len as usize <= UNITS
                && marks.next(unit, Use::Taken) - unit >= fit.len as usize
                && at & (fit.align - 1) == fit.offset
                && at >= fit.start
                && last < fit.end
                && at & !(fit.boundary - 1) == last & !(fit.boundary - 1)
        })
    }

    #[test]
    fn places_and_rooms_agree_with_an_oracle() {
        let mut state = 5u64;
        let mut random = move |below: u64| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state % below
        };
        for round in 0..300 {
            let mut units = Units::FREE;
            let log2 = random(12);
            let start = random(1 << log2) * UNITS as u64;
            let pieces = 1 + random([3, 30, 250][round % 3]);
            let mut taken = Vec::new();
            for _ in 0..pieces {
                let (at, len) = (random(512) as usize, 1 + random(9) as usize);
                let len = len.min(UNITS - at);
                if units.marks().next(at, Use::Taken) - at >= len {
                    units.take(at, len);
                    taken.push((at, len));
                }
            }
            // What is known of a block as its ranges end is what is found out anew.
            let mut rooms = Rooms::of(units.marks(), start);
            for (at, len) in taken.drain(..taken.len() / 2) {
                units.give(at, len);
                let (first, end) = units.marks().run_around(at);
                rooms.add(first, end, start);
                assert!(units.marks().next(first, Use::Taken) == end);
            }
            assert!(rooms == Rooms::of(units.marks(), start));
            for _ in 0..60 {
                let log2 = random(10);
                let len = 1 + random(1 << log2);
                let align = 1 << random(14);
                let whole = random(2) == 0;
                let fit = Fit {
                    len: len.min(512),
                    align,
                    offset: if random(3) == 0 { random(align) } else { 0 },
                    start: if whole {
                        0
                    } else {
                        start + random(700) - random(300).min(start)
                    },
                    end: if whole { 1 << 40 } else { start + random(700) },
                    boundary: if random(2) == 0 {
                        LIMITLESS
                    } else {
                        1 << random(12)
                    },
                };
                let found = units.marks().place(&fit, start);
                assert_eq!(found, oracle(units.marks(), &fit, start));
                let held = Need::of(&fit).is_some_and(|need| rooms.hold(&need));
                assert!(held || found.is_none());
                let asks_once = fit.align == 1
                    || fit.boundary >= fit.align && fit.len <= fit.align
                    || fit.boundary == LIMITLESS;
                if whole && fit.offset == 0 && asks_once {
                    assert_eq!(held, found.is_some());
                }
            }
        }
    }
}
