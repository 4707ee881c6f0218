//! Slots: areas of CPUs, growth, transient and restricted pools, exhaustion, threads.

use std::sync::Barrier;
use std::thread;

use dmamap::addr::{BusAddr, BusRange, DmaMask, PhysAddr, PhysRange};
use dmamap::bounce::{BounceError, BounceSettings, Forced};
use dmamap::bridge::{HostBridge, Inbound};
use dmamap::buffer::{DmaBuffer, PackedFrames};
use dmamap::device::{Device, MaskError};
use dmamap::map::{
    AnyDirection, Attributes, Bidirectional, CoherentError, CoherentFailure, FromDevice,
    MapFailure, Mapping, ToDevice,
};
use dmamap::platform::{FrameRequest, Platform};
use dmamap::system::{Protection, RestrictError};
use hosted::{FaultInjector, Hosted, Persistence, Resource};
use journeys::boot::{BootOptions, MachineDescription, boot};
use machine::Machine;

use crate::{attach_trusted, pattern, without_units};
use rig::{EDU, PAGE, Rig, buffer_of, small};

fn bits(bits: u32) -> DmaMask {
    DmaMask::from_bits(bits).unwrap()
}

fn settings(area_bytes: u64, limit_bytes: u64) -> BounceSettings {
    BounceSettings {
        area_bytes,
        limit_bytes,
        ..BounceSettings::default()
    }
}

fn map(
    rig: &Rig,
    device: &Device<Hosted>,
    len_bytes: u64,
) -> Mapping<Hosted, DmaBuffer<Hosted>, FromDevice> {
    let buffer = buffer_of(rig.kernel, len_bytes, 1);
    device.map_single(buffer, FromDevice).unwrap()
}

/// Memory below 4 GiB is there, and the bridge does not show it.
#[test]
fn a_pool_grows_where_the_device_reaches_high_memory_alone() {
    let machine = Machine::boot(without_units()).unwrap();
    let kernel = Hosted::boot(machine.clone()).unwrap();
    let whole = kernel.host_bridges().unwrap().remove(0);
    let high = Inbound {
        bus: BusRange::new(BusAddr::new(1 << 32), 1 << 30).unwrap(),
        phys: PhysRange::new(PhysAddr::new(1 << 32), 1 << 30).unwrap(),
    };
    let windows = whole.windows().to_vec();
    let description = MachineDescription {
        rsdp: kernel.rsdp().unwrap(),
        host_bridge: HostBridge::new(0, 0, 255, windows, vec![high]).unwrap(),
    };
    // SAFETY: the description is the machine's own, which exists for this test alone.
    let computer = unsafe { boot(kernel, &description, &kernel, BootOptions::default()) };
    let rig = Rig {
        machine,
        kernel,
        computer: computer.unwrap(),
    };
    rig.system().set_bounce(settings(64 << 10, 256 << 10));
    let device = attach_trusted(&rig);
    device.set_mask(DmaMask::ALL).unwrap();
    let low = rig.kernel.allocate_frames(FrameRequest {
        count: 1,
        align_log2: 12,
        last: PhysAddr::new(u32::MAX.into()),
        node: None,
    });
    let low = low.unwrap();
    // SAFETY: the frame is ours until it is unmapped.
    let range = unsafe { device.map_phys(low, AnyDirection::ToDevice) }.unwrap();
    let figures = rig.system().bounce_figures();
    assert_eq!((figures.bytes, figures.transient), (64 << 10, 0));
    // SAFETY: mapped above; and then nobody uses it.
    unsafe {
        device
            .unmap_phys(range, AnyDirection::ToDevice, Attributes::NONE)
            .unwrap();
        rig.kernel.free_frames(low);
    }
    rig.system().reclaim_bounce();
    device.detach().unwrap();
    rig.finish();
}

