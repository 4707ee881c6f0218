//! Every way in which tables can be wrong, and the event it gives.

use super::super::SmmuConfig;
use super::bench::*;
use crate::cache::Snooping;
use crate::findings::FindingKind;
use crate::temper::{Dice, Temper};

/// One fault: how the tables are spoiled, and what a read gives.
#[track_caller]
fn check_fault(config: SmmuConfig, spoil: impl Fn(&Bench, u64), code: u16) {
    for temper in [Temper::Keep, Temper::Forget, Temper::Random(3)] {
        let bench = Bench::with(config.clone(), temper, Snooping::On);
        let root = bench.frame();
        match config.stages {
            super::super::Stages::Second => {
                bench.attach_stage2(DEVICE, DOMAIN, root);
                bench.map(root, 0x1000, 3, 0x5000 | PAGE2);
            }
            _ => {
                bench.attach(DEVICE, DOMAIN, root);
                bench.map(root, 0x1000, 3, 0x5000 | PAGE);
            }
        }
        spoil(&bench, root);
        bench.enable();
        assert_eq!(bench.read(0x1000), Err(code), "{temper:?}");
        let event = bench.event().expect("recorded");
        assert_eq!(event[0], u64::from(DEVICE) << 32 | u64::from(code));
    }
}

fn set(at: u64, mask: u64, value: u64) -> impl Fn(&Bench, u64) {
    move |bench, _| bench.store(at, bench.load(at) & !mask | value)
}

const ENTRY: u64 = STREAMS + DEVICE as u64 * 64;
const CONTEXT: u64 = CONTEXTS + DEVICE as u64 * 64;

#[test]
fn invalid_entries_fault() {
    let bad = |mask, value| check_fault(first(), set(ENTRY, mask, value), 0x04);
    bad(1, 0);
    // Stage 2 and both: not this unit's.
    bad(0xe, 0xc);
    bad(0xe, 0xe);
    // More substreams than the unit has.
    bad(0, 1 << 59);
    // Stage 1 never stalls here; and there is no hypervisor.
    check_fault(first(), set(ENTRY + 8, 0, 1 << 27), 0x04);
    check_fault(first(), set(ENTRY + 8, 0, 2 << 30), 0x04);
    // Stage 1: not that unit's.
    check_fault(second(), set(ENTRY, 0xe, 0xa), 0x04);
    let bad = |mask, value| check_fault(second(), set(ENTRY + 16, mask, value), 0x04);
    // S2AA64, S2ENDI, S2HD, S2HA, S2S.
    bad(1 << 51, 0);
    for bit in [52, 55, 56, 57] {
        bad(0, 1 << bit);
    }
    // A reserved granule; sizes that are too small, too large, or more than the unit gives.
    bad(0, 3 << 46);
    for size in [0, 15, 16, 19, 40, 63] {
        bad(0x3f << 32, size << 32);
    }
    // Start levels that do not fit 39 bits, or do not exist.
    for level in [0, 2, 3] {
        bad(3 << 38, level << 38);
    }
    check_fault(second(), set(ENTRY + 24, !0, 1 << 44), 0x04);
}

#[test]
fn invalid_context_descriptors_fault() {
    let bad = |mask, value| check_fault(first(), set(CONTEXT, mask, value), 0x0a);
    // V, AA64, A.
    for bit in [31, 41, 46] {
        bad(1 << bit, 0);
    }
    // EPD0, ENDI, HD, HA, S.
    for bit in [14, 15, 42, 43, 44] {
        bad(0, 1 << bit);
    }
    // The upper range; a reserved granule; a reserved output size; sizes of input.
    bad(1 << 30, 0);
    bad(0, 3 << 6);
    bad(0, 7 << 32);
    for size in [0, 15, 40, 63] {
        bad(0x3f, size);
    }
    check_fault(first(), set(CONTEXT + 8, !0, 1 << 44), 0x0a);
}

#[test]
fn unreachable_tables_fault() {
    // The descriptor, the root, and a table below it.
    check_fault(first(), set(ENTRY, !0, 0x100_000b), 0x09);
    check_fault(first(), set(CONTEXT + 8, !0, 0x100_0000), 0x0b);
    check_fault(first(), |bench, root| bench.store(root, 0x100_0003), 0x0b);
    check_fault(second(), |bench, root| bench.store(root, 0x100_0003), 0x0b);
}

#[test]
fn stream_table_outside_memory_faults() {
    let bench = Bench::new(first());
    bench.connect();
    bench.write64(STRTAB_BASE, 0x100_0000);
    bench.submit_and_wait(&[CFGI_ALL, NSNH_ALL]);
    bench.control(CMDQEN | EVENTQEN | SMMUEN);
    assert_eq!(bench.read(0x1000), Err(0x03));
    let event = bench.event().expect("recorded");
    assert_eq!(event[3], 0x100_0000 + u64::from(DEVICE) * 64);
}

