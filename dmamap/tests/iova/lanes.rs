//! Ranges that CPUs choose from blocks of their own.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Barrier, Mutex};
use std::thread;

use dmamap::addr::{BusAddr, BusRange};
use dmamap::iova::{IovaError, IovaRequest, SharedSpace};

use crate::oracle::Oracle;
use crate::{PAGE, pages, request};
use rig::{Arena, Random};

/// Pages of a block, below 4 GiB, and of about the smallest space that is divided: of 256 blocks, of which page 0 is none.
const BLOCK: u64 = 512;
const LOW: u64 = 1 << 20;
const SMALLEST: u64 = 257 * BLOCK;

/// Pages in the units of both kinds of blocks: whatever holds for lanes of one holds for those of the other.
const UNITS: [u64; 2] = [1, BLOCK];

const CPUS: usize = 4;

pub(crate) fn space(arena: Arena, count: u64) -> SharedSpace<Arena> {
    SharedSpace::new(arena, pages(0, count), 12).unwrap()
}

pub(crate) fn free(space: &SharedSpace<Arena>, range: BusRange) {
    // SAFETY: each test takes a range from its list, where it was put when it was allocated, and calls this once.
    unsafe { space.free(range) }.unwrap_or_else(|error| panic!("{range}: {error}"));
}

/// A request of the kinds that lanes serve, and of some that they do not.
fn any_request(random: &Random) -> IovaRequest {
    let longest = random.pick(&[
        1,
        1,
        4,
        40,
        300,
        400,
        3 * BLOCK,
        3 * BLOCK,
        1 << 14,
        1 << 18,
    ]);
    let offset = random.pick(&[0, 0, 0, random.below(600)]);
    let first = random.pick(&[0, 0, 0, 0, LOW, random.below(2 * LOW)]);
    let bits = random.pick(&[64, 64, 64, 48, 36, 32]);
    let len_bytes = (1 + random.below(longest)) * PAGE;
    let request = match random.below(3) {
        0 => IovaRequest::naturally_aligned(len_bytes),
        _ => IovaRequest::new(len_bytes)
            .aligned(random.pick(&[0, 0, 12, 14, 18, 21, 22, 30]), offset * PAGE),
    };
    { request }
        .from(BusAddr::new(first * PAGE))
        .below(BusAddr::new(((1u128 << bits) - 1) as u64))
        .within(random.pick(&[64, 64, 32, 30, 24, 21]))
}

fn assert_kept(request: IovaRequest, range: BusRange) {
    let (start, end) = (range.start().as_u64(), range.last().as_u64());
    assert_eq!(range.len_bytes(), request.len_bytes());
    let within = start >= request.first().as_u64() && end <= request.last().as_u64();
    assert!(within, "{request}: {range}");
    let align_mask = (1u64 << request.align_log2()).max(PAGE) - 1;
    let offset = start ^ request.offset();
    assert_eq!(offset & align_mask, 0, "{request}: {range}");
    if request.boundary_log2() < 64 {
        let crosses = (start ^ end) >> request.boundary_log2() != 0;
        assert!(!crosses, "{request}: {range}");
    }
}

/// All of the space is had again, and all frames are back.
pub(crate) fn assert_as_new(space: &SharedSpace<Arena>, arena: Arena) {
    let statistics = space.statistics();
    assert_eq!((statistics.live_allocations, statistics.live_bytes), (0, 0));
    space.reclaim();
    assert_eq!((space.frames(), arena.in_use()), (0, 0));
    let lowest = request(1).below(BusAddr::new(2 * PAGE - 1));
    let range = space.allocate(lowest).unwrap();
    assert_eq!(range, pages(1, 1));
    free(space, range);
}

#[test]
fn one_thread_on_many_cpus_agrees_with_an_oracle() {
    let random = Random::from_environment(21);
    for _ in 0..8 {
        let arena = Arena::with_cpus(4096, CPUS);
        let space = space(arena, 1 << 36);
        let mut oracle = Oracle::default();
        let mut live: Vec<BusRange> = Vec::new();
        for _ in 0..8000 {
            Arena::run_on(random.below(CPUS as u64) as usize);
            match random.below(400) {
                0 => _ = space.reclaim(),
                1 => {
                    let statistics = space.statistics();
                    assert_eq!(statistics.live_allocations, live.len() as u64);
                    let live_bytes = oracle.0.values().sum::<u64>() * PAGE;
                    assert_eq!(statistics.live_bytes, live_bytes);
                }
                n if n < 210 || live.is_empty() => {
                    let request = any_request(&random);
                    let range = match space.allocate(request) {
                        Ok(range) => range,
                        // What crosses a boundary everywhere fits nowhere.
                        Err(IovaError::IovaExhausted { .. }) => continue,
                        Err(error) => panic!("{request}: {error}"),
                    };
                    assert_kept(request, range);
                    oracle.insert(range);
                    live.push(range);
                }
                _ => {
                    let range = live.swap_remove(random.below(live.len() as u64) as usize);
                    oracle.remove(range);
                    free(&space, range);
                }
            }
        }
        assert_eq!(space.statistics().live_allocations, live.len() as u64);
        for range in live {
            free(&space, range);
        }
        assert_as_new(&space, arena);
    }
}

