//! A lane of its owner: what it maps anybody unmaps, behind every kind of unit, and nothing is reachable any longer than it is
//! mapped, nor lost, whichever ends first: mapping, lane or device.

#![expect(
    clippy::result_large_err,
    reason = "what is refused comes back, and is looked at"
)]

use std::mem;
use std::sync::Barrier;
use std::thread;
use std::time::Duration;

use dmamap::addr::{BusAddr, BusRange, DmaMask, PhysAddr};
use dmamap::buffer::{DmaBuffer, DmaMemory, ScatteredBuffer};
use dmamap::device::Device;
use dmamap::iommu::DomainError;
use dmamap::map::{
    Bidirectional, Lane, MapFailure, Mapping, NotUnmanaged, Retired, SgMapping, UnmanagedDomain,
};
use dmamap::system::{AddressOrder, Protection, Settings};
use hosted::Hosted;
use journeys::boot::BootOptions;
use machine::temper::Temper;

use crate::lanes::{assert_nothing_left, attach, machines, units, with};
use rig::Random;
use rig::kinds::{go_on, hang, kinds};
use rig::wide::{start, wide_functions, with_wide_edu, with_wide_edus};
use rig::{EDU, HEARTBEAT, PAGE, Rig, buffer_of, impatient, try_write};

type Buffer = DmaBuffer<Hosted>;

const fn is_send<T: Send>() {}
const _: () = is_send::<Lane<Hosted>>();

/// Memory that is mapped, and where each page of it is.
enum Lent {
    Single(Mapping<Hosted, Buffer, Bidirectional>),
    Pieces(SgMapping<Hosted, ScatteredBuffer<Hosted>, Bidirectional>),
}

/// Who maps or unmaps.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Who {
    Lane(usize),
    Device,
    Drop,
    OtherThread,
}

impl Lent {
    fn pages(&self) -> Vec<BusAddr> {
        let of = |range: BusRange| {
            let starts = (0..range.len_bytes()).step_by(PAGE as usize);
            starts.map(move |at| BusAddr::new(range.start().as_u64() + at))
        };
        match self {
            Self::Single(mapping) => of(mapping.range()).collect(),
            Self::Pieces(mapping) => mapping.segments().flat_map(of).collect(),
        }
    }

    fn unmap(self, who: Who, lanes: &mut [Lane<Hosted>]) {
        match (self, who) {
            (Self::Single(mapping), Who::Lane(n)) => drop(lanes[n].unmap(mapping).unwrap()),
            (Self::Pieces(mapping), Who::Lane(n)) => drop(lanes[n].unmap_sg(mapping).unwrap()),
            (Self::Single(mapping), Who::Device) => drop(mapping.unmap().unwrap()),
            (Self::Pieces(mapping), Who::Device) => drop(mapping.unmap().unwrap()),
            (this, Who::Drop) => drop(this),
            (this, Who::OtherThread) => thread::spawn(move || drop(this)).join().unwrap(),
        }
    }
}

fn phys_pages(memory: &impl DmaMemory) -> Vec<PhysAddr> {
    let offsets = (0..memory.len_bytes()).step_by(PAGE as usize);
    offsets.map(|at| memory.segment(at).start()).collect()
}

fn lend(
    who: Who,
    (device, lanes): (&Device<Hosted>, &mut [Lane<Hosted>]),
    (pages, is_single): (u64, bool),
) -> Lent {
    let kernel = device.platform();
    let len_bytes = pages * PAGE;
    let (lent, phys) = if is_single {
        let buffer = buffer_of(kernel, len_bytes, 1);
        let phys = phys_pages(&buffer);
        let mapped = match who {
            Who::Lane(n) => lanes[n].map_single(buffer, Bidirectional),
            _ => device.map_single(buffer, Bidirectional),
        };
        (Lent::Single(mapped.unwrap()), phys)
    } else {
        let buffer = ScatteredBuffer::allocate(kernel, len_bytes).unwrap();
        let phys = phys_pages(&buffer);
        let mapped = match who {
            Who::Lane(n) => lanes[n].map_sg(buffer, Bidirectional),
            _ => device.map_sg(buffer, Bidirectional),
        };
        (Lent::Pieces(mapped.unwrap()), phys)
    };
    let buses = lent.pages();
    assert_eq!(buses.len(), phys.len());
    for (bus, phys) in buses.into_iter().zip(phys) {
        assert_eq!(device.translate(bus), Some(phys));
    }
    lent
}

