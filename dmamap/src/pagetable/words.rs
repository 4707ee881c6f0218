//! The memory of a table or shadow, seen as words of 64 bits.

use core::ops::Range;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU64, Ordering};

use super::map::EMPTY;
use crate::addr::{FRAME_BYTES, PhysAddr, PhysRange};
use crate::platform::{FrameRequest, OutOfFrames, Platform};

/// Words of a frame.
const FRAME_WORDS: usize = (FRAME_BYTES / 8) as usize;

/// Contiguous frames. Holding one proves that the platform lent them, as one range, to this page table, or its
/// gather, and still does.
#[derive(Clone, Copy)]
pub(super) struct Words<P> {
    platform: P,
    phys: PhysAddr,
    len: usize,
}

impl<P: Platform> Words<P> {
    /// Borrows frames of zeros, as `request` says.
    pub(super) fn allocate(platform: P, request: FrameRequest) -> Result<Self, OutOfFrames> {
        let words = Self {
            platform,
            phys: platform.allocate_frames(request)?.start(),
            len: request.count * FRAME_WORDS,
        };
        words.zero();
        Ok(words)
    }

    /// The `frames` frames at `phys`.
    ///
    /// # Safety
    /// They came from [`allocate`](Self::allocate), the first at least as many, and are not freed while the
    /// result is used.
    pub(super) unsafe fn adopt(platform: P, phys: PhysAddr, frames: usize) -> Self {
        Self {
            platform,
            phys,
            len: frames * FRAME_WORDS,
        }
    }

    pub(super) fn phys(self) -> PhysAddr {
        self.phys
    }

    /// Number of words.
    pub(super) fn len(self) -> usize {
        self.len
    }

    /// Number of frames.
    pub(super) fn frames(self) -> usize {
        self.len / FRAME_WORDS
    }

    #[inline]
    pub(super) fn words(&self) -> &[AtomicU64] {
        let first = self.platform.frame_pointer(self.phys).cast().as_ptr();
        // SAFETY: the frames are lent as one range, so the pointer to the first is good for all their words,
        // aligned to a frame; words of a table are only ever accessed as atomics, here and by the unit.
        unsafe { core::slice::from_raw_parts(first, self.len) }
    }

    /// Words from `first` on, for as long as the frames are lent.
    pub(super) fn held<const N: usize>(self, first: usize) -> Option<NonNull<[AtomicU64; N]>> {
        let words = self.words().get(first..)?.first_chunk()?;
        Some(NonNull::from(words))
    }

    #[inline]
    pub(super) fn load(self, index: usize) -> u64 {
        self.words()[index].load(Ordering::Relaxed)
    }

    /// One store of 64 bits: a unit that walks sees the old word or the new one.
    #[inline]
    pub(super) fn store(self, index: usize, word: u64) {
        self.words()[index].store(word, Ordering::Release);
    }

    /// Single stores as by [`store`](Self::store), side by side from `first` on.
    pub(super) fn store_all(self, first: usize, words: impl ExactSizeIterator<Item = u64>) {
        let entries = &self.words()[first..first + words.len()];
        for (entry, word) in entries.iter().zip(words) {
            entry.store(word, Ordering::Release);
        }
    }

    /// As [`store_steps`], to those of `entries`.
    #[inline]
    pub(super) fn store_steps(self, entries: Range<usize>, word: u64, step: u64) {
        store_steps(&self.words()[entries], word, step);
    }

    /// As [`clear`], of those of `entries`.
    #[inline]
    pub(super) fn clear(self, entries: Range<usize>) {
        clear(&self.words()[entries]);
    }

    /// As [`count_alike`], of those of `entries`.
    #[inline]
    pub(super) fn count_alike(self, entries: Range<usize>, mask: u64, expected: u64) -> usize {
        count_alike(&self.words()[entries], mask, expected)
    }

    /// As [`are_empty`], of those of `entries`.
    #[inline]
    pub(super) fn are_empty(self, entries: Range<usize>) -> bool {
        are_empty(&self.words()[entries])
    }

