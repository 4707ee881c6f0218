//! What the unit refuses is told, with the manual's reason.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use dmamap::addr::BusAddr;
use dmamap::iommu::Requester;
use dmamap::iommu::fault::{Access, Fault};
use dmamap::map::ToDevice;
use hw::smmu::event::EventKind;
use machine::bus::Access as BusAccess;
use machine::iommu::smmu::{SmmuConfig, Support};
use machine::iommu::translator::Translator;

use super::{STAGES, UNIT, boot, model, with};
use rig::patience::wait_until;
use rig::{EDU, PAGE, Rig, buffer_of, first_fault, try_read, try_write};

fn assert_reason(fault: &Fault, kind: EventKind) {
    assert_eq!(fault.reason.code, u16::from(kind.code()), "{fault}");
    assert_eq!(fault.reason.text, kind.text());
}

#[test]
fn a_fault_says_who_where_how_and_why() {
    for stage in STAGES {
        for access in [Access::Write, Access::Read] {
            let mut rig = boot(stage);
            let mut edu = rig.edu();
            let bus = BusAddr::new(0x0123_4000);
            match access {
                Access::Write => try_write(&mut edu, bus, 16),
                _ => try_read(&mut edu, bus, 16),
            }
            let fault = first_fault(rig.system(), EDU).expect("it was refused");
            assert_eq!((fault.unit, fault.requester), (UNIT, EDU));
            assert_eq!((fault.address, fault.access), (bus, access));
            assert_reason(&fault, EventKind::Translation);
            let text = fault.to_string();
            for part in [
                "0000:00:03.0",
                "0x1234000",
                "no translation",
                "(reason 0x10)",
            ] {
                assert!(text.contains(part), "{text}");
            }
            drop(edu);
            rig.finish_after_faults();
        }
    }
}

#[test]
fn writing_what_may_only_be_read_is_not_permitted() {
    for stage in STAGES {
        let mut rig = boot(stage);
        let kernel = rig.kernel;
        let mut edu = rig.edu();
        let mapping = edu
            .device()
            .map_single(buffer_of(kernel, PAGE, 1), ToDevice)
            .unwrap();
        try_write(&mut edu, mapping.bus_addr(), 16);
        let fault = first_fault(rig.system(), EDU).expect("it was refused");
        assert_reason(&fault, EventKind::Permission);
        assert_eq!(fault.address, mapping.bus_addr().align_down(12));
        drop(mapping);
        drop(edu);
        rig.finish_after_faults();
    }
}

#[test]
fn a_device_that_nobody_attached_has_no_valid_entry() {
    for first_stream in [0, 0x1000] {
        let rig = Rig::boot(with(SmmuConfig {
            first_stream,
            stream_bits: 17,
            ..SmmuConfig::default()
        }));
        // Detached, so that its block of entries is there; and one of a block that is not.
        drop(rig.attach(EDU));
        let absent = Requester {
            segment: 0,
            id: 0x0108,
        };
        let unit = model(&rig);
        for (device, kind) in [(EDU, EventKind::BadSte), (absent, EventKind::BadStreamId)] {
            assert!(unit.translate(device.id, 0x5000, BusAccess::Write).is_err());
            let fault = first_fault(rig.system(), device).expect("it was refused");
            assert_reason(&fault, kind);
            assert_eq!(fault.access, Access::Unknown);
        }
        rig.finish_after_faults();
    }
}

/// Waits until the faults that were told are at least `total`.
fn wait_for(rig: &Rig, total: u64) {
    wait_until("the faults are told", || {
        rig.system().faults().total >= total
    });
}

#[test]
fn faults_beyond_the_queue_are_told_as_overflow_and_those_after_it_again() {
    let rig = Rig::boot(with(SmmuConfig {
        event_queue_log2: 2,
        messages: Support::No,
        ..SmmuConfig::default()
    }));
    let unit = model(&rig);
    for round in 1..4 {
        // Nobody reads meanwhile: there is no interrupt.
        for page in 0..20 {
            let bus = 0x5000 + page * PAGE;
            assert!(unit.translate(EDU.id, bus, BusAccess::Write).is_err());
        }
        let report = rig.system().faults();
        assert_eq!((report.total, report.overflows), (4 * round, round));
    }
    rig.finish_after_faults();
}

#[test]
fn a_storm_of_faults_is_read_to_its_end() {
    let rig = Rig::boot(with(SmmuConfig::default()));
    let unit = model(&rig);
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        for id in [EDU.id, 0x0100] {
            let (unit, stop) = (&unit, &stop);
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    assert!(unit.translate(id, 0x5000, BusAccess::Write).is_err());
                }
            });
        }
        // By interrupt and timer alone: `faults` would read too.
        thread::sleep(Duration::from_millis(100));
        stop.store(true, Ordering::Relaxed);
    });
    thread::sleep(Duration::from_millis(100));
    let statistics = unit.statistics();
    wait_for(&rig, statistics.faults_recorded);
    let report = rig.system().faults();
    assert_eq!(report.total, statistics.faults_recorded);
    assert_eq!(report.overflows == 0, statistics.faults_lost == 0);
    // And the next one is told by its interrupt.
    assert!(unit.translate(EDU.id, 0x6000, BusAccess::Write).is_err());
    wait_for(&rig, report.total + 1);
    rig.finish_after_faults();
}
