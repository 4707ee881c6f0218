//! `map_sgtable`: a list of several owned buffers, lent to the device until `unmap`.
//!
//! Behind an IOMMU the list is one run of bus addresses. Pieces that begin and end on page boundaries lie side by side in
//! it and become one segment; any other piece has pages of its own, as nothing but its buffer's memory may be reached
//! through them. The list is the mapping's own, so it is unmapped and synced with as many pieces as it was mapped with.
#![expect(
    clippy::result_large_err,
    reason = "errors give memory back, and none may be allocated for them"
)]

use core::fmt;

use crate::addr::BusRange;
use crate::buffer::{DmaMemory, ScatterList};
use crate::device::Device;
use crate::iommu::Requester;
use crate::map::direction::Direction;
use crate::map::error::{Quarantined, Rejected};
use crate::map::list_view::ListView;
use crate::map::live_list::LiveList;
use crate::map::terms::{Shape, Terms};
use crate::map::{Attributes, OutOfBounds};
use crate::platform::Platform;

impl<P: Platform> Device<P> {
    /// Lends all pieces of `list` to the device until the mapping is unmapped (`dma_map_sgtable`).
    ///
    /// # Errors
    /// [`Rejected`] gives the list back; no piece is mapped then.
    pub fn map_sgtable<B: DmaMemory, D: Direction>(
        &self,
        list: ScatterList<B>,
        direction: D,
    ) -> Result<SgTableMapping<P, B, D>, Rejected<ScatterList<B>>> {
        self.map_sgtable_attrs(list, direction, Attributes::NONE)
    }

    /// As [`map_sgtable`](Self::map_sgtable), with more asked of the mapping.
    ///
    /// # Errors
    /// As [`map_sgtable`](Self::map_sgtable), and where what `attributes` ask for cannot be had.
    pub fn map_sgtable_attrs<B: DmaMemory, D: Direction>(
        &self,
        list: ScatterList<B>,
        direction: D,
        attributes: Attributes,
    ) -> Result<SgTableMapping<P, B, D>, Rejected<ScatterList<B>>> {
        let terms = Terms::new(self.mask(), Shape::Pieces, direction).with(attributes);
        let parts = LiveList::establish_owned(self, list, terms)?;
        Ok(SgTableMapping {
            parts: Some(parts),
            direction,
        })
    }
}

/// A list that the device may use now. Owns its memory; `unmap` gives it back.
///
/// Forgetting a mapping leaks the memory, mapped. Dropping one unmaps it and drops the memory.
pub struct SgTableMapping<P: Platform, B: DmaMemory, D: Direction> {
    /// `None` only while `unmap` or `drop` runs.
    parts: Option<(LiveList<P>, ScatterList<B>)>,
    direction: D,
}

impl<P: Platform, B: DmaMemory, D: Direction> SgTableMapping<P, B, D> {
    fn parts(&self) -> &(LiveList<P>, ScatterList<B>) {
        self.parts
            .as_ref()
            .expect("only `unmap` and `drop` take the parts")
    }

    /// The device it is mapped for.
    pub fn device(&self) -> Requester {
        self.parts().0.held().core().requester
    }

    /// Z: what the device is told, in order; no segment longer than the device's
    /// [segment limit](Device::max_segment_bytes), none across its [boundary](Device::segment_boundary).
    pub fn segments(&self) -> impl Iterator<Item = BusRange> + '_ {
        let (live, list) = self.parts();
        live.segments(list)
    }

    /// Z of each physically contiguous run of the list's pieces, in order, neither joined nor cut.
    pub fn runs(&self) -> impl Iterator<Item = BusRange> + '_ {
        let (live, list) = self.parts();
        live.runs(list)
    }

    /// Number of pieces.
    pub fn len(&self) -> usize {
        self.parts().1.len()
    }

    /// Whether there is none; never true of a list that could be mapped.
    pub fn is_empty(&self) -> bool {
        self.parts().1.is_empty()
    }

    /// Bytes of all pieces.
    pub fn len_bytes(&self) -> u64 {
        self.parts().1.len_bytes()
    }

    /// The direction it was mapped in.
    pub fn direction(&self) -> D {
        self.direction
    }

    /// Whether syncs of this mapping do more than order memory accesses (`dma_need_sync`).
    pub fn need_sync(&self) -> bool {
        self.parts().0.syncs().need_sync()
    }

    /// Lets the CPU read or write the memory while the device is not using it (`dma_sync_sgtable_for_cpu`); dropping the
    /// view hands it back (`dma_sync_sgtable_for_device`).
    pub fn sync_for_cpu(&mut self) -> ListView<'_, P, B, D> {
        let len_bytes = self.len_bytes();
        self.sync_range_for_cpu(0, len_bytes)
            .expect("the whole is inside")
    }

    /// As [`sync_for_cpu`](Self::sync_for_cpu), for `len_bytes` bytes from byte `offset` of the list on only.
    ///
    /// # Errors
    /// [`OutOfBounds`] if they leave the list.
    pub fn sync_range_for_cpu(
        &mut self,
        offset: u64,
        len_bytes: u64,
    ) -> Result<ListView<'_, P, B, D>, OutOfBounds> {
        let (live, list) = self
            .parts
            .as_mut()
            .expect("only `unmap` and `drop` take the parts");
        ListView::part(live.syncs(), list, offset, len_bytes)
    }

    /// Takes the memory back (`dma_unmap_sgtable`). When this returns the list the device cannot reach it any more.
    ///
    /// # Errors
    /// [`Quarantined`] when the IOMMU did not confirm that; the memory is then never used again.
    pub fn unmap(mut self) -> Result<ScatterList<B>, Quarantined> {
        let (live, list) = self
            .parts
            .take()
            .expect("only `unmap` and `drop` take the parts");
        live.revoke_owned(list)
    }
}

impl<P: Platform, B: DmaMemory, D: Direction> Drop for SgTableMapping<P, B, D> {
    fn drop(&mut self) {
        if let Some((live, list)) = self.parts.take()
            && let Err(error) = live.revoke_owned(list)
        {
            log::error!("{error}");
        }
    }
}

impl<P: Platform, B: DmaMemory, D: Direction> fmt::Debug for SgTableMapping<P, B, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (live, list) = self.parts();
        write!(
            f,
            "SgTableMapping({:?} {} pieces {:?})",
            live.range(),
            list.len(),
            self.direction
        )
    }
}
