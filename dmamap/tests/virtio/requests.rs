//! What a virtio-iommu is asked, and what happens when it does not do it.

use std::thread;
use std::time::{Duration, Instant};

use dmamap::buffer::{DmaBuffer, ScatteredBuffer};
use dmamap::device::Device;
use dmamap::iommu::{DomainError, RevokeError, UnitError};
use dmamap::map::{Bidirectional, FromDevice, MapFailure, ToDevice};
use dmamap::platform::{FrameRequest, Platform};
use dmamap::system::{AttachError, Protection};
use hosted::Hosted;
use hw::virtio::iommu::request::Status;
use machine::bus::Access;
use machine::iommu::translator::Translator;
use machine::iommu::virtio::{QueueFault, VirtioConfig};
use machine::temper::Temper;
use rig::patience::wait_until;
use rig::virtio::{TEMPERS, UNIT, behind, unit};
use rig::waiting::{A_WHILE, Held, while_under_way};
use rig::{EDU, PAGE, Rig, buffer_of, impatient, restart_under_load};

/// A bound short enough to be waited for in a test, and long enough for a unit that answers, on a busy host.
const BOUND_MS: u64 = 150;

fn boot(temper: Temper) -> Rig {
    Rig::boot(behind(VirtioConfig::default()).with_temper(temper))
}

fn boot_impatient() -> Rig {
    Rig::boot_with(behind(VirtioConfig::default()), impatient(BOUND_MS))
}

fn one_page(device: &Device<Hosted>) -> DmaBuffer<Hosted> {
    DmaBuffer::allocate(device.platform(), PAGE).unwrap()
}

/// Memory of which no page follows another.
fn in_pieces(kernel: Hosted, pages: u64) -> ScatteredBuffer<Hosted> {
    let frames: Vec<_> = (0..4 * pages)
        .map(|_| kernel.allocate_frames(FrameRequest::new(1)).unwrap())
        .collect();
    let (kept, free): (Vec<_>, Vec<_>) = frames
        .into_iter()
        .partition(|frame| (frame.start().as_u64() / PAGE).is_multiple_of(2));
    for frame in free {
        // SAFETY: nothing refers to it.
        unsafe { kernel.free_frames(frame) };
    }
    let buffer = ScatteredBuffer::allocate(kernel, pages * PAGE).unwrap();
    for frame in kept {
        // SAFETY: nothing refers to it.
        unsafe { kernel.free_frames(frame) };
    }
    buffer
}

#[test]
fn a_scattered_list_is_one_request_a_run_and_unmapped_by_one() {
    for queue_size_max in [4, 8, 256] {
        let rig = Rig::boot(behind(VirtioConfig {
            queue_size_max,
            ..VirtioConfig::default()
        }));
        let device = rig.attach(EDU);
        let before = unit(&rig).statistics();
        let list = in_pieces(rig.kernel, 100);
        let list = device.map_sg(list, Bidirectional).unwrap();
        let mapped = unit(&rig).statistics();
        assert_eq!(mapped.maps - before.maps, 100);
        let segments: Vec<_> = list.segments().collect();
        let (first, last) = (segments[0], segments[segments.len() - 1]);
        let spanned = last.last().as_u64() - first.start().as_u64() + 1;
        assert_eq!(spanned, 100 * PAGE, "side by side on the bus");
        drop(list.unmap().unwrap());
        let unmapped = unit(&rig).statistics();
        assert_eq!(unmapped.unmaps - mapped.unmaps, 1);
        // Several were under way at once: the unit was told of many by one notification.
        let notifications = mapped.notifications - before.notifications;
        let at_once = (u64::from(queue_size_max.min(128)) / 2 - 1).min(32);
        assert_eq!(notifications, 100_u64.div_ceil(at_once));

        let whole = device
            .map_single(buffer_of(rig.kernel, 100 * PAGE, 1), ToDevice)
            .unwrap();
        assert_eq!(unit(&rig).statistics().maps - mapped.maps, 1);
        drop(whole);
        drop(device);
        rig.finish();
    }
}

