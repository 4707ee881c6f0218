//! How a mapping ends: its addresses are taken back, what the device wrote is brought back, and the memory returns, or is kept from all use.

use core::mem::ManuallyDrop;

use super::Live;
use crate::bounce::{PoolName, RunPlace};
use crate::buffer::DmaMemory;
use crate::iommu::{Owed, RevokeError};
use crate::map::attributes::CpuSync;
use crate::map::copies::{Copies, CopyReach};
use crate::map::earlier::{Earlier, Written};
use crate::map::error::Quarantined;
use crate::map::establish::revoke;
use crate::map::plain::Taken;
use crate::map::route::WayBack;
use crate::platform::Platform;

impl<P: Platform> Live<P> {
    /// Takes the addresses back; when this returns `Ok` the device reaches nothing through them. Otherwise the memory is
    /// the caller's to keep, for ever.
    pub(crate) fn revoke<B: DmaMemory>(mut self, buffer: &B) -> Result<(), Quarantined> {
        // SAFETY: the mapping ends with this call.
        match unsafe { self.take_back() } {
            Ok(()) => {
                let written = self.take_earlier().written;
                self.part(buffer, written);
                Ok(())
            }
            Err(error) => {
                let lost_bytes = self.backing().lent_bytes();
                self.held.core().quarantine.lose(lost_bytes);
                Err(self.quarantined(error))
            }
        }
    }

    /// As [`revoke`](Self::revoke); the buffer comes back, or goes into the device's quarantine. Should anything panic, it is leaked.
    #[inline]
    pub(crate) fn revoke_owned<B: DmaMemory>(
        self,
        buffer: ManuallyDrop<B>,
    ) -> Result<B, Quarantined> {
        let core = self.held.core();
        let is_plain = !self.need_sync() && self.earlier.is_none();
        // What the steps come to, for nearly all mappings.
        let taken = match is_plain {
            // SAFETY: the range is of this mapping, which ends with this call.
            true => unsafe { core.take_back_plain(self.range, self.attributes) },
            false => Taken::Not,
        };
        match taken {
            Taken::Back => {
                core.platform.dma_rmb();
                Ok(ManuallyDrop::into_inner(buffer))
            }
            Taken::Failed(error) => Err(self.kept(buffer, error)),
            Taken::Not => self.revoke_owned_copied(buffer),
        }
    }

    /// As [`revoke_owned`](Self::revoke_owned), wherever the short way did nothing: copies end in one as well.
    #[inline(never)]
    fn revoke_owned_copied<B: DmaMemory>(self, buffer: ManuallyDrop<B>) -> Result<B, Quarantined> {
        let Some((pool, run)) = self.copy_that_ends_at_once() else {
            return self.revoke_owned_in_steps(buffer);
        };
        let core = self.held.core();
        // SAFETY: no table says whether the device has the copy: it has it always, or nothing translates for it. The mapping had the
        // buffer to itself, views of it are volatile, and it ends with this call.
        unsafe { core.end_copy(pool, run, self.direction, buffer.pointer()) };
        Ok(ManuallyDrop::into_inner(buffer))
    }

    /// Its copy, where the mapping is that and no more: no table is changed at its end, no cache maintained, nothing is owed.
    #[inline]
    fn copy_that_ends_at_once(&self) -> Option<(PoolName, RunPlace)> {
        let core = self.held.core();
        match self.copies {
            Copies::Whole { pool, run, reach }
                if (reach == CopyReach::Always || !core.route.joins_pieces())
                    && self.earlier.is_none()
                    && core.ends_copy_at_once(self.attributes.cpu_sync) =>
            {
                Some((pool, run))
            }
            _ => None,
        }
    }

    #[inline(never)]
    fn revoke_owned_in_steps<B: DmaMemory>(
        self,
        buffer: ManuallyDrop<B>,
    ) -> Result<B, Quarantined> {
        // SAFETY: the mapping ends with this call.
        let outcome = unsafe { self.take_back() };
        self.part_owned(buffer, outcome)
    }

    /// Takes the addresses back; [`part_owned`](Self::part_owned) is what follows.
    ///
    /// # Safety
    /// It is called once, and the mapping ends with it.
    unsafe fn take_back(&self) -> Result<(), RevokeError> {
        // SAFETY: the caller's promise.
        unsafe { self.take_back_by(&self.held.core().route) }
    }

