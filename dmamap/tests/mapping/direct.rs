//! Devices that reach memory without translation: Z is Y, or Y at the offset at which the bus sees memory.

use dmamap::addr::{BusAddr, DmaMask, PhysAddr, PhysRange};
use dmamap::buffer::{DmaBuffer, DmaMemory, ScatteredBuffer};
use dmamap::device::{Device, MaskError};
use dmamap::map::{
    Attributes, Bidirectional, CoherentError, CoherentFailure, FromDevice, MapFailure, ToDevice,
};
use dmamap::platform::{FrameRequest, Platform};
use dmamap::system::Protection;
use drivers::edu::Edu;
use hosted::Hosted;
use machine::iommu::vtd::VtdConfig;
use machine::{Iommu, MachineConfig};
use rig::{EDU, PAGE, Rig, buffer_of, small, try_read, try_write};

/// Where the bus of some machines here sees memory.
const OFFSET: u64 = 0x0800_0000;

/// Memory within reach of 28 address lines, and no unit.
fn little_memory() -> MachineConfig {
    MachineConfig::default()
        .with_ram(64 << 20)
        .with_iommu(Iommu::None)
}

fn attach(rig: &Rig) -> Device<Hosted> {
    rig.attach_trusted(EDU, Protection::Strict)
}

fn bits(bits: u32) -> DmaMask {
    DmaMask::from_bits(bits).unwrap()
}

/// Copies through the device and compares.
fn round_trip(edu: &mut Edu<Hosted>, kernel: Hosted, offset: u64) {
    let source = buffer_of(kernel, 3 * PAGE, 0x5a);
    let phys = source.phys(0).unwrap();
    let source = edu.device().map_single(source, ToDevice).unwrap();
    assert_eq!(source.bus_addr().as_u64(), phys.as_u64() + offset);
    assert_eq!(edu.device().translate(source.bus_addr()), Some(phys));
    let target = buffer_of(kernel, 3 * PAGE, 0);
    let target = edu.device().map_single(target, FromDevice).unwrap();
    for page in 0..3 {
        edu.fetch(&source, page * PAGE, PAGE).unwrap();
        edu.store(&target, page * PAGE, PAGE).unwrap();
    }
    assert!(
        target
            .unmap()
            .unwrap()
            .as_slice()
            .iter()
            .all(|&byte| byte == 0x5a)
    );
    source.unmap().unwrap();
}

#[test]
fn without_an_iommu_a_bus_address_is_the_physical_one() {
    let mut rig = Rig::boot(little_memory());
    let device = attach(&rig);
    assert_eq!(device.domain_frames(), 0);
    let mut edu = rig.edu_on(device);
    round_trip(&mut edu, rig.kernel, 0);
    edu.device().reclaim().unwrap();
    assert_eq!(rig.system().invalidations(), 0);
    assert_eq!(rig.system().unit_count(), 0);
    drop(edu);
    rig.finish();
}

#[test]
fn where_the_bus_sees_memory_at_an_offset_so_do_mappings() {
    let mut rig = Rig::boot(little_memory().with_inbound_offset(OFFSET));
    let device = attach(&rig);
    let mut edu = rig.edu_on(device);
    round_trip(&mut edu, rig.kernel, OFFSET);

    let coherent = edu.device().alloc_coherent::<u64>(512).unwrap();
    coherent.write(0, 0x1122_3344_5566_7788).unwrap();
    // The model really adds: the device finds what the CPU wrote, and the CPU what the device wrote.
    try_read(&mut edu, coherent.bus_addr(), 8);
    let second = coherent.element_bus_addr(1).unwrap();
    try_write(&mut edu, second, 8);
    assert_eq!(coherent.read(1), Ok(0x1122_3344_5566_7788));
    let phys = edu.device().translate(coherent.bus_addr()).unwrap();
    assert_eq!(coherent.bus_addr().as_u64(), phys.as_u64() + OFFSET);

    // Below the offset the bus sees nothing.
    assert_eq!(edu.device().translate(BusAddr::new(OFFSET - 1)), None);
    assert_eq!(edu.device().translate(BusAddr::new(0)), None);
    drop((coherent, edu));
    rig.finish();
}

