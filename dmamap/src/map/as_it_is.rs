//! Memory that a device behind an IOMMU is given as it is, in one piece: nearly all that drivers map, so the way is short.
//!
//! What is decided here [`place`](super::place) decides too, for any memory, and comes to the same: it is asked wherever one of the
//! questions of [`gives_as_it_is`](DeviceCore::gives_as_it_is) has another answer.

use crate::addr::{BusRange, FRAME_SIZE_LOG2, PhysRange};
use crate::buffer::{DmaMemory, Frames};
use crate::device::DeviceCore;
use crate::iommu::Domain;
use crate::map::error::MapFailure;
use crate::map::establish::check;
use crate::map::place::asks_for_copies;
use crate::map::route::Route;
use crate::map::terms::{Shape, Terms};
use crate::map::translated;
use crate::platform::Platform;

/// What became of memory that was to be mapped as it is.
pub(super) enum AsItIs {
    /// The device reaches it there.
    Mapped(BusRange),
    /// It is not mapped, or [may be](crate::map::MapError::leaves_memory_reachable).
    Failed(MapFailure),
    /// It may have to be copied, or is in pieces. It was [checked](check), and nothing else was done.
    Undecided,
}

/// Maps `buffer`, `len_bytes` bytes of which `first` is the first piece, as it is, if that is how it is given.
#[inline]
pub(super) fn map_as_it_is<P: Platform, B: DmaMemory>(
    core: &DeviceCore<P>,
    buffer: &B,
    (first, len_bytes): (PhysRange, u64),
    terms: &Terms,
) -> AsItIs {
    if let Err(failure) = check(core, buffer, first, terms) {
        return AsItIs::Failed(failure);
    }
    let Some(domain) = core.gives_as_it_is(terms, first, len_bytes, buffer.frames()) else {
        return AsItIs::Undecided;
    };
    if core.system.is_asleep() {
        return AsItIs::Failed(MapFailure::Suspended);
    }
    match core.map_in_place(domain, terms, first) {
        Ok(range) => AsItIs::Mapped(range),
        Err(failure) => AsItIs::Failed(failure),
    }
}

impl<P: Platform> DeviceCore<P> {
    /// The domain that `len_bytes` bytes, of which `first` is the first piece, are mapped in as they are; `None` where the device
    /// may have to be given copies, or the memory is in pieces.
    #[inline]
    fn gives_as_it_is(
        &self,
        terms: &Terms,
        first: PhysRange,
        len_bytes: u64,
        frames: Frames,
    ) -> Option<&Domain<P>> {
        let Route::Translated(domain) = &self.route else {
            return None;
        };
        // Whole pages are the memory's own where frames are, and pages are no larger.
        let owns_pages = frames == Frames::Whole && domain.page_size_log2() == FRAME_SIZE_LOG2;
        let is_one_piece = first.len_bytes() == len_bytes && len_bytes != 0;
        // What is short is perhaps to be copied, though the memory itself would do.
        let is_copied = self.bounce.may_be_for_own(len_bytes) || asks_for_copies(terms);
        let may_be_it = terms.shape != Shape::AlignedBlock && !is_copied;
        (owns_pages && is_one_piece && may_be_it).then_some(domain)
    }

    #[inline]
    fn map_in_place(
        &self,
        domain: &Domain<P>,
        terms: &Terms,
        memory: PhysRange,
    ) -> Result<BusRange, MapFailure> {
        if terms.maintains(self.coherence) {
            self.clean_frames(memory);
        }
        translated::map_one(domain, &self.limits, terms, memory)
    }
}
