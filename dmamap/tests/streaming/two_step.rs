//! Mapping in two steps: addresses first, memory later.

use dmamap::addr::{BusAddr, BusRange, DmaMask, PhysAddr, PhysRange};
use dmamap::buffer::{DmaBuffer, ListError, ScatterList};
use dmamap::device::Device;
use dmamap::iommu::RevokeError;
use dmamap::map::{
    AnyDirection, Attributes, Bidirectional, IovaSpan, MapFailure, Outside, ToDevice, Unsynced,
};
use dmamap::system::Protection;
use hosted::Hosted;
use machine::cache::Snooping;
use machine::iommu::amd::AmdConfig;
use machine::iommu::riscv::RiscvConfig;
use machine::iommu::smmu::SmmuConfig;
use machine::iommu::virtio::VirtioConfig;
use machine::iommu::vtd::{CachingMode, VtdConfig};
use machine::temper::Temper;
use machine::{Iommu, MachineConfig};

use rig::Random;
use rig::{
    EDU, PAGE, Rig, amd, buffer_of, first_fault, impatient, small, try_read, try_write, vtd,
};

type Buffer = DmaBuffer<Hosted>;
type Span = IovaSpan<Hosted, Buffer, Bidirectional, Unsynced>;

/// A span for `pages` pages whose first byte will be `head` bytes inside a page.
fn span(device: &Device<Hosted>, pages: u64, head: u64) -> Span {
    let room = ScatterList::with_room(pages as usize).unwrap();
    let first = PhysAddr::new(16 * PAGE + head);
    device
        .iova_try_alloc(first, pages * PAGE - head, room, Bidirectional)
        .unwrap()
}

/// Units of every kind, among them one that remembers that there was nothing.
fn every_kind_of_unit() -> Vec<Iommu> {
    let walks = Snooping::On;
    vec![
        vtd(VtdConfig::default()),
        vtd(VtdConfig {
            caching_mode: CachingMode::NotPresentToo,
            ..VtdConfig::default()
        }),
        Iommu::Vtd {
            unit: VtdConfig::default(),
            walks: Snooping::Off,
        },
        amd(AmdConfig::default()),
        Iommu::Smmu {
            unit: SmmuConfig::default(),
            walks,
        },
        Iommu::Riscv {
            unit: RiscvConfig::default(),
            walks,
        },
        Iommu::Virtio {
            unit: VirtioConfig::default(),
        },
    ]
}

#[test]
fn what_is_linked_and_synced_is_reached_at_consecutive_addresses_behind_every_unit() {
    for iommu in every_kind_of_unit() {
        for temper in [Temper::Keep, Temper::Forget, Temper::Random(5)] {
            let config = small().with_iommu(iommu.clone()).with_temper(temper);
            println!("{iommu:?} {temper:?}");
            let mut rig = Rig::boot(config);
            let mut edu = rig.edu();
            let mut span = span(edu.device(), 5, 0);
            span.link(buffer_of(rig.kernel, 2 * PAGE, 1)).unwrap();
            span.link(buffer_of(rig.kernel, PAGE, 2)).unwrap();
            let span = span.sync().unwrap();
            assert_eq!(span.range().len_bytes(), 3 * PAGE);
            let at = |offset| span.bus_addr().checked_add(offset).unwrap();
            let (second, third) = (at(2 * PAGE), at(3 * PAGE));
            // The device carries the second buffer's bytes into the first.
            try_read(&mut edu, second, 16);
            try_write(&mut edu, at(PAGE), 16);
            assert_eq!(rig.system().faults().total, 0, "{iommu:?}");
            // More is linked while the device could use the rest.
            let mut span = span.extend();
            span.link(buffer_of(rig.kernel, PAGE, 3)).unwrap();
            let mut span = span.sync().unwrap();
            try_read(&mut edu, third, 16);
            try_write(&mut edu, span.bus_addr(), 16);
            assert_eq!(rig.system().faults().total, 0, "{iommu:?}");
            let mut seen = [0; 2];
            let view = span.sync_range_for_cpu(PAGE, PAGE + 1).unwrap();
            view.read_at(15, &mut seen).unwrap();
            drop(view);
            assert_eq!(seen, [2, 1]);
            let (span, links) = span.unlink().unwrap();
            assert_eq!(links.len(), 3);
            assert_eq!(links.entries()[0].buffer().as_slice()[..2], [3, 3]);
            assert_eq!(rig.machine.audit().leaves, []);
            span.free();
            try_read(&mut edu, second, 16);
            assert!(first_fault(rig.system(), EDU).is_some(), "{iommu:?}");
            drop((links, edu));
            rig.finish_after_faults();
        }
    }
}

