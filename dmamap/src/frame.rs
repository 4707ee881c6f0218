//! Frames that hardware reads by itself: root tables, device tables, command queues, status words.
//!
//! The words in them change by single atomic stores, as a unit may fetch them at any moment; where the
//! unit does not snoop the CPU's caches, every change is written back to memory.

use core::ptr::NonNull;
use core::sync::atomic::{AtomicU16, AtomicU32, AtomicU64, Ordering};

use crate::addr::{PhysAddr, PhysRange};
use crate::pagetable::WalkCoherence;
use crate::platform::{FrameRequest, OutOfFrames, Platform};

/// Zeroed frames whose words a unit reads or writes while the CPU does.
///
/// Dropping leaks them: only [`free`](Self::free) gives them back, when the unit has let go.
pub(crate) struct HardwareFrames<P: Platform> {
    platform: P,
    frames: PhysRange,
    start: NonNull<u8>,
    coherence: WalkCoherence,
}

// SAFETY: every access through the pointer is a single atomic load or store.
unsafe impl<P: Platform> Send for HardwareFrames<P> {}
// SAFETY: as above.
unsafe impl<P: Platform> Sync for HardwareFrames<P> {}

impl<P: Platform> HardwareFrames<P> {
    /// Lends `count` zeroed frames from the platform, visible to the unit as zeroes.
    pub(crate) fn allocate(
        platform: P,
        count: usize,
        coherence: WalkCoherence,
    ) -> Result<Self, OutOfFrames> {
        Self::allocate_filled(platform, count, coherence, |_| 0)
    }

    /// Lends `count` frames from the platform whose 64-bit words are what `word` says of their index, visible to the
    /// unit as such.
    pub(crate) fn allocate_filled(
        platform: P,
        count: usize,
        coherence: WalkCoherence,
        word: impl Fn(usize) -> u64,
    ) -> Result<Self, OutOfFrames> {
        Self::allocate_as(platform, FrameRequest::new(count), coherence, word)
    }

    /// As [`allocate_filled`](Self::allocate_filled), frames as `request` asks.
    pub(crate) fn allocate_as(
        platform: P,
        request: FrameRequest,
        coherence: WalkCoherence,
        word: impl Fn(usize) -> u64,
    ) -> Result<Self, OutOfFrames> {
        let frames = platform.allocate_frames(request)?;
        let start = platform.frame_pointer(frames.start());
        // SAFETY: the frames were just lent to us, whole, and nobody else has a pointer to them.
        unsafe { start.write_bytes(0, frames.len_bytes() as usize) };
        let this = Self {
            platform,
            frames,
            start,
            coherence,
        };
        for index in 0..frames.len_bytes() as usize / 8 {
            match word(index) {
                0 => {}
                value => this.word(index).store(value, Ordering::Relaxed),
            }
        }
        this.publish(0, frames.len_bytes() as usize);
        Ok(this)
    }

    /// Where the unit finds them.
    pub(crate) fn phys(&self) -> PhysAddr {
        self.frames.start()
    }

    /// The 64-bit word number `index`.
    pub(crate) fn load(&self, index: usize) -> u64 {
        self.word(index).load(Ordering::Acquire)
    }

    /// All 64-bit words, for what no unit reads or writes.
    pub(crate) fn words(&self) -> &[AtomicU64] {
        let count = self.frames.len_bytes() as usize / 8;
        // SAFETY: these are all of the frames, aligned because they are, and only accessed atomically.
        unsafe { core::slice::from_raw_parts(self.start.cast::<AtomicU64>().as_ptr(), count) }
    }

    /// Changes the 64-bit word number `index`; earlier stores are visible to the unit before it.
    pub(crate) fn store(&self, index: usize, value: u64) {
        self.word(index).store(value, Ordering::Release);
        self.publish(index * 8, 8);
    }

    /// Changes the 64-bit words number `index` and the next, one after the other; earlier stores are visible to the unit
    /// before them.
    #[inline]
    pub(crate) fn store_pair(&self, index: usize, [first, second]: [u64; 2]) {
        let words = self.pair(index);
        words[0].store(first, Ordering::Release);
        words[1].store(second, Ordering::Release);
        self.publish(index * 8, 16);
    }

