use super::super::{CachingMode, VtdConfig, WriteBuffer};
use super::bench::*;
use crate::cache::Snooping;
use crate::findings::FindingKind;
use crate::temper::Temper;

fn with_temper(temper: Temper) -> (Bench, u64) {
    let bench = Bench::with(VtdConfig::default(), temper, Snooping::On);
    let top = bench.start(4);
    (bench, top)
}

#[test]
fn keep_remembers_what_was_not_invalidated() {
    let (bench, top) = with_temper(Temper::Keep);
    let leaf = bench.map(top, 4, 0x1000, 1, 0x5000 | RW);
    assert_eq!(bench.write(0x1000), Ok(0x5000));
    bench.store(leaf, 0);
    for _ in 0..100 {
        assert_eq!(bench.write(0x1000), Ok(0x5000));
    }
    bench.submit_and_wait(&[iotlb_pages(DOMAIN, 0x1000, 0, 1)]);
    assert_eq!(bench.write(0x1000), Err(5));
}

#[test]
fn forget_walks_every_time() {
    let (bench, top) = with_temper(Temper::Forget);
    let leaf = bench.map(top, 4, 0x1000, 1, 0x5000 | RW);
    assert_eq!(bench.write(0x1000), Ok(0x5000));
    bench.store(leaf, 0);
    assert_eq!(bench.write(0x1000), Err(5));
    assert_eq!(bench.unit.statistics().hits, 0);
}

#[test]
fn random_does_both() {
    let (bench, top) = with_temper(Temper::Random(9));
    let mut stale = 0;
    for bus in (0..64).map(|page| page << 12) {
        let leaf = bench.map(top, 4, bus, 1, 0x5000 | RW);
        assert_eq!(bench.write(bus), Ok(0x5000));
        bench.store(leaf, 0);
        stale += u32::from(bench.write(bus).is_ok());
    }
    assert!((1..64).contains(&stale), "{stale} of 64 were stale");
}

#[test]
fn keep_remembers_permissions() {
    let (bench, top) = with_temper(Temper::Keep);
    let leaf = bench.map(top, 4, 0x1000, 1, 0x5000 | R);
    assert_eq!(bench.read(0x1000), Ok(0x5000));
    bench.store(leaf, 0x5000 | RW);
    assert_eq!(bench.write(0x1000), Err(5));
}

#[test]
fn keep_remembers_tables_at_every_level() {
    for level in [2, 3, 4] {
        let (bench, top) = with_temper(Temper::Keep);
        bench.map(top, 4, 0x1000, 1, 0x5000 | RW);
        bench.map(top, 4, 0x2000, 1, 0x6000 | RW);
        assert_eq!(bench.read(0x1000), Ok(0x5000));
        // The entry is gone, but the page beside it is still found through the tables walked before.
        let mut entry = top;
        for _ in level..4 {
            entry = bench.ram.load_u64(entry).expect("in RAM") & !0xfff;
        }
        bench.store(entry, 0);
        bench.submit_and_wait(&[iotlb_pages(DOMAIN, 0x2000, 0, 1)]);
        assert_eq!(bench.read(0x2000), Ok(0x6000), "hint: tables stay");
        bench.submit_and_wait(&[iotlb_pages(DOMAIN, 0x2000, 0, 0)]);
        assert_eq!(bench.read(0x2000), Err(6), "no hint: tables go");
        assert_eq!(bench.read(0x1000), Ok(0x5000), "its translation stays");
    }
}

#[test]
fn context_entry_is_remembered_until_its_own_invalidation() {
    let (bench, top) = with_temper(Temper::Keep);
    bench.map(top, 4, 0x1000, 1, 0x5000 | RW);
    assert_eq!(bench.read(0x1000), Ok(0x5000));
    bench.store(CONTEXTS + 0x180, 0);
    bench.submit_and_wait(&[IOTLB_GLOBAL]);
    assert_eq!(bench.read(0x1000), Ok(0x5000));
    bench.submit_and_wait(&[CONTEXT_GLOBAL, IOTLB_GLOBAL]);
    assert_eq!(bench.read(0x1000), Err(2));
}

#[test]
fn absence_is_not_remembered_without_caching_mode() {
    let bench = Bench::new(VtdConfig::default());
    bench.enable();
    assert_eq!(bench.read(0x1000), Err(1));
    let top = bench.frame();
    bench.attach(DEVICE, DOMAIN, top, 4);
    assert_eq!(bench.read(0x1000), Err(6));
    bench.map(top, 4, 0x1000, 1, 0x5000 | RW);
    assert_eq!(bench.read(0x1000), Ok(0x5000));
    bench.assert_no_findings();
}

