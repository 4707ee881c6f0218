//! Bodies before flags, flags before bodies.

use std::mem::offset_of;
use std::ptr::NonNull;
use std::sync::{Arc, Mutex};

use dmamap::addr::PhysAddr;
use dmamap::device::Device;
use dmamap::map::{Coherent, Descriptors, PoolLayout, Published};
use dmamap::platform::Platform;
use dmamap::system::Protection;
use hosted::{Barrier, BarrierObserver, Hosted};
use journeys::boot::BootOptions;
use machine::Machine;
use zerocopy::{FromBytes, Immutable, IntoBytes};

use rig::{EDU, PAGE, Rig, small};

#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
struct Descriptor {
    address: u64,
    len_bytes: u16,
    flags: u16,
    id: u32,
}

impl Published for Descriptor {
    type Entry = Self;
    type Flag = u16;
    const FLAG_OFFSET: usize = offset_of!(Self, flags);
}

const EMPTY: Descriptor = Descriptor {
    address: 0,
    len_bytes: 0,
    flags: 0,
    id: 0,
};
const FULL: Descriptor = Descriptor {
    address: 0x1122_3344_5566_7788,
    len_bytes: 0x99aa,
    flags: 0x8001,
    id: 0xbbcc_ddee,
};

type Observed = BarrierObserver<Hosted>;

fn boot() -> (Rig<Observed>, Observed, Device<Observed>) {
    let machine = Machine::boot(small()).unwrap();
    let kernel = Hosted::boot(machine.clone()).unwrap();
    let platform = BarrierObserver::new(kernel);
    let rig = Rig::boot_on(machine, kernel, platform, BootOptions::default()).unwrap();
    let device = rig.attach(EDU);
    (rig, platform, device)
}

/// The entry at `phys`, for one who plays the device.
#[derive(Clone, Copy)]
struct Place {
    kernel: Hosted,
    phys: PhysAddr,
}

impl Place {
    fn pointer(self) -> NonNull<Descriptor> {
        self.kernel.frame_pointer(self.phys).cast()
    }

    fn read(self) -> Descriptor {
        // SAFETY: the frame is lent to the ring for as long as the test plays with it; entries are aligned.
        unsafe { self.pointer().read_volatile() }
    }

    fn write(self, entry: Descriptor) {
        // SAFETY: as above.
        unsafe { self.pointer().write_volatile(entry) }
    }
}

type Ring = Descriptors<Coherent<Observed, Descriptor>, Descriptor>;

fn ring(rig: &Rig<Observed>, device: &Device<Observed>, index: usize) -> (Ring, Place) {
    let ring = Ring::new(device.alloc_coherent(64).unwrap());
    let bus = ring.bus_addr().checked_add(16 * index as u64).unwrap();
    let phys = device.translate(bus).unwrap();
    let kernel = rig.kernel;
    (ring, Place { kernel, phys })
}

#[test]
fn the_body_is_in_memory_at_the_barrier_and_the_flag_only_after_it() {
    let (rig, platform, device) = boot();
    let (ring, place) = ring(&rig, &device, 5);
    // A flag the last lap left, which must not be taken for the new one's.
    place.write(Descriptor { flags: 7, ..EMPTY });
    let seen = Arc::new(Mutex::new(Vec::new()));
    let notes = seen.clone();
    platform.observe(move |barrier| notes.lock().unwrap().push((barrier, place.read())));
    ring.publish(5, FULL).unwrap();
    platform.ignore();
    let at_the_barrier = Descriptor { flags: 7, ..FULL };
    assert_eq!(*seen.lock().unwrap(), [(Barrier::Write, at_the_barrier)]);
    assert_eq!(place.read(), FULL);

    // A flag alone comes after all that was written before.
    seen.lock().unwrap().clear();
    let notes = seen.clone();
    platform.observe(move |barrier| notes.lock().unwrap().push((barrier, place.read())));
    ring.publish_flag(5, 0).unwrap();
    platform.ignore();
    assert_eq!(*seen.lock().unwrap(), [(Barrier::Write, FULL)]);
    assert_eq!(place.read(), Descriptor { flags: 0, ..FULL });
    drop((ring, device));
    rig.finish();
}

