//! Cache maintenance for mappings that know physical addresses and no pointers: those of the raw layer.

use crate::addr::{BusAddr, BusRange, FRAME_BYTES};
use crate::device::{Coherence, DeviceCore};
use crate::map::Permission;
use crate::pagetable::PhysList;
use crate::platform::Platform;

/// Makes all pieces of `list` ready for the device. The list is left as it was given, at its beginning.
pub(crate) fn clean_pieces<P: Platform>(core: &DeviceCore<P>, list: &mut dyn PhysList) {
    if core.coherence == Coherence::Snooped {
        return;
    }
    list.restart();
    while let Some(piece) = list.next_range() {
        core.clean_cache(
            core.platform.frame_pointer(piece.start()),
            piece.len_bytes(),
        );
    }
    list.restart();
}

/// Makes what the device wrote at `range`, which is mapped, visible to the CPU.
pub(crate) fn invalidate_mapped<P: Platform>(core: &DeviceCore<P>, range: BusRange) {
    each_frame(core, range, |memory, len_bytes, permission| {
        if permission != Permission::Read {
            core.invalidate_cache(memory, len_bytes);
        }
    });
}

/// Makes what the CPU wrote to what is mapped at `range` visible to the device.
pub(crate) fn clean_mapped<P: Platform>(core: &DeviceCore<P>, range: BusRange) {
    each_frame(core, range, |memory, len_bytes, permission| {
        if permission != Permission::Write {
            core.clean_cache(memory, len_bytes);
        }
    });
}

/// Calls `act` with the CPU's pointer to what is mapped at `range`, frame by frame.
fn each_frame<P: Platform>(
    core: &DeviceCore<P>,
    range: BusRange,
    mut act: impl FnMut(core::ptr::NonNull<u8>, u64, Permission),
) {
    if core.coherence == Coherence::Snooped {
        return;
    }
    let mut at = range.start().as_u64();
    let mut left = range.len_bytes();
    while left != 0 {
        let len_bytes = left.min(FRAME_BYTES - at % FRAME_BYTES);
        if let Some((phys, permission)) = core.route.translate(BusAddr::new(at)) {
            act(core.platform.frame_pointer(phys), len_bytes, permission);
        }
        at = at.wrapping_add(len_bytes);
        left -= len_bytes;
    }
}
