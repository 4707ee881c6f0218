//! Scalable mode: every way in which tables can be wrong, and the fault reason it gives.

use super::super::{ScalableMode, Support, VtdConfig};
use super::bench::*;
use super::scalable::*;
use crate::bus::Access;
use crate::temper::{Dice, Temper};
use hw::vtd::fault::FaultReason;

const TEMPERS: [Temper; 3] = [Temper::Keep, Temper::Forget, Temper::Random(3)];

/// What a read and a write of a mapped page give after `spoil`, which is told the top table.
#[track_caller]
fn check(stage: impl Fn(&Scalable) -> u64, spoil: impl Fn(&Scalable, u64), expected: (u16, u16)) {
    for temper in TEMPERS {
        let scalable = Scalable::new(config(), temper);
        let bench = &scalable.bench;
        let top = stage(&scalable);
        spoil(&scalable, top);
        scalable.enable();
        assert_eq!(bench.read(0x1000), Err(expected.0), "read, {temper:?}");
        assert_eq!(bench.write(0x1000), Err(expected.1), "write, {temper:?}");
        let record = [bench.read64(FRCD), bench.read64(FRCD + 8)];
        let words = 1 << 63 | 1 << 62 | u64::from(expected.0) << 32 | u64::from(DEVICE);
        assert_eq!(record, [0x1000, words], "{temper:?}");
    }
}

fn second(scalable: &Scalable) -> u64 {
    let top = scalable.second_stage();
    scalable.bench.map(top, 4, 0x1000, 1, 0x5000 | RW);
    top
}

fn first(scalable: &Scalable) -> u64 {
    let top = scalable.first_stage();
    scalable.map_first(top, 4, 0x1000, 1, 0x5000 | PWU | AD);
    top
}

fn entry_of(bench: &Bench, top: u64, level: u64) -> u64 {
    let mut table = top;
    for _ in level..4 {
        table = bench.ram.load_u64(table).expect("in RAM") & !0xfff;
    }
    table + if level == 1 { 8 } else { 0 }
}

#[track_caller]
fn both(spoil: impl Fn(&Scalable), reason: u16) {
    check(second, |scalable, _| spoil(scalable), (reason, reason));
    check(first, |scalable, _| spoil(scalable), (reason, reason));
}

#[test]
fn absent_entries_fault() {
    both(|it| it.bench.store(ROOT, CONTEXTS), 0x39);
    both(|it| it.bench.store(it.context, it.directory), 0x41);
    both(|it| it.bench.store(it.directory, it.pasids), 0x51);
    both(|it| it.bench.store(it.pasids, 0), 0x59);
    for level in 1..=4 {
        check(
            second,
            |it, top| it.bench.store(entry_of(&it.bench, top, level), 0x5000),
            (0x79, 0x79),
        );
        check(
            first,
            |it, top| it.bench.store(entry_of(&it.bench, top, level), 0x5000 | 6),
            (0x71, 0x71),
        );
    }
}

#[test]
fn unreachable_tables_fault() {
    const NO_RAM: u64 = 0x80_0000;
    both(|it| it.bench.store(ROOT, NO_RAM | 1), 0x40);
    both(|it| it.bench.store(it.context, NO_RAM | 1), 0x50);
    both(|it| it.bench.store(it.directory, NO_RAM | 1), 0x58);
    check(
        second,
        |it, _| it.set_pasid([NO_RAM | 2 << 2 | SECOND, DOMAIN.into(), 0]),
        (0x7b, 0x7b),
    );
    check(
        first,
        |it, _| it.set_pasid([FIRST, u64::from(DOMAIN) | SNOOPED, NO_RAM]),
        (0x73, 0x73),
    );
    for level in 2..=4 {
        check(
            second,
            |it, top| {
                it.bench.store(entry_of(&it.bench, top, level), NO_RAM | RW);
            },
            (0x78, 0x78),
        );
        check(
            first,
            |it, top| {
                it.bench
                    .store(entry_of(&it.bench, top, level), NO_RAM | PWU | AD);
            },
            (0x70, 0x70),
        );
    }
}

