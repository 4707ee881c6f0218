//! Memory that only the device reaches.

use dmamap::buffer::{BufferError, DmaBuffer};
use dmamap::map::{Bidirectional, CoherentError, CoherentFailure, CoherentOptions};

use crate::{Fragmented, little_memory};
use rig::{EDU, PAGE, Rig, try_read, try_write};

#[test]
fn the_device_has_zeroes_in_its_own_memory_and_keeps_what_it_writes() {
    let mut rig = Rig::boot(little_memory());
    let device = rig.attach(EDU);
    // Frames are not zero when they are lent.
    let fragmented = Fragmented::of(rig.kernel);
    let options = CoherentOptions::NONE;
    let opaque = device.alloc_opaque(5 * PAGE - 7, options).unwrap();
    assert_eq!(opaque.len_bytes(), 5 * PAGE - 7);
    assert_eq!(opaque.bus_addr().as_u64() % (8 * PAGE), 0);
    let mut edu = rig.edu_on(device);
    let mut buffer = DmaBuffer::allocate(rig.kernel, PAGE).unwrap();
    buffer.as_mut_slice().fill(0xee);
    let mapping = edu.device().map_single(buffer, Bidirectional).unwrap();
    for page in 0..5 {
        let bus = opaque.bus_addr().checked_add(page * PAGE).unwrap();
        try_read(&mut edu, bus, 4080);
        edu.store(&mapping, 0, 4080).unwrap();
        edu.fetch(&mapping, 2048, 2048).unwrap();
        try_write(&mut edu, bus, 2048);
    }
    let buffer = mapping.unmap().unwrap();
    assert!(buffer.as_slice()[..4080].iter().all(|&byte| byte == 0));

    let forced = edu
        .device()
        .alloc_opaque(2 * PAGE, options.force_contiguous());
    assert!(
        matches!(
            forced,
            Err(CoherentError {
                failure: CoherentFailure::Buffer(BufferError::OutOfFrames(_)),
                ..
            })
        ),
        "{forced:?}"
    );
    let bus = opaque.bus_addr();
    opaque.free().unwrap();
    assert_eq!(edu.device().translate(bus), None);
    drop((fragmented, buffer, edu));
    rig.finish();
}
