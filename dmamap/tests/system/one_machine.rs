//! What belongs to another machine, or to another moment of this one, is refused.

use crate::rig::{EDU, HEARTBEAT, PAGE, Rig, buffer_of, small};
use dmamap::buffer::DmaMemory;
use dmamap::map::{FromDevice, MapFailure, ToDevice};
use dmamap::system::{AttachError, Protection, Settings, StartError};
use firmware::Tables;
use machine::MachineConfig;

#[test]
fn memory_of_another_machine_is_not_mapped() {
    let (here, there) = (Rig::boot(small()), Rig::boot(small()));
    let device = here.attach(EDU);
    let foreign = buffer_of(there.kernel, PAGE, 1);
    let virt = foreign.virt();
    let rejected = device.map_single(foreign, FromDevice).unwrap_err();
    assert_eq!(rejected.error.failure, MapFailure::NotDmaMemory { virt });
    assert_eq!(rejected.buffer.unwrap().as_slice(), [1; PAGE as usize]);
    assert_eq!(device.figures().live_mappings, 0);
    let own = device
        .map_single(buffer_of(here.kernel, PAGE, 1), ToDevice)
        .unwrap();
    drop(own);
    device.detach().unwrap();
    here.finish();
    there.finish();
}

#[test]
fn units_are_not_started_over_a_device_that_works_without_them() {
    let mut rig = Rig::boot_without_iommu(small());
    let device = rig.attach_trusted(EDU, Protection::Strict);
    let iommus = Tables::find(rig.kernel.rsdp().unwrap().as_u64(), &rig.kernel)
        .and_then(|tables| tables.iommus())
        .unwrap();
    let (system, settings) = (rig.system(), Settings::default());
    let (topology, resources) = rig.computer.topology_and_resources_mut();
    // SAFETY: the table is the machine's own.
    let refused = unsafe { system.start_units(&iommus, topology, resources, settings) };
    assert_eq!(refused, Err(StartError::DeviceAttached { device: EDU }));
    device.detach().unwrap();
    // SAFETY: as above.
    unsafe { system.start_units(&iommus, topology, resources, settings) }.unwrap();
    // SAFETY: as above.
    let again = unsafe { system.start_units(&iommus, topology, resources, settings) };
    assert_eq!(again, Err(StartError::AlreadyStarted));
    let untrusted = rig.attach(EDU);
    untrusted.detach().unwrap();
    rig.finish();
}

#[test]
fn blocking_a_device_that_no_unit_confines_silences_it() {
    let rig = Rig::boot_without_iommu(MachineConfig::default().with_ram(64 << 20));
    let function = rig.function(HEARTBEAT);
    // SAFETY: the model keeps to its region.
    unsafe { function.enable_bus_master() };
    let device = rig.system().attach(&function, Protection::Blocked).unwrap();
    assert_eq!(function.read_bus_master(), dmamap::pci::BusMaster::Off);
    assert_eq!(
        rig.system().attach(&function, Protection::Strict).err(),
        Some(AttachError::AlreadyAttached { device: HEARTBEAT })
    );
    device.detach().unwrap();
    drop(function);
    rig.finish();
}