#[test]
fn reserved_bits_fault() {
    let set = |it: &Scalable, phys: u64, bit: u32| {
        let word = it.bench.ram.load_u64(phys).expect("in RAM");
        it.bench.store(phys, word | 1 << bit);
    };
    for bit in [1, 11, 46, 63] {
        both(|it| set(it, ROOT, bit), 0x3a);
        both(|it| set(it, it.directory, bit.max(2)), 0x52);
    }
    // Device-TLB, PASID and page requests are not this unit's.
    for bit in [2, 3, 4, 5, 8, 46] {
        both(|it| set(it, it.context, bit), 0x42);
    }
    for (word, bit) in [(1, 20), (1, 21), (1, 63), (2, 0), (3, 63)] {
        both(|it| set(it, it.context + 8 * word, bit), 0x42);
    }
    for (word, bit) in [
        (0, 9),
        (0, 10),
        (1, 16),
        (1, 22),
        (1, 24),
        (1, 25),
        (1, 31),
        (1, 63),
        (2, 0),
        (2, 1),
        (2, 7),
        (2, 8),
        (3, 0),
        (7, 63),
    ] {
        both(|it| set(it, it.pasids + 8 * word, bit), 0x5a);
    }
    check(second, |it, _| set(it, it.pasids, 46), (0x5a, 0x5a));
    check(first, |it, _| set(it, it.pasids + 16, 46), (0x5a, 0x5a));
    for (level, bit) in [(4, 7), (4, 11), (2, 62), (1, 11), (1, 46)] {
        check(
            second,
            |it, top| set(it, entry_of(&it.bench, top, level), bit),
            (0x7a, 0x7a),
        );
    }
    // Without NXE execute-disable is reserved.
    for (level, bit) in [(4, 7), (4, 63), (3, 46), (1, 51), (1, 63)] {
        check(
            first,
            |it, top| set(it, entry_of(&it.bench, top, level), bit),
            (0x72, 0x72),
        );
    }
    for (level, bit) in [(2, 13), (2, 20), (3, 13), (3, 29)] {
        check(
            first,
            |it, top| {
                it.bench
                    .store(entry_of(&it.bench, top, level), PS | PWU | AD | 1 << bit);
            },
            (0x72, 0x72),
        );
    }
}

#[test]
fn execute_disable_counts_where_it_is_enabled() {
    let scalable = Scalable::new(config(), Temper::Keep);
    let top = first(&scalable);
    let leaf = entry_of(&scalable.bench, top, 1);
    scalable.bench.store(leaf, 1 << 63 | 0x5000 | PWU | AD);
    scalable.set_pasid([FIRST, u64::from(DOMAIN) | SNOOPED, top | 1 << 5]);
    scalable.enable();
    assert_eq!(scalable.bench.write(0x1000), Ok(0x5000));
    scalable.bench.assert_no_findings();
}

#[test]
fn a_unit_without_rid_pasid_reserves_it() {
    let scalable = ScalableMode {
        rid_pasid: Support::No,
        ..ScalableMode::default()
    };
    let scalable = Scalable::new(
        VtdConfig {
            scalable: Some(scalable),
            ..config()
        },
        Temper::Keep,
    );
    second(&scalable);
    scalable.bench.store(scalable.context + 8, 1);
    scalable.enable();
    assert_eq!(scalable.bench.read(0x1000), Err(0x42));
}

#[test]
fn invalid_pasid_entries_fault() {
    // Translation types: nested and pass-through are not this unit's, the others nobody's.
    for kind in [0, 3, 4, 5, 6, 7] {
        both(
            |it| it.set_pasid([it.pasids | 2 << 2 | kind << 6 | 1, DOMAIN.into(), it.pasids]),
            0x5b,
        );
    }
    for width in [0, 3, 4, 7] {
        check(
            second,
            |it, top| it.set_pasid([top | width << 2 | SECOND, DOMAIN.into(), 0]),
            (0x5b, 0x5b),
        );
    }
    for mode in [1, 2, 3] {
        check(
            first,
            |it, top| it.set_pasid([FIRST, u64::from(DOMAIN) | SNOOPED, top | mode << 2]),
            (0x5b, 0x5b),
        );
    }
}

