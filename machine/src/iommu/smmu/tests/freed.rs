use super::super::SmmuConfig;
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
    let (bench, root) = Bench::translating(first());
    let page = bench.frame();
    let leaf = bench.map(root, 0x1000, 3, page | PAGE);
    assert_eq!(ways(&bench, page), 1, "the table");
    assert_eq!(bench.read(0x1000), Ok(page));
    assert_eq!(ways(&bench, page), 2, "the table and the TLB");
    bench.store(leaf, 0);
    assert_eq!(ways(&bench, page), 1, "the TLB");
    bench.submit(&[nh_va(DOMAIN, 0x1000, 1)]);
    bench.wait_until(|| bench.is_done());
    assert_eq!(ways(&bench, page), 1, "not synchronised");
    bench.submit_and_wait(&[]);
    assert_eq!(ways(&bench, page), 0);
}

#[test]
fn table_freed_while_a_leaf_only_invalidation_kept_it_is_found() {
    let (bench, root) = Bench::translating(first());
    let leaf = bench.map(root, 0x1000, 3, 0x5000 | PAGE);
    let table = leaf & !0xfff;
    assert_eq!(bench.read(0x1000), Ok(0x5000));
    assert_eq!(ways(&bench, table), 2, "the table above and its cache");
    bench.store(bench.load(root) & !0xfff, 0);
    bench.submit_and_wait(&[nh_va(DOMAIN, 0x1000, 1)]);
    assert_eq!(ways(&bench, table), 1, "the cache");
    bench.submit_and_wait(&[nh_va(DOMAIN, 0x1000, 0)]);
    assert_eq!(ways(&bench, table), 0);
}

#[test]
fn root_freed_before_its_descriptor_is_forgotten_is_found() {
    let (bench, root) = Bench::translating(first());
    assert_eq!(bench.read(0x1000), Err(0x10));
    assert_eq!(
        ways(&bench, root),
        2,
        "the context descriptor and its cache"
    );
    assert_eq!(ways(&bench, CONTEXTS), 2, "the entry and its cache");
    bench.store(entry_of(DEVICE), 0);
    assert_eq!((ways(&bench, root), ways(&bench, CONTEXTS)), (1, 1));
    bench.submit_and_wait(&[cfgi_ste(DEVICE.into(), 1)]);
    assert_eq!((ways(&bench, root), ways(&bench, CONTEXTS)), (0, 0));
}

#[test]
fn frames_the_registers_use_must_not_be_freed() {
    let (bench, _) = Bench::translating_stage2(SmmuConfig::default());
    let used = |bench: &Bench| [STREAMS, COMMANDS, EVENTS].map(|phys| ways(bench, phys));
    assert_eq!(used(&bench), [1, 1, 1]);
    bench.control(CMDQEN | EVENTQEN);
    assert_eq!(used(&bench), [0, 1, 1]);
    bench.control(0);
    assert_eq!(used(&bench), [0, 0, 0]);
}

#[test]
fn memory_mapped_at_its_own_address_may_be_freed() {
    let (bench, root) = Bench::translating(first());
    bench.map(root, 0x40_0000, 2, 0x40_0000 | BLOCK);
    assert_eq!(bench.read(0x40_3000), Ok(0x40_3000));
    assert_eq!(ways(&bench, 0x40_3000), 0);
}

#[test]
fn audit_lists_every_leaf_and_table() {
    let (bench, root) = Bench::translating(first());
    bench.map(root, 0x1000, 3, 0x5000 | PAGE_RO);
    bench.map(root, 0x4000_0000, 1, 0x8000_0000 | BLOCK);
    // A second stream of the same domain, and one that passes.
    bench.attach(DEVICE + 1, DOMAIN, root);
    bench.store(entry_of(DEVICE + 2), 0b1001);
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
            (DEVICE, 0x4000_0000, 0x8000_0000, 0x4000_0000, Access::Write),
            (DEVICE + 2, 0, 0, u64::MAX, Access::Write),
        ]
    );
    // Four frames of stream table, two descriptors, and one table for each level.
    assert_eq!(audit.table_frames.len(), 4 + 2 + 3);
    assert_eq!(audit.leaves[0].unit, "smmu0");
}

#[test]
fn table_that_leads_to_itself_ends_the_audit_all_the_same() {
    let (bench, root) = Bench::translating(first());
    for index in 0..512 {
        bench.store(root + index * 8, root | TABLE);
    }
    let mut audit = Audit::default();
    bench.unit.audit(&mut audit);
    bench.unit.frames_freed(0x70_0000, 0x1000);
}
