use hw::amd::regs::HostLevels;

use super::super::AmdConfig;
use super::bench::*;
use crate::bus::Access;
use crate::cache::Snooping;
use crate::findings::FindingKind;
use crate::temper::Temper;

#[test]
fn tables_of_every_depth_translate() {
    for (levels, bus) in [
        (1, 0xd_e000),
        (2, 0x3ead_b000),
        (3, 0x7f_dead_b000),
        (4, 0xdead_beef_b000),
        (5, 0x1de_adbe_efca_f000),
        (6, 0xdead_beef_cafe_f000_u64),
    ] {
        let (bench, top) = Bench::translating(AmdConfig::default(), levels);
        bench.map(top, levels, bus, 1, entry(0x5000, 0));
        assert_eq!(bench.read(bus + 0x123), Ok(0x5123), "{levels} levels");
        assert_eq!(bench.write(bus + 0xfff), Ok(0x5fff), "{levels} levels");
        bench.assert_no_findings();
    }
}

#[test]
fn pages_of_a_levels_own_size_translate_whole() {
    for (level, size) in [(2, 1 << 21), (3, 1 << 30), (4, 1_u64 << 39)] {
        let (bench, top) = Bench::translating(AmdConfig::default(), 5);
        let first = 0x80_0000_0000 * 3;
        bench.map(top, 5, first, level, entry(0x80_0000_0000, 0));
        for offset in [0, 0x1234, size - 1] {
            assert_eq!(bench.read(first + offset), Ok(0x80_0000_0000 + offset));
        }
        assert_eq!(bench.read(first + size), Err(2));
    }
}

#[test]
fn pages_that_hold_their_own_size_translate_whole() {
    // 64 KiB at level 1, 4 MiB and 512 MiB at level 2: the encoded size is the lowest clear bit, twice.
    for (level, size, bits) in [
        (1, 0x1_0000, 0x7000),
        (2, 0x40_0000, 0x1f_f000),
        (2, 0x2000_0000_u64, 0xfff_f000),
    ] {
        let (bench, top) = Bench::translating(AmdConfig::default(), 4);
        let entry_size = if level == 1 { 0x1000 } else { 0x20_0000 };
        for offset in (0..size).step_by(entry_size) {
            bench.map(
                top,
                4,
                0x4000_0000 + offset,
                level,
                entry(0x8000_0000 | bits, 7),
            );
        }
        for offset in [0, entry_size as u64 + 0x123, size - 1] {
            assert_eq!(
                bench.read(0x4000_0000 + offset),
                Ok(0x8000_0000 + offset),
                "{size:#x}"
            );
        }
        assert_eq!(bench.read(0x4000_0000 + size), Err(2));
        bench.assert_no_findings();
    }
}

#[test]
fn levels_may_be_skipped_where_the_address_is_zero() {
    let (bench, top) = Bench::translating(AmdConfig::default(), 4);
    let lowest = bench.frame();
    // From level 4 to level 1 at once: bits 38:21 of the address must be zero.
    bench.store(top + 8, entry(lowest, 1));
    bench.store(lowest + 3 * 8, entry(0x5000, 0));
    let first = 1 << 39;
    assert_eq!(bench.read(first + 0x3000), Ok(0x5000));
    for bit in [21, 30, 38] {
        assert_eq!(bench.read(first + 0x3000 + (1 << bit)), Err(2), "bit {bit}");
    }
    assert_eq!(bench.read(first + 0x3000), Ok(0x5000));
    bench.assert_no_findings();
}

#[test]
fn permissions_of_all_levels_and_of_the_device_count() {
    let (bench, top) = Bench::translating(AmdConfig::default(), 4);
    bench.map(top, 4, 0x1000, 1, entry(0x5000, 0));
    bench.map(top, 4, 0x2000, 1, 0x6000 | PR | R);
    bench.map(top, 4, 0x3000, 1, 0x7000 | PR | W);
    assert_eq!(
        (bench.read(0x2000), bench.write(0x2000)),
        (Ok(0x6000), Err(2))
    );
    assert_eq!(
        (bench.read(0x3000), bench.write(0x3000)),
        (Err(2), Ok(0x7000))
    );
    // Another device of the domain may only read.
    bench.set_entry(DEVICE + 1, [top | 4 << 9 | V | TV | R, DOMAIN.into(), 0, 0]);
    assert_eq!(bench.reach(DEVICE + 1, 0x1000, Access::Read), Ok(0x5000));
    assert_eq!(bench.reach(DEVICE + 1, 0x1000, Access::Write), Err(2));
    // The top entry grants reads only.
    bench.store(top, bench.load(top) & !W);
    bench.submit_and_wait(&[invalidate_domain(DOMAIN)]);
    assert_eq!(
        (bench.read(0x1000), bench.write(0x1000)),
        (Ok(0x5000), Err(2))
    );
    bench.assert_no_findings();
}

#[test]
fn requests_pass_as_they_are_while_the_unit_is_off() {
    let bench = Bench::new(AmdConfig::default());
    assert_eq!(bench.read(0xdead_b000), Ok(0xdead_b000));
    let (bench, _) = Bench::translating(AmdConfig::default(), 4);
    assert_eq!(bench.read(0xdead_b000), Err(2));
    bench.disable();
    assert_eq!(bench.read(0xdead_b000), Ok(0xdead_b000));
    bench.assert_no_findings();
}

#[test]
fn device_without_a_valid_entry_passes_as_it_is() {
    let (bench, _) = Bench::translating(AmdConfig::default(), 4);
    // Whatever else the words say.
    bench.set_entry(7, [0xdead_bee0_0000_0ffc, !0, !0, !0]);
    assert_eq!(bench.reach(7, 0xdead_b000, Access::Write), Ok(0xdead_b000));
    bench.assert_no_findings();
}