#[test]
fn a_pool_takes_nothing_before_it_is_needed_grows_and_gives_back() {
    let rig = Rig::boot(without_units());
    rig.system().set_bounce(settings(64 << 10, 256 << 10));
    let device = attach_trusted(&rig);
    let figures = || rig.system().bounce_figures();
    let before = rig.frames_in_use();
    assert_eq!(figures().bytes, 0);
    let mut live = Vec::new();
    let mut sizes = Vec::new();
    for _ in 0..16 {
        live.push(map(&rig, &device, 16 << 10));
        sizes.push(figures().bytes >> 10);
    }
    assert_eq!((sizes[0], sizes[4], sizes[15]), (64, 128, 256), "{sizes:?}");
    assert_eq!(figures().slots, 128);
    assert_eq!(figures().slots_in_use, 128);
    assert_eq!(figures().transient, 0);
    // It may not grow: memory of their own, for as long as they live.
    live.extend((0..3).map(|_| map(&rig, &device, 16 << 10)));
    assert_eq!(figures().bytes, 256 << 10);
    assert_eq!(figures().transient, 3);
    drop(live);
    let idle = figures();
    assert_eq!((idle.slots_in_use, idle.transient), (0, 0));
    assert_eq!((idle.slots_high_water, idle.transient_high_water), (128, 3));
    rig.system().reclaim_bounce();
    assert_eq!(figures().bytes, 0);
    assert_eq!(rig.frames_in_use(), before);
    drop(device);
    rig.finish();
}

#[test]
fn the_most_that_was_lent_at_once_is_remembered() {
    let rig = Rig::boot(without_units());
    rig.system().set_bounce(settings(64 << 10, 64 << 10));
    let device = attach_trusted(&rig);
    let marks = || {
        let figures = device.bounce_figures();
        (figures.slots_high_water, figures.transient_high_water)
    };
    assert_eq!(marks(), (0, 0));
    let five: Vec<_> = (0..5).map(|_| map(&rig, &device, 16 << 10)).collect();
    assert_eq!(marks(), (32, 1));
    drop(five);
    let one = map(&rig, &device, 2 << 10);
    let figures = device.bounce_figures();
    assert_eq!((figures.slots, figures.slots_in_use), (32, 1));
    assert_eq!(figures.transient, 0);
    assert_eq!(marks(), (32, 1), "what is lent later takes nothing off it");
    drop((one, device));
    rig.finish();
}

#[test]
fn what_is_longer_than_an_area_gets_memory_of_its_own() {
    let rig = Rig::boot(without_units());
    rig.system().set_bounce(settings(64 << 10, 1 << 20));
    let device = attach_trusted(&rig);
    device.set_mask(bits(28)).unwrap();
    let data = pattern(1, 3 << 20);
    let mut buffer = buffer_of(rig.kernel, 3 << 20, 0);
    buffer.as_mut_slice().copy_from_slice(&data);
    let before = rig.frames_in_use();
    let mapping = device.map_single(buffer, Bidirectional).unwrap();
    assert!(bits(28).covers(mapping.range()));
    assert!(rig.frames_in_use() >= before + (3 << 8));
    assert_eq!(rig.system().bounce_figures().transient, 1);
    assert!(mapping.unmap().unwrap().as_slice() == data);
    rig.system().reclaim_bounce();
    assert!(rig.frames_in_use() < before);
    drop(device);
    rig.finish();
}

#[test]
fn a_run_is_found_in_another_cpus_area_before_the_pool_grows() {
    let rig = Rig::boot(without_units());
    // Room for one area: whichever CPU comes first gives it memory.
    rig.system().set_bounce(settings(64 << 10, 64 << 10));
    let device = attach_trusted(&rig);
    let (rig, device) = (&rig, &device);
    thread::scope(|scope| {
        for _ in 0..4 {
            let run = || {
                let mapping = map(rig, device, 4 << 10);
                assert_eq!(rig.system().bounce_figures().transient, 0);
                drop(mapping);
            };
            scope.spawn(run).join().unwrap();
        }
    });
    assert_eq!(rig.system().bounce_figures().bytes, 64 << 10);
    let _ = device;
}

