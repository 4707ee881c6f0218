//! What fits in a block or a gap, exactly: for each alignment and each boundary the longest run that keeps to it.
//!
//! A run counts wherever it begins, so these are what requests are told by that no size class has room for: does any
//! block have `len` units in a row, at a multiple of 16, or across no multiple of 8? The larger of two blocks' rooms are those of
//! both, so that a tree knows the same of all below a node (`index.rs`, `tree.rs`).
//!
//! Exact for what asks for an alignment or a boundary. For both at once, where one does not imply the other, for boundaries
//! beyond 2^11, and for places at an offset from an aligned one, rooms are no less than what fits: who looks there may find
//! nothing.

use super::runs::MULTIPLES;
use super::search::Fit;
use super::units::{Marks, UNITS, UNITS_LOG2, Use, WORDS};

/// log2 of the largest alignment that is told apart from larger ones. Beyond a block's length only a block that itself is so
/// aligned has such places.
const LARGEST_ALIGN: usize = 20;

/// log2 of the largest boundary that is told apart from none.
const LARGEST_BOUNDARY: usize = 11;

/// One longest run for each alignment from 1 on, then for each boundary from 2 on.
const CLASSES: usize = LARGEST_ALIGN + 1 + LARGEST_BOUNDARY;

/// The alignments within a block, and the boundaries, less one.
const ALIGN_MASKS: [u16; UNITS_LOG2 as usize + 1] = [0, 1, 3, 7, 15, 31, 63, 127, 255, 511];
const BOUNDARY_MASKS: [u16; UNITS_LOG2 as usize - 1] = [1, 3, 7, 15, 31, 63, 127, 255];

/// Runs of less are looked at all at once.
const LONG: usize = 8;

/// The longest runs of a block or a gap, or of several. What is longer than these numbers can say counts as the longest that
/// they can.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rooms([i16; CLASSES]);

/// What a request needs.
#[derive(Clone, Copy)]
pub(super) struct Need {
    len: i16,
    align: usize,
    within: usize,
}

/// Where the longest run that keeps to a boundary is.
const fn boundary_class(log2: usize) -> usize {
    LARGEST_ALIGN + log2
}

impl Need {
    /// `None` for more than a block has.
    pub(super) fn of(fit: &Fit) -> Option<Self> {
        Self::of_gap(fit).filter(|_| fit.len <= UNITS as u64)
    }

    /// `None` for more than can be said, and for what cannot be.
    pub(super) fn of_gap(fit: &Fit) -> Option<Self> {
        let len = i16::try_from(fit.len).ok()?;
        let order = fit.len.next_power_of_two().trailing_zeros();
        let align = match fit.offset {
            0 => fit.align.trailing_zeros(),
            // At least so much.
            offset => offset.trailing_zeros(),
        };
        let class = (align as usize).min(LARGEST_ALIGN);
        let within = match fit.boundary.trailing_zeros() as usize {
            // At a multiple of its size nothing crosses a boundary that is no less.
            log2 @ 1..=LARGEST_BOUNDARY if align < order => boundary_class(log2),
            _ => class,
        };
        (fit.len <= fit.boundary).then_some(Self {
            len,
            align: class,
            within,
        })
    }
}

impl Rooms {
    pub(super) const NONE: Self = Self([0; CLASSES]);

    /// Those of a block that begins with the `start`th unit of all.
    pub(super) fn of(marks: &Marks, start: u64) -> Self {
        let mut rooms = Self::NONE;
        let free = marks.free_words();
        let mut starts = free;
        for len in 1..LONG {
            if starts == [0; WORDS] {
                return rooms;
            }
            rooms.add_short(&starts, len, start);
            for (at, word) in starts.iter_mut().enumerate() {
                let next = free.get(at + 1).copied().unwrap_or(0);
                *word &= free[at] >> len | next << (64 - len);
            }
        }
        let mut carried = 0;
        for (at, &word) in starts.iter().enumerate() {
            let mut firsts = word & !(word << 1 | carried);
            carried = word >> 63;
            while firsts != 0 {
                let first = at * 64 + firsts.trailing_zeros() as usize;
                firsts &= firsts - 1;
                rooms.add(first, marks.next(first, Use::Taken), start);
            }
        }
        rooms
    }

