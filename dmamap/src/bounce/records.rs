//! What is noted of each slot, in frames that no device is given: next to the slots a device could change it.

use core::ptr::NonNull;
use core::slice;

use crate::addr::{FRAME_BYTES, PhysAddr, PhysRange};
use crate::map::AnyDirection;
use crate::platform::{FrameRequest, OutOfFrames, Platform};

/// What a slot is to the allocator.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(super) enum Kind {
    /// Part of the free block or of the run that begins before it.
    Inner,
    /// The first slot of a free block.
    Free,
    /// The first slot of a run that is lent.
    Lent,
}

/// What is noted of one slot.
#[derive(Clone, Copy)]
pub(super) struct Record {
    /// The next free block of the same order, where this begins a free one.
    pub(super) next: u32,
    /// The one before.
    pub(super) previous: u32,
    pub(super) kind: Kind,
    /// log2 of a free block's slots.
    pub(super) order: u8,
    /// Slots of a lent run.
    pub(super) slots: u32,
    /// Where in the run the mapping's first byte is.
    pub(super) offset: u32,
    /// Bytes of the mapping.
    pub(super) len_bytes: u32,
    pub(super) direction: AnyDirection,
    /// Where the mapping's memory is: its first byte.
    pub(super) origin: PhysAddr,
}

/// No slot.
pub(super) const NONE: u32 = u32::MAX;

impl Record {
    const INNER: Self = Self {
        next: NONE,
        previous: NONE,
        kind: Kind::Inner,
        order: 0,
        slots: 0,
        offset: 0,
        len_bytes: 0,
        direction: AnyDirection::Bidirectional,
        origin: PhysAddr::new(0),
    };
}

/// A record per slot.
pub(super) struct Records<P: Platform> {
    platform: P,
    frames: PhysRange,
    start: NonNull<Record>,
    len: usize,
}

// SAFETY: the frames are this value's alone, and records may be used on any thread.
unsafe impl<P: Platform> Send for Records<P> {}

impl<P: Platform> Records<P> {
    pub(super) fn allocate(platform: P, len: usize) -> Result<Self, OutOfFrames> {
        let bytes = len * size_of::<Record>();
        let count = bytes.div_ceil(FRAME_BYTES as usize).max(1);
        let frames = platform.allocate_frames(FrameRequest::new(count))?;
        let start = platform.frame_pointer(frames.start()).cast::<Record>();
        for n in 0..len {
            // SAFETY: `count` frames hold `len` records, aligned as frames are, and were just lent to us.
            unsafe { start.add(n).write(Record::INNER) };
        }
        Ok(Self {
            platform,
            frames,
            start,
            len,
        })
    }

    pub(super) fn all(&self) -> &[Record] {
        // SAFETY: all of them were written in `allocate`, and `&mut self` is needed to change one.
        unsafe { slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }

    pub(super) fn all_mut(&mut self) -> &mut [Record] {
        // SAFETY: as above; the borrow is exclusive.
        unsafe { slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
    }
}

impl<P: Platform> Drop for Records<P> {
    fn drop(&mut self) {
        // SAFETY: lent in `allocate` as one range; nothing but this value refers to it.
        unsafe { self.platform.free_frames(self.frames) };
    }
}
