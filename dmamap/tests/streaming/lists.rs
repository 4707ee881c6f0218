//! Lists of several buffers: where their pieces lie, what the device is told, and that all come back.

use dmamap::addr::BusRange;
use dmamap::buffer::{DmaBuffer, DmaMemory, ListError, ScatterList, ScatteredBuffer};
use dmamap::device::Device;
use dmamap::map::{
    Bidirectional, FromDevice, MapFailure, OutOfBounds, Outside, SgTableMapping, ToDevice,
};
use dmamap::system::Protection;
use hosted::Hosted;
use machine::{Iommu, MachineConfig};

use rig::Random;
use rig::{EDU, PAGE, Rig, buffer_of, small, try_read, try_write};

type AnyMemory = Box<dyn DmaMemory>;
type AnyList = ScatterList<AnyMemory>;

fn random_list(rig: &Rig, random: &Random) -> AnyList {
    let pieces = 1 + random.below(6);
    let mut list = AnyList::with_room(pieces as usize).unwrap();
    for _ in 0..pieces {
        let whole = 1 + random.below(5 * PAGE);
        let buffer: AnyMemory = match random.below(2) {
            0 => Box::new(DmaBuffer::allocate(rig.kernel, whole).unwrap()),
            _ => Box::new(ScatteredBuffer::allocate(rig.kernel, whole).unwrap()),
        };
        // Pieces that end on pages are what joins, so they are frequent.
        let cut = |bytes: u64| match random.below(2) {
            0 => bytes,
            _ => bytes / PAGE * PAGE,
        };
        let offset = cut(random.below(whole));
        let len_bytes = cut(1 + random.below(whole - offset)).max(1);
        list.push_part(buffer, offset, len_bytes).unwrap();
    }
    list
}

/// Y of each byte that is looked at: the first and last of each piece and some between.
fn physical_bytes(list: &AnyList) -> Vec<(u64, u64)> {
    let (mut before, mut all) = (0, Vec::new());
    for entry in list.entries() {
        let looked_at = (0..entry.len_bytes()).step_by(509);
        for within in looked_at.chain([entry.len_bytes() - 1]) {
            let run = entry.buffer().segment(entry.offset() + within);
            all.push((before + within, run.start().as_u64()));
        }
        before += entry.len_bytes();
    }
    all
}

/// Pages that the pieces touch, each counted for each run of pages side by side in memory that touches it.
fn touched_pages(list: &AnyList) -> u64 {
    let mut pages = 0;
    for entry in list.entries() {
        let (mut at, end) = (entry.offset(), entry.offset() + entry.len_bytes());
        while at < end {
            let run = entry.buffer().segment(at);
            let len = run.len_bytes().min(end - at);
            let first = run.start().as_u64() / PAGE;
            pages += (run.start().as_u64() + len - 1) / PAGE - first + 1;
            at += len;
        }
    }
    pages
}

fn check_segments(told: &[BusRange], max_bytes: u64, boundary: u64) {
    for segment in told {
        assert!(segment.len_bytes() <= max_bytes, "{segment}");
        let (first, last) = (segment.start().as_u64(), segment.last().as_u64());
        assert_eq!(first & !boundary, last & !boundary, "{segment}");
    }
    for pair in told.windows(2) {
        if pair[0].last().checked_add(1) == Some(pair[1].start()) {
            let at_boundary = pair[1].start().as_u64() & boundary == 0;
            assert!(
                pair[0].len_bytes() == max_bytes || at_boundary,
                "{} and {} could be one",
                pair[0],
                pair[1]
            );
        }
    }
}

#[test]
fn random_lists_are_told_byte_for_byte_within_the_devices_limits() {
    let random = Random::from_environment(21);
    let direct = MachineConfig::default()
        .with_ram(64 << 20)
        .with_iommu(Iommu::None);
    for (config, rounds) in [(small(), 150), (direct, 150)] {
        let rig = Rig::boot(config);
        let device = rig.attach_trusted(EDU, Protection::Strict);
        for _ in 0..rounds {
            let max_bytes = random.pick(&[1, 100, 512, PAGE, PAGE + 1, 3 * PAGE, 64 << 10]);
            let boundary = u64::MAX >> (64 - random.pick(&[9, 12, 13, 16, 32, 64]));
            device.set_max_segment_bytes(max_bytes).unwrap();
            device.set_segment_boundary(boundary).unwrap();
            let list = random_list(&rig, &random);
            let (bytes, pages) = (physical_bytes(&list), touched_pages(&list));
            let (pieces, len_bytes) = (list.len(), list.len_bytes());
            let mapping = device.map_sgtable(list, ToDevice).unwrap();
            let told: Vec<_> = mapping.segments().collect();
            check_segments(&told, max_bytes, boundary);
            assert_eq!(
                told.iter().map(|one| one.len_bytes()).sum::<u64>(),
                len_bytes
            );
            // Where each byte is on the bus, by walking what the device was told.
            let mut segments = told.iter();
            let (mut segment, mut before) = (segments.next().unwrap(), 0);
            for (offset, phys) in bytes {
                while offset >= before + segment.len_bytes() {
                    before += segment.len_bytes();
                    segment = segments.next().unwrap();
                }
                let bus = segment.start().checked_add(offset - before).unwrap();
                let reached = device.translate(bus).map(|phys| phys.as_u64());
                assert_eq!(reached, Some(phys), "byte {offset}");
            }
            if rig.computer.has_iommu() {
                assert_eq!(rig.machine.audit().reachable_bytes(), pages * PAGE);
            }
            let list = mapping.unmap().unwrap();
            assert_eq!((list.len(), list.len_bytes()), (pieces, len_bytes));
            assert_eq!(rig.machine.audit().leaves, []);
        }
        let figures = device.figures();
        assert_eq!((figures.maps, figures.unmaps), (rounds, rounds));
        assert_eq!(figures.live_bytes, 0);
        device.detach().unwrap();
        rig.finish();
    }
}