    /// The 64-bit words number `index` and the next.
    #[inline]
    fn pair(&self, index: usize) -> &[AtomicU64; 2] {
        if index >= self.frames.len_bytes() as usize / 8 - 1 {
            outside(index, 8);
        }
        // SAFETY: both are in bounds, as just checked, aligned because frames are, and only accessed atomically.
        unsafe {
            self.start
                .cast::<[AtomicU64; 2]>()
                .byte_add(index * 8)
                .as_ref()
        }
    }

    /// Makes what the unit wrote visible in `len_bytes` from `offset` on, before they are loaded. Nothing was stored
    /// there since the unit may have written.
    pub(crate) fn refresh(&self, offset: usize, len_bytes: usize) {
        let frames = self.frames.len_bytes() as usize;
        if len_bytes > frames || offset > frames - len_bytes {
            outside(offset, 1);
        }
        if self.coherence == WalkCoherence::NotSnooped {
            // SAFETY: inside the frames, as just checked.
            unsafe { self.invalidate(offset, len_bytes) };
        }
    }

    /// The 32-bit word number `index`, which the unit writes.
    pub(crate) fn load_u32(&self, index: usize) -> u32 {
        if index >= self.frames.len_bytes() as usize / 4 {
            outside(index, 4);
        }
        // SAFETY: in bounds, as just checked, aligned because frames are, and only accessed atomically.
        let word = unsafe { self.start.cast::<AtomicU32>().add(index).as_ref() };
        word.load(Ordering::Acquire)
    }

    /// The 16-bit word number `index`, which the unit writes.
    pub(crate) fn load_u16(&self, index: usize) -> u16 {
        self.half_word(index).load(Ordering::Acquire)
    }

    /// Changes the 16-bit word number `index`; earlier stores are visible to the unit before it.
    pub(crate) fn store_u16(&self, index: usize, value: u16) {
        self.half_word(index).store(value, Ordering::Release);
        self.publish(index * 2, 2);
    }

    fn half_word(&self, index: usize) -> &AtomicU16 {
        if index >= self.frames.len_bytes() as usize / 2 {
            outside(index, 2);
        }
        // SAFETY: in bounds, as just checked, aligned because frames are, and only accessed atomically.
        unsafe { self.start.cast::<AtomicU16>().add(index).as_ref() }
    }

    fn word(&self, index: usize) -> &AtomicU64 {
        if index >= self.frames.len_bytes() as usize / 8 {
            outside(index, 8);
        }
        // SAFETY: in bounds, as just checked, aligned because frames are, and only accessed atomically.
        unsafe { self.start.cast::<AtomicU64>().add(index).as_ref() }
    }

    fn publish(&self, offset: usize, len_bytes: usize) {
        if self.coherence == WalkCoherence::NotSnooped {
            // SAFETY: every caller passes bytes inside the frames.
            unsafe { self.clean(offset, len_bytes) };
        }
    }

    /// # Safety
    /// The bytes are inside the frames.
    #[inline(never)]
    unsafe fn clean(&self, offset: usize, len_bytes: usize) {
        // SAFETY: the caller's promise.
        let start = unsafe { self.start.add(offset) };
        self.platform.clean_cache(start, len_bytes);
    }

    /// # Safety
    /// The bytes are inside the frames.
    #[inline(never)]
    unsafe fn invalidate(&self, offset: usize, len_bytes: usize) {
        // SAFETY: the caller's promise.
        let start = unsafe { self.start.add(offset) };
        self.platform.invalidate_cache(start, len_bytes);
    }

    /// Gives the frames back.
    ///
    /// # Safety
    /// No unit reads or writes them any more.
    pub(crate) unsafe fn free(self) {
        // SAFETY: the range came from `allocate_frames`; the caller vouches for the hardware, and `self`
        // was the only CPU access.
        unsafe { self.platform.free_frames(self.frames) };
    }
}

/// Somebody asked for number `index`, of so many bytes each.
#[cold]
fn outside(index: usize, len_bytes: usize) -> ! {
    panic!(
        "{len_bytes} bytes at {} are outside the frames",
        index * len_bytes
    )
}
