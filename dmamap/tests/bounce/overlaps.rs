//! No two mappings share a slot, whatever lengths and alignments are asked for, and each keeps its data.

use dmamap::addr::{BusRange, DmaMask, PhysAddr, PhysRange};
use dmamap::bounce::BounceSettings;
use dmamap::device::Device;
use dmamap::map::{AnyDirection, Attributes, MapFailure};
use dmamap::platform::Platform;
use hosted::Hosted;

use crate::{Ram, attach_trusted, without_units};
use rig::Random;
use rig::{PAGE, Rig};

struct Mapped {
    memory: PhysRange,
    bus: BusRange,
    stamp: u8,
}

/// What stands at a bus address, here the physical one.
fn byte_at(kernel: Hosted, bus: u64) -> u8 {
    let pointer = kernel.frame_pointer(PhysAddr::new(bus));
    // SAFETY: memory of the pool, which only this thread touches here.
    unsafe { pointer.read_volatile() }
}

fn stamp(kernel: Hosted, memory: PhysRange, value: u8) {
    let pointer = kernel.frame_pointer(memory.start());
    // SAFETY: the test's own memory.
    unsafe { pointer.write_bytes(value, memory.len_bytes() as usize) };
}

fn check(one: &Mapped, kernel: Hosted) {
    for at in [one.bus.start(), one.bus.last()] {
        assert_eq!(byte_at(kernel, at.as_u64()), one.stamp, "{:?}", one.bus);
    }
}

fn unmap(device: &Device<Hosted>, one: &Mapped, kernel: Hosted) {
    check(one, kernel);
    // The device leaves a mark in its last byte.
    let last = kernel.frame_pointer(PhysAddr::new(one.bus.last().as_u64()));
    // SAFETY: the copy is the mapping's.
    unsafe { last.write_volatile(one.stamp ^ 0xff) };
    // SAFETY: mapped once, unmapped once.
    unsafe { device.unmap_phys(one.bus, AnyDirection::Bidirectional, Attributes::NONE) }.unwrap();
    let left = |at: PhysAddr| byte_at(kernel, at.as_u64());
    assert_eq!(left(one.memory.last()), one.stamp ^ 0xff);
    if one.memory.len_bytes() > 1 {
        assert_eq!(left(one.memory.start()), one.stamp);
    }
}

fn run(seed: u64, steps: u32, area_bytes: u64) {
    let random = Random::from_environment(seed);
    let rig = Rig::boot(without_units());
    let kernel = rig.kernel;
    let settings = BounceSettings {
        area_bytes,
        limit_bytes: 8 << 20,
        ..BounceSettings::default()
    };
    rig.system().set_bounce(settings);
    let device = attach_trusted(&rig);
    device.set_mask(DmaMask::from_bits(28).unwrap()).unwrap();
    let ram = Ram::allocate(kernel, 1 << 13);
    let mut live: Vec<Mapped> = Vec::new();
    // Memory is cut into places, so that no two mappings have the same.
    let place_bytes = 128 * PAGE;
    let mut free: Vec<u64> = (0..(ram.frames.len_bytes() / place_bytes)).collect();
    for step in 0..steps {
        let grow = live.len() < 3 || (random.below(100) < 55 && !free.is_empty());
        if grow {
            let align_mask = random.pick(&[0, 1, 511, 2047, 4095, 0xffff]);
            device.set_min_align_mask(align_mask).unwrap();
            let boundary = random.pick(&[0xffff_ffff, 0xffff, 0xf_ffff]);
            device.set_segment_boundary(boundary).unwrap();
            let place = free.swap_remove(random.below(free.len() as u64) as usize);
            let most = 1 << random.below(19);
            let len = 1 + random.below(most);
            let offset = place * place_bytes + random.below(place_bytes - len);
            let memory = ram.part(offset, len);
            let value = (step % 254) as u8 + 1;
            stamp(kernel, memory, value);
            // SAFETY: the memory lives, and is touched by address alone.
            let bus = unsafe { device.map_phys(memory, AnyDirection::Bidirectional) };
            // Unless keeping the offset makes it cross a boundary, there is a place.
            let kept = (memory.start().as_u64() & align_mask) + len <= boundary + 1;
            let bus = match bus {
                Ok(bus) => bus,
                Err(error) if !kept => {
                    let refused = matches!(error.failure, MapFailure::CrossesBoundary { .. });
                    assert!(refused, "step {step}: {error}");
                    free.push(place);
                    continue;
                }
                Err(error) => panic!("step {step}: {error}"),
            };
            let (y, z) = (memory.start().as_u64(), bus.start().as_u64());
            assert_eq!(y & align_mask, z & align_mask, "step {step}");
            let last = bus.last().as_u64();
            assert_eq!(z & !boundary, last & !boundary, "step {step}: {bus}");
            for other in &live {
                assert!(!other.bus.overlaps(bus), "{bus} and {}", other.bus);
            }
            live.push(Mapped {
                memory,
                bus,
                stamp: value,
            });
            check(live.last().unwrap(), kernel);
        } else {
            let one = live.swap_remove(random.below(live.len() as u64) as usize);
            unmap(&device, &one, kernel);
            let place = (one.memory.start().as_u64() - ram.frames.start().as_u64()) / place_bytes;
            free.push(place);
        }
    }
    let bytes: u64 = live.iter().map(|one| one.bus.len_bytes()).sum();
    let pool = rig.system().bounce_figures();
    assert!(pool.slots_in_use * 2048 + pool.transient * (1 << 20) >= bytes.min(1));
    for one in live {
        unmap(&device, &one, kernel);
    }
    let pool = rig.system().bounce_figures();
    assert_eq!((pool.slots_in_use, pool.transient), (0, 0));
    assert!(pool.slots_high_water > 0);
    rig.system().reclaim_bounce();
    assert_eq!(rig.system().bounce_figures().bytes, 0, "all blocks merged");
    drop((ram, device));
    rig.finish();
}

#[test]
fn mappings_never_overlap_and_keep_their_data() {
    run(11, 4000, 1 << 20);
    run(12, 4000, 64 << 10);
}

#[test]
#[ignore = "a soak"]
fn mappings_never_overlap_for_long() {
    for seed in 100..400 {
        run(seed, 20_000, 4096 << (seed % 10));
    }
}
