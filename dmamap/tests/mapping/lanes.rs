//! CPUs map and unmap on their own: what one maps another unmaps, behind every kind of unit, and nothing is reachable any longer
//! than it is mapped, nor lost.

use std::sync::{Barrier, Mutex};
use std::thread;

use dmamap::addr::{BusAddr, BusRange, DmaMask, PhysAddr};
use dmamap::buffer::{DmaBuffer, DmaMemory, ScatterList, ScatteredBuffer};
use dmamap::device::Device;
use dmamap::map::{Bidirectional, Mapping, SgMapping, SgTableMapping};
use dmamap::platform::Platform;
use dmamap::system::Protection;
use hosted::Hosted;
use hw::smmu::stream::Granule;
use journeys::boot::BootOptions;
use machine::cache::Snooping;
use machine::iommu::smmu::SmmuConfig;
use machine::iommu::vtd::{CachingMode, VtdConfig};
use machine::temper::Temper;
use machine::{Iommu, Machine, MachineConfig};

use rig::Random;
use rig::kinds::{go_on, hang, kinds};
use rig::{EDU, PAGE, Rig, buffer_of, impatient, small, try_write};

const THREADS: usize = 4;

/// Bytes of a large page, where the smallest has 4 KiB, and of what a lane has the entries of such for.
const LARGE: u64 = 2 << 20;
const LARGE_BLOCK: u64 = 512 * LARGE;

type Buffer = DmaBuffer<Hosted>;

/// Mapped memory of every shape.
enum Lent {
    Single(Mapping<Hosted, Buffer, Bidirectional>),
    Pieces(SgMapping<Hosted, ScatteredBuffer<Hosted>, Bidirectional>),
    List(SgTableMapping<Hosted, Buffer, Bidirectional>),
}

impl Lent {
    fn unmap(self) {
        match self {
            Self::Single(mapping) => drop(mapping.unmap().unwrap()),
            Self::Pieces(mapping) => drop(mapping.unmap().unwrap()),
            Self::List(mapping) => drop(mapping.unmap().unwrap()),
        }
    }
}

fn lend(device: &Device<Hosted>, kernel: Hosted, random: &Random) -> Lent {
    let len_bytes = (1 + random.below(random.pick(&[1, 8, 40]))) * PAGE;
    match random.below(9) {
        4 => {
            // Of whole large pages, of which lanes have blocks, and not.
            let tail = random.pick(&[0, 0, 0, PAGE, LARGE / 2]);
            let len_bytes = (1 + random.below(3)) * LARGE + tail;
            let mapping = device
                .map_single(large_buffer(kernel, len_bytes, 1), Bidirectional)
                .unwrap();
            assert_translated(device, &mapping, LARGE / 8 + PAGE);
            Lent::Single(mapping)
        }
        0 => {
            let scattered = ScatteredBuffer::allocate(kernel, len_bytes).unwrap();
            Lent::Pieces(device.map_sg(scattered, Bidirectional).unwrap())
        }
        1 => {
            let mut list = ScatterList::with_room(3).unwrap();
            for pages in 1..4 {
                list.push(buffer_of(kernel, pages * PAGE, 1)).unwrap();
            }
            Lent::List(device.map_sgtable(list, Bidirectional).unwrap())
        }
        _ => {
            let buffer = buffer_of(kernel, len_bytes, 1);
            let mapping = device.map_single(buffer, Bidirectional).unwrap();
            assert_translated(device, &mapping, PAGE);
            Lent::Single(mapping)
        }
    }
}

/// Every so many bytes of a mapping, and its last, lead to its memory.
fn assert_translated(
    device: &Device<Hosted>,
    mapping: &Mapping<Hosted, Buffer, Bidirectional>,
    every: u64,
) {
    let last = mapping.range().len_bytes() - 1;
    for offset in (0..last).step_by(every as usize).chain([last]) {
        let phys = mapping.phys().start().as_u64() + offset;
        let bus = BusAddr::new(mapping.bus_addr().as_u64() + offset);
        assert_eq!(device.translate(bus), Some(PhysAddr::new(phys)));
    }
}

