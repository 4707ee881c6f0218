use hw::smmu::stream::Granule;

use super::super::{SmmuConfig, WhileOff};
use super::bench::*;
use crate::bus::{Access, Privilege};
use crate::cache::Snooping;
use crate::iommu::translator::Translator;
use crate::temper::Temper;

#[test]
fn pages_and_blocks_translate_whole() {
    let (bench, root) = Bench::translating(first());
    bench.map(root, 0x7f_dead_b000, 3, 0x5000 | PAGE);
    bench.map(root, 0x20_0000, 2, 0x8000_0000 | BLOCK);
    bench.map(root, 0x40_0000_0000, 1, 0xc000_0000 | BLOCK);
    assert_eq!(bench.read(0x7f_dead_b123), Ok(0x5123));
    for offset in [0, 0x1234, 0x1f_ffff] {
        assert_eq!(bench.write(0x20_0000 + offset), Ok(0x8000_0000 + offset));
    }
    assert_eq!(bench.read(0x40_3fff_ffff), Ok(0xffff_ffff));
    assert_eq!(bench.read(0x40_4000_0000), Err(0x10));
    bench.assert_no_findings();
}

#[test]
fn permissions_of_all_levels_count() {
    let (bench, root) = Bench::translating(first());
    bench.map(root, 0x1000, 3, 0x5000 | PAGE);
    bench.map(root, 0x2000, 3, 0x6000 | PAGE_RO);
    // Privileged only.
    bench.map(root, 0x3000, 3, 0x7000 | PAGE & !0x40);
    assert_eq!(bench.write(0x1000), Ok(0x5000));
    assert_eq!(
        (bench.read(0x2000), bench.write(0x2000)),
        (Ok(0x6000), Err(0x13))
    );
    assert_eq!(
        (bench.read(0x3000), bench.write(0x3000)),
        (Err(0x13), Err(0x13))
    );
    // APTable: all below is read only.
    let word = bench.load(root);
    bench.store(root, word | 1 << 62);
    bench.submit_and_wait(&[NSNH_ALL]);
    assert_eq!(
        (bench.read(0x1000), bench.write(0x1000)),
        (Ok(0x5000), Err(0x13))
    );
    // APTable: nothing below without privilege.
    bench.store(root, word | 1 << 61);
    bench.submit_and_wait(&[NSNH_ALL]);
    assert_eq!(bench.read(0x1000), Err(0x13));
}

#[test]
fn privileged_requests_reach_what_is_privileged() {
    let (bench, root) = Bench::translating(first());
    bench.map(root, 0x3000, 3, 0x7000 | PAGE & !0x40);
    // PRIVCFG.
    bench.store(entry_of(DEVICE) + 8, 3 << 48);
    bench.submit_and_wait(&[cfgi_ste(DEVICE.into(), 1)]);
    assert_eq!(bench.write(0x3000), Ok(0x7000));
}

#[test]
fn a_request_keeps_its_privilege_unless_its_entry_says_otherwise() {
    let (bench, root) = Bench::translating(first());
    bench.map(root, 0x2000, 3, 0x6000 | PAGE);
    bench.map(root, 0x3000, 3, 0x7000 | PAGE & !0x40);
    let reaches = |privilege, bus| {
        let reached = bench
            .unit
            .translate_with(privilege, DEVICE, bus, Access::Write);
        reached.is_ok()
    };
    // PRIVCFG: incoming, incoming, unprivileged, privileged.
    for (privcfg, user, supervisor) in [
        (0, false, true),
        (1, false, true),
        (2, false, false),
        (3, true, true),
    ] {
        bench.store(entry_of(DEVICE) + 8, privcfg << 48);
        bench.submit_and_wait(&[cfgi_ste(DEVICE.into(), 1), NSNH_ALL]);
        // What one of them brought into the caches is not the other's.
        for _ in 0..2 {
            assert_eq!(reaches(Privilege::Unprivileged, 0x3000), user, "{privcfg}");
            assert_eq!(
                reaches(Privilege::Privileged, 0x3000),
                supervisor,
                "{privcfg}"
            );
            assert!(reaches(Privilege::Unprivileged, 0x2000));
            assert!(reaches(Privilege::Privileged, 0x2000));
        }
    }
    bench.assert_no_findings();
}

#[test]
fn stage_2_translates() {
    let (bench, root) = Bench::translating_stage2(second());
    bench.map(root, 0x1000, 3, 0x5000 | PAGE2);
    bench.map(root, 0x2000, 3, 0x6000 | PAGE2 & !0x80);
    bench.map(root, 0x3000, 3, 0x7000 | PAGE2 & !0x40);
    bench.map(root, 0x20_0000, 2, 0x20_0000 | PAGE2 & !2);
    assert_eq!(bench.write(0x1fff), Ok(0x5fff));
    assert_eq!(
        (bench.read(0x2000), bench.write(0x2000)),
        (Ok(0x6000), Err(0x13))
    );
    assert_eq!(
        (bench.read(0x3000), bench.write(0x3000)),
        (Err(0x13), Ok(0x7000))
    );
    assert_eq!(bench.read(0x23_4567), Ok(0x23_4567));
    assert_eq!(bench.read(0x4000), Err(0x10));
    bench.assert_no_findings();
}