/// How devices are attached.
const WAYS: [(Protection, bool); 4] = [
    (Protection::Strict, false),
    (Protection::Deferred, false),
    (Protection::Strict, true),
    (Protection::Deferred, true),
];

#[test]
fn lanes_and_the_device_agree_with_an_oracle() {
    let random = Random::from_environment(41);
    for (name, iommu) in machines() {
        for (protection, is_trusted) in WAYS {
            if name == "virtio" && (protection, is_trusted) == (Protection::Deferred, true) {
                // Its model minds memory that comes back before the flush.
                continue;
            }
            println!("{name} {protection:?} {is_trusted}");
            let temper = Temper::Random(random.below(100));
            let rig = Rig::boot(with(&iommu).with_temper(temper));
            let device = match is_trusted {
                true => rig.attach_trusted(EDU, protection),
                false => attach(&rig, protection),
            };
            let before = (device.domain_frames(), rig.frames_in_use());
            let mut lanes = [device.lane(), device.lane()];
            let mut live: Vec<Lent> = Vec::new();
            let mut retired: Vec<Retired<_, Buffer, _>> = Vec::new();
            for _ in 0..700 {
                let who = random.pick(&[Who::Lane(0), Who::Lane(1), Who::Device]);
                match random.below(20) {
                    0..9 => {
                        let pages = 1 + random.below(random.pick(&[1, 1, 8, 40]));
                        let is_single = random.below(4) > 0;
                        let one = lend(who, (&device, &mut lanes), (pages, is_single));
                        let buses = one.pages();
                        for other in &live {
                            let overlaps = other.pages().iter().any(|bus| buses.contains(bus));
                            assert!(!overlaps, "{name}");
                        }
                        for other in retired.iter().filter(|one| !one.is_settled()) {
                            let range = other.range();
                            let overlaps = buses.iter().any(|&bus| range.contains(bus));
                            assert!(!overlaps, "{name}: it is not flushed");
                        }
                        live.push(one);
                    }
                    9..18 if !live.is_empty() => {
                        let one = live.swap_remove(random.below(live.len() as u64) as usize);
                        let buses = one.pages();
                        match one {
                            Lent::Single(mapping) if random.below(4) == 0 => {
                                retired.push(match who {
                                    Who::Lane(n) => lanes[n].retire(mapping),
                                    _ => mapping.retire(),
                                });
                            }
                            one => {
                                let any = [who, who, who, Who::Drop, Who::OtherThread];
                                one.unmap(random.pick(&any), &mut lanes);
                            }
                        }
                        for bus in buses {
                            assert_eq!(device.translate(bus), None, "{name}");
                        }
                    }
                    18 if !retired.is_empty() => {
                        let index = random.below(retired.len() as u64) as usize;
                        drop(retired.swap_remove(index).finish().unwrap());
                    }
                    _ => match (random.below(12), who) {
                        (0, Who::Lane(n)) => lanes[n].shrink(),
                        (1, Who::Lane(n)) => lanes[n] = device.lane(),
                        (2, _) => device.flush().unwrap(),
                        (3, _) => device.reclaim().unwrap(),
                        _ => {}
                    },
                }
            }
            for one in live {
                let who = random.pick(&[Who::Lane(0), Who::Lane(1), Who::Device]);
                one.unmap(who, &mut lanes);
            }
            for one in retired {
                drop(one.finish().unwrap());
            }
            drop(lanes);
            device.flush().unwrap();
            assert_nothing_left(&rig, &device, before);
            device.detach().unwrap();
            rig.finish();
        }
    }
}