#[test]
fn the_last_addresses_that_there_are_are_lent_as_others() {
    let arena = Arena::with_cpus(1 << 13, CPUS);
    let bytes = SMALLEST * PAGE;
    let all = BusRange::new(BusAddr::new(u64::MAX - (bytes - 1)), bytes).unwrap();
    let space = SharedSpace::new(arena, all, 12).unwrap();
    let mut live = Vec::new();
    while let Ok(range) = space.allocate(IovaRequest::new(PAGE)) {
        live.push(range);
    }
    assert_eq!(live.len() as u64, SMALLEST);
    assert_eq!(
        live.iter().map(|range| range.last()).max(),
        Some(all.last())
    );
    live.into_iter().for_each(|range| free(&space, range));
    let whole = space.allocate(IovaRequest::new(bytes)).unwrap();
    assert_eq!(whole, all, "one range again");
    free(&space, whole);
}

#[test]
fn ranges_of_all_threads_never_overlap_whoever_frees_them() {
    let random = Random::from_environment(22);
    for threads in [2, CPUS, 2 * CPUS] {
        let arena = Arena::with_cpus(1 << 13, CPUS);
        let space = space(arena, 1 << 36);
        let oracle = Mutex::new(Oracle::default());
        let live = Mutex::new(Vec::new());
        let start = Barrier::new(threads);
        thread::scope(|scope| {
            for _ in 0..threads {
                let random = Random::seeded(random.next());
                let (space, oracle, live, start) = (&space, &oracle, &live, &start);
                scope.spawn(move || {
                    start.wait();
                    for _ in 0..4000 {
                        match random.below(1000) {
                            0 => _ = space.reclaim(),
                            1 => _ = space.statistics(),
                            n if n < 520 => {
                                let request = any_request(&random);
                                let Ok(range) = space.allocate(request) else {
                                    continue;
                                };
                                assert_kept(request, range);
                                oracle.lock().unwrap().insert(range);
                                live.lock().unwrap().push(range);
                            }
                            // Whoever allocated it.
                            n => {
                                let mut live = live.lock().unwrap();
                                if live.is_empty() {
                                    continue;
                                }
                                let index = n as usize * 7919 % live.len();
                                let range = live.swap_remove(index);
                                drop(live);
                                oracle.lock().unwrap().remove(range);
                                free(space, range);
                            }
                        }
                    }
                });
            }
        });
        let live = live.into_inner().unwrap();
        assert_eq!(space.statistics().live_allocations, live.len() as u64);
        for range in live {
            free(&space, range);
        }
        assert_as_new(&space, arena);
    }
}

#[test]
fn nothing_is_lost_to_blocks_that_are_recalled_at_any_time() {
    let arena = Arena::with_cpus(1 << 12, CPUS);
    let space = space(arena, 1 << 36);
    let oracle = Mutex::new(Oracle::default());
    let at_work = AtomicUsize::new(CPUS - 1);
    thread::scope(|scope| {
        for cpu in 1..CPUS {
            let (space, oracle, at_work) = (&space, &oracle, &at_work);
            scope.spawn(move || {
                Arena::run_on(cpu);
                let mut held = Vec::new();
                for round in 0..6000u64 {
                    let unit = UNITS[round as usize / 64 % 2];
                    let range = space.allocate(request((1 + round % 5) * unit)).unwrap();
                    oracle.lock().unwrap().insert(range);
                    held.push(range);
                    if held.len() > 300 {
                        let range = held.swap_remove((round * 31) as usize % held.len());
                        oracle.lock().unwrap().remove(range);
                        free(space, range);
                    }
                }
                for range in held {
                    oracle.lock().unwrap().remove(range);
                    free(space, range);
                }
                at_work.fetch_sub(1, Ordering::SeqCst);
            });
        }
        Arena::run_on(0);
        while at_work.load(Ordering::SeqCst) > 0 && !thread::panicking() {
            space.reclaim();
            let live = space.statistics().live_allocations;
            assert!(live <= 301 * (CPUS as u64 - 1), "{live} are live");
        }
    });
    assert_as_new(&space, arena);
}

