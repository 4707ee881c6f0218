//! Scalable mode: what is remembered, and which invalidation makes it go.

use super::super::VtdConfig;
use super::bench::*;
use super::scalable::*;
use crate::bus::Access;
use crate::findings::FindingKind;
use crate::iommu::Unit;
use crate::temper::Temper;

const PASID: u64 = 0;

fn second_stage_mapped() -> (Scalable, u64) {
    let scalable = Scalable::new(config(), Temper::Keep);
    let top = scalable.second_stage();
    let leaf = scalable.bench.map(top, 4, 0x1000, 1, 0x5000 | RW);
    scalable.enable();
    assert_eq!(scalable.bench.read(0x1000), Ok(0x5000));
    (scalable, leaf)
}

fn first_stage_mapped() -> (Scalable, u64) {
    let scalable = Scalable::new(config(), Temper::Keep);
    let top = scalable.first_stage();
    let leaf = scalable.map_first(top, 4, 0x1000, 1, 0x5000 | PWU | AD);
    scalable.enable();
    assert_eq!(scalable.bench.read(0x1000), Ok(0x5000));
    (scalable, leaf)
}

#[test]
fn a_pasid_entry_is_remembered_until_the_pasid_cache_and_then_the_iotlb_are_invalidated() {
    for invalidation in [PASID_GLOBAL, pasid_domain(DOMAIN), pasid_one(DOMAIN, PASID)] {
        let (scalable, _) = second_stage_mapped();
        let bench = &scalable.bench;
        scalable.set_pasid([0, 0, 0]);
        bench.submit_and_wait(&[iotlb_domain(DOMAIN)]);
        assert_eq!(
            bench.read(0x1000),
            Ok(0x5000),
            "the PASID cache led there again"
        );
        bench.submit_and_wait(&[invalidation, iotlb_domain(DOMAIN)]);
        assert_eq!(bench.read(0x1000), Err(0x59));
        bench.assert_no_findings();
    }
}

#[test]
fn pasid_cache_invalidations_of_others_change_nothing() {
    let (scalable, _) = second_stage_mapped();
    let bench = &scalable.bench;
    scalable.set_pasid([0, 0, 0]);
    for other in [
        pasid_domain(DOMAIN + 1),
        pasid_one(DOMAIN, 1),
        pasid_one(DOMAIN + 1, PASID),
    ] {
        bench.submit_and_wait(&[other, iotlb_domain(DOMAIN)]);
        assert_eq!(bench.read(0x1000), Ok(0x5000));
    }
}

#[test]
fn a_context_entry_is_remembered_until_it_is_invalidated_by_requester() {
    let (scalable, _) = second_stage_mapped();
    let bench = &scalable.bench;
    bench.store(scalable.context, 0);
    bench.submit_and_wait(&[PASID_GLOBAL, IOTLB_GLOBAL]);
    assert_eq!(bench.read(0x1000), Ok(0x5000));
    bench.submit_and_wait(&[context_device(0, DEVICE + 8, 0), PASID_GLOBAL, IOTLB_GLOBAL]);
    assert_eq!(bench.read(0x1000), Ok(0x5000));
    // The domain id does not count.
    bench.submit_and_wait(&[context_device(0, DEVICE, 0), PASID_GLOBAL, IOTLB_GLOBAL]);
    assert_eq!(bench.read(0x1000), Err(0x41));
    bench.assert_no_findings();
}

