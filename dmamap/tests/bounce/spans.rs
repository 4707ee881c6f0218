//! Links to addresses that were chosen before: whole pages in place, and for a device nobody vouched for what lies beside
//! them copied, as for mappings in one step.

use dmamap::addr::{BusAddr, BusRange, PhysRange};
use dmamap::buffer::{DmaMemory, PackedBuffer, PackedFrames, ScatterList};
use dmamap::device::Device;
use dmamap::iommu::RevokeError;
use dmamap::map::{AnyDirection, Attributes, Bidirectional, FromDevice, MapFailure, RawIovaSpan};
use dmamap::platform::Platform;
use dmamap::system::{Granule, Protection};
use hosted::Hosted;
use journeys::boot::BootOptions;
use machine::cache::Snooping;
use machine::temper::Temper;

use crate::classes::{DIRECTIONS, LENGTHS, OFFSETS};
use crate::spy::Spy;
use crate::{Ram, pages_of, pattern};
use rig::Random;
use rig::{EDU, PAGE, Rig, buffer_of, impatient, small};

pub(crate) fn raw_span<P: Platform>(
    device: &Device<P>,
    first: PhysRange,
    len_bytes: u64,
    direction: AnyDirection,
) -> RawIovaSpan<P> {
    let span = device.iova_try_alloc_raw(first.start(), len_bytes, direction, Attributes::NONE);
    span.unwrap().expect("the device is behind an IOMMU")
}

/// From the first to the last byte of the pages of `page_bytes` bytes that `bus` touches, and where in them `bus` begins.
fn pages(bus: BusRange, page_bytes: u64) -> (BusAddr, u64, usize) {
    let start = bus.start().as_u64() / page_bytes * page_bytes;
    let end = (bus.last().as_u64() + 1).next_multiple_of(page_bytes);
    let head = bus.start().as_u64() - start;
    (BusAddr::new(start), end - start, head as usize)
}

/// Links pieces of `ram` one after the other, lets the device and the CPU take turns at them, and compares all memory with
/// what it must be.
struct Turns<'a> {
    ram: &'a Ram,
    pieces: &'a [PhysRange],
    direction: AnyDirection,
    page_bytes: u64,
}

