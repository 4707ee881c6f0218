//! Lists: copied as a whole into one run, piece by piece both ways.

use dmamap::addr::{BusAddr, BusRange, PhysRange};
use dmamap::buffer::{DmaBuffer, PackedFrames, ScatterList};
use dmamap::map::{AnyDirection, Attributes, Bidirectional, MapFailure};
use dmamap::system::Protection;
use hosted::Hosted;

use crate::spy::Spy;
use crate::{Ram, attach_trusted, pattern, without_units};
use rig::{EDU, PAGE, Rig, buffer_of, small};

/// Offset, length and first byte's value of the pieces of the list of buffers.
const PIECES: [(u64, u64, u8); 3] = [(100, 5000, 1), (0, PAGE, 90), (7, 333, 40)];

fn list(rig: &Rig) -> (ScatterList<DmaBuffer<Hosted>>, Vec<u8>) {
    let mut list = ScatterList::with_room(PIECES.len()).unwrap();
    let mut all = Vec::new();
    for (offset, len, seed) in PIECES {
        let data = pattern(seed, len as usize);
        let mut buffer = buffer_of(rig.kernel, 2 * PAGE, 0xee);
        buffer.as_mut_slice()[offset as usize..][..len as usize].copy_from_slice(&data);
        list.push_part(buffer, offset, len).unwrap();
        all.extend(data);
    }
    (list, all)
}

#[test]
fn a_list_of_buffers_is_copied_piece_by_piece_both_ways() {
    let mut rig = Rig::boot(without_units());
    let device = attach_trusted(&rig);
    let mut spy = Spy::on(&mut rig, device);
    spy.device().set_max_segment_bytes(1 << 20).unwrap();
    for attributes in [Attributes::NONE, Attributes::NONE.skip_cpu_sync()] {
        let (list, mut data) = list(&rig);
        let mapping = spy
            .device()
            .map_sgtable_attrs(list, Bidirectional, attributes);
        let mut mapping = mapping.unwrap();
        let told: Vec<_> = mapping.segments().collect();
        assert_eq!(told.len(), 1, "one copy, one segment: {told:?}");
        assert_eq!(told[0].len_bytes(), data.len() as u64);
        assert!(spy.device().mask().covers(told[0]));
        let runs: Vec<_> = mapping.runs().map(BusRange::len_bytes).collect();
        assert_eq!(runs, PIECES.map(|(_, len, _)| len));
        assert!(mapping.need_sync());
        let at = |offset: u64| told[0].start().checked_add(offset).unwrap();
        assert!(spy.peek(at(0), data.len() as u64) == data);

        // The CPU's turn, across the end of the first piece.
        spy.poke(at(4990), &[8; 20]);
        let mut view = mapping.sync_range_for_cpu(4980, 40).unwrap();
        let mut seen = [0; 20];
        view.read_at(10, &mut seen).unwrap();
        assert_eq!(seen, [8; 20]);
        view.write_at(15, &[9; 10]).unwrap();
        drop(view);
        assert_eq!(spy.peek(at(4995), 10), [9; 10]);
        data[4990..5010].fill(8);
        data[4995..5005].fill(9);

        spy.poke(at(9100), &[7; 50]);
        if attributes == Attributes::NONE {
            data[9100..9150].fill(7);
        }
        let entries = mapping.unmap().unwrap().into_entries();
        let mut start = 0;
        for (entry, (offset, len, _)) in entries.zip(PIECES) {
            let buffer = entry.into_buffer();
            let (offset, len) = (offset as usize, len as usize);
            let bytes = buffer.as_slice();
            assert!(bytes[offset..offset + len] == data[start..start + len]);
            let beside = bytes[..offset].iter().chain(&bytes[offset + len..]);
            assert!({ beside }.all(|&byte| byte == 0xee), "beside the piece");
            start += len;
        }
        assert_eq!(rig.system().bounce_figures().slots_in_use, 0);
    }
    spy.stop();
    rig.finish();
}

