//! Placing a mapping of one owner's memory, of many owners' pieces, or of nobody's, and taking it back: what all have in
//! common.

use core::mem::ManuallyDrop;

use crate::addr::{BusRange, DmaMask, PhysAddr, PhysRange};
use crate::buffer::DmaMemory;
use crate::device::{Device, DeviceCore, Held, Revocation};
use crate::iommu::{Owed, RevokeError};
use crate::map::Attributes;
use crate::map::asked::Asked;
use crate::map::backing::Backing;
use crate::map::copies::Copies;
use crate::map::earlier::both;
use crate::map::error::{MapError, MapFailure, Rejected};
use crate::map::place::{Memory, Placed};
use crate::map::route::WayBack;
use crate::map::terms::{Shape, Terms};
use crate::platform::Platform;

/// Maps `memory`, which the caller has made ready for the device that is held. The hold counts the mapping. Where the
/// error [leaves the memory reachable](MapError::leaves_memory_reachable) it is the caller's to keep.
///
/// # Safety
/// That of [`DeviceCore::place`].
pub(crate) unsafe fn establish<P: Platform>(
    held: Held<P>,
    terms: &Terms,
    memory: &mut Memory<'_>,
) -> Result<(Held<P>, Placed), MapError> {
    let core = held.core();
    let placed = match core.system.is_asleep() {
        true => Err(MapFailure::Suspended),
        // SAFETY: the caller's promise.
        false => unsafe { core.place(terms, memory) },
    };
    match placed {
        Ok(placed) => Ok((held, placed)),
        Err(failure) => {
            let asked = Asked::from(memory.first.start(), memory.len_bytes);
            Err(not_established(held, asked, failure))
        }
    }
}

/// The error of a mapping that did not come to be, and leaves no hold.
#[cold]
pub(crate) fn not_established<P: Platform>(
    held: Held<P>,
    asked: Asked,
    failure: MapFailure,
) -> MapError {
    let error = held.core().not_mapped(asked, failure);
    held.withdraw();
    error
}

/// Takes back what was mapped at `range`, and what is `owed` of earlier mappings of the memory, if it was mapped before. When this
/// returns `Ok` the device reaches nothing through them but copies that it always reaches; or it is trusted not to try.
///
/// # Safety
/// `range` is what was returned when it was mapped, and this is the first call that takes it back.
#[inline]
pub(crate) unsafe fn revoke<P: Platform>(
    core: &DeviceCore<P>,
    mut way: impl WayBack,
    range: BusRange,
    copies: Copies,
    attributes: Attributes,
    owed: Option<Result<Owed, RevokeError>>,
) -> Result<(), RevokeError> {
    if copies.are_always_mapped() {
        // What was retired earlier is still to be lost.
        return match owed {
            Some(owed) => owed.and_then(|owed| core.route.flush_through(owed)),
            None => Ok(()),
        };
    }
    match (core.guard.revocation(copies.revoked_with(attributes)), owed) {
        // SAFETY: the caller's promise.
        (Revocation::Alone, None) => unsafe { way.unmap(range) },
        // SAFETY: the caller's promise.
        (Revocation::Later, None) => unsafe { way.retire(range) }.map(|_| ()),
        (how, owed) => {
            // SAFETY: the caller's promise.
            let retired = unsafe { way.retire(range) };
            revoke_by_flush(core, retired, how, owed)
        }
    }
}

/// As [`revoke`], of what was `retired`.
#[inline(never)]
fn revoke_by_flush<P: Platform>(
    core: &DeviceCore<P>,
    retired: Result<Owed, RevokeError>,
    how: Revocation,
    owed: Option<Result<Owed, RevokeError>>,
) -> Result<(), RevokeError> {
    let owed = match owed {
        Some(earlier) => both(earlier, retired),
        None => retired,
    }?;
    match how {
        Revocation::Alone | Revocation::Shared => core.route.flush_through(owed),
        Revocation::Later => Ok(()),
    }
}

/// Whether `buffer`, whose first piece is `first`, may be mapped as `terms` say: the memory is this machine's, in as few pieces as
/// they allow, and as coherent as they ask.
#[inline]
pub(crate) fn check<P: Platform, B: DmaMemory>(
    core: &DeviceCore<P>,
    buffer: &B,
    first: PhysRange,
    terms: &Terms,
) -> Result<(), MapFailure> {
    check_owner(core, buffer, first)?;
    let in_one_piece = match terms.shape {
        Shape::Single => true,
        Shape::AlignedBlock => !core.route.joins_pieces(),
        Shape::Pieces => false,
    };
    match in_one_piece && first.len_bytes() != buffer.len_bytes() {
        true => Err(MapFailure::NotContiguous { first }),
        false => terms.check_coherence(core.coherence),
    }
}

/// Memory of another machine, or that no machine lent, is told by where this one's CPU sees it: `first` is its first piece.
#[inline]
pub(crate) fn check_owner<P: Platform, B: DmaMemory>(
    core: &DeviceCore<P>,
    buffer: &B,
    first: PhysRange,
) -> Result<(), MapFailure> {
    match core.platform.virt_to_phys(buffer.virt()) {
        Some(phys) if phys == first.start() => Ok(()),
        phys => check_pool(core, buffer, first, phys),
    }
}

/// As [`check_owner`], of memory whose first byte the platform says is at `phys`, which it is not.
#[cold]
fn check_pool<P: Platform, B: DmaMemory>(
    core: &DeviceCore<P>,
    buffer: &B,
    first: PhysRange,
    phys: Option<PhysAddr>,
) -> Result<(), MapFailure> {
    match phys {
        // Memory that the platform does not lend: the pool's, where the platform has a pointer to it.
        None if core.bounce.shared.was_given(first)
            && core.platform.frame_pointer(first.start()) == buffer.pointer() =>
        {
            Ok(())
        }
        _ => Err(MapFailure::NotDmaMemory {
            virt: buffer.virt(),
        }),
    }
}

impl<P: Platform> DeviceCore<P> {
    /// The error of a mapping of `asked` for this device.
    pub(crate) fn not_mapped(&self, asked: Asked, failure: MapFailure) -> MapError {
        let limit = self.limits.bus_last();
        // Whoever looked compared with the narrower of the two.
        let failure = match failure {
            MapFailure::BeyondMask { range, mask }
                if mask.last() == limit && limit < DmaMask::ALL.last() =>
            {
                MapFailure::BeyondPath { range, limit }
            }
            failure => failure,
        };
        MapError {
            device: self.requester,
            asked,
            failure,
        }
    }

    /// What becomes of `owner`, `len_bytes` bytes of which could not be mapped as `error` says: it comes back, or goes into
    /// quarantine where the device may reach it.
    pub(crate) fn rejected<B: Send + 'static>(
        &self,
        error: MapError,
        owner: ManuallyDrop<B>,
        len_bytes: u64,
    ) -> Rejected<B> {
        let buffer = match error.undo() {
            Some(undo) => {
                self.keep_from_use(owner, len_bytes, Backing::InPlace, undo);
                None
            }
            None => Some(ManuallyDrop::into_inner(owner)),
        };
        Rejected { error, buffer }
    }
}

pub(crate) fn fail<P: Platform>(device: &Device<P>, asked: Asked, failure: MapFailure) -> MapError {
    device.core().not_mapped(asked, failure)
}