#[test]
fn only_the_first_link_begins_and_only_the_last_ends_inside_a_page() {
    let rig = Rig::boot(small());
    let device = rig.attach(EDU);
    let mut span = span(&device, 4, 100);
    let page = |pattern| buffer_of(rig.kernel, PAGE, pattern);
    let refused = |span: &mut Span, offset, len_bytes, at| {
        let buffer = page(9);
        let memory = PhysRange::new(buffer.phys(offset).unwrap(), len_bytes).unwrap();
        let rejected = span.link_part(buffer, offset, len_bytes).unwrap_err();
        let expected = MapFailure::InteriorEdge {
            memory,
            offset: at,
            page_bytes: PAGE,
        };
        assert_eq!(rejected.error.failure, expected);
        assert_eq!(rejected.error.device, EDU);
        assert_eq!(rejected.buffer.unwrap().as_slice()[0], 9);
    };
    // Not where the span begins in its page.
    refused(&mut span, 0, PAGE, 0);
    refused(&mut span, 101, 10, 0);
    span.link_part(page(1), 100, PAGE - 100).unwrap();
    // Not where a page begins.
    refused(&mut span, 8, PAGE - 8, PAGE - 100);
    span.link(page(2)).unwrap();
    span.link_part(page(3), 0, 10).unwrap();
    // After one that ended inside a page.
    refused(&mut span, 0, PAGE, 2 * PAGE - 90);
    refused(&mut span, 10, 10, 2 * PAGE - 90);
    assert_eq!((span.links(), span.linked_bytes()), (3, 2 * PAGE - 90));
    let span = span.sync().unwrap();
    assert_eq!(span.bus_addr().frame_offset(), 100);
    assert_eq!(rig.machine.audit().reachable_bytes(), 3 * PAGE);
    let links = span.destroy().unwrap();
    assert_eq!(links.len_bytes(), 2 * PAGE - 90);
    drop(links);
    device.detach().unwrap();
    rig.finish();
}

#[test]
fn what_does_not_fit_a_span_comes_back() {
    let rig = Rig::boot(small());
    let device = rig.attach(EDU);
    let mut small_span = span(&device, 2, 0);
    let rejected = small_span
        .link(buffer_of(rig.kernel, 2 * PAGE + 1, 1))
        .unwrap_err();
    let whole = Outside {
        offset: 0,
        len_bytes: 2 * PAGE + 1,
        whole_bytes: 2 * PAGE,
    };
    assert_eq!(rejected.error.failure, MapFailure::OutsideSpan(whole));
    drop(rejected.buffer.unwrap());
    small_span.link(buffer_of(rig.kernel, PAGE, 1)).unwrap();
    let rejected = small_span
        .link_part(buffer_of(rig.kernel, PAGE, 1), 1, PAGE)
        .unwrap_err();
    assert!(matches!(
        rejected.error.failure,
        MapFailure::List(ListError::OutOfBounds { .. })
    ));
    drop((rejected, small_span));

    let no_room = ScatterList::with_room(0).unwrap();
    let first = PhysAddr::new(0);
    let mut crowded = device
        .iova_try_alloc(first, PAGE, no_room, ToDevice)
        .unwrap();
    let rejected = crowded.link(buffer_of(rig.kernel, PAGE, 1)).unwrap_err();
    let full = ListError::Full { room: 0 };
    assert_eq!(rejected.error.failure, MapFailure::List(full));
    drop(rejected);
    // Nothing is linked, so there is nothing to sync; the span comes back.
    let unsynced = crowded.sync().unwrap_err();
    assert_eq!(unsynced.error.failure, MapFailure::Empty);
    let (unlinked, _) = unsynced.span.unlink().unwrap();
    // The same addresses serve other memory.
    let mut again = unlinked.relink(ScatterList::with_room(1).unwrap()).unwrap();
    again.link(buffer_of(rig.kernel, PAGE, 1)).unwrap();
    let mut used = ScatterList::with_room(1).unwrap();
    used.push(buffer_of(rig.kernel, PAGE, 1)).unwrap();
    let rejected = device
        .iova_try_alloc(first, PAGE, used, ToDevice)
        .unwrap_err();
    assert_eq!(
        rejected.error.failure,
        MapFailure::List(ListError::NotEmpty { len: 1 })
    );
    let (unlinked, _) = again.unlink().unwrap();
    let rejected = unlinked.relink(rejected.buffer.unwrap()).unwrap_err();
    assert_eq!(rejected.buffer.unwrap().len(), 1);
    assert_eq!(device.figures().live_mappings, 0);
    device.detach().unwrap();
    rig.finish();
}

