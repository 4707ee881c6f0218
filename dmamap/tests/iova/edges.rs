//! Where blocks meet what is reserved, narrow devices, and requests that no block serves.

use std::collections::BTreeMap;

use dmamap::addr::{BusAddr, BusRange};
use dmamap::iova::{IovaError, IovaRequest, IovaSpace};

use crate::{PAGE, pages, request};
use rig::{Arena, Random};

/// Pages of a block, of a block of blocks, and below 4 GiB.
const BLOCK: u64 = 512;
const LARGE: u64 = BLOCK * BLOCK;
const LOW: u64 = 1 << 20;

fn space(count: u64) -> IovaSpace<Arena> {
    IovaSpace::new(Arena::new(8192), pages(0, count), 12).unwrap()
}

fn first_page(range: BusRange) -> u64 {
    range.start().as_u64() / PAGE
}

/// Takes all there is below 4 GiB in pieces of a block and of a page, and says which overlap `what`.
fn takers(space: &mut IovaSpace<Arena>, what: BusRange) -> Vec<BusRange> {
    let mut takers = Vec::new();
    for count in [BLOCK, 1] {
        let low = request(count).below(BusAddr::new(LOW * PAGE - 1));
        while let Ok(range) = space.allocate(low) {
            if range.overlaps(what) {
                takers.push(range);
            }
        }
    }
    takers
}

#[test]
fn what_is_reserved_beside_a_range_stays_so_when_the_range_goes() {
    // Of one unit, of two, and of two with something before it in its first.
    let requests = [
        request(300),
        request(600),
        request(600).aligned(21, 100 * PAGE),
        request(300).aligned(21, 100 * PAGE),
    ];
    for request in requests {
        for side in ["before", "after"] {
            let mut space = space(1 << 36);
            let range = space.allocate(request).unwrap();
            let (first, end) = (
                first_page(range),
                first_page(range) + range.len_bytes() / PAGE,
            );
            let beside = match side {
                "before" if first.is_multiple_of(BLOCK) => continue,
                "before" => pages(first - 3, 3),
                _ => pages(end, 3),
            };
            space.reserve(beside).unwrap();
            // Twice is once.
            space.reserve(beside).unwrap();
            space.free(range).unwrap();
            assert_eq!(takers(&mut space, beside), [], "{request}, {side}");
        }
    }
}

#[test]
fn what_is_reserved_beside_a_range_stays_so_where_a_block_was() {
    let mut space = space(1 << 36);
    let above = |count| request(count).from(BusAddr::new(LOW * PAGE));
    // Of the large block that this one keeps, other units become blocks, and go.
    let _keeper = space.allocate(above(600)).unwrap();
    let small: Vec<_> = (0..2 * BLOCK)
        .map(|_| space.allocate(above(1)).unwrap())
        .collect();
    for range in &small {
        space.free(*range).unwrap();
    }
    space.reclaim();
    let range = space.allocate(above(600)).unwrap();
    assert!(
        small
            .iter()
            .all(|one| one.overlaps(range) || one.start() > range.last())
    );
    let beside = pages(first_page(range) + 600, 1);
    space.reserve(beside).unwrap();
    space.free(range).unwrap();
    for _ in 0..2 * LARGE {
        let one = space.allocate(above(1)).unwrap();
        assert!(!one.overlaps(beside), "{one}");
    }
}

#[test]
fn a_unit_that_was_reserved_beside_one_range_is_lost_to_it_alone() {
    let mut space = space(1 << 36);
    let large: Vec<_> = (0..4)
        .map(|_| space.allocate(request(600)).unwrap())
        .collect();
    let end = first_page(large[1]) + 600;
    space.reserve(pages(end, 1)).unwrap();
    for range in &large {
        space.free(*range).unwrap();
    }
    let again: Vec<_> = (0..4)
        .map(|_| space.allocate(request(600)).unwrap())
        .collect();
    assert!(again.contains(&large[0]) && again.contains(&large[2]) && again.contains(&large[3]));
    assert!(!again.contains(&large[1]));
    // What is marked once is not marked for ever.
    for range in &again {
        space.free(*range).unwrap();
        assert_eq!(space.allocate(request(600)), Ok(*range));
    }
}

#[test]
fn all_of_a_space_is_had_again_when_everything_was_freed() {
    for count in [1 << 17, 1 << 18, LOW, LOW + LARGE + 77, 1 << 36] {
        let mut space = space(count);
        for len in [1, 300, 5000] {
            for zone in [0, LOW] {
                let range = space.allocate(request(len).from(BusAddr::new(zone * PAGE)));
                range
                    .into_iter()
                    .for_each(|range| space.free(range).unwrap());
            }
        }
        assert_eq!(space.allocate(request(count - 1)), Ok(pages(1, count - 1)));
    }
}

#[test]
fn a_block_that_stays_is_no_narrow_devices_loss() {
    let mut space = space(1 << 36);
    let one = space.allocate(request(1)).unwrap();
    space.free(one).unwrap();
    let narrow = request(4 * BLOCK - 1).below(BusAddr::new(4 * BLOCK * PAGE - 1));
    assert_eq!(space.allocate(narrow), Ok(pages(1, 4 * BLOCK - 1)));
}

