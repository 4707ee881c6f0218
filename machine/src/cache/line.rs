//! One line: the CPU's copy, memory's, and what both were when they were last the same.

use std::sync::atomic::{AtomicU64, Ordering};

/// Words in a line.
pub(super) const LINE_WORDS: usize = super::LINE_BYTES as usize / 8;

/// A line of which the CPU's copy and memory's can differ.
///
/// It is dirty when the CPU's copy is not `base`: then the CPU has stored since the line was last filled or written
/// back. A store of what was there before goes unnoticed, the one thing in which this line differs from a real one.
pub(super) struct Line<'a> {
    pub(super) cached: &'a [AtomicU64],
    pub(super) memory: &'a [AtomicU64],
    pub(super) base: &'a mut [u64],
}

impl Line<'_> {
    pub(super) fn is_dirty(&self) -> bool {
        let mut words = self.cached.iter().zip(self.base.iter());
        words.any(|(cached, base)| cached.load(Ordering::Acquire) != *base)
    }

    /// If the line is dirty, all of it goes to memory; tells whether it was. A word stored meanwhile stays dirty.
    pub(super) fn write_back(&mut self) -> bool {
        if !self.is_dirty() {
            return false;
        }
        for ((cached, memory), base) in self.words() {
            let word = cached.load(Ordering::Acquire);
            memory.store(word, Ordering::Release);
            *base = word;
        }
        true
    }

    /// A line that is not dirty is read from memory anew; tells whether it changed. What the CPU stores meanwhile stays.
    pub(super) fn refill(&mut self) -> bool {
        if self.is_dirty() {
            return false;
        }
        let mut changed = false;
        for ((cached, memory), base) in self.words() {
            let word = memory.load(Ordering::Acquire);
            if word == *base {
                continue;
            }
            let filled = cached.compare_exchange(*base, word, Ordering::AcqRel, Ordering::Relaxed);
            if filled.is_ok() {
                *base = word;
                changed = true;
            }
        }
        changed
    }

    /// The line is dropped, and what the CPU stored in it is lost; tells whether it was dirty.
    pub(super) fn drop_and_refill(&mut self) -> bool {
        let dirty = self.is_dirty();
        for ((cached, memory), base) in self.words() {
            let word = memory.load(Ordering::Acquire);
            if cached.load(Ordering::Acquire) != word {
                cached.store(word, Ordering::Release);
            }
            *base = word;
        }
        dirty
    }

    fn words(&mut self) -> impl Iterator<Item = ((&AtomicU64, &AtomicU64), &mut u64)> {
        self.cached
            .iter()
            .zip(self.memory)
            .zip(self.base.iter_mut())
    }
}
