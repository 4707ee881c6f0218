use super::super::VtdConfig;
use super::bench::*;
use crate::bus::Access;
use crate::findings::FindingKind;

const OTHER: u16 = 0x20;
const OTHER_DOMAIN: u16 = 6;

/// Two domains with 16 pages each, all remembered and then removed from the tables.
fn two_stale_domains() -> Bench {
    let (bench, top) = Bench::translating(VtdConfig::default(), 4);
    let other_top = bench.frame();
    bench.attach(OTHER, OTHER_DOMAIN, other_top, 4);
    for page in 0..16 {
        for (requester, top) in [(DEVICE, top), (OTHER, other_top)] {
            let leaf = bench.map(top, 4, page << 12, 1, 0x5000 | RW);
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
fn check(descriptor: [u64; 2], left: impl Fn(u64) -> bool, other_left: impl Fn(u64) -> bool) {
    let bench = two_stale_domains();
    bench.submit_and_wait(&[descriptor]);
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
fn granularities_reach_as_far_as_they_say() {
    check(IOTLB_GLOBAL, |_| false, |_| false);
    check(iotlb_domain(DOMAIN), |_| false, |_| true);
    check(
        iotlb_pages(DOMAIN, 0x3000, 0, 0),
        |page| page != 3,
        |_| true,
    );
    check(iotlb_pages(OTHER_DOMAIN, 0, 4, 0), |_| true, |_| false);
}

#[test]
fn address_mask_covers_an_aligned_block() {
    check(
        iotlb_pages(DOMAIN, 0x4000, 2, 1),
        |page| !(4..8).contains(&page),
        |_| true,
    );
    // The bits under the mask are not looked at: a block that is not aligned is not covered whole.
    check(
        iotlb_pages(DOMAIN, 0x6000, 2, 1),
        |page| !(4..8).contains(&page),
        |_| true,
    );
}

#[test]
fn page_of_a_large_page_invalidates_it() {
    let (bench, top) = Bench::translating(VtdConfig::default(), 4);
    let leaf = bench.map(top, 4, 0x4000_0000, 3, 0x4000_0000 | PS | RW);
    assert_eq!(bench.read(0x4000_0000), Ok(0x4000_0000));
    bench.store(leaf, 0);
    bench.submit_and_wait(&[iotlb_pages(DOMAIN, 0x7fff_f000, 0, 1)]);
    assert_eq!(bench.read(0x4123_4000), Err(6));
}

#[test]
fn invalidations_by_register_do_the_same() {
    let bench = Bench::new(VtdConfig::default());
    let top = bench.frame();
    bench.attach(DEVICE, DOMAIN, top, 4);
    bench.set_root();
    bench.write64(CCMD, 1 << 63 | 1 << 61);
    bench.wait_until(|| bench.read64(CCMD) >> 63 == 0);
    assert_eq!(bench.read64(CCMD) >> 59 & 3, 1, "granularity done");
    bench.write64(IOTLB, 1 << 63 | 1 << 60);
    bench.wait_until(|| bench.read64(IOTLB) >> 63 == 0);
    bench.command(TE, TE);
    let leaf = bench.map(top, 4, 0x1000, 1, 0x5000 | RW);
    assert_eq!(bench.read(0x1000), Ok(0x5000));
    bench.store(leaf, 0);
    bench.write64(IVA, 0x1000);
    bench.write64(IOTLB, 1 << 63 | 3 << 60 | 3 << 48 | u64::from(DOMAIN) << 32);
    bench.wait_until(|| bench.read64(IOTLB) >> 63 == 0);
    assert_eq!(bench.read64(IOTLB) >> 57 & 3, 3);
    assert_eq!(bench.read(0x1000), Err(6));
    bench.assert_no_findings();
    // An address mask beyond the unit's: refused.
    bench.write64(IVA, 0x1000 | 19);
    bench.write64(IOTLB, 1 << 63 | 3 << 60 | u64::from(DOMAIN) << 32);
    bench.wait_until(|| bench.read64(IOTLB) >> 63 == 0);
    assert_eq!(bench.read64(IOTLB) >> 57 & 3, 0);
    assert_eq!(bench.found(FindingKind::IllegalRegisterUse), 1);
}

#[test]
fn contexts_are_invalidated_by_requester_and_domain() {
    let attached = |functions: &[u16]| {
        let bench = Bench::new(VtdConfig::default());
        let top = bench.frame();
        for function in functions {
            bench.attach(DEVICE | function, DOMAIN, top, 4);
        }
        bench.map(top, 4, 0x1000, 1, 0x5000 | RW);
        bench.enable();
        for function in functions {
            assert_eq!(
                bench.reach(DEVICE | function, 0x1000, Access::Read),
                Ok(0x5000)
            );
            bench.store(CONTEXTS + u64::from(DEVICE | function) * 16, 0);
        }
        bench
    };
    let check = |descriptor, expected: &[u16]| {
        let functions = [0, 1, 2, 3, 4, 5, 6, 7];
        let bench = attached(&functions);
        bench.submit_and_wait(&[descriptor]);
        let gone = functions
            .into_iter()
            .filter(|function| bench.reach(DEVICE | function, 0x1000, Access::Read) == Err(2));
        assert_eq!(gone.collect::<Vec<_>>(), expected, "{descriptor:x?}");
    };
    check(context_device(DOMAIN, DEVICE | 1, 0), &[1]);
    check(context_device(DOMAIN, DEVICE | 1, 1), &[1, 5]);
    check(context_device(DOMAIN, DEVICE | 1, 2), &[1, 3, 5, 7]);
    check(context_device(DOMAIN, DEVICE, 3), &[0, 1, 2, 3, 4, 5, 6, 7]);
    check(context_device(OTHER_DOMAIN, DEVICE, 3), &[]);
    check(
        [0x21 | u64::from(DOMAIN) << 16, 0],
        &[0, 1, 2, 3, 4, 5, 6, 7],
    );
    check([0x21 | u64::from(OTHER_DOMAIN) << 16, 0], &[]);
    check(CONTEXT_GLOBAL, &[0, 1, 2, 3, 4, 5, 6, 7]);
}