fn raw_list(mut spy: Spy, rig: &Rig) -> Spy {
    let ram = Ram::allocate(rig.kernel, 8);
    let direction = AnyDirection::Bidirectional;
    let whole = pattern(5, 8 * PAGE as usize);
    ram.write(0, &whole);
    // Not in the order in which they lie in memory.
    let places = [(5 * PAGE + 9, 3000_u64), (100, 4500), (3 * PAGE, 17)];
    let pieces: [PhysRange; 3] = places.map(|(offset, len)| ram.part(offset, len));
    let before = spy.device().figures().live_bytes;
    let mut told = [BusRange::new(BusAddr::new(0), 0).unwrap(); 3];
    // SAFETY: the memory lives, and is touched by address alone.
    let used = unsafe { spy.device().map_sg_raw(&pieces, &mut told, direction) }.unwrap();
    assert_eq!((used, told[0].len_bytes()), (1, 7517));
    let told = &told[..used];
    let at = |offset: u64| told[0].start().checked_add(offset).unwrap();
    let part = |(offset, len): (u64, u64)| &whole[offset as usize..][..len as usize];
    let data = places.map(part).concat();
    assert!(spy.peek(at(0), 7517) == data);
    assert!(spy.device().need_sync_raw(told[0]));

    spy.poke(at(2990), &[7; 20]);
    // SAFETY: as above, for all that follows.
    unsafe {
        spy.device().sync_raw_sg_for_cpu(&pieces, told, direction);
    }
    let mut expected = whole.clone();
    expected[(5 * PAGE + 9) as usize + 2990..][..10].fill(7);
    expected[100..110].fill(7);
    assert!(ram.bytes() == expected);
    ram.write(3 * PAGE, &[6; 17]);
    // SAFETY: as above.
    unsafe {
        spy.device()
            .sync_raw_sg_for_device(&pieces, told, direction);
    }
    assert_eq!(spy.peek(at(7500), 17), [6; 17]);
    expected[3 * PAGE as usize..][..17].fill(6);
    spy.poke(at(7516), &[5]);
    expected[3 * PAGE as usize + 16] = 5;
    // SAFETY: as above; unmapped once.
    unsafe {
        let device = spy.device();
        device.unmap_sg_raw(&pieces, told, direction, Attributes::NONE)
    }
    .unwrap();
    assert!(ram.bytes() == expected);
    assert_eq!(rig.system().bounce_figures().slots_in_use, 0);
    assert_eq!(spy.device().figures().live_bytes, before);
    spy
}

#[test]
fn a_raw_list_is_copied_piece_by_piece_both_ways_beyond_the_mask() {
    let mut rig = Rig::boot(without_units());
    let device = attach_trusted(&rig);
    let spy = Spy::on(&mut rig, device);
    raw_list(spy, &rig).stop();
    rig.finish();
}

#[test]
fn a_raw_list_that_shares_its_pages_is_copied_for_a_device_nobody_vouched_for() {
    let mut rig = Rig::boot(small());
    let device = rig.attach(EDU);
    let spy = Spy::on(&mut rig, device);
    raw_list(spy, &rig).stop();
    rig.finish();
}

#[test]
fn a_device_that_is_given_copies_alone_gets_lists_but_no_addresses_to_link_memory_to() {
    let mut rig = Rig::boot(small());
    let device = rig.attach_trusted(EDU, Protection::Bounce);
    let spy = Spy::on(&mut rig, device);
    let buffer = buffer_of(rig.kernel, PAGE, 1);
    let links = ScatterList::<DmaBuffer<Hosted>>::with_room(1).unwrap();
    let first = buffer.phys(0).unwrap();
    let refused = spy
        .device()
        .iova_try_alloc(first, PAGE, links, Bidirectional)
        .unwrap_err();
    assert_eq!(refused.error.failure, MapFailure::NotTranslated);
    raw_list(spy, &rig).stop();
    drop(buffer);
    rig.finish();
}

#[test]
fn memory_that_shares_its_frame_is_copied_in_a_list() {
    let mut rig = Rig::boot(small());
    let device = rig.attach(EDU);
    let mut spy = Spy::on(&mut rig, device);
    let packed = PackedFrames::new(rig.kernel, 128);
    let mut buffers = Vec::new();
    for seed in [3, 60] {
        let mut buffer = packed.allocate().unwrap();
        buffer.as_mut_slice().copy_from_slice(&pattern(seed, 128));
        buffers.push(Box::new(buffer));
    }
    let mut list = ScatterList::with_room(2).unwrap();
    for buffer in buffers {
        list.push(buffer).unwrap();
    }
    let mapping = spy.device().map_sgtable(list, Bidirectional).unwrap();
    let told: Vec<_> = mapping.segments().collect();
    let data = [pattern(3, 128), pattern(60, 128)].concat();
    assert!(spy.peek(told[0].start(), 256) == data);
    // The rest of the pages is nobody's.
    let page = told[0].start().align_down(12);
    let pages = told[0].last().as_u64() / PAGE - page.as_u64() / PAGE + 1;
    let around = spy.peek(page, pages * PAGE);
    assert_eq!(around.iter().filter(|&&byte| byte != 0).count(), 256);
    let buffer = mapping.unmap().unwrap().pop().unwrap().into_buffer();
    assert!(buffer.as_slice() == pattern(60, 128));
    drop((buffer, packed));
    spy.stop();
    rig.finish();
}
