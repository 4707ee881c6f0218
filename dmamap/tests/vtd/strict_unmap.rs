//! Unmapping waits for the unit, and gives nothing back that the unit did not confirm.

use std::thread;
use std::time::{Duration, Instant};

use board::hardware::Width;

use dmamap::addr::{BusRange, DmaMask};
use dmamap::buffer::{DmaBuffer, ScatteredBuffer};
use dmamap::device::Device;
use dmamap::iommu::RevokeError;
use dmamap::iommu::UnitError;
use dmamap::map::{Bidirectional, FromDevice, Mapping, Quarantined, ToDevice};
use dmamap::pagetable::KEPT_TABLES;
use dmamap::system::{AttachError, Protection, ShutdownError};
use hosted::Hosted;
use hw::vtd::regs;
use machine::MachineConfig;
use machine::iommu::Unit;
use machine::iommu::vtd::{CachingMode, QueueFault, VtdConfig, VtdUnit};
use machine::temper::Temper;
use rig::patience::{NEVER, wait_until};
use rig::waiting::{A_WHILE, Held, while_there_is};
use rig::{
    EDU, FIRST_BLOCK_FRAMES, FIRST_LANE_FRAMES, FIRST_LARGE_BLOCK_FRAMES, MORE_THAN_IS_KEPT, PAGE,
    Rig, UNITS, impatient, share_a_page, small,
};

/// A bound short enough to be waited for in a test, and long enough for a unit that answers, on a busy host.
const BOUND_MS: u64 = 150;

/// Every temper of the models' caches.
const TEMPERS: [Temper; 3] = [Temper::Keep, Temper::Forget, Temper::Random(7)];

fn buffer(device: &Device<Hosted>, pages: u64) -> DmaBuffer<Hosted> {
    DmaBuffer::allocate(device.platform(), pages * PAGE).unwrap()
}

/// Who did not finish in time.
fn assert_timed_out(error: UnitError) {
    match error {
        UnitError::TimedOut { unit, bound_ms, .. } => {
            assert_eq!((unit, bound_ms), (UNITS[0], BOUND_MS));
        }
        other => panic!("{other}"),
    }
}

fn assert_quarantined(error: Quarantined, range: BusRange) {
    assert_eq!((error.device, error.range), (EDU, range));
    match error.error {
        RevokeError::Unit(unit) => assert_timed_out(unit),
        other => panic!("{other}"),
    }
    assert!(error.to_string().contains("0xfed90000"), "{error}");
}

#[test]
fn unmap_does_not_return_before_the_wait_descriptor_completed() {
    for temper in TEMPERS {
        let rig = Rig::boot(small().with_temper(temper));
        let device = rig.attach(EDU);
        let mapping = device
            .map_single(buffer(&device, 1), Bidirectional)
            .unwrap();
        let buffer = while_there_is(
            Held::new(rig.unit(0)),
            move || mapping.unmap().unwrap(),
            || {},
        );
        drop(buffer);
        drop(device);
        rig.finish();
    }
}

#[test]
fn dropping_a_mapping_and_freeing_coherent_memory_wait_too() {
    let rig = Rig::boot(small());
    let device = rig.attach(EDU);
    let before = rig.frames_in_use();
    let mapping = device
        .map_single(buffer(&device, 1), Bidirectional)
        .unwrap();
    let coherent = device.alloc_coherent::<u64>(512).unwrap();
    let dropped = device.alloc_coherent::<u64>(512).unwrap();
    let (kernel, lent) = (rig.kernel, rig.frames_in_use());
    let nothing_back = || assert_eq!(kernel.frames().in_use, lent);
    while_there_is(Held::new(rig.unit(0)), move || drop(mapping), nothing_back);
    let lent = rig.frames_in_use();
    let nothing_back = || assert_eq!(kernel.frames().in_use, lent);
    while_there_is(
        Held::new(rig.unit(0)),
        move || coherent.free().unwrap(),
        nothing_back,
    );
    let lent = rig.frames_in_use();
    let nothing_back = || assert_eq!(kernel.frames().in_use, lent);
    while_there_is(Held::new(rig.unit(0)), move || drop(dropped), nothing_back);
    device.reclaim().unwrap();
    assert_eq!(rig.frames_in_use(), before);
    drop(device);
    rig.finish();
}