#[test]
fn there_are_no_addresses_to_choose_without_an_iommu_or_beyond_the_mask() {
    let direct = MachineConfig::default()
        .with_ram(64 << 20)
        .with_iommu(Iommu::None);
    let rig = Rig::boot(direct);
    let device = rig.attach_trusted(EDU, Protection::Strict);
    let room = || ScatterList::<Buffer>::with_room(1).unwrap();
    let first = PhysAddr::new(0);
    let rejected = device
        .iova_try_alloc(first, PAGE, room(), ToDevice)
        .unwrap_err();
    assert_eq!(rejected.error.failure, MapFailure::NotTranslated);
    assert!(rejected.buffer.is_some());
    let none = device.iova_try_alloc_raw(first, PAGE, AnyDirection::ToDevice, Attributes::NONE);
    assert!(none.unwrap().is_none());
    device.detach().unwrap();
    rig.finish();

    let rig = Rig::boot(small());
    let function = rig.function(EDU);
    let blocked = rig.system().attach(&function, Protection::Blocked).unwrap();
    let rejected = blocked
        .iova_try_alloc(first, PAGE, room(), ToDevice)
        .unwrap_err();
    assert_eq!(rejected.error.failure, MapFailure::Blocked);
    drop((blocked, function));
    let device = rig.attach(EDU);
    device.set_mask(DmaMask::from_bits(14).unwrap()).unwrap();
    for (len_bytes, fits) in [(3 * PAGE, true), (3 * PAGE + 1, false), (u64::MAX, false)] {
        let span = device.iova_try_alloc(first, len_bytes, room(), ToDevice);
        assert_eq!(span.is_ok(), fits, "{len_bytes:#x}");
    }
    let empty = device
        .iova_try_alloc(first, 0, room(), ToDevice)
        .unwrap_err();
    assert_eq!(empty.error.failure, MapFailure::Empty);
    assert_eq!(device.figures().live_mappings, 0);
    device.detach().unwrap();
    rig.finish();
}

#[test]
fn a_span_may_be_dropped_in_any_state_and_outlive_its_device() {
    let rig = Rig::boot(small());
    let device = rig.attach(EDU);
    let born = device.domain_frames();
    let lent = rig.frames_in_use();
    let linked = |device: &Device<Hosted>| {
        let mut span = span(device, 3, 0);
        span.link(buffer_of(rig.kernel, PAGE, 1)).unwrap();
        span.link(buffer_of(rig.kernel, PAGE, 2)).unwrap();
        span
    };
    drop(span(&device, 3, 0));
    drop(linked(&device));
    drop(linked(&device).sync().unwrap());
    drop(linked(&device).sync().unwrap().extend());
    drop(linked(&device).unlink().unwrap());
    drop(linked(&device).sync().unwrap().unlink().unwrap());
    device.reclaim().unwrap();
    assert_eq!((device.domain_frames(), rig.frames_in_use()), (born, lent));
    let figures = device.figures();
    assert_eq!((figures.maps, figures.unmaps), (6, 6));
    assert_eq!((figures.live_mappings, figures.live_bytes), (0, 0));
    assert_eq!(rig.machine.audit().leaves, []);

    let (one, two) = (linked(&device), linked(&device).sync().unwrap());
    device.detach().unwrap();
    assert_eq!(rig.machine.audit().leaves, []);
    let mut one = one;
    let rejected = one.link(buffer_of(rig.kernel, PAGE, 3)).unwrap_err();
    assert!(rejected.buffer.is_some(), "{rejected}");
    assert_eq!(one.unlink().unwrap().1.len(), 2);
    assert_eq!(two.destroy().unwrap().len(), 2);
    drop(rejected);
    rig.finish();
}