#[test]
fn a_domain_is_known_to_the_unit_from_attach_to_detach() {
    for temper in TEMPERS {
        let rig = boot(temper);
        for _ in 0..3 {
            let device = rig.attach(EDU);
            let mapping = device.map_single(one_page(&device), ToDevice).unwrap();
            let bus = mapping.bus_addr().as_u64();
            assert!(unit(&rig).translate(EDU.id, bus, Access::Read).is_ok());
            assert!(unit(&rig).translate(EDU.id, bus, Access::Write).is_err());
            // The device goes first: then the unit has forgotten its domain.
            device.detach().unwrap();
            assert!(unit(&rig).translate(EDU.id, bus, Access::Read).is_err());
            drop(mapping);
        }
        let statistics = unit(&rig).statistics();
        assert_eq!((statistics.attaches, statistics.detaches), (3, 3));
        rig.finish_after_faults();
    }
}

#[test]
fn map_and_unmap_return_when_the_unit_has_answered() {
    for temper in TEMPERS {
        let rig = boot(temper);
        let device = rig.attach(EDU);
        let buffer = one_page(&device);
        let mapping = while_under_way(Held::new(unit(&rig)), || {
            device.map_single(buffer, ToDevice).unwrap()
        });
        let buffer = while_under_way(Held::new(unit(&rig)), move || mapping.unmap().unwrap());
        drop(buffer);
        while_under_way(Held::new(unit(&rig)), move || device.detach().unwrap());
        rig.finish();
    }
}

#[test]
fn unmap_waits_for_what_the_device_is_doing() {
    let rig = boot(Temper::Keep);
    let device = rig.attach(EDU);
    let mapping = device.map_single(one_page(&device), FromDevice).unwrap();
    let bus = mapping.bus_addr().as_u64();
    let in_flight = unit(&rig).translate(EDU.id, bus, Access::Write).unwrap();
    drop(while_under_way(in_flight, move || mapping.unmap().unwrap()));
    drop(device);
    rig.finish();
}

#[track_caller]
fn assert_timed_out(error: UnitError, expected: &str) {
    match error {
        UnitError::TimedOut {
            unit,
            command,
            bound_ms,
        } => assert_eq!((unit, command, bound_ms), (UNIT, expected, BOUND_MS)),
        other => panic!("{other}"),
    }
}

#[test]
fn a_unit_that_never_answers_is_an_error_that_names_it_and_the_request() {
    let rig = boot_impatient();
    let device = rig.attach(EDU);
    let mapping = device.map_single(one_page(&device), ToDevice).unwrap();
    let buffer = one_page(&device);
    unit(&rig).hold_queue();
    let begun = Instant::now();
    let quarantined = mapping.unmap().unwrap_err();
    assert!(begun.elapsed() >= Duration::from_millis(BOUND_MS));
    match quarantined.error {
        RevokeError::Unit(error) => assert_timed_out(error, "UNMAP"),
        other => panic!("{other}"),
    }
    let rejected = device.map_single(buffer, ToDevice).unwrap_err();
    match rejected.error.failure {
        MapFailure::Domain(DomainError::Unconfirmed { cause, undo }) => {
            assert_timed_out(cause, "MAP");
            match undo {
                RevokeError::Unit(error) => assert_timed_out(error, "UNMAP"),
                other => panic!("{other}"),
            }
        }
        other => panic!("{other}"),
    }
    unit(&rig).release_queue();
    // What was asked for is done in the end, and does not disturb what comes after.
    for _ in 0..100 {
        drop(device.map_single(one_page(&device), ToDevice).unwrap());
    }
    assert_eq!(device.figures().quarantined_bytes, 2 * PAGE);
    device.detach().unwrap();
    // With the detach what was not confirmed came back.
    rig.finish();
}

#[test]
fn attaching_to_a_unit_that_never_answers_fails() {
    let rig = boot_impatient();
    let function = rig.function(EDU);
    unit(&rig).hold_queue();
    let error = rig.system().attach(&function, Protection::Strict);
    match error.unwrap_err() {
        AttachError::Domain {
            error: DomainError::Unit(error),
            ..
        } => assert_timed_out(error, "PROBE"),
        other => panic!("{other}"),
    }
    unit(&rig).release_queue();
    let device = rig.attach(EDU);
    drop((function, device));
    rig.finish();
}

