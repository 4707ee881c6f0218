use hw::riscv::directory::ContextFormat;

use super::super::{AtReset, RiscvConfig};
use super::bench::*;
use crate::bus::Access;
use crate::cache::Snooping;
use crate::findings::FindingKind;
use crate::temper::Temper;

#[test]
fn first_stages_of_every_depth_translate() {
    for (levels, bus) in [
        (3, 0x3f_dead_b000_u64),
        (4, 0x5ead_beef_b000),
        (5, 0xde_adbe_efca_f000),
    ] {
        for upper in [0, u64::MAX << (11 + 9 * levels)] {
            let (bench, top) = Bench::translating(RiscvConfig::default(), levels);
            bench.map(top, levels, bus | upper, 1, entry(0x5000, RW));
            assert_eq!(
                bench.read((bus | upper) + 0x123),
                Ok(0x5123),
                "{levels} levels"
            );
            assert_eq!(
                bench.write((bus | upper) + 0xfff),
                Ok(0x5fff),
                "{levels} levels"
            );
            bench.assert_no_findings();
        }
    }
}

#[test]
fn second_stages_of_every_depth_translate() {
    for (levels, bus) in [
        (3, 0x1ff_dead_b000_u64),
        (4, 0x3_dead_beef_b000),
        (5, 0x7de_adbe_efca_f000),
    ] {
        let bench = Bench::new(RiscvConfig::default());
        let top = bench.frames(4);
        bench.attach_guest(DEVICE, 9, top, levels);
        bench.enable();
        // The root has 2048 entries: two more bits of the address.
        let root_shift = 12 + 9 * (levels - 1);
        let at = top + (bus >> root_shift) * 8;
        let below = bench.frame();
        bench.store(at, entry(below, 1));
        bench.map(below, levels - 1, bus, 1, entry(0x5000, RW));
        assert_eq!(bench.read(bus + 0x123), Ok(0x5123), "{levels} levels");
        assert_eq!(bench.write(bus + 0xfff), Ok(0x5fff), "{levels} levels");
        assert_eq!(
            bench.write(1 << (root_shift + 11)),
            Err(23),
            "beyond the root"
        );
        bench.assert_no_findings();
    }
}

#[test]
fn large_pages_translate_whole() {
    for (level, size) in [(2, 1_u64 << 21), (3, 1 << 30), (4, 1 << 39)] {
        let (bench, top) = Bench::translating(RiscvConfig::default(), 5);
        bench.map(
            top,
            5,
            0x80_0000_0000,
            level,
            entry(0x80_0000_0000 & !(size - 1), RW),
        );
        for offset in [0, 0x1234, size - 1] {
            assert_eq!(
                bench.read(0x80_0000_0000 + offset),
                Ok((0x80_0000_0000 & !(size - 1)) + offset)
            );
        }
        assert_eq!(bench.read(0x80_0000_0000 + size), Err(13));
    }
}

#[test]
fn naturally_aligned_run_of_pages_translates_whole() {
    let (bench, top) = Bench::translating(RiscvConfig::default(), 3);
    for page in 0..16 {
        bench.map(
            top,
            3,
            0x1_0000 + page * 0x1000,
            1,
            1 << 63 | entry(0x5_8000, RW),
        );
    }
    for page in 0..16 {
        assert_eq!(
            bench.write(0x1_0000 + page * 0x1000),
            Ok(0x5_0000 + page * 0x1000)
        );
    }
    bench.assert_no_findings();
}

#[test]
fn permissions_are_those_of_the_leaf() {
    let (bench, top) = Bench::translating(RiscvConfig::default(), 4);
    bench.map(top, 4, 0x2000, 1, entry(0x6000, R));
    assert_eq!(
        (bench.read(0x2000), bench.write(0x2000)),
        (Ok(0x6000), Err(15))
    );
    // Not for users; not accessed; not dirty; execute only.
    for (page, flags, read, write) in [
        (3, RW & !0x10, Err(13), Err(15)),
        (4, RW & !0x40, Err(13), Err(15)),
        (5, RW & !0x80, Ok(0x6000), Err(15)),
        (6, 0xd9, Err(13), Err(15)),
    ] {
        bench.map(top, 4, page << 12, 1, entry(0x6000, flags));
        assert_eq!(
            (bench.read(page << 12), bench.write(page << 12)),
            (read, write),
            "{flags:#x}"
        );
    }
    bench.assert_no_findings();
}

