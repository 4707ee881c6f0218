//! Every device is behind the unit that firmware says, and no other unit knows of it.

use dmamap::iommu::Requester;
use dmamap::iommu::fault::Access;
use dmamap::map::ToDevice;
use dmamap::system::Protection;
use hw::vtd::fault::FaultReason;
use machine::MachineConfig;
use machine::bus::Access as BusAccess;
use machine::device::nvme::{Medium, NvmeConfig};
use machine::iommu::translator::Translator;
use rig::{EDU, HEARTBEAT, PAGE, Rig, UNITS, buffer_of, small};

/// The disks, each behind a root port of its own.
const DISKS: [Requester; 2] = [
    Requester {
        segment: 0,
        id: 0x0100,
    },
    Requester {
        segment: 0,
        id: 0x0200,
    },
];

fn two_disks() -> MachineConfig {
    let disk = || NvmeConfig::new(tempfile::tempfile().unwrap(), PAGE, Medium::ReadOnly);
    small().with_disk(disk()).with_disk(disk())
}

#[test]
fn each_device_is_translated_by_its_unit() {
    // The first unit has the first root port with all below it, and one device by itself; the second unit has
    // all others.
    let rig = Rig::boot(two_disks());
    for (requester, unit) in [(DISKS[0], 0), (EDU, 0), (DISKS[1], 1), (HEARTBEAT, 1)] {
        let device = rig.attach(requester);
        let mapping = device
            .map_single(buffer_of(rig.kernel, PAGE, 1), ToDevice)
            .unwrap();
        let leaves = rig.machine.audit().leaves;
        let [leaf] = &leaves[..] else {
            panic!("{leaves:?}")
        };
        assert_eq!(
            (leaf.unit.as_str(), leaf.requester),
            (["dmar0", "dmar1"][unit], requester.id)
        );
        assert_eq!(leaf.bus, mapping.bus_addr().as_u64());
        assert_eq!(leaf.phys, mapping.phys().start().as_u64());

        // Its unit lets it through there, the other does not know it.
        let through = rig
            .unit(unit)
            .translate(requester.id, leaf.bus, BusAccess::Read);
        assert!(through.is_ok());
        drop(through);
        drop(mapping);
        device.detach().unwrap();
    }
    rig.finish();
}

#[test]
fn every_function_found_is_behind_a_unit() {
    let rig = Rig::boot(two_disks());
    let functions: Vec<_> = rig.computer.topology().functions().collect();
    assert!(functions.len() >= 9, "{}", functions.len());
    for function in functions {
        let requester = Requester {
            segment: 0,
            id: function.requester(),
        };
        assert!(rig.system().is_translated(requester), "{requester}");
        let device = rig.system().attach(function, Protection::Strict).unwrap();
        let mapping = device
            .map_single(buffer_of(rig.kernel, PAGE, 1), ToDevice)
            .unwrap();
        let leaves = rig.machine.audit().leaves;
        let [leaf] = &leaves[..] else {
            panic!("{requester}: {leaves:?}")
        };
        let listed = requester == EDU || requester.id >> 8 == 1 || requester.id == 1 << 3;
        assert_eq!(
            leaf.unit,
            if listed { "dmar0" } else { "dmar1" },
            "{requester}"
        );
        drop(mapping);
    }
    rig.finish();
}

#[test]
fn a_device_nobody_attached_is_refused_by_its_unit() {
    for (requester, unit) in [(EDU, 0), (HEARTBEAT, 1)] {
        let rig = Rig::boot(small());
        let refused = rig
            .unit(unit)
            .translate(requester.id, 0x5000, BusAccess::Write);
        assert!(refused.is_err());
        drop(refused);
        let faults = rig.system().faults();
        let [fault] = faults.first_per_requester[..] else {
            panic!("{faults:?}")
        };
        assert_eq!((fault.unit, fault.requester), (UNITS[unit], requester));
        assert_eq!(
            (fault.address.as_u64(), fault.access),
            (0x5000, Access::Write)
        );
        let reason = match requester {
            // It has a context entry, for what firmware reserved for it.
            HEARTBEAT => FaultReason::WriteNotPermitted,
            _ => FaultReason::RootNotPresent,
        };
        assert_eq!(fault.reason.code, u16::from(reason.code()), "{fault}");
        rig.finish_after_faults();
    }
}

#[test]
fn domains_of_different_units_do_not_meet() {
    let rig = Rig::boot(two_disks());
    let (one, other) = (rig.attach(DISKS[0]), rig.attach(DISKS[1]));
    let mapping = one
        .map_single(buffer_of(rig.kernel, PAGE, 1), ToDevice)
        .unwrap();
    let bus = mapping.bus_addr();
    assert_eq!(other.translate(bus), None);
    assert!(
        rig.unit(0)
            .translate(DISKS[0].id, bus.as_u64(), BusAccess::Read)
            .is_ok()
    );
    assert!(
        rig.unit(1)
            .translate(DISKS[1].id, bus.as_u64(), BusAccess::Read)
            .is_err()
    );
    assert!(
        rig.unit(1)
            .translate(DISKS[0].id, bus.as_u64(), BusAccess::Read)
            .is_err()
    );
    drop((mapping, one, other));
    rig.finish_after_faults();
}