impl Turns<'_> {
    fn total(&self) -> u64 {
        self.pieces.iter().map(|piece| piece.len_bytes()).sum()
    }

    /// Of the bytes of all memory, those of the pieces, in order.
    fn of_pieces(&self, all: &[u8]) -> Vec<u8> {
        self.each(|at| all[at])
    }

    fn each<T>(&self, mut visit: impl FnMut(usize) -> T) -> Vec<T> {
        let base = self.ram.frames.start().as_u64();
        let places = self.pieces.iter().flat_map(|piece| {
            let first = (piece.start().as_u64() - base) as usize;
            first..first + piece.len_bytes() as usize
        });
        places.map(&mut visit).collect()
    }

    fn put(&self, all: &mut [u8], bytes: &[u8]) {
        let mut bytes = bytes.iter();
        self.each(|at| all[at] = *bytes.next().expect("as many"));
    }

    fn take(&self, spy: &mut Spy, seed: u8, what: &str) {
        let (direction, len) = (self.direction, self.total());
        let mut expected = pattern(seed, self.ram.frames.len_bytes() as usize);
        self.ram.write(0, &expected);
        let mut span = raw_span(spy.device(), self.pieces[0], len, direction);
        let mut offset = 0;
        for &piece in self.pieces {
            // SAFETY: the memory lives, and is touched by address alone.
            unsafe { span.link(offset, piece) }.unwrap_or_else(|error| panic!("{what}: {error}"));
            offset += piece.len_bytes();
        }
        span.sync(0, len).unwrap();
        assert_eq!(span.linked_bytes(), len);
        let bus = span.range();
        let (start, all, head) = pages(bus, self.page_bytes);
        let tail = head + len as usize;
        let beside = |seen: &[u8]| seen[..head].iter().chain(&seen[tail..]).all(|&b| b == 0);
        if direction.device_reads() {
            let seen = spy.peek(start, all);
            assert!(beside(&seen), "{what}: a neighbour shows");
            assert!(
                seen[head..tail] == self.of_pieces(&expected),
                "{what}: not what was given"
            );
        }
        if direction.device_writes() {
            // Beside what it was given, too.
            let news = pattern(seed ^ 0x40, all as usize);
            spy.poke(start, &news);
            // SAFETY: linked above, without gaps; the device has finished.
            unsafe {
                spy.device()
                    .sync_raw_range_for_cpu(bus, 0, len, direction)
                    .unwrap();
            }
            self.put(&mut expected, &news[head..tail]);
            assert!(self.ram.bytes() == expected, "{what}: after the sync");
        }
        if direction == AnyDirection::Bidirectional {
            let base = self.ram.frames.start().as_u64();
            for piece in self.pieces {
                let at = piece.start().as_u64() - base;
                let bytes = pattern(seed ^ 0x22, piece.len_bytes() as usize);
                self.ram.write(at, &bytes);
                expected[at as usize..][..bytes.len()].copy_from_slice(&bytes);
            }
            // SAFETY: as above.
            unsafe {
                spy.device()
                    .sync_raw_range_for_device(bus, 0, len, direction)
                    .unwrap();
            }
            assert!(
                spy.peek(bus.start(), len) == self.of_pieces(&expected),
                "{what}"
            );
        }
        if direction.device_writes() {
            // A byte that may lie in place and the last one change once more.
            let mut late = self.of_pieces(&expected);
            for at in [len / 2, len - 1] {
                spy.poke(bus.start().checked_add(at).unwrap(), &[seed]);
                late[at as usize] = seed;
            }
            self.put(&mut expected, &late);
        }
        // SAFETY: linked above, whole.
        unsafe { span.unlink(0, len) }.unwrap_or_else(|error| panic!("{what}: {error}"));
        assert!(self.ram.bytes() == expected, "{what}: after the unlink");
        assert_eq!(span.linked_bytes(), 0);
        span.free().unwrap();
    }
}

pub(crate) fn nothing_is_lent(rig: &Rig) {
    let in_use = rig.system().bounce_figures();
    assert_eq!((in_use.slots_in_use, in_use.transient), (0, 0));
}

#[test]
fn every_class_of_raw_link_is_cut_right_for_a_device_nobody_vouched_for() {
    let mut rig = Rig::boot(small());
    let device = rig.attach(EDU);
    let mut spy = Spy::on(&mut rig, device);
    let ram = Ram::allocate(rig.kernel, 4);
    let mut seed = 0;
    for direction in DIRECTIONS {
        for &offset in &OFFSETS {
            for &len in &LENGTHS {
                seed = u8::wrapping_add(seed, 2);
                let turns = Turns {
                    ram: &ram,
                    pieces: &[ram.part(offset, len)],
                    direction,
                    page_bytes: PAGE,
                };
                turns.take(
                    &mut spy,
                    seed,
                    &format!("{len} bytes at {offset}, {direction:?}"),
                );
            }
        }
    }
    nothing_is_lent(&rig);
    drop(ram);
    spy.stop();
    rig.finish();
}

/// Between one link that begins and one that ends inside a page whole pages, each somewhere else in memory.
fn scattered_links(ram: &Ram, random: &Random, whole: u64) -> Vec<PhysRange> {
    let head = random.below(PAGE);
    let mut pieces = vec![ram.part(head, PAGE - head)];
    // Downwards, so that no two are one piece.
    let pages = (0..whole).rev().map(|n| ram.part((2 + n) * PAGE, PAGE));
    pieces.extend(pages);
    pieces.push(ram.part((2 + whole) * PAGE, 1 + random.below(PAGE - 1)));
    pieces
}

