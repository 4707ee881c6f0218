use super::super::{SmmuConfig, Support};
use super::bench::*;
use crate::bus::Access;
use crate::findings::FindingKind;

const OTHER: u16 = 0x20;
const OTHER_DOMAIN: u64 = 6;

/// Two domains with 16 pages each, all remembered and then removed from the tables.
fn two_stale_domains(config: SmmuConfig) -> Bench {
    let (bench, root) = Bench::translating(config);
    let other = bench.frame();
    bench.attach(OTHER, OTHER_DOMAIN, other);
    for page in 0..16 {
        for (requester, root) in [(DEVICE, root), (OTHER, other)] {
            let leaf = bench.map(root, page << 12, 3, 0x5000 | PAGE);
            assert!(bench.reach(requester, page << 12, Access::Read).is_ok());
            bench.store(leaf, 0);
        }
    }
    bench
}

/// Which of the first 16 pages `requester` still reaches.
fn stale(bench: &Bench, requester: u16) -> Vec<u64> {
    (0..16)
        .filter(|page| bench.reach(requester, page << 12, Access::Read).is_ok())
        .collect()
}

#[track_caller]
fn check(command: [u64; 2], left: impl Fn(u64) -> bool, other_left: impl Fn(u64) -> bool) {
    let bench = two_stale_domains(first());
    bench.submit_and_wait(&[command]);
    assert_eq!(
        stale(&bench, DEVICE),
        (0..16).filter(|page| left(*page)).collect::<Vec<_>>()
    );
    assert_eq!(
        stale(&bench, OTHER),
        (0..16).filter(|page| other_left(*page)).collect::<Vec<_>>()
    );
    bench.assert_no_findings();
}

#[test]
fn invalidations_reach_as_far_as_they_say() {
    check(NSNH_ALL, |_| false, |_| false);
    check([0x10, 0], |_| false, |_| false);
    check(nh_asid(DOMAIN), |_| false, |_| true);
    check(nh_va(DOMAIN, 0x3000, 1), |page| page != 3, |_| true);
    check([0x13, 0x3000], |page| page != 3, |page| page != 3);
}

#[test]
fn ranges_cover_their_granules() {
    check(
        nh_va_range(DOMAIN, 0x4000, 2, 0, 0),
        |page| !(4..7).contains(&page),
        |_| true,
    );
    check(
        nh_va_range(DOMAIN, 0x2000, 2, 2, 0),
        |page| !(2..14).contains(&page),
        |_| true,
    );
    // One granule, with the level its leaf is at.
    check(
        nh_va_range(DOMAIN, 0x4000, 0, 0, 3),
        |page| page != 4,
        |_| true,
    );
    // A level hint that is not the leaves': nothing goes.
    check(nh_va_range(DOMAIN, 0x4000, 3, 0, 2), |_| true, |_| true);
}

#[test]
fn address_inside_a_block_invalidates_it() {
    let (bench, root) = Bench::translating(first());
    let leaf = bench.map(root, 0x4000_0000, 1, 0x4000_0000 | BLOCK);
    assert_eq!(bench.read(0x4000_0000), Ok(0x4000_0000));
    bench.store(leaf, 0);
    bench.submit_and_wait(&[nh_va(DOMAIN, 0x7fff_f000, 1)]);
    assert_eq!(bench.read(0x4123_4000), Err(0x10));
}

#[test]
fn stage_2_is_invalidated_by_vmid_and_address() {
    let stale = |command: [u64; 2]| {
        let (bench, root) = Bench::translating_stage2(second());
        let leaves = [0x1000, 0x2000].map(|bus| {
            let leaf = bench.map(root, bus, 3, 0x5000 | PAGE2);
            assert!(bench.read(bus).is_ok());
            leaf
        });
        for leaf in leaves {
            bench.store(leaf, 0);
        }
        bench.submit_and_wait(&[command]);
        [0x1000, 0x2000].map(|bus| bench.read(bus).is_ok())
    };
    assert_eq!(stale(s2_ipa(DOMAIN, 0x1000, 1)), [false, true]);
    assert_eq!(stale(s2_ipa(DOMAIN + 1, 0x1000, 1)), [true, true]);
    assert_eq!(stale(s12_vmall(DOMAIN)), [false, false]);
    assert_eq!(stale(s12_vmall(DOMAIN + 1)), [true, true]);
    assert_eq!(stale(NSNH_ALL), [false, false]);
}

#[test]
fn ranges_of_entries_are_invalidated() {
    let bench = Bench::new(first());
    let root = bench.frame();
    bench.map(root, 0x1000, 3, 0x5000 | PAGE);
    let streams = [0x10_u16, 0x14, 0x17, 0x18];
    for stream in streams {
        bench.attach(stream, DOMAIN, root);
    }
    bench.enable();
    for stream in streams {
        assert_eq!(bench.reach(stream, 0x1000, Access::Read), Ok(0x5000));
        bench.store(entry_of(stream), 0);
    }
    // 2^2 entries around 0x15.
    bench.submit_and_wait(&[[0x04 | 0x15 << 32, 1]]);
    let gone = streams.map(|stream| bench.reach(stream, 0x1000, Access::Read) == Err(0x04));
    assert_eq!(gone, [false, true, true, false]);
}

/// A stream leaves its domain. In one synchronised step its entry and its translations have no order; in two they have.
#[test]
fn translations_come_back_by_a_configuration_that_was_not_forgotten_before() {
    let moved = |apart: bool| {
        let (bench, root) = Bench::translating(first());
        let other = bench.frame();
        bench.map(root, 0x1000, 3, 0x5000 | PAGE);
        bench.map(other, 0x1000, 3, 0x6000 | PAGE);
        assert_eq!(bench.read(0x1000), Ok(0x5000));
        bench.store(context_of(DEVICE) + 8, other);
        let (config, translations) = (cfgi_cd(DEVICE.into()), nh_asid(DOMAIN));
        if apart {
            bench.submit_and_wait(&[config]);
            bench.submit_and_wait(&[translations]);
        } else {
            bench.submit_and_wait(&[config, translations]);
        }
        bench.read(0x1000)
    };
    assert_eq!(moved(true), Ok(0x6000));
    assert_eq!(moved(false), Ok(0x5000), "brought back");
}

#[test]
fn ranges_need_the_unit_to_have_them() {
    let config = SmmuConfig {
        range_invalidation: Support::No,
        ..first()
    };
    let bench = two_stale_domains(config);
    bench.submit_and_wait(&[nh_va_range(DOMAIN, 0x4000, 2, 0, 0)]);
    assert_eq!(bench.found(FindingKind::ReservedBits), 1);
    assert_eq!(stale(&bench, DEVICE).len(), 15, "only the one address");
}