#[test]
fn what_another_cpu_freed_is_chosen_again_by_its_own() {
    for unit in UNITS {
        what_another_cpu_freed_is_chosen_again(unit);
    }
}

fn what_another_cpu_freed_is_chosen_again(unit: u64) {
    let arena = Arena::with_cpus(1024, 2);
    let space = space(arena, 1 << 36);
    let mut seen = std::collections::BTreeSet::new();
    let mut frames = 0;
    for round in 0..40 {
        Arena::run_on(0);
        // Two blocks, of which the second is chosen from last.
        let ranges: Vec<_> = (0..BLOCK + 100)
            .map(|_| space.allocate(request(unit)).unwrap())
            .collect();
        let blocks = ranges.iter().map(|range| block_of(range, unit));
        seen.extend(blocks);
        Arena::run_on(1);
        for range in ranges {
            free(&space, range);
        }
        match round {
            0 => frames = space.frames(),
            _ => assert_eq!(space.frames(), frames, "round {round}"),
        }
    }
    assert!(seen.len() <= 3, "blocks {seen:?} were used");
    assert_as_new(&space, arena);
}

#[test]
fn cpus_choose_from_blocks_of_their_own() {
    UNITS.into_iter().for_each(a_cpu_has_blocks_of_its_own);
}

/// The block that a range would be in.
fn block_of(range: &BusRange, unit: u64) -> u64 {
    range.start().as_u64() / PAGE / BLOCK / unit
}

fn a_cpu_has_blocks_of_its_own(unit: u64) {
    let arena = Arena::with_cpus(1024, CPUS);
    let space = space(arena, 1 << 36);
    let mut owners = BTreeMap::new();
    let mut live = Vec::new();
    for n in 0..CPUS * 300 {
        Arena::run_on(n % CPUS);
        // Where units are large, not whole ones.
        let range = space.allocate(request(2 * unit - unit / 8)).unwrap();
        let block = block_of(&range, unit);
        let owner = *owners.entry(block).or_insert(n % CPUS);
        assert_eq!(owner, n % CPUS, "{range} is in another CPU's block");
        live.push(range);
    }
    // Ranges of other CPUs are freed one bit each, whose owners find them: also while the space counts them.
    for (n, range) in live.into_iter().enumerate() {
        Arena::run_on(n * 7 % CPUS);
        free(&space, range);
        if n % 100 == 0 {
            let left = (CPUS * 300 - n - 1) as u64;
            assert_eq!(space.statistics().live_allocations, left);
        }
    }
    assert_as_new(&space, arena);
}

#[test]
fn an_unused_block_serves_other_cpus() {
    let arena = Arena::with_cpus(1024, 2);
    let space = space(arena, SMALLEST);
    Arena::run_on(0);
    // All there is, in the lane of one CPU.
    let mut ranges = Vec::new();
    while let Ok(range) = space.allocate(request(256)) {
        ranges.push(range);
    }
    // One page is nobody's, so one half of a block is not had.
    assert_eq!(ranges.len() as u64, SMALLEST / 256 - 1);
    for range in ranges {
        free(&space, range);
    }
    // What its lane still has is called back, as there is no other room.
    Arena::run_on(1);
    let mut ranges = Vec::new();
    while let Ok(range) = space.allocate(request(256)) {
        ranges.push(range);
    }
    assert_eq!(ranges.len() as u64, SMALLEST / 256 - 1);
    Arena::run_on(0);
    let rest: Vec<_> = (0..255)
        .map(|_| space.allocate(request(1)).unwrap())
        .collect();
    let refused = space.allocate(request(1));
    assert!(matches!(refused, Err(IovaError::IovaExhausted { .. })));
    for range in ranges.into_iter().chain(rest) {
        free(&space, range);
    }
    assert_as_new(&space, arena);
}

