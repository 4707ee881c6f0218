//! Reports of blocked requests in the event queue (5.13.6.9).

use super::super::VirtioConfig;
use super::bench::*;
use crate::findings::FindingKind;

fn report(bench: &Bench, n: u64) -> Vec<u32> {
    (0..6)
        .map(|word| {
            bench
                .ram
                .load_u32(REPORTS + 32 * n + 4 * word)
                .expect("in RAM")
        })
        .collect()
}

#[test]
fn report_says_who_where_how_and_why() {
    let bench = Bench::started(VirtioConfig {
        first_endpoint: 0x1_0000,
        ..VirtioConfig::default()
    });
    bench.post(2);
    let endpoint = 0x1_0000 + u32::from(DEVICE);
    assert_eq!(bench.read(0x1_2345_6789), Err(1));
    assert_eq!(bench.next_used(1), (0, 24));
    assert_eq!(report(&bench, 0), [1, 0x101, endpoint, 0, 0x2345_6789, 1]);
    assert_eq!(bench.ask(&[1, DOMAIN, endpoint, 0, 0]), OK);
    assert_eq!(bench.write(0x1000), Err(2));
    assert_eq!(bench.next_used(1), (1, 24));
    assert_eq!(report(&bench, 1), [2, 0x102, endpoint, 0, 0x1000, 0]);
    assert_eq!(bench.read32(INTERRUPT_STATUS) & 1, 1);
    bench.write32(INTERRUPT_ACK, 1);
    assert_eq!(bench.read32(INTERRUPT_STATUS), 0);
    bench.assert_no_findings();
}

#[test]
fn reports_are_lost_while_no_buffer_is_there() {
    let bench = Bench::attached(VirtioConfig::default());
    bench.post(1);
    for _ in 0..3 {
        assert_eq!(bench.read(0x1000), Err(2));
    }
    assert_eq!(bench.next_used(1), (0, 24));
    assert_eq!(bench.used(1), 1);
    bench.offer(1, 0);
    assert_eq!(bench.read(0x2000), Err(2));
    assert_eq!(bench.next_used(1), (0, 24));
    let statistics = bench.unit.statistics();
    let faults = (
        statistics.faults,
        statistics.faults_reported,
        statistics.faults_lost,
    );
    assert_eq!(faults, (4, 2, 2));
    bench.assert_no_findings();
}

#[test]
fn driver_that_wants_no_interrupt_gets_none() {
    let bench = Bench::attached(VirtioConfig::default());
    bench.write32(INTERRUPT_ACK, 1);
    bench.post(1);
    bench.store16(RINGS[1][1], 1);
    assert_eq!(bench.read(0x1000), Err(2));
    bench.next_used(1);
    assert_eq!(bench.read32(INTERRUPT_STATUS), 0);
}

#[test]
fn buffer_that_no_report_fits_in_stops_the_device() {
    let bench = Bench::attached(VirtioConfig::default());
    bench.descriptor(1, 0, (REPORTS, 23, 2, 0));
    bench.offer(1, 0);
    assert_eq!(bench.found(FindingKind::ProtocolViolation), 1);
    assert_eq!(bench.read32(STATUS), 15 | 64);
}
