//! Memory that is one device's own.

use dmamap::addr::{BusAddr, BusRange, DmaMask, PhysRange};
use dmamap::buffer::BufferError;
use dmamap::device::Device;
use dmamap::map::{CoherentError, CoherentFailure, DeclareError, DeclaredFull, PoolLayout};
use dmamap::platform::{FrameRequest, Platform};
use dmamap::system::Protection;
use hosted::Hosted;

use crate::little_memory_untranslated;
use rig::{EDU, PAGE, Rig, try_read, try_write};

/// Memory that firmware set aside for the device: the device reaches it, and the kernel lends it to nobody.
struct SetAside {
    kernel: Hosted,
    frames: PhysRange,
}

impl SetAside {
    fn of(kernel: Hosted, frames: usize) -> Self {
        let request = FrameRequest {
            align_log2: 16,
            ..FrameRequest::new(frames)
        };
        let frames = kernel.allocate_frames(request).unwrap();
        let (start, len_bytes) = (kernel.frame_pointer(frames.start()), frames.len_bytes());
        // SAFETY: the frames are ours. What firmware left in them is nobody's to see.
        unsafe { start.write_bytes(0xee, len_bytes as usize) };
        Self { kernel, frames }
    }

    fn bus(&self) -> BusRange {
        let start = BusAddr::new(self.frames.start().as_u64());
        BusRange::new(start, self.frames.len_bytes()).unwrap()
    }

    fn declare(&self, device: &Device<Hosted>, bus: BusRange) -> Result<(), DeclareError> {
        let start = self.kernel.frame_pointer(self.frames.start());
        // SAFETY: the frames are this value's, which outlives the device's memory in every test, and nobody else's.
        unsafe { device.declare_coherent_memory(start, bus) }
    }
}

impl Drop for SetAside {
    fn drop(&mut self) {
        // SAFETY: the device is gone.
        unsafe { self.kernel.free_frames(self.frames) };
    }
}

#[test]
fn a_device_with_memory_of_its_own_is_given_no_other() {
    let mut rig = Rig::boot(little_memory_untranslated());
    let aside = SetAside::of(rig.kernel, 16);
    let device = rig.attach_trusted(EDU, Protection::Strict);
    aside.declare(&device, aside.bus()).unwrap();
    let lent = rig.frames_in_use();
    let words = device.alloc_coherent::<u64>(512).unwrap();
    let large = device.alloc_coherent::<u64>(5 * 512).unwrap();
    assert_eq!(large.bus_addr().as_u64() % (8 * PAGE), 0);
    for memory in [&words, &large] {
        assert!(aside.bus().start() <= memory.bus_addr());
        assert!(memory.range().last() <= aside.bus().last());
        assert_eq!((0..memory.len()).find(|&n| memory.read(n) != Ok(0)), None);
    }
    assert!(!crate::overlap(words.range(), large.range()));
    // The device really reaches it.
    let mut edu = rig.edu_on(device);
    words.write(7, 0xfeed).unwrap();
    try_read(&mut edu, words.element_bus_addr(7).unwrap(), 8);
    try_write(&mut edu, large.element_bus_addr(2000).unwrap(), 8);
    assert_eq!(large.read(2000), Ok(0xfeed));

    let refused = edu.device().alloc_coherent::<u64>(8 * 512).map(drop);
    let full = DeclaredFull {
        len_bytes: 8 * PAGE,
        declared: aside.bus(),
        used_frames: 6,
    };
    assert_eq!(
        refused.map_err(|error| error.failure),
        Err(CoherentFailure::Declared(full))
    );
    assert_eq!(rig.frames_in_use(), lent, "nothing came from the platform");
    assert_eq!(
        edu.device().release_coherent_memory(),
        Err(DeclareError::InUse {
            device: EDU,
            declared: aside.bus(),
            used_frames: 6
        })
    );
    // Memory that was used comes back zeroed.
    large.free().unwrap();
    let again = edu.device().alloc_coherent::<u64>(8 * 512).unwrap();
    assert_eq!((0..again.len()).find(|&n| again.read(n) != Ok(0)), None);
    drop((words, again));
    edu.device().release_coherent_memory().unwrap();
    assert_eq!(
        edu.device().release_coherent_memory(),
        Err(DeclareError::NotDeclared { device: EDU })
    );
    let other = edu.device().alloc_coherent::<u64>(512).unwrap();
    assert!(!crate::overlap(other.range(), aside.bus()));
    drop((other, edu, aside));
    rig.finish();
}

