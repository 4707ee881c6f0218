use std::time::{Duration, Instant};

use super::super::{QueueFault, VtdConfig};
use super::bench::*;
use crate::bus::Access;
use crate::findings::FindingKind;
use crate::iommu::Unit;
use crate::iommu::translator::Translator;

fn with_queue() -> Bench {
    let bench = Bench::new(VtdConfig::default());
    bench.enable_queue();
    bench
}

#[test]
fn descriptors_are_done_in_order_around_the_ring() {
    let bench = with_queue();
    for round in 1..=1000 {
        bench.submit(&[IOTLB_GLOBAL, wait(round - 1), iotlb_domain(1), wait(round)]);
        bench.wait_until(|| bench.ram.load_u32(STATUS) == Ok(round));
    }
    assert_eq!(bench.read64(IQH), 4000 * 16 % 4096);
    let statistics = bench.unit.statistics();
    assert_eq!(
        (statistics.waits, statistics.global_invalidations),
        (2000, 1000)
    );
    bench.assert_no_findings();
}

#[test]
fn unit_works_by_itself_when_nobody_polls() {
    let bench = with_queue();
    bench.submit(&[wait(5)]);
    let limit = Instant::now() + Duration::from_secs(100);
    while bench.ram.load_u32(STATUS) != Ok(5) {
        assert!(Instant::now() < limit);
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn status_is_written_after_what_was_before_it() {
    let (bench, top) = Bench::translating(VtdConfig::default(), 4);
    for round in 2..200 {
        let leaf = bench.map(top, 4, 0x1000, 1, 0x5000 | RW);
        assert_eq!(bench.read(0x1000), Ok(0x5000));
        bench.store(leaf, 0);
        bench.submit(&[iotlb_pages(DOMAIN, 0x1000, 0, 1), wait(round)]);
        bench.wait_until(|| bench.ram.load_u32(STATUS) == Ok(round));
        assert_eq!(bench.read(0x1000), Err(6));
    }
}

#[test]
fn held_queue_invalidates_nothing_until_released() {
    let (bench, top) = Bench::translating(VtdConfig::default(), 4);
    let leaf = bench.map(top, 4, 0x1000, 1, 0x5000 | RW);
    assert_eq!(bench.read(0x1000), Ok(0x5000));
    bench.store(leaf, 0);
    bench.unit.hold_queue();
    bench.submit(&[iotlb_domain(DOMAIN), wait(7)]);
    for _ in 0..50 {
        bench.unit.idle();
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(bench.read(0x1000), Ok(0x5000));
    assert_ne!(bench.ram.load_u32(STATUS), Ok(7));
    bench.unit.release_queue();
    bench.wait_until(|| bench.ram.load_u32(STATUS) == Ok(7));
    assert_eq!(bench.read(0x1000), Err(6));
}

#[test]
fn delayed_queue_is_late() {
    let bench = with_queue();
    bench.unit.delay_queue(Duration::from_millis(30));
    let start = Instant::now();
    bench.submit(&[wait(9)]);
    bench.wait_until(|| bench.ram.load_u32(STATUS) == Ok(9));
    assert!(start.elapsed() >= Duration::from_millis(30));
}

#[test]
fn drain_waits_for_requests_in_flight() {
    for (access, drain) in [(Access::Read, 1 << 7), (Access::Write, 1 << 6)] {
        let (bench, top) = Bench::translating(VtdConfig::default(), 4);
        bench.map(top, 4, 0x1000, 1, 0x5000 | RW);
        let in_flight = bench
            .unit
            .translate(DEVICE, 0x1000, access)
            .expect("mapped");
        assert_eq!(bench.unit.requests_in_flight(), 1);
        bench.submit(&[[0x12 | drain, 0], wait(3)]);
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
        // Requests that came after the invalidation are not waited for.
        bench.wait_until(|| bench.ram.load_u32(STATUS) == Ok(3));
        drop(again);
    }
}

#[test]
fn invalidation_without_drain_waits_for_nobody() {
    let (bench, top) = Bench::translating(VtdConfig::default(), 4);
    bench.map(top, 4, 0x1000, 1, 0x5000 | RW);
    let in_flight = bench
        .unit
        .translate(DEVICE, 0x1000, Access::Write)
        .expect("mapped");
    bench.submit_and_wait(&[[0x12, 0], [0x92, 0]]);
    drop(in_flight);
}

/// A descriptor that stops the queue, and the error information.
#[track_caller]
fn check_invalid(config: VtdConfig, descriptor: [u64; 2], info: u64) {
    let bench = Bench::new(config);
    bench.enable_queue();
    bench.submit(&[IOTLB_GLOBAL, descriptor, wait(1)]);
    bench.wait_until(|| bench.read32(FSTS) & 1 << 4 != 0);
    assert_eq!(bench.read64(IQH), 16, "the head stays at the descriptor");
    assert_eq!(bench.read64(IQERCD) & 0xf, info);
    assert_eq!(bench.found(FindingKind::ProtocolViolation), 1);
    // Repaired and cleared, the queue goes on.
    bench.store(QUEUE + 16, IOTLB_GLOBAL[0]);
    bench.store(QUEUE + 24, IOTLB_GLOBAL[1]);
    assert_ne!(bench.ram.load_u32(STATUS), Ok(1));
    bench.write32(FSTS, 1 << 4);
    bench.wait_until(|| bench.ram.load_u32(STATUS) == Ok(1));
    assert_eq!(bench.read32(FSTS), 0);
}

#[test]
fn invalid_descriptors_stop_the_queue() {
    let config = VtdConfig {
        domain_id_bits: 8,
        ..VtdConfig::default()
    };
    for code in [0x0, 0x6, 0x9, 0xf, 0x205] {
        check_invalid(config.clone(), [code, 0], 3);
    }
    // Device-TLB and interrupt entry cache: functions the unit lacks.
    check_invalid(config.clone(), [0x3, 0], 3);
    check_invalid(config.clone(), [0x4, 0], 3);
    let reserved = [
        [0x02, 0],
        [0x01, 0],
        [0x12 | 1 << 8, 0],
        [0x12 | 1 << 32, 0],
        [0x11 | 1 << 6, 0],
        [0x11, 1],
        [0x25 | 1 << 8, STATUS],
        [0x25 | 1 << 7, STATUS],
        [0x25, STATUS | 1],
        iotlb_domain(0x100),
        context_device(0x100, 0, 0),
        iotlb_pages(1, 0, 19, 0),
    ];
    for descriptor in reserved {
        check_invalid(config.clone(), descriptor, 4);
    }
}

#[test]
fn page_selective_invalidation_needs_its_capability() {
    let config = VtdConfig {
        max_address_mask: None,
        ..VtdConfig::default()
    };
    check_invalid(config, iotlb_pages(1, 0, 0, 0), 4);
}

#[test]
fn queue_outside_memory_stops_at_once() {
    let bench = Bench::new(VtdConfig::default());
    bench.write64(IQA, 0x80_0000);
    bench.command(QIE, QIE);
    bench.write64(IQT, 16);
    bench.wait_until(|| bench.read32(FSTS) & 1 << 4 != 0);
    assert_eq!(bench.read64(IQERCD) & 0xf, 2);
}

#[test]
fn tail_outside_the_queue_stops_it() {
    let bench = with_queue();
    bench.write64(IQT, 0x1000);
    bench.wait_until(|| bench.read32(FSTS) & 1 << 4 != 0);
    assert_eq!(bench.read64(IQERCD) & 0xf, 1);
}

#[test]
fn faults_put_on_the_queue_show_once() {
    let (bench, top) = Bench::translating(VtdConfig::default(), 4);
    let leaf = bench.map(top, 4, 0x1000, 1, 0x5000 | RW);
    assert_eq!(bench.read(0x1000), Ok(0x5000));
    bench.store(leaf, 0);
    bench.unit.fail_queue(QueueFault::Lost);
    bench.submit_and_wait(&[iotlb_domain(DOMAIN)]);
    assert_eq!(bench.read(0x1000), Ok(0x5000));
    bench.unit.fail_queue(QueueFault::FetchError);
    bench.submit(&[iotlb_domain(DOMAIN)]);
    bench.wait_until(|| bench.read32(FSTS) & 1 << 4 != 0);
    bench.write32(FSTS, 1 << 4);
    bench.submit_and_wait(&[]);
    assert_eq!(bench.read(0x1000), Err(6));
    bench.assert_no_findings();
}

#[test]
fn wait_with_interrupt_flag_raises_the_completion_event() {
    let bench = with_queue();
    bench.write32(IEDATA, 0x41);
    bench.write32(IEADDR, 0xfee0_1000);
    // Without the interrupt flag: none. With it, masked: pending.
    bench.submit(&[wait(1), [0x15, 0]]);
    bench.wait_until(|| bench.read32(ICS) & 1 != 0);
    assert_eq!(bench.read32(IECTL), 3 << 30);
    bench.write32(IECTL, 0);
    assert_eq!(bench.messages(1), [(0xfee0_1000, 0x41)]);
    assert_eq!(bench.read32(IECTL), 0);
    // Not again before the condition was cleared.
    bench.submit_and_wait(&[[0x15, 0]]);
    bench.write32(ICS, 1);
    bench.submit_and_wait(&[[0x15, 0]]);
    assert_eq!(bench.messages(2).len(), 2);
    bench.assert_no_findings();
}

#[test]
fn status_outside_memory_is_a_finding() {
    let bench = with_queue();
    bench.submit_and_wait(&[[0x25, 0x80_0000]]);
    assert_eq!(bench.found(FindingKind::ProtocolViolation), 1);
}
