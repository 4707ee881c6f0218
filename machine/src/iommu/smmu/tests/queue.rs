use std::time::{Duration, Instant};

use super::super::{QueueFault, SmmuConfig};
use super::bench::*;
use crate::bus::Access;
use crate::findings::FindingKind;
use crate::iommu::Unit;
use crate::iommu::translator::Translator;

fn with_queue() -> Bench {
    let bench = Bench::new(SmmuConfig::default());
    bench.connect();
    bench
}

const CMDQ_ERR: u32 = 1;

#[test]
fn commands_are_done_in_order_around_the_ring() {
    let bench = with_queue();
    for _ in 0..1000 {
        bench.submit_and_wait(&[NSNH_ALL, nh_asid(1)]);
    }
    assert_eq!(bench.read32(CMDQ_CONS), 3000 % 32);
    let statistics = bench.unit.statistics();
    assert_eq!(
        (statistics.syncs, statistics.global_invalidations),
        (1000, 1000)
    );
    bench.assert_no_findings();
}

#[test]
fn unit_works_by_itself_when_nobody_polls() {
    let bench = with_queue();
    bench.submit(&[SYNC]);
    let limit = Instant::now() + Duration::from_secs(100);
    while bench.unit.statistics().syncs == 0 {
        assert!(Instant::now() < limit);
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn held_queue_invalidates_nothing_until_released() {
    let (bench, root) = Bench::translating(first());
    let leaf = bench.map(root, 0x1000, 3, 0x5000 | PAGE);
    assert_eq!(bench.read(0x1000), Ok(0x5000));
    bench.store(leaf, 0);
    bench.unit.hold_queue();
    bench.submit(&[nh_asid(DOMAIN), SYNC]);
    for _ in 0..50 {
        bench.unit.idle();
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(bench.read(0x1000), Ok(0x5000));
    assert!(!bench.is_done());
    bench.unit.release_queue();
    bench.wait_until(|| bench.is_done());
    assert_eq!(bench.read(0x1000), Err(0x10));
}

#[test]
fn delayed_queue_is_late() {
    let bench = with_queue();
    bench.unit.delay_queue(Duration::from_millis(30));
    let start = Instant::now();
    bench.submit_and_wait(&[]);
    assert!(start.elapsed() >= Duration::from_millis(30));
}

#[test]
fn synchronisation_waits_for_requests_in_flight() {
    for access in [Access::Read, Access::Write] {
        let (bench, root) = Bench::translating(first());
        bench.map(root, 0x1000, 3, 0x5000 | PAGE);
        let translate = || {
            bench
                .unit
                .translate(DEVICE, 0x1000, access)
                .expect("mapped")
        };
        let in_flight = translate();
        assert_eq!(bench.unit.requests_in_flight(), 1);
        bench.submit(&[NSNH_ALL, SYNC]);
        bench.unit.idle();
        let again = translate();
        for _ in 0..20 {
            bench.unit.idle();
            std::thread::sleep(Duration::from_millis(1));
        }
        assert!(!bench.is_done());
        drop(in_flight);
        // Requests that came after are not waited for.
        bench.wait_until(|| bench.is_done());
        drop(again);
    }
}

/// A command that stops the queue as illegal.
#[track_caller]
fn check_illegal(config: SmmuConfig, command: [u64; 2]) {
    let bench = Bench::new(config);
    bench.connect();
    bench.submit(&[NSNH_ALL, command, SYNC]);
    bench.wait_until(|| bench.read32(GERROR) & CMDQ_ERR != 0);
    let consumer = bench.read32(CMDQ_CONS);
    assert_eq!(consumer & 0xfffff, 1, "it stays at the command");
    assert_eq!(consumer >> 24, 1, "CERROR_ILL");
    assert_eq!(bench.found(FindingKind::ProtocolViolation), 1);
    // Repaired and acknowledged, the queue goes on.
    bench.store(COMMANDS + 16, NSNH_ALL[0]);
    bench.store(COMMANDS + 24, NSNH_ALL[1]);
    assert!(!bench.is_done());
    bench.write32(GERRORN, CMDQ_ERR);
    bench.wait_until(|| bench.is_done());
    assert_eq!(bench.read32(GERROR), CMDQ_ERR, "toggled, and acknowledged");
}

#[test]
fn illegal_commands_stop_the_queue() {
    for code in [0, 0x07, 0x14, 0x20, 0x40, 0x41, 0x44, 0x45, 0x47, 0xff] {
        check_illegal(SmmuConfig::default(), [code, 0]);
    }
    // Secure streams, a reserved range, a reserved signal.
    check_illegal(SmmuConfig::default(), [0x03 | 1 << 10, 0]);
    check_illegal(SmmuConfig::default(), nh_va_range(1, 0, 0, 0, 0));
    check_illegal(SmmuConfig::default(), [0x46 | 3 << 12, 0]);
    // Stages that the unit does not have.
    for code in [0x05, 0x06, 0x10, 0x11, 0x12, 0x13] {
        check_illegal(second(), [code, 0]);
    }
    for code in [0x28, 0x2a] {
        check_illegal(first(), [code, 0]);
    }
}

#[test]
fn reserved_bits_of_commands_are_findings() {
    let bench = with_queue();
    for command in [
        [0x11 | 1 << 8, 0],
        [0x12, 1 << 7],
        [0x03, 1 << 5],
        [0x46 | 1 << 14, 0],
    ] {
        bench.submit_and_wait(&[command]);
    }
    assert_eq!(bench.found(FindingKind::ReservedBits), 4);
}

#[test]
fn queue_outside_memory_aborts() {
    let bench = Bench::new(SmmuConfig::default());
    bench.write64(CMDQ_BASE, 0x100_0000 | 4);
    bench.control(CMDQEN);
    bench.write32(CMDQ_PROD, 1);
    bench.wait_until(|| bench.read32(GERROR) & CMDQ_ERR != 0);
    assert_eq!(bench.read32(CMDQ_CONS) >> 24, 2, "CERROR_ABT");
}

#[test]
fn producer_that_overruns_the_queue_is_found() {
    let bench = with_queue();
    bench.unit.hold_queue();
    bench.write32(CMDQ_PROD, 17);
    assert_eq!(bench.found(FindingKind::DoorbellOutOfRange), 1);
}

#[test]
fn faults_put_on_the_queue_show_once() {
    let (bench, root) = Bench::translating(first());
    let leaf = bench.map(root, 0x1000, 3, 0x5000 | PAGE);
    assert_eq!(bench.read(0x1000), Ok(0x5000));
    bench.store(leaf, 0);
    bench.unit.fail_queue(QueueFault::Lost);
    bench.submit_and_wait(&[nh_asid(DOMAIN)]);
    assert_eq!(bench.read(0x1000), Ok(0x5000));
    bench.unit.fail_queue(QueueFault::FetchError);
    bench.submit(&[nh_asid(DOMAIN)]);
    bench.wait_until(|| bench.read32(GERROR) & CMDQ_ERR != 0);
    bench.write32(GERRORN, CMDQ_ERR);
    bench.submit_and_wait(&[]);
    assert_eq!(bench.read(0x1000), Err(0x10));
    bench.assert_no_findings();
}

#[test]
fn synchronisation_can_write_a_message() {
    let bench = with_queue();
    bench.submit_and_wait(&[[0x46 | 1 << 12 | 7 << 32, 0x1f000]]);
    assert_eq!(bench.ram.load_u32(0x1f000), Ok(7));
    bench.submit_and_wait(&[[0x46 | 1 << 12 | 9 << 32, 0xfee0_1000]]);
    assert_eq!(bench.messages(1), [(0xfee0_1000, 9)]);
    // Nobody is there.
    bench.submit_and_wait(&[[0x46 | 1 << 12 | 9 << 32, 0x100_0000]]);
    assert_eq!(bench.read32(GERROR), 1 << 4);
}
