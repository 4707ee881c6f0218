//! Memory that a device behind an IOMMU is given as it is: nearly all that drivers map, so the way is short.
//!
//! What is decided here [`place`](super::place) decides too, for any memory, and comes to the same: it is asked wherever one of the
//! questions of [`gives_as_it_is`](DeviceCore::gives_as_it_is) has another answer.

use crate::addr::{BusRange, FRAME_SIZE_LOG2, PhysRange};
use crate::buffer::{DmaMemory, Frames};
use crate::device::DeviceCore;
use crate::iommu::Domain;
use crate::map::error::MapFailure;
use crate::map::establish::check;
use crate::map::live::Pieces;
use crate::map::place::asks_for_copies;
use crate::map::route::Route;
use crate::map::terms::{Shape, Terms};
use crate::map::translated;
use crate::pagetable::PhysList;
use crate::platform::Platform;

/// What became of memory that was to be mapped as it is.
pub(super) enum AsItIs {
    /// The device reaches it there.
    Mapped(BusRange),
    /// It is not mapped, or [may be](crate::map::MapError::leaves_memory_reachable).
    Failed(MapFailure),
    /// It may have to be copied. It was [checked](check), and nothing else was done.
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
    if first.len_bytes() != len_bytes {
        let mut pieces = Pieces::of(buffer);
        let memory = (first, len_bytes);
        return map_pieces_as_they_are(core, &mut pieces, memory, buffer.frames(), *terms);
    }
    let mapped = match core.gives_as_it_is(terms, len_bytes, buffer.frames()) {
        Ok(domain) => core.map_in_place(domain, terms, first),
        Err(otherwise) => return otherwise,
    };
    AsItIs::of(mapped)
}

/// As [`map_as_it_is`], for `len_bytes` bytes in pieces, of which `first` is the first, whoever has checked them.
#[inline(never)]
pub(super) fn map_pieces_as_they_are<P: Platform, L: PhysList>(
    core: &DeviceCore<P>,
    pieces: &mut L,
    (first, len_bytes): (PhysRange, u64),
    frames: Frames,
    terms: Terms,
) -> AsItIs {
    match core.gives_as_it_is(&terms, len_bytes, frames) {
        Ok(domain) => AsItIs::of(core.map_pieces_in_place(domain, &terms, first, pieces)),
        Err(otherwise) => otherwise,
    }
}

impl AsItIs {
    #[inline]
    fn of(mapped: Result<BusRange, MapFailure>) -> Self {
        match mapped {
            Ok(range) => Self::Mapped(range),
            Err(failure) => Self::Failed(failure),
        }
    }
}

impl<P: Platform> DeviceCore<P> {
    /// The domain that `len_bytes` bytes are mapped in as they are.
    ///
    /// # Errors
    /// What becomes of them instead: undecided, where the device may have to be given copies.
    #[inline]
    fn gives_as_it_is(
        &self,
        terms: &Terms,
        len_bytes: u64,
        frames: Frames,
    ) -> Result<&Domain<P>, AsItIs> {
        let Route::Translated(domain) = &self.route else {
            return Err(AsItIs::Undecided);
        };
        // Whole pages are the memory's own where frames are, and pages are no larger.
        let owns_pages = frames == Frames::Whole && domain.page_size_log2() == FRAME_SIZE_LOG2;
        // What is short is perhaps to be copied, though the memory itself would do.
        let is_copied = self.bounce.may_be_for_own(len_bytes) || asks_for_copies(terms);
        let may_be_it = terms.shape != Shape::AlignedBlock && !is_copied;
        if !owns_pages || len_bytes == 0 || !may_be_it {
            return Err(AsItIs::Undecided);
        }
        match self.system.is_asleep() {
            true => Err(AsItIs::Failed(MapFailure::Suspended)),
            false => Ok(domain),
        }
    }

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

    fn map_pieces_in_place<L: PhysList>(
        &self,
        domain: &Domain<P>,
        terms: &Terms,
        first: PhysRange,
        pieces: &mut L,
    ) -> Result<BusRange, MapFailure> {
        if terms.maintains(self.coherence) {
            pieces.restart();
            while let Some(piece) = pieces.next_range() {
                self.clean_frames(piece);
            }
        }
        if let Some(range) = translated::map_few(domain, &self.limits, terms, pieces) {
            return Ok(range);
        }
        let terms = terms.within(&self.limits);
        let place = translated::place(FRAME_SIZE_LOG2, &terms, first, pieces)?;
        translated::map(domain, place, pieces, terms.grant())
    }
}