#[test]
fn mode_0_passes_what_the_entry_grants() {
    let (bench, _) = Bench::translating(AmdConfig::default(), 4);
    for (device, grant) in [(7, 0), (8, R), (9, W), (10, RW)] {
        bench.set_entry(device, [V | TV | grant, 0, 0, 0]);
        let pass = |bit: u64| if grant & bit != 0 { Ok(0x5000) } else { Err(2) };
        assert_eq!(bench.reach(device, 0x5000, Access::Read), pass(R));
        assert_eq!(bench.reach(device, 0x5000, Access::Write), pass(W));
    }
    bench.assert_no_findings();
}

#[test]
fn entry_without_translation_blocks() {
    let (bench, top) = Bench::translating(AmdConfig::default(), 4);
    bench.set_entry(7, [top | 4 << 9 | V | RW, 1, 0, 0]);
    assert_eq!(bench.reach(7, 0x1000, Access::Read), Err(2));
    bench.assert_no_findings();
}

#[test]
fn addresses_beyond_the_table_fault() {
    for (levels, bits) in [(1, 21), (3, 39), (5, 57)] {
        let (bench, _) = Bench::translating(AmdConfig::default(), levels);
        assert_eq!(bench.read(1 << bits), Err(2));
        assert_eq!(bench.event(), [0x2000_0005_0000_0018, 1 << bits]);
    }
}

#[test]
fn deeper_tables_than_the_unit_walks_are_refused() {
    for (host_levels, deepest) in [
        (HostLevels::Four, 4),
        (HostLevels::Five, 5),
        (HostLevels::Six, 6),
    ] {
        let config = AmdConfig {
            host_levels,
            ..AmdConfig::default()
        };
        let (bench, _) = Bench::translating(config.clone(), deepest);
        assert_eq!(bench.read(0x1000), Err(2));
        let (bench, _) = Bench::translating(config, deepest + 1);
        assert_eq!(bench.read(0x1000), Err(1));
        assert_eq!(bench.found(FindingKind::ReservedBits), 1);
    }
}

#[test]
fn addresses_of_hypertransport_are_invalid_requests() {
    let (bench, top) = Bench::translating(AmdConfig::default(), 4);
    bench.map(top, 4, 0xfd_0000_0000, 1, entry(0x5000, 0));
    bench.map(top, 4, 0x100_0000_0000, 1, entry(0x6000, 0));
    assert_eq!(bench.read(0xfd_0000_0000), Err(8));
    assert_eq!(bench.write(0xff_ffff_f000), Err(8));
    assert_eq!(bench.read(0x100_0000_0000), Ok(0x6000));
    assert_eq!(bench.event(), [0x8000_0005_0000_0018, 0xfd_0000_0000]);
}

#[test]
fn excluded_addresses_pass_untranslated() {
    let (bench, _) = Bench::translating(AmdConfig::default(), 4);
    bench.set_entry(8, [V | TV, 0, 0, 0]);
    bench.write64(EXCLUSION_LIMIT, 0x5000);
    bench.write64(EXCLUSION_BASE, 0x4001);
    bench.wait_until(|| bench.read64(EXCLUSION_BASE) == 0x4001);
    let follows = |expected: Result<u64, u16>, device: u16, bus: u64| {
        bench.write64(CONTROL, bench.read64(CONTROL));
        bench.wait_until(|| bench.reach(device, bus, Access::Write) == expected);
    };
    // Only for devices whose entry says so.
    follows(Err(2), 8, 0x4000);
    bench.set_entry(8, [V | TV, 1 << 39, 0, 0]);
    bench.submit_and_wait(&[invalidate_device(8)]);
    follows(Ok(0x4000), 8, 0x4000);
    assert_eq!(bench.reach(8, 0x5fff, Access::Read), Ok(0x5fff));
    assert_eq!(bench.reach(8, 0x6000, Access::Read), Err(2));
    assert_eq!(bench.read(0x4000), Err(2));
    // For all.
    bench.write64(EXCLUSION_BASE, 0x4003);
    follows(Ok(0x4000), DEVICE, 0x4000);
    bench.assert_no_findings();
}

#[test]
fn device_beyond_the_table_has_no_entry() {
    let bench = Bench::new(AmdConfig::default());
    bench.set_bases();
    // 128 entries.
    bench.write64(DEVICE_BASE, DEVICES);
    bench.set_entry(127, [V | TV | RW, 0, 0, 0]);
    bench.enable_with(0);
    assert_eq!(bench.reach(127, 0x1000, Access::Read), Ok(0x1000));
    assert_eq!(bench.reach(128, 0x1000, Access::Read), Err(1));
}

#[test]
fn walk_that_does_not_snoop_misses_what_was_not_written_back() {
    let bench = Bench::with(AmdConfig::default(), Temper::Forget, Snooping::Off);
    let top = bench.frame();
    bench.attach(DEVICE, DOMAIN, top, 4);
    bench.map(top, 4, 0x1000, 1, entry(0x5000, 0));
    bench.view.clean(0, RAM.end);
    bench.enable();
    assert_eq!(bench.read(0x1000), Ok(0x5000));
    // The view writes lines back on its own now and then, so one store alone proves nothing.
    let missed = (0x2000..0x3f000).step_by(0x1000).filter(|bus| {
        bench.map(top, 4, *bus, 1, entry(0x6000, 0));
        bench.read(*bus) != Ok(0x6000)
    });
    assert!(missed.count() > 0);
    bench.view.clean(0, RAM.end);
    assert_eq!(bench.read(0x2000), Ok(0x6000));
}
