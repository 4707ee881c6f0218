//! Memory that a device behind an IOMMU is given as it is, in one piece: nearly all that drivers map, so the way is short.
//!
//! What is decided here [`place`](super::place) decides too, for any memory, and comes to the same: it is asked wherever one of the
//! questions of [`gives_as_it_is`](DeviceCore::gives_as_it_is) has another answer.

use crate::addr::{BusRange, FRAME_SIZE_LOG2, PhysRange};
use crate::buffer::{DmaMemory, Frames};
use crate::device::{DeviceCore, Held};
use crate::iommu::Domain;
use crate::map::asked::Asked;
use crate::map::error::{MapError, MapFailure};
use crate::map::establish::{check, not_established};
use crate::map::route::Route;
use crate::map::terms::{Shape, Terms};
use crate::map::translated;
use crate::platform::Platform;

/// What became of memory that was to be mapped as it is.
pub(super) enum AsItIs<P: Platform> {
    /// The device reaches it there.
    Mapped(Held<P>, BusRange),
    /// It is not mapped, or [may be](MapError::leaves_memory_reachable).
    Failed(MapError),
    /// It may have to be copied, or is in pieces. It was [checked](check), and nothing else was done.
    Undecided(Held<P>),
}

/// Maps `buffer` as it is, for a device that is held, if that is how it is given.
#[inline]
pub(super) fn map_as_it_is<P: Platform, B: DmaMemory>(
    held: Held<P>,
    buffer: &B,
    terms: &Terms,
) -> AsItIs<P> {
    let (core, len_bytes) = (held.core(), held.bytes());
    let first = buffer.segment(0);
    let mapped = match check(core, buffer, first, terms) {
        Err(failure) => Err(failure),
        Ok(()) => match core.gives_as_it_is(terms, first, len_bytes, buffer.frames()) {
            None => return AsItIs::Undecided(held),
            Some(_) if core.system.is_asleep() => Err(MapFailure::Suspended),
            Some(domain) => core.map_in_place(domain, terms, first),
        },
    };
    match mapped {
        Ok(range) => AsItIs::Mapped(held, range),
        Err(failure) => {
            let asked = Asked::from(first.start(), len_bytes);
            AsItIs::Failed(not_established(held, asked, failure))
        }
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
        let is_copied = self.bounce.own_for(len_bytes).is_some() || self.gives_copies_alone(terms);
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
        let terms = terms.within(&self.limits);
        if terms.maintains(self.coherence) {
            self.clean_frames(memory);
        }
        let placement = translated::place_one(FRAME_SIZE_LOG2, &terms, memory)?;
        translated::map_one(domain, &placement, memory, terms.grant())
    }
}