#[test]
fn other_cpus_map_meanwhile_but_never_at_the_addresses_waited_for() {
    let rig = Rig::boot(small());
    let device = rig.attach(EDU);
    let mapping = device
        .map_single(buffer(&device, 4), Bidirectional)
        .unwrap();
    let freed = mapping.range();
    let unmapped = while_there_is(
        Held::new(rig.unit(0)),
        move || mapping.unmap().unwrap(),
        || {
            let others: Vec<_> = (0..64)
                .map(|n| {
                    device
                        .map_single(buffer(&device, 1 + n % 5), ToDevice)
                        .unwrap()
                })
                .collect();
            let reused = others
                .iter()
                .map(Mapping::range)
                .find(|&other| share_a_page(other, freed));
            // Their unmaps would wait as well: not in this thread, which is to release the queue.
            thread::spawn(move || drop(others));
            assert_eq!(reused, None, "{freed} is used again");
        },
    );
    drop(unmapped);
    // Once the wait is over the addresses are free again: the lowest ones are taken first, when no CPU has them to itself.
    wait_until("all are unmapped", || device.figures().live_mappings == 0);
    device.reclaim().unwrap();
    let mut again = Vec::new();
    let reused = (0..200).any(|_| {
        again.push(device.map_single(buffer(&device, 1), ToDevice).unwrap());
        share_a_page(again[again.len() - 1].range(), freed)
    });
    assert!(reused, "{freed} is never used again");
    drop(again);
    wait_until("all are unmapped", || device.figures().live_mappings == 0);
    drop(device);
    rig.finish();
}

#[test]
fn tables_are_not_freed_before_the_unit_let_go_of_them() {
    for temper in TEMPERS {
        let rig = Rig::boot(small().with_temper(temper));
        let device = rig.attach(EDU);
        let born_with = device.domain_frames();
        // So many tables that some are unlinked when all become empty.
        let large = ScatteredBuffer::allocate(device.platform(), MORE_THAN_IS_KEPT).unwrap();
        let mapping = device.map_sg(large, FromDevice).unwrap();
        let (kernel, lent) = (rig.kernel, rig.frames_in_use());
        let tables = device.domain_frames();
        let nothing_back = || assert_eq!(kernel.frames().in_use, lent, "given back too early");
        let large = while_there_is(
            Held::new(rig.unit(0)),
            move || mapping.unmap().unwrap(),
            nothing_back,
        );
        let kept = device.domain_frames();
        assert!(
            kept < tables,
            "no table was unlinked: {kept} of {tables} are left"
        );
        assert_eq!(rig.frames_in_use(), lent - (tables - kept) as u64);

        // The tables at the bottom that were kept, and one above them. What no hardware ever saw goes at once, and nothing else: the
        // records kept beside the upper one, and the block of bus addresses.
        let lent = rig.frames_in_use();
        let records = 1 + FIRST_LARGE_BLOCK_FRAMES;
        while_there_is(
            Held::new(rig.unit(0)),
            || device.reclaim().unwrap(),
            || assert_eq!(kernel.frames().in_use, lent - records),
        );
        assert_eq!(rig.frames_in_use(), lent - records - KEPT_TABLES as u64 - 1);
        assert!(device.domain_frames() <= born_with);
        drop(large);
        drop(device);
        rig.finish();
    }
}