fn two_buffers(rig: &Rig) -> ScatterList<DmaBuffer<Hosted>> {
    let mut list = ScatterList::with_room(2).unwrap();
    list.push(buffer_of(rig.kernel, 2 * PAGE, 1)).unwrap();
    list.push(buffer_of(rig.kernel, PAGE, 2)).unwrap();
    list
}

#[test]
fn buffers_of_whole_pages_are_one_segment_behind_an_iommu() {
    let mut rig = Rig::boot(small());
    let mut edu = rig.edu();
    let mut mapping = edu
        .device()
        .map_sgtable(two_buffers(&rig), Bidirectional)
        .unwrap();
    let told: Vec<_> = mapping.segments().collect();
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].len_bytes(), 3 * PAGE);
    assert!(!mapping.need_sync());
    // Across the end of the first buffer, in by the CPU and out by the device.
    let across = 2 * PAGE - 3;
    mapping
        .sync_range_for_cpu(across, 6)
        .unwrap()
        .write_at(0, b"abcdef")
        .unwrap();
    try_read(&mut edu, told[0].slice(across, 6).unwrap().start(), 6);
    try_write(&mut edu, told[0].start(), 6);
    let mut seen = [0; 6];
    mapping.sync_for_cpu().read_at(0, &mut seen).unwrap();
    assert_eq!(&seen, b"abcdef");
    let mut list = mapping.unmap().unwrap();
    assert_eq!(
        &list.entries()[0].buffer().as_slice()[2 * PAGE as usize - 3..],
        b"abc"
    );
    assert_eq!(&list.entries()[1].buffer().as_slice()[..4], b"def\x02");
    // The same list serves again, its memory changed between.
    list.entry_mut(1).unwrap().buffer_mut().as_mut_slice()[0] = 9;
    let mapping = edu.device().map_sgtable(list, FromDevice).unwrap();
    drop((mapping, edu));
    rig.finish();
}

#[test]
fn syncs_of_a_list_stay_inside_it() {
    let rig = Rig::boot(small());
    let device = rig.attach(EDU);
    let mut mapping = device
        .map_sgtable(two_buffers(&rig), Bidirectional)
        .unwrap();
    let whole_bytes = 3 * PAGE;
    for (offset, len_bytes) in [(0, whole_bytes + 1), (whole_bytes, 1), (u64::MAX, 2)] {
        let refused = mapping.sync_range_for_cpu(offset, len_bytes).map(drop);
        let outside = Outside {
            offset,
            len_bytes,
            whole_bytes,
        };
        let device = EDU;
        assert_eq!(refused, Err(OutOfBounds { device, outside }));
    }
    let mut view = mapping.sync_range_for_cpu(PAGE, PAGE + 2).unwrap();
    assert!(view.write_at(PAGE, b"ab").is_ok());
    assert!(view.write_at(PAGE + 1, b"ab").is_err());
    assert!(view.read_at(PAGE + 1, &mut [0; 2]).is_err());
    drop(view);
    let list = mapping.unmap().unwrap();
    assert_eq!(&list.entries()[1].buffer().as_slice()[..3], b"ab\x02");
    drop(list);
    device.detach().unwrap();
    rig.finish();
}