#[test]
fn stage_2_starts_with_up_to_16_tables_in_a_row() {
    let bench = Bench::new(second());
    // 42 bits from level 1: eight tables.
    let root = bench.frame().next_multiple_of(0x8000);
    for _ in 0..16 {
        bench.frame();
    }
    bench.attach_stage2(DEVICE, DOMAIN, root);
    bench.store(
        entry_of(DEVICE) + 16,
        stage2_word(DOMAIN) & !(0x3f << 32) | 22 << 32,
    );
    let (top, middle) = (bench.frame(), bench.frame());
    bench.store(root + (0x3ff_c000_0000_u64 >> 30) * 8, top | TABLE);
    bench.store(top, middle | TABLE);
    bench.store(middle, 0x5000 | PAGE2);
    bench.enable();
    assert_eq!(bench.read(0x3ff_c000_0000), Ok(0x5000));
    assert_eq!(bench.read(0x400_0000_0000), Err(0x10));
    bench.assert_no_findings();
}

#[test]
fn both_stages_translate_one_after_the_other() {
    let bench = Bench::new(SmmuConfig::default());
    let (first, second) = (bench.frame(), bench.frame());
    // Stage 2 moves everything of stage 1, its tables and its descriptor, by 8 MiB; stage 1 tables lie there.
    const SHIFT: u64 = 0x80_0000;
    for index in 0..4 {
        let bus = index * 0x20_0000 + SHIFT;
        bench.map(second, bus, 2, (index * 0x20_0000) | PAGE2 & !2);
    }
    bench.map(second, 0x1_0000_0000, 3, 0x7000 | PAGE2 & !0x80);
    let leaf = bench.map(first, 0x1000, 3, 0x1_0000_0000 | PAGE);
    // Tables refer to each other by intermediate addresses.
    let next = bench.load(first);
    bench.store(first, next + SHIFT);
    let table = next & !0xfff;
    bench.store(table, bench.load(table) + SHIFT);
    bench.attach(DEVICE, DOMAIN, first + SHIFT);
    bench.attach_stage2(DEVICE, 9, second);
    bench.store(entry_of(DEVICE), (stage1_entry(DEVICE) + SHIFT) | 0b1111);
    bench.enable();
    assert_eq!(bench.read(0x1234), Ok(0x7234));
    // Stage 2 refuses the write, and says so.
    assert_eq!(bench.write(0x1234), Err(0x13));
    let event = bench.event().expect("recorded");
    assert_eq!(event[1] >> 39 & 1, 1, "S2");
    bench.assert_no_findings();
    // Forgetting stage 2 alone leaves what both came to.
    bench.store(leaf, 0);
    bench.submit_and_wait(&[s2_ipa(9, 0x1_0000_0000, 0)]);
    assert_eq!(bench.read(0x1000), Ok(0x7000));
    bench.submit_and_wait(&[s12_vmall(9)]);
    assert_eq!(bench.read(0x1000), Err(0x10));
}

#[test]
fn granules_of_16_and_64_kib_translate() {
    // T0SZ, TG0 and the levels that 39 bits take.
    for (code, granule_log2) in [(2_u64, 14_u32), (1, 16)] {
        let bench = Bench::new(first());
        let index = granule_log2 - 3;
        let bus = 0x12_3456_0000_u64;
        let take = || {
            let at = bench.frame().next_multiple_of(1 << granule_log2);
            while bench.frame() < at + (1 << granule_log2) {}
            at
        };
        let levels = (39 - granule_log2).div_ceil(index);
        let root = take();
        bench.attach(DEVICE, DOMAIN, root);
        bench.store(context_of(DEVICE), context_word(DOMAIN) | code << 6);
        let mut table = root;
        for level in (1..levels).rev() {
            let next = take();
            let slot = bus >> (granule_log2 + level * index) & ((1 << index) - 1);
            bench.store(table + slot * 8, next | TABLE);
            table = next;
        }
        let slot = bus >> granule_log2 & ((1 << index) - 1);
        bench.store(table + slot * 8, 0x8_0000 | PAGE);
        bench.enable();
        let last = (1 << granule_log2) - 1;
        assert_eq!(bench.read(bus + last), Ok(0x8_0000 + last));
        assert_eq!(bench.read(bus + last + 1), Err(0x10));
        bench.assert_no_findings();
    }
}

