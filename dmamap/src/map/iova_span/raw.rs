//! The span without owners, for a kernel's block layer: links are made and taken back by their offset.

use core::fmt;

use super::reserved::Reserved;
use crate::addr::{BusRange, PhysAddr, PhysRange};
use crate::buffer::Frames;
use crate::device::Device;
use crate::iommu::RevokeError;
use crate::map::attributes::CpuSync;
use crate::map::error::{MapError, MapFailure, Quarantined};
use crate::map::place::{Contents, Memory};
use crate::map::terms::{Shape, Terms};
use crate::map::{AnyDirection, Asked, Attributes};
use crate::pagetable::{Replay, UnmapError};
use crate::platform::Platform;

/// Pieces of memory that are noted while they are taken back: with more than that a unit is waited for more than once.
const PIECES_AT_ONCE: usize = 32;

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
        let end = offset.saturating_add(memory.len_bytes());
        let ends_inside = !self.reserved.is_page_end(end);
        let failure = match self.ragged_end {
            _ if memory.is_empty() => Some(MapFailure::Empty),
            Some(last) if ends_inside || end > last => Some(MapFailure::InteriorEdge {
                memory,
                offset,
                page_bytes: self.reserved.page_bytes(),
            }),
            Some(_) | None => None,
        };
        if let Some(failure) = failure {
            return Err(self.reserved.error(asked, failure));
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
        // Copies are found again by the addresses they are linked to.
        linked.map_err(|failure| self.reserved.error(asked, failure))?;
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

    /// Takes back whole links: what was linked in `len_bytes` bytes from `offset` on (`dma_iova_unlink`). When this returns
    /// `Ok` the device reaches none of it, and what it wrote is in the memory.
    ///
    /// # Errors
    /// [`Quarantined`] when the IOMMU did not confirm: the memory must be kept. Also, nothing having changed, when not all of it
    /// is linked, or a link or a large page would be split; but where the device does not snoop and writes more than a few
    /// pieces of memory, what lies before a page that would be split is unlinked.
    ///
    /// # Safety
    /// Where memory was linked there, it is unlinked whole, and there are no gaps between links.
    pub unsafe fn unlink(&mut self, offset: u64, len_bytes: u64) -> Result<(), Quarantined> {
        let device = self.reserved.held().core().requester;
        let refused = |range, error| Quarantined {
            device,
            range,
            error,
        };
        let Ok(range) = self.reserved.range(offset, len_bytes) else {
            let span = self.range();
            return Err(refused(span, RevokeError::OutsideSpan { span }));
        };
        let pages = self
            .pages_of_links(offset, range)
            .map_err(|error| refused(range, error))?;
        let backing = self.reserved.held().core().backing_of(range);
        let writes = self.direction.device_writes();
        let outcome = match self.maintains() && writes {
            true => self.unlink_by_pieces(range),
            false => self.unlink_at_once(pages, len_bytes),
        };
        let core = self.reserved.held().core();
        if let Err(error) = outcome {
            if !error.changed_nothing() {
                self.reserved.count_quarantined(len_bytes);
                core.keep_copies_from_use(backing, error);
            }
            return Err(refused(range, error));
        }
        if self.ragged_end == Some(offset + len_bytes) {
            self.ragged_end = None;
        }
        let core = self.reserved.held().core();
        core.platform.dma_rmb();
        if writes && self.reserved.terms().attributes.cpu_sync == CpuSync::Automatic {
            for run in backing.runs() {
                let memory = core.platform.frame_pointer(run.origin());
                // SAFETY: all of the copy, and of what it stood in for, which the caller says is allocated until this returns
                // and not referred to.
                unsafe { run.copy_out(core.platform, 0, memory, run.len_bytes()) };
            }
        }
        // SAFETY: the units confirmed that the device lost the links.
        unsafe { backing.release(core) };
        Ok(())
    }

    /// The pages of what is linked at `range`, which begins at `offset`, if it begins and ends where links may.
    fn pages_of_links(&self, offset: u64, range: BusRange) -> Result<BusRange, RevokeError> {
        let end = offset + range.len_bytes();
        let pages = self.reserved.pages_of(range);
        let begins = offset == 0 || pages.start() == range.start();
        let ends = match self.ragged_end {
            Some(last) if self.reserved.reaches(pages, last) => end == last,
            Some(_) | None => self.reserved.is_page_end(end),
        };
        match begins && ends {
            true => Ok(pages),
            false => Err(UnmapError::Misaligned {
                range,
                granule_bytes: self.reserved.page_bytes(),
            }
            .into()),
        }
    }

    fn unlink_at_once(&mut self, pages: BusRange, len_bytes: u64) -> Result<(), RevokeError> {
        self.reserved.unlink(pages)?;
        self.linked_bytes = self.linked_bytes.saturating_sub(len_bytes);
        Ok(())
    }

    /// Takes back what is linked at `range`, and lets the CPU see what the device wrote there, when the device has lost it:
    /// where it is can be asked only before. What lies in more pieces than there is room to note is taken back in parts.
    fn unlink_by_pieces(&mut self, range: BusRange) -> Result<(), RevokeError> {
        let mut left = range;
        // Where not all is linked nothing is taken.
        let core = self.reserved.held().core();
        let all_linked = core.each_piece_behind(range, |_| {}).is_ok();
        while !left.is_empty() {
            let core = self.reserved.held().core();
            let mut pieces = [None; PIECES_AT_ONCE];
            let mut len_bytes = 0;
            for slot in &mut pieces {
                let rest = left.slice(len_bytes, left.len_bytes() - len_bytes);
                *slot = rest.and_then(|rest| match rest.is_empty() || !all_linked {
                    true => None,
                    false => core.piece_at_start_of(rest),
                });
                len_bytes += slot.map_or(0, |piece: PhysRange| piece.len_bytes());
            }
            if len_bytes == 0 {
                // The table says what is missing; or the device was detached, and nothing is linked any more.
                len_bytes = left.len_bytes();
            }
            let part = left.slice(0, len_bytes).expect("pieces of it");
            let rest = left.slice(len_bytes, left.len_bytes() - len_bytes);
            let rest = rest.expect("what follows a part");
            if let Err(error) = self.unlink_at_once(self.reserved.pages_of(part), len_bytes) {
                // The memory is kept: the device may as well lose the rest.
                return Err(match rest.is_empty() || error.changed_nothing() {
                    true => error,
                    false => match self.reserved.unlink(self.reserved.pages_of(rest)) {
                        Ok(()) => error,
                        Err(other) => error.or_graver(other),
                    },
                });
            }
            let core = self.reserved.held().core();
            for memory in pieces.into_iter().flatten() {
                let start = core.platform.frame_pointer(memory.start());
                core.invalidate_cache(start, memory.len_bytes());
            }
            left = rest;
        }
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