    /// With runs of `len` units, more than all that were added, at each of these units.
    fn add_short(&mut self, starts: &[u64; WORDS], len: usize, start: u64) {
        let of_words = |words: u8| {
            let words = (0..WORDS).filter(|at| words & 1 << at != 0);
            words.fold(0, |all, at| all | starts[at])
        };
        let all = of_words(0xff);
        let align = match () {
            () if starts[0] & 1 != 0 => UNITS_LOG2.max(aligned(start)) as usize,
            () if starts[4] & 1 != 0 => 8,
            () if (starts[2] | starts[6]) & 1 != 0 => 7,
            () if all & 1 != 0 => 6,
            () => {
                let is_there = |log2: &usize| all & MULTIPLES[*log2] != 0;
                (0..6).rfind(is_there).unwrap_or(0)
            }
        };
        self.0[..=align].fill(len as i16);
        // Those that end in the same word, as all do that cross no multiple of 64.
        let in_word = all & u64::MAX >> (len - 1);
        let in_cells = |log2: &usize| {
            let cell = 1u32 << log2;
            let Some(more) = cell.checked_sub(len as u32) else {
                return false;
            };
            let firsts = (1u64 << (more + 1)) - 1;
            all & firsts.wrapping_mul(MULTIPLES[*log2]) != 0
        };
        let boundary = (1..6).find(in_cells).unwrap_or_else(|| match () {
            () if in_word != 0 => 6,
            () if of_words(0x55) != 0 => 7,
            () if of_words(0x77) != 0 => 8,
            () => 9,
        });
        self.0[boundary_class(boundary)..].fill(len as i16);
    }

    /// With the free units `first..end` of a block that begins with the `start`th unit of all.
    pub(super) fn add(&mut self, first: usize, end: usize, start: u64) {
        let (first, end) = (first as u16, end as u16);
        let (of_align, of_boundary) = self.0.split_at_mut(boundary_class(1));
        for (room, mask) in of_align.iter_mut().zip(ALIGN_MASKS) {
            let aligned = (first + mask) & !mask;
            *room = (*room).max(end.saturating_sub(aligned) as i16);
        }
        if first == 0 {
            for room in of_align.iter_mut().take(aligned(start) as usize + 1) {
                *room = (*room).max(end as i16);
            }
        }
        for (room, mask) in of_boundary.iter_mut().zip(BOUNDARY_MASKS) {
            let (next, last) = ((first + mask) & !mask, end & !mask);
            let whole = if next < last { mask + 1 } else { 0 };
            let ends = (next.min(end) - first).max(end - last.max(first));
            *room = (*room).max(ends.max(whole) as i16);
        }
        for room in &mut of_boundary[BOUNDARY_MASKS.len()..] {
            *room = (*room).max((end - first) as i16);
        }
    }

    /// Those of the gap `start..end`.
    pub(super) fn of_gap((start, end): (u64, u64)) -> Self {
        let mut rooms = Self::NONE;
        if start == end {
            return rooms;
        }
        let units = |units: u64| i16::try_from(units).unwrap_or(i16::MAX);
        let (of_align, of_boundary) = rooms.0.split_at_mut(boundary_class(1));
        for (log2, room) in of_align.iter_mut().enumerate() {
            let aligned = start.next_multiple_of(1 << log2);
            if aligned >= end {
                break;
            }
            *room = units(end - aligned);
        }
        of_boundary.fill(units(end - start));
        for (log2, room) in (1..).zip(of_boundary) {
            let cell = 1u64 << log2;
            let (next, last) = (start.next_multiple_of(cell), end & !(cell - 1));
            let longest = match next < last {
                true => cell,
                false => (next.min(end) - start).max(end - last.max(start)),
            };
            *room = units(longest);
            if last <= start {
                // All in one, as in all larger ones.
                break;
            }
        }
        rooms
    }

    /// The longer of each.
    pub(super) fn join(&mut self, other: &Self) {
        for (room, other) in self.0.iter_mut().zip(&other.0) {
            *room = (*room).max(*other);
        }
    }

    /// Whether that fits, or may.
    pub(super) fn hold(&self, need: &Need) -> bool {
        self.0[need.align] >= need.len && self.0[need.within] >= need.len
    }

    /// The longest run of a block.
    pub(super) fn longest(&self) -> u64 {
        self.0[0] as u64
    }
}

/// log2 of the alignment of a number, as far as it is told.
fn aligned(number: u64) -> u32 {
    number.trailing_zeros().min(LARGEST_ALIGN as u32)
}