#[test]
fn an_unlink_that_is_not_confirmed_keeps_memory_and_addresses() {
    let rig = Rig::boot_with(small(), impatient(300));
    let device = rig.attach(EDU);
    let mut linked = span(&device, 1, 0);
    linked.link(buffer_of(rig.kernel, PAGE, 1)).unwrap();
    let linked = linked.sync().unwrap();
    let range = linked.range();
    rig.unit(0).hold_queue();
    let quarantined = linked.unlink().unwrap_err();
    rig.unit(0).release_queue();
    assert_eq!((quarantined.device, quarantined.range), (EDU, range));
    assert!(matches!(quarantined.error, RevokeError::Unit(_)));
    let figures = device.figures();
    assert_eq!(
        (figures.quarantined_bytes, figures.live_mappings),
        (PAGE, 0)
    );
    let mut next = span(&device, 1, 0);
    next.link(buffer_of(rig.kernel, PAGE, 2)).unwrap();
    assert_ne!(next.sync().unwrap().range(), range);
    // The unit was not asked again, so the memory is kept until the device was confirmed to have left.
    assert_eq!(device.figures().quarantined_bytes, PAGE);
    device.detach().unwrap();
    assert_eq!(rig.finish_with_losses().frames.in_use, 0);
}

#[test]
fn a_sync_that_is_not_confirmed_gives_the_span_back() {
    let caching = vtd(VtdConfig {
        caching_mode: CachingMode::NotPresentToo,
        ..VtdConfig::default()
    });
    let mut rig = Rig::boot_with(small().with_iommu(caching), impatient(300));
    let mut edu = rig.edu();
    let mut linked = span(edu.device(), 1, 0);
    linked.link(buffer_of(rig.kernel, PAGE, 1)).unwrap();
    rig.unit(0).hold_queue();
    let unsynced = linked.sync().unwrap_err();
    rig.unit(0).release_queue();
    assert!(matches!(unsynced.error.failure, MapFailure::Domain(_)));
    assert_eq!(unsynced.span.links(), 1);
    let synced = unsynced.span.sync().unwrap();
    try_read(&mut edu, synced.bus_addr(), 16);
    drop((synced, edu));
    rig.finish();
}

fn raw_span(
    device: &Device<Hosted>,
    first: PhysAddr,
    len_bytes: u64,
) -> dmamap::map::RawIovaSpan<Hosted> {
    let direction = AnyDirection::Bidirectional;
    let span = device.iova_try_alloc_raw(first, len_bytes, direction, Attributes::NONE);
    span.unwrap().expect("the device is behind an IOMMU")
}

#[test]
fn raw_links_are_whole_pages_but_for_the_ends_and_all_unlinked_before_it_is_freed() {
    let rig = Rig::boot(small());
    let device = rig.attach(EDU);
    let buffer = buffer_of(rig.kernel, 4 * PAGE, 1);
    let start = buffer.phys(0).unwrap();
    let memory = |offset, len| PhysRange::new(start, 4 * PAGE).unwrap().slice(offset, len);
    let memory = |offset, len| memory(offset, len).unwrap();
    let mut span = raw_span(&device, start, 4 * PAGE);
    let bus = span.range();
    let link = |span: &mut dmamap::map::RawIovaSpan<Hosted>, offset, memory| {
        // SAFETY: the buffer lives until the end and nobody refers to its bytes; the device makes no requests.
        unsafe { span.link(offset, memory) }.map_err(|error| error.failure)
    };
    let ragged = |part, offset| {
        Err(MapFailure::InteriorEdge {
            memory: part,
            offset,
            page_bytes: PAGE,
        })
    };
    for part in [memory(1, PAGE), memory(100, 10)] {
        assert_eq!(link(&mut span, 0, part), ragged(part, 0));
    }
    assert_eq!(link(&mut span, 0, memory(0, 0)), Err(MapFailure::Empty));
    assert!(matches!(
        link(&mut span, 3 * PAGE, memory(0, 2 * PAGE)),
        Err(MapFailure::OutsideSpan(_))
    ));
    assert!(matches!(
        link(&mut span, 8, memory(0, PAGE)),
        Err(MapFailure::InteriorEdge { .. })
    ));
    assert_eq!(span.linked_bytes(), 0);
    link(&mut span, PAGE, memory(2 * PAGE, PAGE)).unwrap();
    link(&mut span, 0, memory(0, PAGE)).unwrap();
    assert!(matches!(
        link(&mut span, 0, memory(PAGE, 2 * PAGE)),
        Err(MapFailure::Domain(_)) // something is linked there
    ));
    span.sync(0, 2 * PAGE).unwrap();
    assert!(span.sync(PAGE, 4 * PAGE).is_err());
    let second = bus.start().checked_add(PAGE + 5).unwrap();
    assert_eq!(device.translate(second), start.checked_add(2 * PAGE + 5));

    let mut span = span.free().unwrap_err();
    assert_eq!(span.linked_bytes(), 2 * PAGE);
    let unlink = |span: &mut dmamap::map::RawIovaSpan<Hosted>, offset, len| {
        // SAFETY: what was linked above is taken back, or what must be refused is tried.
        unsafe { span.unlink(offset, len) }.map_err(|refused| refused.error)
    };
    let outside = unlink(&mut span, PAGE, 4 * PAGE);
    assert_eq!(outside, Err(RevokeError::OutsideSpan { span: bus }));
    for (offset, len) in [(0, 100), (0, 3 * PAGE), (2 * PAGE, PAGE)] {
        let refused = unlink(&mut span, offset, len);
        assert!(matches!(refused, Err(RevokeError::Table(_))), "{refused:?}");
    }
    assert_eq!(span.linked_bytes(), 2 * PAGE);
    unlink(&mut span, 0, PAGE).unwrap();
    assert_eq!(device.translate(bus.start()), None);
    assert!(device.translate(second).is_some());
    // The part that was taken back can be linked again.
    link(&mut span, 0, memory(3 * PAGE, PAGE)).unwrap();
    span.sync(0, PAGE).unwrap();
    // One that ends inside a page is the last, and unlinked as it was linked.
    link(&mut span, 2 * PAGE, memory(0, 10)).unwrap();
    for (at, part) in [
        (2 * PAGE + 10, memory(10, PAGE)),
        (3 * PAGE, memory(0, PAGE)),
        (3 * PAGE, memory(0, 10)),
    ] {
        assert_eq!(link(&mut span, at, part), ragged(part, at));
    }
    for len in [9, 11, PAGE] {
        let refused = unlink(&mut span, 2 * PAGE, len);
        assert!(matches!(refused, Err(RevokeError::Table(_))), "{refused:?}");
    }
    assert_eq!(span.linked_bytes(), 2 * PAGE + 10);
    unlink(&mut span, 2 * PAGE, 10).unwrap();
    link(&mut span, 3 * PAGE, memory(0, PAGE)).unwrap();
    unlink(&mut span, 3 * PAGE, PAGE).unwrap();
    unlink(&mut span, 0, 2 * PAGE).unwrap();
    span.free().unwrap();
    assert_eq!(device.figures().live_mappings, 0);
    drop(buffer);
    device.detach().unwrap();
    rig.finish();
}