#[test]
fn what_a_lane_unmapped_is_out_of_reach() {
    for (name, iommu) in machines() {
        println!("{name}");
        let mut rig = Rig::boot(with_wide_edu(with(&iommu)).with_temper(Temper::Keep));
        let kernel = rig.kernel;
        let function = wide_functions(&rig).remove(0);
        let device = rig.system().attach(&function, Protection::Strict).unwrap();
        let mut edu = start(&mut rig, &function, device);
        let mut lane = edu.device().lane();
        let mut seen = Vec::new();
        for round in 0..6 {
            let mappings = [1, 3, 16].map(|pages| {
                let buffer = buffer_of(kernel, pages * PAGE, 0x11);
                lane.map_single(buffer, Bidirectional).unwrap()
            });
            for mapping in &mappings {
                // The unit remembers them.
                let last = mapping.range().len_bytes() - 64;
                edu.fetch(mapping, 0, 64).unwrap();
                edu.fetch(mapping, last, 64).unwrap();
            }
            let other = buffer_of(kernel, PAGE, 0x22);
            let other = lane.map_single(other, Bidirectional).unwrap();
            edu.fetch(&other, 0, 64).unwrap();
            drop(lane.unmap(other).unwrap());
            let buses = mappings.each_ref().map(|mapping| mapping.range());
            let buffers = match round % 3 {
                0 => mappings.map(|mapping| lane.unmap(mapping).unwrap()),
                1 => {
                    let unmap = move || mappings.map(|mapping| mapping.unmap().unwrap());
                    thread::spawn(unmap).join().unwrap()
                }
                _ => mappings.map(|mapping| lane.retire(mapping).finish().unwrap()),
            };
            for (bus, buffer) in buses.iter().zip(&buffers) {
                assert_eq!(edu.device().translate(bus.start()), None);
                try_write(&mut edu, bus.start(), 64);
                try_write(&mut edu, BusAddr::new(bus.last().as_u64() - 63), 64);
                assert!(buffer.as_slice().iter().all(|&byte| byte == 0x11), "{name}");
            }
            seen.extend(buses);
        }
        // What was freed is chosen again: else this tested less than it says.
        let first = seen[0];
        assert!(seen[3..].iter().any(|bus| bus.overlaps(first)), "{name}");
        drop((lane, edu, function));
        rig.finish_after_faults();
    }
}

/// Whoever maps enough pages is given all of these ranges again.
fn assert_chosen_again(name: &str, rig: &Rig, device: &Device<Hosted>, mut lost: Vec<BusRange>) {
    let again: Vec<_> = (0..1100)
        .map(|_| {
            let buffer = buffer_of(rig.kernel, PAGE, 1);
            device.map_single(buffer, Bidirectional).unwrap()
        })
        .collect();
    lost.retain(|bus| !again.iter().any(|one| one.range().overlaps(*bus)));
    assert_eq!(lost, [], "{name}: never free again");
}

#[test]
fn what_no_unit_confirmed_is_nobodys_until_it_is_recovered() {
    for (name, iommu) in kinds() {
        println!("{name}");
        let rig = Rig::boot_with(with(&iommu), impatient(100));
        let device = attach(&rig, Protection::Strict);
        let before = (device.domain_frames(), rig.frames_in_use());
        let mut lane = device.lane();
        let lent = [1, 2, 5, 1].map(|pages| {
            let buffer = buffer_of(rig.kernel, pages * PAGE, 1);
            lane.map_single(buffer, Bidirectional).unwrap()
        });
        let pieces = || ScatteredBuffer::allocate(rig.kernel, 6 * PAGE).unwrap();
        let lists = [
            lane.map_sg(pieces(), Bidirectional).unwrap(),
            device.map_sg(pieces(), Bidirectional).unwrap(),
        ];
        let mut lost: Vec<_> = lent.iter().map(|one| one.range()).collect();
        lost.extend(lists.iter().flat_map(SgMapping::segments));
        let bytes: u64 = lost.iter().map(|range| range.len_bytes()).sum();
        hang(&rig.machine);
        let [one, two, five, other] = lent;
        for mapping in [one, two, five] {
            let _ = lane.unmap(mapping).expect_err("nobody confirms it");
        }
        let _ = other.unmap().expect_err("nobody confirms it");
        let [own, others] = lists;
        let _ = lane.unmap_sg(own).expect_err("nobody confirms it");
        let _ = others.unmap().expect_err("nobody confirms it");
        go_on(&rig.machine);
        assert_eq!(device.figures().quarantined_bytes, bytes);
        let assert_apart = |lane: &mut Lane<Hosted>, lost: &[BusRange]| {
            let map = |n: u64| {
                let buffer = buffer_of(rig.kernel, PAGE, 2);
                match n % 2 {
                    0 => lane.map_single(buffer, Bidirectional).unwrap(),
                    _ => device.map_single(buffer, Bidirectional).unwrap(),
                }
            };
            for other in (0..600).map(map).collect::<Vec<_>>() {
                let taken = lost.iter().any(|one| one.overlaps(other.range()));
                assert!(!taken, "{name}: {}", other.range());
            }
        };
        assert_apart(&mut lane, &lost);
        // The lane's are with the domain now, which has not been told more either.
        lane.shrink();
        assert_apart(&mut lane, &lost);
        assert_eq!(device.recover(), Ok(bytes));
        drop(lane);
        let _ = device.recover();
        device.reclaim().unwrap();
        assert_chosen_again(name, &rig, &device, lost);
        device.reclaim().unwrap();
        let after = (device.domain_frames(), rig.frames_in_use());
        assert_eq!(after, before, "{name}");
        device.detach().unwrap();
        rig.finish();
    }
}

