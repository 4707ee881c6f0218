use super::super::RiscvConfig;
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
    let (bench, top) = Bench::translating(RiscvConfig::default(), 4);
    let frame = bench.frame();
    let leaf = bench.map(top, 4, 0x1000, 1, entry(frame, RW));
    assert_eq!(ways(&bench, frame), 1, "the table");
    assert_eq!(bench.read(0x1000), Ok(frame));
    assert_eq!(ways(&bench, frame), 2, "the table and the cache");
    bench.store(leaf, 0);
    assert_eq!(ways(&bench, frame), 1, "the cache");
    bench.submit_and_wait(&[page(SPACE, 0x1000)]);
    assert_eq!(ways(&bench, frame), 0);
}

#[test]
fn page_freed_before_the_fence_is_found() {
    let (bench, top) = Bench::translating(RiscvConfig::default(), 4);
    let frame = bench.frame();
    let leaf = bench.map(top, 4, 0x1000, 1, entry(frame, RW));
    assert_eq!(bench.read(0x1000), Ok(frame));
    bench.store(leaf, 0);
    bench.submit(&[page(SPACE, 0x1000)]);
    bench.wait_until(|| bench.read32(CQH) == 1);
    assert_eq!(ways(&bench, frame), 1, "fetched is not done");
}

#[test]
fn table_freed_while_an_address_kept_it_is_found() {
    let (bench, top) = Bench::translating(RiscvConfig::default(), 4);
    let leaf = bench.map(top, 4, 0x1000, 1, entry(0x5000, RW));
    let table = leaf & !0xfff;
    assert_eq!(bench.read(0x1000), Ok(0x5000));
    assert_eq!(ways(&bench, table), 2, "the table above and the cache");
    let mut at = top;
    for _ in 0..2 {
        at = bench.load(at) >> 10 << 12;
    }
    bench.store(at, 0);
    bench.submit_and_wait(&[page(SPACE, 0x1000)]);
    assert_eq!(ways(&bench, table), 1, "the cache");
    bench.submit_and_wait(&[space(SPACE)]);
    assert_eq!(ways(&bench, table), 0);
}

#[test]
fn root_freed_before_its_context_is_forgotten_is_found() {
    let bench = Bench::new(RiscvConfig::default());
    let top = bench.frames(4);
    bench.attach_guest(DEVICE, 9, top, 3);
    bench.enable();
    assert_eq!(bench.read(0x1000), Err(21));
    for frame in [top, top + 0x3000] {
        assert_eq!(ways(&bench, frame), 2, "the context and its cache");
    }
    bench.store(bench.context(DEVICE), 0);
    assert_eq!(ways(&bench, top + 0x3000), 1, "the cache");
    bench.submit_and_wait(&[device(DEVICE)]);
    assert_eq!(ways(&bench, top + 0x3000), 0);
}

#[test]
fn frames_the_registers_use_must_not_be_freed() {
    let (bench, _) = Bench::translating(RiscvConfig::default(), 4);
    let contexts = bench.context(DEVICE) & !0xfff;
    for frame in [ROOT, contexts, QUEUE, FAULTS] {
        assert_eq!(ways(&bench, frame), 1, "{frame:#x}");
    }
    // Off, none is used any more.
    bench.set_off();
    for (control, frame) in [(CQCSR, QUEUE), (FQCSR, FAULTS)] {
        bench.write32(control, 0);
        bench.wait_until(|| bench.read32(control) & (ON | BUSY) == 0);
        assert_eq!(ways(&bench, frame), 0);
    }
    assert_eq!(ways(&bench, ROOT) + ways(&bench, contexts), 0);
}

#[test]
fn memory_mapped_at_its_own_address_may_be_freed() {
    let (bench, top) = Bench::translating(RiscvConfig::default(), 4);
    bench.map(top, 4, 0x40_0000, 2, entry(0x40_0000, RW));
    assert_eq!(bench.read(0x40_3000), Ok(0x40_3000));
    assert_eq!(ways(&bench, 0x40_3000), 0);
}

#[test]
fn audit_lists_every_leaf_and_table() {
    let (bench, top) = Bench::translating(RiscvConfig::default(), 4);
    bench.map(top, 4, 0x1000, 1, entry(0x5000, R));
    bench.map(top, 4, 0x4000_0000, 3, entry(0x8000_0000, RW));
    bench.map(top, 4, 0xffff_ffff_ffff_f000, 1, entry(0x6000, RW));
    // A second requester of the same space.
    bench.attach(DEVICE + 1, SPACE, top, 4);
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
            (DEVICE, 0xffff_ffff_ffff_f000, 0x6000, 0x1000, Access::Write),
        ]
    );
    // Three of the directory, top, and three each for the two lower branches.
    assert_eq!(audit.table_frames.len(), 10);
    assert_eq!(audit.leaves[0].unit, "iommu0");
}

#[test]
fn table_that_leads_to_itself_ends_the_audit_all_the_same() {
    let (bench, top) = Bench::translating(RiscvConfig::default(), 3);
    for index in 0..512 {
        bench.store(top + index * 8, entry(top, 1));
    }
    bench.store(top + 8, entry(0x5000, RW));
    let mut audit = Audit::default();
    bench.unit.audit(&mut audit);
    assert!(!audit.leaves.is_empty());
    bench.unit.frames_freed(0x70_0000, 0x1000);
}
