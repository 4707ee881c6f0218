//! Where mappings lie on the bus, against an oracle that knows nothing of how they are chosen.

use dmamap::addr::{BusRange, DmaMask, PhysAddr, PhysRange};
use dmamap::buffer::DmaBuffer;
use dmamap::device::Device;
use dmamap::map::{Bidirectional, MapFailure, ToDevice};
use dmamap::system::Protection;
use hosted::Hosted;
use machine::{Iommu, MachineConfig};

use rig::Random;
use rig::{EDU, PAGE, Rig, buffer_of, small};

fn crosses(range: BusRange, boundary: u64) -> bool {
    let (first, last) = (range.start().as_u64(), range.last().as_u64());
    (first..=last)
        .step_by(PAGE as usize)
        .chain([last])
        .any(|at| at & !boundary != first & !boundary)
}

/// Whether a byte run of `len_bytes` whose first byte is `phys` in the bits of `kept` can avoid every boundary at all.
fn can_avoid(phys: u64, len_bytes: u64, kept: u64, boundary: u64) -> bool {
    let kept = kept | (PAGE - 1);
    // Some start within one block that has the bits to be kept and room for the rest.
    let mut start = phys & kept & boundary;
    loop {
        if start
            .checked_add(len_bytes - 1)
            .is_some_and(|last| last <= boundary)
        {
            return true;
        }
        match start.checked_add(kept.saturating_add(1)) {
            Some(next) if next <= boundary => start = next,
            _ => return false,
        }
    }
}

#[test]
fn random_limits_are_kept_or_the_mapping_is_refused() {
    let random = Random::from_environment(11);
    let rig = Rig::boot(small());
    let (mut mapped, mut refused) = (0, 0);
    for _ in 0..40 {
        let device = rig.attach(EDU);
        let mut live = Vec::new();
        for _ in 0..60 {
            let mask = DmaMask::from_bits(random.pick(&[16, 17, 20, 24, 32, 48])).unwrap();
            let boundary = u64::MAX >> (64 - random.pick(&[9, 12, 13, 14, 16, 20, 32, 64]));
            let kept = random.pick(&[0, 0, 0x1ff, 0xfff, 0x1fff, 0x7fff, 0xf_ffff]);
            device.set_mask(mask).unwrap();
            device.set_segment_boundary(boundary).unwrap();
            device.set_min_align_mask(kept).unwrap();
            let pages = 1 + random.below(random.pick(&[1, 4, 9, 20]));
            let len_bytes = pages * PAGE - random.below(PAGE);
            let buffer = buffer_of(rig.kernel, len_bytes, 0);
            let phys = buffer.phys(0).unwrap().as_u64();
            match device.map_single(buffer, ToDevice) {
                Ok(mapping) => {
                    let range = mapping.range();
                    assert!(mask.covers(range), "{range}");
                    assert!(!crosses(range, boundary), "{range} {boundary:#x}");
                    assert_eq!(range.start().as_u64() & kept, phys & kept);
                    assert!(range.start().as_u64() >= PAGE);
                    live.push(mapping);
                    mapped += 1;
                }
                Err(rejected) => {
                    assert!(rejected.buffer.is_some());
                    let avoidable = can_avoid(phys, len_bytes, kept, boundary);
                    match rejected.error.failure {
                        MapFailure::CrossesBoundary {
                            memory,
                            boundary: named,
                        } => {
                            assert!(!avoidable, "{len_bytes:#x} {kept:#x} {boundary:#x}");
                            assert_eq!((memory.start().as_u64(), named), (phys, boundary));
                        }
                        // Few addresses, and most of them taken.
                        MapFailure::Domain(_) => assert!(avoidable && mask.bits() <= 20),
                        other => panic!("{other}"),
                    }
                    refused += 1;
                }
            }
            if random.below(3) == 0 && !live.is_empty() {
                drop(live.swap_remove(random.below(live.len() as u64) as usize));
            }
        }
        drop(live);
        device.detach().unwrap();
    }
    assert!(mapped > 500 && refused > 100, "{mapped} {refused}");
    rig.finish();
}

#[test]
fn small_masks_are_used_to_the_last_page() {
    // Without the alignment that serves the unit there is room, so it is given up; what the driver asked for is not.
    let rig = Rig::boot(small());
    let device = rig.attach(EDU);
    device.set_mask(DmaMask::from_bits(14).unwrap()).unwrap();
    let three = device
        .map_single(buffer_of(rig.kernel, 3 * PAGE, 0), ToDevice)
        .unwrap();
    assert_eq!(three.range().start().as_u64(), PAGE);
    drop(three);
    // Pages 2 and 3 are between two multiples of 8 KiB, pages 1 and 2 are not.
    device.set_segment_boundary(0x1fff).unwrap();
    let two = device
        .map_single(buffer_of(rig.kernel, 2 * PAGE, 0), ToDevice)
        .unwrap();
    assert_eq!(two.range().start().as_u64(), 2 * PAGE);
    drop(two);
    device.detach().unwrap();
    rig.finish();
}

fn attach_direct(rig: &Rig) -> Device<Hosted> {
    rig.attach_trusted(EDU, Protection::Strict)
}

#[test]
fn without_an_iommu_a_single_mapping_across_the_drivers_boundary_is_refused_and_a_list_is_cut() {
    let config = MachineConfig::default()
        .with_ram(64 << 20)
        .with_iommu(Iommu::None);
    let rig = Rig::boot(config);
    let device = attach_direct(&rig);
    // Three pages from a multiple of 16 KiB on.
    let last = PhysAddr::new(u64::MAX);
    let buffer = DmaBuffer::allocate_within(rig.kernel, 3 * PAGE, last, 14).unwrap();
    let memory = PhysRange::new(buffer.phys(0).unwrap(), 3 * PAGE).unwrap();
    device.set_segment_boundary(0x1fff).unwrap();
    let rejected = device.map_single(buffer, Bidirectional).unwrap_err();
    let boundary = 0x1fff;
    assert_eq!(
        rejected.error.failure,
        MapFailure::CrossesBoundary { memory, boundary }
    );
    assert_eq!(rejected.error.device, EDU);
    let list = device
        .map_sg(rejected.buffer.unwrap(), Bidirectional)
        .unwrap();
    let told: Vec<_> = list.segments().map(BusRange::len_bytes).collect();
    assert_eq!(told, [2 * PAGE, PAGE]);
    device.set_segment_boundary(0x3fff).unwrap();
    let mapping = device.map_single(list.unmap().unwrap(), Bidirectional);
    drop(mapping.unwrap());
    device.detach().unwrap();
    rig.finish();
}

#[test]
fn the_offset_in_a_large_page_survives_where_it_is_asked_for() {
    let rig = Rig::boot(small());
    let device = rig.attach(EDU);
    device.set_min_align_mask(0xffff).unwrap();
    let mut seen = 0;
    let mut kept = Vec::new();
    for _ in 0..40 {
        let mapping = device
            .map_single(buffer_of(rig.kernel, PAGE, 0), ToDevice)
            .unwrap();
        let phys = mapping.phys().start().as_u64();
        assert_eq!(mapping.bus_addr().as_u64() & 0xffff, phys & 0xffff);
        seen |= 1 << (phys >> 12 & 0xf);
        kept.push(mapping);
    }
    assert!(u32::count_ones(seen) > 8, "{seen:#x}");
    drop(kept);
    device.detach().unwrap();
    rig.finish();
}
