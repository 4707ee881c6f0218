use std::time::{Duration, Instant};

use super::super::{AmdConfig, EventInterrupt, QueueFault, Support};
use super::bench::*;
use crate::bus::Access;
use crate::findings::FindingKind;
use crate::iommu::Unit;
use crate::iommu::translator::Translator;

fn enabled() -> Bench {
    let bench = Bench::new(AmdConfig::default());
    bench.enable();
    bench
}

#[test]
fn commands_are_done_in_order_around_the_ring() {
    let bench = enabled();
    for round in 1..=1000 {
        bench.submit(&[
            INVALIDATE_ALL,
            wait(round - 1),
            invalidate_domain(1),
            wait(round),
        ]);
        bench.wait_until(|| bench.load(STORE) == round);
    }
    assert_eq!(bench.read64(COMMAND_HEAD), 4000 * 16 % 4096);
    let statistics = bench.unit.statistics();
    assert_eq!(
        (statistics.waits, statistics.global_invalidations),
        (2000, 1000)
    );
    bench.assert_no_findings();
}

#[test]
fn unit_works_by_itself_when_nobody_polls() {
    let bench = enabled();
    bench.submit(&[wait(5)]);
    let limit = Instant::now() + Duration::from_secs(100);
    while bench.load(STORE) != 5 {
        assert!(Instant::now() < limit);
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn held_ring_invalidates_nothing_until_released() {
    let (bench, top) = Bench::translating(AmdConfig::default(), 4);
    let leaf = bench.map(top, 4, 0x1000, 1, entry(0x5000, 0));
    assert_eq!(bench.read(0x1000), Ok(0x5000));
    bench.store(leaf, 0);
    bench.unit.hold_queue();
    bench.submit(&[invalidate_domain(DOMAIN), wait(7)]);
    for _ in 0..50 {
        bench.unit.idle();
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(bench.read(0x1000), Ok(0x5000));
    assert_ne!(bench.load(STORE), 7);
    bench.unit.release_queue();
    bench.wait_until(|| bench.load(STORE) == 7);
    assert_eq!(bench.read(0x1000), Err(2));
}

#[test]
fn delayed_ring_is_late() {
    let bench = enabled();
    bench.unit.delay_queue(Duration::from_millis(30));
    let start = Instant::now();
    bench.submit(&[wait(9)]);
    bench.wait_until(|| bench.load(STORE) == 9);
    assert!(start.elapsed() >= Duration::from_millis(30));
}

#[test]
fn completion_wait_waits_for_requests_in_flight() {
    for access in [Access::Read, Access::Write] {
        let (bench, top) = Bench::translating(AmdConfig::default(), 4);
        bench.map(top, 4, 0x1000, 1, entry(0x5000, 0));
        let in_flight = bench
            .unit
            .translate(DEVICE, 0x1000, access)
            .expect("mapped");
        assert_eq!(bench.unit.requests_in_flight(), 1);
        bench.submit(&[invalidate_domain(DOMAIN), wait(3)]);
        bench.unit.idle();
        let again = bench
            .unit
            .translate(DEVICE, 0x1000, access)
            .expect("mapped");
        for _ in 0..20 {
            bench.unit.idle();
            std::thread::sleep(Duration::from_millis(1));
        }
        assert_ne!(bench.load(STORE), 3);
        drop(in_flight);
        // Requests that came after the invalidation are not waited for.
        bench.wait_until(|| bench.load(STORE) == 3);
        drop(again);
    }
}

/// A command that stops the ring with an event.
#[track_caller]
fn check_illegal(config: AmdConfig, command: [u64; 2]) {
    let bench = Bench::new(config);
    bench.enable();
    bench.submit(&[invalidate_domain(1), command, wait(1)]);
    bench.wait_status(RING_RUNS, 0);
    assert_eq!(
        bench.read64(COMMAND_HEAD),
        16,
        "the head stays at the command"
    );
    assert_eq!(bench.event(), [5 << 60, COMMANDS + 16]);
    assert_eq!(bench.found(FindingKind::ProtocolViolation), 1);
    // Repaired and enabled anew, the ring goes on.
    let [low, high] = invalidate_domain(1);
    bench.store(COMMANDS + 16, low);
    bench.store(COMMANDS + 24, high);
    assert_ne!(bench.load(STORE), 1);
    let control = bench.read64(CONTROL);
    bench.write64(CONTROL, control & !RING);
    bench.wait_until(|| bench.read64(CONTROL) & RING == 0);
    bench.wait_status(RING_RUNS, 0);
    bench.write64(CONTROL, control);
    bench.wait_until(|| bench.load(STORE) == 1);
}

#[test]
fn illegal_commands_stop_the_ring() {
    for command in [
        // Opcodes that are none, or of functions the unit lacks.
        [0, 0],
        [9 << 60, 0],
        [4 << 60, 0],
        [6 << 60, 0],
        [7 << 60, 0],
        // Reserved bits.
        [1 << 60 | 1 << 52, 0],
        [2 << 60 | 1 << 16, 0],
        [2 << 60, 1],
        [3 << 60 | 1 << 20, 0],
        [3 << 60 | 1 << 48, 0],
        [3 << 60, 1 << 3],
        [5 << 60 | 1 << 59, 0],
        [8 << 60 | 1, 0],
        [8 << 60, 1],
        // A guest's pages.
        [3 << 60 | 1, 0],
        [3 << 60, 1 << 2],
    ] {
        check_illegal(AmdConfig::default(), command);
    }
}

#[test]
fn invalidate_all_needs_its_feature() {
    let config = AmdConfig {
        invalidate_all: Support::No,
        ..AmdConfig::default()
    };
    check_illegal(config, INVALIDATE_ALL);
}

#[test]
fn interrupt_table_invalidation_is_no_illegal_command() {
    let bench = enabled();
    bench.submit_and_wait(&[[5 << 60 | 0xffff, 0]]);
    bench.assert_no_findings();
}

#[test]
fn ring_outside_memory_stops_with_an_event() {
    let bench = Bench::new(AmdConfig::default());
    bench.set_bases();
    bench.write64(COMMAND_BASE, RAM.end | 8 << 56);
    bench.enable_with(0);
    bench.write64(COMMAND_TAIL, 16);
    bench.wait_status(RING_RUNS, 0);
    assert_eq!(bench.event(), [6 << 60 | 1 << 57, RAM.end]);
}

#[test]
fn tail_outside_the_ring_stops_it() {
    let bench = enabled();
    bench.write64(COMMAND_TAIL, 0x1000);
    bench.wait_status(RING_RUNS, 0);
    assert_eq!(bench.found(FindingKind::DoorbellOutOfRange), 1);
}

#[test]
fn faults_put_on_the_ring_show_once() {
    let (bench, top) = Bench::translating(AmdConfig::default(), 4);
    let leaf = bench.map(top, 4, 0x1000, 1, entry(0x5000, 0));
    assert_eq!(bench.read(0x1000), Ok(0x5000));
    bench.store(leaf, 0);
    bench.unit.fail_queue(QueueFault::Lost);
    bench.submit_and_wait(&[invalidate_domain(DOMAIN)]);
    assert_eq!(bench.read(0x1000), Ok(0x5000));
    bench.unit.fail_queue(QueueFault::FetchError);
    bench.submit(&[invalidate_domain(DOMAIN)]);
    bench.wait_status(RING_RUNS, 0);
    assert_eq!(bench.event()[0], 6 << 60 | 1 << 57);
    bench.assert_no_findings();
}

#[test]
fn wait_with_interrupt_flag_raises_the_message() {
    let bench = Bench::new(AmdConfig {
        event_interrupt: EventInterrupt::IntCapXt,
        ..AmdConfig::default()
    });
    bench.set_bases();
    bench.enable_with(WAIT_INTERRUPT | INT_CAP_XT_ON);
    bench.write64(INT_CAP_XT, 0x0000_0042_0000_0000);
    bench.submit_and_wait(&[]);
    assert_eq!(bench.read64(STATUS) & WAIT_INT, 0);
    bench.submit_and_wait(&[[1 << 60 | 2, 0]]);
    assert_eq!(bench.messages(1), [(0xfee0_0000, 0x42)]);
    assert_eq!(bench.read64(STATUS) & WAIT_INT, WAIT_INT);
    bench.write64(STATUS, WAIT_INT);
    bench.submit_and_wait(&[[1 << 60 | 2, 0]]);
    assert_eq!(bench.messages(2).len(), 2);
    bench.assert_no_findings();
}

#[test]
fn store_outside_memory_stops_the_ring() {
    let bench = enabled();
    bench.submit(&[[1 << 60 | RAM.end | 1, 1]]);
    bench.wait_status(RING_RUNS, 0);
    assert_eq!(bench.event(), [6 << 60 | 1 << 57, RAM.end]);
    assert_eq!(bench.found(FindingKind::ProtocolViolation), 1);
}

#[test]
fn nothing_is_fetched_while_the_unit_is_off() {
    let bench = Bench::new(AmdConfig::default());
    bench.set_bases();
    bench.write64(CONTROL, RING | LOG);
    bench.submit(&[wait(1)]);
    for _ in 0..20 {
        bench.unit.idle();
    }
    assert_eq!(bench.read64(STATUS) & (RING_RUNS | LOG_RUNS), 0);
    assert_ne!(bench.load(STORE), 1);
    bench.enable_with(0);
    bench.wait_until(|| bench.load(STORE) == 1);
}