    /// As [`are_alike`], of those of `entries`.
    #[inline]
    pub(super) fn are_alike(self, entries: Range<usize>, mask: u64, expected: u64) -> bool {
        are_alike(&self.words()[entries], mask, expected)
    }

    pub(super) fn zero(self) {
        self.words()
            .iter()
            .for_each(|word| word.store(0, Ordering::Relaxed));
    }

    /// Writes these words back from the CPU's caches.
    pub(super) fn clean(self, words: Range<usize>) {
        let words = &self.words()[words];
        self.platform
            .clean_cache(NonNull::from(words).cast(), size_of_val(words));
    }

    /// Gives the frames back.
    ///
    /// # Safety
    /// The value is of as many frames as were allocated; neither a unit nor the CPU uses them any more, and no
    /// other copy of this value is used.
    pub(super) unsafe fn free(self) {
        let len_bytes = self.frames() as u64 * FRAME_BYTES;
        let frames = PhysRange::new(self.phys, len_bytes).expect("frames lie in the address space");
        // SAFETY: the frames were allocated as this range, and the caller says they are not used.
        unsafe { self.platform.free_frames(frames) };
    }
}

/// How many words are looked at, or written, without a branch between them.
const BLOCK: usize = 8;

/// Single stores, side by side: of `word` to the first, and of `step` more to each than to the one before.
#[inline]
pub(super) fn store_steps(entries: &[AtomicU64], mut word: u64, step: u64) {
    if let [entry] = entries {
        return entry.store(word, Ordering::Release);
    }
    let mut store = |entry: &AtomicU64| {
        entry.store(word, Ordering::Release);
        word = word.wrapping_add(step);
    };
    let (blocks, rest) = entries.as_chunks::<BLOCK>();
    blocks
        .iter()
        .for_each(|block| block.iter().for_each(&mut store));
    rest.iter().for_each(store);
}

/// Single stores that empty entries.
#[inline]
pub(super) fn clear(entries: &[AtomicU64]) {
    let empty = |entry: &AtomicU64| entry.store(EMPTY, Ordering::Release);
    let (blocks, rest) = entries.as_chunks::<BLOCK>();
    blocks.iter().for_each(|block| block.iter().for_each(empty));
    rest.iter().for_each(empty);
}

/// Whether nothing is mapped by any of the entries.
#[inline]
pub(super) fn are_empty(entries: &[AtomicU64]) -> bool {
    match entries {
        [entry] => entry.load(Ordering::Relaxed) == EMPTY,
        entries => many_are_empty(entries),
    }
}

#[inline(never)]
fn many_are_empty(entries: &[AtomicU64]) -> bool {
    are_alike(entries, !0, EMPTY)
}

/// Whether all words are `expected` in the bits of `mask`.
#[inline]
pub(super) fn are_alike(words: &[AtomicU64], mask: u64, expected: u64) -> bool {
    let (blocks, rest) = words.as_chunks::<BLOCK>();
    blocks
        .iter()
        .all(|block| differ_by(block, expected) & mask == 0)
        && differ_by(rest, expected) & mask == 0
}

/// The bits in which any of the words is not `expected`.
#[inline]
fn differ_by(words: &[AtomicU64], expected: u64) -> u64 {
    let differs = |word: &AtomicU64| word.load(Ordering::Relaxed) ^ expected;
    words.iter().fold(0, |some, word| some | differs(word))
}

/// How many of the words, from the first on, are `expected` in the bits of `mask`.
#[inline]
pub(super) fn count_alike(words: &[AtomicU64], mask: u64, expected: u64) -> usize {
    // Many at a time while none differs.
    let (blocks, _) = words.as_chunks::<BLOCK>();
    let alike = |block: &&[AtomicU64; BLOCK]| differ_by(&block[..], expected) & mask == 0;
    let whole = blocks.iter().take_while(alike).count() * BLOCK;
    let rest = words[whole..].iter();
    let differs = |word: &AtomicU64| (word.load(Ordering::Relaxed) ^ expected) & mask;
    whole + rest.take_while(|word| differs(word) == 0).count()
}
