//! The RISC-V command queue: nothing is given back that a fence did not confirm, whatever the unit does.

use std::thread;
use std::time::{Duration, Instant};

use dmamap::addr::BusRange;
use dmamap::buffer::{DmaBuffer, ScatteredBuffer};
use dmamap::device::Device;
use dmamap::iommu::{RevokeError, UnitError};
use dmamap::map::{Bidirectional, FromDevice, Quarantined, ToDevice};
use dmamap::system::{AttachError, Protection, Stage};
use hosted::Hosted;
use journeys::boot::BootOptions;
use machine::bus::Access;
use machine::iommu::riscv::{QueueFault, RiscvConfig};
use machine::iommu::translator::Translator;
use rig::patience::wait_until;
use rig::riscv::{TEMPERS, UNIT, by, unit, with};
use rig::waiting::{
    Held, an_unlinked_table_hides_nothing, no_invalidation_is_lost, while_there_is, while_under_way,
};
use rig::{
    EDU, HEARTBEAT, MORE_THAN_IS_KEPT, PAGE, Rig, impatient, restart_under_load, share_a_page,
    try_write,
};

/// A bound short enough to be waited for in a test, and long enough for a unit that answers, on a busy host.
const BOUND_MS: u64 = 150;

fn plain(options: BootOptions) -> Rig {
    Rig::boot_with(with(RiscvConfig::default()), options)
}

fn buffer(device: &Device<Hosted>, pages: u64) -> DmaBuffer<Hosted> {
    DmaBuffer::allocate(device.platform(), pages * PAGE).unwrap()
}

fn assert_timed_out(error: UnitError, what: &str) {
    let expected = UnitError::TimedOut {
        unit: UNIT,
        command: match error {
            UnitError::TimedOut { command, .. } => command,
            _ => "",
        },
        bound_ms: BOUND_MS,
    };
    assert_eq!(error, expected);
    let text = error.to_string();
    assert!(text.contains(what) && text.contains("0xfe900000"), "{text}");
}

fn assert_quarantined(error: Quarantined, range: BusRange) {
    assert_eq!((error.device, error.range), (EDU, range));
    match error.error {
        RevokeError::Unit(unit) => assert_timed_out(unit, "IOTLB invalidation"),
        other => panic!("{other}"),
    }
}

#[test]
fn unmapping_waits_for_the_fence() {
    for stage in [Stage::First, Stage::Second] {
        for temper in TEMPERS {
            let config = with(RiscvConfig::default()).with_temper(temper);
            let rig = Rig::boot_with(config, by(stage));
            let device = rig.attach(EDU);
            let mapping = device
                .map_single(buffer(&device, 1), Bidirectional)
                .unwrap();
            let (kernel, lent) = (rig.kernel, rig.frames_in_use());
            let nothing_back = || assert_eq!(kernel.frames().in_use, lent);
            drop(while_there_is(
                Held::new(unit(&rig)),
                move || mapping.unmap().unwrap(),
                nothing_back,
            ));
            drop(device);
            rig.finish();
        }
    }
}

#[test]
fn unmapping_and_detaching_wait_for_requests_that_are_under_way() {
    for access in [Access::Read, Access::Write] {
        let rig = plain(BootOptions::default());
        let device = rig.attach(EDU);
        let mapping = device
            .map_single(buffer(&device, 1), Bidirectional)
            .unwrap();
        let bus = mapping.bus_addr().as_u64();
        let request = unit(&rig).translate(EDU.id, bus, access).unwrap();
        drop(while_under_way(request, move || mapping.unmap().unwrap()));
        let mapping = device
            .map_single(buffer(&device, 1), Bidirectional)
            .unwrap();
        let bus = mapping.bus_addr().as_u64();
        let request = unit(&rig).translate(EDU.id, bus, access).unwrap();
        while_under_way(request, move || device.detach().unwrap());
        drop(mapping);
        rig.finish();
    }
}

