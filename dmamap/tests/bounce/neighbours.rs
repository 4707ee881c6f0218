//! Devices that nobody vouched for, and memory that shares pages with others'.

use dmamap::addr::BusAddr;
use dmamap::buffer::{DmaBuffer, DmaMemory, Frames, PackedFrames};
use dmamap::map::{AnyDirection, Attributes, Bidirectional, FromDevice, ToDevice};
use dmamap::system::{Granule, Protection};

use crate::spy::Spy;
use crate::{Ram, pages_of, pattern};
use rig::{EDU, PAGE, Rig, small};

fn untrusted(rig: &mut Rig) -> Spy {
    let device = rig.attach(EDU);
    Spy::on(rig, device)
}

#[test]
fn small_blocks_side_by_side_never_show_each_other() {
    let mut rig = Rig::boot(small());
    let mut spy = untrusted(&mut rig);
    let frames = PackedFrames::new(rig.kernel, 200);
    let mut blocks: Vec<_> = (0..20).map(|_| frames.allocate().unwrap()).collect();
    assert_eq!(frames.frames(), 1);
    for (n, block) in blocks.iter_mut().enumerate() {
        block.as_mut_slice().fill(0x40 + n as u8);
    }
    let middle = blocks.swap_remove(7);
    assert_eq!(middle.frames(), Frames::Shared);
    let mapping = spy.device().map_single(middle, Bidirectional).unwrap();
    assert!(mapping.need_sync());
    let bus = mapping.bus_addr();
    let page = BusAddr::new(bus.as_u64() / PAGE * PAGE);
    let seen = spy.peek(page, PAGE);
    let head = (bus.as_u64() - page.as_u64()) as usize;
    assert_eq!(seen[head..head + 200], [0x47; 200]);
    let padding = seen[..head].iter().chain(&seen[head + 200..]);
    assert!({ padding }.all(|&byte| byte == 0), "a neighbour shows");
    spy.poke(page, &[0xee; 4096]);
    let middle = mapping.unmap().unwrap();
    assert_eq!(middle.as_slice(), [0xee; 200]);
    for block in &blocks {
        let byte = block.as_slice()[0];
        assert!((0x40..0x54).contains(&byte), "a neighbour was written");
        assert!(block.as_slice().iter().all(|&other| other == byte));
    }
    // Also when its block went to somebody else and came back.
    drop((middle, blocks));
    drop(frames);
    spy.stop();
    rig.finish();
}

#[test]
fn whole_pages_between_ragged_ends_are_mapped_in_place() {
    let mut rig = Rig::boot(small());
    let mut spy = untrusted(&mut rig);
    let ram = Ram::allocate(rig.kernel, 8);
    let whole = pattern(3, 8 * PAGE as usize);
    ram.write(0, &whole);
    let (offset, len) = (1000, 5 * PAGE + 77);
    let memory = ram.part(offset, len);
    // SAFETY: the memory lives, and is touched by address alone.
    let bus = unsafe { spy.device().map_phys(memory, AnyDirection::Bidirectional) }.unwrap();
    assert_eq!(bus.start().frame_offset(), memory.start().frame_offset());
    let at = |offset: u64| bus.start().checked_add(offset).unwrap();
    let frame = |spy: &Spy, at| spy.device().translate(at).unwrap().align_down(12);
    let own = |offset: u64| ram.part(offset, 1).start().align_down(12);
    assert_ne!(frame(&spy, at(0)), own(1000), "the head is a copy");
    for page in 1..=4 {
        assert_eq!(frame(&spy, at(page * PAGE)), own(1000 + page * PAGE));
    }
    assert_ne!(
        frame(&spy, at(len - 1)),
        own(1000 + len - 1),
        "so is the tail"
    );
    let figures = spy.device().figures();
    let tail = (1000 + len) % PAGE;
    assert_eq!(figures.bounced_bytes, PAGE - 1000 + tail);
    assert!(spy.peek(at(0), len) == whole[1000..1000 + len as usize]);

    // Syncs copy what was asked for, wherever it lies.
    spy.poke(at(PAGE - 1001), &[1; 2]);
    spy.poke(at(len - 20), &[2; 20]);
    // SAFETY: mapped above; nobody refers to the memory.
    unsafe {
        let sync = |offset, len| {
            let device = spy.device();
            device.sync_raw_range_for_cpu(bus, offset, len, AnyDirection::Bidirectional)
        };
        sync(len - 20, 10).unwrap();
        sync(0, 10).unwrap();
        assert!(sync(len - 1, 2).is_err());
    }
    let now = ram.bytes();
    let mut expected = whole;
    let end = (1000 + len) as usize;
    expected[PAGE as usize..][..1].fill(1); // the page in place
    expected[PAGE as usize - 1] = now[PAGE as usize - 1];
    expected[end - 20..end - 10].fill(2);
    assert!(now == expected);
    assert_ne!(
        now[PAGE as usize - 1],
        1,
        "the rest of the head was not synced"
    );
    ram.write(1010, &[5; 10]);
    ram.write(end as u64 - 5, &[6; 5]);
    // SAFETY: as above.
    unsafe {
        let device = spy.device();
        device
            .sync_raw_range_for_device(bus, 12, 4, AnyDirection::Bidirectional)
            .unwrap();
        device
            .sync_raw_range_for_device(bus, len - 5, 5, AnyDirection::Bidirectional)
            .unwrap();
    }
    let head = spy.peek(at(8), 16);
    let was = &expected[1008..1024];
    assert_eq!(head[..4], was[..4]);
    assert_eq!(head[4..8], [5; 4]);
    assert_eq!(head[8..], was[8..]);
    assert_eq!(spy.peek(at(len - 6), 6), [2, 6, 6, 6, 6, 6]);
    // SAFETY: mapped above, once.
    unsafe {
        spy.device()
            .unmap_phys(bus, AnyDirection::Bidirectional, Attributes::NONE)
    }
    .unwrap();
    let end_state = ram.bytes();
    assert_eq!(end_state[PAGE as usize - 1..=PAGE as usize], [1; 2]);
    assert_eq!(end_state[..1000], expected[..1000]);
    assert_eq!(end_state[end..], expected[end..]);
    assert_eq!(rig.system().bounce_figures().slots_in_use, 0);
    drop(ram);
    spy.stop();
    rig.finish();
}