/// While the lane lives they are the lane's to keep; when it ends they are the domain's, which is to ask about them once more.
#[test]
fn what_was_recovered_under_a_lane_is_free_again_when_that_has_ended() {
    for (name, iommu) in kinds() {
        println!("{name}");
        let rig = Rig::boot_with(with(&iommu), impatient(100));
        let device = attach(&rig, Protection::Strict);
        let mut lane = device.lane();
        let lent = [1, 2, 5].map(|pages| {
            let buffer = buffer_of(rig.kernel, pages * PAGE, 1);
            lane.map_single(buffer, Bidirectional).unwrap()
        });
        let lost: Vec<_> = lent.iter().map(|one| one.range()).collect();
        let bytes = lost.iter().map(|range| range.len_bytes()).sum();
        hang(&rig.machine);
        for mapping in lent {
            let _ = lane.unmap(mapping).expect_err("nobody confirms it");
        }
        go_on(&rig.machine);
        assert_eq!(device.recover(), Ok(bytes));
        drop(lane);
        device.recover().unwrap();
        assert_chosen_again(name, &rig, &device, lost);
        device.detach().unwrap();
        rig.finish();
    }
}

#[test]
fn a_lane_outlives_its_device() {
    for (name, iommu) in machines() {
        for protection in [Protection::Strict, Protection::Deferred] {
            println!("{name} {protection:?}");
            let rig = Rig::boot(with(&iommu));
            attach(&rig, protection).detach().unwrap();
            rig.attach(HEARTBEAT).detach().unwrap();
            let frames = rig.frames_in_use();
            let device = attach(&rig, protection);
            let mut lane = device.lane();
            let map = |lane: &mut Lane<Hosted>, pages: u64| {
                lane.map_single(buffer_of(rig.kernel, pages * PAGE, 1), Bidirectional)
            };
            let lent = [1, 3, 2, 40, 1].map(|pages| map(&mut lane, pages).unwrap());
            let of_device = buffer_of(rig.kernel, PAGE, 1);
            let of_device = device.map_single(of_device, Bidirectional).unwrap();
            device.detach().unwrap();
            assert_eq!(rig.machine.audit().leaves, []);
            let [one, three, two, forty, last] = lent;
            drop(lane.unmap(one).unwrap());
            drop(three.unmap().unwrap());
            drop(lane.retire(two).finish().unwrap());
            drop(forty);
            drop(lane.unmap(of_device).unwrap());
            let rejected = map(&mut lane, 1).expect_err("the device is gone");
            assert!(
                matches!(
                    rejected.error.failure,
                    MapFailure::Domain(DomainError::Revoked)
                ),
                "{name}: {}",
                rejected.error
            );
            assert!(rejected.buffer.is_some(), "{name}");
            drop(rejected);
            // Again, when all went well; and whoever asks looks after what nobody needs any more.
            lane.shrink();
            drop(map(&mut lane, 1).expect_err("the device is gone"));
            let device = attach(&rig, protection);
            // A mapping of another life of the device is none of this lane's.
            let other = buffer_of(rig.kernel, PAGE, 1);
            let other = device.map_single(other, Bidirectional).unwrap();
            drop(lane.unmap(other).unwrap());
            drop(lane);
            drop(last.unmap().unwrap());
            device.detach().unwrap();
            assert_eq!(rig.frames_in_use(), frames, "{name} {protection:?}");
            rig.finish();
        }
    }
}

