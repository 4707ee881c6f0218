//! Tables in a chain that runs through their own first words, so that any number of them needs no memory.

use super::words::Words;
use crate::addr::{FRAME_SIZE_LOG2, PhysAddr};
use crate::platform::{FrameRequest, OutOfFrames, Platform};

/// Runs of frames that are in no page table: not yet, or no longer.
///
/// A unit that has not heard of it yet may still walk a table that is no longer linked. It meets zeros; in
/// the first word, the address of another's frame; and in the second, how many frames the table itself has, as
/// if it were a frame's number. No format takes these for entries ([`Format`](super::Format)).
pub(super) struct FrameList<P> {
    platform: P,
    head: PhysAddr,
    len: usize,
    frames: usize,
}

/// The word that holds where the next one is.
const NEXT: usize = 0;
/// The word that holds how many frames this one has.
const FRAMES: usize = 1;

impl<P: Platform> FrameList<P> {
    #[inline]
    pub(super) fn new(platform: P) -> Self {
        Self {
            platform,
            head: PhysAddr::new(0),
            len: 0,
            frames: 0,
        }
    }

    /// `len` runs of zeros, but for the chain, each as `request` says. On failure none.
    pub(super) fn allocate(
        platform: P,
        len: usize,
        request: FrameRequest,
    ) -> Result<Self, OutOfFrames> {
        let mut list = Self::new(platform);
        for _ in 0..len {
            match Words::allocate(platform, request) {
                Ok(words) => list.push(words),
                Err(error) => {
                    // SAFETY: nothing was done with the frames.
                    unsafe { list.free() };
                    return Err(error);
                }
            }
        }
        Ok(list)
    }

    /// Frames of all of them.
    #[inline]
    pub(super) fn frames(&self) -> usize {
        self.frames
    }

    /// Adds a run whose words are zero.
    pub(super) fn push(&mut self, words: Words<P>) {
        words.store(NEXT, self.head.as_u64());
        words.store(FRAMES, (words.frames() as u64) << FRAME_SIZE_LOG2);
        self.head = words.phys();
        self.len += 1;
        self.frames += words.frames();
    }

    /// Takes a run of zeros out.
    pub(super) fn pop(&mut self) -> Option<Words<P>> {
        self.len = self.len.checked_sub(1)?;
        // SAFETY: the head of a list that is not empty is a run that was pushed, of one frame at least, and none
        // is freed in it.
        let first = unsafe { Words::adopt(self.platform, self.head, 1) };
        let frames = (first.load(FRAMES) >> FRAME_SIZE_LOG2) as usize;
        // SAFETY: as above; and it has as many frames as were noted when it was pushed.
        let words = unsafe { Words::adopt(self.platform, self.head, frames) };
        self.head = PhysAddr::new(words.load(NEXT));
        self.frames -= frames;
        words.store(NEXT, 0);
        words.store(FRAMES, 0);
        Some(words)
    }

    /// Takes all runs of `other`.
    pub(super) fn absorb(&mut self, other: &mut Self) {
        while let Some(words) = other.pop() {
            self.push(words);
        }
    }

    /// Gives the frames back.
    ///
    /// # Safety
    /// Nobody uses or walks them.
    pub(super) unsafe fn free(&mut self) {
        while let Some(words) = self.pop() {
            // SAFETY: the caller says it is not used.
            unsafe { words.free() };
        }
    }

    /// Never gives the frames back; returns how many they are.
    pub(super) fn leak(&mut self) -> usize {
        self.len = 0;
        core::mem::take(&mut self.frames)
    }
}
