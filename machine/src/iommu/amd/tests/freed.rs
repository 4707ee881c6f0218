use super::super::AmdConfig;
use super::bench::*;
use crate::audit::Audit;
use crate::bus::Access;
use crate::findings::FindingKind;
use crate::iommu::Unit;

/// Frees one frame and tells how many ways still lead to it.
fn ways(bench: &Bench, phys: u64) -> usize {
    let before = bench.found(FindingKind::FreedFrameReachable);
    bench.unit.frames_freed(phys, 0x1000);
    bench.found(FindingKind::FreedFrameReachable) - before
}

#[test]
fn page_freed_before_its_invalidation_is_found() {
    let (bench, top) = Bench::translating(AmdConfig::default(), 4);
    let page = bench.frame();
    let leaf = bench.map(top, 4, 0x1000, 1, entry(page, 0));
    assert_eq!(bench.read(0x1000), Ok(page));
    assert_eq!(ways(&bench, page), 2, "the table and the cache");
    bench.store(leaf, 0);
    assert_eq!(ways(&bench, page), 1, "the cache");
    bench.submit_and_wait(&[invalidate_page(DOMAIN, 0x1000, 0)]);
    assert_eq!(ways(&bench, page), 0);
}

#[test]
fn page_freed_before_the_wait_is_over_is_found() {
    let (bench, top) = Bench::translating(AmdConfig::default(), 4);
    bench.unit.hold_queue();
    let page = bench.frame();
    let leaf = bench.map(top, 4, 0x1000, 1, entry(page, 0));
    assert_eq!(bench.read(0x1000), Ok(page));
    bench.store(leaf, 0);
    bench.submit(&[invalidate_page(DOMAIN, 0x1000, 0), wait(1)]);
    assert_eq!(ways(&bench, page), 1);
}

#[test]
fn table_freed_while_it_was_not_named_is_found() {
    let (bench, top) = Bench::translating(AmdConfig::default(), 4);
    let leaf = bench.map(top, 4, 0x1000, 1, entry(0x5000, 0));
    let table = leaf & !0xfff;
    assert_eq!(bench.read(0x1000), Ok(0x5000));
    assert_eq!(ways(&bench, table), 2, "the table above and the cache");
    let mut above = top;
    for _ in 0..2 {
        above = bench.load(above) & 0x000f_ffff_ffff_f000;
    }
    bench.store(above, 0);
    bench.submit_and_wait(&[invalidate_page(DOMAIN, 0x1000, 0)]);
    assert_eq!(ways(&bench, table), 1, "the cache");
    bench.submit_and_wait(&[invalidate_page(DOMAIN, 0x1000, 1)]);
    assert_eq!(ways(&bench, table), 0);
}

#[test]
fn top_table_freed_before_its_device_entry_is_forgotten_is_found() {
    let (bench, top) = Bench::translating(AmdConfig::default(), 4);
    assert_eq!(bench.read(0x1000), Err(2));
    assert_eq!(ways(&bench, top), 2, "the entry and its cache");
    bench.set_entry(DEVICE, [V | TV, 0, 0, 0]);
    assert_eq!(ways(&bench, top), 1, "the cache");
    bench.submit_and_wait(&[invalidate_device(DEVICE), invalidate_domain(DOMAIN)]);
    assert_eq!(ways(&bench, top), 0);
}

#[test]
fn frames_the_registers_use_must_not_be_freed() {
    let (bench, _) = Bench::translating(AmdConfig::default(), 4);
    let frames = [DEVICES, DEVICES + 0x1f_f000, COMMANDS, EVENTS];
    assert_eq!(frames.map(|phys| ways(&bench, phys)), [1; 4]);
    // Off, none is used any more.
    bench.disable();
    assert_eq!(frames.map(|phys| ways(&bench, phys)), [0; 4]);
}

#[test]
fn memory_mapped_at_its_own_address_may_be_freed() {
    let (bench, top) = Bench::translating(AmdConfig::default(), 4);
    bench.map(top, 4, 0x40_0000, 2, entry(0x40_0000, 0));
    assert_eq!(bench.read(0x40_3000), Ok(0x40_3000));
    assert_eq!(ways(&bench, 0x40_3000), 0);
}

/// An empty device table, every device blocked.
fn blocked() -> Bench {
    let bench = Bench::new(AmdConfig::default());
    for device in 0..=u16::MAX {
        bench.store(entry_at(device), V | TV);
    }
    bench
}

#[test]
fn audit_lists_every_leaf_and_table() {
    let bench = blocked();
    let top = bench.start(4);
    bench.map(top, 4, 0x1000, 1, 0x5000 | PR | R);
    bench.map(top, 4, 0x4000_0000, 3, entry(0x8000_0000, 0));
    // Two entries of one page of 8 KiB.
    bench.map(top, 4, 0x2000, 1, entry(0x6000, 7));
    bench.map(top, 4, 0x3000, 1, entry(0x6000, 7));
    // A second device of the same domain, and one that passes.
    bench.attach(DEVICE + 1, DOMAIN, top, 4);
    bench.set_entry(0x100, [V | TV | W, 0, 0, 0]);
    let mut audit = Audit::default();
    bench.unit.audit(&mut audit);
    let leaves: Vec<_> = audit
        .leaves
        .iter()
        .map(|leaf| {
            (
                leaf.requester,
                leaf.bus,
                leaf.phys,
                leaf.len_bytes,
                leaf.access,
            )
        })
        .collect();
    assert_eq!(
        leaves,
        [
            (DEVICE, 0x1000, 0x5000, 0x1000, Access::Read),
            (DEVICE, 0x2000, 0x6000, 0x1000, Access::Write),
            (DEVICE, 0x3000, 0x7000, 0x1000, Access::Write),
            (DEVICE, 0x4000_0000, 0x8000_0000, 0x4000_0000, Access::Write),
            (0x100, 0, 0, u64::MAX, Access::Write),
        ]
    );
    // The device table, the top, and one each for levels 3, 2 and 1.
    assert_eq!(audit.table_frames.len(), 512 + 4);
    assert_eq!(audit.leaves[0].unit, "ivhd0");
}

#[test]
fn audit_finds_devices_that_pass_for_lack_of_an_entry() {
    let bench = blocked();
    bench.store(entry_at(0xffff), 0);
    bench.enable();
    let mut audit = Audit::default();
    bench.unit.audit(&mut audit);
    assert_eq!(audit.leaves.len(), 1);
    assert_eq!(audit.leaves[0].requester, 0xffff);
}

#[test]
fn table_that_leads_down_to_itself_ends_the_audit_all_the_same() {
    let bench = blocked();
    let top = bench.start(6);
    for index in 0..512 {
        bench.store(top + index * 8, entry(top, index % 6));
    }
    let mut audit = Audit::default();
    bench.unit.audit(&mut audit);
    assert!(!audit.leaves.is_empty());
    bench.unit.frames_freed(0x70_0000, 0x1000);
}
