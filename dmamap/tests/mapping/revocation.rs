//! Whatever becomes of handles, and in whatever order, a device keeps nothing and the kernel loses nothing but
//! what was forgotten.

use std::any::Any;
use std::mem;
use std::sync::mpsc;
use std::thread;

use dmamap::buffer::{DmaBuffer, DmaMemory, ScatteredBuffer};
use dmamap::device::{DetachError, Device};
use dmamap::iommu::fault::Access;
use dmamap::map::{Bidirectional, FromDevice, MapFailure, Mapping, ToDevice};
use dmamap::system::{AttachError, Protection, ShutdownError};
use hosted::Hosted;
use hw::vtd::fault::FaultReason;
use machine::device::nvme::{Medium, NvmeConfig};
use machine::temper::Temper;
use rig::Random;
use rig::{
    EDU, HEARTBEAT, PAGE, Rig, UNITS, assert_first_fault, buffer_of, share_a_page, small, try_write,
};

fn buffer(device: &Device<Hosted>, pages: u64) -> DmaBuffer<Hosted> {
    DmaBuffer::allocate(device.platform(), pages * PAGE).unwrap()
}

#[test]
fn detaching_revokes_mappings_that_live() {
    for temper in [Temper::Keep, Temper::Forget, Temper::Random(3)] {
        let mut rig = Rig::boot(small().with_temper(temper));
        let mut edu = rig.edu();
        let buffer = buffer_of(rig.kernel, PAGE, 0xc3);
        let mapping = edu.device().map_single(buffer, Bidirectional).unwrap();
        // The unit has it in its caches now.
        edu.fetch(&mapping, 0, 64).unwrap();
        let bus = mapping.bus_addr();
        edu.stop().detach().unwrap();
        assert_eq!(rig.machine.audit().leaves, []);

        let mut edu = rig.edu();
        try_write(&mut edu, bus, 64);
        assert_first_fault(
            rig.system(),
            EDU,
            bus,
            Access::Write,
            FaultReason::WriteNotPermitted,
        );
        let buffer = mapping.unmap().unwrap();
        assert_eq!(buffer.as_slice(), [0xc3; PAGE as usize]);
        drop((edu, buffer));
        rig.finish_after_faults();
    }
}

#[test]
fn a_detached_device_is_refused_as_one_nobody_attached() {
    let mut rig = Rig::boot(small());
    let mut edu = rig.edu();
    let mapping = edu
        .device()
        .map_single(buffer(edu.device(), 1), Bidirectional)
        .unwrap();
    edu.fetch(&mapping, 0, 64).unwrap();
    let bus = mapping.bus_addr();
    let device = edu.stop();
    let function = rig.function(EDU);
    device.detach().unwrap();
    // Attached as blocked it has no context entry; a driver that lies turns bus mastering on again.
    let device = rig.system().attach(&function, Protection::Blocked).unwrap();
    let mut edu = rig.edu_on(device);
    // SAFETY: the device has no way to memory.
    unsafe { function.enable_bus_master() };
    try_write(&mut edu, bus, 64);
    assert_first_fault(
        rig.system(),
        EDU,
        bus,
        Access::Write,
        FaultReason::ContextNotPresent,
    );
    let failed = edu
        .device()
        .map_single(buffer(edu.device(), 1), ToDevice)
        .unwrap_err();
    assert_eq!(failed.error.failure, MapFailure::Blocked);
    assert!(failed.buffer.is_some());
    function.disable_bus_master();
    drop((failed, edu, mapping, function));
    rig.finish_after_faults();
}

#[test]
fn every_kind_of_mapping_gives_its_memory_back_after_the_device_is_gone() {
    let rig = Rig::boot(small());
    let device = rig.attach(EDU);
    let single = device.map_single(buffer(&device, 3), ToDevice).unwrap();
    let scattered = ScatteredBuffer::allocate(rig.kernel, 5 * PAGE).unwrap();
    let list = device.map_sg(scattered, FromDevice).unwrap();
    let freed = device.alloc_coherent::<u64>(700).unwrap();
    let dropped = device.alloc_coherent::<u64>(700).unwrap();
    freed.write(3, 7).unwrap();
    device.detach().unwrap();

    // Coherent memory can still be read and written by the CPU.
    assert_eq!(freed.read(3), Ok(7));
    assert_eq!(single.unmap().unwrap().len_bytes(), 3 * PAGE);
    assert_eq!(list.unmap().unwrap().len_bytes(), 5 * PAGE);
    freed.free().unwrap();
    drop(dropped);
    rig.finish();
}

