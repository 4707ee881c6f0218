//! Owned memory that is mapped, in one piece or in many: what `map_single` and `map_sg` have in common.

use core::mem::ManuallyDrop;
use core::ptr::NonNull;

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
    /// `None` only while `unmap` or `drop` runs.
    parts: Option<(Live<P>, B)>,
    direction: D,
}

impl<P: Platform, B: DmaMemory, D: Direction> Owned<P, B, D> {
    /// Maps `buffer`; `make` makes of it what is returned.
    #[inline]
    pub(super) fn establish<T>(
        device: &Device<P>,
        buffer: B,
        (shape, direction): (Shape, D),
        attributes: Attributes,
        make: impl FnOnce(Self) -> T,
    ) -> Result<T, Rejected<B>> {
        let terms = Terms::new(device.mask(), shape, direction).with(attributes);
        Live::establish_owned(device, buffer, terms, |live, buffer| {
            make(Self::from_parts(live, buffer, direction))
        })
    }

    #[inline]
    fn parts(&self) -> &(Live<P>, B) {
        self.parts
            .as_ref()
            .expect("only `unmap` and `drop` take the parts")
    }

    fn parts_mut(&mut self) -> &mut (Live<P>, B) {
        self.parts
            .as_mut()
            .expect("only `unmap` and `drop` take the parts")
    }

    pub(super) fn live(&self) -> &Live<P> {
        &self.parts().0
    }

    pub(super) fn buffer(&self) -> &B {
        &self.parts().1
    }

    pub(super) fn direction(&self) -> D {
        self.direction
    }

    pub(super) fn need_sync(&self) -> bool {
        self.live().need_sync()
    }

    pub(super) fn sync_for_cpu(&mut self) -> CpuView<'_, P, D> {
        let (live, buffer) = self.parts_mut();
        CpuView::whole(live, buffer)
    }

    pub(super) fn sync_range_for_cpu(
        &mut self,
        offset: u64,
        len_bytes: u64,
    ) -> Result<CpuView<'_, P, D>, OutOfBounds> {
        let (live, buffer) = self.parts_mut();
        CpuView::part(live, buffer, offset, len_bytes)
    }

    /// Takes the memory out of the device's tables; it may reach it until a flush.
    pub(super) fn retire(self) -> Retired<P, B, D> {
        let core = NonNull::from(self.live().held().core());
        // SAFETY: the mapping holds the device, and so its core, until it has finished.
        self.retire_by(unsafe { &core.as_ref().route })
    }

    /// The same by a way of its device.
    pub(super) fn retire_by(mut self, way: impl WayBack) -> Retired<P, B, D> {
        let (live, buffer) = self
            .parts
            .take()
            .expect("only `unmap` and `drop` take the parts");
        // Should this panic, the memory is leaked.
        let buffer = ManuallyDrop::new(buffer);
        // SAFETY: the mapping was taken out of this value, and what is retired is only finished.
        let retired = unsafe { live.retire(way) };
        Retired::new(retired, ManuallyDrop::into_inner(buffer), self.direction)
    }

    /// What is made of memory that is mapped already.
    #[inline]
    pub(super) fn from_parts(live: Live<P>, buffer: B, direction: D) -> Self {
        Self {
            parts: Some((live, buffer)),
            direction,
        }
    }

    /// The end of a mapping whose addresses were not taken back, as `error` says: its memory goes into quarantine.
    #[cold]
    pub(super) fn keep(self, error: RevokeError) -> Quarantined {
        let mut this = ManuallyDrop::new(self);
        let (live, buffer) = this
            .parts
            .take()
            .expect("only `unmap` and `drop` take the parts");
        live.kept(ManuallyDrop::new(buffer), error)
    }

    /// The memory of a mapping that [is in place](Live::is_in_place), and that was taken back.
    #[inline]
    pub(super) fn part_in_place(self) -> B {
        let mut this = ManuallyDrop::new(self);
        let (live, buffer) = this
            .parts
            .take()
            .expect("only `unmap` and `drop` take the parts");
        live.part_in_place();
        buffer
    }

    #[inline]
    pub(super) fn unmap(self) -> Result<B, Quarantined> {
        // SAFETY: the mapping ends with this call.
        self.end(|live| unsafe { live.take_back() })
    }

    /// The same by a way of its device.
    #[inline]
    pub(super) fn unmap_by(self, way: impl WayBack) -> Result<B, Quarantined> {
        // SAFETY: the mapping ends with this call.
        self.end(|live| unsafe { live.take_back_by(way) })
    }

    /// Ends the mapping, whose addresses `take_back` takes back.
    #[inline]
    fn end(
        self,
        take_back: impl FnOnce(&Live<P>) -> Result<(), RevokeError>,
    ) -> Result<B, Quarantined> {
        // Taken back where it stands, and taken apart only then: moving it costs as much as some of the steps. Should this panic,
        // the memory is leaked.
        let mut this = ManuallyDrop::new(self);
        let outcome = take_back(this.live());
        let (live, buffer) = this
            .parts
            .take()
            .expect("only `unmap` and `drop` take the parts");
        live.part_owned(ManuallyDrop::new(buffer), outcome)
    }
}

impl<P: Platform, B: DmaMemory, D: Direction> Drop for Owned<P, B, D> {
    fn drop(&mut self) {
        if let Some((live, buffer)) = self.parts.take()
            && let Err(error) = live.revoke_owned(buffer)
        {
            log::error!("{error}");
        }
    }
}
