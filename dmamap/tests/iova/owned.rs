//! Lanes that one owner has, beside those of CPUs.

use std::collections::BTreeSet;
use std::sync::{Barrier, Mutex};
use std::thread;

use dmamap::addr::{BusAddr, BusRange};
use dmamap::iova::{IovaError, SharedSpace, SpaceLane};

use crate::lanes::{assert_as_new, free, space};
use crate::oracle::Oracle;
use crate::{PAGE, request};
use rig::{Arena, Random};

const CPUS: usize = 3;
const BLOCK: u64 = 512;

fn lane(space: &SharedSpace<Arena>) -> SpaceLane<'_, Arena> {
    space.lane(BusAddr::new(0)..=BusAddr::new(u64::MAX))
}

fn end(lane: &mut SpaceLane<'_, Arena>, range: BusRange) {
    // SAFETY: each test takes a range from its list, where it was put when it was allocated, and calls this once.
    unsafe { lane.free(range) }.unwrap_or_else(|error| panic!("{range}: {error}"));
}

fn any_len(random: &Random) -> u64 {
    let longest = random.pick(&[1, 1, 1, 8, 60, 300]);
    (1 + random.below(longest)) * PAGE
}

#[test]
fn lanes_of_owners_and_of_cpus_agree_with_an_oracle() {
    let random = Random::from_environment(31);
    for _ in 0..6 {
        let arena = Arena::with_cpus(4096, CPUS);
        let space = space(arena, 1 << 36);
        let mut oracle = Oracle::default();
        let mut live: Vec<BusRange> = Vec::new();
        let mut lanes: Vec<_> = (0..3).map(|_| lane(&space)).collect();
        for _ in 0..8000 {
            Arena::run_on(random.below(CPUS as u64) as usize);
            let who = random.below(lanes.len() as u64 + 1) as usize;
            match random.below(300) {
                0 => _ = space.reclaim(),
                // What lives in it goes on living.
                1 => lanes[who % 3] = lane(&space),
                n if n < 160 || live.is_empty() => {
                    let len_bytes = any_len(&random);
                    let range = match lanes.get_mut(who) {
                        Some(lane) => lane.allocate(len_bytes),
                        None => space.allocate(request(len_bytes / PAGE)),
                    };
                    let range = range.unwrap();
                    assert_eq!(range.len_bytes(), len_bytes);
                    oracle.insert(range);
                    live.push(range);
                }
                _ => {
                    let range = live.swap_remove(random.below(live.len() as u64) as usize);
                    oracle.remove(range);
                    match lanes.get_mut(who) {
                        Some(lane) => end(lane, range),
                        None => free(&space, range),
                    }
                }
            }
        }
        drop(lanes);
        let statistics = space.statistics();
        assert_eq!(statistics.live_allocations, live.len() as u64);
        assert_eq!(statistics.live_bytes, oracle.0.values().sum::<u64>() * PAGE);
        for range in live {
            free(&space, range);
        }
        assert_as_new(&space, arena);
    }
}

#[test]
fn ranges_are_at_multiples_of_their_length_and_within_the_limits() {
    let arena = Arena::with_cpus(4096, 1);
    let space = space(arena, 1 << 36);
    let (first, last) = (BusAddr::new(1 << 32), BusAddr::new((1 << 36) - 1));
    let mut lane = space.lane(first..=last);
    let mut live = Vec::new();
    for pages in (0..9).map(|log2| 1 << log2).chain([3, 511, 512, 2048]) {
        let range = lane.allocate(pages * PAGE).unwrap();
        let size = (pages * PAGE).next_power_of_two();
        assert_eq!(range.start().as_u64() % size, 0, "{range}");
        assert!(range.start() >= first && range.last() <= last, "{range}");
        live.push(range);
    }
    for bad in [0, 1, PAGE + 1, u64::MAX] {
        assert!(lane.allocate(bad).is_err(), "{bad:#x} bytes");
    }
    live.into_iter().for_each(|range| end(&mut lane, range));
    drop(lane);
    assert_as_new(&space, arena);
}