#[test]
fn links_in_many_places_are_right_for_devices_that_snoop_and_that_do_not() {
    for (snooping, temper) in [
        (Snooping::On, Temper::Keep),
        (Snooping::Off, Temper::Keep),
        (Snooping::Off, Temper::Forget),
        (Snooping::Off, Temper::Random(7)),
    ] {
        let config = small().with_devices(snooping).with_temper(temper);
        let mut rig = Rig::boot(config);
        let device = rig.attach(EDU);
        let mut spy = Spy::on(&mut rig, device);
        let random = Random::seeded(11);
        // The models' caches do not tell a zero stored over a zero from none: there no byte beside is written before.
        let beside = match snooping {
            Snooping::On => PAGE,
            Snooping::Off => 1,
        };
        // More pieces than are noted at once while they are taken back.
        for whole in [0, 1, 2, 5, 40] {
            let ram = Ram::allocate(rig.kernel, 3 + whole as usize);
            for direction in DIRECTIONS {
                let pieces = scattered_links(&ram, &random, whole);
                let turns = Turns {
                    ram: &ram,
                    pieces: &pieces,
                    direction,
                    page_bytes: beside,
                };
                let what = format!("{whole} pages, {direction:?}, {snooping:?}, {temper:?}");
                turns.take(&mut spy, whole as u8 * 2, &what);
            }
            nothing_is_lent(&rig);
        }
        spy.stop();
        if let Some(caches) = rig.machine.caches() {
            assert_eq!(caches.invalidated_dirty_lines, 0, "a store was lost");
        }
        rig.finish();
    }
}

#[test]
fn ends_inside_a_large_page_are_copied() {
    for (granule, page_bytes) in [
        (Granule::SixteenKib, 16 << 10),
        (Granule::SixtyFourKib, 64 << 10),
    ] {
        let mut rig = pages_of(granule);
        let device = rig.attach(EDU);
        let mut spy = Spy::on(&mut rig, device);
        let ram = Ram::aligned(rig.kernel, 3 * page_bytes);
        for direction in DIRECTIONS {
            for (offset, len) in [
                (PAGE, PAGE),
                (3 * PAGE + 7, 2 * page_bytes),
                (page_bytes - 5, page_bytes + 9),
                (page_bytes, page_bytes),
            ] {
                let turns = Turns {
                    ram: &ram,
                    pieces: &[ram.part(offset, len)],
                    direction,
                    page_bytes,
                };
                let what = format!("{len} bytes at {offset}, {direction:?}, {granule:?}");
                turns.take(&mut spy, 6, &what);
            }
        }
        nothing_is_lent(&rig);
        // Frames of one owner, but not whole pages.
        let buffer = buffer_of(rig.kernel, 3 * PAGE, 0x35);
        let first = buffer.phys(0).unwrap();
        let room = ScatterList::with_room(1).unwrap();
        let span = spy
            .device()
            .iova_try_alloc(first, 3 * PAGE, room, Bidirectional);
        let mut span = span.unwrap();
        span.link(buffer).unwrap();
        let span = span.sync().unwrap();
        let (start, all, head) = pages(span.range(), page_bytes);
        let seen = spy.peek(start, all);
        assert!(
            seen[head..][..3 * PAGE as usize]
                .iter()
                .all(|&byte| byte == 0x35)
        );
        assert_eq!(
            seen.iter().filter(|&&byte| byte != 0).count() as u64,
            3 * PAGE
        );
        spy.poke(start, &vec![0x36; all as usize]);
        let links = span.destroy().unwrap();
        assert!(
            links.entries()[0]
                .buffer()
                .as_slice()
                .iter()
                .all(|&byte| byte == 0x36)
        );
        drop((links, ram));
        spy.stop();
        rig.finish();
    }
}

/// Three blocks, side by side in one frame.
fn blocks(rig: &Rig, block_bytes: u64) -> [PackedBuffer<Hosted>; 3] {
    let packed = PackedFrames::new(rig.kernel, block_bytes);
    let mut blocks = [(); 3].map(|()| packed.allocate().unwrap());
    blocks.sort_by_key(|block| block.segment(0).start());
    for (n, block) in blocks.iter_mut().enumerate() {
        block.as_mut_slice().fill(0x11 * (n as u8 + 1));
    }
    assert_eq!(packed.frames(), 1);
    blocks
}

