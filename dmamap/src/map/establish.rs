//! Placing a mapping of many owners' pieces, or of nobody's, and taking it back: what lists and the raw layer have in common.

use crate::addr::BusRange;
use crate::device::{Device, DeviceCore, Held};
use crate::iommu::{Owed, RevokeError};
use crate::map::Attributes;
use crate::map::backing::Backing;
use crate::map::error::{MapError, MapFailure};
use crate::map::live::take_back;
use crate::map::place::{Memory, Placed};
use crate::map::terms::Terms;
use crate::platform::Platform;

/// Maps `memory`, which the caller has made ready for the device. The hold on the device counts the mapping. Where the
/// error [leaves the memory reachable](MapError::leaves_memory_reachable) it is the caller's to keep.
///
/// # Safety
/// That of [`DeviceCore::place`].
pub(crate) unsafe fn establish<P: Platform>(
    device: &Device<P>,
    terms: &Terms,
    memory: &mut Memory<'_>,
) -> Result<(Held<P>, Placed), MapError> {
    let len_bytes = memory.len_bytes;
    let held = Held::new(device, len_bytes);
    let core = held.core();
    if core.system.is_asleep() {
        held.withdraw();
        return Err(fail(device, MapFailure::Suspended));
    }
    // SAFETY: the caller's promise.
    match unsafe { core.place(terms, memory) } {
        Ok(placed) => Ok((held, placed)),
        Err(failure) => {
            held.withdraw();
            Err(fail(device, failure))
        }
    }
}

/// Takes back what was mapped at `range`. When this returns `Ok` the device reaches nothing through it but copies that it
/// always reaches; or it is trusted not to try.
pub(crate) fn revoke<P: Platform>(
    core: &DeviceCore<P>,
    range: BusRange,
    backing: &Backing,
    attributes: Attributes,
) -> Result<(), RevokeError> {
    match backing.is_always_mapped() {
        true => Ok(()),
        false => take_back(
            core,
            range,
            backing.revoked_with(attributes),
            Ok(Owed::NOTHING),
        ),
    }
}

pub(crate) fn fail<P: Platform>(device: &Device<P>, failure: MapFailure) -> MapError {
    MapError {
        device: device.requester(),
        failure,
    }
}