#[test]
fn forgotten_handles_leak_their_memory_and_nothing_else_breaks() {
    let mut rig = Rig::boot(small());
    let mut edu = rig.edu();
    let device = edu.device();
    let pages = [1, 2, 4];
    mem::forget(
        device
            .map_single(buffer(device, pages[0]), FromDevice)
            .unwrap(),
    );
    let scattered = ScatteredBuffer::allocate(rig.kernel, pages[1] * PAGE).unwrap();
    let list = device.map_sg(scattered, FromDevice).unwrap();
    let bus = list.segments().next().unwrap().start();
    mem::forget(list);
    mem::forget(
        device
            .alloc_coherent::<u8>((pages[2] * PAGE) as usize)
            .unwrap(),
    );
    let mut viewed = device.map_single(buffer(device, 1), Bidirectional).unwrap();
    mem::forget(viewed.sync_for_cpu());
    drop(viewed);

    // What was forgotten stays mapped while the device is attached, and is nobody else's.
    assert_eq!(device.figures().live_mappings, 3);
    try_write(&mut edu, bus, 64);
    assert_eq!(rig.system().faults().total, 0);
    edu.stop().detach().unwrap();
    assert_eq!(rig.machine.audit().leaves, []);

    let mut edu = rig.edu();
    try_write(&mut edu, bus, 64);
    assert_first_fault(
        rig.system(),
        EDU,
        bus,
        Access::Write,
        FaultReason::WriteNotPermitted,
    );
    drop(edu);
    let report = rig.finish_with_losses();
    let forgotten = pages.iter().sum::<u64>();
    assert!(
        report.frames.in_use >= forgotten,
        "forgotten memory was given back: {report:?}"
    );
    assert_eq!((report.frames.disturbed, report.scattered_mappings), (0, 1));
}

#[test]
fn a_forgotten_device_stays_attached() {
    let rig = Rig::boot(small());
    mem::forget(rig.attach(EDU));
    let again = rig.system().attach(&rig.function(EDU), Protection::Strict);
    assert!(
        matches!(again, Err(AttachError::AlreadyAttached { device: EDU })),
        "{again:?}"
    );
    // SAFETY: it is refused.
    let refused = unsafe { rig.system().shutdown() };
    assert_eq!(refused, Err(ShutdownError::StillAttached { device: EDU }));
    // The other devices do not care.
    drop(rig.attach(HEARTBEAT));
    rig.assert_no_findings();
    rig.abandon();
}

#[test]
fn handles_can_be_dropped_in_any_order() {
    let random = Random::from_environment(1);
    for _ in 0..20 {
        let rig = Rig::boot(small());
        // The first device of a bus gets a context table, which stays.
        drop(rig.attach(EDU));
        drop(rig.attach(EDU));
        let before = rig.frames_in_use();
        let device = rig.attach(EDU);
        let mut handles: Vec<Box<dyn Any + Send>> = Vec::new();
        for _ in 0..3 {
            handles.push(Box::new(
                device.map_single(buffer(&device, 2), ToDevice).unwrap(),
            ));
            let scattered = ScatteredBuffer::allocate(rig.kernel, 3 * PAGE).unwrap();
            handles.push(Box::new(device.map_sg(scattered, FromDevice).unwrap()));
            handles.push(Box::new(device.alloc_coherent::<u64>(600).unwrap()));
        }
        handles.push(Box::new(device));
        while !handles.is_empty() {
            let next = random.below(handles.len() as u64) as usize;
            drop(handles.swap_remove(next));
            rig.assert_no_findings();
        }
        // Attaching frees what is left of devices that are gone; then nothing is left of this one either.
        drop(rig.attach(EDU));
        drop(rig.attach(EDU));
        assert_eq!(rig.frames_in_use(), before);
        rig.finish();
    }
}

#[test]
fn mappings_end_on_other_threads_than_they_began_on() {
    let rig = Rig::boot(small());
    let device = rig.attach(EDU);
    let (give, take) = mpsc::channel::<Mapping<Hosted, DmaBuffer<Hosted>, ToDevice>>();
    thread::scope(|scope| {
        scope.spawn(move || {
            for (n, mapping) in take.into_iter().enumerate() {
                match n % 2 {
                    0 => drop(mapping),
                    _ => drop(mapping.unmap().unwrap()),
                }
            }
        });
        for _ in 0..2 {
            let (give, device) = (give.clone(), &device);
            scope.spawn(move || {
                for n in 0..200 {
                    let mapping = device
                        .map_single(buffer(device, 1 + n % 3), ToDevice)
                        .unwrap();
                    give.send(mapping).unwrap();
                }
            });
        }
        drop(give);
    });
    let figures = device.figures();
    assert_eq!((figures.maps, figures.unmaps), (400, 400));
    assert_eq!((figures.live_mappings, figures.live_bytes), (0, 0));
    device.detach().unwrap();
    rig.finish();
}

