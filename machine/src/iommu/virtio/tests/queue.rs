//! The request queue: order, answers, patience, and what goes wrong with it.

use std::time::{Duration, Instant};

use hw::virtio::iommu::request::Status;

use super::super::{QueueFault, VirtioConfig};
use super::bench::*;
use crate::bus::Access;
use crate::findings::FindingKind;
use crate::iommu::Unit;
use crate::iommu::translator::Translator;
use crate::temper::Temper;

#[test]
fn requests_are_done_in_order_around_the_ring() {
    for temper in [Temper::Keep, Temper::Forget, Temper::Random(3)] {
        let bench = Bench::with(VirtioConfig::default(), temper);
        bench.start();
        assert_eq!(bench.ask(&attach(DOMAIN, DEVICE)), OK);
        for round in 0..200 {
            let slots = 0..8_u16;
            for slot in slots.clone() {
                let bus = u64::from(slot / 2) << 12;
                let words: &[u32] = match slot % 2 {
                    0 => &map(DOMAIN, bus, bus + 0xfff, 0x5000, RW),
                    _ => &unmap(DOMAIN, bus, bus + 0xfff),
                };
                bench.submit(slot, words, 4);
            }
            let mut heads: Vec<_> = slots.clone().map(|_| bench.next_used(0).0).collect();
            heads.sort();
            assert_eq!(heads, [0, 2, 4, 6, 8, 10, 12, 14], "round {round}");
            let statuses: Vec<_> = slots.map(|slot| bench.status_of(slot, 4)).collect();
            assert_eq!(statuses, [OK; 8]);
        }
        bench.assert_no_findings();
    }
}

#[test]
fn answers_come_out_of_order_in_the_random_temper() {
    let bench = Bench::with(VirtioConfig::default(), Temper::Random(1));
    bench.start();
    assert_eq!(bench.ask(&attach(DOMAIN, DEVICE)), OK);
    let shuffled = (0..50).any(|_| {
        bench.unit.hold_queue();
        for slot in 0..8 {
            bench.submit(slot, &unmap(DOMAIN, 0x1000, 0x1fff), 4);
        }
        bench.unit.release_queue();
        let heads: Vec<_> = (0..8).map(|_| bench.next_used(0).0).collect();
        !heads.is_sorted()
    });
    assert!(shuffled);
    bench.assert_no_findings();
}

