//! Memory that the CPU reaches past its caches: of devices that do not snoop, and written in streams.

use std::mem::offset_of;
use std::sync::{Arc, Mutex};

use dmamap::buffer::BufferError;
use dmamap::map::{
    Bidirectional, CoherentError, CoherentFailure, CoherentOptions, Descriptors, PoolLayout,
    Published,
};
use dmamap::platform::MemoryAttribute;
use hosted::{
    Barrier, BarrierObserver, FaultInjector, Hosted, Persistence, PlatformCall, Resource, Tracer,
};
use journeys::boot::BootOptions;
use machine::cache::Snooping;
use machine::temper::Temper;
use machine::{Machine, MachineConfig};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::{Fragmented, little_memory};
use rig::{EDU, FIRST_BLOCK_FRAMES, FIRST_LANE_FRAMES, PAGE, Rig, small, try_read, try_write};

const COMBINED: CoherentOptions = CoherentOptions::NONE.write_combine();

/// The CPU's caches and devices that see only memory.
fn not_snooping(temper: Temper) -> MachineConfig {
    small().with_devices(Snooping::Off).with_temper(temper)
}

fn kernel_of(config: MachineConfig) -> (Arc<Machine>, Hosted) {
    let machine = Machine::boot(config).unwrap();
    let kernel = Hosted::boot(machine.clone()).unwrap();
    (machine, kernel)
}

#[test]
fn every_kind_of_coherent_memory_is_seen_by_a_device_that_does_not_snoop() {
    for temper in [Temper::Keep, Temper::Forget, Temper::Random(3)] {
        let mut rig = Rig::boot(not_snooping(temper));
        let mut edu = rig.edu();
        let device = edu.device();
        let words = device.alloc_coherent::<u64>(512).unwrap();
        let combined = device.alloc_attrs::<u64>(5000, COMBINED).unwrap();
        let layout = PoolLayout::of(8).align(64).poison();
        let pool = device.create_pool::<u64>("words", layout).unwrap();
        let block = pool.zalloc(device).unwrap();
        let atomic_pool = device.create_atomic_pool(PAGE).unwrap();
        let atomic = atomic_pool.alloc::<u64>(8).unwrap();
        let opaque = device.alloc_opaque(PAGE, CoherentOptions::NONE).unwrap();
        for round in 0..20 {
            for memory in [&*words, &*combined, &*block, &*atomic] {
                memory.write(3, 0x1000 + round).unwrap();
                try_read(&mut edu, memory.element_bus_addr(3).unwrap(), 8);
                try_write(&mut edu, opaque.bus_addr(), 8);
                try_read(&mut edu, opaque.bus_addr(), 8);
                try_write(&mut edu, memory.element_bus_addr(5).unwrap(), 8);
                assert_eq!(memory.read(5), Ok(0x1000 + round), "{temper:?} {memory:?}");
                assert_eq!(memory.read(4), Ok(0), "{temper:?} {memory:?}");
            }
        }
        let mut cached = edu.device().alloc_noncoherent(PAGE, Bidirectional).unwrap();
        let mut pieces = edu
            .device()
            .alloc_noncontiguous(2 * PAGE, Bidirectional)
            .unwrap();
        cached.sync_for_cpu().write_at(0, &[7; 8]).unwrap();
        try_read(&mut edu, cached.bus_addr(), 8);
        try_write(&mut edu, pieces.bus_addr().checked_add(PAGE).unwrap(), 8);
        let mut bytes = [0; 8];
        pieces.vmap().read_at(PAGE, &mut bytes).unwrap();
        assert_eq!(bytes, [7; 8]);
        cached.free().unwrap();
        pieces.free().unwrap();
        drop((words, combined, block, atomic, opaque));
        assert_eq!(pool.figures().disturbed, 0);
        pool.destroy().unwrap();
        atomic_pool.destroy().unwrap();
        drop(edu);
        rig.finish();
    }
}

/// What is done to the caches, and for how many bytes.
fn maintenance(calls: &[PlatformCall]) -> impl Iterator<Item = (&'static str, usize)> {
    calls.iter().filter_map(|call| match call {
        PlatformCall::CleanCache(.., len_bytes) => Some(("clean", *len_bytes)),
        PlatformCall::InvalidateCache(.., len_bytes) => Some(("invalidate", *len_bytes)),
        _ => None,
    })
}

