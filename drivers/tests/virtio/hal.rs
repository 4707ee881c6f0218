//! What virtio-drivers is lent through a slot: which memory, which way, and for how long. Any device can stand in the slot, so
//! the model's educational one does.

use std::ptr::NonNull;

use dmamap::addr::{BusAddr, PhysAddr};
use dmamap::map::Permission;
use dmamap::platform::{FrameRequest, Platform};
use dmamap::system::Protection;
use drivers::virtio::virtio_drivers::{BufferDirection, Hal, PAGE_SIZE};
use drivers::virtio::{InstallError, ShareError, Slot, SlotHal};
use drivers::virtio_slot;
use hosted::Hosted;
use machine::MachineConfig;

use rig::Rig;

fn install<S: Slot<Platform = Hosted>>(rig: &Rig) {
    let function = rig.computer.edus().next().expect("it has one").clone();
    let attached = rig.computer.system().attach(&function, Protection::Strict);
    let device = attached.expect("it attaches");
    S::place()
        .install(device, &function)
        .expect("the slot is free");
}

fn remove<S: Slot<Platform = Hosted>>(rig: Rig) {
    let device = S::place().remove().expect("no queue lives");
    let device = device.expect("it is there");
    let left = device.figures();
    assert_eq!((left.live_mappings, left.quarantined_bytes), (0, 0));
    device.detach().expect("it is detached");
    rig.finish();
}

/// What the device of the slot reaches at `bus`, and what it may do there.
fn reached<S: Slot<Platform = Hosted>>(bus: u64) -> Option<(PhysAddr, Permission)> {
    let bus = BusAddr::new(bus);
    let reached =
        S::place().with_device(|device| Some((device.translate(bus)?, device.permission(bus)?)));
    reached.expect("a device stands there")
}

/// The bytes that the device reaches at `bus`, to read and write.
fn memory<S: Slot<Platform = Hosted>>(rig: &Rig, bus: u64, len: usize) -> *mut [u8] {
    let (phys, _) = reached::<S>(bus).expect("it is mapped");
    let pointer = rig.kernel.frame_pointer(phys).as_ptr();
    std::ptr::slice_from_raw_parts_mut(pointer, len)
}

fn share<S: Slot>(bytes: &mut [u8], direction: BufferDirection) -> u64 {
    // SAFETY: nobody else accesses the bytes.
    unsafe { SlotHal::<S>::share(NonNull::from(bytes), direction) }
}

fn unshare<S: Slot>(bus: u64, bytes: &mut [u8], direction: BufferDirection) {
    // SAFETY: as above; the tests say what became of `bus`.
    unsafe { SlotHal::<S>::unshare(bus, NonNull::from(bytes), direction) }
}

#[test]
fn what_the_device_reads_is_a_copy_in_pages_of_its_own() {
    virtio_slot! { struct Slot(Hosted); }
    let rig = Rig::boot(MachineConfig::default());
    install::<Slot>(&rig);
    let mut bytes = *b"a word on the stack";
    let bus = share::<Slot>(&mut bytes, BufferDirection::DriverToDevice);
    assert_eq!(
        reached::<Slot>(bus).expect("it is mapped").1,
        Permission::Read
    );
    assert_eq!(reached::<Slot>(bus + PAGE_SIZE as u64), None);
    // SAFETY: no device runs, and the page is the share's.
    let page = unsafe { &*memory::<Slot>(&rig, bus, PAGE_SIZE) };
    assert_eq!(page[..bytes.len()], bytes);
    assert!(
        page[bytes.len()..].iter().all(|&byte| byte == 0),
        "and of nothing else"
    );
    unshare::<Slot>(bus, &mut bytes, BufferDirection::DriverToDevice);
    assert_eq!(reached::<Slot>(bus), None);
    assert_eq!(&bytes, b"a word on the stack");
    remove::<Slot>(rig);
}

#[test]
fn what_the_device_writes_comes_back_and_what_it_does_not_write_stays() {
    virtio_slot! { struct Slot(Hosted); }
    let rig = Rig::boot(MachineConfig::default());
    install::<Slot>(&rig);
    for (direction, permission) in [
        (BufferDirection::DeviceToDriver, Permission::Write),
        (BufferDirection::Both, Permission::ReadWrite),
    ] {
        let mut bytes = [0x11; 9000];
        let bus = share::<Slot>(&mut bytes, direction);
        assert_eq!(reached::<Slot>(bus).expect("it is mapped").1, permission);
        // SAFETY: no device runs, and the page is the share's.
        unsafe { (&mut *memory::<Slot>(&rig, bus, PAGE_SIZE))[100..200].fill(0x22) };
        assert_eq!(bytes, [0x11; 9000], "not before it is taken back");
        unshare::<Slot>(bus, &mut bytes, direction);
        assert_eq!(reached::<Slot>(bus), None);
        let written = |at: usize| (100..200).contains(&at);
        for (at, byte) in bytes.into_iter().enumerate() {
            assert_eq!(byte, if written(at) { 0x22 } else { 0x11 }, "byte {at}");
        }
    }
    remove::<Slot>(rig);
}

