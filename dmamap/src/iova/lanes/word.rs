//! 64 units of a lent block, a bit or two each: which are in use, and which of those go on with a range.
//!
//! A range of no more units than a word has is in one word, as it is at a multiple of the next power of two: to begin it is to find as
//! many zeros at such a multiple ([`units::first_run`]), and to set them; to end it is to clear them.

use super::sync::{AtomicU64, Ordering};
use crate::iova::units;

/// The units that one word tells of. Its owner alone changes it.
#[derive(Default)]
pub(super) struct Word {
    used: AtomicU64,
    /// What of it goes on with the range of the unit before: nothing, where ranges are single units.
    joined: AtomicU64,
}

impl Word {
    #[inline]
    pub(super) fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    #[inline]
    pub(super) fn joined(&self) -> u64 {
        self.joined.load(Ordering::Relaxed)
    }

    /// Begins a range of `len` units, if `2^order` of them, which are no fewer and at most the word, are free at a multiple of
    /// that: which is the first. The owner's to call.
    #[inline(always)]
    pub(super) fn begin(&self, order: u32, len: usize) -> Option<u32> {
        let used = self.used();
        if order == 0 {
            // Nearly always, and one bit is all there is to it.
            return (used != u64::MAX).then(|| {
                self.used.store(used | (used + 1), Ordering::Relaxed);
                used.trailing_ones()
            });
        }
        let unit = units::first_run(used, order)?;
        self.take(mask(unit, len), 1 << unit);
        Some(unit)
    }

    /// Puts units in use, all of which are free; `first` is the one of them that a range begins with, if one does here. The owner's to
    /// call.
    #[inline]
    pub(super) fn take(&self, units: u64, first: u64) {
        set(&self.used, |used| used | units);
        set(&self.joined, |joined| joined | units & !first);
    }

    /// Puts all units in use, none of which was; `first` is the one that a range begins with, if one does here. The owner's to call.
    #[inline]
    pub(super) fn take_all(&self, first: u64) {
        self.used.store(u64::MAX, Ordering::Relaxed);
        self.joined.store(!first, Ordering::Relaxed);
    }

    /// Frees all units. The owner's to call.
    #[inline]
    pub(super) fn give_all(&self) {
        self.used.store(0, Ordering::Relaxed);
        self.joined.store(0, Ordering::Relaxed);
    }

    /// Ends a range of so many units, no more than a word has, that begins with this one. The owner's to call.
    #[inline(always)]
    pub(super) fn end(&self, unit: u32, len: usize) {
        match len {
            1 => set(&self.used, |used| used & !(1 << (unit % 64))),
            _ => self.give(mask(unit, len)),
        }
    }

    /// Frees units. The owner's to call.
    #[inline]
    pub(super) fn give(&self, units: u64) {
        set(&self.used, |used| used & !units);
        set(&self.joined, |joined| joined & !units);
    }
}

/// The bits of `len` units from this one on, which are at least one and in one word.
#[inline]
pub(super) fn mask(unit: u32, len: usize) -> u64 {
    u64::MAX >> (len.wrapping_neg() % 64) << (unit % 64)
}

#[inline]
fn set(word: &AtomicU64, change: impl FnOnce(u64) -> u64) {
    // One CPU writes, so it need not be one operation.
    word.store(change(word.load(Ordering::Relaxed)), Ordering::Relaxed);
}
