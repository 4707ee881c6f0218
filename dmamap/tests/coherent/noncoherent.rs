//! Cached memory that is mapped when it is allocated.

use dmamap::addr::DmaMask;
use dmamap::buffer::BufferError;
use dmamap::map::{Bidirectional, CoherentError, CoherentFailure, FromDevice};
use dmamap::system::Protection;
use machine::Iommu;

use crate::{Fragmented, little_memory};
use rig::{EDU, PAGE, Rig, small, try_read, try_write};

#[test]
fn noncoherent_memory_is_shared_by_syncs_and_freed_after_it_is_unmapped() {
    let mut rig = Rig::boot(small());
    let mut edu = rig.edu();
    let before = rig.frames_in_use();
    let mut memory = edu
        .device()
        .alloc_noncoherent(3 * PAGE, Bidirectional)
        .unwrap();
    assert_eq!(memory.len_bytes(), 3 * PAGE);
    let mut bytes = [1; 16];
    memory.sync_for_cpu().read_at(PAGE, &mut bytes).unwrap();
    assert_eq!(bytes, [0; 16]);
    memory.sync_for_cpu().write_at(8, b"payload!").unwrap();
    try_read(&mut edu, memory.bus_addr().checked_add(8).unwrap(), 8);
    try_write(
        &mut edu,
        memory.bus_addr().checked_add(2 * PAGE).unwrap(),
        8,
    );
    let mut back = [0; 8];
    let view = memory.sync_range_for_cpu(2 * PAGE, 8).unwrap();
    view.read_at(0, &mut back).unwrap();
    drop(view);
    assert_eq!(&back, b"payload!");
    assert!(memory.sync_range_for_cpu(3 * PAGE, 1).is_err());
    let bus = memory.bus_addr();
    memory.free().unwrap();
    assert_eq!(edu.device().translate(bus), None);
    edu.device().reclaim().unwrap();
    assert_eq!(rig.frames_in_use(), before);
    drop(edu);
    rig.finish();
}

#[test]
fn noncoherent_memory_is_within_the_mask_where_nothing_translates() {
    let rig = Rig::boot(small().with_iommu(Iommu::None));
    let device = rig.attach_trusted(EDU, Protection::Strict);
    let memory = device.alloc_noncoherent(64 << 10, FromDevice).unwrap();
    assert!(DmaMask::DEFAULT.covers(memory.range()));
    // It was found there, not copied there: a copy would be within the mask, too.
    assert!(!memory.need_sync());
    assert_eq!(device.figures().bounced_maps, 0);
    assert_eq!(rig.system().bounce_figures().slots_high_water, 0);
    assert_eq!(
        device
            .translate(memory.bus_addr())
            .map(|phys| phys.as_u64()),
        Some(memory.bus_addr().as_u64())
    );
    drop((memory, device));
    rig.finish();
}

#[test]
fn noncoherent_memory_is_frames_in_a_row() {
    let rig = Rig::boot(little_memory());
    let device = rig.attach(EDU);
    let fragmented = Fragmented::of(rig.kernel);
    let refused = device.alloc_noncoherent(2 * PAGE, FromDevice);
    assert!(
        matches!(
            refused,
            Err(CoherentError {
                failure: CoherentFailure::Buffer(BufferError::OutOfFrames(_)),
                ..
            })
        ),
        "{refused:?}"
    );
    for none in [0, u64::MAX] {
        assert!(device.alloc_noncoherent(none, FromDevice).is_err());
        assert!(device.alloc_noncontiguous(none, FromDevice).is_err());
    }
    drop((fragmented, device));
    rig.finish();
}
