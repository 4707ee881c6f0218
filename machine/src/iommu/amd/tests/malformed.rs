//! Every way in which tables can be wrong, and the event it gives.

use super::super::AmdConfig;
use super::bench::*;
use crate::bus::Access;
use crate::cache::Snooping;
use crate::findings::FindingKind;
use crate::iommu::Unit;
use crate::temper::{Dice, Temper};

/// The tables spoiled, what a read gives: the event's high dword without code and domain, and its address.
#[track_caller]
fn check(spoil: impl Fn(&Bench, u64), code: u16, event: [u64; 2]) {
    for temper in [Temper::Keep, Temper::Forget, Temper::Random(3)] {
        let bench = Bench::with(AmdConfig::default(), temper, Snooping::On);
        let top = bench.frame();
        bench.attach(DEVICE, DOMAIN, top, 4);
        bench.map(top, 4, 0x1000, 1, entry(0x5000, 0));
        spoil(&bench, top);
        bench.enable();
        assert_eq!(bench.read(0x1000), Err(code), "{temper:?}");
        assert_eq!(bench.event(), event, "{temper:?}");
        assert_eq!(bench.write(0x1000), Err(code), "{temper:?}");
        assert_eq!(bench.event()[0], event[0] | 1 << 53, "{temper:?}");
    }
}

const DEVICE_ID: u64 = DEVICE as u64;
const IN_DOMAIN: u64 = DEVICE_ID | (DOMAIN as u64) << 32;

fn entry_of(bench: &Bench, top: u64, level: u64) -> u64 {
    let mut table = top;
    for _ in level..4 {
        table = bench.load(table) & 0x000f_ffff_ffff_f000;
    }
    table + if level == 1 { 8 } else { 0 }
}

#[test]
fn absent_entries_are_page_faults() {
    for level in 1..=4 {
        check(
            |bench, top| bench.store(entry_of(bench, top, level), 0x5000 | RW),
            2,
            [2 << 60 | IN_DOMAIN, 0x1000],
        );
    }
}

#[test]
fn illegal_device_entries_are_told() {
    for bit in [2, 6, 7, 8, 46, 51, 52, 55, 60, 63] {
        check(
            |bench, _| bench.store(entry_at(DEVICE), bench.load(entry_at(DEVICE)) | 1 << bit),
            1,
            [1 << 60 | 1 << 55 | DEVICE_ID, 0x1000],
        );
    }
    for (word, bits) in [
        (1, 1 << 16),
        (1, 1 << 32),
        (1, 1 << 43),
        (2, 1 << 52),
        // Interrupts remapped, and refused.
        (2, 2 << 60 | 1),
        (2, 1),
        (3, 1),
        (3, 1 << 53),
    ] {
        check(
            |bench, _| {
                let at = entry_at(DEVICE) + word * 8;
                bench.store(at, bench.load(at) | bits);
            },
            1,
            [1 << 60 | 1 << 55 | DEVICE_ID, 0x1000],
        );
    }
    check(
        |bench, top| bench.attach(DEVICE, DOMAIN, top, 7),
        1,
        [1 << 60 | DEVICE_ID, 0x1000],
    );
}

#[test]
fn unreachable_tables_are_told() {
    for level in 2..=4 {
        check(
            |bench, top| bench.store(entry_of(bench, top, level), entry(RAM.end, level - 1)),
            4,
            [
                4 << 60 | 1 << 57 | IN_DOMAIN,
                RAM.end + if level == 2 { 8 } else { 0 },
            ],
        );
    }
    check(
        |bench, _| bench.attach(DEVICE, DOMAIN, RAM.end, 4),
        4,
        [4 << 60 | 1 << 57 | IN_DOMAIN, RAM.end],
    );
}

#[test]
fn device_table_outside_memory_is_told() {
    let bench = Bench::new(AmdConfig::default());
    bench.set_bases();
    bench.write64(DEVICE_BASE, RAM.end | 0x1ff);
    bench.enable_with(0);
    assert_eq!(bench.read(0x1000), Err(3));
    assert_eq!(
        bench.event(),
        [3 << 60 | 1 << 57 | DEVICE_ID, RAM.end + DEVICE_ID * 32]
    );
    assert_eq!(bench.found(FindingKind::ProtocolViolation), 1);
}