#[test]
fn a_map_that_the_unit_refuses_is_undone_and_gives_the_buffer_back() {
    for temper in TEMPERS {
        let rig = boot(temper);
        let device = rig.attach(EDU);
        for status in [Status::NoMemory, Status::DeviceError, Status::Range] {
            unit(&rig).fail_queue(QueueFault::Answer(status));
            let rejected = device.map_single(one_page(&device), ToDevice).unwrap_err();
            match rejected.error.failure {
                MapFailure::Domain(DomainError::Unit(UnitError::Refused {
                    unit,
                    command,
                    reason,
                })) => assert_eq!((unit, command, reason), (UNIT, "MAP", status.text())),
                other => panic!("{other}"),
            }
            assert!(rejected.buffer.is_some());
        }
        assert_eq!(rig.machine.audit().leaves, []);
        // A list of which one piece is refused goes as a whole.
        unit(&rig).fail_queue(QueueFault::Answer(Status::NoMemory));
        let rejected = device
            .map_sg(in_pieces(rig.kernel, 9), ToDevice)
            .unwrap_err();
        assert!(rejected.buffer.is_some());
        assert_eq!(rig.machine.audit().leaves, []);
        drop((rejected, device));
        rig.finish();
    }
}

#[test]
fn a_unit_without_room_says_so() {
    let rig = Rig::boot(behind(VirtioConfig {
        mappings_max: 3,
        ..VirtioConfig::default()
    }));
    let device = rig.attach(EDU);
    let mappings: Vec<_> = (0..3)
        .map(|_| device.map_single(one_page(&device), ToDevice).unwrap())
        .collect();
    let rejected = device.map_single(one_page(&device), ToDevice).unwrap_err();
    assert!(rejected.to_string().contains("out of memory"), "{rejected}");
    drop((rejected, mappings));
    drop(device.map_single(one_page(&device), ToDevice).unwrap());
    drop(device);
    rig.finish();
}

#[test]
fn an_endpoint_that_the_unit_does_not_know_cannot_be_attached() {
    let rig = boot(Temper::Keep);
    let function = rig.function(EDU);
    let lent = rig.frames_in_use();
    unit(&rig).fail_queue(QueueFault::Answer(Status::NoEntry));
    let error = rig.system().attach(&function, Protection::Strict);
    let text = error.unwrap_err().to_string();
    assert!(text.contains("PROBE") && text.contains("no such"), "{text}");
    assert_eq!(rig.frames_in_use(), lent);
    let device = rig.attach(EDU);
    drop((function, device));
    rig.finish();
}

#[test]
fn a_unit_that_lies_in_its_used_ring_is_stopped_and_works_after_a_restart() {
    for lie in [1, 3, 0x1_0000, u32::MAX, 6] {
        let rig = boot_impatient();
        let device = rig.attach(EDU);
        let mapping = device.map_single(one_page(&device), ToDevice).unwrap();
        let kept = device.map_single(one_page(&device), ToDevice).unwrap();
        unit(&rig).fail_queue(QueueFault::UsedAs(lie));
        let quarantined = mapping.unmap().unwrap_err();
        match quarantined.error {
            RevokeError::Unit(UnitError::QueueStopped { unit, reason, .. }) => {
                assert_eq!(unit, UNIT);
                assert!(reason.contains("not under way"), "{reason}");
            }
            other => panic!("{other}"),
        }
        // SAFETY: no device makes requests.
        unsafe { rig.system().restart_units() }.unwrap();
        let bus = kept.bus_addr().as_u64();
        assert!(unit(&rig).translate(EDU.id, bus, Access::Read).is_ok());
        drop(kept);
        drop(device.map_single(one_page(&device), ToDevice).unwrap());
        device.detach().unwrap();
        // With the detach what was not confirmed came back.
        rig.finish();
    }
}

#[test]
fn a_unit_that_needs_a_reset_is_told_from_one_that_is_slow() {
    let rig = boot(Temper::Keep);
    let device = rig.attach(EDU);
    let mapping = device.map_single(one_page(&device), ToDevice).unwrap();
    unit(&rig).fail_queue(QueueFault::NeedsReset);
    let begun = Instant::now();
    let quarantined = mapping.unmap().unwrap_err();
    assert!(begun.elapsed() < Duration::from_secs(10), "its bound");
    assert!(
        quarantined.to_string().contains("needs a reset"),
        "{quarantined}"
    );
    // SAFETY: no device makes requests.
    unsafe { rig.system().restart_units() }.unwrap();
    drop(device.map_single(one_page(&device), ToDevice).unwrap());
    device.detach().unwrap();
    // With the detach what was not confirmed came back.
    rig.finish();
}

