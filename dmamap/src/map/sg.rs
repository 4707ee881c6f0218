//! `map_sg`: memory in pieces, lent to the device until `unmap`.
//!
//! Behind an IOMMU the pieces lie side by side on the bus, in front of nothing each where memory has it;
//! [`SgMapping::segments`] tells either. The list the caller mapped is the mapping's own, so it cannot be
//! unmapped or synced with another count of entries.

use core::fmt;
use core::mem::ManuallyDrop;

use crate::addr::{BusRange, VirtAddr};
use crate::buffer::DmaMemory;
use crate::device::Device;
use crate::map::direction::Direction;
use crate::map::error::{Quarantined, Rejected};
use crate::map::live::Pieces;
use crate::map::owned::Owned;
use crate::map::retired::Retired;
use crate::map::runs::runs;
use crate::map::segments::segments;
use crate::map::terms::Shape;
use crate::map::view::CpuView;
use crate::map::{Attributes, OutOfBounds};
use crate::pagetable::PhysList;
use crate::platform::Platform;

impl<P: Platform> Device<P> {
    /// Lends `buffer`, in however many physical pieces it is, to the device until the mapping is unmapped
    /// (`dma_map_sg`).
    ///
    /// # Errors
    /// [`Rejected`] gives the buffer back; no piece is mapped then.
    #[inline]
    pub fn map_sg<B: DmaMemory, D: Direction>(
        &self,
        buffer: B,
        direction: D,
    ) -> Result<SgMapping<P, B, D>, Rejected<B>> {
        self.map_sg_attrs(buffer, direction, Attributes::NONE)
    }

    /// As [`map_sg`](Self::map_sg), with more asked of the mapping (`dma_map_sg_attrs`).
    ///
    /// # Errors
    /// As [`map_sg`](Self::map_sg), and where what `attributes` ask for cannot be had.
    #[inline]
    pub fn map_sg_attrs<B: DmaMemory, D: Direction>(
        &self,
        buffer: B,
        direction: D,
        attributes: Attributes,
    ) -> Result<SgMapping<P, B, D>, Rejected<B>> {
        let terms = (Shape::Pieces, direction);
        Owned::establish(
            self,
            ManuallyDrop::new(buffer),
            terms,
            attributes,
            SgMapping::from_owned,
        )
    }
}

/// Memory in pieces that the device may use now. Owns the memory; `unmap` gives it back.
///
/// Forgetting a mapping leaks the memory, mapped. Dropping one unmaps it and drops the memory.
pub struct SgMapping<P: Platform, B: DmaMemory, D: Direction> {
    pub(super) owned: Owned<P, B, D>,
}

impl<P: Platform, B: DmaMemory, D: Direction> SgMapping<P, B, D> {
    /// Z: the pieces the device is told, in order; none longer than the device's
    /// [segment limit](Device::max_segment_bytes), none across its [boundary](Device::segment_boundary).
    pub fn segments(&self) -> impl Iterator<Item = BusRange> + '_ {
        let (live, buffer) = (self.owned.live(), self.owned.buffer());
        let core = live.held().core();
        let mut pieces = Pieces::of(buffer);
        let pieces = core::iter::from_fn(move || pieces.next_range());
        let runs = runs(&core.route, live.copies(), live.range(), pieces);
        let limits = &core.limits;
        segments(runs, limits.max_segment_bytes(), limits.segment_boundary())
    }

    /// Number of bytes.
    pub fn len_bytes(&self) -> u64 {
        self.owned.buffer().len_bytes()
    }

    /// X: where the memory is for the CPU, for printing; [`sync_for_cpu`](Self::sync_for_cpu) reaches it.
    pub fn virt(&self) -> VirtAddr {
        self.owned.buffer().virt()
    }

    /// The direction it was mapped in.
    pub fn direction(&self) -> D {
        self.owned.direction()
    }

    /// Whether syncs of this mapping do more than order memory accesses (`dma_need_sync`).
    pub fn need_sync(&self) -> bool {
        self.owned.need_sync()
    }

    /// Lets the CPU read or write the memory while the device is not using it (`dma_sync_sg_for_cpu`);
    /// dropping the view hands it back (`dma_sync_sg_for_device`).
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

    /// Takes the memory back (`dma_unmap_sg`).
    ///
    /// # Errors
    /// As [`Mapping::unmap`](crate::map::Mapping::unmap).
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

impl<P: Platform, B: DmaMemory, D: Direction> fmt::Debug for SgMapping<P, B, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "SgMapping({:?} {:?})",
            self.owned.live().range(),
            self.direction()
        )
    }
}