#[test]
fn granule_that_the_unit_lacks_makes_the_descriptor_invalid() {
    let config = SmmuConfig {
        granules: vec![Granule::Size64K],
        ..first()
    };
    let (bench, root) = Bench::translating(config);
    bench.map(root, 0x1000, 3, 0x5000 | PAGE);
    assert_eq!(bench.read(0x1000), Err(0x0a));
}

#[test]
fn two_level_stream_table_is_walked() {
    let bench = Bench::new(SmmuConfig {
        first_stream: 0x1000,
        ..first()
    });
    let root = bench.frame();
    bench.map(root, 0x1000, 3, 0x5000 | PAGE);
    // SPLIT 6: the block of streams 0x1000 to 0x103f, of which half is there.
    let (level1, block) = (0x1_c000, bench.frame());
    bench.attach(DEVICE, DOMAIN, root);
    bench.store(block + 0x18 * 64, stage1_entry(DEVICE));
    bench.store(level1 + (0x1000 >> 6) * 8, block | 6);
    bench.write32(CR2, 2);
    bench.connect();
    bench.write64(STRTAB_BASE, level1);
    bench.write32(STRTAB_BASE_CFG, 1 << 16 | 6 << 6 | 13);
    bench.submit_and_wait(&[CFGI_ALL, NSNH_ALL]);
    bench.control(CMDQEN | EVENTQEN | SMMUEN);
    assert_eq!(bench.read(0x1000), Ok(0x5000));
    assert_eq!(bench.reach(0x19, 0x1000, Access::Read), Err(0x04));
    assert_eq!(
        bench.reach(0x20, 0x1000, Access::Read),
        Err(0x02),
        "beyond the span"
    );
    assert_eq!(
        bench.reach(0x40, 0x1000, Access::Read),
        Err(0x02),
        "no block"
    );
    assert_eq!(
        bench.reach(0x1000, 0, Access::Read),
        Err(0x02),
        "beyond the table"
    );
    bench.assert_no_findings();
}

#[test]
fn requests_pass_or_not_as_firmware_had_it_while_the_unit_is_off() {
    let bench = Bench::new(first());
    assert_eq!(bench.read(0xdead_b000), Ok(0xdead_b000));
    let bench = Bench::new(SmmuConfig {
        while_off: WhileOff::Abort,
        ..first()
    });
    assert_eq!(bench.read(0xdead_b000), Err(0));
    assert_eq!(bench.unit.statistics().faults_silenced, 1);
    bench.write32(GBPA, 1 << 31 | 1 << 12);
    bench.wait_until(|| bench.read32(GBPA) >> 31 == 0);
    assert_eq!(bench.read(0xdead_b000), Ok(0xdead_b000));
    bench.assert_no_findings();
}

#[test]
fn streams_bypass_or_abort_as_their_entries_say() {
    let (bench, _) = Bench::translating(first());
    bench.store(entry_of(DEVICE), 0b1001);
    bench.submit_and_wait(&[cfgi_ste(DEVICE.into(), 1)]);
    assert_eq!(bench.write(0xdead_b000), Ok(0xdead_b000));
    for config in 0..4 {
        bench.store(entry_of(DEVICE), config << 1 | 1);
        bench.submit_and_wait(&[cfgi_ste(DEVICE.into(), 1)]);
        assert_eq!(bench.write(0xdead_b000), Err(0));
    }
    assert_eq!(bench.event(), None, "aborts are silent");
}

#[test]
fn addresses_beyond_the_table_fault() {
    let (bench, _) = Bench::translating(first());
    assert_eq!(bench.read(1 << 39), Err(0x10));
    assert_eq!(bench.read(!0xfff), Err(0x10));
}

#[test]
fn walk_that_does_not_snoop_misses_what_was_not_written_back() {
    let bench = Bench::with(first(), Temper::Forget, Snooping::Off);
    let root = bench.frame();
    bench.attach(DEVICE, DOMAIN, root);
    bench.map(root, 0x1000, 3, 0x5000 | PAGE);
    bench.connect();
    bench.submit(&[CFGI_ALL, NSNH_ALL, SYNC]);
    bench.view.clean(0, 0x100000);
    bench.submit(&[]);
    let limit = std::time::Instant::now() + std::time::Duration::from_secs(100);
    while !bench.is_done() && std::time::Instant::now() < limit {
        // Commands that were fetched before they were written back stopped the queue.
        bench.write32(GERRORN, bench.read32(GERROR));
    }
    bench.control(CMDQEN | EVENTQEN | SMMUEN);
    assert_eq!(bench.read(0x1000), Ok(0x5000));
    let missed = (0x2000..0x3f000).step_by(0x1000).filter(|bus| {
        bench.map(root, *bus, 3, 0x6000 | PAGE);
        bench.read(*bus) != Ok(0x6000)
    });
    assert!(missed.count() > 0);
    bench.view.clean(0, 0x100000);
    assert_eq!(bench.read(0x2000), Ok(0x6000));
}
