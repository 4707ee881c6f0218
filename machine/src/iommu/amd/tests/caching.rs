use super::super::AmdConfig;
use super::bench::*;
use crate::bus::Access;
use crate::cache::Snooping;
use crate::findings::FindingKind;
use crate::temper::Temper;

fn with_temper(temper: Temper) -> (Bench, u64) {
    let bench = Bench::with(AmdConfig::default(), temper, Snooping::On);
    let top = bench.start(4);
    (bench, top)
}

#[test]
fn keep_remembers_translations_that_were_not_invalidated() {
    let (bench, top) = with_temper(Temper::Keep);
    let leaf = bench.map(top, 4, 0x1000, 1, entry(0x5000, 0));
    assert_eq!(bench.write(0x1000), Ok(0x5000));
    bench.store(leaf, 0);
    for _ in 0..100 {
        assert_eq!(bench.write(0x1000), Ok(0x5000));
    }
    bench.submit_and_wait(&[invalidate_page(DOMAIN, 0x1000, 0)]);
    assert_eq!(bench.write(0x1000), Err(2));
}

#[test]
fn keep_remembers_device_entries_that_were_not_invalidated() {
    let (bench, top) = with_temper(Temper::Keep);
    bench.map(top, 4, 0x1000, 1, entry(0x5000, 0));
    assert_eq!(bench.write(0x1000), Ok(0x5000));
    bench.set_entry(DEVICE, [V | TV, 0, 0, 0]);
    assert_eq!(bench.write(0x1000), Ok(0x5000));
    // Pages alone do not make it forget the entry, nor does another device's entry.
    bench.submit_and_wait(&[invalidate_domain(DOMAIN), invalidate_device(DEVICE + 1)]);
    assert_eq!(bench.write(0x1000), Ok(0x5000));
    bench.submit_and_wait(&[invalidate_device(DEVICE)]);
    assert_eq!(bench.write(0x1000), Err(2));
}

#[test]
fn an_entry_that_blocks_is_remembered_too() {
    let (bench, top) = with_temper(Temper::Keep);
    bench.map(top, 4, 0x1000, 1, entry(0x5000, 0));
    bench.set_entry(8, [V | TV, 0, 0, 0]);
    assert_eq!(bench.reach(8, 0x1000, Access::Read), Err(2));
    bench.attach(8, DOMAIN, top, 4);
    assert_eq!(bench.reach(8, 0x1000, Access::Read), Err(2));
    bench.submit_and_wait(&[invalidate_device(8)]);
    assert_eq!(bench.reach(8, 0x1000, Access::Read), Ok(0x5000));
}

#[test]
fn forget_walks_every_time() {
    let (bench, top) = with_temper(Temper::Forget);
    let leaf = bench.map(top, 4, 0x1000, 1, entry(0x5000, 0));
    assert_eq!(bench.write(0x1000), Ok(0x5000));
    bench.store(leaf, 0);
    assert_eq!(bench.write(0x1000), Err(2));
    bench.set_entry(DEVICE, [V | TV | RW, 0, 0, 0]);
    assert_eq!(bench.write(0x1000), Ok(0x1000));
    assert_eq!(bench.unit.statistics().hits, 0);
}

#[test]
fn random_does_both() {
    let (bench, top) = with_temper(Temper::Random(9));
    let mut stale = 0;
    for bus in (0..64).map(|page| page << 12) {
        let leaf = bench.map(top, 4, bus, 1, entry(0x5000, 0));
        assert_eq!(bench.write(bus), Ok(0x5000));
        bench.store(leaf, 0);
        stale += u32::from(bench.write(bus).is_ok());
    }
    assert!((1..64).contains(&stale), "{stale} of 64 were stale");
}

#[test]
fn absence_is_not_remembered() {
    let (bench, top) = with_temper(Temper::Keep);
    assert_eq!(bench.write(0x1000), Err(2));
    bench.map(top, 4, 0x1000, 1, entry(0x5000, 0));
    assert_eq!(bench.write(0x1000), Ok(0x5000));
}

#[test]
fn tables_are_remembered_until_an_invalidation_names_them() {
    let (bench, top) = with_temper(Temper::Keep);
    bench.map(top, 4, 0x1000, 1, entry(0x5000, 0));
    assert_eq!(bench.write(0x1000), Ok(0x5000));
    // The whole way is another now.
    let top_word = bench.load(top);
    bench.store(top, 0);
    bench.map(top, 4, 0x1000, 1, entry(0x6000, 0));
    bench.submit_and_wait(&[invalidate_page(DOMAIN, 0x1000, 0)]);
    assert_eq!(
        bench.write(0x1000),
        Ok(0x5000),
        "through the remembered tables"
    );
    bench.submit_and_wait(&[invalidate_page(DOMAIN, 0x1000, 1)]);
    assert_eq!(bench.write(0x1000), Ok(0x6000));
    assert_ne!(bench.load(top), top_word);
}

