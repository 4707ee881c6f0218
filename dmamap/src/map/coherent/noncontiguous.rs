//! Memory in one piece for the device and for the CPU, and in whatever frames there are (`dma_alloc_noncontiguous`).
//!
//! What cameras and displays need: tens of megabytes that no platform has in a row. Behind an IOMMU the frames may lie
//! anywhere, and the device sees one segment; without one they are in a row. The CPU sees them side by side
//! ([`vmap`](Noncontiguous::vmap)). The memory is cached: syncs stand around each use.
//!
//! ```
//! # use board as _;
//! use dmamap::device::Device;
//! use dmamap::map::FromDevice;
//!
//! # fn example<P: dmamap::platform::Platform>(device: &Device<P>) -> Result<(), Box<dyn std::error::Error>> {
//! let mut picture = device.alloc_noncontiguous(8 << 20, FromDevice)?;
//! // … the device fills `picture.range()`, one run of bus addresses …
//! let mut pixel = [0; 4];
//! picture.vmap().read_at(0x12_3450, &mut pixel)?;
//! picture.free()?;
//! # Ok(())
//! # }
//! ```

use core::fmt;
use core::mem::ManuallyDrop;

use super::CoherentError;
use super::memory::Frames;
use crate::addr::{BusAddr, BusRange, PhysRange, VirtAddr};
use crate::buffer::DmaMemory;
use crate::device::Device;
use crate::map::direction::Direction;
use crate::map::error::Quarantined;
use crate::map::owned::Owned;
use crate::map::terms::Shape;
use crate::map::view::CpuView;
use crate::map::{Attributes, OutOfBounds};
use crate::platform::Platform;

impl<P: Platform> Device<P> {
    /// Allocates at least `len_bytes` zeroed bytes of cached memory that are one segment for the device, within its
    /// [mask](Self::mask), whatever frames they are in, and maps them (`dma_alloc_noncontiguous`).
    ///
    /// The segment may be longer than [`max_segment_bytes`](Self::max_segment_bytes), which is what lists are cut to.
    ///
    /// # Errors
    /// [`CoherentError`].
    pub fn alloc_noncontiguous<D: Direction>(
        &self,
        len_bytes: u64,
        direction: D,
    ) -> Result<Noncontiguous<P, D>, CoherentError> {
        let failed = |failure| self.not_allocated(len_bytes, self.reach(), failure);
        let frames = Frames::allocate_noncontiguous(self, len_bytes)
            .map_err(|error| failed(error.into()))?;
        let owned = Owned::establish(
            self,
            ManuallyDrop::new(frames),
            (Shape::Pieces, direction),
            Attributes::NONE,
            |owned| owned,
        )
        .map_err(|rejected| failed(rejected.error.failure.into()))?;
        Ok(Noncontiguous { owned })
    }
}

/// Memory in one piece for the device. Dropping it unmaps it, then frees it.
pub struct Noncontiguous<P: Platform, D: Direction> {
    owned: Owned<P, Frames<P>, D>,
}

impl<P: Platform, D: Direction> Noncontiguous<P, D> {
    /// Z: what the device is told.
    pub fn bus_addr(&self) -> BusAddr {
        self.range().start()
    }

    /// All bus addresses of the memory: one segment.
    pub fn range(&self) -> BusRange {
        self.owned.live().range()
    }

    /// Number of bytes.
    pub fn len_bytes(&self) -> u64 {
        self.owned.buffer().len_bytes()
    }

    /// X: where the memory is for the CPU, for printing.
    pub fn virt(&self) -> VirtAddr {
        self.owned.buffer().virt()
    }

    /// Y: the physical pieces the memory is in, in order, for printing.
    pub fn pieces(&self) -> impl Iterator<Item = PhysRange> + '_ {
        let buffer = self.owned.buffer();
        let mut offset = 0;
        core::iter::from_fn(move || {
            let piece = buffer.segment(offset);
            offset += piece.len_bytes();
            (!piece.is_empty()).then_some(piece)
        })
    }

    /// The direction it is used in.
    pub fn direction(&self) -> D {
        self.owned.direction()
    }

    /// Whether syncs of this memory do more than order accesses (`dma_need_sync`).
    pub fn need_sync(&self) -> bool {
        self.owned.need_sync()
    }

    /// The CPU's view of all of the memory, side by side (`dma_vmap_noncontiguous`), while the device is not using it;
    /// dropping the view hands it back.
    pub fn vmap(&mut self) -> CpuView<'_, P, D> {
        self.owned.sync_for_cpu()
    }

    /// As [`vmap`](Self::vmap), for `len_bytes` bytes from `offset` on only (`dma_sync_sgtable_for_cpu` of a part).
    ///
    /// # Errors
    /// [`OutOfBounds`] if they leave the memory.
    pub fn sync_range_for_cpu(
        &mut self,
        offset: u64,
        len_bytes: u64,
    ) -> Result<CpuView<'_, P, D>, OutOfBounds> {
        self.owned.sync_range_for_cpu(offset, len_bytes)
    }

    /// Unmaps the memory and gives it back (`dma_free_noncontiguous`). Dropping it does the same.
    ///
    /// # Errors
    /// [`Quarantined`] when the IOMMU did not confirm that the device lost it; it is kept then.
    pub fn free(self) -> Result<(), Quarantined> {
        self.owned.unmap().map(drop)
    }
}

impl<P: Platform, D: Direction> fmt::Debug for Noncontiguous<P, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Noncontiguous({:?} {:?})",
            self.range(),
            self.direction()
        )
    }
}