#[test]
fn the_body_is_read_after_the_flag_and_the_flag_once() {
    let (rig, platform, device) = boot();
    let (ring, place) = ring(&rig, &device, 63);
    let is_full = |flags| flags == FULL.flags;
    // No barrier is needed to see that there is nothing.
    platform.observe(|barrier| panic!("{barrier:?}"));
    assert_eq!(ring.consume(63, is_full), Ok(None));
    assert_eq!(ring.flag(63), Ok(0));

    // The device sets the flag; the rest becomes visible only now; and it changes the flag once more.
    place.write(Descriptor {
        flags: FULL.flags,
        ..EMPTY
    });
    platform.observe(move |barrier| {
        assert_eq!(barrier, Barrier::Read);
        place.write(Descriptor { flags: 0, ..FULL });
    });
    assert_eq!(ring.consume(63, is_full), Ok(Some(FULL)));
    platform.ignore();
    drop((ring, device));
    rig.finish();
}

#[test]
fn entries_past_the_end_are_neither_published_nor_consumed() {
    let (rig, _, device) = boot();
    let pool = device
        .create_pool::<Descriptor>("descriptors", PoolLayout::of(4))
        .unwrap();
    let ring = Descriptors::<_, Descriptor>::new(pool.zalloc(&device).unwrap());
    assert_eq!(ring.len(), 4);
    for beyond in [4, 5, usize::MAX / 16, usize::MAX] {
        assert!(ring.publish(beyond, FULL).is_err());
        assert!(ring.publish_flag(beyond, 1).is_err());
        assert!(ring.consume(beyond, |_| true).is_err());
        assert!(ring.flag(beyond).is_err());
    }
    for index in 0..4 {
        ring.publish(index, FULL).unwrap();
        assert_eq!(ring.consume(index, |_| true), Ok(Some(FULL)));
    }
    let block = ring.into_memory();
    assert!((0..4).all(|index| block.read(index) == Ok(FULL)));
    block.free();
    pool.destroy().unwrap();
    drop(device);
    rig.finish();
}

/// Where the flag stands does not matter.
enum First {}
enum Last {}

impl Published for First {
    type Entry = [u32; 3];
    type Flag = u32;
    const FLAG_OFFSET: usize = 0;
}

impl Published for Last {
    type Entry = [u32; 3];
    type Flag = u8;
    const FLAG_OFFSET: usize = 11;
}

#[test]
fn a_flag_may_stand_anywhere_in_its_entry() {
    let (rig, _, device) = boot();
    let first = Descriptors::<_, First>::new(device.alloc_coherent(8).unwrap());
    let last = Descriptors::<_, Last>::new(device.alloc_coherent(8).unwrap());
    let entry = [0x0102_0304, 0x0506_0708, 0x090a_0b0c];
    for index in [0, 1, 7] {
        first.publish(index, entry).unwrap();
        assert_eq!(first.flag(index), Ok(entry[0]));
        assert_eq!(first.consume(index, |_| true), Ok(Some(entry)));
        last.publish(index, entry).unwrap();
        assert_eq!(last.flag(index), Ok(entry[2].to_ne_bytes()[3]));
        assert_eq!(last.consume(index, |_| true), Ok(Some(entry)));
    }
    drop((first, last, device));
    rig.finish();
}

#[test]
fn memory_whose_stores_may_be_merged_is_published_with_a_full_barrier() {
    let (rig, platform, device) = boot();
    drop(device);
    let function = rig.function(EDU);
    // SAFETY: the device is given nothing to do.
    let device = unsafe { rig.system().attach_trusted(&function, Protection::Strict) }.unwrap();
    let request = dmamap::platform::FrameRequest::new(1);
    let frames = rig.kernel.allocate_frames(request).unwrap();
    let start = rig.kernel.frame_pointer(frames.start());
    let bus = dmamap::addr::BusAddr::new(0x4000_0000);
    let bus = dmamap::addr::BusRange::new(bus, PAGE).unwrap();
    // SAFETY: the frames are this test's until the device is gone; the device is idle.
    unsafe { device.declare_coherent_memory(start, bus) }.unwrap();
    let ring = Ring::new(device.alloc_coherent(4).unwrap());
    let seen = Arc::new(Mutex::new(Vec::new()));
    let notes = seen.clone();
    platform.observe(move |barrier| notes.lock().unwrap().push(barrier));
    ring.publish(0, FULL).unwrap();
    platform.ignore();
    assert_eq!(*seen.lock().unwrap(), [Barrier::Full]);
    drop(ring);
    drop((function, device));
    // SAFETY: nothing refers to them any more.
    unsafe { rig.kernel.free_frames(frames) };
    rig.finish();
}
