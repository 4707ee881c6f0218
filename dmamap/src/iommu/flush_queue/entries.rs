//! Room for the ranges of one flush, lent before it is needed.

use crate::addr::{BusAddr, BusRange, FRAME_BYTES};
use crate::frame::HardwareFrames;
use crate::pagetable::WalkCoherence;
use crate::platform::{OutOfFrames, Platform};

/// Words of one range.
const WORDS: usize = 2;

/// A list of bus ranges in frames of the platform, as long as it was made.
pub(super) struct Entries<P: Platform> {
    /// `None` only while `drop` runs. No hardware is told of them; they are words of frames like those of which it is.
    frames: Option<HardwareFrames<P>>,
    frame_count: usize,
    capacity: usize,
    len: usize,
}

impl<P: Platform> Entries<P> {
    /// Room for `capacity` ranges.
    pub(super) fn allocate(platform: P, capacity: usize) -> Result<Self, OutOfFrames> {
        let frame_count = (capacity * WORDS * size_of::<u64>()).div_ceil(FRAME_BYTES as usize);
        let frames = HardwareFrames::allocate(platform, frame_count, WalkCoherence::Snooped)?;
        Ok(Self {
            frames: Some(frames),
            frame_count,
            capacity,
            len: 0,
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
        self.extend(&[(range.start().as_u64(), range.len_bytes())]);
    }

    /// Adds ranges, of which it is given where each begins, and its bytes; there is room.
    pub(super) fn extend(&mut self, ranges: &[(u64, u64)]) {
        assert!(
            ranges.len() <= self.capacity - self.len,
            "more ranges than there is room for"
        );
        let Some(frames) = &self.frames else { return };
        for (n, &(start, len_bytes)) in ranges.iter().enumerate() {
            frames.store_pair((self.len + n) * WORDS, [start, len_bytes]);
        }
        self.len += ranges.len();
    }

    /// The ranges, in the order in which they were added.
    pub(super) fn iter(&self) -> impl Iterator<Item = BusRange> + '_ {
        let frames = self.frames.as_ref();
        (0..self.len).filter_map(move |n| {
            let [start, len_bytes] = frames?.load_pair(n * WORDS);
            Some(BusRange::of_existing(BusAddr::new(start), len_bytes))
        })
    }

    /// Makes it empty.
    pub(super) fn clear(&mut self) {
        self.len = 0;
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