#[test]
fn tables_are_not_freed_before_the_unit_let_go_of_them() {
    for stage in [Stage::First, Stage::Second] {
        let rig = plain(by(stage));
        let device = rig.attach(EDU);
        // So many tables that some are unlinked when all become empty.
        let large = ScatteredBuffer::allocate(device.platform(), MORE_THAN_IS_KEPT).unwrap();
        let mapping = device.map_sg(large, FromDevice).unwrap();
        // The unit remembers the way to each.
        for page in mapping.segments() {
            let bus = page.start().as_u64();
            drop(unit(&rig).translate(EDU.id, bus, Access::Write).unwrap());
        }
        let (kernel, lent) = (rig.kernel, rig.frames_in_use());
        let tables = device.domain_frames();
        let nothing_back = || assert_eq!(kernel.frames().in_use, lent, "given back too early");
        let large = while_there_is(
            Held::new(unit(&rig)),
            move || mapping.unmap().unwrap(),
            nothing_back,
        );
        assert!(device.domain_frames() < tables, "no table was unlinked");
        // Only now: the model looks at all its tables for each frame that is given back.
        device.detach().unwrap();
        drop(large);
        rig.finish();
    }
}

#[test]
fn an_unmap_that_is_never_confirmed_quarantines_the_memory() {
    let rig = plain(impatient(BOUND_MS));
    let device = rig.attach(EDU);
    let mapping = device
        .map_single(buffer(&device, 3), Bidirectional)
        .unwrap();
    let (range, lent) = (mapping.range(), rig.frames_in_use());
    unit(&rig).hold_queue();
    let begun = Instant::now();
    let error = mapping.unmap().unwrap_err();
    assert!(begun.elapsed() >= Duration::from_millis(BOUND_MS));
    assert_quarantined(error, range);
    assert_eq!(device.figures().quarantined_bytes, 3 * PAGE);
    assert!(rig.frames_in_use() >= lent, "memory was given back");
    unit(&rig).release_queue();
    // Neither the addresses nor the memory come back by themselves.
    for _ in 0..50 {
        let other = device.map_single(buffer(&device, 1), ToDevice).unwrap();
        assert!(
            !share_a_page(other.range(), range),
            "{other:?} reuses {range}"
        );
    }
    assert_eq!(device.figures().quarantined_bytes, 3 * PAGE);
    // The unit confirms the detach, and so all that it did not confirm before.
    device.detach().unwrap();
    rig.finish();
}

#[test]
fn a_detach_that_is_never_confirmed_is_an_error_that_names_it() {
    let rig = plain(impatient(BOUND_MS));
    let device = rig.attach(EDU);
    unit(&rig).hold_queue();
    let error = device.detach().unwrap_err();
    assert_eq!(error.device(), EDU);
    assert_timed_out(error.unit_error().unwrap(), "device invalidation");
    unit(&rig).release_queue();
    rig.assert_no_findings();
    rig.abandon();
}

#[test]
fn a_queue_that_stopped_is_a_typed_error_at_once_and_is_restarted() {
    // The bound is long: the error bits, not patience, tell.
    let mut rig = plain(impatient(20_000));
    let device = rig.attach(EDU);
    let mut edu = rig.edu_on(device);
    let lost = edu
        .device()
        .map_single(buffer(edu.device(), 1), Bidirectional)
        .unwrap();
    let bus = lost.bus_addr();
    edu.fetch(&lost, 0, 8).unwrap();
    unit(&rig).fail_queue(QueueFault::FetchError);
    let begun = Instant::now();
    match lost.unmap().unwrap_err().error {
        RevokeError::Unit(UnitError::QueueStopped { unit, reason, .. }) => {
            assert_eq!(unit, UNIT);
            assert!(reason.contains("not fetched"), "{reason}");
        }
        other => panic!("{other}"),
    }
    assert!(begun.elapsed() < Duration::from_secs(20));
    // SAFETY: the device is idle.
    unsafe { rig.system().restart_units() }.unwrap();
    // The unit has forgotten what was never invalidated, and goes on.
    try_write(&mut edu, bus, 8);
    assert_eq!(rig.system().faults().total, 1);
    let mapping = edu
        .device()
        .map_single(buffer(edu.device(), 1), Bidirectional)
        .unwrap();
    edu.store(&mapping, 0, 8).unwrap();
    drop(mapping.unmap().unwrap());
    edu.stop().detach().unwrap();
    rig.finish_after_faults();
}