/// Memory that large pages fit.
fn large_buffer(kernel: Hosted, len_bytes: u64, pattern: u8) -> Buffer {
    let last = PhysAddr::new(u64::MAX);
    let buffer = DmaBuffer::allocate_within(kernel, len_bytes, last, LARGE.ilog2());
    let mut buffer = buffer.unwrap();
    buffer.as_mut_slice().fill(pattern);
    buffer
}

/// Boots with a CPU for each thread, whatever the host has.
fn boot(config: MachineConfig, options: BootOptions) -> Rig {
    let machine = Machine::boot(config).unwrap();
    let kernel = Hosted::boot_with_cpus(machine.clone(), THREADS).unwrap();
    Rig::boot_on(machine, kernel, kernel, options).unwrap()
}

/// Every kind of unit, and some that read memory and not caches.
pub(super) fn units() -> Vec<(&'static str, Iommu)> {
    let walks = Snooping::Off;
    let (smmu, vtd) = (SmmuConfig::default(), VtdConfig::default());
    let smmu = Iommu::Smmu { unit: smmu, walks };
    let vtd = Iommu::Vtd { unit: vtd, walks };
    let not_snooping = [
        ("smmu that does not snoop", smmu),
        ("vtd that does not snoop", vtd),
    ];
    kinds().into_iter().chain(not_snooping).collect()
}

/// Every kind of unit, and one that remembers what is not there.
pub(super) fn machines() -> Vec<(&'static str, Iommu)> {
    let caching = VtdConfig {
        caching_mode: CachingMode::NotPresentToo,
        ..VtdConfig::default()
    };
    let more = [("vtd that remembers", rig::vtd(caching))];
    units().into_iter().chain(more).collect()
}

/// A small machine with such a unit.
pub(super) fn with(iommu: &Iommu) -> MachineConfig {
    small().with_iommu(iommu.clone())
}

pub(super) fn attach(rig: &Rig, protection: Protection) -> Device<Hosted> {
    let device = rig.system().attach(&rig.function(EDU), protection);
    let device = device.expect("the device attaches");
    // Below 4 GiB there are few blocks of large pages, and not for all CPUs.
    device.set_mask(DmaMask::ALL).unwrap();
    device
}

/// Nothing is mapped, and all is back that was lent for it.
pub(super) fn assert_nothing_left(rig: &Rig, device: &Device<Hosted>, (born, lent): (usize, u64)) {
    assert_eq!(rig.machine.audit().leaves, []);
    let figures = device.figures();
    assert_eq!((figures.live_mappings, figures.live_bytes), (0, 0));
    assert_eq!(
        (figures.quarantined_bytes, figures.maps),
        (0, figures.unmaps)
    );
    device.reclaim().unwrap();
    assert_eq!((device.domain_frames(), rig.frames_in_use()), (born, lent));
    rig.assert_no_findings();
}

#[test]
fn threads_unmap_what_others_mapped() {
    let random = Random::from_environment(31);
    for (name, iommu) in units() {
        for protection in [Protection::Strict, Protection::Deferred] {
            println!("{name} {protection:?}");
            let temper = Temper::Random(random.below(100));
            let rig = boot(with(&iommu).with_temper(temper), BootOptions::default());
            let device = attach(&rig, protection);
            let before = (device.domain_frames(), rig.frames_in_use());
            let live = Mutex::new(Vec::new());
            let start = Barrier::new(THREADS);
            thread::scope(|scope| {
                for _ in 0..THREADS {
                    let random = Random::seeded(random.next());
                    let (rig, device, live, start) = (&rig, &device, &live, &start);
                    scope.spawn(move || {
                        start.wait();
                        for _ in 0..120 {
                            if random.below(40) == 0 {
                                device.reclaim().unwrap();
                            }
                            let one = lend(device, rig.kernel, &random);
                            let other = {
                                let mut live = live.lock().unwrap();
                                live.push(one);
                                let index = random.below(live.len() as u64) as usize;
                                (random.below(20) > 0).then(|| live.swap_remove(index))
                            };
                            // Whoever mapped it.
                            other.into_iter().for_each(Lent::unmap);
                        }
                    });
                }
            });
            let live = live.into_inner().unwrap();
            assert_eq!(device.figures().live_mappings, live.len() as u64);
            live.into_iter().for_each(Lent::unmap);
            device.flush().unwrap();
            assert_nothing_left(&rig, &device, before);
            device.detach().unwrap();
            rig.finish();
        }
    }
}

