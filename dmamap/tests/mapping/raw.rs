//! The layer without owners: what it takes, what it refuses, and that it maps no more than it says.

use std::sync::atomic::AtomicU64;

use dmamap::addr::{BusAddr, BusRange, DmaMask, PhysAddr, PhysRange, VirtAddr};
use dmamap::buffer::{DmaMemory, ScatteredBuffer};
use dmamap::device::Device;
use dmamap::iommu::RevokeError;
use dmamap::iommu::fault::Access;
use dmamap::map::{AnyDirection, Attributes, MapError, MapFailure};
use dmamap::platform::Platform;
use dmamap::system::Protection;
use hosted::Hosted;
use hw::vtd::fault::FaultReason;
use machine::{Iommu, MachineConfig};
use rig::{EDU, PAGE, Rig, assert_first_fault, buffer_of, impatient, small, try_read, try_write};

/// Attached so that whole frames become reachable; what others are given instead is told in `bounce`.
fn trusted(rig: &Rig) -> Device<Hosted> {
    rig.attach_trusted(EDU, Protection::Strict)
}

const NOWHERE: BusRange = match BusRange::new(BusAddr::new(0), 0) {
    Ok(range) => range,
    Err(_) => unreachable!(),
};

fn phys(start: PhysAddr, len_bytes: u64) -> PhysRange {
    PhysRange::new(start, len_bytes).unwrap()
}

/// Maps memory that lives until the test's end and that nobody refers to meanwhile.
fn map_phys(
    device: &Device<Hosted>,
    memory: PhysRange,
    direction: AnyDirection,
) -> Result<BusRange, MapError> {
    // SAFETY: as said; the device is detached before the memory goes.
    unsafe { device.map_phys(memory, direction) }
}

fn map_virt(device: &Device<Hosted>, virt: VirtAddr, len_bytes: u64) -> Result<BusRange, MapError> {
    // SAFETY: what is not memory of the machine is refused; what is lives until the test's end, and nobody
    // writes it meanwhile.
    unsafe { device.map_single_raw(virt, len_bytes, AnyDirection::ToDevice) }
}

fn map_list(
    device: &Device<Hosted>,
    pieces: &[PhysRange],
    segments: &mut [BusRange],
) -> Result<usize, MapError> {
    // SAFETY: as in `map_phys`.
    unsafe { device.map_sg_raw(pieces, segments, AnyDirection::Bidirectional) }
}

/// Unmaps what these tests mapped, once, when the device has finished.
fn unmap(device: &Device<Hosted>, range: BusRange) {
    // SAFETY: as said; the device snoops, so that nothing depends on the direction.
    unsafe { device.unmap_phys(range, AnyDirection::ToDevice, Attributes::NONE) }.unwrap();
}

/// As [`unmap`], for a list.
fn unmap_list(device: &Device<Hosted>, pieces: &[PhysRange], told: &[BusRange]) {
    let direction = AnyDirection::Bidirectional;
    // SAFETY: as in `unmap`.
    unsafe { device.unmap_sg_raw(pieces, told, direction, Attributes::NONE) }.unwrap();
}

#[test]
fn a_mapping_starts_and_ends_where_it_was_asked_to() {
    let mut rig = Rig::boot(small());
    let device = trusted(&rig);
    let mut edu = rig.edu_on(device);
    let mut buffer = buffer_of(rig.kernel, 4 * PAGE, 0x21);
    buffer.as_mut_slice()[5000..5016].copy_from_slice(b"sixteen bytes...");
    let start = buffer.phys(0).unwrap();
    for (offset, len_bytes) in [(0, PAGE), (5000, 16), (100, 3 * PAGE), (PAGE - 1, 2)] {
        let memory = phys(start, 4 * PAGE).slice(offset, len_bytes).unwrap();
        let bus = map_phys(edu.device(), memory, AnyDirection::ToDevice).unwrap();
        assert_eq!(bus.len_bytes(), len_bytes);
        assert_eq!(bus.start().frame_offset(), memory.start().frame_offset());
        assert_eq!(edu.device().translate(bus.start()), Some(memory.start()));
        assert_eq!(edu.device().translate(bus.last()), Some(memory.last()));
        let touched = (memory.last().as_u64() / PAGE - memory.start().as_u64() / PAGE + 1) * PAGE;
        assert_eq!(rig.machine.audit().reachable_bytes(), touched);
        unmap(edu.device(), bus);
        assert_eq!(rig.machine.audit().leaves, []);
    }
    // By frame and offset the same.
    // SAFETY: as for `map_phys`.
    let bus = unsafe {
        edu.device()
            .map_page(start, 5000, 16, AnyDirection::ToDevice)
    }
    .unwrap();
    try_read(&mut edu, bus.start(), 16);
    unmap(edu.device(), bus);
    let target = buffer_of(rig.kernel, PAGE, 0);
    let memory = phys(target.phys(7).unwrap(), 16);
    let bus = map_phys(edu.device(), memory, AnyDirection::FromDevice).unwrap();
    try_write(&mut edu, bus.start(), 16);
    unmap(edu.device(), bus);
    assert_eq!(&target.as_slice()[7..23], b"sixteen bytes...");
    assert_eq!(rig.system().faults().total, 0);
    try_write(&mut edu, bus.start(), 16);
    let reason = FaultReason::WriteNotPermitted;
    assert_first_fault(rig.system(), EDU, bus.start(), Access::Write, reason);
    drop((buffer, target, edu));
    rig.finish_after_faults();
}

