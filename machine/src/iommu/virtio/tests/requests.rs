//! What each request does, and the status of what is refused (5.13.6).

use super::super::VirtioConfig;
use super::bench::*;
use crate::bus::Access;
use crate::findings::FindingKind;

/// Expects `words` to be refused with `status`, which a correct driver never causes.
#[track_caller]
fn check_refused(bench: &Bench, words: &[u32], status: u8) {
    let before = bench.found(FindingKind::ProtocolViolation);
    assert_eq!(bench.ask(words), status);
    assert_eq!(bench.found(FindingKind::ProtocolViolation), before + 1);
}

#[test]
fn mapping_translates_until_it_is_unmapped() {
    let bench = Bench::attached(VirtioConfig::default());
    assert_eq!(bench.read(0x1000), Err(2));
    assert_eq!(bench.ask(&map(DOMAIN, 0x1000, 0x2fff, 0x5000, RW)), OK);
    assert_eq!(bench.read(0x1004), Ok(0x5004));
    assert_eq!(bench.write(0x2fff), Ok(0x6fff));
    assert_eq!(bench.read(0x3000), Err(2));
    assert_eq!(bench.ask(&unmap(DOMAIN, 0x1000, 0x2fff)), OK);
    assert_eq!(bench.read(0x1004), Err(2));
    bench.assert_no_findings();
}

#[test]
fn flags_grant_reads_and_writes_apart() {
    let bench = Bench::attached(VirtioConfig::default());
    assert_eq!(bench.ask(&map(DOMAIN, 0x1000, 0x1fff, 0x5000, R)), OK);
    assert_eq!(bench.ask(&map(DOMAIN, 0x2000, 0x2fff, 0x6000, W)), OK);
    assert_eq!(bench.ask(&map(DOMAIN, 0x3000, 0x3fff, 0x7000, RW | 4)), OK);
    assert_eq!(
        (bench.read(0x1000), bench.write(0x1000)),
        (Ok(0x5000), Err(2))
    );
    assert_eq!(
        (bench.read(0x2000), bench.write(0x2000)),
        (Err(2), Ok(0x6000))
    );
    assert_eq!(
        (bench.read(0x3000), bench.write(0x3000)),
        (Ok(0x7000), Ok(0x7000))
    );
    bench.assert_no_findings();
}

#[test]
fn unmap_takes_whole_mappings_only() {
    let bench = Bench::attached(VirtioConfig::default());
    assert_eq!(bench.ask(&map(DOMAIN, 0x0, 0x9fff, 0x5000, RW)), OK);
    check_refused(&bench, &unmap(DOMAIN, 0x0, 0x4fff), RANGE);
    check_refused(&bench, &unmap(DOMAIN, 0x5000, 0x9fff), RANGE);
    assert_eq!(bench.read(0x9000), Ok(0xe000), "nothing was unmapped");
    // One request may take several mappings, and room around them.
    assert_eq!(bench.ask(&map(DOMAIN, 0xb000, 0xbfff, 0x1_0000, RW)), OK);
    assert_eq!(bench.ask(&unmap(DOMAIN, 0x0, 0xf_ffff)), OK);
    assert_eq!((bench.read(0x9000), bench.read(0xb000)), (Err(2), Err(2)));
}

#[test]
fn unmap_of_nothing_succeeds() {
    let bench = Bench::attached(VirtioConfig::default());
    assert_eq!(bench.ask(&unmap(DOMAIN, 0x1000, 0x1fff)), OK);
    bench.assert_no_findings();
}

#[test]
fn mapping_over_a_mapping_is_refused() {
    let bench = Bench::attached(VirtioConfig::default());
    assert_eq!(bench.ask(&map(DOMAIN, 0x2000, 0x3fff, 0x5000, RW)), OK);
    for (first, last) in [
        (0x2000, 0x2fff),
        (0x3000, 0x3fff),
        (0x1000, 0x2fff),
        (0x3000, 0x4fff),
        (0x1000, 0x4fff),
    ] {
        check_refused(&bench, &map(DOMAIN, first, last, 0x9000, RW), INVALID);
    }
    assert_eq!(bench.ask(&map(DOMAIN, 0x1000, 0x1fff, 0x9000, RW)), OK);
    assert_eq!(bench.ask(&map(DOMAIN, 0x4000, 0x4fff, 0x9000, RW)), OK);
}

