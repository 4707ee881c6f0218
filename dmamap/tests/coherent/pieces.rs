//! Where coherent memory is, for others to be lent it: another device, and what maps it for a process.

use dmamap::addr::{BusRange, PhysRange};
use dmamap::map::{AnyDirection, Attributes, CoherentOptions};
use dmamap::platform::MemoryAttribute;
use machine::cache::Snooping;

use crate::{Fragmented, little_memory};
use rig::{EDU, HEARTBEAT, PAGE, Rig, small, try_write};

#[test]
fn the_pieces_of_coherent_memory_are_mapped_for_another_device() {
    let mut rig = Rig::boot(little_memory());
    let mut edu = rig.edu();
    let owner = rig.attach(HEARTBEAT);
    let fragmented = Fragmented::of(rig.kernel);
    let ring = owner.alloc_coherent::<u64>(10 * 512).unwrap();
    let pieces: Vec<PhysRange> = ring.pieces().collect();
    assert!(pieces.len() > 1, "it is scattered");
    assert_eq!(
        pieces.iter().map(|piece| piece.len_bytes()).sum::<u64>(),
        10 * PAGE
    );
    assert_eq!(
        owner.translate(ring.bus_addr()),
        pieces.first().map(|piece| piece.start())
    );
    let nowhere = ring.range();
    let mut told = vec![nowhere; pieces.len()];
    // SAFETY: the ring is kept until it is unmapped, and nobody has references to it.
    let used = unsafe {
        edu.device()
            .map_sg_raw(&pieces, &mut told, AnyDirection::Bidirectional)
    }
    .unwrap();
    told.truncate(used);
    let first: BusRange = told[0];
    ring.write(0, 0x1122_3344_5566_7788).unwrap();
    rig::try_read(&mut edu, first.start(), 8);
    let last = told.last().unwrap();
    let at = last.last().as_u64() - 7;
    try_write(&mut edu, dmamap::addr::BusAddr::new(at), 8);
    assert_eq!(ring.read(10 * 512 - 1), Ok(0x1122_3344_5566_7788));
    let (direction, attributes) = (AnyDirection::Bidirectional, Attributes::NONE);
    // SAFETY: mapped above, and the device is idle.
    unsafe {
        edu.device()
            .unmap_sg_raw(&pieces, &told, direction, attributes)
    }
    .unwrap();
    ring.free().unwrap();
    drop(fragmented);
    owner.detach().unwrap();
    drop(edu);
    rig.finish();
}

#[test]
fn another_mapping_of_coherent_memory_is_told_what_it_has_to_be() {
    let rig = Rig::boot(small());
    let device = rig.attach(EDU);
    let plain = device.alloc_coherent::<u8>(4096).unwrap();
    assert_eq!(plain.attribute(), None);
    let combined = device.alloc_attrs::<u8>(4096, CoherentOptions::NONE.write_combine());
    let combined = combined.unwrap();
    assert_eq!(combined.attribute(), Some(MemoryAttribute::WriteCombining));
    drop((plain, combined));
    device.detach().unwrap();
    rig.finish();

    let rig = Rig::boot(small().with_devices(Snooping::Off));
    let device = rig.attach(EDU);
    let memory = device.alloc_coherent::<u8>(4096).unwrap();
    assert_eq!(memory.attribute(), Some(MemoryAttribute::Uncached));
    assert_eq!(memory.pieces().count(), 1);
    drop(memory);
    device.detach().unwrap();
    rig.finish();
}