#[test]
fn first_stage_translations_go_by_pasid() {
    for invalidation in [
        pasid_iotlb(DOMAIN, PASID),
        pasid_iotlb_pages(DOMAIN, PASID, 0x1000, 0, 1),
        pasid_iotlb_pages(DOMAIN, PASID, 0, 4, 0),
        iotlb_domain(DOMAIN),
        IOTLB_GLOBAL,
    ] {
        let (scalable, leaf) = first_stage_mapped();
        let bench = &scalable.bench;
        bench.store(leaf, 0);
        for other in [
            iotlb_pages(DOMAIN, 0x1000, 0, 0),
            pasid_iotlb(DOMAIN, PASID + 1),
            pasid_iotlb(DOMAIN + 1, PASID),
            pasid_iotlb_pages(DOMAIN, PASID, 0x2000, 0, 0),
        ] {
            bench.submit_and_wait(&[other]);
            assert_eq!(bench.read(0x1000), Ok(0x5000), "{other:x?}");
        }
        bench.submit_and_wait(&[invalidation]);
        assert_eq!(bench.read(0x1000), Err(0x71), "{invalidation:x?}");
        bench.assert_no_findings();
    }
}

#[test]
fn second_stage_translations_do_not_go_by_pasid() {
    let (scalable, leaf) = second_stage_mapped();
    let bench = &scalable.bench;
    bench.store(leaf, 0);
    bench.submit_and_wait(&[pasid_iotlb(DOMAIN, PASID)]);
    assert_eq!(bench.read(0x1000), Ok(0x5000));
    bench.submit_and_wait(&[iotlb_pages(DOMAIN, 0x1000, 0, 1)]);
    assert_eq!(bench.read(0x1000), Err(0x79));
}

#[test]
fn pasid_invalidations_wait_for_requests_in_flight() {
    let (scalable, leaf) = first_stage_mapped();
    let bench = &scalable.bench;
    use crate::iommu::translator::Translator;
    let request = bench.unit.translate(DEVICE, 0x1000, Access::Read);
    bench.store(leaf, 0);
    bench.store(STATUS, 0);
    bench.submit(&[pasid_iotlb(DOMAIN, PASID), wait(1)]);
    for _ in 0..100 {
        bench.unit.idle();
    }
    assert_eq!(bench.ram.load_u32(STATUS), Ok(0));
    drop(request);
    bench.wait_until(|| bench.ram.load_u32(STATUS) == Ok(1));
}

#[test]
fn one_tag_that_leads_two_ways_is_found() {
    for (second, expected) in [(false, 1), (true, 0)] {
        let scalable = Scalable::new(config(), Temper::Keep);
        let bench = &scalable.bench;
        let top = scalable.first_stage();
        scalable.map_first(top, 4, 0x1000, 1, 0x5000 | PWU | AD);
        // Another requester with the same domain id, and tables of its own or the same.
        let (directory, pasids) = (bench.frame(), bench.frame());
        bench.store(scalable.context + 32, directory | 1);
        bench.store(directory, pasids | 1);
        let other_top = if second { top } else { bench.frame() };
        bench.store(pasids + 16, other_top);
        bench.store(pasids + 8, u64::from(DOMAIN) | SNOOPED);
        bench.store(pasids, FIRST);
        scalable.enable();
        assert_eq!(bench.read(0x1000), Ok(0x5000));
        let _ = bench.reach(DEVICE + 1, 0x1000, Access::Read);
        assert_eq!(bench.found(FindingKind::ProtocolViolation), expected);
    }
}

#[test]
fn freed_frames_of_tables_and_of_caches_are_found() {
    let (scalable, leaf) = first_stage_mapped();
    let bench = &scalable.bench;
    let freed = |phys| {
        let before = bench.found(FindingKind::FreedFrameReachable);
        bench.unit.frames_freed(phys, 0x1000);
        bench.found(FindingKind::FreedFrameReachable) - before
    };
    assert_eq!(freed(0x5000), 2, "the table and the IOTLB");
    assert_eq!(
        freed(scalable.directory),
        2,
        "the context entry and its cache"
    );
    assert_eq!(freed(scalable.pasids), 1, "the directory");
    let table = leaf & !0xfff;
    assert_eq!(freed(table), 2, "the table above and its cache");
    bench.store(scalable.context, 0);
    assert_eq!(freed(scalable.directory), 1, "the cache");
    bench.submit_and_wait(&[context_device(0, DEVICE, 0)]);
    assert_eq!(freed(scalable.directory), 0);
    assert_eq!(freed(table), 1, "the paging-structure cache");
    bench.submit_and_wait(&[pasid_one(DOMAIN, PASID), pasid_iotlb(DOMAIN, PASID)]);
    assert_eq!(freed(table), 0);
    assert_eq!(freed(0x5000), 0);
}

