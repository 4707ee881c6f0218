//! Every way in which tables can be wrong, and the cause it gives.

use hw::riscv::directory::ContextFormat;

use super::super::RiscvConfig;
use super::bench::*;
use crate::bus::Access;
use crate::cache::Snooping;
use crate::findings::FindingKind;
use crate::temper::{Dice, Temper};

/// One fault: how the tables are spoiled, and what a read and a write give.
#[track_caller]
fn check_fault(spoil: impl Fn(&Bench, u64), read: u16, write: u16) {
    check_fault_of(RiscvConfig::default(), spoil, read, write);
}

#[track_caller]
fn check_fault_of(config: RiscvConfig, spoil: impl Fn(&Bench, u64), read: u16, write: u16) {
    for temper in [Temper::Keep, Temper::Forget, Temper::Random(3)] {
        let bench = Bench::with(config.clone(), temper, Snooping::On);
        let top = bench.frame();
        bench.attach(DEVICE, SPACE, top, 4);
        bench.map(top, 4, 0x1000, 1, entry(0x5000, RW));
        spoil(&bench, top);
        bench.enable();
        assert_eq!(bench.read(0x1000), Err(read), "read, {temper:?}");
        assert_eq!(bench.write(0x1000), Err(write), "write, {temper:?}");
        let header = u64::from(read) | 2 << 34 | u64::from(DEVICE) << 40;
        assert_eq!(bench.record(0), [header, 0, 0x1000, 0], "{temper:?}");
        let header = u64::from(write) | 3 << 34 | u64::from(DEVICE) << 40;
        assert_eq!(bench.record(1), [header, 0, 0x1000, 0], "{temper:?}");
    }
}

fn entry_of(bench: &Bench, top: u64, level: u64) -> u64 {
    let mut table = top;
    for _ in level..4 {
        table = bench.load(table) >> 10 << 12;
    }
    table + if level == 1 { 8 } else { 0 }
}

fn or(bench: &Bench, phys: u64, bits: u64) {
    bench.store(phys, bench.load(phys) | bits);
}

#[test]
fn entries_that_are_not_valid_fault() {
    check_fault(
        |bench, _| bench.store(ROOT, bench.load(ROOT) & !1),
        258,
        258,
    );
    check_fault(
        |bench, _| {
            let middle = bench.load(ROOT) >> 10 << 12;
            bench.store(middle, bench.load(middle) & !1);
        },
        258,
        258,
    );
    check_fault(|bench, _| bench.store(bench.context(DEVICE), 0), 258, 258);
    for level in 1..=4 {
        let spoil =
            |bench: &Bench, top| bench.store(entry_of(bench, top, level), entry(0x5000, RW & !1));
        check_fault(spoil, 13, 15);
    }
}

#[test]
fn reserved_bits_of_the_directory_are_misconfigured() {
    for bit in [1, 9, 54, 63] {
        check_fault(|bench, _| or(bench, ROOT, 1 << bit), 259, 259);
    }
    // tc: what the unit cannot do, and what nobody can.
    for bit in [1, 2, 3, 5, 6, 7, 8, 9, 10, 11, 12, 23, 32, 63] {
        check_fault(
            |bench, _| or(bench, bench.context(DEVICE), 1 << bit),
            259,
            259,
        );
    }
    // ta, fsc, and the three words of interrupt files, and the last.
    for (word, bit) in [
        (2, 0),
        (2, 11),
        (2, 32),
        (2, 40),
        (2, 63),
        (3, 44),
        (3, 59),
        (4, 60),
        (4, 44),
        (5, 52),
        (6, 63),
        (7, 0),
    ] {
        check_fault(
            |bench, _| or(bench, bench.context(DEVICE) + 8 * word, 1 << bit),
            259,
            259,
        );
    }
}

