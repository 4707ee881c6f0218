//! `map_sg`: memory in pieces, lent to the device until `unmap`.
//!
//! Behind an IOMMU the pieces lie side by side on the bus, in front of nothing each where memory has it;
//! [`SgMapping::segments`] tells either. The list the caller mapped is the mapping's own, so it cannot be
//! unmapped or synced with another count of entries.

use core::fmt;

use crate::addr::{BusRange, VirtAddr};
use crate::buffer::DmaMemory;
use crate::device::Device;
use crate::map::OutOfBounds;
use crate::map::direction::Direction;
use crate::map::error::{Quarantined, Rejected};
use crate::map::live::{Live, Shape};
use crate::map::route::Route;
use crate::map::segments::segments;
use crate::map::view::CpuView;
use crate::platform::Platform;

impl<P: Platform> Device<P> {
    /// Lends `buffer`, in however many physical pieces it is, to the device until the mapping is unmapped
    /// (`dma_map_sg`).
    ///
    /// # Errors
    /// [`Rejected`] gives the buffer back; no piece is mapped then.
    pub fn map_sg<B: DmaMemory, D: Direction>(
        &self,
        buffer: B,
        direction: D,
    ) -> Result<SgMapping<P, B, D>, Rejected<B>> {
        let mask = self.mask();
        let permission = direction.permission();
        let parts = Live::establish_owned(self, buffer, mask, Shape::Pieces, permission)?;
        Ok(SgMapping {
            parts: Some(parts),
            direction,
        })
    }
}

/// Memory in pieces that the device may use now. Owns the memory; `unmap` gives it back.
///
/// Forgetting a mapping leaks the memory, mapped. Dropping one unmaps it and drops the memory.
pub struct SgMapping<P: Platform, B: DmaMemory, D: Direction> {
    /// `None` only while `unmap` or `drop` runs.
    parts: Option<(Live<P>, B)>,
    direction: D,
}

impl<P: Platform, B: DmaMemory, D: Direction> SgMapping<P, B, D> {
    fn parts(&self) -> &(Live<P>, B) {
        self.parts
            .as_ref()
            .expect("only `unmap` and `drop` take the parts")
    }

    /// Z: the pieces the device is told, in order; none longer than the device's
    /// [segment limit](Device::max_segment_bytes).
    pub fn segments(&self) -> impl Iterator<Item = BusRange> + '_ {
        let (live, buffer) = self.parts();
        let core = live.held().core();
        let run_at = move |offset| match &core.route {
            Route::Direct(direct) => {
                let piece = buffer.segment(offset);
                if piece.is_empty() {
                    None
                } else {
                    direct.bus_range(piece)
                }
            }
            Route::Blocked | Route::Translated(_) => {
                let left = live.range().len_bytes().checked_sub(offset)?;
                live.range()
                    .slice(offset, left)
                    .filter(|run| !run.is_empty())
            }
        };
        segments(run_at, core.max_segment_bytes())
    }

    /// Number of bytes.
    pub fn len_bytes(&self) -> u64 {
        self.parts().1.len_bytes()
    }

    /// X: where the memory is for the CPU, for printing; [`sync_for_cpu`](Self::sync_for_cpu) reaches it.
    pub fn virt(&self) -> VirtAddr {
        self.parts().1.virt()
    }

    /// The direction it was mapped in.
    pub fn direction(&self) -> D {
        self.direction
    }

    /// Whether syncs of this mapping do more than order memory accesses (`dma_need_sync`).
    pub fn need_sync(&self) -> bool {
        CpuView::<P, D>::needed(&self.parts().0)
    }

    /// Lets the CPU read or write the memory while the device is not using it (`dma_sync_sg_for_cpu`);
    /// dropping the view hands it back (`dma_sync_sg_for_device`).
    pub fn sync_for_cpu(&mut self) -> CpuView<'_, P, D> {
        let (live, buffer) = self
            .parts
            .as_mut()
            .expect("only `unmap` and `drop` take the parts");
        CpuView::whole(live, buffer)
    }

    /// As [`sync_for_cpu`](Self::sync_for_cpu), for `len_bytes` bytes from `offset` on only.
    ///
    /// # Errors
    /// [`OutOfBounds`] if they leave the mapping.
    pub fn sync_range_for_cpu(
        &mut self,
        offset: u64,
        len_bytes: u64,
    ) -> Result<CpuView<'_, P, D>, OutOfBounds> {
        let (live, buffer) = self
            .parts
            .as_mut()
            .expect("only `unmap` and `drop` take the parts");
        CpuView::part(live, buffer, offset, len_bytes)
    }

    /// Takes the memory back (`dma_unmap_sg`).
    ///
    /// # Errors
    /// As [`Mapping::unmap`](crate::map::Mapping::unmap).
    pub fn unmap(mut self) -> Result<B, Quarantined> {
        let (live, buffer) = self
            .parts
            .take()
            .expect("only `unmap` and `drop` take the parts");
        live.revoke_owned(buffer)
    }
}

impl<P: Platform, B: DmaMemory, D: Direction> Drop for SgMapping<P, B, D> {
    fn drop(&mut self) {
        if let Some((live, buffer)) = self.parts.take()
            && let Err(error) = live.revoke_owned(buffer)
        {
            log::error!("{error}");
        }
    }
}

impl<P: Platform, B: DmaMemory, D: Direction> fmt::Debug for SgMapping<P, B, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "SgMapping({:?} {:?})",
            self.parts().0.range(),
            self.direction
        )
    }
}
