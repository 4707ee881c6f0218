//! A mapping that was retired: out of the tables, and not lost to the device before a flush.

use core::mem::ManuallyDrop;
use core::ptr::NonNull;

use super::Live;
use crate::addr::BusRange;
use crate::buffer::DmaMemory;
use crate::iommu::{Owed, Requester, RevokeError};
use crate::map::asked::Asked;
use crate::map::direction::Direction;
use crate::map::earlier::{Earlier, Written};
use crate::map::error::{MapError, MapFailure, Quarantined};
use crate::map::route::WayBack;
use crate::map::terms::{Shape, Terms};
use crate::platform::Platform;

/// Bus addresses that a device can no longer use once a flush has covered them, and the hold on the device that goes with them.
///
/// As [`Live`]: its owners never drop one that has not [finished](Self::finish_owned).
pub(crate) struct RetiredLive<P: Platform> {
    live: Live<P>,
    /// What the memory owes: to this mapping, and to earlier ones.
    earlier: Earlier,
}

impl<P: Platform> Live<P> {
    /// Takes the addresses out of the tables; the device may reach the memory until a flush.
    /// [`finish_owned`](RetiredLive::finish_owned) tells when it has lost it.
    ///
    /// # Safety
    /// The range is of this mapping, and nobody else takes it back.
    #[inline]
    pub(crate) unsafe fn retire(self) -> RetiredLive<P> {
        // SAFETY: the caller's promise.
        self.retire_as(|live| unsafe { live.held.core().route.retire(live.range) })
    }

    /// The same by a way of the device.
    ///
    /// # Safety
    /// As [`retire`](Self::retire).
    #[inline]
    pub(crate) unsafe fn retire_by(self, mut way: impl WayBack) -> RetiredLive<P> {
        // SAFETY: the caller's promise.
        self.retire_as(|live| unsafe { way.retire(live.range) })
    }

    /// What is left to do once `retire` has taken the addresses out of the tables, if that changes any.
    #[inline]
    fn retire_as(
        mut self,
        retire: impl FnOnce(&Self) -> Result<Owed, RevokeError>,
    ) -> RetiredLive<P> {
        let mut earlier = self.take_earlier();
        if !self.copies.are_always_mapped() {
            earlier = earlier.and(retire(&self));
        }
        RetiredLive {
            live: self,
            earlier,
        }
    }
}

impl<P: Platform> RetiredLive<P> {
    /// The device.
    pub(crate) fn device(&self) -> Requester {
        self.live.device()
    }

    pub(crate) fn range(&self) -> BusRange {
        self.live.range
    }

    /// As [`Live::see_device_writes`].
    pub(crate) fn see_device_writes(&self, buffer: NonNull<u8>, offset: u64, len_bytes: u64) {
        self.live.see_device_writes(buffer, offset, len_bytes);
    }

    /// As [`Live::device_side`].
    pub(crate) fn device_side(
        &self,
        buffer: NonNull<u8>,
        offset: u64,
        len_bytes: u64,
        visit: impl FnMut(NonNull<u8>, u64),
    ) {
        self.live.device_side(buffer, offset, len_bytes, visit);
    }

    /// Whether flushes have covered it, or never will.
    pub(crate) fn is_settled(&self) -> bool {
        match self.earlier.owed {
            Ok(owed) => self.live.held.core().route.outcome(owed).is_some(),
            Err(_) => true,
        }
    }

    /// Flushes if nobody did since.
    fn flush(&self) -> Result<(), RevokeError> {
        let owed = self.earlier.owed?;
        self.live.held.core().route.flush_through(owed)
    }

    /// Flushes if nobody did since this was retired; when this returns `Ok` the device reaches nothing through it. The buffer
    /// comes back, or goes into the device's quarantine.
    pub(crate) fn finish_owned<B: DmaMemory>(self, buffer: B) -> Result<B, Quarantined> {
        // Should anything panic, it is leaked.
        let buffer = ManuallyDrop::new(buffer);
        let outcome = self.flush();
        let Self { live, earlier } = self;
        match outcome {
            Ok(()) => {
                live.part(&*buffer, earlier.written);
                Ok(ManuallyDrop::into_inner(buffer))
            }
            Err(error) => Err(live.kept(buffer, error)),
        }
    }

    /// Where the device had copies: flushes, brings what it wrote into the buffer, and gives the copies back.
    pub(crate) fn end_copies<B: DmaMemory>(&mut self, buffer: &B) -> Result<(), RevokeError> {
        if !self.live.copies.are_there() {
            return Ok(());
        }
        self.earlier.owed = self.flush().map(|()| Owed::NOTHING);
        self.earlier.owed?;
        self.live.take_from_device(buffer, self.earlier.written);
        self.live.give_copies_back();
        Ok(())
    }

    /// The error of memory that is not mapped again as [`end_copies`](Self::end_copies) failed.
    pub(crate) fn not_ended<B: DmaMemory>(&self, buffer: &B, error: RevokeError) -> MapError {
        let failure = MapFailure::NotRevoked(error);
        let core = self.live.held.core();
        core.not_mapped(Asked::of(buffer), failure)
    }

    /// Maps the memory again, for the same device. It hangs on the flushes that this one does, too.
    pub(crate) fn establish_again<B: DmaMemory>(
        &self,
        buffer: &B,
        shape: Shape,
        direction: impl Direction,
    ) -> Result<Live<P>, MapError> {
        let core = self.live.held.core();
        let terms = Terms::new(core.limits.mask(), shape, direction).with(self.live.attributes);
        let earlier = Earlier {
            owed: self.earlier.owed,
            written: match self.live.direction.device_writes() {
                true => Written::Perhaps,
                false => self.earlier.written,
            },
        };
        // First, as what is mapped would have to be taken back.
        let note = core
            .earlier
            .note(earlier)
            .map_err(|error| core.not_mapped(Asked::of(buffer), MapFailure::NoRecord(error)))?;
        let held = self.live.held.another(buffer.len_bytes());
        match Live::establish_for(held, buffer, terms) {
            Ok(live) => Ok(Live {
                earlier: Some(note),
                ..live
            }),
            Err(error) => {
                core.earlier.take(note);
                Err(error)
            }
        }
    }

    /// Puts the memory into the device's quarantine where mapping it again failed so that the device may reach it, `undo`
    /// saying why.
    pub(crate) fn keep_not_mapped_again<B: DmaMemory>(
        self,
        buffer: ManuallyDrop<B>,
        undo: RevokeError,
    ) {
        let Self { live, earlier } = self;
        let error = earlier.owed.err().map_or(undo, |owed| undo.or_graver(owed));
        live.keep(buffer, error);
    }
}