#[test]
fn a_ring_turns_in_as_many_blocks_as_it_needs() {
    let arena = Arena::with_cpus(1024, 1);
    let space = space(arena, 1 << 36);
    let mut lane = lane(&space);
    for depth in [1, 16, 512, 513, 4000] {
        let mut blocks = BTreeSet::new();
        let mut ring: std::collections::VecDeque<BusRange> = std::collections::VecDeque::new();
        for _ in 0..4 * depth + 2000 {
            if ring.len() == depth {
                let oldest = ring.pop_front().unwrap();
                end(&mut lane, oldest);
            }
            let range = lane.allocate(PAGE).unwrap();
            blocks.insert(range.start().as_u64() / PAGE / BLOCK);
            ring.push_back(range);
        }
        let needed = depth.div_ceil(BLOCK as usize);
        assert!(
            blocks.len() <= needed + 3,
            "a ring of {depth} is in {} blocks",
            blocks.len()
        );
        ring.into_iter().for_each(|range| end(&mut lane, range));
    }
    drop(lane);
    assert_as_new(&space, arena);
}

#[test]
fn what_others_freed_is_chosen_again() {
    let arena = Arena::with_cpus(1024, 2);
    let space = space(arena, 1 << 36);
    let mut lane = lane(&space);
    let mut frames = 0;
    for round in 0..40 {
        let ranges: Vec<_> = (0..BLOCK + 100)
            .map(|_| lane.allocate(PAGE).unwrap())
            .collect();
        Arena::run_on(round % 2);
        ranges.into_iter().for_each(|range| free(&space, range));
        match round {
            0 => frames = space.frames(),
            _ => assert_eq!(space.frames(), frames, "round {round}"),
        }
    }
    drop(lane);
    assert_as_new(&space, arena);
}

#[test]
fn what_a_lane_has_nobody_else_is_given_before_it_ends() {
    let arena = Arena::with_cpus(1024, 2);
    let space = space(arena, 256 * BLOCK);
    let mut lane = lane(&space);
    // All there is.
    let mut ranges = Vec::new();
    while let Ok(range) = lane.allocate(256 * PAGE) {
        ranges.push(range);
    }
    let block = ranges[4];
    ranges.into_iter().for_each(|range| end(&mut lane, range));
    space.reclaim();
    let reserved = space.reserve(block);
    drop(lane);
    if let Err(error) = reserved {
        assert!(matches!(error, IovaError::InUse { .. }), "{error}");
        space.reserve(block).unwrap();
    }
    let mut ranges = Vec::new();
    while let Ok(range) = space.allocate(request(256)) {
        assert!(!range.overlaps(block));
        ranges.push(range);
    }
    assert_eq!(ranges.len(), 2 * 256 - 2);
}

#[test]
fn threads_free_what_others_began_while_lanes_come_and_go() {
    let random = Random::from_environment(32);
    let threads = 4;
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
                let mut own = lane(space);
                for _ in 0..4000 {
                    match random.below(500) {
                        0 => _ = space.reclaim(),
                        1 => own = lane(space),
                        n if n < 260 => {
                            let range = own.allocate(any_len(&random)).unwrap();
                            oracle.lock().unwrap().insert(range);
                            live.lock().unwrap().push(range);
                        }
                        n => {
                            let mut live = live.lock().unwrap();
                            if live.is_empty() {
                                continue;
                            }
                            let index = n as usize * 7919 % live.len();
                            let range = live.swap_remove(index);
                            drop(live);
                            oracle.lock().unwrap().remove(range);
                            match n % 2 {
                                0 => free(space, range),
                                _ => end(&mut own, range),
                            }
                        }
                    }
                }
            });
        }
    });
    let live = live.into_inner().unwrap();
    assert_eq!(space.statistics().live_allocations, live.len() as u64);
    live.into_iter().for_each(|range| free(&space, range));
    assert_as_new(&space, arena);
}
