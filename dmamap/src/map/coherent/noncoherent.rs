//! Cached memory that is mapped when it is allocated, and synced around each use (`dma_alloc_noncoherent`,
//! `dma_alloc_pages`).
//!
//! On a machine that does not snoop, coherent memory is uncached and slow to read. Where a driver knows whose turn it is, memory
//! that stays cached is better: physically contiguous, within the device's mask, and the CPU's between
//! [`sync_for_cpu`](Noncoherent::sync_for_cpu) and the end of the view it returns.
//!
//! ```
//! # use board as _;
//! use dmamap::device::Device;
//! use dmamap::map::FromDevice;
//!
//! # fn example<P: dmamap::platform::Platform>(device: &Device<P>) -> Result<(), Box<dyn std::error::Error>> {
//! let mut frame = device.alloc_noncoherent(64 << 10, FromDevice)?;
//! // … the device fills it at `frame.bus_addr()` …
//! let mut head = [0; 16];
//! frame.sync_for_cpu().read_at(0, &mut head)?;
//! frame.free()?;
//! # Ok(())
//! # }
//! ```

use core::fmt;

use super::CoherentError;
use crate::addr::{BusAddr, BusRange, VirtAddr};
use crate::buffer::DmaBuffer;
use crate::device::Device;
use crate::map::OutOfBounds;
use crate::map::direction::Direction;
use crate::map::error::Quarantined;
use crate::map::single::Mapping;
use crate::map::view::CpuView;
use crate::platform::Platform;

impl<P: Platform> Device<P> {
    /// Allocates at least `len_bytes` zeroed bytes of cached, physically contiguous memory within the device's
    /// [mask](Self::mask) and maps them (`dma_alloc_noncoherent`).
    ///
    /// # Errors
    /// [`CoherentError`].
    pub fn alloc_noncoherent<D: Direction>(
        &self,
        len_bytes: u64,
        direction: D,
    ) -> Result<Noncoherent<P, D>, CoherentError> {
        let failed = |failure| self.not_allocated(len_bytes, self.reach(), failure);
        let last = self.core().route.last_within(self.reach());
        let buffer = DmaBuffer::allocate_for_within(self, len_bytes, last)
            .map_err(|error| failed(error.into()))?;
        let mapping = self
            .map_single(buffer, direction)
            .map_err(|rejected| failed(rejected.error.failure.into()))?;
        Ok(Noncoherent { mapping })
    }
}

/// Cached memory that the device may use now. Dropping it unmaps it, then frees it.
pub struct Noncoherent<P: Platform, D: Direction> {
    mapping: Mapping<P, DmaBuffer<P>, D>,
}

impl<P: Platform, D: Direction> Noncoherent<P, D> {
    /// Z: what the device is told.
    pub fn bus_addr(&self) -> BusAddr {
        self.mapping.bus_addr()
    }

    /// All bus addresses of the memory.
    pub fn range(&self) -> BusRange {
        self.mapping.range()
    }

    /// Number of bytes.
    pub fn len_bytes(&self) -> u64 {
        self.mapping.len_bytes()
    }

    /// X: where the memory is for the CPU, for printing.
    pub fn virt(&self) -> VirtAddr {
        self.mapping.virt()
    }

    /// The direction it is used in.
    pub fn direction(&self) -> D {
        self.mapping.direction()
    }

    /// Whether syncs of this memory do more than order accesses (`dma_need_sync`).
    pub fn need_sync(&self) -> bool {
        self.mapping.need_sync()
    }

    /// Lets the CPU read or write the memory while the device is not using it (`dma_sync_single_for_cpu`); dropping the view
    /// hands it back (`dma_sync_single_for_device`).
    pub fn sync_for_cpu(&mut self) -> CpuView<'_, P, D> {
        self.mapping.sync_for_cpu()
    }

    /// As [`sync_for_cpu`](Self::sync_for_cpu), for `len_bytes` bytes from `offset` on only.
    ///
    /// # Errors
    /// [`OutOfBounds`] if they leave the memory.
    pub fn sync_range_for_cpu(
        &mut self,
        offset: u64,
        len_bytes: u64,
    ) -> Result<CpuView<'_, P, D>, OutOfBounds> {
        self.mapping.sync_range_for_cpu(offset, len_bytes)
    }

    /// Unmaps the memory and gives it back (`dma_free_noncoherent`). Dropping it does the same.
    ///
    /// # Errors
    /// [`Quarantined`] when the IOMMU did not confirm that the device lost it; it is kept then.
    pub fn free(self) -> Result<(), Quarantined> {
        self.mapping.unmap().map(drop)
    }
}

impl<P: Platform, D: Direction> fmt::Debug for Noncoherent<P, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Noncoherent({:?} {:?})", self.range(), self.direction())
    }
}
