//! Slots that CPUs keep ready: lent again without a lock, free all the same, and never lent twice.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Barrier, Mutex};
use std::thread;

use dmamap::addr::{BusAddr, BusRange, DmaMask, PhysRange};
use dmamap::bounce::{BounceSettings, Forced, SLOT_BYTES};
use dmamap::buffer::{DmaBuffer, PackedFrames};
use dmamap::device::Device;
use dmamap::map::{AnyDirection, Bidirectional, Mapping};
use dmamap::platform::{FrameRequest, Platform};
use hosted::Hosted;
use journeys::boot::BootOptions;
use machine::Machine;

use crate::spy::Spy;
use crate::{attach_trusted, without_units};
use rig::Random;
use rig::{EDU, PAGE, Rig, buffer_of, small};

type Mapped = Mapping<Hosted, DmaBuffer<Hosted>, Bidirectional>;

const CPUS: usize = 4;

fn booted() -> Rig {
    let machine = Machine::boot(without_units()).unwrap();
    let kernel = Hosted::boot_with_cpus(machine.clone(), CPUS).unwrap();
    Rig::boot_on(machine, kernel, kernel, BootOptions::default()).unwrap()
}

/// All is copied, to areas of so many bytes.
fn copied(area_bytes: u64, limit_bytes: u64) -> (Rig, Device<Hosted>) {
    let rig = booted();
    rig.system().set_bounce(BounceSettings {
        area_bytes,
        limit_bytes,
        forced: Forced::Always,
        ..BounceSettings::default()
    });
    let device = attach_trusted(&rig);
    device.set_mask(DmaMask::ALL).unwrap();
    (rig, device)
}

fn map(rig: &Rig, device: &Device<Hosted>, len_bytes: u64, value: u8) -> Mapped {
    let buffer = buffer_of(rig.kernel, len_bytes, value);
    device.map_single(buffer, Bidirectional).unwrap()
}

/// The slots that are lent, by their first byte: no two mappings have one.
#[derive(Default)]
struct Slots(Mutex<BTreeMap<u64, u64>>);

impl Slots {
    fn of(range: BusRange) -> (u64, u64) {
        let start = range.start().as_u64() / SLOT_BYTES;
        (start, range.last().as_u64() / SLOT_BYTES + 1)
    }

    fn lend(&self, range: BusRange) {
        let (start, end) = Self::of(range);
        let mut lent = self.0.lock().unwrap();
        if let Some((&before, &before_end)) = lent.range(..end).next_back() {
            assert!(
                before_end <= start,
                "{before:#x}..{before_end:#x} and {range}"
            );
        }
        lent.insert(start, end);
    }

    /// Before the mapping ends: from then on others may be lent them.
    fn end(&self, range: BusRange) {
        let (start, end) = Self::of(range);
        assert_eq!(self.0.lock().unwrap().remove(&start), Some(end));
    }
}

/// Ends a mapping and looks whether it holds what it should.
fn end(slots: &Slots, mut mapping: Mapped, value: u8) {
    let mut bytes = vec![0; mapping.len_bytes() as usize];
    mapping.sync_for_cpu().read_at(0, &mut bytes).unwrap();
    assert!(bytes.iter().all(|&byte| byte == value));
    slots.end(mapping.range());
    let buffer = mapping.unmap().unwrap();
    assert!(buffer.as_slice().iter().all(|&byte| byte == value));
}

fn lengths(random: &Random) -> u64 {
    match random.below(8) {
        0 => 1 + random.below(70_000),
        1 => 64 << 10,
        2..=4 => 1 + random.below(9000),
        _ => 1 + random.below(2048),
    }
}