#[test]
fn reserved_bits_are_page_faults_and_findings() {
    for (level, bit) in [
        (4, 52),
        (4, 59),
        (4, 60),
        (4, 46),
        (3, 58),
        (2, 60),
        (1, 52),
        (1, 58),
        (1, 46),
        (1, 51),
    ] {
        check(
            |bench, top| {
                let at = entry_of(bench, top, level);
                bench.store(at, bench.load(at) | 1 << bit);
            },
            2,
            [2 << 60 | 1 << 52 | 1 << 55 | IN_DOMAIN, 0x1000],
        );
    }
    // A large page whose address is no multiple of its size.
    for (level, bit) in [(2, 12), (2, 20), (3, 12), (3, 29)] {
        check(
            |bench, top| bench.store(entry_of(bench, top, level), entry(1 << bit, 0)),
            2,
            [2 << 60 | 1 << 52 | 1 << 55 | IN_DOMAIN, 0x1000],
        );
    }
}

#[test]
fn levels_that_cannot_be_are_page_faults() {
    // A table of the same level or a higher one; a page that says a size of another level.
    for (level, word) in [
        (4, entry(0x6000, 4)),
        (3, entry(0x6000, 5)),
        (1, entry(0x6000, 1)),
        (1, entry(0x6000, 6)),
        (1, entry(0x00ff_f000, 7)),
        (2, entry(0x0000_7000, 7)),
        (3, entry(0x000f_f000, 7)),
    ] {
        check(
            |bench, top| bench.store(entry_of(bench, top, level), word),
            2,
            [2 << 60 | 1 << 52 | IN_DOMAIN, 0x1000],
        );
    }
}

#[test]
fn u_and_fc_of_a_page_are_no_reserved_bits() {
    let (bench, top) = Bench::translating(AmdConfig::default(), 4);
    bench.map(
        top,
        4,
        0x1000,
        1,
        entry(0x5000, 0) | 3 << 59 | 1 << 63 | 0x1fe,
    );
    assert_eq!(bench.read(0x1000), Ok(0x5000));
    bench.assert_no_findings();
}

#[test]
fn poison_is_told_apart() {
    let bench = Bench::with(AmdConfig::default(), Temper::Keep, Snooping::Off);
    let top = bench.frame();
    bench.attach(DEVICE, DOMAIN, top, 4);
    bench.view.clean(entry_at(DEVICE), 32);
    bench.enable();
    // The view writes lines back on its own now and then.
    let poisoned = (0..64).any(|index: u64| {
        let _ = bench.read(index << 39);
        bench.found(FindingKind::PoisonRead) > 0
    });
    assert!(poisoned);
}

/// Random words as device table entries and page-table entries: every request ends, and in an answer that the tables
/// allow, or a fault.
#[test]
fn random_tables_never_hang_or_panic() {
    let seed = std::env::var("SEED").map_or(0x5eed, |seed| seed.parse().expect("a number"));
    println!("SEED={seed}");
    let dice = Dice::new(seed);
    for temper in [Temper::Keep, Temper::Forget, Temper::Random(seed)] {
        let bench = Bench::with(AmdConfig::default(), temper, Snooping::On);
        bench.enable();
        let word = || {
            let frame = 0x10_0000 + (dice.below(16) << 12);
            match dice.below(4) {
                0 => dice.next_u64(),
                1 => entry(frame, dice.below(8)),
                2 => entry(frame, dice.below(8)) | 1 << dice.below(64),
                _ => frame | V | TV | RW | dice.below(8) << 9,
            }
        };
        for _ in 0..2000 {
            for _ in 0..8 {
                bench.store(0x10_0000 + (dice.below(16 * 512) * 8), word());
            }
            let device = dice.below(4) as u16;
            bench.set_entry(device, [word(), dice.below(4), 0, 0]);
            let bus = dice.next_u64() >> dice.below(64);
            let access = if dice.one_in(2) {
                Access::Read
            } else {
                Access::Write
            };
            let _ = bench.reach(device, bus, access);
            if dice.one_in(8) {
                bench.submit_and_wait(&[INVALIDATE_ALL]);
            }
            if bench.read64(EVENT_HEAD) != bench.read64(EVENT_TAIL) {
                bench.event();
            }
        }
        let mut audit = crate::audit::Audit::default();
        bench.unit.audit(&mut audit);
        bench.unit.frames_freed(0x10_0000, 0x1000);
    }
}