#[test]
fn invalidation_covers_just_its_pages() {
    let (bench, top) = with_temper(Temper::Keep);
    // 16 KiB from 0x4000 of this domain.
    let command = [3 << 60 | u64::from(DOMAIN) << 32, 0x5001];
    let leaves: Vec<_> = (1..16)
        .map(|page| bench.map(top, 4, page << 12, 1, entry(0x10_0000, 0)))
        .collect();
    let reach = || {
        (1..16)
            .map(|page| bench.read(page << 12).is_ok())
            .collect::<Vec<_>>()
    };
    assert!(reach().iter().all(|ok| *ok));
    leaves.iter().for_each(|leaf| bench.store(*leaf, 0));
    bench.submit_and_wait(&[command]);
    let expected: Vec<_> = (1..16).map(|page| !(4..8).contains(&page)).collect();
    assert_eq!(reach(), expected);
    // Another domain's pages are not these.
    bench.submit_and_wait(&[invalidate_domain(DOMAIN + 1)]);
    assert_eq!(reach(), expected);
    bench.submit_and_wait(&[invalidate_domain(DOMAIN)]);
    assert!(reach().iter().all(|ok| !ok));
}

#[test]
fn invalidate_all_forgets_everything() {
    let (bench, top) = with_temper(Temper::Keep);
    let leaf = bench.map(top, 4, 0x1000, 1, entry(0x5000, 0));
    bench.set_entry(8, [V | TV | RW, 0, 0, 0]);
    assert_eq!(bench.read(0x1000), Ok(0x5000));
    assert_eq!(bench.reach(8, 0x1000, Access::Read), Ok(0x1000));
    bench.store(leaf, 0);
    bench.set_entry(8, [V | TV, 0, 0, 0]);
    bench.submit_and_wait(&[INVALIDATE_ALL]);
    assert_eq!(bench.read(0x1000), Err(2));
    assert_eq!(bench.reach(8, 0x1000, Access::Read), Err(2));
}

#[test]
fn caches_survive_while_the_unit_is_off() {
    let (bench, top) = with_temper(Temper::Keep);
    let leaf = bench.map(top, 4, 0x1000, 1, entry(0x5000, 0));
    assert_eq!(bench.read(0x1000), Ok(0x5000));
    bench.disable();
    bench.store(leaf, 0);
    bench.enable();
    assert_eq!(bench.read(0x1000), Ok(0x5000));
    bench.submit_and_wait(&[INVALIDATE_ALL]);
    assert_eq!(bench.read(0x1000), Err(2));
}

#[test]
fn one_domain_id_for_two_tables_is_a_finding() {
    let (bench, _) = with_temper(Temper::Keep);
    bench.attach(DEVICE + 1, DOMAIN, bench.frame(), 4);
    assert_eq!(bench.read(0x1000), Err(2));
    assert_eq!(bench.reach(DEVICE + 1, 0x1000, Access::Read), Err(2));
    assert_eq!(bench.found(FindingKind::ProtocolViolation), 1);
}

#[test]
fn one_domain_id_for_a_table_and_for_none_is_a_finding() {
    let (bench, _) = with_temper(Temper::Keep);
    bench.set_entry(DEVICE + 1, [V | TV, DOMAIN.into(), 0, 0]);
    assert_eq!(bench.read(0x1000), Err(2));
    assert_eq!(bench.reach(DEVICE + 1, 0x1000, Access::Read), Err(2));
    assert_eq!(bench.found(FindingKind::ProtocolViolation), 1);
}

#[test]
fn large_page_is_forgotten_whole() {
    let (bench, top) = with_temper(Temper::Keep);
    let leaf = bench.map(top, 4, 0x4000_0000, 2, entry(0x80_0000, 0));
    for page in 0..512 {
        assert_eq!(
            bench.read(0x4000_0000 + (page << 12)),
            Ok(0x80_0000 + (page << 12))
        );
    }
    bench.store(leaf, 0);
    let command = [3 << 60 | u64::from(DOMAIN) << 32, 0x400f_f001];
    bench.submit_and_wait(&[command]);
    assert!((0..512).all(|page| bench.read(0x4000_0000 + (page << 12)) == Err(2)));
}
