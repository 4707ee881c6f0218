//! Endpoints without a domain, and domains that let everything pass (5.13.4, 5.13.6.2).

use super::super::{Unattached, VirtioConfig};
use super::bench::*;
use crate::findings::FindingKind;
use crate::temper::Temper;

#[test]
fn endpoints_pass_at_boot_until_the_driver_says_no() {
    let bench = Bench::with(VirtioConfig::default(), Temper::Keep);
    assert_eq!(bench.read(0x1234), Ok(0x1234));
    bench.start();
    assert_eq!(bench.read(0x1234), Err(1));
    assert_eq!(bench.read8(BYPASS), 0);
    bench.write8(BYPASS, 1);
    assert_eq!(bench.read(0x1234), Ok(0x1234));
    bench.assert_no_findings();
}

#[test]
fn bypass_outlives_a_reset_of_the_device() {
    let bench = Bench::started(VirtioConfig::default());
    bench.reset();
    assert_eq!(bench.read8(BYPASS), 0);
    assert_eq!(bench.read(0x1234), Err(1));
}

#[test]
fn endpoints_are_blocked_at_boot_where_it_is_so_configured() {
    let config = VirtioConfig {
        at_boot: Unattached::Blocked,
        ..VirtioConfig::default()
    };
    let bench = Bench::with(config, Temper::Keep);
    assert_eq!(bench.read(0x1234), Err(1));
}

#[test]
fn without_the_configuration_field_the_feature_decides() {
    let defaults = VirtioConfig::default();
    let config = VirtioConfig {
        features: defaults
            .features
            .with_bypass_config(false)
            .with_bypass(true),
        ..defaults
    };
    let bench = Bench::with(config, Temper::Keep);
    assert_eq!(bench.read(0x1234), Err(1), "nobody accepted it");
    bench.reset();
    bench.accept(FEATURES_LOW & !0x40 | 8, FEATURES_HIGH);
    assert_eq!(bench.read(0x1234), Ok(0x1234));
    bench.assert_no_findings();
    bench.write8(BYPASS, 0);
    assert_eq!(bench.found(FindingKind::IllegalRegisterUse), 1);
}

#[test]
fn domain_that_bypasses_lets_everything_pass() {
    let bench = Bench::started(VirtioConfig::default());
    assert_eq!(bench.ask(&attach_bypass(DOMAIN, DEVICE)), OK);
    assert_eq!(bench.write(0x1234), Ok(0x1234));
    bench.assert_no_findings();
    // It has no mappings, and is not of the other kind.
    assert_eq!(bench.ask(&map(DOMAIN, 0x1000, 0x1fff, 0x5000, RW)), INVALID);
    assert_eq!(bench.ask(&unmap(DOMAIN, 0x1000, 0x1fff)), INVALID);
    assert_eq!(bench.ask(&attach(DOMAIN, DEVICE + 1)), INVALID);
    assert_eq!(bench.ask(&detach(DOMAIN, DEVICE)), OK);
    assert_eq!(bench.write(0x1234), Err(1));
}