#[test]
fn blocks_that_share_a_frame_are_linked_and_never_show_each_other() {
    let mut rig = Rig::boot(small());
    let device = rig.attach(EDU);
    let mut spy = Spy::on(&mut rig, device);
    // The block in the middle, all of it inside one page.
    let [before, block, after] = blocks(&rig, 1000);
    let first = block.segment(0).start();
    let room = ScatterList::with_room(1).unwrap();
    let span = spy
        .device()
        .iova_try_alloc(first, 1000, room, Bidirectional);
    let mut span = span.unwrap();
    span.link(block).unwrap();
    let mut span = span.sync().unwrap();
    assert!(span.need_sync());
    let (start, all, head) = pages(span.range(), PAGE);
    assert_eq!((all, head as u64), (PAGE, first.frame_offset()));
    let seen = spy.peek(start, all);
    assert_eq!(seen[head..head + 1000], [0x22; 1000]);
    assert_eq!(seen.iter().filter(|&&byte| byte != 0).count(), 1000);
    spy.poke(start, &[0x99; PAGE as usize]);
    let mut byte = [0];
    let mut view = span.sync_range_for_cpu(999, 1).unwrap();
    view.read_at(0, &mut byte).unwrap();
    view.write_at(0, &[0x9a]).unwrap();
    drop(view);
    assert_eq!(byte, [0x99]);
    assert_eq!(spy.peek(span.range().last(), 1), [0x9a]);
    let links = span.destroy().unwrap();
    let block = links.entries()[0].buffer();
    assert_eq!(block.as_slice()[..999], [0x99; 999]);
    assert_eq!(block.as_slice()[999], 0x9a);
    assert_eq!(before.as_slice(), [0x11; 1000]);
    assert_eq!(after.as_slice(), [0x33; 1000]);
    drop((links, before, after));
    nothing_is_lent(&rig);
    spy.stop();
    rig.finish();
}

type Any = Box<dyn DmaMemory>;

/// The upper half of one frame, a page, and the lower half of another frame, in one span of boxed buffers.
fn halves_and_a_page(rig: &Rig) -> (Vec<Any>, [PackedBuffer<Hosted>; 2]) {
    let halves = |seed| {
        let packed = PackedFrames::new(rig.kernel, 2048);
        let mut halves = [(); 2].map(|()| packed.allocate().unwrap());
        halves.sort_by_key(|half| half.segment(0).start());
        for half in &mut halves {
            half.as_mut_slice().copy_from_slice(&pattern(seed, 2048));
        }
        halves
    };
    let ([left, upper], [lower, right]) = (halves(3), halves(5));
    let mut page = buffer_of(rig.kernel, PAGE, 0);
    page.as_mut_slice()
        .copy_from_slice(&pattern(7, PAGE as usize));
    let links: Vec<Any> = vec![Box::new(upper), Box::new(page), Box::new(lower)];
    (links, [left, right])
}

