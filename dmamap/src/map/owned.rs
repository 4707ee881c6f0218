//! Owned memory that is mapped, in one piece or in many: what `map_single` and `map_sg` have in common.

use core::mem::ManuallyDrop;

use crate::buffer::DmaMemory;
use crate::device::Device;
use crate::iommu::RevokeError;
use crate::map::direction::Direction;
use crate::map::error::{Quarantined, Rejected};
use crate::map::live::Live;
use crate::map::retired::Retired;
use crate::map::route::WayBack;
use crate::map::terms::{Shape, Terms};
use crate::map::view::CpuView;
use crate::map::{Attributes, OutOfBounds};
use crate::platform::Platform;

/// A live mapping and the memory it owns. Dropping it unmaps the memory, then drops it.
pub(super) struct Owned<P: Platform, B: DmaMemory, D: Direction> {
    /// Taken out when this ends, and so is the memory.
    live: ManuallyDrop<Live<P>>,
    buffer: ManuallyDrop<B>,
    direction: D,
}

impl<P: Platform, B: DmaMemory, D: Direction> Owned<P, B, D> {
    /// Maps `buffer`; `make` makes of it what is returned. Until the outcome is known the device may reach the memory: should anything
    /// panic, it is leaked.
    #[inline]
    pub(super) fn establish<T>(
        device: &Device<P>,
        buffer: ManuallyDrop<B>,
        (shape, direction): (Shape, D),
        attributes: Attributes,
        make: impl FnOnce(Self) -> T,
    ) -> Result<T, Rejected<B>> {
        // Here and not only behind the call: the mapping is then written where the caller has it.
        if attributes == Attributes::NONE
            && shape != Shape::AlignedBlock
            && let Some(live) = Live::establish_plain(device, &*buffer, direction.any())
        {
            return Ok(make(Self::from_parts(live, buffer, direction)));
        }
        let terms = Terms::new(device.mask(), shape, direction).with(attributes);
        Live::establish_owned(device, buffer, terms, |live, buffer| {
            make(Self::from_parts(live, buffer, direction))
        })
    }

    /// What is made of memory that is mapped already.
    #[inline]
    pub(super) fn from_parts(live: Live<P>, buffer: ManuallyDrop<B>, direction: D) -> Self {
        Self {
            live: ManuallyDrop::new(live),
            buffer,
            direction,
        }
    }

    /// The memory is leaked unless it is taken out.
    #[inline]
    fn into_parts(self) -> (Live<P>, ManuallyDrop<B>, D) {
        let mut this = ManuallyDrop::new(self);
        // SAFETY: `this` is not used any more, and not dropped.
        unsafe { this.take() }
    }

    /// # Safety
    /// It is called once, and nothing uses the value after it.
    #[inline]
    unsafe fn take(&mut self) -> (Live<P>, ManuallyDrop<B>, D) {
        // SAFETY: the caller's promise, for both.
        unsafe {
            let live = ManuallyDrop::take(&mut self.live);
            let buffer = ManuallyDrop::take(&mut self.buffer);
            (live, ManuallyDrop::new(buffer), self.direction)
        }
    }

    #[inline]
    pub(super) fn live(&self) -> &Live<P> {
        &self.live
    }

    #[inline]
    pub(super) fn buffer(&self) -> &B {
        &self.buffer
    }

    pub(super) fn direction(&self) -> D {
        self.direction
    }

    pub(super) fn need_sync(&self) -> bool {
        self.live().need_sync()
    }

    #[inline]
    pub(super) fn sync_for_cpu(&mut self) -> CpuView<'_, P, D> {
        CpuView::whole(&mut self.live, &mut *self.buffer)
    }

    #[inline]
    pub(super) fn sync_range_for_cpu(
        &mut self,
        offset: u64,
        len_bytes: u64,
    ) -> Result<CpuView<'_, P, D>, OutOfBounds> {
        CpuView::part(&mut self.live, &mut *self.buffer, offset, len_bytes)
    }

    /// Takes the memory out of the device's tables; it may reach it until a flush.
    #[inline]
    pub(super) fn retire(self) -> Retired<P, B, D> {
        let (live, buffer, direction) = self.into_parts();
        // SAFETY: the mapping was taken out of this value, and what is retired is only finished.
        let retired = unsafe { live.retire() };
        Retired::new(retired, ManuallyDrop::into_inner(buffer), direction)
    }

    /// The same by a way of its device.
    #[inline]
    pub(super) fn retire_by(self, way: impl WayBack) -> Retired<P, B, D> {
        let (live, buffer, direction) = self.into_parts();
        // SAFETY: the mapping was taken out of this value, and what is retired is only finished.
        let retired = unsafe { live.retire_by(way) };
        Retired::new(retired, ManuallyDrop::into_inner(buffer), direction)
    }

    /// The end of a mapping whose addresses were not taken back, as `error` says: its memory goes into quarantine.
    #[cold]
    pub(super) fn keep(self, error: RevokeError) -> Quarantined {
        let (live, buffer, _) = self.into_parts();
        live.kept(buffer, error)
    }

    /// The memory of a mapping that [is in place](Live::is_in_place), and that was taken back.
    #[inline]
    pub(super) fn part_in_place(self) -> B {
        let (live, buffer, _) = self.into_parts();
        live.part_in_place();
        ManuallyDrop::into_inner(buffer)
    }

    #[inline]
    pub(super) fn unmap(self) -> Result<B, Quarantined> {
        let (live, buffer, _) = self.into_parts();
        live.revoke_owned(buffer)
    }

    /// The same by a way of its device.
    #[inline]
    pub(super) fn unmap_by(self, way: impl WayBack) -> Result<B, Quarantined> {
        let (live, buffer, _) = self.into_parts();
        // SAFETY: the mapping ends with this call.
        let outcome = unsafe { live.take_back_by(way) };
        live.part_owned(buffer, outcome)
    }
}

impl<P: Platform, B: DmaMemory, D: Direction> Drop for Owned<P, B, D> {
    fn drop(&mut self) {
        // SAFETY: nothing follows a drop.
        let (live, buffer, _) = unsafe { self.take() };
        if let Err(error) = live.revoke_owned(buffer) {
            log::error!("{error}");
        }
    }
}