#[test]
fn what_another_thread_unmapped_is_out_of_reach() {
    for (name, iommu) in units() {
        println!("{name}");
        let mut rig = boot(
            with(&iommu).with_temper(Temper::Keep),
            BootOptions::default(),
        );
        let kernel = rig.kernel;
        let mut edu = rig.edu();
        let mut seen = Vec::new();
        for round in 0..4 {
            let mappings = [1, 3, 16, 512].map(|pages| {
                let buffer = match pages {
                    512 => large_buffer(kernel, LARGE, 0x11),
                    _ => buffer_of(kernel, pages * PAGE, 0x11),
                };
                edu.device().map_single(buffer, Bidirectional).unwrap()
            });
            for mapping in &mappings {
                // The unit remembers them.
                let last = mapping.range().len_bytes() - 64;
                edu.fetch(mapping, 0, 64).unwrap();
                edu.fetch(mapping, last, 64).unwrap();
            }
            // What the device writes from here on is told from what is there.
            let other = buffer_of(kernel, PAGE, 0x22);
            let other = edu.device().map_single(other, Bidirectional).unwrap();
            edu.fetch(&other, 0, 64).unwrap();
            drop(other.unmap().unwrap());
            let buses = mappings.each_ref().map(|mapping| mapping.range());
            let unmap = move || mappings.map(|mapping| mapping.unmap().unwrap());
            let buffers = match round % 2 {
                0 => unmap(),
                _ => thread::spawn(unmap).join().unwrap(),
            };
            for (bus, buffer) in buses.iter().zip(&buffers) {
                assert_eq!(edu.device().translate(bus.start()), None);
                try_write(&mut edu, bus.start(), 64);
                try_write(&mut edu, BusAddr::new(bus.last().as_u64() - 63), 64);
                assert!(buffer.as_slice().iter().all(|&byte| byte == 0x11), "{name}");
            }
            seen.push(buses);
        }
        // Lanes choose again what was freed: else this tested less than it says.
        for first in [seen[0][0], seen[0][3]] {
            let again = |buses: &[BusRange; 4]| buses.iter().any(|one| one.overlaps(first));
            assert!(seen[1..].iter().any(again), "{name}: {seen:?}");
        }
        drop(edu);
        rig.finish_after_faults();
    }
}