#[test]
fn modes_the_unit_lacks_are_misconfigured() {
    let config = || RiscvConfig {
        first_stage_levels: 4,
        second_stage_levels: 3,
        ..RiscvConfig::default()
    };
    // First stage: reserved, and Sv57.
    for mode in [1, 7, 10, 11, 15] {
        check_fault_of(
            config(),
            |bench, top| bench.store(bench.context(DEVICE) + 24, mode << 60 | top >> 12),
            259,
            259,
        );
    }
    // Second stage: reserved, and Sv48x4.
    for mode in [1, 7, 9, 10, 11, 15] {
        let spoil = |bench: &Bench, _| {
            bench.store(bench.context(DEVICE) + 8, mode << 60 | 0x10);
            bench.store(bench.context(DEVICE) + 24, 0);
        };
        check_fault_of(config(), spoil, 259, 259);
    }
    // A root that is no multiple of 16 KiB.
    let spoil = |bench: &Bench, _| {
        bench.store(bench.context(DEVICE) + 8, 8 << 60 | 0x11);
        bench.store(bench.context(DEVICE) + 24, 0);
    };
    check_fault_of(config(), spoil, 259, 259);
    // Both stages at once, which this model does not do.
    let spoil = |bench: &Bench, _| bench.store(bench.context(DEVICE) + 8, 8 << 60 | 0x10);
    check_fault_of(config(), spoil, 259, 259);
}

#[test]
fn last_words_are_not_read_in_the_base_format() {
    let config = RiscvConfig {
        context_format: ContextFormat::Base,
        ..RiscvConfig::default()
    };
    let (bench, top) = Bench::translating(config, 4);
    bench.map(top, 4, 0x1000, 1, entry(0x5000, RW));
    // They are the words of the next device.
    for word in 4..8 {
        bench.store(bench.context(DEVICE) + 8 * word, u64::MAX << 1);
    }
    bench.submit_and_wait(&[DIRECTORY]);
    assert_eq!(bench.read(0x1000), Ok(0x5000));
    assert_eq!(bench.reach(DEVICE + 1, 0x1000, Access::Read), Err(258));
}

#[test]
fn bits_for_custom_use_and_for_software_are_ignored() {
    let (bench, top) = Bench::translating(RiscvConfig::default(), 4);
    or(&bench, bench.context(DEVICE), 0xff << 24);
    bench.map(top, 4, 0x1000, 1, entry(0x5000, RW | 0x300));
    bench.submit_and_wait(&[DIRECTORY]);
    assert_eq!(bench.read(0x1000), Ok(0x5000));
    bench.assert_no_findings();
}

#[test]
fn tables_outside_memory_give_access_faults() {
    check_fault(|bench, _| bench.store(ROOT, entry(0x80_0000, 1)), 257, 257);
    check_fault(
        |bench, _| {
            let middle = bench.load(ROOT) >> 10 << 12;
            bench.store(middle, entry(0x80_0000, 1));
        },
        257,
        257,
    );
    check_fault(
        |bench, _| bench.store(bench.context(DEVICE) + 24, 9 << 60 | 0x800),
        5,
        7,
    );
    for level in 2..=4 {
        check_fault(
            |bench, top| bench.store(entry_of(bench, top, level), entry(0x80_0000, 1)),
            5,
            7,
        );
    }
    check_fault(
        |bench, top| bench.store(entry_of(bench, top, 2), entry(1 << 55, 1)),
        5,
        7,
    );
}

