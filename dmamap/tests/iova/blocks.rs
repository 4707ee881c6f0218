//! Ranges that are chosen from blocks, in spaces large enough to have some.

use dmamap::addr::{BusAddr, BusRange};
use dmamap::iova::{IovaError, IovaRequest, IovaSpace};

use crate::oracle::Oracle;
use crate::{PAGE, pages, request};
use rig::{Arena, Random};

/// Pages of a block, and below 4 GiB.
const BLOCK: u64 = 512;
const LOW: u64 = 1 << 20;

fn space(arena: Arena) -> IovaSpace<Arena> {
    IovaSpace::new(arena, pages(0, 1 << 36), 12).unwrap()
}

fn first_page(range: BusRange) -> u64 {
    range.start().as_u64() / PAGE
}

#[test]
fn random_ranges_of_all_sizes_never_overlap_and_keep_to_their_limits() {
    let random = Random::from_environment(11);
    for _ in 0..12 {
        let arena = Arena::new(4096);
        let mut space = space(arena);
        let mut oracle = Oracle::default();
        let mut reserved = Vec::new();
        for _ in 0..random.below(4) {
            let range = pages(random.below(2 * LOW), 1 + random.below(3 * BLOCK));
            space.reserve(range).unwrap();
            reserved.push(range);
        }
        let mut live: Vec<BusRange> = Vec::new();
        // Reserves beside ranges while they live, too.
        let reserves = random.below(3) > 0;
        for _ in 0..6000 {
            if reserves && random.below(300) == 0 && !live.is_empty() {
                let beside = live[random.below(live.len() as u64) as usize];
                let (first, count) = (first_page(beside), beside.len_bytes() / PAGE);
                let start = random.pick(&[first + count, first.saturating_sub(2), first + 512]);
                let range = pages(start, 1 + random.below(random.pick(&[2, 600])));
                let outcome = space.reserve(range);
                match oracle.overlaps(start, range.len_bytes() / PAGE) {
                    true => assert!(matches!(outcome, Err(IovaError::InUse { .. })), "{range}"),
                    false => {
                        assert_eq!(outcome, Ok(()), "{range}");
                        reserved.push(range);
                    }
                }
            } else if random.below(9) < 5 || live.is_empty() {
                let longest = random.pick(&[1, 4, 40, 300, 600, 5000, 1 << 19]);
                let count = 1 + random.below(longest);
                let align_log2 = random.pick(&[0, 0, 12, 14, 21, 30]);
                let offset = random.pick(&[0, 0, 0, random.below(600)]);
                let first = random.pick(&[0, 0, 0, LOW, random.below(2 * LOW)]);
                let bits = random.pick(&[64, 64, 48, 40, 33, 32]);
                let boundary_log2 = random.pick(&[64, 64, 32, 24, 21]);
                let last = ((1u128 << bits) - 1) as u64;
                let request = request(count)
                    .aligned(align_log2, offset * PAGE)
                    .from(BusAddr::new(first * PAGE))
                    .below(BusAddr::new(last))
                    .within(boundary_log2);
                let range = match space.allocate(request) {
                    Ok(range) => range,
                    // Below 4 GiB there may be no gigabyte left, and what crosses a boundary everywhere fits nowhere.
                    Err(IovaError::IovaExhausted { .. }) => continue,
                    Err(error) => panic!("{request}: {error}"),
                };
                let (start, end) = (range.start().as_u64(), range.last().as_u64());
                assert_eq!(range.len_bytes(), count * PAGE);
                assert!(start >= first * PAGE && end <= last, "{request}: {range}");
                let align_mask = (1u64 << align_log2).max(PAGE) - 1;
                let offset = offset * PAGE;
                assert_eq!(
                    start & align_mask,
                    offset & align_mask,
                    "{request}: {range}"
                );
                if boundary_log2 < 64 {
                    assert_eq!(start >> boundary_log2, end >> boundary_log2, "{request}");
                }
                assert!(!reserved.iter().any(|one| one.overlaps(range)), "{range}");
                oracle.insert(range);
                live.push(range);
            } else {
                let range = live.swap_remove(random.below(live.len() as u64) as usize);
                let longer = BusRange::new(range.start(), range.len_bytes() + PAGE).unwrap();
                let error = IovaError::PartialFree {
                    range: longer,
                    allocated: range,
                };
                assert_eq!(space.free(longer), Err(error));
                if range.len_bytes() > PAGE {
                    let inner = range.slice(PAGE, range.len_bytes() - PAGE).unwrap();
                    assert_eq!(
                        space.free(inner),
                        Err(IovaError::NotAllocated { range: inner })
                    );
                }
                space.free(range).unwrap();
                assert_eq!(space.free(range), Err(IovaError::NotAllocated { range }));
                oracle.0.remove(&first_page(range));
            }
            assert_eq!(space.statistics().live_allocations, live.len() as u64);
        }
        for range in live {
            space.free(range).unwrap();
        }
        assert_eq!(space.statistics().live_bytes, 0);
        space.reclaim();
        // What is reserved is the tree's, or a block's that is left for its sake.
        assert!(!reserved.is_empty() || (space.frames(), arena.in_use()) == (0, 0));
    }
}