#[test]
fn a_restart_confirms_what_was_waited_for() {
    for temper in TEMPERS {
        let config = with(RiscvConfig::default()).with_temper(temper);
        let mut rig = Rig::boot(config);
        let device = rig.attach(EDU);
        let mut edu = rig.edu_on(device);
        let kept = edu
            .device()
            .map_single(buffer(edu.device(), 1), Bidirectional)
            .unwrap();
        let mapping = edu
            .device()
            .map_single(buffer(edu.device(), 1), Bidirectional)
            .unwrap();
        edu.fetch(&kept, 0, 8).unwrap();
        edu.fetch(&mapping, 0, 8).unwrap();
        // What is asked of it is lost: without the restart nobody would ever answer.
        unit(&rig).fail_queue(QueueFault::FetchError);
        let system = rig.system();
        thread::scope(|scope| {
            let waiting = scope.spawn(move || mapping.unmap());
            let unit = unit(&rig);
            wait_until("it is lost", || !unit.is_queue_to_fail());
            // SAFETY: the device is idle.
            unsafe { system.restart_units() }.unwrap();
            // It saw the error before the restart, or it was confirmed by it.
            match waiting.join().unwrap() {
                Ok(buffer) => drop(buffer),
                Err(error) => assert!(matches!(
                    error.error,
                    RevokeError::Unit(UnitError::QueueStopped { .. })
                )),
            }
        });
        edu.store(&kept, 0, 8).unwrap();
        assert_eq!(rig.system().faults().total, 0);
        drop(kept);
        edu.stop().detach().unwrap();
        let _ = rig.finish_with_losses();
    }
}

#[test]
fn a_unit_that_hangs_cannot_be_restarted_nor_stopped_but_tells_so() {
    let rig = plain(impatient(BOUND_MS));
    let device = rig.attach(EDU);
    let mapping = device
        .map_single(buffer(&device, 1), Bidirectional)
        .unwrap();
    unit(&rig).hold_queue();
    let range = mapping.range();
    assert_quarantined(mapping.unmap().unwrap_err(), range);
    // SAFETY: the device is idle.
    let error = unsafe { rig.system().restart_units() }.unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("command queue drain") && text.contains("0xfe900000"),
        "{text}"
    );
    // Nothing may confine a device now, so none is attached.
    let other = rig.function(HEARTBEAT);
    let refused = rig.system().attach(&other, Protection::Strict).unwrap_err();
    assert!(
        matches!(refused, AttachError::UnitsChanging { .. }),
        "{refused}"
    );
    unit(&rig).release_queue();
    // SAFETY: as above.
    unsafe { rig.system().restart_units() }.unwrap();
    drop(rig.attach(HEARTBEAT));
    device.detach().unwrap();
    drop(other);
    rig.finish_after_faults();
}

#[test]
fn no_invalidation_is_lost_when_the_queue_is_full() {
    let rig = plain(BootOptions::default());
    let unit = unit(&rig).clone();
    // Each unmap takes two commands, an invalidation and its fence; the queue has room for 255.
    no_invalidation_is_lost(rig, &*unit, 160);
}

#[test]
fn what_is_mapped_while_tables_are_unlinked_is_reachable_at_once() {
    let rig = plain(BootOptions::default());
    let unit = unit(&rig).clone();
    an_unlinked_table_hides_nothing(rig, unit);
}

#[test]
fn others_map_and_unmap_while_the_unit_restarts() {
    let rig = Rig::boot(with(RiscvConfig::default()));
    restart_under_load(&rig);
    rig.finish_after_faults();
}
