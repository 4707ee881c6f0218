//! A split virtqueue (VIRTIO 2.7) as its driver uses it, in frames that the unit reads and writes.

use core::sync::atomic::{Ordering, fence};

use hw::virtio::queue::{self as layout, AvailableFlags, Descriptor, UsedEntry};

use crate::addr::PhysAddr;
use crate::frame::HardwareFrames;
use crate::platform::Platform;

/// Where the three parts of a queue lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct QueuePlace {
    /// Entries: a power of 2.
    pub(super) size: u16,
    pub(super) descriptors: PhysAddr,
    pub(super) available: PhysAddr,
    pub(super) used: PhysAddr,
}

/// Offsets of the three parts from the start of the frames.
#[derive(Clone, Copy)]
pub(super) struct Ring {
    size: u16,
    available: u64,
    used: u64,
}

/// How far both sides have come.
#[derive(Clone, Copy, Default)]
pub(super) struct Progress {
    available: u16,
    used: u16,
}

impl Progress {
    /// The index of the next used entry.
    pub(super) fn used(&self) -> u16 {
        self.used
    }
}

impl Ring {
    /// A ring of `size` entries, a power of 2, at the start of frames.
    pub(super) const fn new(size: u16) -> Self {
        let available = size as u64 * layout::DESCRIPTOR_BYTES;
        let used = available + layout::available_bytes(size);
        Self {
            size,
            available,
            used: used.next_multiple_of(layout::USED_ALIGN),
        }
    }

    /// Bytes from the start of the frames to the end of the ring.
    pub(super) const fn len_bytes(self) -> u64 {
        self.used + layout::used_bytes(self.size)
    }

    pub(super) fn size(self) -> u16 {
        self.size
    }

    /// What the unit is told.
    pub(super) fn place<P: Platform>(self, frames: &HardwareFrames<P>) -> QueuePlace {
        let start = frames.phys().as_u64();
        QueuePlace {
            size: self.size,
            descriptors: PhysAddr::new(start),
            available: PhysAddr::new(start + self.available),
            used: PhysAddr::new(start + self.used),
        }
    }

    /// Empties both rings, the unit having let go of them, and says whether interrupts are wanted.
    pub(super) fn clear<P: Platform>(self, frames: &HardwareFrames<P>, flags: AvailableFlags) {
        frames.store_u16(half(self.available + layout::AVAILABLE_IDX), 0);
        frames.store_u16(half(self.used + layout::USED_IDX), 0);
        let at = half(self.available + layout::AVAILABLE_FLAGS);
        frames.store_u16(at, flags.into_bits());
    }

    pub(super) fn describe<P: Platform>(
        self,
        frames: &HardwareFrames<P>,
        index: u16,
        descriptor: Descriptor,
    ) {
        let [low, high] = descriptor.to_words();
        frames.store(usize::from(index) * 2, low);
        frames.store(usize::from(index) * 2 + 1, high);
    }

    /// Puts the chain that begins at `head` into the available ring, where the unit does not see it before
    /// [`publish`](Self::publish).
    pub(super) fn offer<P: Platform>(
        self,
        frames: &HardwareFrames<P>,
        progress: &mut Progress,
        head: u16,
    ) {
        let slot = progress.available % self.size;
        let at = half(self.available + layout::available_entry(slot));
        frames.store_u16(at, head);
        progress.available = progress.available.wrapping_add(1);
    }

    /// Shows the unit what was offered.
    pub(super) fn publish<P: Platform>(self, frames: &HardwareFrames<P>, progress: &Progress) {
        let at = half(self.available + layout::AVAILABLE_IDX);
        frames.store_u16(at, progress.available);
    }

    /// The next chain that the unit gave back; what it says is not to be trusted.
    pub(super) fn next_used<P: Platform>(
        self,
        frames: &HardwareFrames<P>,
        progress: &mut Progress,
    ) -> Option<UsedEntry> {
        let index = frames.load_u16(half(self.used + layout::USED_IDX));
        if index == progress.used {
            return None;
        }
        // The entry, and the buffer, are read after the index that says they are there.
        fence(Ordering::Acquire);
        let slot = progress.used % self.size;
        let at = ((self.used + layout::used_entry(slot)) / 4) as usize;
        progress.used = progress.used.wrapping_add(1);
        let words = [frames.load_u32(at), frames.load_u32(at + 1)];
        Some(UsedEntry::from_words(words))
    }
}

/// The index of the 16-bit word at an offset.
const fn half(offset: u64) -> usize {
    (offset / 2) as usize
}