#[test]
fn both_ends_of_a_span_are_copied_and_what_lies_between_is_in_place() {
    for (snooping, temper) in [
        (Snooping::On, Temper::Keep),
        (Snooping::Off, Temper::Keep),
        (Snooping::Off, Temper::Random(3)),
    ] {
        let mut rig = Rig::boot(small().with_devices(snooping).with_temper(temper));
        let device = rig.attach(EDU);
        let mut spy = Spy::on(&mut rig, device);
        let (buffers, [left, right]) = halves_and_a_page(&rig);
        let places: Vec<_> = buffers.iter().map(|one| one.segment(0).start()).collect();
        let room = ScatterList::with_room(3).unwrap();
        let span = spy
            .device()
            .iova_try_alloc(places[0], 2 * PAGE, room, Bidirectional);
        let mut span = span.unwrap();
        for buffer in buffers {
            span.link(buffer).unwrap();
        }
        let figures = spy.device().figures();
        assert_eq!((figures.bounced_maps, figures.bounced_bytes), (2, 4096));
        let mut span = span.sync().unwrap();
        let bus = span.range();
        let at = |offset: u64| bus.start().checked_add(offset).unwrap();
        let behind = |offset| spy.device().translate(at(offset)).unwrap();
        assert_ne!(behind(0), places[0]);
        assert_eq!(behind(2048), places[1]);
        assert_ne!(behind(2048 + PAGE), places[2]);
        let data = [pattern(3, 2048), pattern(7, 4096), pattern(5, 2048)].concat();
        let mut expected = vec![0; 2048];
        expected.extend(&data);
        expected.extend(vec![0; 2048]);
        let (start, all, _) = pages(bus, PAGE);
        assert!(spy.peek(start, all) == expected);
        let news = pattern(0x40, 3 * PAGE as usize);
        spy.poke(start, &news);
        let news = &news[2048..][..2 * PAGE as usize];
        // The CPU's turn, across the ends of all three.
        let mut seen = vec![0; 5000];
        let mut view = span.sync_range_for_cpu(1500, 5000).unwrap();
        view.read_at(0, &mut seen).unwrap();
        view.write_at(500, &[1; 100]).unwrap();
        view.write_at(4600, &[2; 100]).unwrap();
        drop(view);
        assert!(seen == news[1500..6500]);
        let mut all = news.to_vec();
        all[2000..2100].fill(1);
        all[6100..6200].fill(2);
        assert!(spy.peek(bus.start(), 2 * PAGE) == all);
        let links = span.destroy().unwrap();
        for (entry, data) in
            links
                .entries()
                .iter()
                .zip([&all[..2048], &all[2048..6144], &all[6144..]])
        {
            let mut bytes = vec![0; data.len()];
            // SAFETY: the buffer is not mapped any more, and its bytes are not referred to.
            unsafe {
                let start = entry.buffer().pointer();
                std::ptr::copy_nonoverlapping(start.as_ptr(), bytes.as_mut_ptr(), bytes.len());
            }
            assert!(bytes == data);
        }
        assert_eq!(left.as_slice(), pattern(3, 2048));
        assert_eq!(right.as_slice(), pattern(5, 2048));
        drop((links, left, right));
        nothing_is_lent(&rig);
        spy.stop();
        rig.finish();
    }
}

#[test]
fn a_trusted_device_is_linked_the_memory_itself_unless_lines_are_shared() {
    for (snooping, copied) in [(Snooping::On, 0), (Snooping::Off, 2)] {
        let mut rig = Rig::boot(small().with_devices(snooping));
        let device = rig.attach_trusted(EDU, Protection::Strict);
        let mut spy = Spy::on(&mut rig, device);
        let ram = Ram::allocate(rig.kernel, 3);
        let piece = ram.part(100, 2 * PAGE);
        let what = pattern(9, 3 * PAGE as usize);
        ram.write(0, &what);
        let mut span = raw_span(spy.device(), piece, 2 * PAGE, AnyDirection::Bidirectional);
        // SAFETY: the memory lives, and is touched by address alone.
        unsafe { span.link(0, piece) }.unwrap();
        span.sync(0, 2 * PAGE).unwrap();
        let bus = span.range();
        let translated = spy.device().translate(bus.start());
        assert_eq!(translated == Some(piece.start()), copied == 0);
        assert_eq!(spy.device().need_sync_raw(bus), copied != 0);
        assert!(spy.peek(bus.start(), 2 * PAGE) == what[100..][..2 * PAGE as usize]);
        spy.poke(bus.last(), &[4]);
        // SAFETY: linked above, whole.
        unsafe { span.unlink(0, 2 * PAGE) }.unwrap();
        let mut expected = what;
        expected[99 + 2 * PAGE as usize] = 4;
        assert!(ram.bytes() == expected);
        span.free().unwrap();
        let figures = spy.device().figures();
        assert_eq!(figures.bounced_maps, u64::from(copied != 0));
        drop(ram);
        nothing_is_lent(&rig);
        spy.stop();
        rig.finish();
    }
}