#[test]
fn devices_with_different_reach_share_what_both_reach() {
    let rig = Rig::boot(without_units());
    let device = attach_trusted(&rig);
    drop(map(&rig, &device, PAGE));
    let first = rig.system().bounce_figures().bytes;
    // The area lies below 4 GiB, but not below 256 MiB.
    device.set_mask(bits(28)).unwrap();
    let mapping = map(&rig, &device, PAGE);
    assert!(bits(28).covers(mapping.range()));
    drop(mapping);
    let second = rig.system().bounce_figures().bytes;
    assert_eq!(second, 2 * first, "a second area, lower");
    device.set_mask(bits(32)).unwrap();
    drop(map(&rig, &device, PAGE));
    assert_eq!(rig.system().bounce_figures().bytes, second);
    drop(device);
    rig.finish();
}

#[test]
fn threads_get_slots_of_their_own() {
    let rig = Rig::boot(without_units());
    rig.system().set_bounce(settings(64 << 10, 512 << 10));
    let device = attach_trusted(&rig);
    device.set_mask(bits(28)).unwrap();
    let start = Barrier::new(4);
    thread::scope(|scope| {
        for thread in 0..4_u8 {
            let (rig, device, start) = (&rig, &device, &start);
            scope.spawn(move || {
                start.wait();
                for round in 0..400_u64 {
                    let len = 1 + (round * 997 + u64::from(thread) * 131) % 40_000;
                    let value = thread * 60 + (round % 60) as u8 + 1;
                    let buffer = buffer_of(rig.kernel, len, value);
                    let mut mapping = device.map_single(buffer, Bidirectional).unwrap();
                    let mut bytes = vec![0; len as usize];
                    mapping.sync_for_cpu().read_at(0, &mut bytes).unwrap();
                    assert!(bytes.iter().all(|&byte| byte == value));
                    let buffer = mapping.unmap().unwrap();
                    assert!(buffer.as_slice().iter().all(|&byte| byte == value));
                }
            });
        }
    });
    let pool = rig.system().bounce_figures();
    assert_eq!((pool.slots_in_use, pool.transient), (0, 0));
    assert_eq!(device.figures().bounced_maps, 1600);
    drop(device);
    rig.finish();
}

/// A machine whose kernel refuses requests on purpose.
fn failing() -> (Rig<FaultInjector<Hosted>>, FaultInjector<Hosted>) {
    let rig = Rig::boot_failing(without_units(), BootOptions::default());
    let injector = rig.injector();
    (rig, injector)
}

#[test]
fn where_no_memory_is_left_the_buffer_comes_back() {
    let (rig, injector) = failing();
    let device = rig.attach_trusted(EDU, Protection::Strict);
    let buffer = buffer_of(injector, 3 * PAGE, 7);
    injector.exhaust_from(Resource::Frames, 1);
    let rejected = device.map_single(buffer, ToDevice).unwrap_err();
    let expected = BounceError::Exhausted {
        len_bytes: 3 * PAGE,
        last: PhysAddr::new(u32::MAX.into()),
    };
    assert_eq!(rejected.error.failure, MapFailure::Bounce(expected));
    assert_eq!(rig.system().bounce_figures().refused, 1);
    let buffer = rejected.buffer.expect("it comes back");
    assert!(buffer.as_slice().iter().all(|&byte| byte == 7));
    injector.relent();
    drop(device.map_single(buffer, ToDevice).unwrap());
    drop(device);
    rig.finish();
}

#[test]
fn a_pool_that_is_given_no_memory_does_not_ask_for_each_of_its_areas() {
    let (rig, injector) = failing();
    let device = rig.attach_trusted(EDU, Protection::Strict);
    let buffer = buffer_of(injector, PAGE, 7);
    injector.exhaust_from(Resource::Frames, 1);
    let before = injector.injected();
    let rejected = device.map_single(buffer, ToDevice).unwrap_err();
    // One for each size that an area may have, and one for memory of the mapping's own.
    let sizes = (2_u64 << 20).ilog2() - PAGE.ilog2() + 1;
    let asked = injector.injected() - before;
    assert!(asked <= u64::from(sizes) + 1, "{asked} requests");
    injector.relent();
    drop((rejected, device));
    rig.finish();
}