#[test]
fn a_range_is_refused_only_where_there_is_no_room_in_any_lane() {
    let random = Random::from_environment(23);
    let arena = Arena::with_cpus(4096, CPUS);
    let space = space(arena, SMALLEST);
    let mut oracle = Oracle::default();
    let mut live: Vec<BusRange> = Vec::new();
    let mut refusals = 0;
    for _ in 0..8000 {
        Arena::run_on(random.below(CPUS as u64) as usize);
        // Full first, and then nearly so.
        let allocates = refusals == 0 || random.below(10) < 6;
        if allocates || live.is_empty() {
            let longest = random.pick(&[4, 40, 256, 256]);
            let count = 1 + random.below(longest);
            match space.allocate(request(count)) {
                Ok(range) => {
                    oracle.insert(range);
                    live.push(range);
                }
                Err(IovaError::IovaExhausted { .. }) => {
                    refusals += 1;
                    assert!(
                        !oracle.has_room(count, SMALLEST, BLOCK),
                        "{count} pages are free"
                    );
                }
                Err(error) => panic!("{error}"),
            }
        } else {
            let range = live.swap_remove(random.below(live.len() as u64) as usize);
            oracle.remove(range);
            free(&space, range);
        }
    }
    assert!(refusals > 100, "only {refusals} were refused");
    for range in live {
        free(&space, range);
    }
    assert_as_new(&space, arena);
}

/// What is done after each page that a driver is given, of which there are so many then.
type Between = Box<dyn Fn(&SharedSpace<Arena>, u64)>;

/// A lane that had to part with its blocks each time would have a block in use for each page.
#[test]
fn who_asks_about_all_blocks_does_not_cost_a_block_for_each_page() {
    // A device of 24 address lines, whose part of the space is full, is refused; so is who asks for more than there is.
    let narrow = request(1 << 12).below(BusAddr::new((1 << 24) - 1));
    let refused = move |space: &SharedSpace<Arena>, request| {
        let refused = space.allocate(request);
        assert!(matches!(refused, Err(IovaError::IovaExhausted { .. })));
    };
    let betweens: [(&str, Between); 4] = [
        ("narrow", Box::new(move |space, _| refused(space, narrow))),
        (
            "wide",
            Box::new(move |space, _| refused(space, request(1 << 36))),
        ),
        (
            "counted",
            Box::new(|space, pages| assert_eq!(space.statistics().live_allocations, pages)),
        ),
        (
            "reserved",
            Box::new(|space, pages| space.reserve(crate::pages((1 << 35) + pages, 1)).unwrap()),
        ),
    ];
    for (what, between) in betweens {
        for unit in UNITS {
            let arena = Arena::with_cpus(4096, 2);
            let space = space(arena, 1 << 36);
            let mut live = Vec::new();
            for n in 0..600 {
                Arena::run_on(n as usize % 2);
                live.push(space.allocate(request(unit)).unwrap());
                between(&space, live.len() as u64);
            }
            let blocks: std::collections::BTreeSet<_> =
                live.iter().map(|range| block_of(range, unit)).collect();
            assert!(
                blocks.len() <= 4,
                "{what}: {} blocks of units of {unit}",
                blocks.len()
            );
            for range in live {
                free(&space, range);
            }
        }
    }
}

#[test]
fn a_refusal_says_how_wide_the_gaps_of_lanes_are() {
    let arena = Arena::with_cpus(4096, 2);
    let space = space(arena, SMALLEST);
    let mut live = Vec::new();
    Arena::run_on(0);
    while let Ok(range) = space.allocate(request(256)) {
        live.push(range);
    }
    while let Ok(range) = space.allocate(request(1)) {
        live.push(range);
    }
    // A block is free once more, which a lane is lent, and keeps.
    let block = block_of(&live[20], 1);
    let (freed, rest): (Vec<_>, Vec<_>) = live
        .into_iter()
        .partition(|range| block_of(range, 1) == block);
    freed.into_iter().for_each(|range| free(&space, range));
    let mut live = rest;
    live.push(space.allocate(request(200)).unwrap());
    let error = space.allocate(request(400)).unwrap_err();
    assert_eq!(
        error,
        IovaError::IovaExhausted {
            request: request(400),
            widest_gap_bytes: 312 * PAGE
        }
    );
    live.push(space.allocate(request(256)).unwrap());
    for range in live {
        free(&space, range);
    }
    assert_as_new(&space, arena);
}