#[test]
fn what_must_be_coherent_is_not_linked_where_it_would_be_copied() {
    let rig = Rig::boot(small());
    let device = rig.attach(EDU);
    let ram = Ram::allocate(rig.kernel, 1);
    let memory = ram.part(0, 100);
    let attributes = Attributes::NONE.require_coherent();
    let span = device.iova_try_alloc_raw(memory.start(), 100, AnyDirection::ToDevice, attributes);
    let mut span = span.unwrap().unwrap();
    // SAFETY: nothing is linked.
    let refused = unsafe { span.link(0, memory) }.unwrap_err();
    assert_eq!(refused.failure, MapFailure::WouldBounce { memory });
    span.free().unwrap();
    nothing_is_lent(&rig);
    drop((ram, device));
    rig.finish();
}

#[test]
fn an_unlink_that_is_not_confirmed_keeps_the_copies_too() {
    let rig = Rig::boot_with(small(), impatient(300));
    let device = rig.attach(EDU);
    let [before, block, after] = blocks(&rig, 600);
    let room = ScatterList::with_room(1).unwrap();
    let span = device.iova_try_alloc(block.segment(0).start(), 600, room, FromDevice);
    let mut span = span.unwrap();
    span.link(block).unwrap();
    let span = span.sync().unwrap();
    let ram = Ram::allocate(rig.kernel, 1);
    let piece = ram.part(10, 20);
    let mut raw = raw_span(&device, piece, 20, AnyDirection::FromDevice);
    // SAFETY: the memory lives to the end, and is not touched.
    unsafe { raw.link(0, piece) }.unwrap();
    raw.sync(0, 20).unwrap();
    rig.unit(0).hold_queue();
    let quarantined = span.destroy().unwrap_err();
    assert!(matches!(quarantined.error, RevokeError::Unit(_)));
    // SAFETY: linked above.
    let quarantined = unsafe { raw.unlink(0, 20) }.unwrap_err();
    rig.unit(0).release_queue();
    assert!(matches!(quarantined.error, RevokeError::Unit(_)));
    // Two pages of copies.
    assert_eq!(rig.system().bounce_figures().slots_in_use, 4);
    let kept = 600 + PAGE + 20 + PAGE;
    assert_eq!(device.figures().quarantined_bytes, kept);
    drop((raw, before, after));
    device.detach().unwrap();
    nothing_is_lent(&rig);
    drop(ram);
    rig.finish_with_losses();
}

#[test]
fn a_link_that_finds_no_memory_for_a_copy_leaves_nothing() {
    let rig = Rig::boot_failing(small(), BootOptions::default());
    let (kernel, injector) = (rig.kernel, rig.injector());
    let device = rig.attach(EDU);
    let ram = Ram::allocate(kernel, 3);
    let memory = ram.part(100, 2 * PAGE);
    let mut refused = 0;
    injector.fail_each_in_turn(|_| {
        let span = device.iova_try_alloc_raw(
            memory.start(),
            2 * PAGE,
            AnyDirection::ToDevice,
            Attributes::NONE,
        );
        let Ok(span) = span else { return };
        let mut span = span.unwrap();
        // SAFETY: the memory lives, and is not touched.
        match unsafe { span.link(0, memory) } {
            Ok(()) => {
                span.sync(0, 2 * PAGE).unwrap();
                // SAFETY: linked above.
                unsafe { span.unlink(0, 2 * PAGE) }.unwrap();
            }
            Err(_) => refused += 1,
        }
        assert_eq!(rig.machine.audit().leaves, []);
        let in_use = rig.system().bounce_figures();
        assert_eq!((in_use.slots_in_use, in_use.transient), (0, 0));
        assert_eq!(device.figures().quarantined_bytes, 0);
        span.free().unwrap();
        device.reclaim().unwrap();
    });
    assert!(refused > 0);
    drop(ram);
    device.detach().unwrap();
    rig.finish();
}
