//! A run of slots that stands in for the memory of one mapping.
//!
//! The device may read and write it at any moment, so that only copies of whole stretches (`copying`) touch it and no
//! reference to it is ever made.

use core::ptr::NonNull;

use super::copying::{copy_across, zero};
use super::magazine::RunStart;
use super::record::Holds;
use super::transient::TransientRun;
use crate::addr::{BusAddr, BusRange, PhysAddr, PhysRange};
use crate::map::AnyDirection;
use crate::platform::Platform;
use crate::slab::Handle;

/// Where a pool has a run: with it alone the pool [tells](super::Pool::run) the run again.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RunPlace(pub(super) Place);

impl RunPlace {
    /// That of a run of slots.
    #[inline]
    pub(crate) fn of_slots(start: RunStart) -> Self {
        Self(Place::Slots(start))
    }
}

/// Where a run came from.
#[derive(Clone, Copy, Debug)]
pub(super) enum Place {
    /// Slots of an area.
    Slots(RunStart),
    /// Frames of its own.
    Transient(Handle<TransientRun>),
}

/// What a run was lent for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Purpose {
    /// Where in it the mapping's first byte is.
    pub(super) offset: u64,
    /// Bytes of the mapping.
    pub(super) len_bytes: u64,
    /// Y: where the mapping's own memory is.
    pub(super) origin: PhysAddr,
    /// Who moves the data.
    pub(super) direction: AnyDirection,
}

/// Memory lent by a pool, whole slots. Forgetting it keeps the memory from being used again.
#[derive(Debug)]
pub(crate) struct Run {
    pub(super) place: Place,
    /// Whole slots.
    pub(super) memory: PhysRange,
    pub(super) purpose: Purpose,
    /// Where the device always has them, if it does.
    pub(super) bus: Option<BusAddr>,
    /// What it held when it was lent.
    pub(super) holds: Holds,
}

impl Run {
    /// Where the pool has it.
    #[inline]
    pub(crate) fn place(&self) -> RunPlace {
        RunPlace(self.place)
    }

    /// The whole slots.
    pub(crate) fn memory(&self) -> PhysRange {
        self.memory
    }

    /// The bytes that stand in for those of the mapping.
    #[inline]
    pub(crate) fn bytes(&self) -> PhysRange {
        let bytes = self
            .memory
            .slice(self.purpose.offset, self.purpose.len_bytes);
        bytes.expect("a run holds the mapping's bytes")
    }

    /// Where a device that always has the pool finds [`bytes`](Self::bytes).
    #[inline]
    pub(crate) fn bus_range(&self) -> Option<BusRange> {
        let start = self.bus?.checked_add(self.purpose.offset)?;
        BusRange::new(start, self.purpose.len_bytes).ok()
    }

    /// Y: the physical address of the first byte of the mapping's own memory.
    pub(crate) fn origin(&self) -> PhysAddr {
        self.purpose.origin
    }

    /// Number of the mapping's bytes that it stands in for.
    pub(crate) fn len_bytes(&self) -> u64 {
        self.purpose.len_bytes
    }

    /// Who moves the data.
    pub(crate) fn direction(&self) -> AnyDirection {
        self.purpose.direction
    }

    /// The CPU's pointer to the first of [`bytes`](Self::bytes).
    #[inline]
    pub(crate) fn pointer<P: Platform>(&self, platform: P) -> NonNull<u8> {
        let start = self.memory.start().as_u64() + self.purpose.offset;
        platform.frame_pointer(PhysAddr::new(start))
    }

    /// Makes the run hold the mapping's bytes and nothing else: zeros before and after them.
    ///
    /// # Safety
    /// As many bytes as the mapping has can be read from `from` on, and no reference that writes them is in use.
    #[inline]
    pub(crate) unsafe fn fill<P: Platform>(&self, platform: P, from: NonNull<u8>) {
        self.blank_padding(platform);
        // SAFETY: all of the run's bytes; the caller vouches for `from`.
        unsafe { self.copy_in(platform, 0, from, self.purpose.len_bytes) };
    }

    /// Makes the run hold zeros before and after the mapping's bytes. One that the device always has does already, but for what the
    /// device wrote there itself: it was [exposed](super::Exposure::expose) so, and is [wiped](Self::wipe) when a mapping ends.
    #[inline]
    pub(crate) fn blank_padding<P: Platform>(&self, platform: P) {
        if self.bus.is_some() || self.holds == Holds::Zeros {
            return;
        }
        let (head, tail) = self.padding();
        // SAFETY: the run's memory is lent to it whole and no reference to it is made; the lengths are parts
        // of it.
        unsafe {
            zero(platform.frame_pointer(self.memory.start()), head);
            let bytes = self.pointer(platform);
            zero(bytes.add(self.purpose.len_bytes as usize), tail);
        }
    }

    /// Copies what the run holds from byte `offset` on to where the mapping's own bytes are.
    ///
    /// # Safety
    /// `offset` and `len_bytes` are within the mapping, and as many bytes as that can be written from `to` on, with no
    /// reference to them in use.
    #[inline]
    pub(crate) unsafe fn copy_out<P: Platform>(
        &self,
        platform: P,
        offset: u64,
        to: NonNull<u8>,
        len_bytes: u64,
    ) {
        // SAFETY: within the run; the caller vouches for `to`.
        unsafe {
            let from = self.pointer(platform).add(offset as usize);
            copy_across(from, to, len_bytes as usize);
        }
    }

    /// Copies bytes of the mapping from `from` to byte `offset` of the run.
    ///
    /// # Safety
    /// As for [`copy_out`](Self::copy_out), `from` being readable.
    #[inline]
    pub(crate) unsafe fn copy_in<P: Platform>(
        &self,
        platform: P,
        offset: u64,
        from: NonNull<u8>,
        len_bytes: u64,
    ) {
        // SAFETY: within the run; the caller vouches for `from`.
        unsafe {
            let to = self.pointer(platform).add(offset as usize);
            copy_across(from, to, len_bytes as usize);
        }
    }

    /// Leaves nothing of the mapping in the run. Nothing of it was ever beside its bytes.
    #[inline]
    pub(crate) fn wipe<P: Platform>(&self, platform: P) {
        // SAFETY: the run's memory is lent to it whole and no reference to it is made.
        unsafe { zero(self.pointer(platform), self.purpose.len_bytes as usize) };
    }

    /// Bytes of the slots before the mapping's first byte and after its last.
    fn padding(&self) -> (usize, usize) {
        let tail = self.memory.len_bytes() - self.purpose.offset - self.purpose.len_bytes;
        (self.purpose.offset as usize, tail as usize)
    }
}
