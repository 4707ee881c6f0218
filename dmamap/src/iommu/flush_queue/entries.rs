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
        let mut left = words;
        while !left.is_empty() {
            // There is room, as for no range more words are counted than it takes.
            let run = self.words_from(self.words).next().unwrap_or_default();
            let (now, later) = left.split_at(left.len().min(run.len()));
            assert!(!now.is_empty(), "more words than there is room for");
            for (place, &word) in run.iter().zip(now) {
                place.store(word, Ordering::Relaxed);
            }
            self.words += now.len();
            left = later;
        }
        self.len += ranges;
    }

    /// The ranges, in the order in which they were added.
    #[inline]
    pub(super) fn iter(&self) -> impl Iterator<Item = BusRange> + '_ {
        packed::ranges(Words {
            runs: self.words_from(0),
            run: [].iter(),
            left: self.words,
        })
    }

    /// All words from number `n` on that there is room for, by runs. Who reads and who writes them has the list by itself.
    fn words_from(&self, n: usize) -> impl Iterator<Item = &[AtomicU64]> {
        let (first, at) = (n / IN_RUN, n % IN_RUN);
        let runs = self.runs.iter().skip(first).flatten();
        let words = runs.map(HardwareFrames::words).enumerate();
        words.map(move |(run, words)| match run {
            0 => words.get(at..).unwrap_or_default(),
            _ => words,
        })
    }

    /// Makes it empty.
    pub(super) fn clear(&mut self) {
        (self.len, self.words) = (0, 0);
    }
}

/// Words, run by run.
struct Words<'a, I> {
    runs: I,
    run: core::slice::Iter<'a, AtomicU64>,
    /// How many there are beyond the run.
    left: usize,
}

impl<'a, I: Iterator<Item = &'a [AtomicU64]>> Words<'a, I> {
    #[cold]
    fn turn(&mut self) -> Option<()> {
        let words = self.runs.next()?;
        let (now, _) = words.split_at(self.left.min(words.len()));
        self.left -= now.len();
        self.run = now.iter();
        Some(())
    }
}

impl<'a, I: Iterator<Item = &'a [AtomicU64]>> Iterator for Words<'a, I> {
    type Item = u64;

    #[inline(always)]
    fn next(&mut self) -> Option<u64> {
        if self.run.as_slice().is_empty() {
            self.turn()?;
        }
        Some(self.run.next()?.load(Ordering::Relaxed))
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