#[test]
fn domain_that_does_not_exist_is_refused() {
    let bench = Bench::started(VirtioConfig::default());
    check_refused(&bench, &map(DOMAIN, 0x1000, 0x1fff, 0x5000, RW), NO_ENTRY);
    check_refused(&bench, &unmap(DOMAIN, 0x1000, 0x1fff), NO_ENTRY);
    // Numbers out of the range cannot exist.
    check_refused(&bench, &attach(0, DEVICE), NO_ENTRY);
    check_refused(&bench, &attach(0x1_0000, DEVICE), NO_ENTRY);
}

#[test]
fn endpoint_that_does_not_exist_is_refused() {
    let config = VirtioConfig {
        first_endpoint: 0x100,
        ..VirtioConfig::default()
    };
    let bench = Bench::started(config);
    check_refused(&bench, &[1, DOMAIN, 0xff, 0, 0], NO_ENTRY);
    check_refused(&bench, &[1, DOMAIN, 0x1_0100, 0, 0], NO_ENTRY);
    check_refused(&bench, &[2, DOMAIN, 0xff, 0, 0], NO_ENTRY);
    assert_eq!(bench.ask(&[1, DOMAIN, 0x100 + u32::from(DEVICE), 0, 0]), OK);
    assert_eq!(bench.read(0x1000), Err(2));
}

#[test]
fn addresses_out_of_range_or_not_aligned_are_refused() {
    let config = VirtioConfig {
        input_range: 0x1000..=0xffff_ffff,
        ..VirtioConfig::default()
    };
    let bench = Bench::attached(config);
    for (first, last, phys) in [
        (0x0, 0x1fff, 0x5000),
        (0xffff_f000, 0x1_0000_0fff, 0x5000),
        (0x1800, 0x1fff, 0x5000),
        (0x1000, 0x17ff, 0x5000),
        (0x1000, 0x1fff, 0x5800),
        (0x2000, 0x1fff, 0x5000),
        (0x1000, 0x2fff, 0xffff_ffff_ffff_f000),
    ] {
        check_refused(&bench, &map(DOMAIN, first, last, phys, RW), RANGE);
    }
    check_refused(&bench, &unmap(DOMAIN, 0x2000, 0x1fff), RANGE);
    assert_eq!(
        bench.ask(&map(DOMAIN, 0xffff_f000, 0xffff_ffff, 0x0, RW)),
        OK
    );
}

#[test]
fn granule_is_the_smallest_page() {
    let config = VirtioConfig {
        page_size_mask: 0xffff_0000,
        ..VirtioConfig::default()
    };
    let bench = Bench::attached(config);
    check_refused(&bench, &map(DOMAIN, 0x1000, 0x1fff, 0x5000, RW), RANGE);
    assert_eq!(
        bench.ask(&map(DOMAIN, 0x1_0000, 0x1_ffff, 0x2_0000, RW)),
        OK
    );
    assert_eq!(bench.read(0x1_1234), Ok(0x2_1234));
}

#[test]
fn domain_goes_with_its_last_endpoint() {
    let bench = Bench::attached(VirtioConfig::default());
    assert_eq!(bench.ask(&attach(DOMAIN, DEVICE + 1)), OK);
    assert_eq!(bench.ask(&map(DOMAIN, 0x1000, 0x1fff, 0x5000, RW)), OK);
    assert_eq!(bench.reach(DEVICE + 1, 0x1000, Access::Read), Ok(0x5000));
    assert_eq!(bench.ask(&detach(DOMAIN, DEVICE)), OK);
    assert_eq!(bench.read(0x1000), Err(1));
    assert_eq!(bench.reach(DEVICE + 1, 0x1000, Access::Read), Ok(0x5000));
    assert_eq!(bench.ask(&detach(DOMAIN, DEVICE + 1)), OK);
    // A new domain of the same number has none of its mappings.
    assert_eq!(bench.ask(&attach(DOMAIN, DEVICE)), OK);
    assert_eq!(bench.read(0x1000), Err(2));
    bench.assert_no_findings();
}

