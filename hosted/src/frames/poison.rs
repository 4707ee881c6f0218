//! The pattern free frames are filled with, and which frames carry it.

use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

use dmamap::addr::{FRAME_BYTES, FRAME_SIZE_LOG2, PhysRange};

/// The byte a frame is filled with when it is freed. As a table entry it sets bits every format reserves, so
/// that hardware that still walks a freed table reports it.
pub const POISON: u8 = 0xdf;

/// One bit per frame: filled with [`POISON`] and not lent since.
pub(crate) struct PoisonMap {
    words: Box<[AtomicU64]>,
}

impl PoisonMap {
    /// No frame below physical `end` is poisoned.
    pub(crate) fn new(end: u64) -> Self {
        let words = end.div_ceil(FRAME_BYTES).div_ceil(64) as usize;
        // Asked for as zeros, so that bits of memory nobody touches cost no memory either.
        // SAFETY: all zeros is an `AtomicU64`.
        let words = unsafe { Box::new_zeroed_slice(words).assume_init() };
        Self { words }
    }

    /// Fills `frames` with the pattern.
    ///
    /// # Safety
    /// `start` points at the memory of `frames`, writable and in nobody's use.
    pub(crate) unsafe fn fill(&self, start: NonNull<u8>, frames: PhysRange) {
        // SAFETY: the caller's promise is this one's.
        unsafe { start.write_bytes(POISON, frames.len_bytes() as usize) };
        for (word, bit) in bits(frames) {
            self.words[word].fetch_or(bit, Ordering::Relaxed);
        }
    }

    /// Ends the watch over `frames` and returns how many of them lost their pattern meanwhile.
    ///
    /// # Safety
    /// `start` points at the memory of `frames`, readable and in nobody's use.
    pub(crate) unsafe fn check(&self, start: NonNull<u8>, frames: PhysRange) -> u64 {
        let mut disturbed = 0;
        for (index, (word, bit)) in bits(frames).enumerate() {
            if self.words[word].load(Ordering::Relaxed) & bit == 0 {
                continue;
            }
            self.words[word].fetch_and(!bit, Ordering::Relaxed);
            // SAFETY: the frame with this index is one of `frames`.
            let intact = unsafe { is_poisoned(start.add(index << FRAME_SIZE_LOG2)) };
            disturbed += u64::from(!intact);
        }
        disturbed
    }
}

/// The word and bit of each frame.
fn bits(frames: PhysRange) -> impl Iterator<Item = (usize, u64)> {
    let first = frames.start().as_u64() >> FRAME_SIZE_LOG2;
    let count = frames.len_bytes() >> FRAME_SIZE_LOG2;
    (first..first + count).map(|frame| ((frame / 64) as usize, 1 << (frame % 64)))
}

/// # Safety
/// `frame` points at a readable frame.
unsafe fn is_poisoned(frame: NonNull<u8>) -> bool {
    const WORDS: usize = FRAME_BYTES as usize / size_of::<u64>();
    let words = frame.cast::<u64>();
    // SAFETY: inside the frame, and a frame is aligned for words. Volatile, as whoever broke the rule that
    // nobody uses a free frame may be writing now.
    (0..WORDS)
        .all(|index| unsafe { words.add(index).read_volatile() } == u64::from_ne_bytes([POISON; 8]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use dmamap::addr::PhysAddr;

    #[test]
    fn a_write_to_a_free_frame_is_found_once() {
        let mut memory = vec![0_u64; 4 * 512];
        let start = NonNull::from(&mut memory[..]).cast::<u8>();
        let frames = PhysRange::new(PhysAddr::new(62 << 12), 4 << 12).unwrap();
        let map = PoisonMap::new(1 << 20);
        // SAFETY: `start` points at four frames of this test's own memory, aligned for words.
        unsafe {
            assert_eq!(
                map.check(start, frames),
                0,
                "frames nobody freed may hold anything"
            );
            map.fill(start, frames);
            assert_eq!(start.add(4 * 4096 - 1).read(), POISON);
            start.add(2 * 4096 + 17).write(0);
            assert_eq!(map.check(start, frames), 1);
            assert_eq!(map.check(start, frames), 0);
        }
    }
}
