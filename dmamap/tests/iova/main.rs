//! The allocator of bus addresses.

mod adversary;
mod blocks;
mod edges;
mod lanes;
mod oracle;
mod owned;

use dmamap::addr::{BusAddr, BusRange};
use dmamap::iova::{IovaError, IovaRequest, IovaSpace};
use rig::{Arena, Random};

const PAGE: u64 = 4096;

fn pages(first: u64, count: u64) -> BusRange {
    BusRange::new(BusAddr::new(first * PAGE), count * PAGE).unwrap()
}

fn space(count: u64) -> IovaSpace<Arena> {
    IovaSpace::new(Arena::new(256), pages(0, count), 12).unwrap()
}

fn request(count: u64) -> IovaRequest {
    IovaRequest::new(count * PAGE)
}

#[test]
fn address_zero_is_never_allocated() {
    let mut space = space(4);
    assert_eq!(space.allocate(request(1)), Ok(pages(1, 1)));
    assert_eq!(space.allocate(request(2)), Ok(pages(2, 2)));
    assert!(matches!(
        space.allocate(request(1)),
        Err(IovaError::IovaExhausted { .. })
    ));
}

#[test]
fn exhaustion_names_the_request_and_the_widest_gap() {
    let mut space = space(8);
    space.reserve(pages(3, 1)).unwrap();
    let error = space.allocate(request(5)).unwrap_err();
    assert_eq!(
        error,
        IovaError::IovaExhausted {
            request: request(5),
            widest_gap_bytes: 4 * PAGE
        }
    );
    assert_eq!(
        error.to_string(),
        "no free bus addresses for 0x5000 bytes up to 0xffffffffffffffff; the widest gap has 0x4000 bytes"
    );
}

#[test]
fn the_last_byte_is_within_the_limit() {
    let mut space = space(1 << 30);
    let limited = request(1).below(BusAddr::new(3 * PAGE - 1));
    assert_eq!(space.allocate(limited), Ok(pages(1, 1)));
    assert_eq!(space.allocate(limited), Ok(pages(2, 1)));
    assert!(matches!(
        space.allocate(limited),
        Err(IovaError::IovaExhausted { .. })
    ));
    let not_quite = request(1).below(BusAddr::new(4 * PAGE - 2));
    assert!(matches!(
        space.allocate(not_quite),
        Err(IovaError::IovaExhausted { .. })
    ));
    // What has no such limit is not put where others have no choice.
    assert_eq!(space.allocate(request(1)), Ok(pages(512, 1)));
}

#[test]
fn the_first_byte_is_within_the_limit() {
    let mut space = space(64);
    let high = request(2).from(BusAddr::new(40 * PAGE + 1));
    assert_eq!(space.allocate(high), Ok(pages(41, 2)));
    assert_eq!(space.allocate(request(1)), Ok(pages(1, 1)));
    assert_eq!(space.allocate(high), Ok(pages(43, 2)));
    space.reserve(pages(45, 18)).unwrap();
    let error = space.allocate(high).unwrap_err();
    assert!(matches!(error, IovaError::IovaExhausted { .. }));
    assert!(error.to_string().contains(" from 0x28001"), "{error}");
    assert_eq!(space.allocate(request(2)), Ok(pages(2, 2)));
}

#[test]
fn alignment_and_offset_are_kept() {
    let mut space = space(1 << 20);
    let offset = 0x1_f000;
    let range = space.allocate(request(3).aligned(21, offset)).unwrap();
    assert_eq!(range.start().as_u64() % (1 << 21), offset);
    let range = space.allocate(request(512).aligned(30, 0)).unwrap();
    assert_eq!(range.start().as_u64() % (1 << 30), 0);
    assert_ne!(range.start().as_u64(), 0);
}