#[test]
fn attach_to_another_domain_leaves_the_first() {
    let bench = Bench::attached(VirtioConfig::default());
    assert_eq!(bench.ask(&map(DOMAIN, 0x1000, 0x1fff, 0x5000, RW)), OK);
    assert_eq!(bench.ask(&attach(DOMAIN + 1, DEVICE)), OK);
    assert_eq!(bench.read(0x1000), Err(2));
    // The first domain had no other endpoint.
    check_refused(&bench, &map(DOMAIN, 0x2000, 0x2fff, 0x5000, RW), NO_ENTRY);
    check_refused(&bench, &detach(DOMAIN, DEVICE), INVALID);
}

#[test]
fn mappings_are_limited() {
    let config = VirtioConfig {
        mappings_max: 2,
        ..VirtioConfig::default()
    };
    let bench = Bench::attached(config);
    let page = |n: u64| map(DOMAIN, n << 12, (n << 12) + 0xfff, 0x5000, RW);
    assert_eq!([1, 2, 3].map(|n| bench.ask(&page(n))), [OK, OK, NO_MEMORY]);
    assert_eq!(bench.ask(&unmap(DOMAIN, 0x1000, 0x1fff)), OK);
    assert_eq!(bench.ask(&page(3)), OK);
    // Those of a domain that goes are free again.
    assert_eq!(bench.ask(&detach(DOMAIN, DEVICE)), OK);
    assert_eq!(bench.ask(&attach(DOMAIN, DEVICE)), OK);
    assert_eq!([1, 2].map(|n| bench.ask(&page(n))), [OK, OK]);
    bench.assert_no_findings();
}

#[test]
fn reset_forgets_domains() {
    let bench = Bench::attached(VirtioConfig::default());
    assert_eq!(bench.ask(&map(DOMAIN, 0x1000, 0x1fff, 0x5000, RW)), OK);
    bench.start();
    assert_eq!(bench.read(0x1000), Err(1));
    assert_eq!(bench.ask(&attach(DOMAIN, DEVICE)), OK);
    assert_eq!(bench.read(0x1000), Err(2));
    bench.assert_no_findings();
}

/// The unit against a table of 64 pages that does the same in the plainest way.
#[test]
fn random_requests_do_what_a_plain_table_does() {
    let seed = std::env::var("SEED").map_or(0x5eed, |seed| seed.parse().expect("a number"));
    println!("SEED={seed}");
    let dice = crate::temper::Dice::new(seed);
    let bench = Bench::attached(VirtioConfig::default());
    // Page → (first page of its mapping, physical page).
    let mut plain: [Option<(u64, u64)>; 64] = [None; 64];
    for _ in 0..2000 {
        let first = dice.below(60);
        let pages = 1 + dice.below(4);
        let range = first as usize..(first + pages) as usize;
        let (bus, last) = (first << 12, ((first + pages) << 12) - 1);
        if dice.one_in(2) {
            let phys = 0x100 + dice.below(0x100);
            let free = plain[range.clone()].iter().all(Option::is_none);
            let expected = if free { OK } else { INVALID };
            assert_eq!(bench.ask(&map(DOMAIN, bus, last, phys << 12, RW)), expected);
            if free {
                for (page, phys) in range.zip(phys..) {
                    plain[page] = Some((first, phys));
                }
            }
        } else {
            let splits = plain.iter().enumerate().any(|(page, mapped)| {
                mapped.is_some_and(|(start, _)| {
                    let same = |(_, other): (usize, &Option<(u64, u64)>)| {
                        other.is_some_and(|(other, _)| other == start)
                    };
                    let touched = plain
                        .iter()
                        .enumerate()
                        .any(|(n, other)| range.contains(&n) && same((n, other)));
                    touched && !range.contains(&page)
                })
            });
            let expected = if splits { RANGE } else { OK };
            assert_eq!(bench.ask(&unmap(DOMAIN, bus, last)), expected);
            if !splits {
                plain[range].fill(None);
            }
        }
        for (page, mapped) in (0..).zip(&plain) {
            let expected = mapped.map_or(Err(2), |(_, phys)| Ok(phys << 12));
            assert_eq!(bench.read(page << 12), expected, "page {page}");
        }
    }
}
