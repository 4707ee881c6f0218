//! What fits in a block, exactly: for each alignment and each boundary the longest run of free units that keeps to it.
//!
//! A run counts wherever it begins, so these are what requests are told by that no size class has room for: does any
//! block have `len` units in a row, at a multiple of 16, or across no multiple of 8? The larger of two blocks' rooms are those of
//! both, so that a tree of blocks knows the same of all of them (`index.rs`).
//!
//! Exact for what asks for an alignment or a boundary. For both at once, where one does not imply the other, and for places
//! at an offset from an aligned one, rooms are no less than what fits: who looks there may find nothing.

use super::search::Fit;
use super::units::{Marks, UNITS, UNITS_LOG2, Use};

/// log2 of the largest alignment that is told apart from larger ones, in units: beyond a block's length only a block
/// that itself is so aligned has such places.
const LARGEST_ALIGN: u32 = 20;

/// Where the longest runs across no boundary begin, of 2, 4, … 256 units.
const BOUNDARIES: usize = LARGEST_ALIGN as usize + 1;

/// One longest run for each alignment, then for each boundary.
const CLASSES: usize = 32;

/// The longest runs of a block, or of several.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Rooms([i16; CLASSES]);

/// What a request needs of a block of one level.
#[derive(Clone, Copy)]
pub(super) struct Need {
    units: i16,
    align: usize,
    within: usize,
}

impl Need {
    /// Of a request in units; `None` for more than any block has.
    pub(super) fn of(fit: &Fit) -> Option<Self> {
        let units = i16::try_from(fit.len).ok()?;
        let order = fit.len.next_power_of_two().trailing_zeros();
        let align = match fit.offset {
            0 => fit.align.trailing_zeros(),
            // At least so much.
            offset => offset.trailing_zeros(),
        };
        let align = align.min(LARGEST_ALIGN);
        let boundary = fit.boundary.trailing_zeros();
        // At a multiple of its size nothing crosses a boundary that is no less.
        let within = match boundary {
            1..UNITS_LOG2 if align < order => BOUNDARIES + boundary as usize - 1,
            _ => align as usize,
        };
        (fit.len <= fit.boundary.min(UNITS as u64)).then_some(Self {
            units,
            align: align as usize,
            within,
        })
    }
}

impl Rooms {
    pub(super) const NONE: Self = Self([0; CLASSES]);

    /// Those of a block that begins with the `start`th unit of all.
    pub(super) fn of(marks: &Marks, start: u64) -> Self {
        let mut rooms = Self::NONE;
        let mut unit = marks.next(0, Use::Free);
        while unit < UNITS {
            let end = marks.next(unit, Use::Taken);
            rooms.add(unit, end, start);
            unit = marks.next(end, Use::Free);
        }
        rooms
    }

    /// With the free units `first..end` of a block that begins with the `start`th unit of all.
    pub(super) fn add(&mut self, first: usize, end: usize, start: u64) {
        let longer = |room: &mut i16, units: usize| *room = (*room).max(units as i16);
        for log2 in 0..=UNITS_LOG2 {
            let aligned = first.next_multiple_of(1 << log2);
            if aligned >= end {
                break;
            }
            longer(&mut self.0[log2 as usize], end - aligned);
        }
        if first == 0 {
            let align = start.trailing_zeros().min(LARGEST_ALIGN);
            for log2 in UNITS_LOG2 + 1..=align {
                longer(&mut self.0[log2 as usize], end);
            }
        }
        for log2 in 1..UNITS_LOG2 {
            let cell = 1usize << log2;
            let (next, last) = (first.next_multiple_of(cell), end & !(cell - 1));
            let units = match next.cmp(&last) {
                // All in one.
                core::cmp::Ordering::Greater => end - first,
                core::cmp::Ordering::Equal => (next - first).max(end - last),
                core::cmp::Ordering::Less => cell,
            };
            longer(&mut self.0[BOUNDARIES + log2 as usize - 1], units);
        }
    }

    /// The longer of each.
    pub(super) fn join(&mut self, other: &Self) {
        for (room, other) in self.0.iter_mut().zip(&other.0) {
            *room = (*room).max(*other);
        }
    }

    /// Whether that fits, or may.
    pub(super) fn hold(&self, need: &Need) -> bool {
        self.0[need.align] >= need.units && self.0[need.within] >= need.units
    }

    /// The longest run.
    pub(super) fn longest(&self) -> u64 {
        self.0[0] as u64
    }
}
