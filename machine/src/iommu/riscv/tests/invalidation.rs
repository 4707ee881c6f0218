use super::super::{Extension, RiscvConfig};
use super::bench::*;
use crate::bus::Access;

const OTHER: u16 = 0x20;
const OTHER_SPACE: u32 = 6;
const GUEST: u16 = 0x28;
const GUEST_SPACE: u16 = 5;

/// Two first stages and a second stage with 16 pages each, all remembered and then removed from the tables.
fn three_stale_spaces() -> Bench {
    let config = RiscvConfig {
        range_invalidation: Extension::Present,
        ..RiscvConfig::default()
    };
    let (bench, top) = Bench::translating(config, 4);
    let other_top = bench.frame();
    bench.attach(OTHER, OTHER_SPACE, other_top, 4);
    let guest_top = bench.frames(4);
    bench.attach_guest(GUEST, GUEST_SPACE, guest_top, 4);
    for number in 0..16 {
        for (requester, top) in [(DEVICE, top), (OTHER, other_top), (GUEST, guest_top)] {
            let leaf = bench.map(top, 4, number << 12, 1, entry(0x5000, RW));
            assert!(bench.reach(requester, number << 12, Access::Read).is_ok());
            bench.store(leaf, 0);
        }
    }
    bench
}

/// Which of the first 16 pages `requester` still reaches.
fn stale(bench: &Bench, requester: u16) -> Vec<u64> {
    (0..16)
        .filter(|number| bench.reach(requester, number << 12, Access::Read).is_ok())
        .collect()
}

#[track_caller]
fn check(command: [u64; 2], left: [fn(u64) -> bool; 3]) {
    let bench = three_stale_spaces();
    bench.submit_and_wait(&[command]);
    for (requester, left) in [DEVICE, OTHER, GUEST].into_iter().zip(left) {
        let expected: Vec<u64> = (0..16).filter(|number| left(*number)).collect();
        assert_eq!(
            stale(&bench, requester),
            expected,
            "requester {requester:#x}"
        );
    }
    bench.assert_no_findings();
}

const ALL: fn(u64) -> bool = |_| true;
const NONE: fn(u64) -> bool = |_| false;

#[test]
fn commands_reach_as_far_as_they_say() {
    check(FIRST_STAGES, [NONE, NONE, ALL]);
    check(space(SPACE), [NONE, ALL, ALL]);
    check(page(SPACE, 0x3000), [|number| number != 3, ALL, ALL]);
    // An address in every first stage.
    check(
        [0x401, 0x3000 >> 2],
        [|number| number != 3, |number| number != 3, ALL],
    );
    // First-stage tables under a second stage: there are none.
    check([0x1 | 1 << 33 | 5 << 44, 0], [ALL, ALL, ALL]);
    check(SECOND_STAGES, [ALL, ALL, NONE]);
    check(guest(GUEST_SPACE), [ALL, ALL, NONE]);
    check(guest(GUEST_SPACE + 1), [ALL, ALL, ALL]);
    check(
        guest_page(GUEST_SPACE, 0x3000),
        [ALL, ALL, |number| number != 3],
    );
    // Without GV an address is ignored.
    check([0x481, 0x3000 >> 2], [ALL, ALL, NONE]);
}

#[test]
fn range_is_encoded_by_its_lowest_zero() {
    // Page numbers: 0b1100 is 12, 13; 0b1001 is 8..12; 0b0011 is 0..8.
    for (number, first, last) in [
        (0b1100_u64, 12, 13),
        (0b1001, 8, 11),
        (0b0011, 0, 7),
        (0b0111, 0, 15),
    ] {
        let bench = three_stale_spaces();
        let [low, _] = page(SPACE, 0);
        bench.submit_and_wait(&[[low, number << 10 | 1 << 9]]);
        let expected: Vec<u64> = (0..16).filter(|n| !(first..=last).contains(n)).collect();
        assert_eq!(stale(&bench, DEVICE), expected, "{number:#b}");
        assert_eq!(stale(&bench, OTHER).len(), 16);
        bench.assert_no_findings();
    }
}

#[test]
fn page_of_a_large_page_invalidates_it() {
    let (bench, top) = Bench::translating(RiscvConfig::default(), 4);
    let leaf = bench.map(top, 4, 0x4000_0000, 3, entry(0x4000_0000, RW));
    assert_eq!(bench.read(0x4000_0000), Ok(0x4000_0000));
    bench.store(leaf, 0);
    bench.submit_and_wait(&[page(SPACE, 0x7fff_f000)]);
    assert_eq!(bench.read(0x4123_4000), Err(13));
}

#[test]
fn invalidations_between_two_fences_come_in_any_order() {
    // Context and translations are removed together: the one that keep carries out first is the last.
    let (bench, top) = Bench::translating(RiscvConfig::default(), 4);
    bench.map(top, 4, 0x1000, 1, entry(0x5000, RW));
    assert_eq!(bench.read(0x1000), Ok(0x5000));
    bench.submit(&[device(DEVICE), space(SPACE)]);
    bench.wait_until(|| bench.read32(CQH) == 2);
    let statistics = bench.unit.statistics();
    assert_eq!(
        (
            statistics.device_invalidations,
            statistics.space_invalidations
        ),
        (1, 1)
    );
    bench.store(bench.context(DEVICE), 0);
    assert_eq!(bench.read(0x1000), Ok(0x5000), "fetched is not done");
    bench.submit_and_wait(&[]);
    assert_eq!(bench.read(0x1000), Err(258));
}