#[test]
fn many_threads_map_and_unmap_for_one_device_at_once() {
    const THREADS: u64 = 6;
    const ROUNDS: u64 = 150;
    for temper in [Temper::Keep, Temper::Forget, Temper::Random(5)] {
        let rig = Rig::boot(small().with_temper(temper));
        let device = rig.attach(EDU);
        let born_with = device.domain_frames();
        thread::scope(|scope| {
            for seed in 0..THREADS {
                let (device, kernel) = (&device, rig.kernel);
                scope.spawn(move || hammer(device, kernel, seed, ROUNDS));
            }
        });
        let figures = device.figures();
        assert_eq!(
            (figures.maps, figures.unmaps),
            (THREADS * ROUNDS, THREADS * ROUNDS)
        );
        assert_eq!((figures.live_mappings, figures.live_bytes), (0, 0));
        assert_eq!(figures.quarantined_bytes, 0);
        device.reclaim().unwrap();
        assert_eq!(device.domain_frames(), born_with);
        device.detach().unwrap();
        rig.finish();
    }
}

/// Maps and unmaps, a few at a time, and checks that no two mappings share a page and each leads home.
fn hammer(device: &Device<Hosted>, kernel: Hosted, seed: u64, rounds: u64) {
    let random = Random::from_environment(seed);
    let mut live = Vec::new();
    for _ in 0..rounds {
        let mapping = device
            .map_single(buffer_of(kernel, (1 + random.below(4)) * PAGE, 1), ToDevice)
            .unwrap();
        for page in 0..mapping.len_bytes() / PAGE {
            let bus = mapping.bus_addr().checked_add(page * PAGE).unwrap();
            let phys = mapping.phys().start().checked_add(page * PAGE);
            assert_eq!(device.translate(bus), phys);
        }
        live.push(mapping);
        if live.len() > 4 {
            drop(live.swap_remove(random.below(5) as usize));
        }
        for (n, one) in live.iter().enumerate() {
            assert!(
                live[..n]
                    .iter()
                    .all(|other| !share_a_page(one.range(), other.range()))
            );
        }
    }
}

#[test]
fn a_device_works_on_undisturbed_while_other_threads_map_and_unmap() {
    for temper in [Temper::Keep, Temper::Forget, Temper::Random(11)] {
        let mut rig = Rig::boot(small().with_temper(temper));
        let mut edu = rig.edu();
        let kernel = rig.kernel;
        let stop = std::sync::atomic::AtomicBool::new(false);
        // The driver owns the device's handle: others share it through the mapping calls' `&self` only where the
        // driver lends it, so they work on a second device while this one runs, and on this one in between.
        let other = rig.attach(HEARTBEAT);
        thread::scope(|scope| {
            for seed in 0..2 {
                let (other, stop) = (&other, &stop);
                scope.spawn(move || {
                    while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                        hammer(other, kernel, seed, 20);
                    }
                });
            }
            for n in 0..200_u64 {
                let bytes = (n as u8).wrapping_mul(31);
                let source = buffer_of(kernel, PAGE, bytes);
                let source = edu.device().map_single(source, ToDevice).unwrap();
                edu.fetch(&source, 0, PAGE).unwrap();
                let target = buffer_of(kernel, PAGE, !bytes);
                let target = edu.device().map_single(target, FromDevice).unwrap();
                edu.store(&target, 0, PAGE).unwrap();
                assert!(
                    target
                        .unmap()
                        .unwrap()
                        .as_slice()
                        .iter()
                        .all(|&byte| byte == bytes)
                );
                drop(source);
                if n % 16 == 0 {
                    edu.device().reclaim().unwrap();
                }
            }
            stop.store(true, std::sync::atomic::Ordering::Relaxed);
        });
        drop((edu, other));
        rig.finish();
    }
}

#[test]
fn devices_come_and_go_while_their_mappings_end_elsewhere() {
    let rig = Rig::boot(small());
    thread::scope(|scope| {
        let (give, take) = mpsc::channel::<Mapping<Hosted, DmaBuffer<Hosted>, ToDevice>>();
        scope.spawn(move || take.into_iter().for_each(drop));
        for _ in 0..100 {
            let device = rig.attach(EDU);
            for _ in 0..3 {
                give.send(device.map_single(buffer(&device, 1), ToDevice).unwrap())
                    .unwrap();
            }
            device.detach().unwrap();
        }
    });
    rig.finish();
}

#[test]
fn detaching_races_with_unmapping() {
    for _ in 0..30 {
        let rig = Rig::boot(small());
        let device = rig.attach(EDU);
        let mappings: Vec<_> = (0..40)
            .map(|_| device.map_single(buffer(&device, 1), ToDevice).unwrap())
            .collect();
        thread::scope(|scope| {
            scope.spawn(move || {
                mappings
                    .into_iter()
                    .for_each(|one| drop(one.unmap().unwrap()))
            });
            scope.spawn(move || device.detach().unwrap());
        });
        rig.finish();
    }
}