#[test]
fn a_gap_that_fits_only_by_luck_is_found() {
    let mut space = space(64);
    space.reserve(pages(1, 15)).unwrap();
    space.reserve(pages(32, 32)).unwrap();
    // Pages 16 to 31 are aligned, but have no room for a misaligned start.
    let range = space.allocate(request(16).aligned(16, 0)).unwrap();
    assert_eq!(range, pages(16, 16));
}

#[test]
fn reserved_ranges_may_overlap_and_leave_the_aperture() {
    let mut space = space(32);
    for range in [
        pages(4, 8),
        pages(2, 4),
        pages(10, 6),
        pages(4, 8),
        pages(0, 3),
        pages(30, 100),
    ] {
        space.reserve(range).unwrap();
        space.reserve(range).unwrap();
    }
    assert_eq!(space.allocate(request(14)), Ok(pages(16, 14)));
    assert!(matches!(
        space.allocate(request(1)),
        Err(IovaError::IovaExhausted { .. })
    ));
}

#[test]
fn reserving_widens_to_whole_granules() {
    let mut space = space(8);
    space
        .reserve(BusRange::new(BusAddr::new(2 * PAGE - 1), 2).unwrap())
        .unwrap();
    assert_eq!(space.allocate(request(1)), Ok(pages(3, 1)));
}

#[test]
fn reserving_what_is_allocated_is_refused_and_changes_nothing() {
    let mut space = space(16);
    let allocated = space.allocate(request(2)).unwrap();
    let error = IovaError::InUse { allocated };
    assert_eq!(space.reserve(pages(0, 16)), Err(error));
    assert_eq!(space.reserve(pages(2, 1)), Err(error));
    assert_eq!(space.allocate(request(13)), Ok(pages(3, 13)));
}

#[test]
fn a_wrong_free_is_refused_and_changes_nothing() {
    let mut space = space(64);
    space.reserve(pages(1, 2)).unwrap();
    let range = space.allocate(request(4)).unwrap();
    assert_eq!(range, pages(3, 4));
    for wrong in [
        pages(1, 2),
        pages(4, 3),
        pages(7, 1),
        pages(40, 1),
        pages(0, 1),
    ] {
        assert_eq!(
            space.free(wrong),
            Err(IovaError::NotAllocated { range: wrong })
        );
    }
    let unaligned = BusRange::new(BusAddr::new(3 * PAGE + 1), 4 * PAGE).unwrap();
    assert_eq!(
        space.free(unaligned),
        Err(IovaError::NotAllocated { range: unaligned })
    );
    for wrong in [pages(3, 3), pages(3, 5), pages(3, 0)] {
        let error = IovaError::PartialFree {
            range: wrong,
            allocated: range,
        };
        assert_eq!(space.free(wrong), Err(error));
    }
    assert_eq!(space.statistics().live_bytes, 4 * PAGE);
    assert_eq!(space.free(range), Ok(()));
    assert_eq!(space.free(range), Err(IovaError::NotAllocated { range }));
}

#[test]
fn malformed_requests_are_refused() {
    let mut space = space(64);
    for request in [
        IovaRequest::new(0),
        IovaRequest::new(100),
        IovaRequest::new(PAGE + 1),
        request(1).aligned(64, 0),
        request(1).aligned(21, 0x800),
        request(1).within(11),
    ] {
        let error = IovaError::Malformed {
            request,
            granule_log2: 12,
        };
        assert_eq!(space.allocate(request), Err(error));
    }
    assert!(matches!(
        space.allocate(IovaRequest::new(1 << 63)),
        Err(IovaError::IovaExhausted { .. })
    ));
    let aligned = space.allocate(request(1).aligned(63, 0));
    assert!(matches!(aligned, Err(IovaError::IovaExhausted { .. })));
    assert_eq!(
        space.allocate(request(1).aligned(63, PAGE)),
        Ok(pages(1, 1))
    );
    for granule_log2 in [0, 11, 31] {
        let refused = IovaSpace::new(Arena::new(1), pages(0, 1), granule_log2).err();
        assert_eq!(refused, Some(IovaError::Granule { granule_log2 }));
    }
}