#[test]
fn a_device_that_is_trusted_is_given_the_pages_themselves() {
    let rig = Rig::boot(small());
    let device = rig.attach_trusted(EDU, Protection::Strict);
    let frames = PackedFrames::new(rig.kernel, 64);
    let block = frames.allocate().unwrap();
    let phys = block.segment(0).start();
    let mapping = device.map_single(block, ToDevice).unwrap();
    assert_eq!(device.translate(mapping.bus_addr()), Some(phys));
    assert!(!mapping.need_sync());
    drop((mapping, device, frames));
    rig.finish();
}

#[test]
fn frames_in_larger_pages_do_not_show_the_rest_of_them() {
    for (granule, page) in [
        (Granule::SixteenKib, 16 << 10),
        (Granule::SixtyFourKib, 64 << 10),
    ] {
        let mut rig = pages_of(granule);
        let mut spy = untrusted(&mut rig);
        assert_eq!(spy.device().page_bytes(), page);
        // Ends and, where it is long enough, whole pages between.
        for frames in [1, 3, 16, 40] {
            let len = frames * PAGE - 500;
            let mut buffer = DmaBuffer::allocate(rig.kernel, len).unwrap();
            let data = pattern(frames as u8, len as usize);
            buffer.as_mut_slice().copy_from_slice(&data);
            let mapping = spy.device().map_single(buffer, Bidirectional).unwrap();
            assert!(spy.peek(mapping.bus_addr(), len) == data);
            // Whatever else of the pages is reached is the buffer's own or zero.
            let bus = mapping.range();
            let start = bus.start().as_u64() / page * page;
            let end = (bus.last().as_u64() + 1).next_multiple_of(page);
            let before = spy.peek(BusAddr::new(start), bus.start().as_u64() - start);
            assert!(before.iter().all(|&byte| byte == 0));
            let after = bus.last().checked_add(1).unwrap();
            let after = spy.peek(after, end - 1 - bus.last().as_u64());
            assert!(after.iter().all(|&byte| byte == 0));
            spy.poke(bus.start().checked_add(len - 9).unwrap(), &[0xd0; 9]);
            let buffer = mapping.unmap().unwrap();
            assert!(buffer.as_slice()[..len as usize - 9] == data[..len as usize - 9]);
            assert_eq!(buffer.as_slice()[len as usize - 9..], [0xd0; 9]);
        }
        assert_eq!(rig.system().bounce_figures().slots_in_use, 0);
        spy.stop();
        rig.finish();
    }
}

#[test]
fn the_cpus_turn_at_ragged_memory_finds_every_part() {
    let mut rig = pages_of(Granule::SixteenKib);
    let mut spy = untrusted(&mut rig);
    let len = 23 * PAGE + 5;
    let buffer = DmaBuffer::allocate(rig.kernel, len).unwrap();
    let mut mapping = spy.device().map_single(buffer, Bidirectional).unwrap();
    let data = pattern(0x31, len as usize);
    mapping.sync_for_cpu().write_at(0, &data).unwrap();
    let bus = mapping.bus_addr();
    assert!(spy.peek(bus, len) == data);
    let other = pattern(0x77, len as usize);
    spy.poke(bus, &other);
    let mut read = vec![0; len as usize - 2];
    let view = mapping.sync_range_for_cpu(1, len - 1).unwrap();
    view.read_at(0, &mut read).unwrap();
    drop(view);
    assert!(read == other[1..len as usize - 1]);
    // Inside the last page, of which the device has a copy.
    let mut part = [0; 7];
    let view = mapping.sync_range_for_cpu(len - 9, 7).unwrap();
    view.read_at(0, &mut part).unwrap();
    drop(view);
    assert_eq!(part[..], other[len as usize - 9..len as usize - 2]);
    assert!(mapping.unmap().unwrap().as_slice() == other);
    spy.stop();
    rig.finish();
}

#[test]
fn forgotten_mappings_of_copies_keep_their_slots() {
    let mut rig = Rig::boot(small());
    let mut spy = untrusted(&mut rig);
    let frames = PackedFrames::new(rig.kernel, 64);
    let forgotten = spy
        .device()
        .map_single(frames.allocate().unwrap(), FromDevice)
        .unwrap();
    let (kept, bus) = (
        spy.device().translate(forgotten.bus_addr()).unwrap(),
        forgotten.bus_addr(),
    );
    std::mem::forget(forgotten);
    for _ in 0..50 {
        let block = frames.allocate().unwrap();
        let mapping = spy.device().map_single(block, Bidirectional).unwrap();
        spy.poke(bus, &[0xaa; 64]);
        let other = spy.device().translate(mapping.bus_addr()).unwrap();
        assert_ne!(other.align_down(12), kept.align_down(12));
        assert_eq!(mapping.unmap().unwrap().as_slice(), [0; 64]);
    }
    assert_eq!(rig.system().bounce_figures().slots_in_use, 2);
    drop(frames);
    spy.stop();
    let lost = rig.finish_with_losses();
    assert!(!lost.is_clean());
}
