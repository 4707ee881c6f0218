//! Frames in a chain that runs through their own first words, so that any number of them needs no memory.

use super::word_frame::WordFrame;
use crate::addr::PhysAddr;
use crate::platform::{FrameRequest, OutOfFrames, Platform};

/// Frames that are in no table: not yet, or no longer.
///
/// A unit that has not heard of it yet may still walk a frame that is no longer linked. It meets zeros and, in
/// the first word, a frame's address, which no format takes for an entry ([`Format`](super::Format)).
pub(super) struct FrameList<P> {
    platform: P,
    head: PhysAddr,
    len: usize,
}

impl<P: Platform> FrameList<P> {
    pub(super) fn new(platform: P) -> Self {
        Self {
            platform,
            head: PhysAddr::new(0),
            len: 0,
        }
    }

    /// `len` frames of zeros, but for the chain. On failure none.
    pub(super) fn allocate(
        platform: P,
        len: usize,
        request: FrameRequest,
    ) -> Result<Self, OutOfFrames> {
        let mut list = Self::new(platform);
        for _ in 0..len {
            match WordFrame::allocate(platform, request) {
                Ok(frame) => list.push(frame),
                Err(error) => {
                    // SAFETY: nothing was done with the frames.
                    unsafe { list.free() };
                    return Err(error);
                }
            }
        }
        Ok(list)
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Adds a frame whose words are zero.
    pub(super) fn push(&mut self, frame: WordFrame<P>) {
        frame.store(0, self.head.as_u64());
        self.head = frame.phys();
        self.len += 1;
    }

    /// Takes a frame of zeros out.
    pub(super) fn pop(&mut self) -> Option<WordFrame<P>> {
        self.len = self.len.checked_sub(1)?;
        // SAFETY: the head of a list that is not empty is a frame that was pushed, and none is freed in it.
        let frame = unsafe { WordFrame::adopt(self.platform, self.head) };
        self.head = PhysAddr::new(frame.load(0));
        frame.store(0, 0);
        Some(frame)
    }

    /// Gives the frames back.
    ///
    /// # Safety
    /// Nobody uses or walks them.
    pub(super) unsafe fn free(&mut self) {
        while let Some(frame) = self.pop() {
            // SAFETY: the caller says it is not used.
            unsafe { frame.free() };
        }
    }

    /// Never gives the frames back; returns how many they are.
    pub(super) fn leak(&mut self) -> usize {
        core::mem::take(&mut self.len)
    }
}