#[test]
fn the_whole_address_space_is_an_aperture() {
    let all = BusRange::new(BusAddr::new(PAGE), u64::MAX - PAGE + 1).unwrap();
    let mut space = IovaSpace::new(Arena::new(16), all, 12).unwrap();
    let first = space.allocate(IovaRequest::new(1 << 63)).unwrap();
    assert_eq!(first.start().as_u64(), PAGE);
    let rest = (1 << 63) - PAGE;
    assert_eq!(
        space
            .allocate(IovaRequest::new(rest))
            .unwrap()
            .last()
            .as_u64(),
        u64::MAX
    );
    assert!(matches!(
        space.allocate(request(1)),
        Err(IovaError::IovaExhausted { .. })
    ));
    space.free(first).unwrap();
    let last_page = request(1).aligned(63, (1 << 63) - PAGE);
    assert_eq!(
        space.allocate(last_page).unwrap().start().as_u64(),
        (1 << 63) - PAGE
    );
}

#[test]
fn an_aperture_of_parts_of_granules_holds_only_whole_ones() {
    let aperture = BusRange::new(BusAddr::new(0x1_0001), 0x3_fffe).unwrap();
    let mut space = IovaSpace::new(Arena::new(16), aperture, 16).unwrap();
    assert_eq!(
        space
            .allocate(IovaRequest::new(0x1_0000))
            .unwrap()
            .start()
            .as_u64(),
        0x2_0000
    );
    assert_eq!(
        space
            .allocate(IovaRequest::new(0x1_0000))
            .unwrap()
            .start()
            .as_u64(),
        0x3_0000
    );
    assert!(space.allocate(IovaRequest::new(0x1_0000)).is_err());
    let nothing = BusRange::new(BusAddr::new(0x1_0001), 10).unwrap();
    assert!(
        IovaSpace::new(Arena::new(16), nothing, 12)
            .unwrap()
            .allocate(request(1))
            .is_err()
    );
}

#[test]
fn each_missing_frame_leaves_the_space_as_it_was() {
    let arena = Arena::new(64);
    for failing in 0..3 {
        let mut space = IovaSpace::new(arena, pages(0, 1 << 20), 12).unwrap();
        arena.fail_from(Some(failing));
        assert!(matches!(
            space.allocate(request(1)),
            Err(IovaError::OutOfMemory(_))
        ));
        assert!(matches!(
            space.reserve(pages(5, 5)),
            Err(IovaError::OutOfMemory(_))
        ));
        assert_eq!(space.statistics().live_allocations, 0);
        assert_eq!(arena.in_use(), 0);
        arena.fail_from(None);
        assert_eq!(
            space.allocate(request((1 << 20) - 1)),
            Ok(pages(1, (1 << 20) - 1))
        );
    }
    // A reservation of many holes either takes them all or none.
    let mut space = IovaSpace::new(arena, pages(0, 1001), 12).unwrap();
    let odd = |n: &u64| n % 2 == 1;
    (0..1000)
        .filter(odd)
        .for_each(|n| space.reserve(pages(n, 1)).unwrap());
    let frames = space.frames();
    arena.fail_from(Some(2));
    assert!(matches!(
        space.reserve(pages(0, 1001)),
        Err(IovaError::OutOfMemory(_))
    ));
    space.reclaim();
    assert_eq!(space.frames(), frames);
    arena.fail_from(None);
    assert_eq!(space.allocate(request(1)), Ok(pages(2, 1)));
}