/// What one maps another unmaps, now and then: slots wander from CPU to CPU, to the areas and back, while memory is called back.
#[test]
fn no_slot_is_lent_twice_whoever_gives_it_back() {
    let (rig, device) = copied(256 << 10, 2 << 20);
    let slots = Slots::default();
    let (senders, receivers): (Vec<_>, Vec<_>) = (0..CPUS).map(|_| channel()).unzip();
    let run = |me: usize, others: Vec<Sender<(Mapped, u8)>>, mine: Receiver<(Mapped, u8)>| {
        let random = Random::from_environment(40 + me as u64);
        let mut live: Vec<(Mapped, u8)> = Vec::new();
        for step in 0..3000_usize {
            live.extend(mine.try_iter());
            if live.len() < 2 || (live.len() < 24 && random.below(100) < 55) {
                let value = (step % 250) as u8 + 1;
                let mapping = map(&rig, &device, lengths(&random), value);
                slots.lend(mapping.range());
                live.push((mapping, value));
            } else {
                let one = live.swap_remove(random.below(live.len() as u64) as usize);
                match random.below(3) {
                    // The other may be done.
                    0 => match others[(me + 1) % CPUS].send(one) {
                        Ok(()) => {}
                        Err(back) => end(&slots, back.0.0, back.0.1),
                    },
                    _ => end(&slots, one.0, one.1),
                }
            }
            if step % 500 == me * 100 {
                rig.system().reclaim_bounce();
            }
        }
        drop(others);
        live.extend(mine.iter());
        live.into_iter()
            .for_each(|(mapping, value)| end(&slots, mapping, value));
    };
    thread::scope(|scope| {
        for (me, mine) in receivers.into_iter().enumerate() {
            let (others, run) = (senders.clone(), &run);
            scope.spawn(move || run(me, others, mine));
        }
        drop(senders);
    });
    assert!(slots.0.lock().unwrap().is_empty());
    let pool = rig.system().bounce_figures();
    assert_eq!((pool.slots_in_use, pool.transient), (0, 0));
    assert!(pool.slots_high_water <= pool.slots, "{pool:?}");
    assert_eq!(pool.refused, 0);
    rig.system().reclaim_bounce();
    assert_eq!(rig.system().bounce_figures().bytes, 0, "all blocks merged");
    drop(device);
    rig.finish();
}

/// Maps on each of the CPUs until one is refused, and unmaps there.
fn fill_everywhere(rig: &Rig, device: &Device<Hosted>, len_bytes: u64) -> usize {
    let (start, filled) = (Barrier::new(CPUS), Barrier::new(CPUS));
    let counts: Vec<_> = thread::scope(|scope| {
        let each = |_| {
            scope.spawn(|| {
                start.wait();
                let buffers = (0..).map(|_| buffer_of(rig.kernel, len_bytes, 3));
                let mappings = buffers.map_while(|one| device.map_single(one, Bidirectional).ok());
                let live: Vec<_> = mappings.collect();
                filled.wait();
                live.len()
            })
        };
        let threads: Vec<_> = (0..CPUS).map(each).collect();
        threads.into_iter().map(|one| one.join().unwrap()).collect()
    });
    counts.into_iter().sum()
}

/// A pool that gets no more memory lends all of it, whichever CPU kept it ready, in runs of any length.
#[test]
fn what_other_cpus_keep_is_found_when_nothing_else_is_left() {
    let rig = booted();
    let frames = FrameRequest {
        align_log2: 20,
        ..FrameRequest::new(256)
    };
    let memory = rig.kernel.allocate_frames(frames).unwrap();
    // SAFETY: the frames are never given back.
    unsafe { rig.system().restrict(EDU, memory) }.unwrap();
    let device = attach_trusted(&rig);
    device.set_mask(DmaMask::ALL).unwrap();
    let slots = memory.len_bytes() / SLOT_BYTES;
    for len_slots in [1, 2, 5, 1, 32, 3, 128, 1, 512] {
        let len_bytes = len_slots * SLOT_BYTES - 7;
        let block = len_slots.next_power_of_two();
        // What a block has beyond the run is lent too where it is as long; at least one run for each block is there.
        let mapped = fill_everywhere(&rig, &device, len_bytes) as u64;
        assert!(mapped >= slots / block, "{mapped} of {len_slots} slots");
        if block == len_slots {
            assert_eq!(mapped, slots / block, "of {len_slots} slots");
        }
        assert_eq!(device.bounce_figures().slots_in_use, 0);
    }
    drop(device);
}

/// Memory goes back to the platform though CPUs kept its slots, and what is lent stays.
#[test]
fn memory_that_cpus_keep_ready_can_be_reclaimed() {
    let (rig, device) = copied(64 << 10, 4 << 20);
    let before = rig.frames_in_use();
    let slots = Slots::default();
    let kept = map(&rig, &device, 100, 9);
    slots.lend(kept.range());
    thread::scope(|scope| {
        for _ in 0..CPUS {
            let burst = || {
                let all: Vec<_> = (0..20).map(|_| map(&rig, &device, PAGE, 1)).collect();
                drop(all);
            };
            scope.spawn(burst);
        }
    });
    assert!(rig.system().bounce_figures().bytes > 64 << 10);
    rig.system().reclaim_bounce();
    let figures = rig.system().bounce_figures();
    assert_eq!((figures.bytes, figures.slots_in_use), (64 << 10, 1));
    end(&slots, kept, 9);
    rig.system().reclaim_bounce();
    assert_eq!(rig.system().bounce_figures().bytes, 0);
    assert_eq!(rig.frames_in_use(), before);
    drop(device);
    rig.finish();
}