#[test]
fn a_device_is_detached_while_lanes_map_and_unmap() {
    for (name, iommu) in machines() {
        for protection in [Protection::Strict, Protection::Deferred] {
            println!("{name} {protection:?}");
            let rig = Rig::boot(with(&iommu));
            let device = attach(&rig, protection);
            let lanes = [device.lane(), device.lane()];
            let together = Barrier::new(lanes.len() + 1);
            thread::scope(|scope| {
                for mut lane in lanes {
                    let (together, kernel) = (&together, rig.kernel);
                    scope.spawn(move || {
                        let mut live = Vec::new();
                        for n in 0u64.. {
                            if n == 50 {
                                together.wait();
                            }
                            let buffer = buffer_of(kernel, (1 + n % 3) * PAGE, 1);
                            match lane.map_single(buffer, Bidirectional) {
                                Ok(mapping) => live.push(mapping),
                                Err(rejected) => {
                                    assert!(rejected.buffer.is_some());
                                    break;
                                }
                            }
                            if n % 4 != 0 {
                                drop(lane.unmap(live.swap_remove(0)).unwrap());
                            }
                        }
                        for (n, one) in live.into_iter().enumerate() {
                            match n % 2 {
                                0 => drop(lane.unmap(one).unwrap()),
                                _ => drop(one.unmap().unwrap()),
                            }
                        }
                    });
                }
                together.wait();
                thread::sleep(Duration::from_micros(300));
                device.detach().unwrap();
            });
            assert_eq!(rig.machine.audit().leaves, [], "{name}");
            // And its addresses are the next's.
            let device = attach(&rig, protection);
            let mut lane = device.lane();
            let buffer = buffer_of(rig.kernel, PAGE, 1);
            drop(lane.map_single(buffer, Bidirectional).unwrap());
            drop(lane);
            device.detach().unwrap();
            rig.finish();
        }
    }
}

#[test]
fn a_lane_of_a_member_that_left_maps_nothing_in_the_domain_of_the_others() {
    for (name, iommu) in kinds() {
        println!("{name}");
        let rig = Rig::boot(with_wide_edus(with(&iommu), 2));
        let functions = wide_functions(&rig);
        let both = functions.iter().map(|function| {
            let device = rig.system().attach(function, Protection::Strict);
            device.unwrap()
        });
        let both: Vec<_> = both.collect();
        drop(functions);
        let [one, other] = both.try_into().unwrap();
        let mut lanes = [one.lane(), other.lane()];
        let map = |lane: &mut Lane<Hosted>| {
            lane.map_single(buffer_of(rig.kernel, PAGE, 1), Bidirectional)
        };
        let lent = [map(&mut lanes[0]).unwrap(), map(&mut lanes[1]).unwrap()];
        assert!(!lent[0].range().overlaps(lent[1].range()), "{name}");
        // They share a domain: else this tests nothing.
        assert!(other.translate(lent[0].bus_addr()).is_some(), "{name}");
        let bus = lent[0].bus_addr();
        let left = one.detach().expect_err("the other reaches what is mapped");
        assert_eq!(left.unit_error(), None, "{name}: {left}");
        let rejected = map(&mut lanes[0]).expect_err("the device is gone");
        assert!(rejected.buffer.is_some(), "{name}");
        drop(rejected);
        let [first, second] = lent;
        drop(lanes[0].unmap(first).unwrap());
        assert_eq!(other.translate(bus), None, "{name}");
        // Of another device than the lane's.
        drop(lanes[0].unmap(second).unwrap());
        assert_eq!(rig.machine.audit().leaves, [], "{name}");
        let [gone, mut goes_on] = lanes;
        drop(gone);
        drop(map(&mut goes_on).unwrap());
        drop(goes_on);
        other.detach().unwrap();
        rig.finish();
    }
}

