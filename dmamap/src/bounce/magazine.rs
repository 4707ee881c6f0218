//! Runs that one CPU keeps ready: given back there, and lent there again without a lock.
//!
//! They are told apart by their number of slots, and chained through the records of their first slots, so that a CPU's part is a word
//! for each number. Each begins at a multiple of the power of two that holds it: it serves whoever asks for as many slots and no
//! more alignment.

use super::record::{Holds, NONE, Record};

/// The most slots of a run that is kept.
pub(super) const MOST: u32 = 32;

/// Where a run begins: a slot of an area.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RunStart(u32);

impl RunStart {
    /// Slot `slot`, below `2^15`, of area `area`, below `2^16 - 1`.
    #[inline]
    pub(super) fn new(area: usize, slot: u32) -> Self {
        Self((area as u32) << 16 | slot)
    }

    #[inline]
    pub(super) fn area(self) -> usize {
        (self.0 >> 16) as usize
    }

    #[inline]
    pub(super) fn slot(self) -> u32 {
        self.0 & 0xffff
    }
}

/// What one CPU keeps.
pub(super) struct Magazine {
    /// The run that was kept last, by slots less one.
    heads: [u32; MOST as usize],
}

impl Magazine {
    pub(super) const EMPTY: Self = Self {
        heads: [NONE; MOST as usize],
    };

    /// The run of so many slots that was kept last.
    #[inline]
    pub(super) fn first(&self, slots: u32) -> Option<RunStart> {
        let head = *self.heads.get(slots.wrapping_sub(1) as usize)?;
        (head != NONE).then_some(RunStart(head))
    }

    /// Takes the [first](Self::first) run of so many slots, which `record` is of.
    #[inline]
    pub(super) fn pop(&mut self, slots: u32, record: &Record) {
        self.heads[slots as usize - 1] = record.next();
    }

    /// Keeps a run of so many slots, at most [`MOST`].
    #[inline]
    pub(super) fn push(&mut self, slots: u32, at: RunStart, record: &Record, holds: Holds) {
        let head = &mut self.heads[slots as usize - 1];
        record.keep(slots, *head, holds);
        *head = at.0;
    }

    /// The most slots of a run that is kept, of all lengths but `but`; if there is none, `but`.
    pub(super) fn longest(&self, but: u32) -> u32 {
        let lengths = (1..=MOST).rev().filter(|&slots| slots != but);
        { lengths }
            .find(|&slots| self.first(slots).is_some())
            .unwrap_or(but)
    }
}

/// Whether a run of so many slots that begins with `slot` may be kept: it is as aligned as any that is lent for so many.
#[inline]
pub(super) fn is_kept(slots: u32, slot: u32) -> bool {
    slots.wrapping_sub(1) < MOST && slot & (slots.next_power_of_two() - 1) == 0
}
