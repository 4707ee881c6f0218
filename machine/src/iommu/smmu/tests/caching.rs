use super::super::SmmuConfig;
use super::bench::*;
use crate::bus::Access;
use crate::findings::FindingKind;
use crate::temper::Temper;

#[test]
fn keep_remembers_what_was_not_invalidated() {
    let (bench, root) = Bench::translating(first());
    let leaf = bench.map(root, 0x1000, 3, 0x5000 | PAGE);
    assert_eq!(bench.write(0x1000), Ok(0x5000));
    bench.store(leaf, 0);
    for _ in 0..100 {
        assert_eq!(bench.write(0x1000), Ok(0x5000));
    }
    bench.submit_and_wait(&[nh_va(DOMAIN, 0x1000, 1)]);
    assert_eq!(bench.write(0x1000), Err(0x10));
}

#[test]
fn invalidation_is_not_done_before_it_is_synchronised() {
    let (bench, root) = Bench::translating(first());
    let leaf = bench.map(root, 0x1000, 3, 0x5000 | PAGE);
    assert_eq!(bench.write(0x1000), Ok(0x5000));
    bench.store(leaf, 0);
    bench.submit(&[nh_va(DOMAIN, 0x1000, 1)]);
    bench.wait_until(|| bench.is_done());
    assert_eq!(bench.write(0x1000), Ok(0x5000), "consumed, not done");
    bench.submit_and_wait(&[]);
    assert_eq!(bench.write(0x1000), Err(0x10));
}

#[test]
fn forget_walks_every_time() {
    let (bench, root) = Bench::tempered(first(), Temper::Forget);
    let leaf = bench.map(root, 0x1000, 3, 0x5000 | PAGE);
    assert_eq!(bench.write(0x1000), Ok(0x5000));
    bench.store(leaf, 0);
    assert_eq!(bench.write(0x1000), Err(0x10));
    assert_eq!(bench.unit.statistics().hits, 0);
}

#[test]
fn random_does_both() {
    let (bench, root) = Bench::tempered(first(), Temper::Random(9));
    let mut stale = 0;
    for bus in (0..64).map(|page| page << 12) {
        let leaf = bench.map(root, bus, 3, 0x5000 | PAGE);
        assert_eq!(bench.write(bus), Ok(0x5000));
        bench.store(leaf, 0);
        stale += u32::from(bench.write(bus).is_ok());
    }
    assert!((1..64).contains(&stale), "{stale} of 64 were stale");
}

#[test]
fn leaf_only_invalidation_keeps_the_tables_walked_through() {
    for level in [1, 2] {
        let (bench, root) = Bench::translating(first());
        bench.map(root, 0x1000, 3, 0x5000 | PAGE);
        bench.map(root, 0x2000, 3, 0x6000 | PAGE);
        assert_eq!(bench.read(0x1000), Ok(0x5000));
        let mut entry = root;
        for _ in 1..level {
            entry = bench.load(entry) & !0xfff;
        }
        bench.store(entry, 0);
        bench.submit_and_wait(&[nh_va(DOMAIN, 0x2000, 1)]);
        assert_eq!(bench.read(0x2000), Ok(0x6000), "leaf only: tables stay");
        bench.submit_and_wait(&[nh_va(DOMAIN, 0x2000, 0)]);
        assert_eq!(bench.read(0x2000), Err(0x10), "tables go");
        assert_eq!(bench.read(0x1000), Ok(0x5000), "its translation stays");
    }
}

#[test]
fn entry_is_remembered_until_its_own_invalidation() {
    let (bench, root) = Bench::translating(first());
    bench.map(root, 0x1000, 3, 0x5000 | PAGE);
    assert_eq!(bench.read(0x1000), Ok(0x5000));
    bench.store(entry_of(DEVICE), 0);
    bench.submit_and_wait(&[NSNH_ALL]);
    assert_eq!(bench.read(0x1000), Ok(0x5000));
    bench.submit_and_wait(&[cfgi_ste(u64::from(DEVICE) + 1, 0)]);
    assert_eq!(bench.read(0x1000), Ok(0x5000), "another's");
    bench.submit_and_wait(&[cfgi_ste(DEVICE.into(), 1)]);
    assert_eq!(bench.read(0x1000), Err(0x04));
}

