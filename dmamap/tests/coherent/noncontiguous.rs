//! Memory in one piece for the device, in whatever frames.

use dmamap::addr::DmaMask;
use dmamap::map::{Bidirectional, FromDevice};
use dmamap::system::Protection;
use machine::Iommu;

use crate::{Fragmented, little_memory};
use rig::{EDU, PAGE, Rig, small, try_read, try_write};

#[test]
fn scattered_frames_are_one_segment_for_the_device_and_one_view_for_the_cpu() {
    let mut rig = Rig::boot(little_memory());
    let mut edu = rig.edu();
    let fragmented = Fragmented::of(rig.kernel);
    let mut memory = edu
        .device()
        .alloc_noncontiguous(40 * PAGE, Bidirectional)
        .unwrap();
    assert_eq!(memory.pieces().count(), 40);
    assert_eq!(memory.range().len_bytes(), 40 * PAGE);
    let at = |offset| memory.bus_addr().checked_add(offset).unwrap();
    let (last, seam) = (at(39 * PAGE), at(17 * PAGE - 4));
    // Across the seam of two frames that are no neighbours.
    memory.vmap().write_at(17 * PAGE - 4, b"seamless").unwrap();
    try_read(&mut edu, seam, 8);
    try_write(&mut edu, last, 8);
    let mut back = [0; 8];
    memory.vmap().read_at(39 * PAGE, &mut back).unwrap();
    assert_eq!(&back, b"seamless");
    let bus = memory.bus_addr();
    memory.free().unwrap();
    assert_eq!(edu.device().translate(bus), None);
    drop((fragmented, edu));
    rig.finish();
}

#[test]
fn where_nothing_translates_noncontiguous_memory_is_in_a_row_and_within_the_mask() {
    let rig = Rig::boot(small().with_iommu(Iommu::None));
    let device = rig.attach_trusted(EDU, Protection::Strict);
    let memory = device.alloc_noncontiguous(40 * PAGE, FromDevice).unwrap();
    assert_eq!(memory.pieces().count(), 1);
    assert!(DmaMask::DEFAULT.covers(memory.range()));
    drop((memory, device));
    rig.finish();
}