#[test]
fn a_queue_is_zeroed_pages_that_keep_the_device_in_its_slot() {
    virtio_slot! { struct Slot(Hosted); }
    let rig = Rig::boot(MachineConfig::default());
    install::<Slot>(&rig);
    let (bus, pointer) = SlotHal::<Slot>::dma_alloc(3, BufferDirection::Both);
    assert!((pointer.as_ptr() as usize).is_multiple_of(PAGE_SIZE));
    // SAFETY: allocated above, and no device runs.
    let pages = unsafe { std::slice::from_raw_parts(pointer.as_ptr(), 3 * PAGE_SIZE) };
    assert!(pages.iter().all(|&byte| byte == 0));
    for page in 0..3 {
        let (phys, permission) =
            reached::<Slot>(bus + page * PAGE_SIZE as u64).expect("it is mapped");
        assert_eq!(permission, Permission::ReadWrite);
        let seen = rig.kernel.frame_pointer(phys).as_ptr();
        let crates = pointer.as_ptr().wrapping_add(page as usize * PAGE_SIZE);
        assert_ne!(
            seen, crates,
            "what the device writes the crate does not read"
        );
    }
    assert_eq!(Slot::place().remove().expect_err("it lives").live_queues, 1);
    // SAFETY: nothing uses the pages any more; a wrong count is refused.
    unsafe {
        assert_ne!(SlotHal::<Slot>::dma_dealloc(bus, pointer, 2), 0);
        assert_eq!(SlotHal::<Slot>::dma_dealloc(bus, pointer, 3), 0);
        assert_ne!(SlotHal::<Slot>::dma_dealloc(bus, pointer, 3), 0);
    }
    assert_eq!(reached::<Slot>(bus), None);
    remove::<Slot>(rig);
}

#[test]
fn what_cannot_be_lent_lies_at_an_address_that_is_never_mapped() {
    virtio_slot! { struct Slot(Hosted); }
    let rig = Rig::boot(MachineConfig::default().with_ram(64 << 20));
    install::<Slot>(&rig);
    let mut taken = Vec::new();
    for count in (0..=14).rev().map(|log2| 1 << log2) {
        while let Ok(frames) = rig.kernel.allocate_frames(FrameRequest::new(count)) {
            taken.push(frames);
        }
    }
    let mut bytes = [5; 100];
    let bus = share::<Slot>(&mut bytes, BufferDirection::DeviceToDriver);
    assert_eq!((bus, reached::<Slot>(bus)), (0, None));
    let refusal = Slot::place().take_refusal().expect("it says why");
    assert!(matches!(refusal, ShareError::Buffer(_)), "{refusal}");
    assert_eq!(Slot::place().take_refusal(), None, "once");
    unshare::<Slot>(bus, &mut bytes, BufferDirection::DeviceToDriver);
    assert_eq!(bytes, [5; 100]);
    for frames in taken {
        // SAFETY: taken above, and never used.
        unsafe { rig.kernel.free_frames(frames) };
    }
    let bus = share::<Slot>(&mut bytes, BufferDirection::DeviceToDriver);
    assert_ne!(bus, 0, "the device goes on");
    unshare::<Slot>(bus, &mut bytes, BufferDirection::DeviceToDriver);
    assert_eq!(Slot::place().fault(), None);
    remove::<Slot>(rig);
}

#[test]
fn what_was_never_taken_back_goes_with_the_device() {
    virtio_slot! { struct Slot(Hosted); }
    let rig = Rig::boot(MachineConfig::default());
    install::<Slot>(&rig);
    let mut bytes = [1; 8];
    for direction in [
        BufferDirection::DriverToDevice,
        BufferDirection::DeviceToDriver,
    ] {
        assert_ne!(share::<Slot>(&mut bytes, direction), 0);
    }
    remove::<Slot>(rig);
}

#[test]
fn an_empty_slot_lends_nothing_and_an_unknown_address_is_not_copied_from() {
    virtio_slot! { struct Slot(Hosted); }
    assert_eq!(SlotHal::<Slot>::dma_alloc(1, BufferDirection::Both).0, 0);
    let mut bytes = [7; 16];
    assert_eq!(
        share::<Slot>(&mut bytes, BufferDirection::DriverToDevice),
        0
    );
    assert!(Slot::place().remove().expect("nothing is in use").is_none());

    let rig = Rig::boot(MachineConfig::default());
    install::<Slot>(&rig);
    unshare::<Slot>(0x1234_5000, &mut bytes, BufferDirection::DeviceToDriver);
    assert_eq!(bytes, [7; 16]);
    remove::<Slot>(rig);
}

#[test]
fn a_device_stands_there_with_its_own_function_only() {
    virtio_slot! { struct Slot(Hosted); }
    let rig = Rig::boot(MachineConfig::default());
    let edu = rig.computer.edus().next().expect("it has one").clone();
    let other = rig
        .computer
        .topology()
        .functions()
        .find(|each| each.address() != edu.address());
    let other = other.expect("it has more").clone();
    let device = rig
        .computer
        .system()
        .attach(&edu, Protection::Strict)
        .expect("it attaches");
    let refused = Slot::place()
        .install(device, &other)
        .expect_err("it is another");
    assert!(matches!(refused.error, InstallError::WrongFunction { .. }));
    refused.device.detach().expect("it is detached");
    drop((edu, other));
    rig.finish();
}