#[test]
fn every_page_below_4_gib_is_found_and_the_next_is_above() {
    let mut space = space(Arena::new(8192));
    let low = IovaRequest::new(PAGE).below(BusAddr::new(u32::MAX.into()));
    for _ in 1..LOW {
        space.allocate(low).unwrap();
    }
    assert!(matches!(
        space.allocate(low),
        Err(IovaError::IovaExhausted { .. })
    ));
    let above = space.allocate(request(1)).unwrap();
    assert!(first_page(above) >= LOW);
    space.free(pages(777_777, 1)).unwrap();
    assert_eq!(space.allocate(low), Ok(pages(777_777, 1)));
}

#[test]
fn a_run_that_no_size_class_knows_is_found_where_there_is_no_other() {
    let mut space = space(Arena::new(8192));
    let low = |count| request(count).below(BusAddr::new(u32::MAX.into()));
    for _ in 1..LOW {
        space.allocate(low(1)).unwrap();
    }
    // Six pages of which no four begin at a multiple of four.
    for page in 5_001..5_007 {
        space.free(pages(page, 1)).unwrap();
    }
    assert_eq!(space.allocate(low(6)), Ok(pages(5_001, 6)));
    space.free(pages(5_001, 6)).unwrap();
    let error = space.allocate(low(7)).unwrap_err();
    assert!(matches!(error, IovaError::IovaExhausted { .. }));
}

#[test]
fn a_narrow_device_finds_what_a_wide_one_left_in_its_blocks() {
    let mut space = space(Arena::new(4096));
    let narrow = request(1).below(BusAddr::new((8 << 20) - 1));
    let wide: Vec<_> = (0..10 * BLOCK)
        .map(|_| space.allocate(request(1)).unwrap())
        .collect();
    let mut found = 0;
    while space.allocate(narrow).is_ok() {
        found += 1;
    }
    // The first block is the tree's.
    assert_eq!(found, BLOCK - 1);
    let within = |range: &&BusRange| range.last().as_u64() < 8 << 20;
    for range in wide.iter().filter(within) {
        space.free(*range).unwrap();
        assert_eq!(space.allocate(narrow), Ok(*range));
    }
}

#[test]
fn reserving_in_a_block_keeps_what_is_free_and_refuses_what_is_not() {
    for count in [1, 3 * BLOCK] {
        let mut space = space(Arena::new(4096));
        let held: Vec<_> = (0..600)
            .map(|_| space.allocate(request(count)).unwrap())
            .collect();
        let (one, other) = (held[7], held[8]);
        space.free(one).unwrap();
        space.reserve(one).unwrap();
        let whole = BusRange::new(one.start(), one.len_bytes() + PAGE).unwrap();
        let refused = space.reserve(whole);
        let is_next = other.start() <= whole.last();
        match is_next {
            true => assert_eq!(refused, Err(IovaError::InUse { allocated: other })),
            // Rounded up to whole blocks, so what is beside it is nobody's.
            false => assert_eq!(refused, Ok(())),
        }
        assert_eq!(space.free(one), Err(IovaError::NotAllocated { range: one }));
        let more: Vec<_> = (0..600)
            .map(|_| space.allocate(request(count)).unwrap())
            .collect();
        assert!(!more.iter().any(|range| range.overlaps(one)));
    }
}