#[test]
fn requests_are_refused_or_pass_as_the_mode_says() {
    let bench = Bench::new(RiscvConfig::default());
    assert_eq!(bench.read(0xdead_b000), Err(256));
    bench.set_mode(1);
    assert_eq!(bench.read(0xdead_b000), Ok(0xdead_b000));
    let config = RiscvConfig {
        at_reset: AtReset::Bare,
        ..RiscvConfig::default()
    };
    let bench = Bench::new(config);
    assert_eq!(bench.write(0xdead_b000), Ok(0xdead_b000));
    bench.start(3);
    assert_eq!(bench.write(0xdead_b000), Err(15));
    bench.set_off();
    assert_eq!(bench.write(0xdead_b000), Err(256));
    bench.assert_no_findings();
}

#[test]
fn context_without_stages_lets_requests_pass() {
    let bench = Bench::new(RiscvConfig::default());
    bench.store(bench.context(DEVICE), 1);
    bench.enable();
    assert_eq!(bench.write(0xdead_b000), Ok(0xdead_b000));
    bench.assert_no_findings();
}

#[test]
fn directories_of_every_depth_lead_to_the_context() {
    for (format, leaf_bits, bytes) in [
        (ContextFormat::Base, 7, 32),
        (ContextFormat::Extended, 6, 64),
    ] {
        for (mode, bits) in [(2, leaf_bits), (3, leaf_bits + 9), (4, 16)] {
            let config = RiscvConfig {
                context_format: format,
                ..RiscvConfig::default()
            };
            let bench = Bench::new(config);
            let id = ((1_u32 << bits.min(16)) - 1) as u16;
            let mut table = ROOT;
            for level in (1..mode - 1).rev() {
                let at = table + (u64::from(id) >> (leaf_bits + 9 * (level - 1)) & 511) * 8;
                let next = bench.frame();
                bench.store(at, entry(next, 1));
                table = next;
            }
            let at = table + (u64::from(id) & ((1 << leaf_bits) - 1)) * bytes;
            bench.store(at, 1);
            bench.set_mode(entry(ROOT, mode));
            assert_eq!(
                bench.reach(id, 0x5000, Access::Read),
                Ok(0x5000),
                "{format:?}, {mode}"
            );
            if bits < 16 {
                assert_eq!(bench.reach(1 << bits, 0x5000, Access::Read), Err(260));
            }
            bench.assert_no_findings();
        }
    }
}

#[test]
fn addresses_outside_the_tables_fault() {
    let (bench, _) = Bench::translating(RiscvConfig::default(), 3);
    assert_eq!(bench.read(1 << 38), Err(13));
    assert_eq!(bench.write(1 << 63), Err(15));
    let bench = Bench::new(RiscvConfig::default());
    bench.attach_guest(DEVICE, 9, bench.frames(4), 3);
    bench.enable();
    assert_eq!(bench.read(1 << 41), Err(21));
    assert_eq!(bench.write(1 << 41), Err(23));
    bench.assert_no_findings();
}

#[test]
fn pages_beyond_any_memory_give_access_faults() {
    let (bench, top) = Bench::translating(RiscvConfig::default(), 3);
    bench.map(top, 3, 0x1000, 1, entry(1 << 46, RW));
    assert_eq!((bench.read(0x1000), bench.write(0x1000)), (Err(5), Err(7)));
}

#[test]
fn walk_that_does_not_snoop_misses_what_was_not_written_back() {
    let bench = Bench::with(RiscvConfig::default(), Temper::Forget, Snooping::Off);
    let top = bench.frame();
    bench.attach(DEVICE, SPACE, top, 4);
    bench.map(top, 4, 0x1000, 1, entry(0x5000, RW));
    bench.view.clean(0, 0x100000);
    bench.enable();
    assert_eq!(bench.read(0x1000), Ok(0x5000));
    // The view writes lines back on its own now and then, so one store alone proves nothing.
    let missed = (0x2000..0x3f000).step_by(0x1000).filter(|bus| {
        bench.map(top, 4, *bus, 1, entry(0x6000, RW));
        bench.read(*bus) != Ok(0x6000)
    });
    assert!(missed.count() > 0);
    bench.view.clean(0, 0x100000);
    assert_eq!(bench.read(0x2000), Ok(0x6000));
}

#[test]
fn table_that_was_never_written_back_is_poison() {
    let bench = Bench::with(RiscvConfig::default(), Temper::Forget, Snooping::Off);
    let top = bench.frame();
    bench.attach(DEVICE, SPACE, top, 4);
    bench.view.clean(0, 0x10000);
    bench.view.clean(FIRST_DIRECTORY, 0x3000);
    bench.enable();
    bench.wait_until(|| {
        assert_eq!(bench.read(0x1000), Err(13));
        bench.found(FindingKind::PoisonRead) > 0
    });
}

/// The top table is the first free frame, the tables of the directory are the next.
const FIRST_DIRECTORY: u64 = 0x1_1000;
