use super::super::{FaultCollapse, VtdConfig};
use super::bench::*;
use crate::bus::Access;

const PFO: u32 = 1;
const PPF: u32 = 2;

fn unit_with_records(fault_records: u32, fault_collapse: FaultCollapse) -> Bench {
    let config = VtdConfig {
        fault_records,
        fault_collapse,
        ..VtdConfig::default()
    };
    Bench::translating(config, 4).0
}

fn record(bench: &Bench, index: u64) -> [u64; 2] {
    [
        bench.read64(FRCD + 16 * index),
        bench.read64(FRCD + 16 * index + 8),
    ]
}

#[test]
fn record_tells_who_where_how_and_why() {
    let bench = unit_with_records(2, FaultCollapse::Never);
    assert_eq!(bench.write(0x1234_5678), Err(5));
    assert_eq!(bench.reach(0x0021, 0x9abc, Access::Read), Err(2));
    assert_eq!(record(&bench, 0), [0x1234_5000, 1 << 63 | 5 << 32 | 0x18]);
    assert_eq!(
        record(&bench, 1),
        [0x9000, 1 << 63 | 1 << 62 | 2 << 32 | 0x21]
    );
    assert_eq!(bench.read32(FSTS), PPF);
}

#[test]
fn records_are_used_in_turn_and_overflow() {
    let bench = unit_with_records(3, FaultCollapse::Never);
    for bus in [0x1000, 0x2000, 0x3000, 0x4000, 0x5000] {
        assert_eq!(bench.read(bus), Err(6));
    }
    assert_eq!(bench.read32(FSTS), PFO | PPF);
    assert_eq!(
        [0, 1, 2].map(|index| record(&bench, index)[0]),
        [0x1000, 0x2000, 0x3000]
    );
    let statistics = bench.unit.statistics();
    assert_eq!(
        (
            statistics.faults,
            statistics.faults_recorded,
            statistics.faults_lost
        ),
        (5, 3, 2)
    );
    // A record is freed, but while the overflow stands nothing is recorded.
    bench.write64(FRCD + 8, 1 << 63);
    assert_eq!(bench.read(0x6000), Err(6));
    assert_eq!(record(&bench, 0)[1] >> 63, 0);
    // The overflow is cleared, and the next one goes where it is the turn.
    bench.write32(FSTS, PFO);
    assert_eq!(bench.read(0x7000), Err(6));
    assert_eq!(record(&bench, 0)[0], 0x7000);
    assert_eq!(bench.read32(FSTS) & 3, PPF);
    // The next in turn is in use.
    assert_eq!(bench.read(0x8000), Err(6));
    assert_eq!(bench.read32(FSTS) & 3, PPF | PFO);
}

#[test]
fn index_tells_the_first_pending_record() {
    let bench = unit_with_records(4, FaultCollapse::Never);
    for bus in [0x1000, 0x2000] {
        assert_eq!(bench.read(bus), Err(6));
    }
    bench.write32(FRCD + 12, 1 << 31);
    assert_eq!(bench.read32(FSTS), PPF);
    bench.write32(FRCD + 28, 1 << 31);
    assert_eq!(bench.read32(FSTS) & PPF, 0);
    assert_eq!(bench.read(0x3000), Err(6));
    assert_eq!(bench.read32(FSTS), PPF | 2 << 8);
}

#[test]
fn faults_of_one_requester_share_a_record() {
    let bench = unit_with_records(2, FaultCollapse::SameRequester);
    for bus in [0x1000, 0x2000, 0x3000] {
        assert_eq!(bench.read(bus), Err(6));
    }
    assert_eq!(bench.reach(0x0021, 0x9000, Access::Write), Err(2));
    assert_eq!(record(&bench, 0)[0], 0x1000);
    assert_eq!(record(&bench, 1)[0], 0x9000);
    assert_eq!(bench.read32(FSTS), PPF);
    assert_eq!(bench.unit.statistics().faults_collapsed, 2);
    // Freed, the next one is recorded again.
    bench.write32(FRCD + 12, 1 << 31);
    assert_eq!(bench.read(0x4000), Err(6));
    assert_eq!(record(&bench, 0)[0], 0x4000);
}

#[test]
fn faults_of_a_silent_context_are_blocked_and_not_recorded() {
    let bench = unit_with_records(2, FaultCollapse::Never);
    let entry = CONTEXTS + u64::from(DEVICE) * 16;
    let word = bench.ram.load_u64(entry).expect("in RAM");
    bench.store(entry, word | 2);
    assert_eq!(bench.read(0x1000), Err(6));
    assert_eq!(bench.read(1 << 48), Err(4));
    // It counts in an entry that is not present as well.
    bench.store(entry, 2);
    bench.submit_and_wait(&[CONTEXT_GLOBAL]);
    assert_eq!(bench.read(0x1000), Err(2));
    assert_eq!(bench.read32(FSTS), 0);
    assert_eq!(bench.unit.statistics().faults_silenced, 3);
}

#[test]
fn fault_event_is_sent_once_for_all_that_is_pending() {
    let bench = unit_with_records(4, FaultCollapse::Never);
    bench.write32(FEDATA, 0x30);
    bench.write32(FEADDR, 0xfee0_0000);
    bench.write32(FECTL, 0);
    for bus in [0x1000, 0x2000, 0x3000] {
        assert_eq!(bench.read(bus), Err(6));
    }
    assert_eq!(bench.messages(1), [(0xfee0_0000, 0x30)]);
    for index in 0..3 {
        bench.write32(FRCD + 16 * index + 12, 1 << 31);
    }
    assert_eq!(bench.read(0x4000), Err(6));
    assert_eq!(bench.messages(2).len(), 2);
    bench.assert_no_findings();
}

#[test]
fn masked_fault_event_waits_or_is_serviced() {
    let bench = unit_with_records(4, FaultCollapse::Never);
    assert_eq!(bench.read32(FECTL), 1 << 31, "masked after reset");
    bench.write32(FEADDR, 0xfee0_0000);
    assert_eq!(bench.read(0x1000), Err(6));
    assert_eq!(bench.read32(FECTL), 3 << 30);
    // Serviced while masked: nothing is left to send.
    bench.write32(FRCD + 12, 1 << 31);
    assert_eq!(bench.read32(FECTL), 1 << 31);
    assert_eq!(bench.read(0x1000), Err(6));
    bench.write32(FECTL, 0);
    assert_eq!(bench.messages(1).len(), 1);
}