#[test]
fn a_domain_with_a_lane_is_not_handed_over() {
    for (name, iommu) in kinds() {
        if name == "virtio" {
            // It has no lanes.
            continue;
        }
        println!("{name}");
        let rig = Rig::boot(with(&iommu));
        let device = attach(&rig, Protection::Strict);
        let mut lane = device.lane();
        let buffer = buffer_of(rig.kernel, PAGE, 1);
        let mapping = lane.map_single(buffer, Bidirectional).unwrap();
        drop(lane.unmap(mapping).unwrap());
        let refused = UnmanagedDomain::of(device).expect_err("it has a lane");
        let is_lane = matches!(refused.reason, NotUnmanaged::Mapped { live: 1, .. });
        assert!(is_lane, "{name}: {}", refused.reason);
        drop(lane);
        drop(UnmanagedDomain::of(refused.device).unwrap());
        rig.finish();
    }
}

#[test]
fn no_mapping_lies_above_a_mask_that_became_narrower() {
    for (name, iommu) in units() {
        println!("{name}");
        let units = Settings {
            address_order: AddressOrder::HighFirst,
            ..Settings::default()
        };
        let options = BootOptions {
            units,
            ..BootOptions::default()
        };
        let rig = Rig::boot_with(with(&iommu), options);
        let device = attach(&rig, Protection::Strict);
        let before = (device.domain_frames(), rig.frames_in_use());
        device.set_mask(DmaMask::from_bits(38).unwrap()).unwrap();
        let mut lane = device.lane();
        let map = |lane: &mut Lane<Hosted>, pages: u64| {
            let buffer = buffer_of(rig.kernel, pages * PAGE, 1);
            lane.map_single(buffer, Bidirectional).unwrap()
        };
        let high = [1, 2, 7, 1].map(|pages| map(&mut lane, pages));
        let is_high = |one: &Mapping<_, Buffer, _>| one.bus_addr().as_u64() >> 32 != 0;
        assert!(high.iter().any(is_high), "{name}: {high:?}");
        let [first, others @ ..] = high;
        // Its address is the next to be chosen.
        drop(lane.unmap(first).unwrap());
        for bits in [32, 28, 33, 24, 32] {
            let mask = DmaMask::from_bits(bits).unwrap();
            device.set_mask(mask).unwrap();
            for pages in [1, 2, 1, 30] {
                let mapping = map(&mut lane, pages);
                let last = mapping.range().last();
                assert!(last <= mask.last(), "{name}: {last} with {bits} bits");
                drop(lane.unmap(mapping).unwrap());
            }
            // Nor without the lane, which the CPU has blocks for as well.
            for pages in [1, 2, 30] {
                let buffer = buffer_of(rig.kernel, pages * PAGE, 1);
                let single = device.map_single(buffer, Bidirectional).unwrap();
                let buffer = ScatteredBuffer::allocate(rig.kernel, pages * PAGE).unwrap();
                let list = device.map_sg(buffer, Bidirectional).unwrap();
                for range in list.segments().chain([single.range()]) {
                    assert!(range.last() <= mask.last(), "{name}: {range}");
                }
            }
        }
        for other in others {
            drop(lane.unmap(other).unwrap());
        }
        drop(lane);
        assert_nothing_left(&rig, &device, before);
        device.detach().unwrap();
        rig.finish();
    }
}

