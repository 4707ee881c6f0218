//! Unmapping waits for the unit, and gives nothing back that the unit did not confirm.

use dmamap::buffer::DmaBuffer;
use dmamap::device::Device;
use dmamap::iommu::{RevokeError, UnitError};
use dmamap::map::Bidirectional;
use dmamap::system::AttachError;
use hosted::Hosted;
use machine::bus::Access;
use machine::iommu::smmu::{QueueFault, SmmuConfig, Support};
use machine::iommu::translator::Translator;

use super::{STAGES, TEMPERS, UNIT, boot, model, staged, with};
use rig::waiting::{Held, while_under_way};
use rig::{EDU, PAGE, Rig, impatient};

/// A bound short enough to be waited for in a test.
const BOUND_MS: u64 = 150;

fn buffer(device: &Device<Hosted>, pages: u64) -> DmaBuffer<Hosted> {
    DmaBuffer::allocate(device.platform(), pages * PAGE).unwrap()
}

#[test]
fn unmap_does_not_return_before_the_synchronisation_completed() {
    for stage in STAGES {
        for temper in TEMPERS {
            let config = with(SmmuConfig::default()).with_temper(temper);
            let rig = Rig::boot_with(config, staged(stage));
            let device = rig.attach(EDU);
            let mapping = device
                .map_single(buffer(&device, 1), Bidirectional)
                .unwrap();
            let unit = model(&rig);
            let held = Held::new(&unit);
            drop(while_under_way(held, move || mapping.unmap().unwrap()));
            drop(device);
            rig.finish();
        }
    }
}

#[test]
fn memory_is_out_of_reach_when_unmap_returns_however_much_it_was() {
    for stage in STAGES {
        for range_invalidation in [Support::Yes, Support::No] {
            let unit = SmmuConfig {
                range_invalidation,
                ..SmmuConfig::default()
            };
            let rig = Rig::boot_with(with(unit), staged(stage));
            let device = rig.attach(EDU);
            let model = model(&rig);
            // Of one page, of few, of more than single commands are used for, with and without large leaves.
            for pages in [1, 2, 3, 7, 8, 9, 31, 33, 100, 511, 512, 513, 1025] {
                let mapping = device
                    .map_single(buffer(&device, pages), Bidirectional)
                    .unwrap();
                let bus = mapping.bus_addr().as_u64();
                let reached = |page: u64| {
                    let request = model.translate(EDU.id, bus + page * PAGE, Access::Write);
                    request.is_ok()
                };
                // The unit remembers each of them.
                assert!((0..pages).all(reached), "{pages} pages");
                mapping.unmap().unwrap();
                assert!(!(0..pages).any(reached), "{pages} pages");
            }
            drop(device);
            rig.finish_after_faults();
        }
    }
}

#[test]
fn neighbours_of_what_is_unmapped_stay_remembered() {
    for stage in STAGES {
        let rig = boot(stage);
        let device = rig.attach(EDU);
        let unit = model(&rig);
        let kept = device
            .map_single(buffer(&device, 1), Bidirectional)
            .unwrap();
        let gone = device
            .map_single(buffer(&device, 1), Bidirectional)
            .unwrap();
        let reach = |bus: dmamap::addr::BusAddr| {
            let request = unit.translate(EDU.id, bus.as_u64(), Access::Write);
            drop(request.expect("it is mapped"));
        };
        reach(kept.bus_addr());
        reach(gone.bus_addr());
        gone.unmap().unwrap();
        let before = unit.statistics();
        reach(kept.bus_addr());
        let after = unit.statistics();
        assert_eq!(after.walks, before.walks, "it was forgotten");
        assert_eq!(after.domain_invalidations, before.domain_invalidations);
        drop(kept);
        drop(device);
        rig.finish();
    }
}

#[test]
fn a_unit_that_never_answers_gives_an_error_that_names_it_and_the_command() {
    let rig = Rig::boot_with(with(SmmuConfig::default()), impatient(BOUND_MS));
    let device = rig.attach(EDU);
    let mapping = device
        .map_single(buffer(&device, 1), Bidirectional)
        .unwrap();
    model(&rig).hold_queue();
    let error = mapping.unmap().unwrap_err();
    assert_eq!(
        error.error,
        RevokeError::Unit(UnitError::TimedOut {
            unit: UNIT,
            command: "TLB invalidation",
            bound_ms: BOUND_MS,
        })
    );
    let text = error.to_string();
    assert!(text.contains("0xfea00000"), "{text}");
    let function = rig.function(rig::HEARTBEAT);
    let attached = rig
        .system()
        .attach(&function, dmamap::system::Protection::Strict);
    match attached {
        Err(AttachError::Unconfirmed { .. }) => {}
        other => panic!("{other:?}"),
    }
    model(&rig).release_queue();
    drop(device);
    rig.abandon();
}

#[test]
fn a_command_that_is_passed_over_is_found() {
    let rig = boot(dmamap::system::Stage::First);
    let device = rig.attach(EDU);
    let unit = model(&rig);
    let mapping = device
        .map_single(buffer(&device, 1), Bidirectional)
        .unwrap();
    let bus = mapping.bus_addr().as_u64();
    assert!(unit.translate(EDU.id, bus, Access::Read).is_ok());
    unit.fail_queue(QueueFault::Lost);
    let given_back = mapping.unmap().unwrap();
    assert!(unit.translate(EDU.id, bus, Access::Read).is_ok());
    drop(given_back);
    let found = rig.machine.findings();
    assert!(
        !found.is_empty(),
        "a frame was freed that the unit remembers"
    );
    drop(device);
    rig.abandon();
}