static STATIC: AtomicU64 = AtomicU64::new(0);

#[test]
fn stacks_heaps_and_images_are_not_memory_for_devices() {
    for config in [small(), small().with_iommu(Iommu::None)] {
        let rig = Rig::boot(config);
        let device = rig.attach_trusted(EDU, Protection::Strict);
        device.set_mask(DmaMask::ALL).unwrap();
        let (stack, heap) = ([0_u8; 64], vec![0_u8; 8192]);
        let image: fn() = stacks_heaps_and_images_are_not_memory_for_devices;
        let registers = rig.function(EDU);
        let addresses = [
            VirtAddr::from_ptr(&stack),
            VirtAddr::from_ptr(heap.as_ptr()),
            VirtAddr::from_ptr(&STATIC),
            VirtAddr::from_ptr(image as *const u8),
            VirtAddr::from_ptr("text".as_ptr()),
            VirtAddr::new(0),
            VirtAddr::new(u64::MAX),
        ];
        for virt in addresses {
            let error = map_virt(&device, virt, 1).unwrap_err();
            assert_eq!(
                (error.device, error.failure),
                (EDU, MapFailure::NotDmaMemory { virt })
            );
        }
        assert_eq!(device.figures().maps, 0);
        drop((registers, device));
        rig.finish();
    }
}

#[test]
fn kmalloc_memory_is_mapped_by_its_virtual_address() {
    let rig = Rig::boot(small());
    let device = trusted(&rig);
    let buffer = buffer_of(rig.kernel, 3 * PAGE, 1);
    for (offset, len_bytes) in [(0, 1), (10, 3 * PAGE - 10), (PAGE, PAGE)] {
        let virt = buffer.virt().checked_add(offset).unwrap();
        let bus = map_virt(&device, virt, len_bytes).unwrap();
        assert_eq!(device.translate(bus.start()), buffer.phys(offset));
        assert_eq!(
            device.translate(bus.last()),
            buffer.phys(offset + len_bytes - 1)
        );
        unmap(&device, bus);
    }
    assert_eq!(
        map_virt(&device, buffer.virt(), 0).unwrap_err().failure,
        MapFailure::Empty
    );
    let endless = map_virt(&device, buffer.virt(), u64::MAX)
        .unwrap_err()
        .failure;
    assert!(matches!(endless, MapFailure::TooLong { .. }), "{endless}");
    let too_long = map_virt(&device, buffer.virt(), 1 << 50)
        .unwrap_err()
        .failure;
    assert!(
        matches!(
            too_long,
            MapFailure::NotDmaMemory { .. } | MapFailure::NotContiguous { .. }
        ),
        "{too_long}"
    );
    drop((buffer, device));
    rig.finish();
}

#[test]
fn vmalloc_memory_is_mapped_page_by_page_only() {
    let rig = Rig::boot(small());
    let device = trusted(&rig);
    // A hole before each frame but the first makes neighbours impossible.
    let mut holes = Vec::new();
    let scattered = loop {
        let scattered = ScatteredBuffer::allocate(rig.kernel, 3 * PAGE).unwrap();
        if scattered.segment(0).len_bytes() == PAGE {
            break scattered;
        }
        holes.push(buffer_of(rig.kernel, PAGE, 0));
        assert!(
            holes.len() < 1000,
            "frames of vmalloc memory are always neighbours"
        );
        drop(scattered);
        let odd = holes.len() % 2 == 1;
        if odd {
            holes.swap_remove(0);
        }
    };
    let failure = map_virt(&device, scattered.virt(), 2 * PAGE)
        .unwrap_err()
        .failure;
    let first = phys(scattered.phys(0).unwrap(), PAGE);
    assert_eq!(failure, MapFailure::NotContiguous { first });
    let middle = scattered.virt().checked_add(PAGE - 4).unwrap();
    let failure = map_virt(&device, middle, 8).unwrap_err().failure;
    assert!(
        matches!(failure, MapFailure::NotContiguous { .. }),
        "{failure}"
    );
    for page in 0..3 {
        let virt = scattered.virt().checked_add(page * PAGE).unwrap();
        let bus = map_virt(&device, virt, PAGE).unwrap();
        assert_eq!(device.translate(bus.start()), scattered.phys(page * PAGE));
        unmap(&device, bus);
    }
    drop((scattered, holes, device));
    rig.finish();
}

