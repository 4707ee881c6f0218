//! Nothing is told twice: what was linked before a restart, which tells the unit all that is mapped, and synced after it.

use std::thread;
use std::time::Duration;

use dmamap::addr::{FRAME_SIZE_LOG2, PhysRange};
use dmamap::device::Device;
use dmamap::iommu::{DomainError, UnitError};
use dmamap::map::{AnyDirection, Attributes, MapFailure, RawIovaSpan, ToDevice};
use dmamap::platform::{FrameRequest, Platform};
use hosted::Hosted;
use hw::virtio::iommu::request::Status;
use machine::bus::Access;
use machine::iommu::translator::Translator;
use machine::iommu::virtio::{QueueFault, VirtioConfig};

use rig::patience::wait_until;
use rig::virtio::{TEMPERS, behind, unit};
use rig::waiting::{A_WHILE, Held};
use rig::{EDU, HEARTBEAT, PAGE, Rig, buffer_of};

const LARGE: u64 = 2 << 20;

fn frames(rig: &Rig, len_bytes: u64, align_log2: u32) -> PhysRange {
    let request = FrameRequest {
        align_log2,
        ..FrameRequest::new((len_bytes / PAGE) as usize)
    };
    rig.kernel.allocate_frames(request).unwrap()
}

/// Addresses for as many bytes as `memory` has.
fn reserved(device: &Device<Hosted>, memory: PhysRange) -> RawIovaSpan<Hosted> {
    let (first, len_bytes) = (memory.start(), memory.len_bytes());
    let direction = AnyDirection::Bidirectional;
    let span = device.iova_try_alloc_raw(first, len_bytes, direction, Attributes::NONE);
    span.unwrap().expect("a unit translates")
}

/// A span of which all of `memory` is linked, and nobody told the unit.
fn linked(device: &Device<Hosted>, memory: PhysRange) -> RawIovaSpan<Hosted> {
    let mut span = reserved(device, memory);
    // SAFETY: the memory lives until it is unlinked, and nobody refers to it.
    unsafe { span.link(0, memory) }.unwrap();
    span
}

/// Takes back all that is linked, and the memory goes.
fn end(rig: &Rig, mut span: RawIovaSpan<Hosted>, memory: PhysRange) {
    // SAFETY: linked as a whole.
    unsafe { span.unlink(0, memory.len_bytes()) }.unwrap();
    span.free().unwrap();
    assert_eq!(rig.machine.audit().leaves, []);
    // SAFETY: no device reaches it.
    unsafe { rig.kernel.free_frames(memory) };
}

fn reaches(rig: &Rig, span: &RawIovaSpan<Hosted>) -> bool {
    let (first, last) = (span.range().start(), span.range().last());
    [first, last].iter().all(|bus| {
        let passed = unit(rig).translate(EDU.id, bus.as_u64(), Access::Write);
        passed.is_ok()
    })
}

#[test]
fn what_a_restart_told_is_not_told_again() {
    for temper in TEMPERS {
        let rig = Rig::boot(behind(VirtioConfig::default()).with_temper(temper));
        let device = rig.attach(EDU);
        let memory = frames(&rig, 3 * PAGE, FRAME_SIZE_LOG2);
        let mut span = linked(&device, memory);
        let maps = || unit(&rig).statistics().maps;
        for _ in 0..2 {
            let before = maps();
            // SAFETY: no device makes requests.
            unsafe { rig.system().restart_units() }.unwrap();
            let told = maps();
            assert_eq!(told - before, 3, "a leaf each");
            span.sync(0, 3 * PAGE).unwrap();
            span.sync(PAGE, PAGE).unwrap();
            assert_eq!(maps(), told);
            assert!(reaches(&rig, &span));
        }
        end(&rig, span, memory);
        // What takes the place of what was told is told.
        let mapping = device
            .map_single(buffer_of(rig.kernel, PAGE, 1), ToDevice)
            .unwrap();
        let bus = mapping.bus_addr().as_u64();
        assert!(unit(&rig).translate(EDU.id, bus, Access::Read).is_ok());
        drop((mapping, device));
        rig.finish();
    }
}

