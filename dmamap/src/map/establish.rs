//! Asking a device's route for bus addresses, and giving them back: what every mapping of many owners' pieces has in common.

use crate::addr::{BusRange, PhysRange};
use crate::device::{Device, Held};
use crate::map::error::{MapError, MapFailure, Quarantined};
use crate::map::terms::Terms;
use crate::pagetable::PhysList;
use crate::platform::Platform;

/// Maps the `len_bytes` bytes of the pieces in `list`, the first of which is `first`; `prepare` is called before the device
/// can reach them. The hold on the device counts the mapping.
pub(crate) fn establish<P: Platform>(
    device: &Device<P>,
    terms: Terms,
    first: PhysRange,
    len_bytes: u64,
    list: &mut dyn PhysList,
    prepare: impl FnOnce(&mut dyn PhysList),
) -> Result<(Held<P>, BusRange), MapError> {
    let held = Held::new(device, len_bytes);
    let core = held.core();
    let terms = terms.within(&core.limits);
    let outcome = terms.check_coherence(core.coherence).and_then(|()| {
        prepare(list);
        core.route.map(&terms, first, len_bytes, list)
    });
    match outcome {
        Ok(range) => Ok((held, range)),
        Err(failure) => {
            let error = fail(device, failure);
            if error.leaves_memory_reachable() {
                core.count_quarantined(len_bytes);
            }
            held.withdraw();
            Err(error)
        }
    }
}

/// Takes back what [`establish`] mapped at `range`.
pub(crate) fn revoke<P: Platform>(
    held: &Held<P>,
    range: BusRange,
    len_bytes: u64,
) -> Result<(), Quarantined> {
    let core = held.core();
    core.route.unmap(range).map_err(|error| {
        core.count_quarantined(len_bytes);
        Quarantined {
            device: core.requester,
            range,
            error,
        }
    })
}

pub(crate) fn fail<P: Platform>(device: &Device<P>, failure: MapFailure) -> MapError {
    MapError {
        device: device.requester(),
        failure,
    }
}
