use super::super::VtdConfig;
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
    let (bench, top) = Bench::translating(VtdConfig::default(), 4);
    let page = bench.frame();
    let leaf = bench.map(top, 4, 0x1000, 1, page | RW);
    assert_eq!(ways(&bench, page), 1, "the table");
    assert_eq!(bench.read(0x1000), Ok(page));
    assert_eq!(ways(&bench, page), 2, "the table and the IOTLB");
    bench.store(leaf, 0);
    assert_eq!(ways(&bench, page), 1, "the IOTLB");
    bench.submit_and_wait(&[iotlb_pages(DOMAIN, 0x1000, 0, 1)]);
    assert_eq!(ways(&bench, page), 0);
}

#[test]
fn page_freed_before_the_wait_is_over_is_found() {
    let (bench, top) = Bench::translating(VtdConfig::default(), 4);
    bench.unit.hold_queue();
    let page = bench.frame();
    let leaf = bench.map(top, 4, 0x1000, 1, page | RW);
    assert_eq!(bench.read(0x1000), Ok(page));
    bench.store(leaf, 0);
    bench.submit(&[iotlb_pages(DOMAIN, 0x1000, 0, 1), wait(1)]);
    assert_eq!(ways(&bench, page), 1);
}

#[test]
fn table_freed_while_a_hint_kept_it_is_found() {
    let (bench, top) = Bench::translating(VtdConfig::default(), 4);
    let leaf = bench.map(top, 4, 0x1000, 1, 0x5000 | RW);
    let table = leaf & !0xfff;
    assert_eq!(bench.read(0x1000), Ok(0x5000));
    assert_eq!(ways(&bench, table), 2, "the table above and its cache");
    let mut entry = top;
    for _ in 0..2 {
        entry = bench.ram.load_u64(entry).expect("in RAM") & !0xfff;
    }
    bench.store(entry, 0);
    bench.submit_and_wait(&[iotlb_pages(DOMAIN, 0x1000, 0, 1)]);
    assert_eq!(ways(&bench, table), 1, "the cache");
    bench.submit_and_wait(&[iotlb_pages(DOMAIN, 0x1000, 0, 0)]);
    assert_eq!(ways(&bench, table), 0);
}

#[test]
fn top_table_freed_before_its_context_is_forgotten_is_found() {
    let (bench, top) = Bench::translating(VtdConfig::default(), 4);
    assert_eq!(bench.read(0x1000), Err(6));
    assert_eq!(ways(&bench, top), 2, "the context entry and its cache");
    bench.store(CONTEXTS + u64::from(DEVICE) * 16, 0);
    assert_eq!(ways(&bench, top), 1, "the cache");
    bench.submit_and_wait(&[context_device(DOMAIN, DEVICE, 0), iotlb_domain(DOMAIN)]);
    assert_eq!(ways(&bench, top), 0);
}

#[test]
fn frames_the_registers_use_must_not_be_freed() {
    let (bench, _) = Bench::translating(VtdConfig::default(), 4);
    assert_eq!(ways(&bench, ROOT), 1);
    assert_eq!(ways(&bench, CONTEXTS), 1);
    assert_eq!(ways(&bench, QUEUE), 1);
    // Off, neither is used any more.
    bench.write32(GCMD, QIE);
    bench.wait_until(|| bench.read32(GSTS) & TE == 0);
    bench.write32(GCMD, 0);
    bench.wait_until(|| bench.read32(GSTS) & QIE == 0);
    assert_eq!(
        ways(&bench, ROOT) + ways(&bench, CONTEXTS) + ways(&bench, QUEUE),
        0
    );
}

#[test]
fn memory_mapped_at_its_own_address_may_be_freed() {
    let (bench, top) = Bench::translating(VtdConfig::default(), 4);
    bench.map(top, 4, 0x40_0000, 2, 0x40_0000 | PS | RW);
    assert_eq!(bench.read(0x40_3000), Ok(0x40_3000));
    assert_eq!(ways(&bench, 0x40_3000), 0);
}

#[test]
fn audit_lists_every_leaf_and_table() {
    let (bench, top) = Bench::translating(VtdConfig::default(), 4);
    bench.map(top, 4, 0x1000, 1, 0x5000 | R);
    bench.map(top, 4, 0x4000_0000, 3, 0x8000_0000 | PS | RW);
    // A second requester of the same domain.
    bench.attach(DEVICE + 1, DOMAIN, top, 4);
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
        ]
    );
    // Root, context, top, and one each for levels 3, 2 and 1.
    assert_eq!(audit.table_frames.len(), 6);
    assert_eq!(audit.leaves[0].unit, "dmar0");
}

#[test]
fn table_that_leads_to_itself_ends_the_audit_all_the_same() {
    let (bench, top) = Bench::translating(VtdConfig::default(), 3);
    for index in 0..512 {
        bench.store(top + index * 8, top | RW);
    }
    let mut audit = Audit::default();
    bench.unit.audit(&mut audit);
    assert!(!audit.leaves.is_empty());
    bench.unit.frames_freed(0x70_0000, 0x1000);
}
