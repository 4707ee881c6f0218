//! Room for the ranges of one flush, lent before it is needed.

use core::sync::atomic::{AtomicU64, Ordering};

use super::MAX_ENTRIES;
use super::packed::{self, MOST_WORDS};
use crate::addr::{BusRange, FRAME_BYTES};
use crate::frame::HardwareFrames;
use crate::pagetable::WalkCoherence;
use crate::platform::{OutOfFrames, Platform};

/// Most frames in a row: more may not be had for long where memory is in pieces.
const RUN_FRAMES: usize = 8;
/// Words in so many.
const IN_RUN: usize = RUN_FRAMES * FRAME_BYTES as usize / size_of::<u64>();
const MOST_RUNS: usize = (MAX_ENTRIES as usize * MOST_WORDS).div_ceil(IN_RUN);

/// A list of bus ranges in frames of the platform, as long as it was made.
pub(super) struct Entries<P: Platform> {
    /// As many as it takes, all but the last of which are whole. No hardware is told of them; they are words of frames like those of
    /// which it is.
    runs: [Option<HardwareFrames<P>>; MOST_RUNS],
    frame_count: usize,
    capacity: usize,
    len: usize,
    /// Words that the ranges take, as they are [packed].
    words: usize,
}

impl<P: Platform> Entries<P> {
    /// Room for `capacity` ranges.
    pub(super) fn allocate(platform: P, capacity: usize) -> Result<Self, OutOfFrames> {
        let bytes = capacity * MOST_WORDS * size_of::<u64>();
        let mut it = Self {
            runs: [const { None }; MOST_RUNS],
            frame_count: bytes.div_ceil(FRAME_BYTES as usize),
            capacity,
            len: 0,
            words: 0,
        };
        let mut left = it.frame_count;
        for run in &mut it.runs {
            let count = left.min(RUN_FRAMES);
            if count > 0 {
                let frames = HardwareFrames::allocate(platform, count, WalkCoherence::Snooped)?;
                *run = Some(frames);
            }
            left -= count;
        }
        Ok(it)
    }

    /// Frames it holds.
    pub(super) fn frames(&self) -> usize {
        self.frame_count
    }

    /// Number of ranges in it.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Adds a range; there is room.
    pub(super) fn push(&mut self, range: BusRange) {
        match packed::in_a_word(range) {
            Some(word) => self.extend(1, &[word]),
            None => self.extend(1, &packed::in_two_words(range)),
        }
    }

    /// Adds so many ranges, [packed]; there is room.
    pub(super) fn extend(&mut self, ranges: usize, words: &[u64]) {
        assert!(
            ranges <= self.capacity - self.len && words.len() <= MOST_WORDS * ranges,
            "more ranges than there is room for"
        );
        for (n, &word) in words.iter().enumerate() {
            if let Some(place) = self.word(self.words + n) {
                place.store(word, Ordering::Relaxed);
            }
        }
        self.len += ranges;
        self.words += words.len();
    }

    /// The ranges, in the order in which they were added.
    pub(super) fn iter(&self) -> impl Iterator<Item = BusRange> + '_ {
        let word = |n| self.word(n).map_or(0, |word| word.load(Ordering::Relaxed));
        packed::ranges(self.words, word)
    }

    /// Word `n`, if there is room for so many. Who reads and who writes them has the list by itself.
    #[inline]
    fn word(&self, n: usize) -> Option<&AtomicU64> {
        let run = self.runs.get(n / IN_RUN)?.as_ref()?;
        Some(run.word(n % IN_RUN))
    }

    /// Makes it empty.
    pub(super) fn clear(&mut self) {
        (self.len, self.words) = (0, 0);
    }
}

impl<P: Platform> Drop for Entries<P> {
    fn drop(&mut self) {
        for run in self.runs.iter_mut().filter_map(Option::take) {
            // SAFETY: no hardware was told of these frames, and nothing refers to them but this value.
            unsafe { run.free() };
        }
    }
}
