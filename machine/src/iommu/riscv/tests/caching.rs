use super::super::{Extension, RiscvConfig};
use super::bench::*;
use crate::bus::Access;
use crate::cache::Snooping;
use crate::findings::FindingKind;
use crate::temper::Temper;

fn with_temper(temper: Temper) -> (Bench, u64) {
    let bench = Bench::with(RiscvConfig::default(), temper, Snooping::On);
    let top = bench.start(4);
    (bench, top)
}

#[test]
fn keep_remembers_what_was_not_invalidated() {
    let (bench, top) = with_temper(Temper::Keep);
    let leaf = bench.map(top, 4, 0x1000, 1, entry(0x5000, RW));
    assert_eq!(bench.write(0x1000), Ok(0x5000));
    bench.store(leaf, 0);
    for _ in 0..100 {
        assert_eq!(bench.write(0x1000), Ok(0x5000));
    }
    bench.submit_and_wait(&[page(SPACE, 0x1000)]);
    assert_eq!(bench.write(0x1000), Err(15));
}

#[test]
fn forget_walks_every_time() {
    let (bench, top) = with_temper(Temper::Forget);
    let leaf = bench.map(top, 4, 0x1000, 1, entry(0x5000, RW));
    assert_eq!(bench.write(0x1000), Ok(0x5000));
    bench.store(leaf, 0);
    assert_eq!(bench.write(0x1000), Err(15));
    assert_eq!(bench.unit.statistics().hits, 0);
}

#[test]
fn random_does_both() {
    let (bench, top) = with_temper(Temper::Random(9));
    let mut stale = 0;
    for bus in (0..64).map(|page| page << 12) {
        let leaf = bench.map(top, 4, bus, 1, entry(0x5000, RW));
        assert_eq!(bench.write(bus), Ok(0x5000));
        bench.store(leaf, 0);
        stale += u32::from(bench.write(bus).is_ok());
    }
    assert!((1..64).contains(&stale), "{stale} of 64 were stale");
}

#[test]
fn keep_remembers_tables_at_every_level_and_an_address_takes_none() {
    for level in [2, 3, 4] {
        let (bench, top) = with_temper(Temper::Keep);
        bench.map(top, 4, 0x1000, 1, entry(0x5000, RW));
        bench.map(top, 4, 0x2000, 1, entry(0x6000, RW));
        assert_eq!(bench.read(0x1000), Ok(0x5000));
        // The entry is gone, but the page beside it is still found through the tables walked before.
        let mut at = top;
        for _ in level..4 {
            at = bench.load(at) >> 10 << 12;
        }
        bench.store(at, 0);
        bench.submit_and_wait(&[page(SPACE, 0x2000)]);
        assert_eq!(
            bench.read(0x2000),
            Ok(0x6000),
            "an address names leaves alone"
        );
        bench.submit_and_wait(&[space(SPACE)]);
        assert_eq!(
            bench.read(0x2000),
            Err(13),
            "the whole space names tables too"
        );
        bench.assert_no_findings();
    }
}

#[test]
fn address_takes_tables_with_the_extension() {
    let config = RiscvConfig {
        non_leaf_invalidation: Extension::Present,
        ..RiscvConfig::default()
    };
    let (bench, top) = Bench::translating(config, 4);
    bench.map(top, 4, 0x1000, 1, entry(0x5000, RW));
    bench.map(top, 4, 0x2000, 1, entry(0x6000, RW));
    assert_eq!(bench.read(0x1000), Ok(0x5000));
    bench.store(top, 0);
    let [low, high] = page(SPACE, 0x2000);
    bench.submit_and_wait(&[[low | 1 << 34, high]]);
    assert_eq!(bench.read(0x2000), Err(13));
    assert_eq!(bench.read(0x1000), Ok(0x5000), "its translation stays");
}

#[test]
fn context_is_remembered_until_its_own_invalidation() {
    let (bench, top) = with_temper(Temper::Keep);
    bench.map(top, 4, 0x1000, 1, entry(0x5000, RW));
    assert_eq!(bench.read(0x1000), Ok(0x5000));
    bench.store(bench.context(DEVICE), 0);
    bench.submit_and_wait(&[FIRST_STAGES, SECOND_STAGES, device(DEVICE + 1)]);
    assert_eq!(bench.read(0x1000), Ok(0x5000));
    bench.submit_and_wait(&[device(DEVICE)]);
    assert_eq!(bench.read(0x1000), Err(258));
}

#[test]
fn tables_of_the_directory_are_remembered_until_all_of_it_is_invalidated() {
    let (bench, top) = with_temper(Temper::Keep);
    bench.map(top, 4, 0x1000, 1, entry(0x5000, RW));
    assert_eq!(bench.read(0x1000), Ok(0x5000));
    bench.store(ROOT, 0);
    bench.submit_and_wait(&[device(DEVICE)]);
    assert_eq!(bench.read(0x1000), Ok(0x5000));
    bench.submit_and_wait(&[DIRECTORY]);
    assert_eq!(bench.read(0x1000), Err(258));
}

#[test]
fn absence_is_not_remembered() {
    let bench = Bench::new(RiscvConfig::default());
    bench.enable();
    assert_eq!(bench.read(0x1000), Err(258));
    let top = bench.frame();
    bench.attach(DEVICE, SPACE, top, 4);
    assert_eq!(bench.read(0x1000), Err(13));
    bench.map(top, 4, 0x1000, 1, entry(0x5000, RW));
    assert_eq!(bench.read(0x1000), Ok(0x5000));
    bench.assert_no_findings();
}

#[test]
fn global_pages_outlive_the_invalidation_of_a_space() {
    let (bench, top) = with_temper(Temper::Keep);
    let leaf = bench.map(top, 4, 0x1000, 1, entry(0x5000, RW | 0x20));
    assert_eq!(bench.read(0x1000), Ok(0x5000));
    bench.store(leaf, 0);
    bench.submit_and_wait(&[space(SPACE), page(SPACE, 0x1000)]);
    assert_eq!(bench.read(0x1000), Ok(0x5000));
    bench.submit_and_wait(&[FIRST_STAGES]);
    assert_eq!(bench.read(0x1000), Err(13));
}

#[test]
fn one_soft_context_id_for_two_tables_is_a_finding() {
    let (bench, _) = with_temper(Temper::Keep);
    bench.attach(DEVICE + 1, SPACE, bench.frame(), 4);
    assert_eq!(bench.read(0x1000), Err(13));
    assert_eq!(bench.reach(DEVICE + 1, 0x1000, Access::Read), Err(13));
    assert_eq!(bench.found(FindingKind::ProtocolViolation), 1);
}

#[test]
fn large_page_is_also_remembered_in_pieces() {
    let (bench, top) = with_temper(Temper::Keep);
    let leaf = bench.map(top, 4, 0x20_0000, 2, entry(0x40_0000, RW));
    assert_eq!(bench.read(0x20_5000), Ok(0x40_5000));
    bench.store(leaf, 0);
    assert_eq!(
        bench.read(0x3f_f000),
        Ok(0x5f_f000),
        "the whole page is remembered"
    );
    bench.submit_and_wait(&[page(SPACE, 0x20_0000)]);
    assert_eq!(bench.read(0x3f_f000), Err(13), "the whole page is gone");
    assert_eq!(
        bench.read(0x20_5000),
        Ok(0x40_5000),
        "a piece that was not covered is not"
    );
    bench.submit_and_wait(&[page(SPACE, 0x20_5000)]);
    assert_eq!(bench.read(0x20_5000), Err(13));
}