    /// The same by a way of the device.
    ///
    /// # Safety
    /// As [`take_back`](Self::take_back).
    #[inline]
    pub(crate) unsafe fn take_back_by(&self, way: impl WayBack) -> Result<(), RevokeError> {
        let (core, attributes) = (self.held.core(), self.attributes);
        // SAFETY: `range` is of this mapping, which the caller ends.
        unsafe { revoke(core, way, self.range, self.copies, attributes, self.owed()) }
    }

    /// What the memory owes to earlier mappings of it, if there were any.
    #[inline]
    pub(super) fn owed(&self) -> Option<Result<Owed, RevokeError>> {
        let note = self.earlier?;
        Some(self.held.core().earlier.get(note).owed)
    }

    /// As [`owed`](Self::owed), and all else. Called once.
    #[inline]
    pub(super) fn take_earlier(&mut self) -> Earlier {
        match self.earlier.take() {
            Some(note) => self.held.core().earlier.take(note),
            None => Earlier::NOTHING,
        }
    }

    pub(super) fn quarantined(&self, error: RevokeError) -> Quarantined {
        Quarantined {
            device: self.held.core().requester,
            range: self.range,
            error,
        }
    }

    /// The last of a mapping that was taken back, or not, as `outcome` says: then the buffer and the copies of it that the
    /// device was given go into its quarantine.
    pub(crate) fn part_owned<B: DmaMemory>(
        mut self,
        buffer: ManuallyDrop<B>,
        outcome: Result<(), RevokeError>,
    ) -> Result<B, Quarantined> {
        match outcome {
            Ok(()) => {
                let written = self.take_earlier().written;
                self.part(&*buffer, written);
                Ok(ManuallyDrop::into_inner(buffer))
            }
            Err(error) => Err(self.kept(buffer, error)),
        }
    }

    #[cold]
    pub(crate) fn kept<B: DmaMemory>(
        self,
        buffer: ManuallyDrop<B>,
        error: RevokeError,
    ) -> Quarantined {
        let quarantined = self.quarantined(error);
        self.keep(buffer, error);
        quarantined
    }

    pub(super) fn keep<B: DmaMemory>(mut self, buffer: ManuallyDrop<B>, error: RevokeError) {
        let _ = self.take_earlier();
        let (core, len_bytes) = (self.held.core(), buffer.len_bytes());
        core.keep_from_use(buffer, len_bytes, self.backing(), error);
    }

    /// The last of a mapping that was taken back, whose memory the device could write `earlier`.
    #[inline]
    pub(super) fn part<B: DmaMemory>(self, buffer: &B, earlier: Written) {
        match self.need_sync() {
            true => self.part_in_steps(buffer, earlier),
            false => self.held.core().platform.dma_rmb(),
        }
    }

    #[inline(never)]
    fn part_in_steps<B: DmaMemory>(mut self, buffer: &B, earlier: Written) {
        let core = self.held.core();
        if let Copies::Whole { pool, run, .. } = self.copies
            && core.ends_copy_at_once(self.attributes.cpu_sync)
        {
            // SAFETY: the route's word is that the device lost the mapping, or it has the copy always; the mapping had the buffer
            // to itself, and views of it are volatile.
            return unsafe { core.end_copy(pool, run, self.direction, buffer.pointer()) };
        }
        self.take_from_device(buffer, earlier);
        self.give_copies_back();
    }

    pub(super) fn give_copies_back(&mut self) {
        let backing = self.backing();
        self.copies = Copies::None;
        // SAFETY: callers have the route's word that the device lost the mapping, or it has the copy always.
        unsafe { backing.release(self.held.core()) };
    }

    /// Makes what the device wrote, before it lost the memory, what the CPU reads in the buffer; also what it wrote `earlier`.
    pub(super) fn take_from_device<B: DmaMemory>(&self, buffer: &B, earlier: Written) {
        let core = self.held.core();
        let is_automatic = self.need_sync() && self.attributes.cpu_sync == CpuSync::Automatic;
        // After the device lost the memory: until then lines of it could come into the caches and be outdated again.
        if is_automatic && self.direction.device_writes() {
            self.invalidate(buffer.pointer(), 0, self.len_bytes());
        } else if is_automatic && earlier == Written::Perhaps {
            core.invalidate_cache(buffer.pointer(), buffer.len_bytes());
        }
        core.platform.dma_rmb();
        if is_automatic {
            self.copy_out(buffer.pointer(), 0, self.len_bytes());
        }
    }
}
