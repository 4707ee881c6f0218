//! The span without owners, for a kernel's block layer: links are made and taken back by their offset.

mod unlink;

use core::fmt;

use super::reserved::Reserved;
use crate::addr::{BusRange, PhysAddr, PhysRange};
use crate::buffer::Frames;
use crate::device::Device;
use crate::map::backing::Backing;
use crate::map::error::{MapError, MapFailure};
use crate::map::place::{Contents, Memory};
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
                ragged_end: None,
                backing: Backing::InPlace,
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
    /// Where in the span the link ends that ends inside a page: no other link may lie behind it.
    ragged_end: Option<u64>,
    /// The copies among what is linked: of the bytes from the span's first on, and of those up to the ragged end. The table
    /// does not tell of them for as long as they are lent: it goes when the device is detached.
    backing: Backing,
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
    /// [`sync`](Self::sync). Links begin and end with pages, but for where the span begins and one link that is the last. A
    /// device that was [trusted](crate::system::DmaSystem::attach_trusted) reaches every byte of the frames a link touches,
    /// any other is given copies of what lies in pages that the link does not cover.
    ///
    /// # Errors
    /// [`MapError`]: [`MapFailure::InteriorEdge`] where a link would begin inside a page of the span, or lie behind one that
    /// ends inside one, [`MapFailure::OutsideSpan`], those of copies, and the table's where something is linked there. Nothing
    /// is linked then.
    ///
    /// # Safety
    /// That of [`Device::map_phys`] for `memory`, until it is [unlinked](Self::unlink).
    pub unsafe fn link(&mut self, offset: u64, memory: PhysRange) -> Result<(), MapError> {
        let asked = Asked::from(memory.start(), memory.len_bytes());
        let failed = |failure| Err(self.reserved.error(asked, failure));
        if memory.is_empty() {
            return failed(MapFailure::Empty);
        }
        // Before anything is added to an offset that may be any.
        if let Err(outside) = self.reserved.range(offset, memory.len_bytes()) {
            return failed(MapFailure::OutsideSpan(outside));
        }
        let end = offset + memory.len_bytes();
        let ends_inside = !self.reserved.is_page_end(end);
        match self.ragged_end {
            Some(last) if ends_inside || end > last => {
                return failed(MapFailure::InteriorEdge {
                    memory,
                    offset,
                    page_bytes: self.reserved.page_bytes(),
                });
            }
            Some(_) | None => {}
        }
        let mut memory = Memory {
            first: memory,
            len_bytes: memory.len_bytes(),
            pieces: &mut Replay::new(core::iter::once(memory)),
            contents: Contents::AsLent,
            frames: Frames::Shared,
        };
        // SAFETY: the caller says that the memory is RAM, allocated, and not written by references.
        let linked = unsafe { self.reserved.link(offset, &mut memory) };
        let backing = linked.map_err(|failure| self.reserved.error(asked, failure))?;
        let before = core::mem::replace(&mut self.backing, Backing::InPlace);
        self.backing = before.followed_by(backing);
        self.linked_bytes += memory.len_bytes;
        if ends_inside {
            self.ragged_end = Some(end);
        }
        Ok(())
    }

    /// Makes what was linked in `len_bytes` bytes from `offset` on visible to the device (`dma_iova_sync`).
    ///
    /// A unit that is told of mappings by requests joins neighbours in memory to one request, which it takes back as a whole:
    /// links that will be unlinked apart are synced apart.
    ///
    /// The CPU's turns at what is linked are those of this layer, at the bus addresses of links without gaps between them
    /// ([`Device::sync_raw_range_for_cpu`]).
    ///
    /// # Errors
    /// [`MapError`] for bytes outside the span, and when the unit did not confirm in time.
    pub fn sync(&mut self, offset: u64, len_bytes: u64) -> Result<(), MapError> {
        self.reserved
            .sync(offset, len_bytes)
            .map_err(|failure| self.reserved.error(Asked::bytes(len_bytes), failure))
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
