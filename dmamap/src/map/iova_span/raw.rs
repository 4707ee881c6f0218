//! The span without owners, for a kernel's block layer: links are made and taken back by their offset.

use core::fmt;

use super::reserved::Reserved;
use crate::addr::{BusRange, FRAME_BYTES, PhysAddr, PhysRange};
use crate::device::Device;
use crate::map::error::{MapError, MapFailure, Quarantined};
use crate::map::terms::{Shape, Terms};
use crate::map::{AnyDirection, Asked, Attributes};
use crate::pagetable::Replay;
use crate::platform::Platform;

impl<P: Platform> Device<P> {
    /// Chooses bus addresses for `len_bytes` bytes, the first of which will be the one at `first` in memory
    /// (`dma_iova_try_alloc`). `None` where no IOMMU translates for the device: then each piece is mapped by itself.
    ///
    /// # Errors
    /// [`MapError`] where there are no such addresses, or `attributes` ask for what cannot be had.
    pub fn iova_try_alloc_raw(
        &self,
        first: PhysAddr,
        len_bytes: u64,
        direction: AnyDirection,
        attributes: Attributes,
    ) -> Result<Option<RawIovaSpan<P>>, MapError> {
        let terms = Terms::new(self.mask(), Shape::Pieces, direction).with(attributes);
        match Reserved::try_alloc(self, first, len_bytes, terms) {
            Ok(reserved) => Ok(Some(RawIovaSpan {
                reserved,
                linked_bytes: 0,
                direction,
            })),
            Err(MapError {
                failure: MapFailure::NotTranslated,
                ..
            }) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// Bus addresses of one device, to parts of which the caller links memory that it owns (`struct dma_iova_state`).
///
/// Dropping one leaks its addresses, and what is linked stays reachable: [`free`](Self::free) gives them back.
#[must_use = "dropping it leaks its bus addresses"]
pub struct RawIovaSpan<P: Platform> {
    reserved: Reserved<P>,
    linked_bytes: u64,
    direction: AnyDirection,
}

impl<P: Platform> RawIovaSpan<P> {
    /// All bus addresses of the span. The device may be told of those that were linked and synced.
    pub fn range(&self) -> BusRange {
        self.reserved
            .range(0, self.reserved.len_bytes())
            .expect("the whole is inside")
    }

    /// Bytes that are linked.
    pub fn linked_bytes(&self) -> u64 {
        self.linked_bytes
    }

    /// Links `memory` from byte `offset` of the span on (`dma_iova_link`). Nobody tells the device before
    /// [`sync`](Self::sync).
    ///
    /// # Errors
    /// [`MapError`]: [`MapFailure::InteriorEdge`] where a link would begin inside a page of the span,
    /// [`MapFailure::NotWholePages`] where one would lend parts of frames, of which the rest belongs to somebody else,
    /// [`MapFailure::OutsideSpan`], and the table's where something is linked there. Nothing is linked then.
    ///
    /// # Safety
    /// That of [`Device::map_phys`] for `memory`, until it is [unlinked](Self::unlink).
    pub unsafe fn link(&mut self, offset: u64, memory: PhysRange) -> Result<(), MapError> {
        let asked = Asked::from(memory.start(), memory.len_bytes());
        let ends = memory.start().as_u64() | memory.len_bytes();
        let failure = if memory.is_empty() {
            Some(MapFailure::Empty)
        } else if !ends.is_multiple_of(FRAME_BYTES) {
            Some(MapFailure::NotWholePages {
                memory,
                page_bytes: FRAME_BYTES,
            })
        } else {
            None
        };
        if let Some(failure) = failure {
            return Err(self.reserved.error(asked, failure));
        }
        let core = self.reserved.held().core();
        if self.maintains() {
            core.clean_cache(
                core.platform.frame_pointer(memory.start()),
                memory.len_bytes(),
            );
        }
        let mut list = Replay::new(core::iter::once(memory));
        self.reserved
            .link(offset, memory, memory.len_bytes(), &mut list)
            .map_err(|failure| self.reserved.error(asked, failure))?;
        self.linked_bytes += memory.len_bytes();
        Ok(())
    }

    /// Makes what was linked in `len_bytes` bytes from `offset` on visible to the device (`dma_iova_sync`).
    ///
    /// A unit that is told of mappings by requests joins neighbours in memory to one request, which it takes back as a whole:
    /// links that will be unlinked apart are synced apart.
    ///
    /// # Errors
    /// [`MapError`] for bytes outside the span, and when the unit did not confirm in time.
    pub fn sync(&mut self, offset: u64, len_bytes: u64) -> Result<(), MapError> {
        self.reserved
            .sync(offset, len_bytes)
            .map_err(|failure| self.reserved.error(Asked::bytes(len_bytes), failure))
    }

    /// Takes back whole links: what was linked in `len_bytes` bytes from `offset` on (`dma_iova_unlink`). When this returns
    /// `Ok` the device reaches none of it.
    ///
    /// # Errors
    /// [`Quarantined`] when the IOMMU did not confirm: the memory must be kept. Also, nothing having changed, when not all of it
    /// is linked, or a link or a large page would be split.
    ///
    /// # Safety
    /// Where memory was linked there, it is unlinked whole.
    pub unsafe fn unlink(&mut self, offset: u64, len_bytes: u64) -> Result<(), Quarantined> {
        let device = self.reserved.held().core().requester;
        let range = match self.reserved.range(offset, len_bytes) {
            Ok(range) => range,
            Err(_) => {
                let whole = self.range();
                let error = crate::iommu::RevokeError::OutsideSpan { span: whole };
                return Err(Quarantined {
                    device,
                    range: whole,
                    error,
                });
            }
        };
        let memory = match self.maintains() && self.direction.device_writes() {
            true => self.reserved.held().core().route.translate(range.start()),
            false => None,
        };
        if let Err(error) = self.reserved.unlink(range) {
            if !error.changed_nothing() {
                self.reserved.count_quarantined(len_bytes);
            }
            return Err(Quarantined {
                device,
                range,
                error,
            });
        }
        self.linked_bytes -= len_bytes;
        let core = self.reserved.held().core();
        if let Some((phys, _)) = memory {
            core.invalidate_cache(core.platform.frame_pointer(phys), len_bytes);
        }
        core.platform.dma_rmb();
        Ok(())
    }

    /// Gives the addresses back (`dma_iova_free`).
    ///
    /// # Errors
    /// The span, while something is linked to it.
    pub fn free(self) -> Result<(), Self> {
        match self.linked_bytes {
            0 => {
                self.reserved.free();
                Ok(())
            }
            _ => Err(self),
        }
    }

    fn maintains(&self) -> bool {
        let core = self.reserved.held().core();
        self.reserved.terms().maintains(core.coherence)
    }
}

impl<P: Platform> fmt::Debug for RawIovaSpan<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "RawIovaSpan({:?}, {:#x} bytes linked)",
            self.range(),
            self.linked_bytes
        )
    }
}