#[test]
fn each_page_of_long_and_odd_mappings_is_reached_whatever_the_granule() {
    let random = Random::from_environment(32);
    let smmu = |granule| {
        let granules = vec![granule];
        let unit = SmmuConfig {
            granules,
            ..SmmuConfig::default()
        };
        let walks = Snooping::On;
        Iommu::Smmu { unit, walks }
    };
    let large = [
        ("smmu of 16 KiB", 14, smmu(Granule::Size16K)),
        ("smmu of 64 KiB", 16, smmu(Granule::Size64K)),
    ];
    let others = units().into_iter().map(|(name, iommu)| (name, 12, iommu));
    for (name, page_log2, iommu) in large.into_iter().chain(others) {
        println!("{name}");
        let mut rig = boot(
            with(&iommu).with_temper(Temper::Keep),
            BootOptions::default(),
        );
        let kernel = rig.kernel;
        let mut edu = rig.edu();
        let before = (edu.device().domain_frames(), rig.frames_in_use());
        let page = 1u64 << page_log2;
        for _ in 0..40 {
            // Some with a run of 64 KiB in the midst of them, where memory and addresses lie alike.
            let pages = random.pick(&[1, 2, 15, 16, 17, 32, 47, 100, 256, 512]);
            let large_log2 = if pages < 512 {
                page_log2 + 5
            } else {
                page_log2 + 9
            };
            let align_log2 = random.pick(&[page_log2, page_log2 + 4, large_log2]);
            let last = PhysAddr::new(u64::MAX);
            let buffer = DmaBuffer::allocate_within(kernel, pages * page, last, align_log2);
            let buffer = buffer.unwrap();
            let phys = buffer.segment(0).start().as_u64();
            let mapping = edu.device().map_single(buffer, Bidirectional).unwrap();
            let bus = mapping.bus_addr().as_u64();
            for number in 0..pages {
                let at = number * page + random.below(page);
                let reached = edu.device().translate(BusAddr::new(bus + at));
                assert_eq!(
                    reached,
                    Some(PhysAddr::new(phys + at)),
                    "{name}: {mapping:?}"
                );
                edu.store(&mapping, number * page + page - 8, 8).unwrap();
            }
            // The tables as the unit reads them say the same, and nothing beside it.
            let mut leaves = rig.machine.audit().leaves;
            leaves.sort_by_key(|leaf| leaf.bus);
            let mut next = (bus, phys);
            for leaf in &leaves {
                assert_eq!((leaf.bus, leaf.phys), next, "{name}: {leaves:?}");
                next = (next.0 + leaf.len_bytes, next.1 + leaf.len_bytes);
            }
            assert_eq!(next.0 - bus, pages * page, "{name}: {leaves:?}");
            drop(mapping.unmap().unwrap());
            assert_eq!(rig.machine.audit().leaves, []);
        }
        assert_nothing_left(&rig, edu.device(), before);
        drop(edu);
        rig.finish();
    }
}

#[test]
fn cpus_map_large_pages_in_blocks_of_their_own() {
    for (name, iommu) in units() {
        println!("{name}");
        let rig = boot(with(&iommu), BootOptions::default());
        let device = attach(&rig, Protection::Strict);
        let before = (device.domain_frames(), rig.frames_in_use());
        let kernel = rig.kernel;
        let map = || {
            let lens = [LARGE, 8 * LARGE, LARGE];
            lens.map(|len_bytes| {
                let buffer = large_buffer(kernel, len_bytes, 1);
                let mapping = device.map_single(buffer, Bidirectional).unwrap();
                assert_translated(&device, &mapping, LARGE / 2);
                mapping
            })
        };
        // While this thread is on one CPU the other one is on another.
        let mapped = kernel.pin(|_| {
            let here = map();
            let there = thread::scope(|scope| scope.spawn(map).join().unwrap());
            [here, there]
        });
        let blocks = mapped.each_ref().map(|all| {
            all.each_ref()
                .map(|one| one.bus_addr().as_u64() / LARGE_BLOCK)
        });
        // Tables of virtio's are the unit's, and nobody holds their entries.
        if name != "virtio" {
            assert!(blocks[0] != blocks[1], "{name}: {blocks:?}");
            let same = |all: &[u64; 3]| all.iter().all(|one| *one == all[0]);
            assert!(blocks.iter().all(same), "{name}: {blocks:?}");
            let leaves = rig.machine.audit().leaves;
            let whole = leaves
                .iter()
                .all(|leaf| leaf.len_bytes.is_multiple_of(LARGE));
            assert!(whole, "{name}: {leaves:?}");
        }
        // With all blocks called back they are the domain's, and are unmapped as well.
        device.reclaim().unwrap();
        for mapping in mapped.iter().flatten() {
            assert_translated(&device, mapping, LARGE / 2);
        }
        for mapping in mapped.into_iter().flatten() {
            drop(mapping.unmap().unwrap());
        }
        assert_nothing_left(&rig, &device, before);
        device.detach().unwrap();
        rig.finish();
    }
}