#[test]
fn a_list_is_as_long_as_it_was_made_for() {
    let rig = Rig::boot(small());
    let page = || buffer_of(rig.kernel, PAGE, 0);
    let mut list = ScatterList::with_room(1).unwrap();
    for (offset, len_bytes) in [(0, PAGE + 1), (PAGE, 1), (u64::MAX, 2)] {
        let whole_bytes = PAGE;
        let refused = list.push_part(page(), offset, len_bytes).unwrap_err();
        let expected = ListError::OutOfBounds {
            offset,
            len_bytes,
            whole_bytes,
        };
        assert_eq!(
            (refused.error, refused.buffer.len_bytes()),
            (expected, PAGE)
        );
    }
    assert_eq!(
        list.push_part(page(), 3, 0).unwrap_err().error,
        ListError::Empty
    );
    list.push(page()).unwrap();
    let full = list.push(page()).unwrap_err();
    assert_eq!(full.error, ListError::Full { room: 1 });
    assert_eq!((list.room_left(), list.len_bytes()), (0, PAGE));
    let last = list.pop().unwrap();
    assert_eq!((list.room_left(), list.len_bytes()), (1, 0));
    let endless = ScatterList::<DmaBuffer<Hosted>>::with_room(usize::MAX).unwrap_err();
    assert_eq!(endless, ListError::OutOfMemory { room: usize::MAX });
    drop((last, full, list));
    rig.finish();
}

fn refused<B: DmaMemory>(
    outcome: Result<SgTableMapping<Hosted, B, ToDevice>, dmamap::map::Rejected<ScatterList<B>>>,
) -> (MapFailure, ScatterList<B>) {
    let rejected = outcome.unwrap_err();
    assert_eq!(rejected.error.device, EDU);
    (rejected.error.failure, rejected.buffer.unwrap())
}

#[test]
fn a_list_that_cannot_be_mapped_comes_back_whole_and_nothing_is_mapped() {
    let rig = Rig::boot(small());
    let device: Device<Hosted> = rig.attach(EDU);
    let empty = ScatterList::<DmaBuffer<Hosted>>::with_room(3).unwrap();
    let (failure, _) = refused(device.map_sgtable(empty, ToDevice));
    assert_eq!(failure, MapFailure::Empty);

    // A buffer that was exchanged for a shorter one.
    let mut list = two_buffers(&rig);
    let short = buffer_of(rig.kernel, PAGE, 0);
    let long = std::mem::replace(list.entry_mut(0).unwrap().buffer_mut(), short);
    let (failure, mut list) = refused(device.map_sgtable(list, ToDevice));
    let expected = Outside {
        offset: 0,
        len_bytes: 2 * PAGE,
        whole_bytes: PAGE,
    };
    assert_eq!(failure, MapFailure::PieceOutOfBounds(expected));
    *list.entry_mut(0).unwrap().buffer_mut() = long;

    // One with memory of another machine.
    let other = Rig::boot(small());
    let stranger = buffer_of(other.kernel, PAGE, 0);
    let virt = stranger.virt();
    let ours = std::mem::replace(list.entry_mut(1).unwrap().buffer_mut(), stranger);
    let (failure, mut list) = refused(device.map_sgtable(list, ToDevice));
    assert_eq!(failure, MapFailure::NotDmaMemory { virt });
    let stranger = std::mem::replace(list.entry_mut(1).unwrap().buffer_mut(), ours);
    drop(stranger);
    other.finish();

    // One that is longer than there are addresses.
    device
        .set_mask(dmamap::addr::DmaMask::from_bits(13).unwrap())
        .unwrap();
    let (failure, list) = refused(device.map_sgtable(list, ToDevice));
    assert!(matches!(failure, MapFailure::Domain(_)), "{failure}");
    assert_eq!(list.len(), 2);
    assert_eq!(list.entries()[0].buffer().as_slice()[0], 1);
    assert_eq!(rig.machine.audit().leaves, []);
    assert_eq!(device.figures().maps, 0);
    drop(list);
    device.detach().unwrap();
    rig.finish();
}

#[test]
fn dropping_a_mapped_list_unmaps_it_and_memory_comes_back_after_the_device_is_gone() {
    let rig = Rig::boot(small());
    let device = rig.attach(EDU);
    let before = rig.frames_in_use();
    drop(device.map_sgtable(two_buffers(&rig), ToDevice).unwrap());
    device.reclaim().unwrap();
    assert_eq!(rig.frames_in_use(), before);
    assert_eq!(rig.machine.audit().leaves, []);
    // The second buffer's end shares no page with anything of the first's list, whoever is told what.
    let one = device.map_sgtable(two_buffers(&rig), ToDevice).unwrap();
    let two = device.map_sgtable(two_buffers(&rig), ToDevice).unwrap();
    let (first, second) = (one.runs().next().unwrap(), two.runs().next().unwrap());
    assert!(!rig::share_a_page(first, second));
    let list = one.unmap().unwrap();
    assert!(
        two.runs()
            .all(|run| device.translate(run.start()).is_some())
    );
    device.detach().unwrap();
    // Memory is given back even after the device is gone.
    assert_eq!(two.unmap().unwrap().len(), 2);
    drop(list);
    rig.finish();
}