#[test]
fn a_buffer_mapped_again_and_again_moves_no_block_to_and_fro() {
    let arena = Arena::new(256);
    let mut space = space(arena);
    for count in [1, 5, 256, 512, 5000] {
        let range = space.allocate(request(count)).unwrap();
        space.free(range).unwrap();
        let (allocations, visits) = (arena.allocations(), space.statistics().nodes_visited);
        for _ in 0..1000 {
            assert_eq!(space.allocate(request(count)), Ok(range));
            space.free(range).unwrap();
        }
        assert_eq!(arena.allocations(), allocations, "{count} pages");
        let visits = space.statistics().nodes_visited - visits;
        assert!(visits <= 4000, "{count} pages: {visits}");
    }
}

#[test]
fn blocks_that_cannot_be_had_are_done_without() {
    let arena = Arena::new(512);
    // One frame of nodes and its directory are there; none for blocks.
    for failing in 0..12 {
        let mut space = space(arena);
        space.reserve(pages(3, 1)).unwrap();
        arena.fail_from(Some(failing));
        let one = space.allocate(request(1));
        let large = space.allocate(request(600));
        arena.fail_from(None);
        for range in [one, large].into_iter().flatten() {
            space.free(range).unwrap();
        }
        assert_eq!(space.statistics().live_bytes, 0);
        let again = space.allocate(request(1)).unwrap();
        space.free(again).unwrap();
    }
    assert_eq!(arena.in_use(), 0);
}

#[test]
fn who_is_refused_a_block_asks_for_no_other() {
    let arena = Arena::new(64);
    for count in [1, 600] {
        let mut space = space(arena);
        // The tree has room for more nodes.
        space.reserve(pages(3, 1)).unwrap();
        let before = arena.allocations();
        arena.fail_from(Some(0));
        let range = space.allocate(request(count)).unwrap();
        arena.fail_from(None);
        assert_eq!(arena.allocations() - before, 1, "{count} pages");
        // The lowest gap of the tree.
        let lowest = if count < 3 { 1 } else { 4 };
        assert_eq!(range, pages(lowest, count));
        assert_eq!(space.free(range), Ok(()));
    }
    assert_eq!(arena.in_use(), 0);
}

#[test]
fn where_there_is_no_memory_for_a_low_block_the_room_of_a_high_one_is_used() {
    let arena = Arena::new(64);
    let mut space = space(arena);
    space.reserve(pages(3, 1)).unwrap();
    let above = request(1).from(BusAddr::new(LOW * PAGE));
    let first = space.allocate(above).unwrap();
    assert!(first_page(first) >= LOW);
    // Until the frames of blocks are full and one more is asked for.
    arena.fail_from(Some(0));
    let before = arena.allocations();
    let mut others = Vec::new();
    while arena.allocations() == before {
        others.push(space.allocate(above).unwrap());
    }
    space.free(first).unwrap();
    assert_eq!(space.allocate(request(1)), Ok(first));
    assert_eq!(arena.allocations() - before, 2);
    // And where there is no such room either, the tree has some.
    assert_eq!(space.allocate(request(1)), Ok(pages(1, 1)));
    assert_eq!(arena.allocations() - before, 3);
}

/// Granules of 64 KiB: blocks of 32 MiB.
#[test]
fn larger_granules_have_larger_blocks() {
    let all = BusRange::new(BusAddr::new(0), 1 << 48).unwrap();
    let mut space = IovaSpace::new(Arena::new(512), all, 16).unwrap();
    let mut oracle = Oracle::default();
    for n in 0..3000u64 {
        let len = (1 + n % 700) << 16;
        oracle.insert(space.allocate(IovaRequest::new(len)).unwrap());
    }
}
