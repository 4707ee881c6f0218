use super::super::{AmdConfig, EventInterrupt};
use super::bench::*;
use crate::bus::Access;
use crate::findings::FindingKind;
use crate::iommu::Unit;

const ENTRIES: u64 = 256;

#[test]
fn blocked_request_is_logged_with_who_where_and_how() {
    let (bench, top) = Bench::translating(AmdConfig::default(), 4);
    assert_eq!(bench.write(0x1234_5678), Err(2));
    assert_eq!(bench.event(), [0x2020_0005_0000_0018, 0x1234_5678]);
    assert_eq!(bench.read(0x1234_5678), Err(2));
    assert_eq!(bench.event(), [0x2000_0005_0000_0018, 0x1234_5678]);
    bench.map(top, 4, 0x2000, 1, 0x6000 | PR | R);
    assert_eq!(bench.write(0x2000), Err(2));
    assert_eq!(
        bench.event(),
        [0x2070_0005_0000_0018, 0x2000],
        "present, not permitted"
    );
    bench.set_entry(0xfe01, [V | TV, 9, 0, 0]);
    assert_eq!(bench.reach(0xfe01, 0x3000, Access::Read), Err(2));
    assert_eq!(bench.event(), [0x2050_0009_0000_fe01, 0x3000]);
    bench.assert_no_event();
    bench.assert_no_findings();
}

#[test]
fn event_appears_after_its_tail() {
    let (bench, _) = Bench::translating(AmdConfig::default(), 4);
    assert_eq!(bench.read(0x1000), Err(2));
    assert_eq!(bench.read64(EVENT_TAIL), 16);
    assert_eq!(bench.load(EVENTS), 0);
    bench.unit.idle();
    assert_eq!(bench.load(EVENTS), 0x2000_0005_0000_0018);
}

#[test]
fn full_log_stops_and_tells() {
    let (bench, _) = Bench::translating(AmdConfig::default(), 4);
    for fault in 0..ENTRIES - 1 {
        assert_eq!(bench.read(fault << 12), Err(2));
    }
    assert_eq!(bench.read64(STATUS) & OVERFLOW, 0);
    assert_eq!(bench.read(0x1000), Err(2));
    bench.wait_status(OVERFLOW | LOG_RUNS, OVERFLOW);
    for fault in 0..ENTRIES - 1 {
        assert_eq!(bench.event(), [0x2000_0005_0000_0018, fault << 12]);
    }
    // Room alone does not start it again, nor does clearing the condition.
    assert_eq!(bench.read(0x1000), Err(2));
    bench.write64(STATUS, OVERFLOW);
    assert_eq!(bench.read(0x1000), Err(2));
    bench.assert_no_event();
    let control = bench.read64(CONTROL);
    bench.write64(CONTROL, control & !LOG);
    bench.wait_status(LOG_RUNS, 0);
    bench.write64(CONTROL, control);
    bench.wait_status(LOG_RUNS, LOG_RUNS);
    assert_eq!(bench.read(0x9000), Err(2));
    assert_eq!(bench.event(), [0x2000_0005_0000_0018, 0x9000]);
    let statistics = bench.unit.statistics();
    assert_eq!((statistics.faults, statistics.events_lost), (259, 3));
    bench.assert_no_findings();
}

#[test]
fn log_enabled_before_its_overflow_is_cleared_is_a_finding() {
    let (bench, _) = Bench::translating(AmdConfig::default(), 4);
    for _ in 0..ENTRIES {
        assert_eq!(bench.read(0x1000), Err(2));
    }
    let control = bench.read64(CONTROL);
    bench.write64(CONTROL, control & !LOG);
    bench.wait_status(LOG_RUNS, 0);
    bench.write64(CONTROL, control);
    assert_eq!(bench.found(FindingKind::IllegalRegisterUse), 1);
}

#[test]
fn head_past_the_tail_is_a_finding() {
    let (bench, _) = Bench::translating(AmdConfig::default(), 4);
    assert_eq!(bench.read(0x1000), Err(2));
    bench.write64(EVENT_HEAD, 0x20);
    bench.write64(EVENT_HEAD, 0x1000);
    assert_eq!(bench.found(FindingKind::DoorbellOutOfRange), 2);
    assert_eq!(bench.read64(EVENT_HEAD), 0);
}