#[test]
fn pieces_whose_inner_ends_are_whole_pages_become_one_segment() {
    let mut rig = Rig::boot(small());
    let device = trusted(&rig);
    let mut edu = rig.edu_on(device);
    let buffers: Vec<_> = (1..5).map(|n| buffer_of(rig.kernel, 2 * PAGE, n)).collect();
    let at = |n: usize, offset: u64, len| phys(buffers[n].phys(offset).unwrap(), len);
    let joined = [
        at(2, 100, 2 * PAGE - 100),
        at(0, 0, 2 * PAGE),
        at(3, 0, PAGE),
        at(1, PAGE, 7),
    ];
    let mut segments = [NOWHERE; 4];
    let used = map_list(edu.device(), &joined, &mut segments).unwrap();
    assert_eq!(used, 1);
    let len_bytes = 2 * PAGE - 100 + 2 * PAGE + PAGE + 7;
    assert_eq!(segments[0].len_bytes(), len_bytes);
    let mut offset = 0;
    for piece in joined {
        let bus = segments[0].start().checked_add(offset).unwrap();
        assert_eq!(edu.device().translate(bus), Some(piece.start()));
        offset += piece.len_bytes();
    }
    try_read(&mut edu, segments[0].start(), PAGE);
    unmap_list(edu.device(), &joined, &segments[..1]);
    assert_eq!(rig.machine.audit().leaves, []);

    let apart = [at(2, 0, 100), at(0, 0, PAGE), at(3, 5, 10)];
    let used = map_list(edu.device(), &apart, &mut segments).unwrap();
    assert_eq!(used, 3);
    for (piece, segment) in apart.into_iter().zip(segments) {
        assert_eq!(segment.len_bytes(), piece.len_bytes());
        assert_eq!(edu.device().translate(segment.start()), Some(piece.start()));
    }
    unmap_list(edu.device(), &apart, &segments[..3]);
    let figures = edu.device().figures();
    assert_eq!(
        (figures.maps, figures.unmaps, figures.live_bytes),
        (2, 2, 0)
    );
    drop((buffers, edu));
    rig.finish();
}

#[test]
fn lists_that_cannot_be_mapped_leave_nothing_mapped() {
    let rig = Rig::boot(small());
    let device = trusted(&rig);
    let buffer = buffer_of(rig.kernel, 8 * PAGE, 1);
    let at = |offset: u64, len| phys(buffer.phys(offset).unwrap(), len);
    let mut segments = [NOWHERE; 4];
    let failure = |outcome: Result<usize, MapError>| outcome.unwrap_err().failure;

    assert_eq!(
        failure(map_list(&device, &[], &mut segments)),
        MapFailure::Empty
    );
    let none = map_list(&device, &[at(0, PAGE)], &mut []);
    assert_eq!(failure(none), MapFailure::TooManySegments { room: 0 });
    let apart = [at(0, 10), at(PAGE, 10), at(2 * PAGE, 10)];
    let short = map_list(&device, &apart, &mut segments[..2]);
    assert_eq!(failure(short), MapFailure::TooManySegments { room: 2 });
    let empty = [at(0, 10), at(PAGE, 0), at(2 * PAGE, 10)];
    assert_eq!(
        failure(map_list(&device, &empty, &mut segments)),
        MapFailure::Empty
    );
    // Room for two pages below the mask: the third piece fails, and the first two go back.
    device.set_mask(DmaMask::from_bits(13).unwrap()).unwrap();
    assert!(map_list(&device, &apart, &mut segments).is_err());
    assert!(map_list(&device, &[at(0, 8 * PAGE)], &mut segments).is_err());
    assert_eq!(rig.machine.audit().leaves, []);
    let figures = device.figures();
    assert_eq!((figures.live_mappings, figures.live_bytes), (0, 0));
    assert_eq!(figures.maps, figures.unmaps);
    // The one page is still to be had.
    let bus = map_phys(&device, at(0, 1), AnyDirection::ToDevice).unwrap();
    assert_eq!(bus.start(), BusAddr::new(PAGE));
    unmap(&device, bus);
    drop((buffer, device));
    rig.finish();
}

