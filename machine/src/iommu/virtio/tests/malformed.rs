//! Requests and queues that no correct driver makes: refused, found, and never the end of the unit.

use super::super::VirtioConfig;
use super::bench::*;
use crate::findings::FindingKind;
use crate::temper::{Dice, Temper};

/// Sets each of `bits`, word and number, alone.
#[track_caller]
fn check_reserved(words: &[u32], bits: &[(usize, u32)]) {
    for (word, bit) in bits {
        let bench = Bench::attached(VirtioConfig::default());
        let mut words = words.to_vec();
        words[*word] |= 1 << bit;
        assert_eq!(bench.ask(&words), INVALID, "{words:x?}");
        assert_eq!(bench.found(FindingKind::ReservedBits), 1, "{words:x?}");
    }
}

#[test]
fn reserved_bits_are_found_and_refused() {
    check_reserved(
        &attach(DOMAIN, DEVICE),
        &[(0, 8), (0, 31), (3, 1), (3, 31), (4, 0)],
    );
    check_reserved(&detach(DOMAIN, DEVICE), &[(0, 8), (3, 0), (4, 31)]);
    check_reserved(
        &map(DOMAIN, 0x1000, 0x1fff, 0x5000, RW),
        &[(0, 8), (8, 3), (8, 31)],
    );
    check_reserved(&unmap(DOMAIN, 0x1000, 0x1fff), &[(0, 8), (6, 0), (6, 31)]);
    let bench = Bench::started(VirtioConfig::default());
    let mut words = probe(DEVICE);
    words[17] = 1;
    bench.submit(0, &words, 516);
    bench.next_used(0);
    assert_eq!(bench.status_of(0, 516), INVALID);
    assert_eq!(bench.found(FindingKind::ReservedBits), 1);
}

#[test]
fn unknown_request_is_not_supported() {
    let bench = Bench::attached(VirtioConfig::default());
    for kind in [0, 6, 255] {
        assert_eq!(bench.ask(&[kind, 0, 0, 0, 0]), UNSUPPORTED);
    }
    assert_eq!(bench.found(FindingKind::ProtocolViolation), 3);
}

#[test]
fn mmio_flag_without_the_feature_is_refused() {
    let mut config = VirtioConfig::default();
    config.features.set_mmio(false);
    let bench = Bench::with(config, Temper::Keep);
    bench.reset();
    bench.accept(FEATURES_LOW & !0x20, FEATURES_HIGH);
    bench.place_queue(0);
    bench.write32(STATUS, 15);
    assert_eq!(bench.ask(&attach(DOMAIN, DEVICE)), OK);
    assert_eq!(
        bench.ask(&map(DOMAIN, 0x1000, 0x1fff, 0x5000, RW | 4)),
        INVALID
    );
}

/// Spoils a request in slot 1, and expects the device to need a reset, of which it recovers.
#[track_caller]
fn check_stops(spoil: impl Fn(&Bench)) {
    for temper in [Temper::Keep, Temper::Forget, Temper::Random(3)] {
        let bench = Bench::with(VirtioConfig::default(), temper);
        bench.start();
        assert_eq!(bench.ask(&attach(DOMAIN, DEVICE)), OK);
        spoil(&bench);
        bench.wait_until(|| bench.read32(STATUS) == 15 | 64);
        assert_eq!(bench.found(FindingKind::ProtocolViolation), 1);
        bench.start();
        assert_eq!(bench.ask(&attach(DOMAIN, DEVICE)), OK);
    }
}

#[test]
fn requests_of_wrong_length_stop_the_device() {
    let request = unmap(DOMAIN, 0x1000, 0x1fff);
    check_stops(|bench| bench.submit(1, &request[..6], 4));
    check_stops(|bench| bench.submit(1, &[&request[..], &[0]].concat(), 4));
    check_stops(|bench| bench.submit(1, &request, 3));
    check_stops(|bench| bench.submit(1, &request, 8));
    check_stops(|bench| bench.submit(1, &probe(DEVICE), 4));
    check_stops(|bench| bench.submit(1, &[], 4));
}

#[test]
fn malformed_chains_stop_the_device() {
    let at = Bench::request_at(1);
    // A descriptor that does not exist.
    check_stops(|bench| bench.offer(0, SIZE));
    check_stops(|bench| {
        bench.descriptor(0, 2, (at, 28, 1, SIZE));
        bench.offer(0, 2);
    });
    // A chain that bites its tail.
    check_stops(|bench| {
        bench.descriptor(0, 2, (at, 28, 1, 2));
        bench.offer(0, 2);
    });
    // A part to read behind one to write.
    check_stops(|bench| {
        bench.descriptor(0, 2, (at, 4, 3, 3));
        bench.descriptor(0, 3, (at, 28, 0, 0));
        bench.offer(0, 2);
    });
    // Not in memory.
    check_stops(|bench| {
        bench.descriptor(0, 2, (RAM.end, 28, 1, 3));
        bench.descriptor(0, 3, (at, 4, 2, 0));
        bench.offer(0, 2);
    });
    check_stops(|bench| {
        bench.descriptor(0, 2, (u64::MAX - 3, 28, 1, 3));
        bench.offer(0, 2);
    });
    // More available than there are descriptors.
    check_stops(|bench| {
        bench.store16(RINGS[0][1] + 2, 2 * SIZE);
        bench.write32(NOTIFY, 0);
    });
}

#[test]
fn rings_that_are_no_memory_stop_the_device() {
    for offset in [0x80, 0x90, 0xa0] {
        for phys in [RAM.end as u32, 0x1001] {
            let bench = Bench::with(VirtioConfig::default(), Temper::Keep);
            bench.reset();
            bench.accept(FEATURES_LOW, FEATURES_HIGH);
            bench.write32(QUEUE_SEL, 0);
            bench.write32(QUEUE_SIZE, SIZE.into());
            for (ring, at) in RINGS[0].into_iter().zip([0x80, 0x90, 0xa0]) {
                bench.write32(at, ring as u32);
            }
            bench.write32(offset, phys);
            bench.write32(QUEUE_READY, 1);
            bench.write32(STATUS, 15);
            assert_eq!(bench.read32(STATUS), 15 | 64, "{offset:#x} {phys:#x}");
            assert_eq!(bench.found(FindingKind::IllegalRegisterUse), 1);
        }
    }
}

/// Any words in any request: each is answered, or the device needs a reset; nothing panics, nothing hangs.
#[test]
fn any_words_are_answered_or_stop_the_device() {
    let seed = std::env::var("SEED").map_or(0xdead, |seed| seed.parse().expect("a number"));
    println!("SEED={seed}");
    let dice = Dice::new(seed);
    let bench = Bench::with(VirtioConfig::default(), Temper::Random(seed));
    bench.start();
    for _ in 0..3000 {
        let mut words: Vec<u32> = (0..dice.below(20))
            .map(|_| (dice.next_u64() >> dice.below(64)) as u32)
            .collect();
        if let Some(head) = words.first_mut()
            && !dice.one_in(8)
        {
            *head = 1 + dice.below(5) as u32;
        }
        let writable = if dice.one_in(4) {
            dice.below(0x200) as u32
        } else {
            4
        };
        let used = bench.used(0);
        bench.submit(0, &words, writable);
        bench.wait_until(|| bench.used(0) != used || bench.read32(STATUS) & 64 != 0);
        for _ in 0..4 {
            let _ = bench.read(dice.next_u64() >> dice.below(64));
        }
        if bench.read32(STATUS) & 64 != 0 {
            bench.start();
        }
    }
}
