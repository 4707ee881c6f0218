//! The CPU's turn at memory that stays mapped: whole, in part, in every kind of mapping.

use dmamap::buffer::ScatteredBuffer;
use dmamap::map::{Bidirectional, FromDevice, OutOfBounds, Outside, ToDevice};
use rig::{EDU, PAGE, Rig, buffer_of, small, try_read, try_write};

#[test]
fn the_cpu_reads_and_writes_mapped_memory_through_a_view() {
    let mut rig = Rig::boot(small());
    let mut edu = rig.edu();
    let mut to = edu
        .device()
        .map_single(buffer_of(rig.kernel, PAGE, 1), ToDevice)
        .unwrap();
    let mut from = edu
        .device()
        .map_single(buffer_of(rig.kernel, PAGE, 0), FromDevice)
        .unwrap();
    assert!(!to.need_sync(), "the device snoops");
    for turn in 2..5 {
        // The same two mappings serve one transfer after the other.
        to.sync_for_cpu().write_at(8, &[turn; 16]).unwrap();
        edu.fetch(&to, 0, PAGE).unwrap();
        edu.store(&from, 0, PAGE).unwrap();
        let mut seen = [0; 32];
        from.sync_for_cpu().read_at(0, &mut seen).unwrap();
        assert_eq!(seen[..8], [1; 8]);
        assert_eq!(seen[8..24], [turn; 16]);
        assert_eq!(seen[24..], [1; 8]);
    }
    let (to, from) = (to.unmap().unwrap(), from.unmap().unwrap());
    assert_eq!(to.as_slice(), from.as_slice());
    drop((to, from, edu));
    rig.finish();
}

#[test]
fn a_partial_view_reaches_its_part_and_nothing_else() {
    let mut rig = Rig::boot(small());
    let edu = rig.edu();
    let buffer = buffer_of(rig.kernel, 100, 7);
    let mut mapping = edu.device().map_single(buffer, Bidirectional).unwrap();
    {
        let mut view = mapping.sync_range_for_cpu(80, 10).unwrap();
        assert_eq!(view.len_bytes(), 10);
        view.write_at(6, &[1, 2, 3, 4]).unwrap();
        let beyond = OutOfBounds {
            device: EDU,
            outside: Outside {
                offset: 7,
                len_bytes: 4,
                whole_bytes: 10,
            },
        };
        assert_eq!(view.write_at(7, &[0; 4]), Err(beyond));
        assert_eq!(view.read_at(7, &mut [0; 4]), Err(beyond));
    }
    for (offset, len_bytes) in [(101, 0), (91, 10), (u64::MAX, 2), (0, u64::MAX)] {
        let refused = mapping.sync_range_for_cpu(offset, len_bytes).map(drop);
        let whole_bytes = 100;
        assert_eq!(
            refused,
            Err(OutOfBounds {
                device: EDU,
                outside: Outside {
                    offset,
                    len_bytes,
                    whole_bytes
                }
            })
        );
    }
    let buffer = mapping.unmap().unwrap();
    assert_eq!(buffer.as_slice()[..86], [7; 86]);
    assert_eq!(buffer.as_slice()[86..90], [1, 2, 3, 4]);
    assert_eq!(buffer.as_slice()[90..], [7; 10]);
    drop((buffer, edu));
    rig.finish();
}

#[test]
fn lists_lie_side_by_side_on_the_bus_and_are_viewed_as_one() {
    let mut rig = Rig::boot(small());
    let mut edu = rig.edu();
    let memory = ScatteredBuffer::allocate(rig.kernel, 3 * PAGE).unwrap();
    let mut list = edu.device().map_sg(memory, Bidirectional).unwrap();
    let segments: Vec<_> = list.segments().collect();
    assert_eq!(
        segments.len(),
        1,
        "pieces of memory are one run behind an IOMMU"
    );
    assert_eq!(segments[0].len_bytes(), 3 * PAGE);
    // Across the end of a piece, and back through the device.
    list.sync_range_for_cpu(PAGE - 4, 8)
        .unwrap()
        .write_at(0, &[1, 2, 3, 4, 5, 6, 7, 8])
        .unwrap();
    let middle = segments[0].slice(PAGE - 4, 8).unwrap().start();
    let last = segments[0].slice(2 * PAGE, 8).unwrap().start();
    try_read(&mut edu, middle, 8);
    try_write(&mut edu, last, 8);
    let mut seen = [0; 8];
    list.sync_for_cpu().read_at(2 * PAGE, &mut seen).unwrap();
    assert_eq!(seen, [1, 2, 3, 4, 5, 6, 7, 8]);
    drop((list.unmap().unwrap(), edu));
    rig.finish();
}

#[test]
fn addresses_are_translated_back_to_the_byte() {
    let mut rig = Rig::boot(small());
    let edu = rig.edu();
    let device = edu.device();
    let memory = ScatteredBuffer::allocate(rig.kernel, 3 * PAGE).unwrap();
    let frames: Vec<_> = (0..3).map(|n| memory.phys(n * PAGE).unwrap()).collect();
    let list = device.map_sg(memory, Bidirectional).unwrap();
    let range = list.segments().next().unwrap();
    for offset in [0, 1, 8, PAGE - 1, PAGE, PAGE + 100, 3 * PAGE - 1] {
        let bus = range.start().checked_add(offset).unwrap();
        let expected = frames[(offset / PAGE) as usize].checked_add(offset % PAGE);
        assert_eq!(device.translate(bus), expected, "byte {offset}");
    }
    let after = range.last().checked_add(1).unwrap();
    assert_eq!(device.translate(after), None);
    drop(list.unmap().unwrap());
    assert_eq!(device.translate(range.start()), None);
    drop(edu);
    rig.finish();
}

#[test]
fn borrowed_memory_is_viewed_while_the_closure_runs_and_lost_by_the_device_after() {
    let mut rig = Rig::boot(small());
    let mut edu = rig.edu();
    let mut buffer = buffer_of(rig.kernel, PAGE, 0);
    let device = edu.device().requester();
    let bus = edu
        .device()
        .map_within(&mut buffer, Bidirectional, |mapping| {
            mapping.sync_for_cpu().write_at(0, b"lent").unwrap();
            let mut seen = [0; 2];
            let part = mapping.sync_range_for_cpu(1, 2).unwrap();
            part.read_at(0, &mut seen).unwrap();
            drop(part);
            assert_eq!(&seen, b"en");
            mapping.bus_addr()
        })
        .unwrap();
    assert_eq!(&buffer.as_slice()[..4], b"lent");
    assert_eq!(edu.device().translate(bus), None);
    try_write(&mut edu, bus, 8);
    assert_eq!(&buffer.as_slice()[..4], b"lent");
    assert!(rig::first_fault(rig.system(), device).is_some());
    drop((buffer, edu));
    rig.finish_after_faults();
}