#[test]
fn scattered_memory_keeps_its_pieces() {
    for (config, offset) in [
        (little_memory(), 0),
        (little_memory().with_inbound_offset(OFFSET), OFFSET),
    ] {
        let mut rig = Rig::boot(config);
        let kernel = rig.kernel;
        // Every second frame is somebody else's, so that no two of the buffer's follow each other.
        let frames: Vec<_> = (0..40)
            .map(|_| kernel.allocate_frames(FrameRequest::new(1)).unwrap())
            .collect();
        let (kept, free): (Vec<_>, Vec<_>) = frames
            .into_iter()
            .partition(|frame| (frame.start().as_u64() / PAGE).is_multiple_of(2));
        for frame in free {
            // SAFETY: nothing refers to it.
            unsafe { kernel.free_frames(frame) };
        }
        let device = attach(&rig);
        let scattered = ScatteredBuffer::allocate(kernel, 10 * PAGE).unwrap();
        let list = device.map_sg(scattered, Bidirectional).unwrap();
        let segments: Vec<_> = list.segments().collect();
        assert!(segments.len() > 5, "{segments:?}");
        assert_eq!(
            segments.iter().map(|one| one.len_bytes()).sum::<u64>(),
            10 * PAGE
        );
        let mut edu = rig.edu_on(device);
        for segment in &segments {
            let phys = edu.device().translate(segment.start()).unwrap();
            assert_eq!(segment.start().as_u64(), phys.as_u64() + offset);
            try_read(&mut edu, segment.start(), PAGE);
            try_write(&mut edu, segment.start(), PAGE);
        }
        drop(list.unmap().unwrap());
        drop(edu);
        for frame in kept {
            // SAFETY: nothing refers to it.
            unsafe { kernel.free_frames(frame) };
        }
        rig.finish();
    }
}

#[test]
fn neighbours_in_memory_are_one_segment_as_long_as_the_device_takes() {
    for iommu in [Iommu::None, rig::vtd(VtdConfig::default())] {
        let rig = Rig::boot(
            MachineConfig::default()
                .with_ram(64 << 20)
                .with_iommu(iommu),
        );
        let device = rig.attach_trusted(EDU, Protection::Strict);
        assert_eq!(device.max_segment_bytes(), 64 << 10);
        let list = device
            .map_sg(buffer_of(rig.kernel, 50 * PAGE, 0), ToDevice)
            .unwrap();
        let lens = |limit| {
            device.set_max_segment_bytes(limit).unwrap();
            list.segments()
                .map(|one| one.len_bytes())
                .collect::<Vec<_>>()
        };
        assert_eq!(lens(64 << 10), [16 * PAGE, 16 * PAGE, 16 * PAGE, 2 * PAGE]);
        assert_eq!(lens(u64::MAX), [50 * PAGE]);
        assert_eq!(lens(40 * PAGE + 7), [40 * PAGE + 7, 10 * PAGE - 7]);
        drop(list);
        drop(device);
        rig.finish();
    }
}

#[test]
fn a_mask_need_not_reach_all_memory_but_says_so() {
    let rig = Rig::boot(MachineConfig::default().with_iommu(Iommu::None));
    let device = attach(&rig);
    assert_eq!(device.required_mask(), bits(34));
    for (mask, limited) in [
        (28, true),
        (32, true),
        (33, true),
        (34, false),
        (48, false),
        (64, false),
    ] {
        device.set_mask(bits(mask)).unwrap();
        assert_eq!(
            (device.mask(), device.coherent_mask()),
            (bits(mask), bits(32))
        );
        assert_eq!(device.addressing_limited(), limited);
    }
    drop(device);
    rig.finish();
}

#[test]
fn the_offset_counts_in_what_a_mask_must_reach() {
    let rig = Rig::boot(little_memory().with_inbound_offset(OFFSET));
    let device = attach(&rig);
    // 128 MiB and 64 MiB: below 256 MiB.
    assert_eq!(device.required_mask(), bits(28));
    assert!(!device.addressing_limited());
    assert!(matches!(
        device.set_mask(bits(27)),
        Err(MaskError::CannotReachMemory { .. })
    ));
    device.set_mask(bits(28)).unwrap();
    drop(device);
    rig.finish();
}

