//! What firmware reserved for one of a group holds for all of it; and what boot code knows of a device.

use std::sync::Arc;

use dmamap::addr::{BusAddr, PhysRange};
use dmamap::group::{Behaviour, Quirk};
use dmamap::map::{Bidirectional, Permission};
use dmamap::platform::{FrameRequest, Platform};
use dmamap::resource::ResourceTree;
use dmamap::system::{RegionKind, Settings};
use firmware::{
    Assignment, Devices, DirectAccess, IommuDescription, ReservedKind, ReservedRegion, Stream,
    UnitDescription, UnitKind, UnitPlace,
};
use machine::Iommu;
use machine::bus::{Access, ConventionalIds};
use machine::cache::Snooping;
use machine::fabric::{Model, PortConfig};
use machine::iommu::smmu::{SmmuConfig, SmmuUnit};
use machine::iommu::translator::Translator;

use crate::computers::{
    EDU_IDS, ISOLATING, attach, conventional, device, functions, port, requester_of,
};
use rig::{PAGE, Rig, buffer_of, small};

/// A machine with an SMMU that was not started yet.
fn boot(port: PortConfig) -> Rig {
    let unit = SmmuConfig::default();
    let walks = Snooping::On;
    let config = small().with_iommu(Iommu::Smmu { unit, walks });
    Rig::boot_without_iommu(config.with_port(port))
}

fn model(rig: &Rig) -> Arc<SmmuUnit> {
    rig.machine.smmu_units().next().unwrap().clone()
}

fn start(rig: &Rig, reserved: Vec<ReservedRegion>) {
    let description = IommuDescription {
        units: vec![UnitDescription {
            kind: UnitKind::SmmuV3,
            place: UnitPlace::Registers {
                phys: 0xfea0_0000,
                len_bytes: 0x2_0000,
            },
            segment: 0,
            walks: None,
        }],
        assignments: vec![Assignment {
            devices: Devices::Segment { segment: 0 },
            unit: 0,
            stream: Stream::Requester,
        }],
        reserved,
        ..IommuDescription::default()
    };
    let mut tree = ResourceTree::of(rig.kernel.machine());
    let topology = rig.computer.topology();
    // SAFETY: the unit's registers are where the description says.
    unsafe {
        rig.system()
            .start_units(&description, topology, &mut tree, Settings::default())
    }
    .unwrap();
}

fn reserved(requester: u16, memory: PhysRange) -> ReservedRegion {
    ReservedRegion {
        devices: Devices::Requesters {
            segment: 0,
            first: requester,
            last: requester,
        },
        base: memory.start().as_u64(),
        last: memory.last().as_u64(),
        kind: ReservedKind::Direct(DirectAccess::ReadWrite),
    }
}

#[test]
fn memory_reserved_for_one_stays_within_reach_while_another_of_its_group_comes_and_goes() {
    let rig = boot(conventional(ConventionalIds::Mixed));
    let found = functions(&rig, EDU_IDS);
    let [at_work, driven] = [&found[0], &found[1]].map(requester_of);
    let alias = at_work.id & 0xff00;
    let frame = rig.kernel.allocate_frames(FrameRequest::new(1)).unwrap();
    start(&rig, vec![reserved(at_work.id, frame)]);
    let unit = model(&rig);
    let reaches = |id, bus: u64| unit.translate(id, bus, Access::Write).is_ok();
    let kept = frame.start().as_u64();
    let stays = || reaches(at_work.id, kept) && reaches(alias, kept);
    assert!(stays(), "before a driver came");
    assert!(!reaches(driven.id, kept), "nobody attached it");
    let region = rig.system().reserved_regions(driven).unwrap().into_iter();
    let mut direct = region.filter(|one| one.kind == RegionKind::Direct(Permission::ReadWrite));
    assert!(direct.any(|one| one.range.contains(BusAddr::new(kept))));
    for _ in 0..3 {
        let device = attach(&rig, &found[1]);
        assert!(stays() && reaches(driven.id, kept), "one domain has it");
        let mapping = device
            .map_single(buffer_of(rig.kernel, PAGE, 1), Bidirectional)
            .unwrap();
        let bus = mapping.bus_addr().as_u64();
        assert!(
            [at_work.id, alias, driven.id]
                .iter()
                .all(|&id| reaches(id, bus))
        );
        drop(mapping);
        assert!(
            ![at_work.id, alias, driven.id]
                .iter()
                .any(|&id| reaches(id, bus))
        );
        device.detach().unwrap();
        assert!(stays(), "after the driver left");
        assert!(!reaches(driven.id, kept));
    }
    // SAFETY: every device was detached, and models obey their bus-master bit.
    unsafe { rig.system().shutdown() }.unwrap();
    // SAFETY: the units are off, and nobody else refers to it.
    unsafe { rig.kernel.free_frames(frame) };
    drop(found);
    rig.finish_after_faults();
}

#[test]
fn what_boot_code_knows_of_a_device_counts() {
    let rig = boot(port(Some(ISOLATING), device(&[Model::Edu])));
    let found = functions(&rig, EDU_IDS);
    rig.system().add_quirk(Quirk {
        vendor: EDU_IDS.0,
        device: EDU_IDS.1,
        behaviour: Behaviour::RequestsAsDevice {
            device: 3,
            function: 1,
        },
    });
    start(&rig, Vec::new());
    let unit = model(&rig);
    let own = requester_of(&found[0]);
    let other = own.id & 0xff00 | 3 << 3 | 1;
    let attached = attach(&rig, &found[0]);
    let mapping = attached
        .map_single(buffer_of(rig.kernel, PAGE, 1), Bidirectional)
        .unwrap();
    let bus = mapping.bus_addr().as_u64();
    for id in [own.id, other] {
        assert!(unit.translate(id, bus, Access::Write).is_ok());
    }
    assert!(unit.translate(other + 1, bus, Access::Write).is_err());
    drop(mapping);
    attached.detach().unwrap();
    for id in [own.id, other] {
        assert!(unit.translate(id, bus, Access::Write).is_err());
    }
    drop(found);
    rig.finish_after_faults();
}