#[test]
fn a_large_leaf_is_told_as_a_whole_and_once() {
    for restarted in [false, true] {
        let rig = Rig::boot(behind(VirtioConfig::default()));
        let device = rig.attach(EDU);
        let memory = frames(&rig, 2 * LARGE, LARGE.ilog2());
        let mut span = linked(&device, memory);
        let before = unit(&rig).statistics().maps;
        span.sync(PAGE, PAGE).unwrap();
        assert_eq!(unit(&rig).statistics().maps - before, 1);
        if restarted {
            // SAFETY: no device makes requests.
            unsafe { rig.system().restart_units() }.unwrap();
        }
        span.sync(0, PAGE).unwrap();
        span.sync(LARGE - PAGE, LARGE + PAGE).unwrap();
        let maps = unit(&rig).statistics().maps - before;
        assert_eq!(maps, if restarted { 3 } else { 2 });
        assert!(reaches(&rig, &span));
        end(&rig, span, memory);
        drop(device);
        rig.finish();
    }
}

/// More leaves than their marks are taken of in one turn of the record's lock.
#[test]
fn a_restart_tells_of_more_than_a_stretch() {
    let rig = Rig::boot(behind(VirtioConfig::default()));
    let device = rig.attach(EDU);
    let pages = 2 * 512 + 7;
    let memory = frames(&rig, pages * PAGE, FRAME_SIZE_LOG2);
    let mut span = reserved(&device, memory);
    for page in 0..pages {
        // From the last to the first: no leaf is large.
        let piece = memory.slice((pages - 1 - page) * PAGE, PAGE).unwrap();
        // SAFETY: the memory lives until it is unlinked, and nobody refers to it.
        unsafe { span.link(page * PAGE, piece) }.unwrap();
    }
    span.sync(0, pages * PAGE).unwrap();
    for _ in 0..2 {
        // SAFETY: no device makes requests.
        unsafe { rig.system().restart_units() }.unwrap();
        for page in 0..pages {
            let bus = span.range().start().as_u64() + page * PAGE;
            let passed = unit(&rig).translate(EDU.id, bus, Access::Write);
            assert!(passed.is_ok(), "page {page}");
        }
    }
    end(&rig, span, memory);
    drop(device);
    rig.finish();
}

#[test]
fn what_the_unit_refused_is_asked_again() {
    let rig = Rig::boot(behind(VirtioConfig::default()));
    let device = rig.attach(EDU);
    let memory = frames(&rig, PAGE, FRAME_SIZE_LOG2);
    let mut span = linked(&device, memory);
    unit(&rig).fail_queue(QueueFault::Answer(Status::NoMemory));
    let error = span.sync(0, PAGE).unwrap_err();
    let refused = matches!(
        error.failure,
        MapFailure::Domain(DomainError::Unit(UnitError::Refused { .. }))
    );
    assert!(refused, "{error}");
    span.sync(0, PAGE).unwrap();
    assert!(reaches(&rig, &span));
    end(&rig, span, memory);
    drop(device);
    rig.finish();
}

/// The restart is met when it has told all of the first device's domain, and the second one's is to come.
#[test]
fn who_finds_all_told_by_a_restart_waits_until_it_is_over() {
    let rig = Rig::boot(behind(VirtioConfig::default()));
    let (device, other) = (rig.attach(EDU), rig.attach(HEARTBEAT));
    let memory = frames(&rig, PAGE, FRAME_SIZE_LOG2);
    let mut span = linked(&device, memory);
    let bus = span.range().start().as_u64();
    let is_told = || unit(&rig).translate(EDU.id, bus, Access::Write).is_ok();
    let mut met = false;
    for round in 1..20 {
        let attaches = unit(&rig).statistics().attaches;
        unit(&rig).delay_queue(Duration::from_millis(20 * round));
        thread::scope(|scope| {
            let restarting = scope.spawn(|| {
                // SAFETY: no device makes requests.
                unsafe { rig.system().restart_units() }.unwrap();
            });
            wait_until("the first is back", || {
                unit(&rig).statistics().attaches > attaches
            });
            wait_until("its mapping, too", is_told);
            let held = Held::new(unit(&rig));
            let syncing = scope.spawn(|| span.sync(0, PAGE).unwrap());
            thread::sleep(A_WHILE);
            let is_over = syncing.is_finished();
            // Else the host was too busy to be in time.
            met = unit(&rig).statistics().attaches == attaches + 1;
            assert!(!(met && is_over));
            drop(held);
            syncing.join().unwrap();
            restarting.join().unwrap();
        });
        if met {
            break;
        }
    }
    unit(&rig).delay_queue(Duration::ZERO);
    assert!(met, "the restart was over each time");
    assert!(reaches(&rig, &span));
    end(&rig, span, memory);
    drop((device, other));
    rig.finish_after_faults();
}