#[test]
fn every_request_may_fail_and_nothing_is_lost() {
    let (rig, injector) = failing();
    let device = rig.attach_trusted(EDU, Protection::Strict);
    for len in [PAGE, 3 << 20] {
        let mut buffer = Some(buffer_of(injector, len, 7));
        rig.system().reclaim_bounce();
        let frames = rig.frames_in_use();
        let mut failed = 0;
        for nth in 1.. {
            rig.system().reclaim_bounce();
            assert_eq!(rig.frames_in_use(), frames, "request {nth} of {len} failed");
            let before = injector.injected();
            injector.fail_nth(nth);
            let outcome = device.map_single(buffer.take().unwrap(), ToDevice);
            injector.relent();
            let injected = injector.injected() > before;
            buffer = Some(match outcome {
                Ok(mapping) => mapping.unmap().unwrap(),
                Err(rejected) => {
                    failed += 1;
                    rejected.buffer.expect("it comes back")
                }
            });
            let pool = rig.system().bounce_figures();
            assert_eq!((pool.slots_in_use, pool.transient), (0, 0));
            if !injected {
                break;
            }
        }
        // An area that cannot be had is made good for; memory of a mapping's own is not.
        assert_eq!(failed > 0, len > PAGE, "{failed} of {len}");
        drop(buffer);
    }
    drop(device);
    rig.finish();
}

#[test]
fn every_request_for_ragged_ends_may_fail_and_nothing_is_lost() {
    let rig = Rig::boot_failing(small(), BootOptions::default());
    let (kernel, injector) = (rig.kernel, rig.injector());
    let device = rig.attach(EDU);
    let ram = kernel.allocate_frames(FrameRequest::new(4)).unwrap();
    let memory = ram.slice(100, 3 * PAGE).unwrap();
    device.reclaim().unwrap();
    let sweep = |persistence| {
        let mut failed = 0;
        let requests = injector.sweep(persistence, |nth| {
            let frames = rig.frames_in_use();
            // SAFETY: the memory lives, and nobody touches it.
            let outcome = unsafe { device.map_phys(memory, AnyDirection::Bidirectional) };
            // What is there is unmapped without any.
            match outcome {
                Ok(bus) => {
                    // SAFETY: mapped above.
                    unsafe { device.unmap_phys(bus, AnyDirection::Bidirectional, Attributes::NONE) }
                        .unwrap()
                }
                Err(_) => failed += 1,
            }
            rig.system().reclaim_bounce();
            device.reclaim().unwrap();
            assert_eq!(rig.frames_in_use(), frames, "request {nth} failed");
            assert_eq!(rig.system().bounce_figures().slots_in_use, 0);
            assert_eq!(rig.machine.audit().leaves, []);
        });
        (requests, failed)
    };
    rig.system().reclaim_bounce();
    let once = sweep(Persistence::Once);
    let exhausted = sweep(Persistence::ForEver);
    // With a pool that is there, none that fails alone is missed.
    assert_eq!(once.1, 0);
    assert!(exhausted.0 >= 10, "only {exhausted:?} can fail");
    assert_eq!(exhausted.1, exhausted.0);
    // SAFETY: nothing refers to it.
    unsafe { kernel.free_frames(ram) };
    drop(device);
    rig.finish();
}

/// A machine with memory that is a device's alone.
fn restricted(frames: usize) -> (Rig, PhysRange) {
    let rig = Rig::boot(without_units());
    let request = FrameRequest {
        last: PhysAddr::new((1 << 28) - 1),
        ..FrameRequest::new(frames)
    };
    let memory = rig.kernel.allocate_frames(request).unwrap();
    // SAFETY: the frames are never given back.
    unsafe { rig.system().restrict(EDU, memory) }.unwrap();
    (rig, memory)
}

