use hw::amd::regs::HostLevels;

use super::super::{AmdConfig, AmdConfigError};
use super::bench::*;
use crate::findings::FindingKind;

#[test]
fn features_say_what_the_unit_has() {
    let bench = Bench::new(AmdConfig::default());
    assert_eq!(bench.read64(FEATURES), 1 << 6 | 2 << 10 | 1 << 46);
    assert_eq!(bench.read32(FEATURES + 4), 1 << 14);
}

#[test]
fn configurations_that_no_unit_has_are_refused() {
    let config = AmdConfig {
        host_address_bits: 53,
        ..AmdConfig::default()
    };
    assert_eq!(config.features(), Err(AmdConfigError::HostAddressBits(53)));
    let config = AmdConfig {
        host_levels: HostLevels::Reserved,
        ..AmdConfig::default()
    };
    assert_eq!(config.features(), Err(AmdConfigError::HostLevels));
}

#[test]
fn registers_may_be_written_by_halves() {
    let bench = Bench::new(AmdConfig::default());
    bench.write32(COMMAND_BASE, COMMANDS as u32);
    bench.write32(COMMAND_BASE + 4, 8 << 24);
    assert_eq!(bench.read64(COMMAND_BASE), COMMANDS | 8 << 56);
    assert_eq!(bench.read32(COMMAND_BASE + 4), 8 << 24);
    bench.assert_no_findings();
}

#[test]
fn writing_a_base_sets_the_ring_back() {
    let bench = Bench::new(AmdConfig::default());
    bench.enable();
    bench.submit_and_wait(&[]);
    bench.disable();
    assert_eq!(bench.read64(COMMAND_HEAD), 16);
    bench.set_bases();
    assert_eq!(
        (bench.read64(COMMAND_HEAD), bench.read64(COMMAND_TAIL)),
        (0, 0)
    );
    bench.assert_no_findings();
}

#[test]
fn status_shows_a_switch_late() {
    let bench = Bench::new(AmdConfig::default());
    bench.set_bases();
    bench.write64(CONTROL, ENABLE | COHERENT | RING | LOG);
    assert_eq!(bench.read64(STATUS), 0);
    bench.wait_status(RING_RUNS | LOG_RUNS, RING_RUNS | LOG_RUNS);
    bench.write64(CONTROL, 0);
    assert_eq!(bench.read64(STATUS), RING_RUNS | LOG_RUNS);
    bench.wait_status(RING_RUNS | LOG_RUNS, 0);
    bench.assert_no_findings();
}

#[test]
fn bases_change_only_while_what_they_are_of_is_off() {
    let bench = Bench::new(AmdConfig::default());
    bench.enable();
    let bases = [DEVICE_BASE, COMMAND_BASE, EVENT_BASE];
    let before = bases.map(|offset| bench.read64(offset));
    for offset in bases {
        bench.write64(offset, 0x8000);
    }
    assert_eq!(bases.map(|offset| bench.read64(offset)), before);
    bench.write64(COMMAND_HEAD, 0);
    bench.write64(EVENT_TAIL, 0);
    assert_eq!(bench.found(FindingKind::IllegalRegisterUse), 5);
}

#[test]
fn reserved_bits_are_findings() {
    for (offset, value) in [
        (DEVICE_BASE, 1 << 9),
        (COMMAND_BASE, 1 << 52),
        (EVENT_BASE, 1),
        (EXCLUSION_BASE, 4),
        (EXCLUSION_LIMIT, 1),
        (COMMAND_TAIL, 1),
        (COMMAND_HEAD, 1 << 19),
        // Page requests, guest translation, x2APIC interrupts.
        (CONTROL, 1 << 13),
        (CONTROL, 1 << 16),
        (CONTROL, INT_CAP_XT_ON),
    ] {
        let bench = Bench::new(AmdConfig::default());
        bench.write64(offset, value);
        assert_eq!(bench.found(FindingKind::ReservedBits), 1, "{offset:#x}");
    }
}

#[test]
fn coherence_must_be_what_firmware_says() {
    let bench = Bench::new(AmdConfig::default());
    bench.set_bases();
    bench.write64(CONTROL, ENABLE | RING | LOG);
    assert_eq!(bench.found(FindingKind::IllegalRegisterUse), 1);
}

#[test]
fn writes_to_no_register_are_findings() {
    let bench = Bench::new(AmdConfig::default());
    bench.write64(FEATURES, 0);
    bench.write64(0x3000, 0);
    bench.write64(INT_CAP_XT, 0);
    assert_eq!(bench.found(FindingKind::IllegalRegisterUse), 3);
    assert_eq!(bench.read64(0x3000), 0);
}
