//! Room for the ranges of one flush, lent before it is needed.

use core::sync::atomic::{AtomicU64, Ordering};

use super::packed::{self, MOST_WORDS};
use crate::addr::{BusRange, FRAME_BYTES};
use crate::frame::HardwareFrames;
use crate::pagetable::WalkCoherence;
use crate::platform::{OutOfFrames, Platform};

/// A list of bus ranges in frames of the platform, as long as it was made.
pub(super) struct Entries<P: Platform> {
    /// `None` only while `drop` runs. No hardware is told of them; they are words of frames like those of which it is.
    frames: Option<HardwareFrames<P>>,
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
        let frame_count = bytes.div_ceil(FRAME_BYTES as usize);
        let frames = HardwareFrames::allocate(platform, frame_count, WalkCoherence::Snooped)?;
        Ok(Self {
            frames: Some(frames),
            frame_count,
            capacity,
            len: 0,
            words: 0,
        })
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
        let end = self.words + words.len();
        let places = self.noted(end).get(self.words..).unwrap_or_default();
        for (place, &word) in places.iter().zip(words) {
            place.store(word, Ordering::Relaxed);
        }
        self.len += ranges;
        self.words = end;
    }

    /// The ranges, in the order in which they were added.
    pub(super) fn iter(&self) -> impl Iterator<Item = BusRange> + '_ {
        let words = self.noted(self.words);
        packed::ranges(words.len(), move |n| words[n].load(Ordering::Relaxed))
    }

    /// The first `count` words. Who reads and who writes them has the list by itself.
    fn noted(&self, count: usize) -> &[AtomicU64] {
        let frames = self.frames.as_ref();
        frames.map_or(&[], |frames| frames.words(count))
    }

    /// Makes it empty.
    pub(super) fn clear(&mut self) {
        (self.len, self.words) = (0, 0);
    }
}

impl<P: Platform> Drop for Entries<P> {
    fn drop(&mut self) {
        if let Some(frames) = self.frames.take() {
            // SAFETY: no hardware was told of these frames, and nothing refers to them but this value.
            unsafe { frames.free() };
        }
    }
}