#[test]
fn unmapping_what_was_not_mapped_is_an_error_and_changes_nothing() {
    let rig = Rig::boot(small());
    let device = trusted(&rig);
    let buffer = buffer_of(rig.kernel, 4 * PAGE, 1);
    let bus = map_phys(
        &device,
        phys(buffer.phys(0).unwrap(), 4 * PAGE),
        AnyDirection::ToDevice,
    );
    let bus = bus.unwrap();
    let beside = BusRange::new(bus.start().checked_add(0x10_0000).unwrap(), PAGE).unwrap();
    // SAFETY: breaks the contract in a way that must be noticed; the memory stays mapped and lent.
    let error =
        unsafe { device.unmap_phys(beside, AnyDirection::ToDevice, Attributes::NONE) }.unwrap_err();
    assert_eq!((error.device, error.range), (EDU, beside));
    assert!(matches!(error.error, RevokeError::NotMapped), "{error}");
    assert_eq!(rig.machine.audit().reachable_bytes(), 4 * PAGE);
    assert_eq!(
        device.figures().live_mappings,
        1,
        "an unmap that failed was counted"
    );
    unmap(&device, bus);
    let figures = device.figures();
    assert_eq!(
        (figures.maps, figures.unmaps, figures.live_mappings),
        (1, 1, 0)
    );
    drop((buffer, device));
    rig.finish();
}

#[test]
fn an_unmap_that_was_not_confirmed_counts_as_quarantined() {
    let rig = Rig::boot_with(small(), impatient(150));
    let device = trusted(&rig);
    let buffer = buffer_of(rig.kernel, 2 * PAGE, 1);
    let memory = phys(buffer.phys(0).unwrap(), 2 * PAGE);
    let bus = map_phys(&device, memory, AnyDirection::ToDevice).unwrap();
    rig.unit(0).hold_queue();
    // SAFETY: mapped above.
    let error =
        unsafe { device.unmap_phys(bus, AnyDirection::ToDevice, Attributes::NONE) }.unwrap_err();
    rig.unit(0).release_queue();
    assert!(matches!(error.error, RevokeError::Unit(_)), "{error}");
    let figures = device.figures();
    assert_eq!(
        (figures.quarantined_bytes, figures.live_mappings),
        (2 * PAGE, 0)
    );
    device.detach().unwrap();
    drop(buffer);
    rig.finish();
}

#[test]
fn a_list_that_fails_and_is_not_confirmed_undone_says_so() {
    let rig = Rig::boot_with(small(), impatient(150));
    let device = trusted(&rig);
    let buffer = buffer_of(rig.kernel, 2 * PAGE, 1);
    let at = |offset: u64| phys(buffer.phys(offset).unwrap(), 10);
    let mut segments = [NOWHERE; 1];
    rig.unit(0).hold_queue();
    // There is room to tell of the first piece only.
    let error = map_list(&device, &[at(0), at(PAGE)], &mut segments).unwrap_err();
    rig.unit(0).release_queue();
    assert!(error.leaves_memory_reachable(), "{error}");
    assert_eq!(device.figures().quarantined_bytes, 20);
    device.detach().unwrap();
    drop(buffer);
    rig.finish();
}

#[test]
fn without_an_iommu_every_piece_has_its_own_addresses() {
    for offset in [0, 0x0800_0000] {
        let config = MachineConfig::default()
            .with_ram(64 << 20)
            .with_iommu(Iommu::None);
        let rig = Rig::boot(config.with_inbound_offset(offset));
        let device = rig.attach_trusted(EDU, Protection::Strict);
        let buffer = buffer_of(rig.kernel, 4 * PAGE, 1);
        let at = |start: u64, len| phys(buffer.phys(start).unwrap(), len);
        let pieces = [at(2 * PAGE, PAGE), at(0, PAGE), at(PAGE + 3, 9)];
        let mut segments = [NOWHERE; 3];
        assert_eq!(map_list(&device, &pieces, &mut segments), Ok(3));
        for (piece, segment) in pieces.into_iter().zip(segments) {
            assert_eq!(segment.start().as_u64(), piece.start().as_u64() + offset);
            assert_eq!(segment.len_bytes(), piece.len_bytes());
        }
        unmap_list(&device, &pieces, &segments);
        let beyond = phys(PhysAddr::new(1 << 40), PAGE);
        let refused = map_phys(&device, beyond, AnyDirection::ToDevice)
            .unwrap_err()
            .failure;
        assert!(
            matches!(
                refused,
                MapFailure::BeyondMask { .. } | MapFailure::NotOnBus { .. }
            ),
            "{refused}"
        );
        assert_eq!(rig.kernel.virt_to_phys(buffer.virt()), buffer.phys(0));
        drop((buffer, device));
        rig.finish();
    }
}