#[test]
fn what_is_mapped_while_tables_are_unlinked_is_reachable_at_once() {
    // A unit that keeps everything remembers the way to a table that became empty. What is mapped there before
    // it has forgotten must not be looked for in the old table.
    let mut rig = Rig::boot(small());
    let mut edu = rig.edu();
    let warm = edu
        .device()
        .map_single(buffer(edu.device(), 1), ToDevice)
        .unwrap();
    let bus = warm.bus_addr();
    edu.fetch(&warm, 0, 8).unwrap();
    drop(warm);
    // So many tables that the one for `bus` is unlinked when these become empty.
    let large = ScatteredBuffer::allocate(rig.kernel, MORE_THAN_IS_KEPT).unwrap();
    let large = edu.device().map_sg(large, FromDevice).unwrap();
    let unit = rig.unit(0);
    unit.hold_queue();
    thread::scope(|scope| {
        scope.spawn(move || drop(large.unmap().unwrap()));
        scope.spawn(|| {
            thread::sleep(2 * A_WHILE);
            unit.release_queue();
        });
        thread::sleep(A_WHILE);
        let mapping = edu
            .device()
            .map_single(buffer(edu.device(), 1), ToDevice)
            .unwrap();
        assert_eq!(
            mapping.bus_addr(),
            bus,
            "this test needs the old table's address"
        );
        edu.fetch(&mapping, 0, 8).unwrap();
    });
    drop(edu);
    rig.finish();
}

#[test]
fn an_unmap_that_is_never_confirmed_quarantines_the_memory() {
    let rig = Rig::boot_with(small(), impatient(BOUND_MS));
    let device = rig.attach(EDU);
    let mapping = device
        .map_single(buffer(&device, 3), Bidirectional)
        .unwrap();
    let (range, lent) = (mapping.range(), rig.frames_in_use());

    rig.unit(0).hold_queue();
    let begun = Instant::now();
    let error = mapping.unmap().unwrap_err();
    let waited = begun.elapsed();
    assert!(
        waited >= Duration::from_millis(BOUND_MS),
        "it gave up after {waited:?}"
    );
    assert!(waited < NEVER, "it waited for {waited:?}");
    assert_quarantined(error, range);
    let figures = device.figures();
    assert_eq!(
        (figures.quarantined_bytes, figures.live_mappings),
        (3 * PAGE, 0)
    );
    assert!(
        rig.frames_in_use() >= lent,
        "memory the device may still reach was given back"
    );
    rig.unit(0).release_queue();

    // Neither the addresses nor the memory come back by themselves.
    let others: Vec<_> = (0..100)
        .map(|_| device.map_single(buffer(&device, 1), ToDevice).unwrap())
        .collect();
    for other in &others {
        assert!(
            !share_a_page(other.range(), range),
            "{other:?} reuses {range}"
        );
    }
    drop(others);
    assert_eq!(device.figures().quarantined_bytes, 3 * PAGE);
    device.detach().unwrap();
    // Its unit confirms the detach, and so all that it did not confirm before.
    rig.finish();
}

#[test]
fn drops_and_frees_and_lists_that_are_never_confirmed_are_quarantined_too() {
    let rig = Rig::boot_with(small(), impatient(BOUND_MS));
    let device = rig.attach(EDU);
    let dropped = device
        .map_single(buffer(&device, 1), Bidirectional)
        .unwrap();
    let scattered = ScatteredBuffer::allocate(device.platform(), 2 * PAGE).unwrap();
    let list = device.map_sg(scattered, FromDevice).unwrap();
    let list_range = list.segments().next().unwrap();
    let freed = device.alloc_coherent::<u32>(2048).unwrap();
    let freed_range = freed.range();
    let coherent_dropped = device.alloc_coherent::<u8>(1).unwrap();
    let lent = rig.frames_in_use();

    rig.unit(0).hold_queue();
    drop(dropped);
    assert_quarantined(list.unmap().unwrap_err(), list_range);
    assert_quarantined(freed.free().unwrap_err(), freed_range);
    drop(coherent_dropped);
    rig.unit(0).release_queue();

    assert!(rig.frames_in_use() >= lent, "memory was given back");
    assert_eq!(
        device.figures().quarantined_bytes,
        PAGE + 2 * PAGE + 8192 + 1
    );
    assert_eq!(device.figures().live_mappings, 0);
    device.detach().unwrap();
    // Its unit confirms the detach, and so all that it did not confirm before.
    rig.finish();
}