#[test]
fn reserved_bits_of_page_tables_are_page_faults_and_findings() {
    for (level, bits) in [
        (1, 1 << 54),
        (1, 1 << 60),
        (1, 1 << 61),
        (1, 1 << 62),
        (1, 1 << 63),
        (2, 1 << 4),
        (3, 1 << 6),
        (4, 1 << 7),
        (4, 1 << 63),
        (2, 1 << 54),
    ] {
        check_fault(
            |bench, top| or(bench, entry_of(bench, top, level), bits),
            13,
            15,
        );
    }
    // Write without read, a table below the lowest, large pages that begin anywhere.
    check_fault(
        |bench, top| bench.store(entry_of(bench, top, 1), entry(0x5000, RW & !2)),
        13,
        15,
    );
    check_fault(
        |bench, top| bench.store(entry_of(bench, top, 1), entry(0x5000, 1)),
        13,
        15,
    );
    for (level, phys) in [
        (2, 0x1000),
        (2, 0x10_0000),
        (3, 0x20_0000),
        (4, 0x4000_0000),
    ] {
        check_fault(
            |bench, top| bench.store(entry_of(bench, top, level), entry(phys, RW)),
            13,
            15,
        );
    }
    let (bench, top) = Bench::translating(RiscvConfig::default(), 3);
    bench.map(top, 3, 0x1000, 1, 1 << 60 | entry(0x5000, RW));
    assert_eq!(bench.read(0x1000), Err(13));
    assert_eq!(bench.found(FindingKind::ReservedBits), 1);
}

#[test]
fn second_stage_faults_are_guest_page_faults() {
    let bench = Bench::new(RiscvConfig::default());
    let top = bench.frames(4);
    bench.attach_guest(DEVICE, 9, top, 3);
    bench.enable();
    bench.map(top, 3, 0x1000, 1, entry(0x5000, R));
    bench.map(top, 3, 0x2000, 1, entry(0x5000, RW & !0x10));
    assert_eq!(
        (bench.read(0x1000), bench.write(0x1234)),
        (Ok(0x5000), Err(23))
    );
    assert_eq!(
        (bench.read(0x2000), bench.write(0x2000)),
        (Err(21), Err(23))
    );
    let header = 23 | 3 << 34 | u64::from(DEVICE) << 40;
    assert_eq!(bench.record(0), [header, 0, 0x1234, 0x1234]);
}

/// Tables of random words never do more than fault.
#[test]
fn random_tables_translate_or_fault() {
    let seed = std::env::var("SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
        .unwrap_or(0x51);
    println!("SEED={seed}");
    let dice = Dice::new(seed);
    for round in 0..200 {
        let config = RiscvConfig {
            context_format: if dice.one_in(2) {
                ContextFormat::Base
            } else {
                ContextFormat::Extended
            },
            ..RiscvConfig::default()
        };
        let bench = Bench::with(config, Temper::Random(dice.next_u64()), Snooping::On);
        let (top, other) = (bench.frames(4), bench.frame());
        let words = [ROOT, top, other];
        bench.attach(DEVICE, SPACE, top, 3 + dice.below(3));
        if dice.one_in(2) {
            bench.attach_guest(DEVICE, 7, top, 3 + dice.below(3));
        }
        for _ in 0..64 {
            // Mostly words that are nearly right: a table or page of ours, and a few bits wrong.
            let mut word = entry(words[dice.below(3) as usize], dice.below(0x100));
            if dice.one_in(3) {
                word ^= 1 << dice.below(64);
            }
            let table = if dice.one_in(8) {
                bench.context(DEVICE) & !0xfff
            } else {
                words[1 + dice.below(2) as usize]
            };
            bench.store(table + dice.below(512) * 8, word);
        }
        bench.enable();
        for _ in 0..64 {
            let bus = dice.next_u64() >> dice.below(64);
            let access = if dice.one_in(2) {
                Access::Read
            } else {
                Access::Write
            };
            match bench.reach(DEVICE, bus, access) {
                Ok(phys) => assert!(phys >> 46 == 0 || phys == bus, "round {round}: {phys:#x}"),
                Err(cause) => assert!(
                    [5, 7, 13, 15, 21, 23, 257, 258, 259, 260].contains(&cause),
                    "round {round}: {cause}"
                ),
            }
        }
        let mut audit = crate::audit::Audit::default();
        crate::iommu::Unit::audit(&*bench.unit, &mut audit);
        crate::iommu::Unit::frames_freed(&*bench.unit, other, 0x1000);
    }
}
