//! Scattered mappings over real memory.

use std::sync::Arc;

use super::*;

/// Even frames of a small memory, highest first: no two are neighbours.
fn scattered(count: u64) -> (Arc<Ram>, Vec<PhysAddr>) {
    let ram = Ram::new(&[0..(2 * count) << FRAME_SIZE_LOG2]).unwrap();
    let frames = (0..count)
        .rev()
        .map(|index| PhysAddr::new((2 * index) << FRAME_SIZE_LOG2));
    (ram, frames.collect())
}

#[test]
fn each_page_leads_to_its_own_frame() {
    let (ram, frames) = scattered(5);
    let vmalloc = Vmalloc::default();
    // SAFETY: the frames are this test's own.
    let start = unsafe { vmalloc.map(&ram, &frames) }.unwrap();
    for (index, frame) in frames.iter().enumerate() {
        // SAFETY: inside the mapping.
        let byte = unsafe { start.add((index << FRAME_SIZE_LOG2) + 7) };
        // SAFETY: as above, and nobody else uses this memory.
        unsafe { byte.write(index as u8 + 1) };
        assert_eq!(ram.load_u8(frame.as_u64() + 7).unwrap(), index as u8 + 1);
        assert_eq!(
            vmalloc.phys_of(VirtAddr::from_ptr(byte.as_ptr())),
            frame.checked_add(7)
        );
    }
    let end = VirtAddr::from_ptr(start.as_ptr())
        .checked_add(5 << FRAME_SIZE_LOG2)
        .unwrap();
    assert_eq!(vmalloc.phys_of(end), None, "the guard page is not mapped");
    assert_eq!(vmalloc.count(), 1);
    // SAFETY: nothing uses the mapping any more.
    assert!(unsafe { vmalloc.unmap(start, 5) });
    assert_eq!(vmalloc.phys_of(VirtAddr::from_ptr(start.as_ptr())), None);
    assert_eq!(vmalloc.count(), 0);
}

#[test]
fn a_mapping_goes_back_whole_and_once() {
    let (ram, frames) = scattered(3);
    let vmalloc = Vmalloc::default();
    // SAFETY: the frames are this test's own; the refused calls change nothing.
    unsafe {
        let start = vmalloc.map(&ram, &frames).unwrap();
        assert!(!vmalloc.unmap(start, 2));
        assert!(!vmalloc.unmap(start.add(4096), 2));
        assert!(vmalloc.unmap(start, 3));
        assert!(!vmalloc.unmap(start, 3));
        assert_eq!(
            vmalloc.map(&ram, &frames),
            Ok(start),
            "the addresses are free again"
        );
    }
}

#[test]
fn more_mappings_than_the_host_allows_are_an_error() {
    let (ram, frames) = scattered(budget::limit() as u64 + 1);
    let len_bytes = (frames.len() as u64) << FRAME_SIZE_LOG2;
    let vmalloc = Vmalloc::default();
    // SAFETY: the frames are this test's own.
    let refused = unsafe { vmalloc.map(&ram, &frames) };
    assert_eq!(
        refused,
        Err(VirtualMapError::OutOfAddressSpace { len_bytes })
    );
    assert_eq!(vmalloc.count(), 0);
    // Consecutive frames share one mapping and fit.
    let consecutive: Vec<_> = (0..frames.len() as u64)
        .map(|i| PhysAddr::new(i << FRAME_SIZE_LOG2))
        .collect();
    // SAFETY: as above.
    assert!(unsafe { vmalloc.map(&ram, &consecutive) }.is_ok());
}

#[test]
fn a_frame_that_is_no_memory_leaves_nothing_mapped() {
    let (ram, mut frames) = scattered(3);
    frames[2] = PhysAddr::new(1 << 40);
    let vmalloc = Vmalloc::default();
    // SAFETY: the frames are this test's own or do not exist.
    let refused = unsafe { vmalloc.map(&ram, &frames) };
    assert!(
        matches!(refused, Err(VirtualMapError::NothingThere(_))),
        "{refused:?}"
    );
    assert_eq!(vmalloc.count(), 0);
}