#[test]
fn offsets_that_leave_a_raw_span_are_refused_however_large() {
    let rig = Rig::boot(small());
    let device = rig.attach(EDU);
    let buffer = buffer_of(rig.kernel, PAGE, 1);
    let start = buffer.phys(100).unwrap();
    // Its first byte lies inside a page, which counts as well.
    let mut span = raw_span(&device, start, 2 * PAGE);
    let bus = span.range();
    let len_bytes = 5;
    let memory = PhysRange::new(start, len_bytes).unwrap();
    for offset in [
        2 * PAGE - 4,
        1 << 63,
        u64::MAX - 104,
        u64::MAX - 10,
        u64::MAX,
    ] {
        // SAFETY: what must be refused is tried.
        let (linked, unlinked) = unsafe {
            (
                span.link(offset, memory).unwrap_err().failure,
                span.unlink(offset, len_bytes).unwrap_err().error,
            )
        };
        let outside = MapFailure::OutsideSpan(Outside {
            offset,
            len_bytes,
            whole_bytes: 2 * PAGE,
        });
        assert_eq!(linked, outside);
        assert_eq!(span.sync(offset, len_bytes).unwrap_err().failure, outside);
        assert_eq!(unlinked, RevokeError::OutsideSpan { span: bus });
    }
    span.free().unwrap();
    drop(buffer);
    device.detach().unwrap();
    rig.finish();
}

#[test]
fn a_link_that_became_a_large_page_is_unlinked_whole_or_not_at_all() {
    let rig = Rig::boot(small());
    let device = rig.attach(EDU);
    let large = 2 << 20;
    let last = PhysAddr::new(u64::MAX);
    let buffer = DmaBuffer::allocate_within(rig.kernel, 2 * large, last, 21).unwrap();
    let memory = PhysRange::new(buffer.phys(0).unwrap(), 2 * large).unwrap();
    let mut span = raw_span(&device, memory.start(), 2 * large);
    // SAFETY: as in the test above.
    unsafe { span.link(0, memory) }.unwrap();
    span.sync(0, 2 * large).unwrap();
    // SAFETY: what must be refused is tried.
    let refused = unsafe { span.unlink(0, PAGE) }.unwrap_err();
    assert!(
        refused
            .error
            .to_string()
            .contains("as a whole or not at all"),
        "{refused}"
    );
    assert_eq!(span.linked_bytes(), 2 * large);
    assert_eq!(device.translate(span.range().start()), Some(memory.start()));
    // SAFETY: linked above.
    unsafe { span.unlink(0, 2 * large) }.unwrap();
    span.free().unwrap();
    drop(buffer);
    device.detach().unwrap();
    rig.finish();
}