#[test]
fn a_device_whose_mapping_is_forgotten_can_be_attached_again() {
    let mut rig = Rig::boot(small());
    for _ in 0..3 {
        let device = rig.attach(EDU);
        mem::forget(device.map_single(buffer(&device, 1), ToDevice).unwrap());
    }
    let mut edu = rig.edu();
    let target = edu
        .device()
        .map_single(buffer(edu.device(), 1), FromDevice)
        .unwrap();
    edu.store(&target, 0, 64).unwrap();
    drop((target, edu));
    assert_eq!(rig.system().faults().total, 0);
    assert!(rig.finish_with_losses().frames.in_use >= 3);
}

#[test]
fn figures_follow_every_kind_of_mapping() {
    let rig = Rig::boot(small());
    let device = rig.attach(EDU);
    let single = device.map_single(buffer(&device, 3), ToDevice).unwrap();
    let coherent = device.alloc_coherent::<u16>(100).unwrap();
    let figures = device.figures();
    assert_eq!((figures.maps, figures.unmaps), (2, 0));
    assert_eq!(
        (figures.live_mappings, figures.live_bytes),
        (2, 3 * PAGE + 200)
    );
    let mut borrowed = buffer(&device, 1);
    let inside = device
        .map_within(&mut borrowed, ToDevice, |_| device.figures())
        .unwrap();
    assert_eq!((inside.maps, inside.live_bytes), (3, 4 * PAGE + 200));
    drop((single, borrowed));
    coherent.free().unwrap();
    let figures = device.figures();
    assert_eq!((figures.maps, figures.unmaps), (3, 3));
    assert_eq!((figures.live_mappings, figures.live_bytes), (0, 0));
    device.detach().unwrap();
    rig.finish();
}

#[test]
fn a_buffer_survives_being_mapped_by_several_devices_in_turn() {
    let disk = NvmeConfig::new(tempfile::tempfile().unwrap(), PAGE, Medium::ReadOnly);
    let rig = Rig::boot(small().with_disk(disk));
    let function = rig.computer.disks().next().unwrap();
    let disk = rig.system().attach(function, Protection::Strict).unwrap();
    let edu = rig.attach(EDU);
    let mut buffer = buffer(&edu, 2);
    for n in 0..10 {
        buffer.as_mut_slice()[n] = n as u8;
        buffer = edu.map_single(buffer, ToDevice).unwrap().unmap().unwrap();
        buffer = disk.map_sg(buffer, FromDevice).unwrap().unmap().unwrap();
    }
    assert_eq!(buffer.as_slice()[..10], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    drop((edu, disk, buffer));
    assert_eq!(rig.system().unit_count(), UNITS.len());
    rig.finish();
}

#[test]
fn of_many_who_attach_a_device_at_once_one_gets_it() {
    let rig = Rig::boot(small());
    let function = rig.function(EDU);
    for _ in 0..30 {
        let outcomes: Vec<_> = thread::scope(|scope| {
            let attaching: Vec<_> = (0..6)
                .map(|_| scope.spawn(|| rig.system().attach(&function, Protection::Strict)))
                .collect();
            attaching
                .into_iter()
                .map(|one| one.join().unwrap())
                .collect()
        });
        let refused = outcomes
            .iter()
            .filter(|one| matches!(one, Err(AttachError::AlreadyAttached { device: EDU })))
            .count();
        assert_eq!(refused, 5, "{outcomes:?}");
    }
    drop(function);
    rig.finish();
}

#[test]
fn all_devices_come_and_go_at_once() {
    let rig = Rig::boot(small());
    let before = rig.frames_in_use();
    thread::scope(|scope| {
        for function in rig.computer.topology().functions() {
            let (system, kernel) = (rig.system(), rig.kernel);
            scope.spawn(move || {
                for round in 0..30 {
                    let attached = system.attach(function, Protection::Strict);
                    let device = attached.unwrap_or_else(|error| panic!("{error}"));
                    let mapping = device
                        .map_single(buffer_of(kernel, PAGE, 1), ToDevice)
                        .unwrap();
                    if round % 2 == 0 {
                        match device.detach() {
                            // Another of its group is attached, and reaches what is still mapped.
                            Ok(()) | Err(DetachError::Shared { .. }) => {}
                            Err(error) => panic!("{error}"),
                        }
                        drop(mapping);
                    }
                }
            });
        }
    });
    assert_eq!(rig.machine.heartbeat().missed, 0);
    // Each unit keeps a context table for each bus on which a device was.
    drop(rig.attach(EDU));
    drop(rig.attach(EDU));
    assert!(rig.frames_in_use() <= before + 8);
    rig.finish();
}
