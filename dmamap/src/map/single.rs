//! `map_single`: one piece of memory, lent to the device until `unmap`.

use core::fmt;
use core::mem::ManuallyDrop;

use crate::addr::{BusAddr, BusRange, VirtAddr};
use crate::buffer::DmaMemory;
use crate::device::Device;
use crate::iommu::Requester;
use crate::map::direction::Direction;
use crate::map::error::{Quarantined, Rejected};
use crate::map::owned::Owned;
use crate::map::retired::Retired;
use crate::map::terms::Shape;
use crate::map::view::CpuView;
use crate::map::{Attributes, OutOfBounds};
use crate::platform::Platform;

impl<P: Platform> Device<P> {
    /// Lends `buffer` to the device until the mapping is unmapped (`dma_map_single`).
    ///
    /// The device reaches the buffer's whole frames, in `direction` only where an IOMMU translates.
    ///
    /// # Errors
    /// [`Rejected`] gives the buffer back; see [`MapFailure`](crate::map::MapFailure).
    #[inline]
    pub fn map_single<B: DmaMemory, D: Direction>(
        &self,
        buffer: B,
        direction: D,
    ) -> Result<Mapping<P, B, D>, Rejected<B>> {
        self.map_single_attrs(buffer, direction, Attributes::NONE)
    }

    /// As [`map_single`](Self::map_single), with more asked of the mapping (`dma_map_single_attrs`).
    ///
    /// # Errors
    /// As [`map_single`](Self::map_single), and where what `attributes` ask for cannot be had.
    #[inline]
    pub fn map_single_attrs<B: DmaMemory, D: Direction>(
        &self,
        buffer: B,
        direction: D,
        attributes: Attributes,
    ) -> Result<Mapping<P, B, D>, Rejected<B>> {
        let terms = (Shape::Single, direction);
        Owned::establish(
            self,
            ManuallyDrop::new(buffer),
            terms,
            attributes,
            Mapping::from_owned,
        )
    }
}

/// Memory the device may use now, at one run of bus addresses. Owns the memory; `unmap` gives it back.
///
/// Forgetting a mapping leaks the memory, mapped. Dropping one unmaps it and drops the memory.
pub struct Mapping<P: Platform, B: DmaMemory, D: Direction> {
    pub(super) owned: Owned<P, B, D>,
}

impl<P: Platform, B: DmaMemory, D: Direction> Mapping<P, B, D> {
    /// The device it is mapped for.
    pub fn device(&self) -> Requester {
        self.owned.live().held().core().requester
    }

    /// Z: what the device is told.
    pub fn bus_addr(&self) -> BusAddr {
        self.range().start()
    }

    /// All bus addresses of the mapping.
    pub fn range(&self) -> BusRange {
        self.owned.live().range()
    }

    /// Number of bytes.
    pub fn len_bytes(&self) -> u64 {
        self.owned.buffer().len_bytes()
    }

    /// X: where the memory is for the CPU, for printing; [`sync_for_cpu`](Self::sync_for_cpu) reaches it.
    pub fn virt(&self) -> VirtAddr {
        self.owned.buffer().virt()
    }

    /// Y: the memory's first physical piece, for printing.
    pub fn phys(&self) -> crate::addr::PhysRange {
        self.owned.buffer().segment(0)
    }

    /// The direction it was mapped in.
    pub fn direction(&self) -> D {
        self.owned.direction()
    }

    /// Whether syncs of this mapping do more than order memory accesses (`dma_need_sync`).
    pub fn need_sync(&self) -> bool {
        self.owned.need_sync()
    }

    /// Lets the CPU read or write the memory while the device is not using it (`dma_sync_single_for_cpu`);
    /// dropping the view hands it back (`dma_sync_single_for_device`).
    #[inline]
    pub fn sync_for_cpu(&mut self) -> CpuView<'_, P, D> {
        self.owned.sync_for_cpu()
    }

    /// As [`sync_for_cpu`](Self::sync_for_cpu), for `len_bytes` bytes from `offset` on only.
    ///
    /// # Errors
    /// [`OutOfBounds`] if they leave the mapping.
    #[inline]
    pub fn sync_range_for_cpu(
        &mut self,
        offset: u64,
        len_bytes: u64,
    ) -> Result<CpuView<'_, P, D>, OutOfBounds> {
        self.owned.sync_range_for_cpu(offset, len_bytes)
    }

    /// Takes the memory back (`dma_unmap_single`). When this returns the buffer the device cannot reach
    /// it any more.
    ///
    /// # Errors
    /// [`Quarantined`] when the IOMMU did not confirm that; the memory is then kept until it does.
    #[inline]
    pub fn unmap(self) -> Result<B, Quarantined> {
        self.owned.unmap()
    }

    /// Takes the mapping out of the device's tables, and leaves it to a flush that others share to make the memory
    /// unreachable: cheaper than to unmap one by one. [`Retired`] gives the memory back, after such a flush.
    #[must_use = "it flushes when it is dropped"]
    pub fn retire(self) -> Retired<P, B, D> {
        self.owned.retire()
    }

    #[inline]
    pub(super) fn from_owned(owned: Owned<P, B, D>) -> Self {
        Self { owned }
    }
}

impl<P: Platform, B: DmaMemory, D: Direction> fmt::Debug for Mapping<P, B, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mapping({:?} {:?})", self.range(), self.direction())
    }
}