#[test]
fn random_links_agree_with_a_page_by_page_oracle() {
    const PAGES: u64 = 24;
    let random = Random::from_environment(31);
    for iommu in [vtd(VtdConfig::default()), amd(AmdConfig::default())] {
        let rig = Rig::boot(small().with_iommu(iommu));
        let device = rig.attach(EDU);
        let buffer = buffer_of(rig.kernel, PAGES * PAGE, 0);
        let start = buffer.phys(0).unwrap();
        for _ in 0..20 {
            let mut span = raw_span(&device, start, PAGES * PAGE);
            let bus = span.range().start();
            // Which page of memory each page of the span reaches, and which link it is of.
            let mut oracle: Vec<Option<(u64, usize)>> = vec![None; PAGES as usize];
            let mut links: Vec<Option<(u64, u64)>> = Vec::new();
            for _ in 0..60 {
                let (at, len) = (random.below(PAGES), 1 + random.below(6));
                let page = random.below(PAGES - 6);
                let memory =
                    PhysRange::new(start.checked_add(page * PAGE).unwrap(), len * PAGE).unwrap();
                // SAFETY: as in the tests above.
                let linked = unsafe { span.link(at * PAGE, memory) };
                let fits = at + len <= PAGES
                    && oracle[at as usize..(at + len) as usize]
                        .iter()
                        .all(Option::is_none);
                assert_eq!(linked.is_ok(), fits, "{at} {len}");
                if fits {
                    span.sync(at * PAGE, len * PAGE).unwrap();
                    for n in 0..len {
                        oracle[(at + n) as usize] = Some((page + n, links.len()));
                    }
                    links.push(Some((at, len)));
                }
                let live: Vec<usize> = (0..links.len()).filter(|&n| links[n].is_some()).collect();
                if random.below(2) == 0 && !live.is_empty() {
                    let one = random.pick(&live);
                    let (at, len) = links[one].take().unwrap();
                    // SAFETY: a whole link.
                    unsafe { span.unlink(at * PAGE, len * PAGE) }.unwrap();
                    oracle[at as usize..(at + len) as usize].fill(None);
                }
                let reached = oracle.iter().flatten().count() as u64;
                assert_eq!(span.linked_bytes(), reached * PAGE);
                for (n, expected) in oracle.iter().enumerate() {
                    let at = bus.checked_add(n as u64 * PAGE).unwrap();
                    let expected =
                        expected.map(|(page, _)| start.checked_add(page * PAGE).unwrap());
                    assert_eq!(device.translate(at), expected);
                }
            }
            for (at, len) in links.into_iter().flatten() {
                // SAFETY: a whole link.
                unsafe { span.unlink(at * PAGE, len * PAGE) }.unwrap();
            }
            span.free().unwrap();
        }
        drop(buffer);
        device.detach().unwrap();
        rig.finish();
    }
}

#[test]
fn no_two_spans_nor_mappings_share_addresses() {
    let rig = Rig::boot(small());
    let device = rig.attach(EDU);
    device.set_mask(DmaMask::from_bits(16).unwrap()).unwrap();
    let mut all: Vec<BusRange> = Vec::new();
    let mut kept = Vec::new();
    // Fifteen pages are within the mask.
    for _ in 0..5 {
        let span = raw_span(&device, PhysAddr::new(0), 2 * PAGE);
        all.push(span.range());
        kept.push(span);
    }
    let mut mappings = Vec::new();
    while let Ok(mapping) = device.map_single(buffer_of(rig.kernel, PAGE, 0), ToDevice) {
        all.push(mapping.range());
        mappings.push(mapping);
    }
    assert_eq!(
        all.iter().map(|one| one.len_bytes()).sum::<u64>(),
        15 * PAGE
    );
    for (n, one) in all.iter().enumerate() {
        assert!(all[..n].iter().all(|other| !one.overlaps(*other)));
        assert!(one.start() >= BusAddr::new(PAGE));
    }
    for span in kept {
        span.free().unwrap();
    }
    drop(mappings);
    device.detach().unwrap();
    rig.finish();
}
