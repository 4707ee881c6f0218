use std::time::{Duration, Instant};

use super::super::{QueueFault, RiscvConfig};
use super::bench::*;
use crate::bus::Access;
use crate::findings::FindingKind;
use crate::iommu::Unit;
use crate::iommu::translator::Translator;

fn with_queue() -> Bench {
    let bench = Bench::new(RiscvConfig::default());
    bench.enable_queue();
    bench
}

#[test]
fn commands_are_done_around_the_ring() {
    let bench = with_queue();
    for round in 1..=1000 {
        bench.submit(&[FIRST_STAGES, fence(round - 1), space(1), fence(round)]);
        bench.wait_until(|| bench.ram.load_u32(STATUS) == Ok(round));
    }
    bench.wait_until(|| bench.read32(CQH) == 4000 % 256);
    let statistics = bench.unit.statistics();
    assert_eq!(
        (statistics.fences, statistics.global_invalidations),
        (2000, 1000)
    );
    bench.assert_no_findings();
}

#[test]
fn unit_works_by_itself_when_nobody_polls() {
    let bench = with_queue();
    bench.submit(&[fence(5)]);
    let limit = Instant::now() + Duration::from_secs(100);
    while bench.ram.load_u32(STATUS) != Ok(5) {
        assert!(Instant::now() < limit);
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn held_queue_invalidates_nothing_until_released() {
    let (bench, top) = Bench::translating(RiscvConfig::default(), 4);
    let leaf = bench.map(top, 4, 0x1000, 1, entry(0x5000, RW));
    assert_eq!(bench.read(0x1000), Ok(0x5000));
    bench.store(leaf, 0);
    bench.unit.hold_queue();
    bench.submit(&[space(SPACE), fence(7)]);
    for _ in 0..50 {
        bench.unit.idle();
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(bench.read(0x1000), Ok(0x5000));
    assert_ne!(bench.ram.load_u32(STATUS), Ok(7));
    bench.unit.release_queue();
    bench.wait_until(|| bench.ram.load_u32(STATUS) == Ok(7));
    assert_eq!(bench.read(0x1000), Err(13));
}

#[test]
fn delayed_queue_is_late() {
    let bench = with_queue();
    bench.unit.delay_queue(Duration::from_millis(30));
    let start = Instant::now();
    bench.submit(&[fence(9)]);
    bench.wait_until(|| bench.ram.load_u32(STATUS) == Ok(9));
    assert!(start.elapsed() >= Duration::from_millis(30));
}

#[test]
fn fence_waits_for_requests_in_flight() {
    for (access, ordered) in [(Access::Read, 1 << 12), (Access::Write, 1 << 13)] {
        let (bench, top) = Bench::translating(RiscvConfig::default(), 4);
        bench.map(top, 4, 0x1000, 1, entry(0x5000, RW));
        let in_flight = bench
            .unit
            .translate(DEVICE, 0x1000, access)
            .expect("mapped");
        assert_eq!(bench.unit.requests_in_flight(), 1);
        bench.submit(&[[0x402 | ordered | 3 << 32, STATUS >> 2]]);
        bench.unit.idle();
        let again = bench
            .unit
            .translate(DEVICE, 0x1000, access)
            .expect("mapped");
        for _ in 0..20 {
            bench.unit.idle();
            std::thread::sleep(Duration::from_millis(1));
        }
        assert_ne!(bench.ram.load_u32(STATUS), Ok(3));
        drop(in_flight);
        // Requests that came after the fence are not waited for.
        bench.wait_until(|| bench.ram.load_u32(STATUS) == Ok(3));
        drop(again);
    }
}

#[test]
fn fence_that_orders_nothing_waits_for_nobody() {
    let (bench, top) = Bench::translating(RiscvConfig::default(), 4);
    bench.map(top, 4, 0x1000, 1, entry(0x5000, RW));
    let in_flight = bench
        .unit
        .translate(DEVICE, 0x1000, Access::Write)
        .expect("mapped");
    bench.submit(&[FIRST_STAGES, [0x402 | 1 << 32, STATUS >> 2]]);
    bench.wait_until(|| bench.ram.load_u32(STATUS) == Ok(1));
    drop(in_flight);
}

#[test]
fn illegal_commands_stop_the_queue() {
    let illegal = [
        [0x0, 0],
        [0x5, 0],
        [0x41, 0],
        [0x101, 0],
        [0x82, 0],
        [0x103, 0],
        // Functions the unit lacks: process directories, address translation services.
        [0x83 | 1 << 33, 0],
        [0x4, 0],
        [0x84, 0],
        // Reserved bits.
        [0x1 | 1 << 11, 0],
        [0x1 | 1 << 35, 0],
        [0x1 | 1 << 60, 0],
        [0x1, 1],
        [0x1, 1 << 62],
        [0x2 | 1 << 14, 0],
        [0x2, 1 << 63],
        [0x3 | 1 << 10, 0],
        [0x3 | 1 << 12, 0],
        [0x3 | 1 << 32, 0],
        [0x3, 1],
        // Extensions the unit lacks: NL, S.
        [0x1 | 1 << 34, 0],
        [0x1, 1 << 9],
        // GVMA with PSCV; a wired interrupt where interrupts are messages.
        [0x81 | 1 << 32, 0],
        [0x2 | 1 << 11, 0],
    ];
    for command in illegal {
        let bench = with_queue();
        bench.submit(&[FIRST_STAGES, command, fence(1)]);
        bench.wait_until(|| bench.read32(CQCSR) & ILLEGAL != 0);
        assert_eq!(bench.read32(CQH), 1, "the head stays: {command:x?}");
        assert_eq!(bench.found(FindingKind::ProtocolViolation), 1);
        // Repaired and cleared, the queue goes on.
        bench.store(QUEUE + 16, FIRST_STAGES[0]);
        bench.store(QUEUE + 24, FIRST_STAGES[1]);
        assert_ne!(bench.ram.load_u32(STATUS), Ok(1));
        bench.write32(CQCSR, ILLEGAL | 1);
        bench.wait_until(|| bench.ram.load_u32(STATUS) == Ok(1));
        assert_eq!(bench.read32(CQCSR), ON | 1);
    }
}

#[test]
fn queue_outside_memory_stops_at_once() {
    let bench = Bench::new(RiscvConfig::default());
    bench.write64(CQB, entry(0x80_0000, 7));
    bench.write32(CQT, 0);
    bench.write32(CQCSR, 1);
    bench.wait_until(|| bench.read32(CQCSR) & ON != 0);
    bench.write32(CQT, 1);
    bench.wait_until(|| bench.read32(CQCSR) & MEMORY_FAULT != 0);
    assert_eq!(bench.read32(CQH), 0);
}

#[test]
fn tail_has_as_many_bits_as_the_queue_has_entries() {
    let bench = with_queue();
    bench.unit.hold_queue();
    bench.write32(CQT, 0xffff_ff05);
    assert_eq!(bench.read32(CQT), 5);
}

#[test]
fn faults_put_on_the_queue_show_once() {
    let (bench, top) = Bench::translating(RiscvConfig::default(), 4);
    let leaf = bench.map(top, 4, 0x1000, 1, entry(0x5000, RW));
    assert_eq!(bench.read(0x1000), Ok(0x5000));
    bench.store(leaf, 0);
    bench.unit.fail_queue(QueueFault::Lost);
    bench.submit_and_wait(&[space(SPACE)]);
    assert_eq!(bench.read(0x1000), Ok(0x5000));
    bench.unit.fail_queue(QueueFault::FetchError);
    bench.submit(&[space(SPACE)]);
    bench.wait_until(|| bench.read32(CQCSR) & MEMORY_FAULT != 0);
    bench.write32(CQCSR, MEMORY_FAULT | 1);
    bench.submit_and_wait(&[]);
    assert_eq!(bench.read(0x1000), Err(13));
    bench.assert_no_findings();
}

#[test]
fn fence_that_writes_outside_memory_stops_the_queue() {
    let bench = with_queue();
    bench.submit(&[[0x402, 0x80_0000 >> 2]]);
    bench.wait_until(|| bench.read32(CQCSR) & MEMORY_FAULT != 0);
    assert_eq!(bench.read32(CQH), 0);
    assert_eq!(bench.found(FindingKind::ProtocolViolation), 1);
}

#[test]
fn errors_raise_an_interrupt_where_enabled() {
    let bench = Bench::new(RiscvConfig::default());
    bench.write64(CQB, entry(QUEUE, 7));
    bench.write32(CQT, 0);
    bench.write64(MSI, 0xfee0_1000);
    bench.write32(MSI + 8, 0x41);
    bench.write32(CQCSR, 3);
    bench.wait_until(|| bench.read32(CQCSR) & ON != 0);
    bench.submit(&[[0, 0]]);
    assert_eq!(bench.messages(1), [(0xfee0_1000, 0x41)]);
    assert_eq!(bench.read32(IPSR), 1);
    // The error stands, so the bit rises again.
    bench.write32(IPSR, 1);
    assert_eq!(bench.messages(2).len(), 2);
    bench.store(QUEUE, FIRST_STAGES[0]);
    bench.write32(CQCSR, ILLEGAL | 3);
    bench.write32(IPSR, 1);
    assert_eq!(bench.read32(IPSR), 0);
}

#[test]
fn wired_interrupt_of_a_fence_is_shown() {
    let bench = Bench::new(RiscvConfig::default());
    bench.write32(FCTL, 2);
    assert_eq!(bench.read32(FCTL), 2);
    bench.enable_queue();
    bench.write32(CQCSR, 3);
    bench.submit(&[[0x802, 0]]);
    bench.wait_until(|| bench.read32(IPSR) == 1);
    assert_eq!(bench.read32(CQCSR), ON | 1 << 11 | 3);
    bench.write32(CQCSR, 1 << 11 | 3);
    bench.write32(IPSR, 1);
    assert_eq!((bench.read32(CQCSR), bench.read32(IPSR)), (ON | 3, 0));
    bench.assert_no_findings();
}
