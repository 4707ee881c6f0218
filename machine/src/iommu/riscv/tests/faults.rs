use super::super::RiscvConfig;
use super::bench::*;
use crate::bus::Access;
use crate::findings::FindingKind;

const FIE: u32 = 2;
const OVERFLOW: u32 = 1 << 9;
const FIP: u32 = 2;

#[test]
fn record_tells_who_where_how_and_why() {
    let (bench, _) = Bench::translating(RiscvConfig::default(), 4);
    assert_eq!(bench.write(0x1234_5678), Err(15));
    assert_eq!(bench.reach(0x0021, 0x9abc, Access::Read), Err(258));
    assert_eq!(bench.read32(FQT), 2);
    assert_eq!(
        bench.record(0),
        [0x18_u64 << 40 | 3 << 34 | 15, 0, 0x1234_5678, 0]
    );
    assert_eq!(
        bench.record(1),
        [0x21_u64 << 40 | 2 << 34 | 258, 0, 0x9abc, 0]
    );
    bench.assert_no_findings();
}

#[test]
fn queue_overflows_and_records_nothing_until_that_is_cleared() {
    let (bench, _) = Bench::translating(RiscvConfig::default(), 4);
    // Eight entries, of which one stays free.
    for bus in 1..=9_u64 {
        assert_eq!(bench.read(bus << 12), Err(13));
    }
    assert_eq!(bench.read32(FQT), 7);
    assert_eq!(bench.read32(FQCSR), ON | OVERFLOW | 1);
    let statistics = bench.unit.statistics();
    assert_eq!(
        (
            statistics.faults,
            statistics.faults_recorded,
            statistics.faults_lost
        ),
        (9, 7, 2)
    );
    // Room alone does not help.
    bench.write32(FQH, 4);
    assert_eq!(bench.read(0xa000), Err(13));
    assert_eq!(bench.read32(FQT), 7);
    bench.write32(FQCSR, OVERFLOW | 1);
    assert_eq!(bench.read32(FQCSR), ON | 1);
    assert_eq!(bench.read(0xb000), Err(13));
    assert_eq!((bench.read32(FQT), bench.record(7)[2]), (0, 0xb000));
    bench.assert_no_findings();
}

#[test]
fn queue_outside_memory_stops_at_once() {
    let bench = Bench::new(RiscvConfig::default());
    bench.write64(FQB, entry(0x80_0000, 2));
    bench.write32(FQH, 0);
    bench.write32(FQCSR, 1);
    bench.wait_until(|| bench.read32(FQCSR) & ON != 0);
    assert_eq!(bench.read(0x1000), Err(256));
    assert_eq!(bench.read32(FQCSR), ON | MEMORY_FAULT | 1);
    assert_eq!(bench.read32(FQT), 0);
    bench.write32(FQCSR, MEMORY_FAULT | 1);
    assert_eq!(bench.read32(FQCSR), ON | 1);
}

#[test]
fn faults_of_a_silent_context_are_refused_and_not_recorded() {
    let (bench, _) = Bench::translating(RiscvConfig::default(), 4);
    let context = bench.context(DEVICE);
    bench.store(context, 1 | 1 << 4);
    assert_eq!(bench.read(0x1000), Err(13));
    assert_eq!(bench.read32(FQT), 0);
    assert_eq!(bench.unit.statistics().faults_silenced, 1);
    // A context that is not valid silences nothing.
    bench.store(context, 1 << 4);
    bench.submit_and_wait(&[device(DEVICE)]);
    assert_eq!(bench.read(0x1000), Err(258));
    assert_eq!(bench.read32(FQT), 1);
}

#[test]
fn nothing_is_recorded_while_the_queue_is_off() {
    let bench = Bench::new(RiscvConfig::default());
    assert_eq!(bench.read(0x1000), Err(256));
    bench.enable_fault_queue(0);
    assert_eq!(bench.read32(FQT), 0);
    assert_eq!(bench.read(0x1000), Err(256));
    assert_eq!(bench.read32(FQT), 1);
    assert_eq!(bench.unit.statistics().faults_lost, 1);
}

#[test]
fn message_is_sent_when_the_bit_rises() {
    let bench = Bench::new(RiscvConfig::default());
    bench.write64(ICVEC, 0x30);
    bench.write64(MSI + 3 * 16, 0xfee0_0000);
    bench.write32(MSI + 3 * 16 + 8, 0x30);
    bench.write32(MSI + 3 * 16 + 12, 0);
    bench.enable_fault_queue(FIE);
    for bus in [0x1000, 0x2000, 0x3000] {
        assert_eq!(bench.read(bus), Err(256));
    }
    assert_eq!(bench.messages(1), [(0xfee0_0000, 0x30)]);
    assert_eq!(bench.read32(IPSR), FIP);
    bench.write32(IPSR, FIP);
    assert_eq!(bench.read32(IPSR), 0);
    assert_eq!(bench.read(0x4000), Err(256));
    assert_eq!(bench.messages(2).len(), 2);
    // An overflow stays a condition: cleared, the bit rises again.
    for bus in 0..9 {
        assert_eq!(bench.read(bus << 12), Err(256));
    }
    bench.write32(IPSR, FIP);
    assert_eq!(bench.read32(IPSR), FIP);
    assert_eq!(bench.messages(3).len(), 3);
    bench.write32(FQCSR, OVERFLOW | FIE | 1);
    bench.write32(IPSR, FIP);
    assert_eq!(bench.read32(IPSR), 0);
    bench.assert_no_findings();
}

#[test]
fn no_interrupt_is_pending_that_was_not_enabled() {
    let (bench, _) = Bench::translating(RiscvConfig::default(), 4);
    assert_eq!(bench.read(0x1000), Err(13));
    bench.submit(&[[0, 0]]);
    bench.wait_until(|| bench.read32(CQCSR) & ILLEGAL != 0);
    assert_eq!(bench.read32(IPSR), 0);
    // Enabled while the condition is there.
    bench.write32(CQCSR, 3);
    assert_eq!(bench.read32(IPSR), 1);
    assert_eq!(bench.found(FindingKind::ProtocolViolation), 1);
}