#[test]
fn freeing_takes_no_memory() {
    let arena = Arena::new(256);
    let mut space = IovaSpace::new(arena, pages(0, 1 << 20), 12).unwrap();
    let ranges: Vec<_> = (0..5000)
        .map(|_| space.allocate(request(3)).unwrap())
        .collect();
    let allocations = arena.allocations();
    arena.fail_from(Some(0));
    ranges
        .iter()
        .step_by(2)
        .for_each(|range| space.free(*range).unwrap());
    ranges
        .iter()
        .skip(1)
        .step_by(2)
        .for_each(|range| space.free(*range).unwrap());
    assert_eq!(arena.allocations(), allocations);
    space.reclaim();
    assert_eq!((space.frames(), arena.in_use()), (0, 0));
}

/// The same rules, page by page.
struct Oracle {
    used: Vec<bool>,
}

/// Where the bytes of a request may lie: first and last address, and pages between two boundaries.
type Within = (u64, u64, u64);

impl Oracle {
    fn fits(&self, at: u64, count: u64, align: u64, offset: u64, within: Within) -> bool {
        let (first, last, boundary) = within;
        let end = at + count;
        at > 0
            && at / boundary == (end - 1) / boundary
            && at * PAGE >= first
            && at % align == offset % align
            && end * PAGE - 1 <= last
            && self
                .used
                .get(at as usize..end as usize)
                .is_some_and(|run| !run.contains(&true))
    }

    fn fits_anywhere(&self, count: u64, align: u64, offset: u64, within: Within) -> bool {
        (1..self.used.len() as u64).any(|at| self.fits(at, count, align, offset, within))
    }

    fn set(&mut self, range: BusRange, used: bool) {
        let start = (range.start().as_u64() / PAGE) as usize;
        self.used[start..start + (range.len_bytes() / PAGE) as usize].fill(used);
    }
}

#[test]
fn random_use_agrees_with_a_page_by_page_oracle() {
    let random = Random::from_environment(3);
    for _ in 0..60 {
        let count = 2 + random.below(200);
        let mut space = space(count);
        let mut oracle = Oracle {
            used: vec![false; count as usize],
        };
        let mut live = Vec::new();
        for _ in 0..random.below(5) {
            let start = random.below(count);
            let range = pages(start, 1 + random.below(count - start));
            if range.len_bytes() < count * PAGE / 3 {
                space.reserve(range).unwrap();
                oracle.set(range, true);
            }
        }
        for _ in 0..1500 {
            if random.below(5) < 3 || live.is_empty() {
                let len = 1 + random.below(random.pick(&[2, 8, 40]));
                let align_log2 = random.below(6);
                let (align, offset) = (1 << align_log2, random.below(64));
                let last = random.pick(&[u64::MAX, random.below(count * PAGE)]);
                let boundary_log2 = random.pick(&[64, 12, 13, 14, 15, 16, 17, 63]);
                let boundary = 1 << (boundary_log2.min(63) - 12);
                let first = random.pick(&[0, 0, random.below(count * PAGE)]);
                let within = (first, last, boundary);
                let request = request(len)
                    .aligned(12 + align_log2 as u32, offset * PAGE)
                    .from(BusAddr::new(first))
                    .below(BusAddr::new(last))
                    .within(boundary_log2);
                match space.allocate(request) {
                    Ok(range) => {
                        let start = range.start().as_u64() / PAGE;
                        assert_eq!(range.len_bytes(), len * PAGE);
                        assert!(
                            oracle.fits(start, len, align, offset, within),
                            "{request}: {range}"
                        );
                        oracle.set(range, true);
                        live.push(range);
                    }
                    Err(IovaError::IovaExhausted { .. }) => {
                        assert!(
                            !oracle.fits_anywhere(len, align, offset, within),
                            "{request}"
                        );
                    }
                    Err(error) => panic!("{error}"),
                }
            } else {
                let range = live.swap_remove(random.below(live.len() as u64) as usize);
                space.free(range).unwrap();
                oracle.set(range, false);
            }
            let bytes: u64 = live.iter().map(|range| range.len_bytes()).sum();
            let statistics = space.statistics();
            assert_eq!(statistics.live_allocations, live.len() as u64);
            assert_eq!(statistics.live_bytes, bytes);
        }
    }
}