#[test]
fn without_frames_for_a_lane_the_space_serves_and_nothing_is_lost() {
    for (nth, unit) in (0..16).flat_map(|nth| UNITS.map(|unit| (nth, unit))) {
        let arena = Arena::with_cpus(256, 2);
        let space = space(arena, 1 << 36);
        arena.fail_from(Some(nth));
        let held: Vec<_> = (0..20)
            .map(|n| (n, space.allocate(request(unit + n))))
            .collect();
        arena.fail_from(None);
        let mut oracle = Oracle::default();
        for (n, range) in &held {
            match range {
                Ok(range) => {
                    oracle.insert(*range);
                    assert_eq!(range.len_bytes(), (n + unit) * PAGE);
                }
                Err(IovaError::OutOfMemory(_)) => {}
                Err(error) => panic!("{error}"),
            }
        }
        let more = space.allocate(request(3 * unit)).unwrap();
        oracle.insert(more);
        free(&space, more);
        for (_, range) in held {
            if let Ok(range) = range {
                free(&space, range);
            }
        }
        assert_as_new(&space, arena);
    }
}

#[test]
fn a_reserved_range_is_chosen_by_no_lane() {
    UNITS.into_iter().for_each(no_lane_chooses_what_is_reserved);
}

fn no_lane_chooses_what_is_reserved(unit: u64) {
    let arena = Arena::with_cpus(1024, 2);
    let space = space(arena, 1 << 36);
    let live: Vec<_> = (0..2)
        .map(|cpu| {
            Arena::run_on(cpu);
            space.allocate(request(unit)).unwrap()
        })
        .collect();
    // The very blocks that lanes have.
    let reserved: Vec<_> = live
        .iter()
        .map(|range| pages(range.start().as_u64() / PAGE + unit, 400 * unit))
        .collect();
    for range in &live {
        let error = space.reserve(*range);
        assert!(matches!(error, Err(IovaError::InUse { .. })), "{error:?}");
    }
    for range in &reserved {
        space.reserve(*range).unwrap();
    }
    let mut more = Vec::new();
    for n in 0..2000 {
        Arena::run_on(n % 2);
        let range = space.allocate(request(unit)).unwrap();
        assert!(!reserved.iter().any(|one| one.overlaps(range)), "{range}");
        more.push(range);
    }
    for range in live.into_iter().chain(more) {
        free(&space, range);
    }
    assert_eq!(space.statistics().live_allocations, 0);
}

#[test]
fn a_range_of_parts_of_large_units_is_as_long_after_a_recall() {
    let arena = Arena::with_cpus(1024, 2);
    let space = space(arena, 1 << 36);
    let mut live = Vec::new();
    for count in [257, 511, 512, 513, 1000, 1024, 1 << 17] {
        let range = space.allocate(request(count)).unwrap();
        live.push((range, count));
    }
    let all: u64 = live.iter().map(|(_, count)| count * PAGE).sum();
    let statistics = space.statistics();
    let expected = (live.len() as u64, all);
    assert_eq!(
        (statistics.live_allocations, statistics.live_bytes),
        expected
    );
    for (range, _) in &live {
        assert!(matches!(
            space.reserve(*range),
            Err(IovaError::InUse { allocated }) if allocated == *range
        ));
    }
    for (range, _) in live {
        free(&space, range);
    }
    assert_as_new(&space, arena);
}

#[test]
fn in_a_small_space_one_large_block_is_left_for_all_cpus() {
    let arena = Arena::with_cpus(1024, CPUS);
    // Three of a GiB, and one that is not whole.
    let space = space(arena, LOW);
    let ranges: Vec<_> = (0..CPUS)
        .map(|cpu| {
            Arena::run_on(cpu);
            space.allocate(request(BLOCK)).unwrap()
        })
        .collect();
    let blocks: Vec<_> = ranges.iter().map(|range| block_of(range, BLOCK)).collect();
    // Whoever comes third does not have one called back that is another CPU's, and so it goes on.
    let distinct = std::collections::BTreeSet::from_iter(&blocks);
    assert_eq!(distinct.len(), 3, "{blocks:?}");
    assert_eq!(blocks[2], blocks[3], "{blocks:?}");
    for round in 0..200 {
        Arena::run_on(round % CPUS);
        let range = space.allocate(request(BLOCK)).unwrap();
        assert_eq!(block_of(&range, BLOCK), blocks[round % CPUS]);
        free(&space, range);
    }
    // All of it can be had nevertheless, by whomever.
    let mut more = Vec::new();
    while let Ok(range) = space.allocate(request(BLOCK)) {
        more.push(range);
        Arena::run_on(more.len() % CPUS);
    }
    assert_eq!((more.len() + CPUS) as u64, LOW / BLOCK - 1);
    for range in ranges.into_iter().chain(more) {
        free(&space, range);
    }
    assert_as_new(&space, arena);
}