#[test]
fn write_combined_memory_is_mapped_so_and_is_in_a_row() {
    for (config, ordered) in [
        (small(), None),
        (not_snooping(Temper::Keep), Some(MemoryAttribute::Uncached)),
    ] {
        let (machine, kernel) = kernel_of(config);
        let tracer = Tracer::new(kernel, 4096);
        let rig = Rig::boot_on(machine, kernel, tracer, BootOptions::default()).unwrap();
        let device = rig.attach(EDU);
        let attribute = |options| {
            tracer.take();
            let memory = device.alloc_attrs::<u64>(1500, options).unwrap();
            assert_eq!((0..1500).find(|&n| memory.read(n) != Ok(0)), None);
            memory.free().unwrap();
            let calls = tracer.take();
            let mapped = calls.iter().find_map(|call| match call {
                PlatformCall::MapFrames(frames, attribute, _) => {
                    assert_eq!(frames.len_bytes(), 3 * PAGE);
                    Some(*attribute)
                }
                _ => None,
            });
            let at = |wanted: fn(&PlatformCall) -> bool| calls.iter().rposition(wanted);
            if mapped.is_some() {
                let before = calls.split(|call| matches!(call, PlatformCall::MapFrames(..)));
                let maintained = before.take(1).flat_map(maintenance).collect::<Vec<_>>();
                let whole = 3 * PAGE as usize;
                assert_eq!(maintained, [("clean", whole), ("invalidate", whole)]);
                // The CPU's lines of the memory are dropped before it is used through the caches again; once is enough.
                let unmapped = at(|call| matches!(call, PlatformCall::UnmapFrames(..)));
                let dropped = at(|call| matches!(call, PlatformCall::InvalidateCache(..)));
                let freed = at(|call| matches!(call, PlatformCall::FreeFrames(_)));
                assert!(
                    unmapped.is_some() && unmapped < freed && dropped < freed,
                    "{calls:?}"
                );
                assert_eq!(unmapped < dropped, ordered.is_none(), "{calls:?}");
            }
            mapped
        };
        assert_eq!(attribute(CoherentOptions::NONE), ordered);
        assert_eq!(attribute(COMBINED), Some(MemoryAttribute::WriteCombining));
        drop(device);
        rig.finish();
    }
    let rig = Rig::boot(little_memory());
    let device = rig.attach(EDU);
    let fragmented = Fragmented::of(rig.kernel);
    let refused = device.alloc_attrs::<u64>(1500, COMBINED);
    assert!(
        matches!(
            refused,
            Err(CoherentError {
                failure: CoherentFailure::Buffer(BufferError::OutOfFrames(_)),
                ..
            })
        ),
        "{refused:?}"
    );
    drop((fragmented, device));
    rig.finish();
}

#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
struct Entry {
    body: u32,
    flag: u32,
}

impl Published for Entry {
    type Entry = Self;
    type Flag = u32;
    const FLAG_OFFSET: usize = offset_of!(Self, flag);
}

#[test]
fn what_is_published_in_write_combined_memory_is_drained() {
    let (machine, kernel) = kernel_of(small());
    let platform = BarrierObserver::new(kernel);
    let rig = Rig::boot_on(machine, kernel, platform, BootOptions::default()).unwrap();
    let device = rig.attach(EDU);
    let barriers = |options| {
        let ring = Descriptors::<_, Entry>::new(device.alloc_attrs(8, options).unwrap());
        let seen = Arc::new(Mutex::new(Vec::new()));
        let notes = seen.clone();
        platform.observe(move |barrier| notes.lock().unwrap().push(barrier));
        ring.publish(1, Entry { body: 1, flag: 1 }).unwrap();
        platform.ignore();
        std::mem::take(&mut *seen.lock().unwrap())
    };
    assert_eq!(barriers(COMBINED), [Barrier::Full]);
    assert_eq!(barriers(CoherentOptions::NONE), [Barrier::Write]);
    drop(device);
    rig.finish();
}

#[test]
fn a_mapping_past_the_caches_that_fails_loses_nothing() {
    for config in [small(), not_snooping(Temper::Forget)] {
        let (machine, kernel) = kernel_of(config);
        let injector = FaultInjector::new(kernel);
        let rig = Rig::boot_on(machine, kernel, injector, BootOptions::default()).unwrap();
        let device = rig.attach(EDU);
        let lent = rig.frames_in_use();
        let sweep = |persistence| {
            let mut failed = 0;
            let requests = injector.sweep(persistence, |nth| {
                let outcome = device.alloc_attrs::<u64>(1500, COMBINED.no_warn());
                match outcome {
                    Ok(memory) => memory.free().unwrap(),
                    Err(error) => {
                        failed += 1;
                        let uncached = matches!(error.failure, CoherentFailure::Uncached(_));
                        let refused = injector.last_injected() == Some(Resource::FrameMapping);
                        assert_eq!(uncached, refused, "{error}");
                    }
                }
                device.reclaim().unwrap();
                assert_eq!(rig.frames_in_use(), lent, "request {nth} failed");
                assert_eq!(kernel.report().uncached_mappings, 0);
                rig.assert_no_findings();
            });
            (requests, failed)
        };
        let once = sweep(Persistence::Once);
        let exhausted = sweep(Persistence::ForEver);
        // The frames, and their mapping.
        assert_eq!(once.1, 2);
        let all = 2 + FIRST_BLOCK_FRAMES + FIRST_LANE_FRAMES + 3;
        assert!(
            once.0 >= all && exhausted.0 >= all,
            "{once:?} {exhausted:?}"
        );
        assert_eq!(exhausted.1, exhausted.0);
        drop(device);
        rig.finish();
    }
}