#[test]
fn tables_whose_invalidation_was_never_confirmed_are_kept() {
    let rig = Rig::boot_with(small(), impatient(BOUND_MS));
    let device = rig.attach(EDU);
    drop(
        device
            .map_single(buffer(&device, 1), Bidirectional)
            .unwrap(),
    );
    let lent = rig.frames_in_use();
    rig.unit(0).hold_queue();
    assert_timed_out(device.reclaim().unwrap_err());
    rig.unit(0).release_queue();
    // What no hardware ever saw goes, and no table: the records kept beside one, and what there was of the block of bus
    // addresses and of the lane that it was lent to.
    let records = 1 + FIRST_BLOCK_FRAMES + FIRST_LANE_FRAMES;
    assert_eq!(rig.frames_in_use(), lent - records);
    device.detach().unwrap();
    // Its unit confirms the detach, and so all that it did not confirm before.
    rig.finish();
}

#[test]
fn after_a_detach_that_was_not_confirmed_nothing_of_the_device_is_used_again() {
    let rig = Rig::boot_with(small(), impatient(BOUND_MS));
    let device = rig.attach(EDU);
    let mapping = device
        .map_single(buffer(&device, 1), Bidirectional)
        .unwrap();
    let dropped = device.alloc_coherent::<u64>(1).unwrap();
    let range = mapping.range();
    let lent = rig.frames_in_use();

    rig.unit(0).hold_queue();
    let error = device.detach().unwrap_err();
    assert_eq!(error.device(), EDU);
    assert_timed_out(error.unit_error().unwrap());
    rig.unit(0).release_queue();

    let error = mapping.unmap().unwrap_err();
    assert_eq!((error.device, error.range), (EDU, range));
    assert_eq!(error.error, RevokeError::DetachUnconfirmed);
    drop(dropped);
    // But what no hardware ever saw: the memory of records, and of the lane.
    assert!(
        rig.frames_in_use() >= lent - 1 - FIRST_LANE_FRAMES,
        "memory or tables were given back"
    );

    let function = rig.function(EDU);
    for protection in [Protection::Strict, Protection::Blocked] {
        match rig.system().attach(&function, protection) {
            Err(AttachError::AlreadyAttached { device }) => assert_eq!(device, EDU),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(
        // SAFETY: refused, or the models obey their bus-master bit.
        unsafe { rig.system().shutdown() },
        Err(ShutdownError::StillAttached { device: EDU })
    );
    rig.assert_no_findings();
    rig.abandon();
}

#[test]
fn a_queue_that_stopped_is_a_typed_error_at_once() {
    // The bound is long: the error register, not patience, tells.
    let rig = Rig::boot_with(small(), impatient(20_000));
    let device = rig.attach(EDU);
    let mappings: Vec<_> = (0..3)
        .map(|_| {
            device
                .map_single(buffer(&device, 1), Bidirectional)
                .unwrap()
        })
        .collect();
    rig.unit(0).fail_queue(QueueFault::FetchError);
    let begun = Instant::now();
    for mapping in mappings {
        let error = mapping.unmap().unwrap_err();
        match error.error {
            RevokeError::Unit(UnitError::QueueStopped { unit, reason, .. }) => {
                assert_eq!((unit, reason), (UNITS[0], "descriptor fetch failed"));
            }
            other => panic!("{other}"),
        }
    }
    assert_eq!(device.figures().quarantined_bytes, 3 * PAGE);
    assert!(matches!(
        device.detach().unwrap_err().unit_error().unwrap(),
        UnitError::QueueStopped { .. }
    ));
    assert!(
        begun.elapsed() < Duration::from_secs(20),
        "it took {:?}",
        begun.elapsed()
    );
    rig.assert_no_findings();
    rig.abandon();
}

#[test]
fn a_wait_that_ends_late_is_not_mistaken_for_the_next() {
    let rig = Rig::boot_with(small(), impatient(BOUND_MS));
    let device = rig.attach(EDU);
    let mapping = device
        .map_single(buffer(&device, 1), Bidirectional)
        .unwrap();
    let next = device
        .map_single(buffer(&device, 1), Bidirectional)
        .unwrap();
    let (range, next_range) = (mapping.range(), next.range());
    let unit = rig.unit(0);
    unit.hold_queue();
    assert_quarantined(mapping.unmap().unwrap_err(), range);
    // The first wait is done as soon as the queue moves; the second unmap is told of its own only.
    unit.release_queue();
    wait_until("the queue moved", || {
        read_qword(unit, regs::IQH_REG) == read_qword(unit, regs::IQT_REG)
    });
    unit.delay_queue(NEVER);
    assert_quarantined(next.unmap().unwrap_err(), next_range);
    unit.delay_queue(Duration::ZERO);
    drop(
        device
            .map_single(buffer(&device, 1), Bidirectional)
            .unwrap(),
    );
    assert_eq!(device.figures().quarantined_bytes, 2 * PAGE);
    device.detach().unwrap();
    rig.finish();
}

#[test]
fn a_full_queue_that_never_moves_is_a_timeout_for_everybody() {
    let rig = Rig::boot_with(small(), impatient(2 * BOUND_MS));
    let device = rig.attach(EDU);
    let mappings: Vec<_> = (0..160)
        .map(|_| device.map_single(buffer(&device, 1), ToDevice).unwrap())
        .collect();
    rig.unit(0).hold_queue();
    thread::scope(|scope| {
        for mapping in mappings {
            scope.spawn(move || mapping.unmap().map(drop).unwrap_err());
        }
    });
    let figures = device.figures();
    assert_eq!(
        (figures.quarantined_bytes, figures.live_mappings),
        (160 * PAGE, 0)
    );
    rig.unit(0).release_queue();
    // The queue moves again, and so do unmaps.
    drop(
        device
            .map_single(buffer(&device, 1), ToDevice)
            .unwrap()
            .unmap()
            .unwrap(),
    );
    device.detach().unwrap();
    // Its unit confirms the detach, and so all that it did not confirm before.
    rig.finish();
}

/// A register of the unit.
fn read_qword(unit: &VtdUnit, offset: u64) -> u64 {
    unit.read_register(offset, Width::Qword)
}

/// A machine whose units are to be told of every mapping made.
fn caching() -> MachineConfig {
    let unit = VtdConfig {
        caching_mode: CachingMode::NotPresentToo,
        ..VtdConfig::default()
    };
    small().with_iommu(rig::vtd(unit))
}

#[test]
fn a_mapping_that_is_not_made_visible_in_time_keeps_its_memory() {
    let rig = Rig::boot_with(caching(), impatient(BOUND_MS));
    let device = rig.attach(EDU);
    let lent = rig.frames_in_use();
    rig.unit(0).hold_queue();
    let single = device
        .map_single(buffer(&device, 2), Bidirectional)
        .unwrap_err();
    let scattered = ScatteredBuffer::allocate(device.platform(), PAGE).unwrap();
    let list = device.map_sg(scattered, FromDevice).unwrap_err();
    let coherent = device.alloc_coherent::<u32>(1).unwrap_err();
    rig.unit(0).release_queue();
    for error in [single.error, list.error] {
        assert!(error.leaves_memory_reachable(), "{error}");
        assert_eq!(error.device, EDU);
    }
    assert!(single.buffer.is_none() && list.buffer.is_none());
    assert!(
        coherent.to_string().contains("its memory is kept"),
        "{coherent}"
    );
    let figures = device.figures();
    assert_eq!((figures.maps, figures.live_mappings), (0, 0));
    assert_eq!(figures.quarantined_bytes, 2 * PAGE + PAGE + 4);
    assert!(rig.frames_in_use() >= lent + 4, "memory was given back");
    // Neither addresses nor memory are used again, and mapping works on.
    let mapping = device
        .map_single(buffer(&device, 1), Bidirectional)
        .unwrap();
    assert!(mapping.bus_addr().as_u64() > 4 * PAGE);
    drop(mapping);
    device.detach().unwrap();
    // Its unit confirms the detach, and so all that it did not confirm before.
    rig.finish();
}

#[test]
fn a_mapping_that_was_not_made_visible_but_undone_gives_its_memory_back() {
    // So long that whoever sees the undoing begin is in time to release the queue before it has lasted too long.
    let rig = Rig::boot_with(caching(), impatient(1_000));
    let device = rig.attach(EDU);
    let lent = rig.frames_in_use();
    let unit = rig.unit(0);
    let tail = || read_qword(unit, regs::IQT_REG);
    let asked_nothing = tail();
    let mut failed = None;
    thread::scope(|scope| {
        let held = Held::new(unit);
        scope.spawn(|| failed = device.map_single(buffer(&device, 1), Bidirectional).err());
        // Past the bound of the map, before that of its undoing.
        wait_until("the map is told", || tail() != asked_nothing);
        let asked_once = tail();
        wait_until("the map is undone", || tail() != asked_once);
        drop(held);
    });
    let failed = failed.expect("it was not made visible in time");
    assert!(!failed.error.leaves_memory_reachable(), "{failed}");
    drop(failed.buffer.expect("it comes back"));
    assert_eq!(device.figures().quarantined_bytes, 0);
    device.reclaim().unwrap();
    assert_eq!(rig.frames_in_use(), lent);
    assert_eq!(rig.machine.audit().leaves, []);
    device.detach().unwrap();
    rig.finish();
}

#[test]
fn more_waiters_than_the_queue_has_entries_all_wait_their_turn() {
    let rig = Rig::boot(small());
    let device = rig.attach(EDU);
    let mappings: Vec<_> = (0..160)
        .map(|_| device.map_single(buffer(&device, 1), ToDevice).unwrap())
        .collect();
    let unit = rig.unit(0);
    unit.hold_queue();
    thread::scope(|scope| {
        for mapping in mappings {
            scope.spawn(move || mapping.unmap().unwrap());
        }
        thread::sleep(A_WHILE);
        assert_eq!(device.figures().unmaps, 0);
        unit.release_queue();
    });
    assert_eq!(device.figures().unmaps, 160);
    device.detach().unwrap();
    rig.finish();
}

#[test]
fn a_slow_unit_is_waited_for_by_every_unmap() {
    let rig = Rig::boot(small());
    let device = rig.attach(EDU);
    rig.unit(0).delay_queue(Duration::from_millis(3));
    for _ in 0..5 {
        let mapping = device.map_single(buffer(&device, 1), ToDevice).unwrap();
        let begun = Instant::now();
        mapping.unmap().unwrap();
        assert!(begun.elapsed() >= Duration::from_millis(3));
    }
    drop(device);
    rig.finish();
}

#[test]
fn a_device_that_is_attached_while_the_unit_hangs_reaches_nothing() {
    // Under caching mode attaching asks the unit to forget that there was nothing.
    let rig = Rig::boot_with(caching(), impatient(BOUND_MS));
    rig.unit(0).hold_queue();
    let function = rig.function(EDU);
    assert!(rig.system().attach(&function, Protection::Strict).is_err());
    rig.unit(0).release_queue();
    assert_eq!(rig.machine.audit().leaves, []);
    // It was not confirmed that its unit forgot it again: neither it nor its domain id is used again.
    assert!(matches!(
        rig.system().attach(&function, Protection::Strict),
        Err(AttachError::AlreadyAttached { .. })
    ));
    let other = rig.attach(rig::HEARTBEAT);
    other.set_mask_and_coherent(DmaMask::ALL).unwrap();
    drop(other);
    rig.assert_no_findings();
    rig.abandon();
}
