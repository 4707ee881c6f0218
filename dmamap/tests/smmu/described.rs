//! What firmware may say of devices behind an SMMU: aliases, memory reserved at doorbells, units that are not there.

use dmamap::addr::PhysRange;
use dmamap::map::Bidirectional;
use dmamap::platform::{FrameRequest, Platform};
use dmamap::resource::ResourceTree;
use dmamap::system::{AttachError, Protection, Settings, StartError};
use firmware::{
    Assignment, Devices, DirectAccess, IommuDescription, ReservedKind, ReservedRegion, Stream,
    UnitDescription, UnitKind, UnitPlace,
};
use machine::bus::Access;
use machine::iommu::smmu::SmmuConfig;
use machine::iommu::translator::Translator;

use super::{UNIT, model, with};
use rig::{EDU, HEARTBEAT, PAGE, Rig, buffer_of};

/// One device alone.
fn only(requester: u16) -> Devices {
    Devices::Requesters {
        segment: 0,
        first: requester,
        last: requester,
    }
}

/// The machine's unit, before all devices that `assignments` do not name first.
fn description(assignments: Vec<Assignment>) -> IommuDescription {
    let all = Assignment {
        devices: Devices::Segment { segment: 0 },
        unit: 0,
        stream: Stream::Requester,
    };
    IommuDescription {
        units: vec![UnitDescription {
            kind: UnitKind::SmmuV3,
            place: UnitPlace::Registers {
                phys: UNIT.as_u64(),
                len_bytes: 0x2_0000,
            },
            segment: 0,
            walks: None,
        }],
        assignments: assignments.into_iter().chain([all]).collect(),
        ..IommuDescription::default()
    }
}

fn direct(requester: u16, memory: PhysRange, access: DirectAccess) -> ReservedRegion {
    ReservedRegion {
        devices: only(requester),
        base: memory.start().as_u64(),
        last: memory.last().as_u64(),
        kind: ReservedKind::Direct(access),
    }
}

fn boot() -> Rig {
    Rig::boot_without_iommu(with(SmmuConfig::default()))
}

fn start(rig: &Rig, description: &IommuDescription) -> Result<(), StartError> {
    let mut tree = ResourceTree::of(rig.kernel.machine());
    let topology = rig.computer.topology();
    // SAFETY: the unit's registers are where the description says.
    unsafe {
        rig.system()
            .start_units(description, topology, &mut tree, Settings::default())
    }
}

#[test]
fn memory_reserved_for_a_device_stays_when_its_alias_is_attached_and_detached() {
    let rig = boot();
    let frames = [(); 2].map(|()| rig.kernel.allocate_frames(FrameRequest::new(1)).unwrap());
    let aliased = Assignment {
        devices: only(EDU.id),
        unit: 0,
        stream: Stream::One(HEARTBEAT.id.into()),
    };
    let mut description = description(vec![aliased]);
    description.reserved = vec![
        direct(HEARTBEAT.id, frames[0], DirectAccess::ReadWrite),
        direct(EDU.id, frames[1], DirectAccess::ReadWrite),
    ];
    start(&rig, &description).unwrap();
    let unit = model(&rig);
    let reaches_at = |bus| unit.translate(HEARTBEAT.id, bus, Access::Write).is_ok();
    let reaches = |frame: PhysRange| reaches_at(frame.start().as_u64());
    let all = || frames.iter().all(|&frame| reaches(frame));
    assert!(all(), "before a driver came");
    for _ in 0..2 {
        let device = rig.attach(EDU);
        assert!(all(), "beside a driver's mappings");
        let mapping = device
            .map_single(buffer_of(rig.kernel, PAGE, 1), Bidirectional)
            .unwrap();
        let alias = rig.function(HEARTBEAT);
        let error = rig.system().attach(&alias, Protection::Blocked);
        let shares = AttachError::GroupProtection {
            device: HEARTBEAT,
            other: EDU,
            protection: Protection::Strict,
        };
        assert_eq!(error.unwrap_err(), shares);
        // Their unit has one name for both: they share all that is mapped for either.
        let other = rig.system().attach(&alias, Protection::Strict).unwrap();
        let target = Some(mapping.phys().start());
        assert_eq!(other.translate(mapping.bus_addr()), target);
        other.detach().unwrap();
        assert!(
            reaches_at(mapping.bus_addr().as_u64()),
            "the one stays when the other goes"
        );
        let bus = mapping.bus_addr().as_u64();
        drop(mapping);
        device.detach().unwrap();
        assert!(all(), "after the driver left");
        assert!(unit.translate(HEARTBEAT.id, bus, Access::Write).is_err());
    }
    // SAFETY: every device was detached, and models obey their bus-master bit.
    unsafe { rig.system().shutdown() }.unwrap();
    for frame in frames {
        // SAFETY: the units are off, and nobody else refers to it.
        unsafe { rig.kernel.free_frames(frame) };
    }
    rig.finish_after_faults();
}

#[test]
fn memory_reserved_around_the_doorbells_does_not_keep_a_device_from_its_driver() {
    for access in [DirectAccess::Read, DirectAccess::Write] {
        let rig = boot();
        let doorbells = rig.kernel.message_window().unwrap();
        let mut description = description(vec![]);
        description.reserved = vec![direct(EDU.id, doorbells, access)];
        start(&rig, &description).unwrap();
        let device = rig.attach(EDU);
        let bus = doorbells.start().as_u64();
        let unit = model(&rig);
        let written = unit.translate(EDU.id, bus, Access::Write).is_ok();
        assert!(written, "messages are writes");
        drop(device);
        rig.finish();
    }
}

#[test]
fn devices_behind_a_unit_that_is_not_named_are_refused() {
    let rig = boot();
    let lost = Assignment {
        devices: only(EDU.id),
        unit: 7,
        stream: Stream::Requester,
    };
    let error = start(&rig, &description(vec![lost])).unwrap_err();
    assert_eq!(error, StartError::NoSuchUnit { unit: 7, count: 1 });
    start(&rig, &description(vec![])).unwrap();
    drop(rig.attach(EDU));
    rig.finish();
}

#[test]
fn a_range_of_devices_that_ends_before_it_begins_has_nobody_in_it() {
    let rig = boot();
    for stream in [Stream::From(3), Stream::Requester] {
        let devices = Devices::Requesters {
            segment: 0,
            first: 9,
            last: 2,
        };
        let nobody = Assignment {
            devices,
            unit: 0,
            stream,
        };
        start(&rig, &description(vec![nobody])).unwrap();
        drop(rig.attach(EDU));
        // SAFETY: every device was detached, and models obey their bus-master bit.
        unsafe { rig.system().shutdown() }.unwrap();
    }
    rig.finish();
}