#[test]
fn a_unit_translates_by_the_stages_it_has() {
    for (first_stage, second_stage) in [(Support::Yes, Support::No), (Support::No, Support::Yes)] {
        let mode = ScalableMode {
            first_stage,
            second_stage,
            ..ScalableMode::default()
        };
        let config = VtdConfig {
            scalable: Some(mode),
            ..config()
        };
        let has = |support| match support {
            Support::Yes => Ok(0x5000),
            Support::No => Err(0x5b),
        };
        let it = Scalable::new(config.clone(), Temper::Keep);
        first(&it);
        it.enable();
        assert_eq!(it.bench.read(0x1000), has(first_stage));
        let it = Scalable::new(config, Temper::Keep);
        second(&it);
        it.enable();
        assert_eq!(it.bench.read(0x1000), has(second_stage));
    }
}

#[test]
fn permissions_of_all_levels_count() {
    check(
        first,
        |it, top| {
            let entry = entry_of(&it.bench, top, 3);
            let word = it.bench.ram.load_u64(entry).expect("in RAM");
            it.bench.store(entry, word & !4);
        },
        (0x81, 0x81),
    );
    let scalable = Scalable::new(config(), Temper::Keep);
    let bench = &scalable.bench;
    let top = scalable.second_stage();
    bench.map(top, 4, 0x1000, 1, 0x5000 | R);
    bench.map(top, 4, 0x2000, 1, 0x6000 | W);
    scalable.enable();
    for _ in 0..2 {
        assert_eq!(
            (bench.read(0x1000), bench.write(0x1000)),
            (Ok(0x5000), Err(0x85))
        );
        assert_eq!(
            (bench.read(0x2000), bench.write(0x2000)),
            (Err(0x86), Ok(0x6000))
        );
    }
    assert_eq!(bench.read(1 << 48), Err(0x84), "beyond the width");
    bench.assert_no_findings();
}

#[test]
fn faults_of_silent_entries_are_not_recorded() {
    for word in [0, 1, 2] {
        let scalable = Scalable::new(config(), Temper::Keep);
        let bench = &scalable.bench;
        scalable.second_stage();
        let entry = [scalable.context, scalable.directory, scalable.pasids][word];
        let value = bench.ram.load_u64(entry).expect("in RAM");
        bench.store(entry, value | 2);
        scalable.enable();
        assert_eq!(bench.read(0x1000), Err(0x79));
        assert_eq!(bench.read64(FRCD + 8) >> 63, 0);
        assert_eq!(bench.unit.statistics().faults_silenced, 1);
    }
}

/// `SEED=n` replays a run.
fn seed() -> u64 {
    std::env::var("SEED").map_or(0x5ca1_ab1e, |seed| seed.parse().expect("a number"))
}

#[test]
fn tables_of_random_bits_give_faults_the_manual_has_or_addresses_of_the_host() {
    let seed = seed();
    println!("SEED={seed}");
    let dice = Dice::new(seed);
    for _ in 0..60 {
        let scalable = Scalable::new(config(), Temper::Random(dice.next_u64()));
        let bench = &scalable.bench;
        if dice.one_in(2) {
            first(&scalable);
        } else {
            second(&scalable);
        }
        for _ in 0..dice.below(6) {
            let frames = [
                ROOT,
                CONTEXTS,
                scalable.context & !0xfff,
                scalable.directory,
            ]
            .into_iter()
            .chain((0..8).map(|frame| scalable.pasids + frame * 0x1000))
            .collect::<Vec<_>>();
            let frame = frames[dice.below(frames.len() as u64) as usize];
            let at = match dice.below(3) {
                0 => frame,
                1 => scalable.context + 8 * dice.below(4),
                _ => frame + 8 * dice.below(512),
            };
            let word = bench.ram.load_u64(at).expect("in RAM");
            let word = match dice.below(3) {
                0 => dice.next_u64(),
                1 => word ^ 1 << dice.below(64),
                _ => dice.next_u64() & 0x7f_ffff,
            };
            bench.store(at, word);
        }
        scalable.enable();
        for _ in 0..20 {
            let bus = match dice.below(3) {
                0 => dice.next_u64(),
                1 => dice.next_u64() >> 16,
                _ => 0x1000 * dice.below(4),
            };
            let access = if dice.one_in(2) {
                Access::Read
            } else {
                Access::Write
            };
            match bench.reach(DEVICE, bus, access) {
                Ok(phys) => assert!(phys >> 46 == 0, "{phys:#x}"),
                Err(reason) => {
                    let code = u8::try_from(reason).expect("8 bits");
                    assert!(FaultReason::from_code(code).is_some(), "{reason:#x}");
                }
            }
        }
    }
}
