//! Devices that no unit stands before: who may attach them, and what they are given.

use dmamap::addr::{DmaMask, PhysAddr};
use dmamap::buffer::DmaBuffer;
use dmamap::map::{Attributes, MapFailure, ToDevice};
use dmamap::system::{AttachError, Protection};
use machine::{Iommu, MachineConfig};
use rig::{EDU, PAGE, Rig, small};

fn without_units() -> MachineConfig {
    small().with_iommu(Iommu::None)
}

#[test]
fn a_device_that_cannot_be_confined_must_be_vouched_for() {
    let ignored = Rig::boot_without_iommu(small());
    for rig in [Rig::boot(without_units()), ignored] {
        let function = rig.function(EDU);
        for protection in [Protection::Strict, Protection::Identity] {
            let refused = rig.system().attach(&function, protection);
            assert!(
                matches!(refused, Err(AttachError::NotRevocable { device: EDU })),
                "{refused:?}"
            );
        }
        // It reaches nothing, so nobody need vouch for it.
        drop(rig.system().attach(&function, Protection::Blocked).unwrap());
        drop(function);
        rig.finish();
    }
}

#[test]
fn memory_beyond_the_mask_is_refused_where_it_must_not_be_copied() {
    let rig = Rig::boot(without_units());
    let device = rig.attach_trusted(EDU, Protection::Identity);
    let four_gib = PhysAddr::new(1 << 32);
    assert_eq!(device.mask().bits(), 32);
    let high = DmaBuffer::allocate(rig.kernel, PAGE).unwrap();
    assert!(
        high.phys(0).unwrap() >= four_gib,
        "memory is lent from the top"
    );
    let attributes = Attributes::NONE.require_coherent();
    let rejected = device
        .map_single_attrs(high, ToDevice, attributes)
        .unwrap_err();
    let failure = rejected.error.failure;
    assert!(
        matches!(failure, MapFailure::WouldBounce { .. }),
        "{failure}"
    );
    let high = rejected.buffer.unwrap();

    // Coherent memory is allocated where the device reaches it.
    let coherent = device.alloc_coherent::<u64>(512).unwrap();
    assert!(coherent.bus_addr().as_u64() < four_gib.as_u64());
    drop(coherent);
    device.set_mask(DmaMask::ALL).unwrap();
    drop(device.map_single(high, ToDevice).unwrap());
    drop(device);
    rig.finish();
}
