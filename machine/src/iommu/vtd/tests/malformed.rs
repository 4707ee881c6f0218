//! Every way in which tables can be wrong, and the fault reason it gives.

use super::super::VtdConfig;
use super::bench::*;
use crate::cache::Snooping;
use crate::temper::Temper;

/// One fault: how the tables are spoiled, and what a read and a write give.
#[track_caller]
fn check_fault(spoil: impl Fn(&Bench, u64), read: u16, write: u16) {
    for temper in [Temper::Keep, Temper::Forget, Temper::Random(3)] {
        let bench = Bench::with(VtdConfig::default(), temper, Snooping::On);
        let top = bench.frame();
        bench.attach(DEVICE, DOMAIN, top, 4);
        bench.map(top, 4, 0x1000, 1, 0x5000 | RW);
        spoil(&bench, top);
        bench.enable();
        assert_eq!(bench.read(0x1000), Err(read), "read, {temper:?}");
        assert_eq!(bench.write(0x1000), Err(write), "write, {temper:?}");
        let record = [bench.read64(FRCD), bench.read64(FRCD + 8)];
        let expected = 1 << 63 | 1 << 62 | u64::from(read) << 32 | u64::from(DEVICE);
        assert_eq!(record, [0x1000, expected], "{temper:?}");
    }
}

fn entry_of(bench: &Bench, top: u64, level: u64) -> u64 {
    let mut table = top;
    for _ in level..4 {
        table = bench.ram.load_u64(table).expect("in RAM") & !0xfff;
    }
    table + if level == 1 { 8 } else { 0 }
}

const CONTEXT: u64 = CONTEXTS + DEVICE as u64 * 16;

#[test]
fn absent_entries_fault() {
    check_fault(|bench, _| bench.store(ROOT, CONTEXTS), 1, 1);
    check_fault(|bench, top| bench.store(CONTEXT, top), 2, 2);
    for level in 1..=4 {
        check_fault(
            |bench, top| bench.store(entry_of(bench, top, level), 0x5000),
            6,
            5,
        );
    }
}

#[test]
fn invalid_context_faults() {
    // Address widths that are reserved, or not this unit's.
    for width in [0, 3, 4, 7] {
        check_fault(|bench, _| bench.store(CONTEXT + 8, 0x500 | width), 3, 3);
    }
    // Translation types: device-TLB and pass-through are not this unit's, 3 is nobody's.
    for kind in [1, 2, 3] {
        check_fault(|bench, top| bench.store(CONTEXT, top | kind << 2 | 1), 3, 3);
    }
    check_fault(|bench, _| bench.store(CONTEXT, 0x80_0000 | 1), 3, 3);
}

#[test]
fn unreachable_tables_fault() {
    for level in 2..=4 {
        check_fault(
            |bench, top| bench.store(entry_of(bench, top, level), 0x80_0000 | RW),
            7,
            7,
        );
    }
    check_fault(|bench, _| bench.store(ROOT, 0x80_0000 | 1), 9, 9);
}

#[test]
fn reserved_bits_fault() {
    for (word, bit) in [(0, 1), (0, 11), (0, 46), (0, 63), (1, 0), (1, 63)] {
        check_fault(
            |bench, _| bench.store(ROOT + 8 * word, ((1 - word) * (CONTEXTS | 1)) | (1 << bit)),
            0xa,
            0xa,
        );
    }
    for bit in [4, 11, 46, 63] {
        check_fault(
            |bench, top| bench.store(CONTEXT, top | 1 | 1 << bit),
            0xb,
            0xb,
        );
    }
    for bit in [7, 24, 63] {
        check_fault(
            |bench, _| bench.store(CONTEXT + 8, 0x502 | 1 << bit),
            0xb,
            0xb,
        );
    }
    for (level, bit) in [
        (4, 7),
        (4, 11),
        (4, 62),
        (4, 46),
        (3, 11),
        (2, 62),
        (1, 11),
        (1, 46),
        (1, 51),
        (1, 62),
    ] {
        check_fault(
            |bench, top| {
                let entry = entry_of(bench, top, level);
                let word = bench.ram.load_u64(entry).expect("in RAM");
                bench.store(entry, word | 1 << bit);
            },
            0xc,
            0xc,
        );
    }
    // A large page whose address is no multiple of its size.
    for (level, bit) in [(2, 12), (2, 20), (3, 12), (3, 29)] {
        check_fault(
            |bench, top| bench.store(entry_of(bench, top, level), PS | RW | 1 << bit),
            0xc,
            0xc,
        );
    }
}