#[test]
fn a_restricted_device_is_given_its_own_memory_and_no_other() {
    let (rig, memory) = restricted(21);
    let device = attach_trusted(&rig);
    device.set_mask(DmaMask::ALL).unwrap();
    let mut live = Vec::new();
    // Also for memory that it would reach.
    let failure = loop {
        let buffer = buffer_of(rig.kernel, 3 * PAGE, 2);
        match device.map_single(buffer, Bidirectional) {
            Ok(mapping) => {
                let reached = device.translate(mapping.bus_addr()).unwrap();
                assert!(memory.covers(PhysRange::new(reached, 3 * PAGE).unwrap()));
                live.push(mapping);
            }
            Err(rejected) => {
                assert!(rejected.buffer.is_some());
                break rejected.error.failure;
            }
        }
    };
    assert!(
        matches!(failure, MapFailure::Bounce(BounceError::Exhausted { .. })),
        "{failure}"
    );
    assert!(live.len() >= 4, "{}", live.len());
    let too_long = device.map_single(buffer_of(rig.kernel, 22 * PAGE, 2), ToDevice);
    let failure = too_long.unwrap_err().error.failure;
    assert!(
        matches!(failure, MapFailure::Bounce(BounceError::TooLong { .. })),
        "{failure}"
    );
    drop(live);
    // What it shares with the CPU is of that memory too.
    let shared = device.alloc_coherent::<u64>(1000).unwrap();
    let reached = device.translate(shared.bus_addr()).unwrap();
    assert!(memory.covers(PhysRange::new(reached, 2 * PAGE).unwrap()));
    assert!(reached.is_aligned(13));
    assert_eq!(device.bounce_figures().slots_in_use, 4);
    assert!((0..1000).all(|n| shared.read(n) == Ok(0)));
    assert!(matches!(
        device.alloc_coherent::<u8>(22 << 12),
        Err(CoherentError {
            failure: CoherentFailure::Bounce(_),
            ..
        })
    ));
    drop(shared);
    let pool = device.bounce_figures();
    assert_eq!((pool.bytes, pool.slots_in_use), (21 * PAGE, 0));
    assert_eq!(rig.system().bounce_figures().bytes, 0);
    drop(map(&rig, &device, 4 * PAGE));
    // SAFETY: as before; it is refused.
    let late = unsafe { rig.system().restrict(EDU, memory) };
    assert_eq!(late, Err(RestrictError::AlreadyAttached { device: EDU }));
    drop(device);
    rig.finish_with_losses();
}

#[test]
fn a_restricted_device_needs_a_mask_that_reaches_its_memory() {
    let (rig, memory) = restricted(4);
    let device = attach_trusted(&rig);
    let refused = device.set_mask(bits(24));
    assert!(
        matches!(refused, Err(MaskError::CannotReachMemory { memory: start, .. }) if start == memory.start()),
        "{refused:?}"
    );
    device.set_mask(bits(28)).unwrap();
    drop(device);
    rig.finish_with_losses();
}

#[test]
fn blocks_come_back_to_their_frame() {
    let rig = Rig::boot(small());
    let frames = PackedFrames::new(rig.kernel, 100);
    let before = rig.frames_in_use();
    let blocks: Vec<_> = (0..100).map(|_| frames.allocate().unwrap()).collect();
    assert_eq!(frames.frames(), 3);
    drop(blocks);
    let mut again: Vec<_> = (0..100).map(|_| frames.allocate().unwrap()).collect();
    assert_eq!(frames.frames(), 3);
    again[0].as_mut_slice().fill(9);
    assert!(again[1..].iter().all(|one| one.as_slice() == [0; 104]));
    // The last block gives the frames back.
    drop(frames);
    assert_eq!(rig.frames_in_use(), before + 3);
    drop(again);
    assert_eq!(rig.frames_in_use(), before);
    rig.finish();
}