#[test]
fn after_a_restart_every_mapping_is_there_and_can_go_alone() {
    for temper in TEMPERS {
        let mut rig = boot(temper);
        let mut edu = rig.edu();
        let device = edu.device();
        // Neighbours on the bus, some of them in memory too; large leaves; pieces.
        let pages: Vec<_> = (0..20)
            .map(|_| device.map_single(one_page(device), FromDevice).unwrap())
            .collect();
        let large = device
            .map_single(buffer_of(rig.kernel, 3 << 20, 0x11), ToDevice)
            .unwrap();
        let list = device
            .map_sg(in_pieces(rig.kernel, 40), Bidirectional)
            .unwrap();
        let gone = device.map_single(one_page(device), FromDevice).unwrap();
        let gone_bus = gone.bus_addr().as_u64();
        drop(gone);
        let before = rig.machine.audit().reachable_bytes();
        for _ in 0..2 {
            // SAFETY: no device makes requests.
            unsafe { rig.system().restart_units() }.unwrap();
            assert_eq!(rig.machine.audit().reachable_bytes(), before);
        }
        assert!(
            unit(&rig)
                .translate(EDU.id, gone_bus, Access::Write)
                .is_err()
        );
        for page in &pages {
            edu.store(page, 0, 8).unwrap();
        }
        edu.fetch(&large, (3 << 20) - 8, 8).unwrap();
        let total = rig.system().faults().total;
        for page in pages {
            drop(page.unmap().unwrap());
        }
        drop(large.unmap().unwrap());
        drop(list.unmap().unwrap());
        assert_eq!(rig.machine.audit().reachable_bytes(), 0);
        assert_eq!(rig.system().faults().total, total);
        drop(edu);
        rig.finish_after_faults();
    }
}

#[test]
fn an_unmap_that_was_waiting_is_confirmed_by_a_restart() {
    let rig = boot(Temper::Keep);
    let device = rig.attach(EDU);
    let mapping = device.map_single(one_page(&device), ToDevice).unwrap();
    let bus = mapping.bus_addr().as_u64();
    unit(&rig).fail_queue(QueueFault::Lost);
    thread::scope(|scope| {
        let unmapping = scope.spawn(move || mapping.unmap().unwrap());
        wait_until("the request is lost", || !unit(&rig).is_queue_to_fail());
        thread::sleep(A_WHILE);
        assert!(!unmapping.is_finished());
        // SAFETY: no device makes requests.
        unsafe { rig.system().restart_units() }.unwrap();
        drop(unmapping.join().unwrap());
    });
    assert!(unit(&rig).translate(EDU.id, bus, Access::Read).is_err());
    drop(device);
    rig.finish_after_faults();
}

#[test]
fn many_cpus_share_the_queue() {
    for temper in TEMPERS {
        let rig = boot(temper);
        let device = rig.attach(EDU);
        thread::scope(|scope| {
            for cpu in 0..4 {
                let device = &device;
                scope.spawn(move || {
                    for round in 0..50 {
                        let pages = 1 + (cpu + round) % 7;
                        let list = ScatteredBuffer::allocate(device.platform(), pages * PAGE);
                        let list = device.map_sg(list.unwrap(), Bidirectional).unwrap();
                        drop(list.unmap().unwrap());
                    }
                });
            }
        });
        assert_eq!(rig.machine.audit().leaves, []);
        drop(device);
        rig.finish();
    }
}

#[test]
fn others_map_and_unmap_while_the_unit_restarts() {
    let rig = boot(Temper::Keep);
    restart_under_load(&rig);
    // Not without findings: a detach of what was not attached again is refused.
    for finding in rig.machine.findings() {
        let text = finding.to_string();
        assert!(
            text.starts_with("viommu: protocol violation: Detach "),
            "{text}"
        );
    }
    rig.abandon();
}