#[test]
fn a_lane_maps_nothing_while_the_system_sleeps_and_goes_on_when_it_wakes() {
    for (name, iommu) in kinds() {
        for protection in [Protection::Strict, Protection::Deferred] {
            println!("{name} {protection:?}");
            let rig = Rig::boot(with(&iommu));
            let device = attach(&rig, protection);
            let before = (device.domain_frames(), rig.frames_in_use());
            let mut lane = device.lane();
            let map = |lane: &mut Lane<Hosted>| {
                lane.map_single(buffer_of(rig.kernel, PAGE, 1), Bidirectional)
            };
            let kept = map(&mut lane).unwrap();
            let mut asleep: Vec<_> = (0..3).map(|_| map(&mut lane).unwrap()).collect();
            let target = device.translate(kept.bus_addr());
            let suspended = rig.system().suspend(rig.computer.topology()).unwrap();
            let rejected = map(&mut lane).expect_err("it sleeps");
            let failure = rejected.error.failure;
            assert!(matches!(failure, MapFailure::Suspended), "{name}");
            drop(rejected);
            let retired = lane.retire(asleep.remove(0));
            // Whether or not it is confirmed now.
            let _ = lane.unmap(asleep.remove(0)).map(drop);
            rig.machine.power_cycle();
            // SAFETY: the devices had no power and obey their bus-master bits.
            unsafe { rig.system().resume(suspended) }.unwrap();
            let _ = retired.finish().map(drop);
            assert_eq!(device.translate(kept.bus_addr()), target, "{name}");
            device.recover().unwrap();
            let more: Vec<_> = (0..5).map(|_| map(&mut lane).unwrap()).collect();
            for one in more.into_iter().chain([kept]).chain(asleep) {
                drop(lane.unmap(one).unwrap());
            }
            drop(lane);
            device.flush().unwrap();
            let _ = device.recover();
            assert_eq!(rig.machine.audit().leaves, []);
            assert_eq!(device.figures().quarantined_bytes, 0);
            device.reclaim().unwrap();
            let after = (device.domain_frames(), rig.frames_in_use());
            assert_eq!(after, before, "{name} {protection:?}");
            device.detach().unwrap();
            rig.finish();
        }
    }
}

#[test]
fn a_lane_that_is_forgotten_keeps_memory_and_no_more() {
    for (name, iommu) in kinds() {
        for protection in [Protection::Strict, Protection::Deferred] {
            println!("{name} {protection:?}");
            let rig = Rig::boot(with(&iommu));
            let device = attach(&rig, protection);
            let mut lane = device.lane();
            let map = |lane: &mut Lane<Hosted>| {
                lane.map_single(buffer_of(rig.kernel, PAGE, 1), Bidirectional)
                    .unwrap()
            };
            let [live, retired, forgotten] = [0; 3].map(|_| map(&mut lane));
            let retired = lane.retire(retired);
            mem::forget(forgotten);
            mem::forget(lane);
            let mut lane = device.lane();
            let other = map(&mut lane);
            drop(live.unmap().unwrap());
            drop(retired.finish().unwrap());
            device.flush().unwrap();
            device.reclaim().unwrap();
            drop(lane.unmap(other).unwrap());
            drop(lane);
            device.detach().unwrap();
            assert_eq!(rig.machine.audit().leaves, [], "{name}");
            let lost = rig.finish_with_losses();
            assert_eq!(lost.frames.disturbed, 0, "{name}");
        }
    }
}

#[test]
fn a_lane_goes_from_thread_to_thread() {
    for (name, iommu) in kinds() {
        println!("{name}");
        let rig = Rig::boot(with(&iommu));
        let device = attach(&rig, Protection::Deferred);
        let before = (device.domain_frames(), rig.frames_in_use());
        let mut lane = device.lane();
        let mut live = Vec::new();
        for round in 0..6u64 {
            let kernel = rig.kernel;
            (lane, live) = thread::spawn(move || {
                for n in 0..40 {
                    let buffer = buffer_of(kernel, (1 + (n + round) % 4) * PAGE, 1);
                    live.push(lane.map_single(buffer, Bidirectional).unwrap());
                    if n % 3 > 0 {
                        drop(lane.unmap(live.swap_remove(0)).unwrap());
                    }
                }
                (lane, live)
            })
            .join()
            .unwrap();
        }
        drop(lane);
        for one in live {
            drop(one.unmap().unwrap());
        }
        device.flush().unwrap();
        assert_nothing_left(&rig, &device, before);
        device.detach().unwrap();
        rig.finish();
    }
}

