//! A frame of the table, seen as 512 words.

use core::ops::Range;
use core::sync::atomic::{AtomicU64, Ordering};

use super::ENTRIES;
use crate::addr::{FRAME_BYTES, PhysAddr, PhysRange};
use crate::platform::{FrameRequest, OutOfFrames, Platform};

/// Holding one proves that the platform lent the frame to this page table, or its gather, and still does.
#[derive(Clone, Copy)]
pub(super) struct WordFrame<P> {
    platform: P,
    phys: PhysAddr,
}

impl<P: Platform> WordFrame<P> {
    /// Borrows a frame of zeros; `request` is for one.
    pub(super) fn allocate(platform: P, request: FrameRequest) -> Result<Self, OutOfFrames> {
        let frame = Self {
            platform,
            phys: platform.allocate_frames(request)?.start(),
        };
        frame.zero();
        Ok(frame)
    }

    /// The frame at `phys`.
    ///
    /// # Safety
    /// It came from [`allocate`](Self::allocate) and is not freed while the result is used.
    pub(super) unsafe fn adopt(platform: P, phys: PhysAddr) -> Self {
        Self { platform, phys }
    }

    pub(super) fn phys(self) -> PhysAddr {
        self.phys
    }

    fn words(&self) -> &[AtomicU64; ENTRIES] {
        // SAFETY: the frame is lent, so its pointer is good for its 4096 bytes, aligned to them; words of a table
        // are only ever accessed as atomics, here and by the unit.
        unsafe { self.platform.frame_pointer(self.phys).cast().as_ref() }
    }

    pub(super) fn load(self, index: usize) -> u64 {
        self.words()[index].load(Ordering::Relaxed)
    }

    /// One store of 64 bits: a unit that walks sees the old word or the new one.
    pub(super) fn store(self, index: usize, word: u64) {
        self.words()[index].store(word, Ordering::Release);
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
            .clean_cache(core::ptr::NonNull::from(words).cast(), size_of_val(words));
    }

    /// Gives the frame back.
    ///
    /// # Safety
    /// Neither a unit nor the CPU uses it any more, and no other copy of this value is used.
    pub(super) unsafe fn free(self) {
        let frame =
            PhysRange::new(self.phys, FRAME_BYTES).expect("a frame lies in the address space");
        // SAFETY: the frame was allocated alone, and the caller says it is not used.
        unsafe { self.platform.free_frames(frame) };
    }
}