#[test]
fn translation_enabled_before_the_pasid_cache_was_invalidated_is_found() {
    for (descriptors, expected) in [
        (&[CONTEXT_GLOBAL, IOTLB_GLOBAL][..], 1),
        (&[PASID_GLOBAL, CONTEXT_GLOBAL, IOTLB_GLOBAL], 1),
        (&[CONTEXT_GLOBAL, PASID_GLOBAL, IOTLB_GLOBAL], 0),
    ] {
        let scalable = Scalable::new(config(), Temper::Keep);
        scalable.set_root();
        scalable.enable_queue();
        scalable.bench.submit_and_wait(descriptors);
        scalable.bench.command(TE, TE);
        assert_eq!(
            scalable.bench.found(FindingKind::IllegalRegisterUse),
            expected
        );
    }
}

#[test]
fn descriptors_of_128_bits_stop_the_queue_in_scalable_mode() {
    let scalable = Scalable::new(config(), Temper::Keep);
    let bench = &scalable.bench;
    scalable.set_root();
    bench.enable_queue();
    bench.submit(&[CONTEXT_GLOBAL]);
    bench.wait_until(|| bench.read32(FSTS) & 0x10 != 0);
    assert_eq!(bench.read64(IQERCD), 5);
}

#[test]
fn malformed_wide_descriptors_stop_the_queue() {
    // The upper half is not zero; reserved granularities; a domain id and a type the unit does not have.
    for (words, info) in [
        ([0x37, 0, 1, 0], 4),
        ([0x37, 0, 0, 1], 4),
        ([0x27, 0, 0, 0], 4),
        ([0x06, 0, 0, 0], 4),
        ([0x16, 0, 0, 0], 4),
        ([0x36, 63, 0, 0], 4),
        ([0x0100_0000_0000_0037, 0, 0, 0], 4),
        ([0x08, 0, 0, 0], 3),
    ] {
        let scalable = Scalable::new(config(), Temper::Keep);
        let bench = &scalable.bench;
        scalable.set_root();
        scalable.enable_queue();
        for (index, word) in words.into_iter().enumerate() {
            bench.store(QUEUE + 8 * index as u64, word);
        }
        bench.write64(IQT, 32);
        bench.wait_until(|| bench.read32(FSTS) & 0x10 != 0);
        assert_eq!(bench.read64(IQERCD), info, "{words:x?}");
        assert_eq!(bench.read64(IQH), 0);
    }
}

#[test]
fn a_tail_between_wide_descriptors_stops_the_queue() {
    let scalable = Scalable::new(config(), Temper::Keep);
    let bench = &scalable.bench;
    scalable.set_root();
    scalable.enable_queue();
    bench.write64(IQT, 16);
    bench.wait_until(|| bench.read32(FSTS) & 0x10 != 0);
    assert_eq!(bench.read64(IQERCD), 6);
}

#[test]
fn pasid_descriptors_are_unknown_to_a_unit_without_scalable_mode() {
    let bench = Bench::new(VtdConfig::default());
    bench.enable_queue();
    bench.submit(&[PASID_GLOBAL]);
    bench.wait_until(|| bench.read32(FSTS) & 0x10 != 0);
    assert_eq!(bench.read64(IQERCD), 3);
}

#[test]
fn modes_that_a_unit_does_not_have_are_found() {
    for (config, mode) in [(VtdConfig::default(), 1), (config(), 2), (config(), 3)] {
        let bench = Bench::new(config);
        bench.write64(RTADDR, ROOT | mode << 10);
        bench.command(SRTP, SRTP);
        assert_eq!(bench.found(FindingKind::ReservedBits), 1, "mode {mode}");
    }
}
