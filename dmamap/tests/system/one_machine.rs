//! What belongs to another machine, or to another moment of this one, is refused.

use dmamap::addr::PhysAddr;
use dmamap::buffer::{ContiguousArea, DmaMemory};
use dmamap::device::Coherence;
use dmamap::map::{CoherentFailure, FromDevice, MapFailure, ToDevice};
use dmamap::platform::Platform;
use dmamap::resource::ResourceTree;
use dmamap::system::{
    AttachError, PeerRefusal, PeerVerdict, Protection, QuiesceError, Settings, StartError,
    SuspendError,
};
use firmware::Tables;
use hosted::{Hosted, PlatformCall, Tracer};
use journeys::boot::BootOptions;
use machine::{Machine, MachineConfig};
use rig::{EDU, HEARTBEAT, PAGE, Rig, buffer_of, small};

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
fn a_device_of_another_machine_is_not_attached() {
    // On one a unit stands before the device, on the other none does.
    let (here, there) = (Rig::boot(small()), Rig::boot_without_iommu(small()));
    let foreign = there.function(EDU);
    let refused = AttachError::OtherMachine {
        device: EDU,
        machine: there.kernel.machine(),
        system: here.kernel.machine(),
    };
    let attached = here.system().attach(&foreign, Protection::Strict);
    assert_eq!(attached.err(), Some(refused));
    assert_eq!(foreign.read_bus_master(), dmamap::pci::BusMaster::Off);
    // Nor does it count as attached here.
    let own = here.attach(EDU);
    // Registers are lent to devices of their own machine alone.
    let mut resources = ResourceTree::of(there.kernel.machine());
    let bar = foreign.bar(0).unwrap().phys.unwrap();
    // SAFETY: the device's registers are there.
    unsafe { resources.insert_registers("edu", bar) }.unwrap();
    let window = foreign.claim_bar(0, "edu", &mut resources).unwrap();
    let rejected = own
        .map_resource(&foreign, window, FromDevice)
        .err()
        .unwrap();
    assert!(matches!(
        rejected.error.failure,
        MapFailure::NotOfPeer { .. }
    ));
    let peer = foreign.address();
    assert_eq!(
        here.system()
            .peer_to_peer(&here.function(HEARTBEAT), &foreign),
        PeerVerdict::Refused(PeerRefusal::DifferentMachines { peer })
    );
    drop((rejected, foreign));
    own.detach().unwrap();
    here.finish();
    there.finish();
}

#[test]
fn functions_of_another_machine_are_not_silenced_nor_put_to_sleep_nor_units() {
    let (mut here, there) = (
        Rig::boot_without_iommu(small()),
        Rig::boot_without_iommu(small()),
    );
    let working = there.attach_trusted(EDU, Protection::Strict);
    let function = there.function(EDU);
    let [machine, system] = [&there, &here].map(|rig| rig.kernel.machine());
    let foreign = there.computer.topology();
    assert_eq!(foreign.machine(), machine);
    assert_eq!(
        here.system().quiesce(foreign),
        Err(QuiesceError::OtherMachine { machine, system })
    );
    assert_eq!(
        here.system().suspend(foreign).err(),
        Some(SuspendError::OtherMachine { machine, system })
    );
    let iommus = Tables::find(here.kernel.rsdp().unwrap().as_u64(), &here.kernel)
        .and_then(|tables| tables.iommus())
        .unwrap();
    let (system_here, settings) = (here.system(), Settings::default());
    let (own, resources) = here.computer.topology_and_resources_mut();
    // SAFETY: the table is the machine's own.
    let started = unsafe { system_here.start_units(&iommus, foreign, resources, settings) };
    assert_eq!(started, Err(StartError::OtherMachine { machine, system }));
    assert_eq!(function.read_bus_master(), dmamap::pci::BusMaster::On);
    // Nothing is left of the attempts.
    // SAFETY: as above.
    unsafe { system_here.start_units(&iommus, own, resources, settings) }.unwrap();
    system_here.quiesce(own).unwrap();
    let suspended = system_here.suspend(own).unwrap();
    // SAFETY: models obey their bus-master bits.
    unsafe { system_here.resume(suspended) }.unwrap();
    working.detach().unwrap();
    drop(function);
    here.finish();
    there.finish();
}

#[test]
fn an_area_of_another_machine_lends_nothing_to_a_device() {
    let [here, there] = [(); 2].map(|()| {
        let machine = Machine::boot(small()).unwrap();
        let kernel = Hosted::boot(machine.clone()).unwrap();
        let tracer = Tracer::new(kernel, 1 << 16);
        Rig::boot_on(machine, kernel, tracer, BootOptions::default()).unwrap()
    });
    let (system, tracer) = (here.system(), here.system().platform());
    // SAFETY: nothing is ever mapped for the device here.
    unsafe { system.set_coherence(EDU, Coherence::NotSnooped) };
    let last = PhysAddr::new(u64::MAX);
    let area = ContiguousArea::reserve(there.system().platform(), 4 * PAGE, last, 12).unwrap();
    system.set_contiguous_area(Some(area));
    let device = here.attach(EDU);
    tracer.take();
    let refused = device.alloc_coherent::<u64>(1024).err().unwrap();
    assert!(
        matches!(
            refused.failure,
            CoherentFailure::Map(MapFailure::NotDmaMemory { .. })
        ),
        "{refused}"
    );
    // Frames that it never lent were not mapped past the caches here, not even for a moment.
    let mut calls = tracer.take().into_iter();
    assert!(!calls.any(|call| matches!(call, PlatformCall::MapFrames(..))));
    system.set_contiguous_area(None);
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