#[test]
fn context_descriptor_is_remembered_until_its_own_invalidation() {
    let (bench, root) = Bench::translating(first());
    let other = bench.frame();
    bench.map(root, 0x1000, 3, 0x5000 | PAGE);
    bench.map(other, 0x1000, 3, 0x6000 | PAGE);
    assert_eq!(bench.read(0x1000), Ok(0x5000));
    bench.store(context_of(DEVICE) + 8, other);
    bench.submit_and_wait(&[nh_asid(DOMAIN)]);
    assert_eq!(bench.read(0x1000), Ok(0x5000));
    bench.submit_and_wait(&[cfgi_cd(DEVICE.into())]);
    assert_eq!(bench.read(0x1000), Ok(0x5000), "the translation stays");
    bench.submit_and_wait(&[nh_asid(DOMAIN)]);
    assert_eq!(bench.read(0x1000), Ok(0x6000));
    // An entry's invalidation takes its descriptor along.
    bench.store(context_of(DEVICE) + 8, root);
    bench.submit_and_wait(&[cfgi_ste(DEVICE.into(), 1)]);
    bench.submit_and_wait(&[nh_asid(DOMAIN)]);
    assert_eq!(bench.read(0x1000), Ok(0x5000));
}

#[test]
fn what_is_not_valid_is_remembered_too() {
    let bench = Bench::new(first());
    bench.enable();
    let root = bench.frame();
    bench.map(root, 0x1000, 3, 0x5000 | PAGE);
    assert_eq!(bench.read(0x1000), Err(0x04));
    bench.attach(DEVICE, DOMAIN, root);
    assert_eq!(bench.read(0x1000), Err(0x04));
    bench.submit_and_wait(&[cfgi_ste(DEVICE.into(), 1)]);
    assert_eq!(bench.read(0x1000), Ok(0x5000));
    bench.assert_no_findings();
}

#[test]
fn first_level_descriptor_is_remembered_until_an_invalidation_that_is_not_leaf_only() {
    let bench = Bench::new(first());
    let (level1, block, root) = (0x1_c000, bench.frame(), bench.frame());
    bench.map(root, 0x1000, 3, 0x5000 | PAGE);
    bench.connect();
    bench.write64(STRTAB_BASE, level1);
    bench.write32(STRTAB_BASE_CFG, 1 << 16 | 6 << 6 | 8);
    bench.submit_and_wait(&[CFGI_ALL, NSNH_ALL]);
    bench.control(CMDQEN | EVENTQEN | SMMUEN);
    assert_eq!(bench.read(0x1000), Err(0x02));
    bench.attach(DEVICE, DOMAIN, root);
    bench.store(block + 0x18 * 64, stage1_entry(DEVICE));
    bench.store(level1, block | 7);
    bench.submit_and_wait(&[cfgi_ste(DEVICE.into(), 1)]);
    assert_eq!(bench.read(0x1000), Err(0x02));
    bench.submit_and_wait(&[cfgi_ste(DEVICE.into(), 0)]);
    assert_eq!(bench.read(0x1000), Ok(0x5000));
}

#[test]
fn absence_of_a_translation_is_not_remembered() {
    let (bench, root) = Bench::translating(first());
    assert_eq!(bench.read(0x1000), Err(0x10));
    bench.map(root, 0x1000, 3, 0x5000 | PAGE);
    assert_eq!(bench.read(0x1000), Ok(0x5000));
    bench.assert_no_findings();
}

#[test]
fn global_translations_are_for_every_asid() {
    let (bench, root) = Bench::translating(first());
    let leaf = bench.map(root, 0x1000, 3, 0x5000 | PAGE & !0x800);
    assert_eq!(bench.read(0x1000), Ok(0x5000));
    bench.store(leaf, 0);
    // Another ASID finds it.
    bench.attach(DEVICE + 1, DOMAIN + 1, bench.frame());
    bench.submit_and_wait(&[cfgi_ste(u64::from(DEVICE) + 1, 1)]);
    assert_eq!(bench.reach(DEVICE + 1, 0x1000, Access::Read), Ok(0x5000));
    bench.submit_and_wait(&[nh_asid(DOMAIN)]);
    assert_eq!(bench.read(0x1000), Ok(0x5000), "not of the ASID");
    bench.submit_and_wait(&[nh_va(DOMAIN, 0x1000, 1)]);
    assert_eq!(bench.read(0x1000), Err(0x10));
}

#[test]
fn one_asid_for_two_tables_is_a_finding() {
    let (bench, _) = Bench::translating(SmmuConfig::default());
    bench.attach(DEVICE + 1, DOMAIN, bench.frame());
    assert_eq!(bench.read(0x1000), Err(0x10));
    assert_eq!(bench.reach(DEVICE + 1, 0x1000, Access::Read), Err(0x10));
    assert_eq!(bench.found(FindingKind::ProtocolViolation), 1);
}