#[test]
fn pools_and_opaque_memory_come_from_the_devices_own_too() {
    let rig = Rig::boot(little_memory_untranslated());
    let aside = SetAside::of(rig.kernel, 4);
    let device = rig.attach_trusted(EDU, Protection::Strict);
    aside.declare(&device, aside.bus()).unwrap();
    let pool = device
        .create_pool::<u8>("own", PoolLayout::of(2048).boundary(4096))
        .unwrap();
    let blocks: Vec<_> = (0..5).map(|_| pool.alloc(&device).unwrap()).collect();
    let opaque = device.alloc_opaque(PAGE, Default::default()).unwrap();
    for range in blocks
        .iter()
        .map(|block| block.range())
        .chain([opaque.range()])
    {
        assert!(aside.bus().start() <= range.start() && range.last() <= aside.bus().last());
    }
    drop((blocks, opaque));
    pool.destroy().unwrap();
    device.release_coherent_memory().unwrap();
    drop((device, aside));
    rig.finish();
}

#[test]
fn memory_has_the_bus_address_it_was_declared_at_within_the_mask() {
    let rig = Rig::boot(little_memory_untranslated());
    let aside = SetAside::of(rig.kernel, 16);
    let device = rig.attach_trusted(EDU, Protection::Strict);
    // The last frame within 28 bits is the ninth; the first is not aligned to more than a frame.
    let start = (1 << 28) - 9 * PAGE;
    let bus = BusRange::new(BusAddr::new(start), 16 * PAGE).unwrap();
    aside.declare(&device, bus).unwrap();
    device
        .set_coherent_mask(DmaMask::from_bits(28).unwrap())
        .unwrap();
    let one = device.alloc_coherent::<u8>(4096).unwrap();
    assert_eq!(one.bus_addr(), bus.start());
    let eight = device.alloc_coherent::<u8>(8 << 12).unwrap();
    assert_eq!(eight.bus_addr().as_u64(), (1 << 28) - 8 * PAGE);
    let refused = device.alloc_coherent::<u8>(1).map(drop);
    assert!(
        matches!(
            refused,
            Err(CoherentError {
                failure: CoherentFailure::Declared(_),
                ..
            })
        ),
        "{refused:?}"
    );
    device.set_coherent_mask(DmaMask::ALL).unwrap();
    let beyond = device.alloc_coherent::<u8>(1).unwrap();
    assert_eq!(beyond.bus_addr().as_u64(), 1 << 28);
    drop((one, eight, beyond, device, aside));
    rig.finish();
}

#[test]
fn what_is_not_whole_frames_is_not_declared_nor_is_anything_twice() {
    let rig = Rig::boot(little_memory_untranslated());
    let aside = SetAside::of(rig.kernel, 2);
    let device = rig.attach_trusted(EDU, Protection::Strict);
    let start = aside.bus().start().as_u64();
    for (start, len_bytes) in [
        (start, 0),
        (start, PAGE + 1),
        (start + 64, PAGE),
        (start, PAGE / 2),
    ] {
        let memory = BusRange::new(BusAddr::new(start), len_bytes).unwrap();
        let error = DeclareError::NotFrames {
            device: EDU,
            memory,
        };
        assert_eq!(aside.declare(&device, memory), Err(error));
    }
    aside.declare(&device, aside.bus()).unwrap();
    let error = DeclareError::AlreadyDeclared {
        device: EDU,
        declared: aside.bus(),
    };
    assert_eq!(aside.declare(&device, aside.bus()), Err(error));
    for refused in [
        device.alloc_coherent::<u64>(0).map(drop),
        device.alloc_opaque(0, Default::default()).map(drop),
    ] {
        assert_eq!(
            refused.map_err(|error| error.failure),
            Err(CoherentFailure::Buffer(BufferError::Empty))
        );
    }
    for beyond in [3 << 9, 1 << 40, usize::MAX / 8, usize::MAX] {
        assert!(device.alloc_coherent::<u64>(beyond).is_err());
    }
    // Memory in use outlives the device's handle.
    let memory = device.alloc_coherent::<u64>(4).unwrap();
    device.detach().unwrap();
    memory.write(0, 9).unwrap();
    assert_eq!(memory.read(0), Ok(9));
    drop((memory, aside));
    rig.finish();
}