#[test]
fn unit_works_by_itself_when_nobody_polls() {
    let bench = Bench::attached(VirtioConfig::default());
    bench.submit(1, &unmap(DOMAIN, 0x1000, 0x1fff), 4);
    let limit = Instant::now() + Duration::from_secs(100);
    while bench.used(0) != 2 {
        assert!(Instant::now() < limit);
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn buffers_may_be_cut_anywhere() {
    let bench = Bench::attached(VirtioConfig::default());
    let at = Bench::request_at(9);
    for (n, word) in (0..).zip(map(DOMAIN, 0x1000, 0x1fff, 0x5000, RW)) {
        bench.ram.store_u32(at + 4 * n, word).expect("in RAM");
    }
    bench.descriptor(0, 20, (at, 1, 1, 21));
    bench.descriptor(0, 21, (at + 1, 34, 1, 25));
    bench.descriptor(0, 25, (at + 35, 1, 1, 30));
    bench.descriptor(0, 30, (at + 0x100, 3, 3, 31));
    bench.descriptor(0, 31, (at + 0x103, 1, 2, 0));
    bench.offer(0, 20);
    assert_eq!(bench.next_used(0), (20, 4));
    assert_eq!(bench.status_of(9, 4), OK);
    assert_eq!(bench.read(0x1000), Ok(0x5000));
    bench.assert_no_findings();
}

#[test]
fn unmap_waits_for_transactions_in_flight() {
    let bench = Bench::attached(VirtioConfig::default());
    for request in [
        unmap(DOMAIN, 0x1000, 0x1fff).to_vec(),
        detach(DOMAIN, DEVICE).to_vec(),
    ] {
        assert_eq!(bench.ask(&map(DOMAIN, 0x1000, 0x1fff, 0x5000, RW)), OK);
        let in_flight = bench.unit.translate(DEVICE, 0x1000, Access::Write);
        assert!(in_flight.is_ok());
        bench.submit(1, &request, 4);
        let used = bench.used(0);
        for _ in 0..50 {
            bench.unit.idle();
            std::thread::sleep(Duration::from_millis(1));
        }
        assert!(bench.read(0x1000).is_err(), "nobody new gets in");
        assert_eq!(bench.used(0), used);
        drop(in_flight);
        bench.next_used(0);
        assert_eq!(bench.status_of(1, 4), OK);
    }
}

#[test]
fn held_queue_does_nothing_until_released() {
    let bench = Bench::attached(VirtioConfig::default());
    bench.unit.hold_queue();
    bench.submit(1, &map(DOMAIN, 0x1000, 0x1fff, 0x5000, RW), 4);
    for _ in 0..50 {
        bench.unit.idle();
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(bench.read(0x1000), Err(2));
    bench.unit.release_queue();
    bench.next_used(0);
    assert_eq!(bench.read(0x1000), Ok(0x5000));
}

#[test]
fn delayed_queue_is_late() {
    let bench = Bench::attached(VirtioConfig::default());
    bench.unit.delay_queue(Duration::from_millis(30));
    let start = Instant::now();
    assert_eq!(bench.ask(&map(DOMAIN, 0x1000, 0x1fff, 0x5000, RW)), OK);
    assert!(start.elapsed() >= Duration::from_millis(30));
}

#[test]
fn failed_queue_answers_as_it_was_told_and_does_nothing() {
    let bench = Bench::attached(VirtioConfig::default());
    bench.unit.fail_queue(QueueFault::Answer(Status::NoMemory));
    assert_eq!(
        bench.ask(&map(DOMAIN, 0x1000, 0x1fff, 0x5000, RW)),
        NO_MEMORY
    );
    assert_eq!(bench.read(0x1000), Err(2));
    assert_eq!(bench.ask(&map(DOMAIN, 0x1000, 0x1fff, 0x5000, RW)), OK);
    assert_eq!(bench.unit.statistics().refusals, 1);
    bench.assert_no_findings();
}

#[test]
fn lost_request_is_never_answered() {
    let bench = Bench::attached(VirtioConfig::default());
    bench.unit.fail_queue(QueueFault::Lost);
    bench.submit(1, &map(DOMAIN, 0x1000, 0x1fff, 0x5000, RW), 4);
    assert_eq!(bench.ask(&unmap(DOMAIN, 0x1000, 0x1fff)), OK);
    assert_eq!(bench.used(0), 2);
    assert_eq!(bench.read(0x1000), Err(2));
}

#[test]
fn broken_device_names_what_it_likes_in_the_used_ring() {
    let bench = Bench::attached(VirtioConfig::default());
    bench.unit.fail_queue(QueueFault::UsedAs(0x1_0003));
    bench.submit(1, &unmap(DOMAIN, 0x1000, 0x1fff), 4);
    assert_eq!(bench.next_used(0), (0x1_0003, 4));
}

#[test]
fn device_that_needs_a_reset_does_nothing_more() {
    let bench = Bench::attached(VirtioConfig::default());
    bench.unit.fail_queue(QueueFault::NeedsReset);
    bench.submit(1, &map(DOMAIN, 0x1000, 0x1fff, 0x5000, RW), 4);
    bench.wait_until(|| bench.read32(STATUS) == 15 | 64);
    assert_eq!(bench.read32(INTERRUPT_STATUS) & 2, 2);
    bench.start();
    assert_eq!(bench.ask(&attach(DOMAIN, DEVICE)), OK);
    bench.assert_no_findings();
}

#[test]
fn buffer_offered_twice_is_found() {
    let bench = Bench::attached(VirtioConfig::default());
    bench.unit.fail_queue(QueueFault::Lost);
    bench.submit(1, &unmap(DOMAIN, 0x1000, 0x1fff), 4);
    bench.offer(0, 2);
    bench.wait_until(|| bench.read32(STATUS) == 15 | 64);
    assert_eq!(bench.found(FindingKind::ProtocolViolation), 1);
}

#[test]
fn used_ring_is_the_devices_to_write() {
    let bench = Bench::attached(VirtioConfig::default());
    bench.store16(RINGS[0][2] + 2, 7);
    bench.submit(1, &unmap(DOMAIN, 0x1000, 0x1fff), 4);
    bench.wait_until(|| bench.found(FindingKind::ProtocolViolation) == 1);
}

#[test]
fn driver_that_asks_by_event_index_is_interrupted_there() {
    let bench = Bench::with(VirtioConfig::default(), Temper::Keep);
    bench.reset();
    bench.accept(FEATURES_LOW | 1 << 29, FEATURES_HIGH);
    bench.place_queue(0);
    bench.write32(STATUS, 15);
    // `used_event`: interrupt at the third buffer used.
    bench.store16(RINGS[0][1] + 4 + 2 * u64::from(SIZE), 2);
    assert_eq!(bench.ask(&attach(DOMAIN, DEVICE)), OK);
    assert_eq!(bench.ask(&unmap(DOMAIN, 0x1000, 0x1fff)), OK);
    assert_eq!(bench.read32(INTERRUPT_STATUS), 0);
    assert_eq!(bench.ask(&unmap(DOMAIN, 0x1000, 0x1fff)), OK);
    assert_eq!(bench.read32(INTERRUPT_STATUS), 1);
}