#[test]
fn a_lane_that_ends_while_units_hang_loses_nothing_for_good() {
    for (name, iommu) in kinds() {
        println!("{name}");
        let rig = Rig::boot_with(with(&iommu), impatient(100));
        let device = attach(&rig, Protection::Strict);
        let before = (device.domain_frames(), rig.frames_in_use());
        let mut lane = device.lane();
        let lent = [1, 30].map(|pages| {
            let buffer = buffer_of(rig.kernel, pages * PAGE, 1);
            lane.map_single(buffer, Bidirectional).unwrap()
        });
        hang(&rig.machine);
        drop(lane);
        go_on(&rig.machine);
        for one in lent {
            drop(one.unmap().unwrap());
        }
        let _ = device.recover();
        device.flush().unwrap();
        device.reclaim().unwrap();
        let after = (device.domain_frames(), rig.frames_in_use());
        assert_eq!(after, before, "{name}");
        device.detach().unwrap();
        rig.finish();
    }
}

#[test]
fn a_lane_maps_memory_without_owners_as_it_does_others() {
    use dmamap::map::{AnyDirection, Attributes};
    for (name, iommu) in machines() {
        for protection in [Protection::Strict, Protection::Deferred] {
            let rig = Rig::boot(with(&iommu));
            let device = rig.attach_trusted(EDU, protection);
            let memory = buffer_of(device.platform(), 3 * PAGE, 1);
            let phys = memory.segment(0);
            let mut lane = device.lane();
            // More than what a flush covers, in each way that memory can lie.
            for round in 0..200 {
                let offset = [0, PAGE, 0, 0x10][round % 4];
                let len_bytes = [PAGE, PAGE, 3 * PAGE, 0x20][round % 4];
                let piece = phys.slice(offset, len_bytes).unwrap();
                // SAFETY: the buffer lives until the test's end, and nobody refers to its bytes meanwhile.
                let range = unsafe { lane.map_phys(piece, AnyDirection::Bidirectional) }.unwrap();
                assert_eq!(range.len_bytes(), len_bytes, "{name}");
                assert_eq!(device.translate(range.start()), Some(piece.start()));
                let figures = device.figures();
                assert_eq!((figures.live_mappings, figures.live_bytes), (1, len_bytes));
                // SAFETY: as it was mapped, once.
                let unmapped = unsafe {
                    match round % 3 {
                        0 => {
                            device.unmap_phys(range, AnyDirection::Bidirectional, Attributes::NONE)
                        }
                        _ => lane.unmap_phys(range, AnyDirection::Bidirectional, Attributes::NONE),
                    }
                };
                unmapped.unwrap();
                assert_eq!(device.translate(range.start()), None, "{name}");
                assert_eq!(device.figures().live_bytes, 0);
            }
            let maps = device.figures().maps;
            assert_eq!((maps, device.figures().unmaps), (200, 200));
            // What lies elsewhere than the device reaches is not at hand of a lane either.
            device.set_mask(DmaMask::from_bits(24).unwrap()).unwrap();
            let page = phys.slice(0, PAGE).unwrap();
            // SAFETY: as above.
            let range = unsafe { lane.map_phys(page, AnyDirection::ToDevice) }.unwrap();
            assert!(range.last().as_u64() < 1 << 24, "{name}: {range}");
            device.set_segment_boundary(0xffff).unwrap();
            // SAFETY: as above, and as it was mapped, once.
            let again = unsafe {
                lane.unmap_phys(range, AnyDirection::ToDevice, Attributes::NONE)
                    .unwrap();
                lane.map_phys(page, AnyDirection::ToDevice).unwrap()
            };
            assert_eq!(device.translate(again.start()), Some(page.start()));
            // SAFETY: as above.
            unsafe { lane.unmap_phys(again, AnyDirection::ToDevice, Attributes::NONE) }.unwrap();
            // Of a device that has gone nothing is mapped.
            device.detach().unwrap();
            // SAFETY: as above.
            let refused = unsafe { lane.map_phys(page, AnyDirection::ToDevice) }.unwrap_err();
            assert_eq!(refused.failure, MapFailure::Domain(DomainError::Revoked));
        }
    }
}