#[test]
fn absence_is_remembered_with_caching_mode() {
    let config = VtdConfig {
        caching_mode: CachingMode::NotPresentToo,
        ..VtdConfig::default()
    };
    let bench = Bench::new(config);
    bench.enable();
    assert_eq!(bench.read(0x1000), Err(1));
    let top = bench.frame();
    bench.attach(DEVICE, DOMAIN, top, 4);
    assert_eq!(bench.read(0x1000), Err(1));
    // What is absent is tagged with domain 0.
    bench.submit_and_wait(&[context_device(DOMAIN, DEVICE, 0)]);
    assert_eq!(bench.read(0x1000), Err(1));
    bench.submit_and_wait(&[context_device(0, DEVICE, 0), iotlb_domain(DOMAIN)]);
    assert_eq!(bench.read(0x1000), Err(6));
    // The top entry was absent: a hint that only leaves changed would be a lie.
    bench.map(top, 4, 0x1000, 1, 0x5000 | RW);
    bench.submit_and_wait(&[iotlb_pages(DOMAIN, 0x1000, 0, 1)]);
    assert_eq!(bench.read(0x1000), Err(6));
    bench.submit_and_wait(&[iotlb_pages(DOMAIN, 0x1000, 0, 0)]);
    assert_eq!(bench.read(0x1000), Ok(0x5000));
    // A leaf beside it was never looked for; one that was is remembered as absent.
    assert_eq!(bench.read(0x2000), Err(6));
    bench.map(top, 4, 0x2000, 1, 0x6000 | RW);
    assert_eq!(bench.read(0x2000), Err(6));
    bench.submit_and_wait(&[iotlb_pages(DOMAIN, 0x2000, 0, 1)]);
    assert_eq!(bench.read(0x2000), Ok(0x6000));
    bench.assert_no_findings();
}

#[test]
fn domain_zero_is_reserved_with_caching_mode() {
    let config = VtdConfig {
        caching_mode: CachingMode::NotPresentToo,
        ..VtdConfig::default()
    };
    let bench = Bench::new(config);
    bench.attach(DEVICE, 0, bench.frame(), 4);
    bench.enable();
    assert_eq!(bench.read(0x1000), Err(6));
    assert_eq!(bench.found(FindingKind::ProtocolViolation), 1);
}

#[test]
fn one_domain_id_for_two_tables_is_a_finding() {
    let (bench, _) = with_temper(Temper::Keep);
    bench.attach(DEVICE + 1, DOMAIN, bench.frame(), 4);
    assert_eq!(bench.read(0x1000), Err(6));
    assert_eq!(
        bench.reach(DEVICE + 1, 0x1000, crate::bus::Access::Read),
        Err(6)
    );
    assert_eq!(bench.found(FindingKind::ProtocolViolation), 1);
}

#[test]
fn large_page_is_also_remembered_in_pieces() {
    let (bench, top) = with_temper(Temper::Keep);
    let leaf = bench.map(top, 4, 0x20_0000, 2, 0x40_0000 | PS | RW);
    assert_eq!(bench.read(0x20_5000), Ok(0x40_5000));
    bench.store(leaf, 0);
    assert_eq!(
        bench.read(0x3f_f000),
        Ok(0x5f_f000),
        "the whole page is remembered"
    );
    bench.submit_and_wait(&[iotlb_pages(DOMAIN, 0x20_0000, 0, 0)]);
    assert_eq!(bench.read(0x3f_f000), Err(6), "the whole page is gone");
    assert_eq!(
        bench.read(0x20_5000),
        Ok(0x40_5000),
        "a piece that was not covered is not"
    );
    bench.submit_and_wait(&[iotlb_pages(DOMAIN, 0x20_0000, 9, 0)]);
    assert_eq!(bench.read(0x20_5000), Err(6));
}

#[test]
fn store_waits_in_the_write_buffer_until_it_is_flushed() {
    let config = VtdConfig {
        write_buffer: WriteBuffer::NeedsFlush,
        ..VtdConfig::default()
    };
    let bench = Bench::with(config, Temper::Forget, Snooping::On);
    let top = bench.start(4);
    bench.map(top, 4, 0x1000, 1, 0x5000 | RW);
    assert_eq!(bench.read(0x1000), Ok(0x5000));
    bench.map(top, 4, 0x2000, 1, 0x6000 | RW);
    assert_eq!(bench.read(0x2000), Err(6));
    bench.command(WBF, 0);
    bench.wait_until(|| bench.read32(GSTS) & WBF == 0);
    assert_eq!(bench.read(0x2000), Ok(0x6000));
    // An invalidation flushes too.
    bench.map(top, 4, 0x3000, 1, 0x7000 | RW);
    assert_eq!(bench.read(0x3000), Err(6));
    bench.submit_and_wait(&[iotlb_domain(DOMAIN)]);
    assert_eq!(bench.read(0x3000), Ok(0x7000));
    bench.assert_no_findings();
}
