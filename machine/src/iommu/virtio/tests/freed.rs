//! Memory freed while the unit still leads to it.

use super::super::VirtioConfig;
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
fn page_freed_before_its_unmap_is_done_is_found() {
    let bench = Bench::attached(VirtioConfig::default());
    assert_eq!(bench.ask(&map(DOMAIN, 0x1000, 0x2fff, 0x50_0000, RW)), OK);
    assert_eq!(ways(&bench, 0x50_1000), 1);
    bench.unit.hold_queue();
    bench.submit(0, &unmap(DOMAIN, 0x1000, 0x2fff), 4);
    assert_eq!(ways(&bench, 0x50_1000), 1);
    bench.unit.release_queue();
    bench.next_used(0);
    assert_eq!(ways(&bench, 0x50_1000), 0);
}

#[test]
fn memory_mapped_at_its_own_address_may_be_freed() {
    let bench = Bench::attached(VirtioConfig::default());
    assert_eq!(
        bench.ask(&map(DOMAIN, 0x50_0000, 0x50_0fff, 0x50_0000, RW)),
        OK
    );
    assert_eq!(ways(&bench, 0x50_0000), 0);
}

#[test]
fn queues_in_use_must_not_be_freed() {
    let bench = Bench::attached(VirtioConfig::default());
    for ring in RINGS.concat() {
        assert_eq!(ways(&bench, ring), 1, "{ring:#x}");
    }
    bench.reset();
    assert_eq!(
        RINGS
            .concat()
            .into_iter()
            .map(|ring| ways(&bench, ring))
            .sum::<usize>(),
        0
    );
}

#[test]
fn buffers_in_the_queues_must_not_be_freed() {
    let bench = Bench::attached(VirtioConfig::default());
    assert_eq!(ways(&bench, REPORTS), 0);
    bench.post(3);
    assert_eq!(ways(&bench, REPORTS), 3);
    // A request that the unit has not looked at, and one that it has and that waits for a transaction in flight.
    assert_eq!(bench.ask(&map(DOMAIN, 0x1000, 0x1fff, 0x50_0000, RW)), OK);
    assert_eq!(ways(&bench, Bench::request_at(4)), 0);
    bench.unit.hold_queue();
    bench.submit(4, &unmap(DOMAIN, 0x1000, 0x1fff), 4);
    assert_eq!(ways(&bench, Bench::request_at(4)), 2);
    let in_flight =
        crate::iommu::translator::Translator::translate(&*bench.unit, DEVICE, 0x1000, Access::Read);
    assert!(in_flight.is_ok());
    bench.unit.release_queue();
    bench.wait_until(|| bench.read(0x1000).is_err());
    assert_eq!(ways(&bench, Bench::request_at(4)), 2);
    drop(in_flight);
    bench.next_used(0);
    assert_eq!(ways(&bench, Bench::request_at(4)), 0);
}

#[test]
fn audit_lists_every_mapping() {
    let bench = Bench::attached(VirtioConfig::default());
    assert_eq!(bench.ask(&map(DOMAIN, 0x1000, 0x2fff, 0x5000, R)), OK);
    assert_eq!(bench.ask(&map(DOMAIN, 0x8000, 0x8fff, 0x9000, RW)), OK);
    assert_eq!(bench.ask(&attach_bypass(DOMAIN + 1, DEVICE + 1)), OK);
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
            (DEVICE, 0x1000, 0x5000, 0x2000, Access::Read),
            (DEVICE, 0x8000, 0x9000, 0x1000, Access::Write),
            (DEVICE + 1, 0, 0, u64::MAX, Access::Write),
        ]
    );
    assert!(audit.table_frames.is_empty());
}