#[test]
fn entry_may_silence_page_faults() {
    let (bench, _) = Bench::translating(AmdConfig::default(), 4);
    // SA: none.
    bench.set_entry(8, [V | TV, 1 << 34, 0, 0]);
    assert_eq!(bench.reach(8, 0x1000, Access::Read), Err(2));
    bench.assert_no_event();
    // SE: the first.
    bench.set_entry(9, [V | TV, 1 << 33, 0, 0]);
    for _ in 0..3 {
        assert_eq!(bench.reach(9, 0x1000, Access::Read), Err(2));
    }
    bench.event();
    bench.assert_no_event();
    bench.submit_and_wait(&[invalidate_device(9)]);
    assert_eq!(bench.reach(9, 0x1000, Access::Read), Err(2));
    bench.event();
    assert_eq!(bench.unit.statistics().faults_silenced, 3);
}

fn with_interrupt(event_interrupt: EventInterrupt, more: u64) -> Bench {
    let bench = Bench::new(AmdConfig {
        event_interrupt,
        ..AmdConfig::default()
    });
    bench.attach(DEVICE, DOMAIN, bench.frame(), 4);
    bench.set_bases();
    bench.enable_with(LOG_INTERRUPT | more);
    bench
}

#[test]
fn event_raises_one_message_until_it_is_cleared() {
    let bench = with_interrupt(EventInterrupt::MsiRegisters, 0);
    bench.write32(MSI_LOW, 0xfee0_1000);
    bench.write32(MSI_HIGH, 0);
    bench.write32(MSI_DATA, 0x41);
    bench.write32(MSI, 1 << 16);
    assert_eq!(bench.read32(MSI), 0x81_0005);
    assert_eq!(bench.read(0x1000), Err(2));
    assert_eq!(bench.messages(1), [(0xfee0_1000, 0x41)]);
    assert_eq!(bench.read64(STATUS) & LOG_INT, LOG_INT);
    assert_eq!(bench.read(0x1000), Err(2));
    bench.write64(STATUS, LOG_INT);
    assert_eq!(bench.read64(STATUS) & LOG_INT, 0);
    assert_eq!(bench.read(0x1000), Err(2));
    assert_eq!(bench.messages(2).len(), 2);
    bench.assert_no_findings();
}

#[test]
fn event_goes_to_the_x2apic_register_where_that_is_on() {
    let bench = with_interrupt(EventInterrupt::IntCapXt, INT_CAP_XT_ON);
    bench.write64(INT_CAP_XT, 0x0000_0042_0000_0300);
    assert_eq!(bench.read(0x1000), Err(2));
    assert_eq!(bench.messages(1), [(0xfee0_3000, 0x42)]);
    bench.assert_no_findings();
}

#[test]
fn unit_without_interrupt_registers_has_none() {
    let bench = with_interrupt(EventInterrupt::ConfigurationSpaceOnly, 0);
    bench.write32(MSI, 1 << 16);
    assert_eq!(bench.found(FindingKind::IllegalRegisterUse), 1);
    assert_eq!(bench.read64(FEATURES) & (1 << 46 | 1 << 2), 0);
    assert_eq!(bench.read(0x1000), Err(2));
    bench.event();
    assert_eq!(bench.messages(0), []);
}

#[test]
fn overflow_raises_a_message_too() {
    let bench = with_interrupt(EventInterrupt::IntCapXt, INT_CAP_XT_ON);
    bench.write64(INT_CAP_XT, 0x0000_0042_0000_0000);
    for _ in 0..ENTRIES - 1 {
        assert_eq!(bench.read(0x1000), Err(2));
    }
    bench.write64(STATUS, LOG_INT);
    assert_eq!(bench.read(0x1000), Err(2));
    assert_eq!(bench.messages(2).len(), 2);
    assert_eq!(bench.read64(STATUS) & (OVERFLOW | LOG_INT), OVERFLOW);
}