/// One CPU maps and another unmaps, for ever: the pool does not grow for it.
#[test]
fn slots_that_always_come_back_elsewhere_do_not_pile_up() {
    let (rig, device) = copied(64 << 10, 8 << 20);
    let (sender, receiver) = channel::<Mapped>();
    thread::scope(|scope| {
        scope.spawn(|| receiver.into_iter().for_each(drop));
        for round in 0..4000_u32 {
            sender.send(map(&rig, &device, PAGE, 1)).unwrap();
            while round % 16 == 15 && rig.system().bounce_figures().slots_in_use > 0 {
                thread::yield_now();
            }
        }
        drop(sender);
    });
    let figures = rig.system().bounce_figures();
    assert_eq!(figures.slots_in_use, 0);
    // An area for each of the two, and one that the first found full at the wrong moment.
    assert!(figures.bytes <= 3 * (64 << 10), "{figures:?}");
    assert!(figures.slots_high_water <= figures.slots, "{figures:?}");
    drop(device);
    rig.finish();
}

/// Of a run that a device with fewer address lines does not reach none is lent to it, though the CPU keeps it ready.
#[test]
fn what_is_kept_for_one_device_is_not_lent_to_one_that_does_not_reach_it() {
    let (rig, device) = copied(64 << 10, 4 << 20);
    let far = map(&rig, &device, PAGE, 1);
    let range = far.range();
    drop(far);
    let mask = DmaMask::from_bits(28).unwrap();
    assert!(!mask.covers(range), "memory is lent from above");
    device.set_mask(mask).unwrap();
    let near = map(&rig, &device, PAGE, 2);
    assert!(mask.covers(near.range()));
    device.set_mask(DmaMask::ALL).unwrap();
    let again = map(&rig, &device, PAGE, 3);
    let reached = |range: BusRange| device.translate(range.start()).unwrap();
    let memory = |range| PhysRange::new(reached(range), PAGE).unwrap();
    assert!(!memory(near.range()).overlaps(memory(again.range())));
    drop((near, again, device));
    rig.finish();
}

/// Of a page that short buffers are copied to in turn, read by the device, written by it, or both, it sees each time what it is given,
/// where it is, and zeros: also of what it wrote there itself, as the next may be another device's.
#[test]
fn beside_a_copy_there_are_zeros_whatever_was_there_before() {
    let mut rig = Rig::boot(small());
    let device = rig.attach(EDU);
    let mut spy = Spy::on(&mut rig, device);
    let frames = PackedFrames::new(rig.kernel, 200);
    let mut blocks: Vec<_> = (0..8).map(|_| frames.allocate().unwrap()).collect();
    let random = Random::from_environment(7);
    let directions = [
        AnyDirection::ToDevice,
        AnyDirection::FromDevice,
        AnyDirection::Bidirectional,
    ];
    let mut reached = Vec::new();
    for round in 0..60_u8 {
        let mut block = blocks.swap_remove(random.below(blocks.len() as u64) as usize);
        block.as_mut_slice().fill(round + 1);
        let direction = random.pick(&directions);
        let mapping = spy.device().map_single(block, direction).unwrap();
        let bus = mapping.bus_addr();
        let page = BusAddr::new(bus.as_u64() / PAGE * PAGE);
        let head = (bus.as_u64() - page.as_u64()) as usize;
        if direction != AnyDirection::FromDevice {
            let seen = spy.peek(page, PAGE);
            assert_eq!(seen[head..head + 200], [round + 1; 200]);
            let mut beside = seen[..head].iter().chain(&seen[head + 200..]);
            assert!(beside.all(|&byte| byte == 0), "round {round}");
        }
        if direction != AnyDirection::ToDevice {
            spy.poke(page, &[0xee; 4096]);
        }
        reached.push(spy.device().translate(page).unwrap());
        let block = mapping.unmap().unwrap();
        let expected = match direction {
            AnyDirection::ToDevice => round + 1,
            _ => 0xee,
        };
        assert_eq!(block.as_slice(), [expected; 200]);
        blocks.push(block);
    }
    reached.dedup();
    assert_eq!(reached.len(), 1, "it is one page all the time");
    drop((blocks, frames));
    spy.stop();
    rig.finish();
}