/// The most nodes visited by one call, with about `live` ranges up to `last` allocated, in orders that unbalance a plain tree.
fn worst_visits(live: u64, last: BusAddr) -> u64 {
    let request = |count| request(count).below(last);
    let mut space = IovaSpace::new(Arena::new(4096), pages(0, 1 << 40), 12).unwrap();
    let random = Random::from_environment(4);
    let mut visited = 0;
    let mut worst = 0;
    let mut ranges = Vec::new();
    let mut measure = |space: &IovaSpace<Arena>| {
        let now = space.statistics().nodes_visited;
        worst = worst.max(now - visited);
        visited = now;
    };
    for n in 0..live {
        let request = request(1 + n % 4).aligned(12 + (n % 3) as u32, 0);
        ranges.push(space.allocate(request).unwrap());
        measure(&space);
    }
    // Make gaps everywhere, refill them, then free in both directions.
    for _ in 0..live {
        let at = random.below(live) as usize;
        space.free(ranges[at]).unwrap();
        measure(&space);
        ranges[at] = space.allocate(request(1 + random.below(6))).unwrap();
        measure(&space);
    }
    ranges.sort_by_key(|range| range.start());
    let (low, high) = ranges.split_at(ranges.len() / 2);
    for range in low.iter().chain(high.iter().rev()) {
        space.free(*range).unwrap();
        measure(&space);
    }
    worst
}

/// The longest way from the root to a leaf, with these pages reserved in this order.
fn height(order: impl Iterator<Item = u64> + Clone) -> u64 {
    let mut space = IovaSpace::new(Arena::new(4096), pages(0, 1 << 40), 12).unwrap();
    order
        .clone()
        .for_each(|page| space.reserve(pages(page, 1)).unwrap());
    let way = |page| {
        let before = space.statistics().nodes_visited;
        // Reserved already: this goes down to a leaf twice, to look and to act.
        space.reserve(pages(page, 1)).unwrap();
        (space.statistics().nodes_visited - before) / 2
    };
    order.map(way).max().unwrap_or(0)
}

#[test]
fn the_tree_stays_as_flat_as_an_avl_tree_whatever_the_order() {
    const COUNT: u64 = 20_000;
    let random = Random::from_environment(6);
    let shuffled: Vec<u64> = (0..COUNT).map(|_| 1 + random.below(10 * COUNT)).collect();
    // 1.4405 log2(n + 2), of a tree of n nodes.
    let limit = (1.4405 * ((COUNT + 2) as f64).log2()) as u64;
    assert!(height(1..=COUNT) <= limit);
    assert!(height((1..=COUNT).rev()) <= limit);
    assert!(height((1..=COUNT).map(|n| if n % 2 == 0 { n } else { 3 * COUNT - n })) <= limit);
    assert!(
        height((1..=COUNT).map(|n| if n % 2 == 0 {
            2 * COUNT - n
        } else {
            2 * COUNT + n
        })) <= limit
    );
    assert!(height((1..=COUNT).map(|n| n % 141 * 200 + n / 141)) <= limit);
    assert!(height(shuffled.into_iter()) <= limit);
}

#[test]
fn cost_grows_with_the_logarithm_of_what_is_allocated() {
    let sizes = [100u64, 1_000, 10_000, 50_000];
    // From blocks, and from the tree alone, as for a device that has fewer address lines than blocks are for.
    for last in [u64::MAX, u64::from(u32::MAX) - PAGE] {
        for live in sizes {
            let cost = worst_visits(live, BusAddr::new(last));
            println!("{live} live up to {last:#x}: {cost}");
            // An AVL tree is at most 1.44 log2 n high; a call goes down it a few times.
            let height = (u64::from(live.ilog2()) + 2) * 3 / 2;
            assert!(cost <= 5 * height, "{live} live: {cost} nodes visited");
        }
    }
}