#[test]
fn behind_an_iommu_any_mask_reaches_all_memory() {
    let rig = Rig::boot(small());
    let device = rig.attach(EDU);
    assert_eq!(device.required_mask(), DmaMask::DEFAULT);
    assert!(!device.addressing_limited());
    for any in [13, 28, 32, 64] {
        device.set_mask_and_coherent(bits(any)).unwrap();
        let mapping = device
            .map_single(buffer_of(rig.kernel, PAGE, 0), ToDevice)
            .unwrap();
        assert!(
            mapping.phys().start() >= PhysAddr::new(1 << 32),
            "memory is given from above"
        );
        assert!(bits(any).covers(mapping.range()));
    }
    drop(device);
    rig.finish();
}

#[test]
fn coherent_memory_is_allocated_where_the_device_reaches_it() {
    let rig = Rig::boot(small().with_iommu(Iommu::None));
    let device = attach(&rig);
    let coherent = device.alloc_coherent::<u32>(5000).unwrap();
    assert!(DmaMask::DEFAULT.covers(coherent.range()));
    // Streaming memory is where its owner allocated it; the device is given a copy where it does not reach it.
    let high = buffer_of(rig.kernel, PAGE, 1);
    let mapping = device.map_single(high, ToDevice).unwrap();
    assert!(DmaMask::DEFAULT.covers(mapping.range()));
    let high = mapping.unmap().unwrap();
    device.set_mask(DmaMask::ALL).unwrap();
    let mapping = device.map_single(high, ToDevice).unwrap();
    assert!(!DmaMask::DEFAULT.covers(mapping.range()));
    drop((coherent, mapping, device));
    rig.finish();
}

#[test]
fn coherent_memory_that_no_reachable_memory_is_left_for_is_an_error() {
    let rig = Rig::boot(small().with_iommu(Iommu::None));
    let device = attach(&rig);
    // More than memory has below 4 GiB, less than in all.
    let refused = device.alloc_coherent::<u8>(2 << 30);
    assert!(
        matches!(
            refused,
            Err(CoherentError {
                failure: CoherentFailure::Buffer(_),
                ..
            })
        ),
        "{refused:?}"
    );
    drop(device);
    rig.finish();
}

#[test]
fn a_list_with_one_piece_out_of_reach_is_not_mapped_in_place() {
    let rig = Rig::boot(small().with_iommu(Iommu::None));
    let device = attach(&rig);
    /// Two frames, one below 4 GiB and one above.
    struct Astride(DmaBuffer<Hosted>, DmaBuffer<Hosted>);
    // SAFETY: the frames are this value's alone; the CPU does not access them, nor are they copied.
    unsafe impl DmaMemory for Astride {
        fn len_bytes(&self) -> u64 {
            2 * PAGE
        }
        fn virt(&self) -> dmamap::addr::VirtAddr {
            self.0.virt()
        }
        fn pointer(&self) -> std::ptr::NonNull<u8> {
            self.0.pointer()
        }
        fn segment(&self, offset: u64) -> PhysRange {
            match offset {
                0..PAGE => self.0.segment(offset),
                _ => self.1.segment(offset - PAGE),
            }
        }
    }
    let low = PhysAddr::new(u32::MAX.into());
    let low = DmaBuffer::allocate_within(rig.kernel, PAGE, low, 12).unwrap();
    let astride = Astride(low, buffer_of(rig.kernel, PAGE, 0));
    let in_place = Attributes::NONE.require_coherent();
    let rejected = device
        .map_sg_attrs(astride, ToDevice, in_place)
        .unwrap_err();
    assert!(
        matches!(rejected.error.failure, MapFailure::WouldBounce { .. }),
        "{rejected}"
    );
    let rejected = device
        .map_single(rejected.buffer.unwrap(), ToDevice)
        .unwrap_err();
    assert!(
        matches!(rejected.error.failure, MapFailure::NotContiguous { .. }),
        "{rejected}"
    );
    device.set_mask(DmaMask::ALL).unwrap();
    let list = device.map_sg(rejected.buffer.unwrap(), ToDevice).unwrap();
    assert_eq!(list.segments().count(), 2);
    assert_eq!(device.figures().maps, 1);
    drop((list, device));
    rig.finish();
}