#[test]
fn descriptors_fault_as_the_manual_says() {
    for config in [first(), second()] {
        let page = match config.stages {
            super::super::Stages::Second => PAGE2,
            _ => PAGE,
        };
        let leaf = |word: u64| {
            move |bench: &Bench, root: u64| {
                bench.map(root, 0x1000, 3, word);
            }
        };
        check_fault(config.clone(), leaf(0), 0x10);
        // What would be a block is none at the last level, and there is none at level 0 of 4 KiB.
        check_fault(config.clone(), leaf(0x5000 | page & !2), 0x10);
        // Beyond the output; the access flag clear.
        check_fault(config.clone(), leaf(1 << 44 | page), 0x11);
        check_fault(config.clone(), leaf(0x5000 | page & !0x400), 0x12);
        check_fault(config.clone(), leaf(0x5000 | page & !0x40), 0x13);
        check_fault(
            config,
            |bench, root| bench.store(root, 1 << 44 | TABLE),
            0x11,
        );
    }
}

#[test]
fn access_flag_is_not_looked_at_where_it_must_not() {
    let (bench, root) = Bench::translating(first());
    bench.map(root, 0x1000, 3, 0x5000 | PAGE & !0x400);
    // AFFD.
    bench.store(context_of(DEVICE), context_word(DOMAIN) | 1 << 35);
    bench.submit_and_wait(&[cfgi_cd(DEVICE.into())]);
    assert_eq!(bench.read(0x1000), Ok(0x5000));
}

#[test]
fn reserved_bits_are_findings() {
    let check = |config: SmmuConfig, spoil: &dyn Fn(&Bench, u64)| {
        let bench = Bench::new(config.clone());
        let root = bench.frame();
        if config.stages == super::super::Stages::Second {
            bench.attach_stage2(DEVICE, DOMAIN, root);
            bench.map(root, 0x1000, 3, 0x5000 | PAGE2);
        } else {
            bench.attach(DEVICE, DOMAIN, root);
            bench.map(root, 0x1000, 3, 0x5000 | PAGE);
        }
        spoil(&bench, root);
        bench.enable();
        assert_eq!(bench.read(0x1000), Ok(0x5000));
        assert_eq!(bench.found(FindingKind::ReservedBits), 1);
    };
    check(first(), &set(ENTRY, 0, 1 << 55));
    check(first(), &set(ENTRY + 8, 0, 1 << 24));
    check(first(), &set(ENTRY + 8, 0, 1 << 28));
    check(first(), &set(ENTRY + 32, 0, 1));
    check(first(), &set(CONTEXT + 8, 0, 1 << 3));
    check(first(), &set(CONTEXT + 40, 0, 1));
    check(second(), &set(ENTRY + 16, 0, 1 << 60));
    check(second(), &set(ENTRY + 24, 0, 1));
    // A page with address bits that its level does not have; a table of stage 2 with limits.
    check(first(), &|bench, root| {
        bench.map(root, 0x1000, 3, 0x5000 | PAGE | 1 << 48);
    });
    check(second(), &|bench, root| {
        bench.store(root, bench.load(root) | 1 << 61);
    });
}

/// Tables of random words, walked: whatever they say, requests end, inside memory or with an event the manual has.
#[test]
fn random_tables_end_every_walk() {
    let seed = std::env::var("SEED").map_or(0x5eed_0001, |seed| seed.parse().expect("a number"));
    println!("SEED={seed}");
    let dice = Dice::new(seed);
    for round in 0..200 {
        let temper = [Temper::Keep, Temper::Forget, Temper::Random(round)][round as usize % 3];
        let bench = Bench::with(SmmuConfig::default(), temper, Snooping::On);
        let root = bench.frame();
        bench.attach_stage2(DEVICE, DOMAIN, root);
        bench.attach(DEVICE, DOMAIN, root);
        if dice.one_in(2) {
            bench.store(entry_of(DEVICE), stage1_entry(DEVICE) | 0b1110);
        }
        // Words that look like descriptors more often than not, in the tables and now and then in what leads there.
        for _ in 0..4096 {
            let at = FIRST_TABLE + dice.below(0x1000) * 8;
            let word = dice.next_u64() & 0x00ff_f0ff | dice.below(4) | 0x4c0 | 1 << 11;
            bench.store(
                at,
                if dice.one_in(8) {
                    dice.next_u64()
                } else {
                    word
                },
            );
        }
        for _ in 0..dice.below(4) {
            let at = [entry_of(DEVICE), context_of(DEVICE)][dice.below(2) as usize];
            let at = at + dice.below(8) * 8;
            bench.store(at, bench.load(at) ^ 1 << dice.below(64));
        }
        bench.enable();
        for _ in 0..64 {
            let bus = dice.next_u64() & ((1 << (12 + dice.below(36))) - 1);
            match bench.read(bus) {
                Ok(phys) => assert!(phys >> 48 == 0 || phys == bus, "{phys:#x}"),
                Err(code) => assert!(
                    matches!(code, 0 | 4 | 9 | 0xa | 0xb | 0x10..=0x13),
                    "{code:#x}"
                ),
            }
        }
        let mut audit = crate::audit::Audit::default();
        crate::iommu::Unit::audit(&*bench.unit, &mut audit);
    }
}

/// Where random tables lie: the first frame, which is the root, and those after it.
const FIRST_TABLE: u64 = 0x20000;