/// Maps as many bytes as the device was told that one mapping has, while nothing is lent, and as many more.
fn told_and_more(rig: &Rig, device: &Device<Hosted>, more: u64) -> Option<MapFailure> {
    let told = device.max_mapping_bytes();
    let mapping = map(rig, device, told);
    assert_eq!(mapping.range().len_bytes(), told);
    drop(mapping);
    let buffer = buffer_of(rig.kernel, told + more, 1);
    let refused = device.map_single(buffer, Bidirectional).map(drop);
    refused.err().map(|rejected| {
        assert!(rejected.buffer.is_some());
        rejected.error.failure
    })
}

#[test]
fn a_device_is_told_what_its_pool_lends_at_once() {
    // 16 frames of 21 begin at a multiple of themselves, or fewer where the memory does not.
    let (rig, memory) = restricted(21);
    let device = attach_trusted(&rig);
    device.set_mask(DmaMask::ALL).unwrap();
    device.set_min_align_mask(u64::MAX).unwrap();
    assert_eq!(device.max_mapping_bytes(), 0);
    device.set_min_align_mask(0).unwrap();
    let told = device.max_mapping_bytes();
    assert!(
        (4 * PAGE..=16 * PAGE).contains(&told),
        "{told:#x} of {memory}"
    );
    let (len_bytes, max_bytes) = (told + 1, told);
    let expected = BounceError::TooLong {
        len_bytes,
        max_bytes,
    };
    let refused = told_and_more(&rig, &device, 1);
    assert_eq!(refused, Some(MapFailure::Bounce(expected)));
    // What must be kept of addresses takes of it, wherever in its page a buffer begins.
    device.set_min_align_mask(PAGE - 1).unwrap();
    assert_eq!(device.max_mapping_bytes(), told - PAGE);
    for offset in [0, 1, PAGE - 1] {
        let buffer = buffer_of(rig.kernel, told, 1);
        let within = PhysRange::new(
            buffer.phys(0).unwrap().checked_add(offset).unwrap(),
            told - PAGE,
        );
        // SAFETY: the buffer is kept until it is unmapped, and nobody uses it.
        let range = unsafe { device.map_phys(within.unwrap(), AnyDirection::ToDevice) }.unwrap();
        assert_eq!(range.start().as_u64() % PAGE, offset);
        // SAFETY: mapped above.
        unsafe { device.unmap_phys(range, AnyDirection::ToDevice, Attributes::NONE) }.unwrap();
    }
    device.detach().unwrap();
    rig.finish_with_losses();

    // Pools that grow are not bound by it, but promise no more.
    let rig = Rig::boot(without_units());
    rig.system().set_bounce(BounceSettings {
        area_bytes: 1 << 16,
        forced: Forced::Always,
        ..BounceSettings::default()
    });
    let device = attach_trusted(&rig);
    assert_eq!(device.max_mapping_bytes(), 1 << 16);
    assert_eq!(told_and_more(&rig, &device, PAGE), None);
    device.detach().unwrap();
    rig.system().set_bounce(BounceSettings::default());
    let device = attach_trusted(&rig);
    device.set_mask(DmaMask::from_bits(30).unwrap()).unwrap();
    assert_eq!(device.max_mapping_bytes(), 2 << 20);
    assert_eq!(told_and_more(&rig, &device, PAGE), None);
    device.set_mask(DmaMask::ALL).unwrap();
    assert_eq!(device.max_mapping_bytes(), u64::MAX);
    device.detach().unwrap();
    rig.finish();

    let rig = Rig::boot(small());
    let function = rig.function(EDU);
    let device = rig.system().attach(&function, Protection::Bounce).unwrap();
    assert_eq!(device.max_mapping_bytes(), 1 << 20);
    assert_eq!(told_and_more(&rig, &device, PAGE), None);
    device.detach().unwrap();
    drop(function);
    rig.finish();
}
