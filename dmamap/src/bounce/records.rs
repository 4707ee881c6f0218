//! The records of an area's slots, in frames that no device is given: next to the slots a device could change them.

use core::ptr::NonNull;
use core::slice;

use super::record::Record;
use crate::addr::{FRAME_BYTES, PhysRange};
use crate::platform::{FrameRequest, OutOfFrames, Platform};

const _: () = assert!(
    size_of::<Record>() == 24,
    "as much as Linux notes of a slot"
);

/// A record per slot.
pub(super) struct Records<P: Platform> {
    platform: P,
    frames: PhysRange,
    start: NonNull<Record>,
    len: usize,
}

// SAFETY: records are atomics, in frames that are this value's alone.
unsafe impl<P: Platform> Send for Records<P> {}

impl<P: Platform> Records<P> {
    pub(super) fn allocate(platform: P, len: usize) -> Result<Self, OutOfFrames> {
        let bytes = len * size_of::<Record>();
        let count = bytes.div_ceil(FRAME_BYTES as usize).max(1);
        let frames = platform.allocate_frames(FrameRequest::new(count))?;
        let start = platform.frame_pointer(frames.start()).cast::<Record>();
        for n in 0..len {
            // SAFETY: `count` frames hold `len` records, aligned as frames are, and were just lent to us.
            unsafe { start.add(n).write(Record::inner()) };
        }
        Ok(Self {
            platform,
            frames,
            start,
            len,
        })
    }

    pub(super) fn all(&self) -> &[Record] {
        // SAFETY: all of them were written in `allocate`, and are changed through atomics alone.
        unsafe { slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }

    /// Where the first one is.
    pub(super) fn start(&self) -> NonNull<Record> {
        self.start
    }
}

impl<P: Platform> Drop for Records<P> {
    fn drop(&mut self) {
        // SAFETY: lent in `allocate` as one range; nothing but this value refers to it.
        unsafe { self.platform.free_frames(self.frames) };
    }
}