#[test]
fn a_device_of_33_bits_finds_what_others_left_from_4_gib_on() {
    let mut space = space(1 << 36);
    let narrow = request(1).below(BusAddr::new(2 * LOW * PAGE - 1));
    let mut wide = BTreeMap::new();
    loop {
        let range = space.allocate(request(256)).unwrap();
        wide.insert(first_page(range), range);
        if first_page(range) > 2 * LOW + LARGE {
            break;
        }
    }
    // What is left where no block is.
    while space.allocate(narrow).is_ok() {}
    let within = wide.range(LOW + 12_345..).next().unwrap();
    let beyond = wide.range(2 * LOW + 12_345..).next().unwrap();
    space.free(*within.1).unwrap();
    space.free(*beyond.1).unwrap();
    let found = space.allocate(narrow).unwrap();
    assert!(found.overlaps(*within.1), "{found}");
}

/// Whether `count` pages are free in a row within a block, where `live` says what is not.
fn has_room(live: &BTreeMap<u64, u64>, all: u64, (from, below): (u64, u64), count: u64) -> bool {
    let ends = live.iter().map(|(&start, &len)| (start, start + len));
    let mut at = from.max(1);
    for (start, end) in ends.chain([(all, all)]) {
        let gap_end = start.min(below);
        while at < gap_end {
            let end_in_block = gap_end.min((at / BLOCK + 1) * BLOCK);
            if end_in_block - at >= count {
                return true;
            }
            at = end_in_block;
        }
        at = at.max(end);
    }
    false
}

#[test]
fn nobody_is_refused_what_a_block_has() {
    const ALL: u64 = LARGE;
    let random = Random::from_environment(12);
    let (mut refused, mut space) = (0, space(ALL));
    let mut live = BTreeMap::new();
    let mut owned = Vec::new();
    for step in 0..40_000 {
        // Fills up, and then is as good as full.
        let is_full = step > 4_000;
        if random.below(20) < if is_full { 10 } else { 19 } || owned.is_empty() {
            let longest = random.pick(&[3, 40, 256, 512]);
            let count = 1 + random.below(longest);
            let from = random.pick(&[0, 0, 0, random.below(ALL)]);
            let below = random.pick(&[ALL, ALL, random.below(ALL)]);
            let asked = request(count)
                .from(BusAddr::new(from * PAGE))
                .below(BusAddr::new((below * PAGE).saturating_sub(1)));
            match space.allocate(asked) {
                Ok(range) => {
                    let start = first_page(range);
                    assert!(start >= from && start + count <= below, "{asked}: {range}");
                    let before = live.range(..start + count).next_back();
                    assert!(before.is_none_or(|(first, len)| first + len <= start));
                    live.insert(start, count);
                    owned.push(range);
                }
                Err(IovaError::IovaExhausted { .. }) => {
                    refused += 1;
                    assert!(!has_room(&live, ALL, (from, below), count), "{asked}");
                }
                Err(error) => panic!("{asked}: {error}"),
            }
        } else {
            let range: BusRange = owned.swap_remove(random.below(owned.len() as u64) as usize);
            space.free(range).unwrap();
            live.remove(&first_page(range));
        }
    }
    assert!(refused > 1000, "{refused}");
}

#[test]
fn a_request_that_fits_nowhere_is_refused_and_changes_nothing() {
    let mut space = space(1 << 36);
    let one = space.allocate(request(1)).unwrap();
    for asked in [
        request(1 << 36),
        request(1).aligned(48, 0).below(BusAddr::new((1 << 47) - 1)),
        request(BLOCK).within(20),
        request(1).below(BusAddr::new(PAGE - 1)),
        request(1).from(BusAddr::new(u64::MAX - PAGE + 1)),
        request(2).from(BusAddr::new(u64::MAX)),
        request(1)
            .from(BusAddr::new(9 * PAGE))
            .below(BusAddr::new(8 * PAGE)),
        IovaRequest::new(u64::MAX - PAGE + 1),
    ] {
        let refused = space.allocate(asked);
        assert!(
            matches!(refused, Err(IovaError::IovaExhausted { .. })),
            "{asked}"
        );
        assert_eq!(space.statistics().live_allocations, 1);
    }
    assert_eq!(space.free(one), Ok(()));
}

#[test]
fn blocks_reach_to_the_end_of_all_addresses() {
    let last = BusRange::new(BusAddr::new(u64::MAX << 30), 1 << 30).unwrap();
    let mut space = IovaSpace::new(Arena::new(8192), last, 12).unwrap();
    let mut taken = BTreeMap::new();
    while let Ok(range) = space.allocate(request(1)) {
        assert!(taken.insert(first_page(range), range).is_none());
    }
    assert_eq!(taken.len() as u64, LARGE);
    let (_, end) = taken.last_key_value().unwrap();
    assert_eq!(end.last().as_u64(), u64::MAX);
    for range in taken.values() {
        space.free(*range).unwrap();
        assert_eq!(
            space.free(*range),
            Err(IovaError::NotAllocated { range: *range })
        );
    }
    assert_eq!(space.allocate(request(LARGE)), Ok(last));
}

#[test]
fn small_blocks_come_from_the_large_one_that_ranges_were_chosen_from() {
    let mut space = space(1 << 36);
    // The lowest gigabyte would be divided first.
    space.reserve(pages(0, LARGE)).unwrap();
    let large = space.allocate(request(BLOCK)).unwrap();
    let small = space.allocate(request(1)).unwrap();
    assert_eq!(first_page(small) / LARGE, first_page(large) / LARGE);
    // And it goes back there, whichever of them was chosen from last.
    let other = space.allocate(request(BLOCK)).unwrap();
    space.free(small).unwrap();
    space.reclaim();
    space.free(large).unwrap();
    space.free(other).unwrap();
    space.reclaim();
    let all = space.allocate(request((1 << 36) - LARGE)).unwrap();
    assert_eq!(first_page(all), LARGE);
}