#[test]
fn a_device_is_detached_while_others_unmap_what_it_had() {
    for (name, iommu) in units() {
        for round in 0..3 {
            println!("{name} {round}");
            let rig = boot(with(&iommu), BootOptions::default());
            let protection = match round {
                1 => Protection::Deferred,
                _ => Protection::Strict,
            };
            let device = attach(&rig, protection);
            let mut lent = Vec::new();
            thread::scope(|scope| {
                let threads: Vec<_> = (0..THREADS as u64)
                    .map(|seed| {
                        let (device, kernel) = (&device, rig.kernel);
                        scope.spawn(move || {
                            let random = Random::seeded(seed);
                            let lent = (0..30).map(|_| lend(device, kernel, &random));
                            lent.collect::<Vec<_>>()
                        })
                    })
                    .collect();
                lent.extend(threads.into_iter().map(|thread| thread.join().unwrap()));
            });
            let start = Barrier::new(THREADS + 1);
            thread::scope(|scope| {
                for lent in lent {
                    let start = &start;
                    scope.spawn(move || {
                        start.wait();
                        lent.into_iter().for_each(Lent::unmap);
                    });
                }
                start.wait();
                device.detach().unwrap();
            });
            // And its addresses are the next's.
            let device = attach(&rig, protection);
            drop(device.map_single(buffer_of(rig.kernel, PAGE, 1), Bidirectional));
            device.detach().unwrap();
            rig.finish();
        }
    }
}

#[test]
fn what_no_unit_confirmed_is_nobodys_until_it_is_recovered() {
    for (name, iommu) in kinds() {
        println!("{name}");
        let rig = boot(with(&iommu), impatient(100));
        let device = attach(&rig, Protection::Strict);
        let before = (device.domain_frames(), rig.frames_in_use());
        let lent: Vec<_> = (0..THREADS as u64)
            .map(|n| {
                let buffer = buffer_of(rig.kernel, (n + 1) * PAGE, 1);
                device.map_single(buffer, Bidirectional).unwrap()
            })
            .collect();
        let lost: Vec<_> = lent.iter().map(|one| one.range()).collect();
        hang(&rig.machine);
        thread::scope(|scope| {
            for one in lent {
                scope.spawn(move || {
                    let _ = one.unmap().expect_err("nobody confirms it");
                });
            }
        });
        go_on(&rig.machine);
        let bytes: u64 = lost.iter().map(|range| range.len_bytes()).sum();
        assert_eq!(device.figures().quarantined_bytes, bytes);
        // Neither a lane nor the space lends what was lost, on whichever CPU.
        thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    let others: Vec<_> = (0..200)
                        .map(|_| {
                            let buffer = buffer_of(rig.kernel, PAGE, 2);
                            device.map_single(buffer, Bidirectional).unwrap()
                        })
                        .collect();
                    for other in others {
                        let taken = lost.iter().any(|one| one.overlaps(other.range()));
                        assert!(!taken, "{name}: {}", other.range());
                        drop(other.unmap().unwrap());
                    }
                });
            }
        });
        assert_eq!(device.recover(), Ok(bytes));
        device.reclaim().unwrap();
        let again = buffer_of(rig.kernel, PAGE, 1);
        let again = device.map_single(again, Bidirectional).unwrap();
        assert!(lost.iter().any(|one| one.overlaps(again.range())));
        drop(again.unmap().unwrap());
        assert_nothing_left_after_losses(&rig, &device, before);
        device.detach().unwrap();
        rig.finish();
    }
}

fn assert_nothing_left_after_losses(
    rig: &Rig,
    device: &Device<Hosted>,
    (born, lent): (usize, u64),
) {
    assert_eq!(rig.machine.audit().leaves, []);
    device.reclaim().unwrap();
    assert_eq!((device.domain_frames(), rig.frames_in_use()), (born, lent));
}
