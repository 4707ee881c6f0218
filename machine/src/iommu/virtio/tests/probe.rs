//! What the unit tells of an endpoint (5.13.6.7).

use super::super::{Reserved, ReservedKind, VirtioConfig};
use super::bench::*;
use crate::bus::Access;

fn config() -> VirtioConfig {
    let reserved = |requester, addresses, kind| Reserved {
        requester,
        addresses,
        kind,
    };
    VirtioConfig {
        probe_size: 64,
        reserved: vec![
            reserved(None, 0xfee0_0000..=0xfeef_ffff, ReservedKind::Messages),
            reserved(Some(DEVICE), 0x5000..=0x5fff, ReservedKind::Platform),
        ],
        ..VirtioConfig::default()
    }
}

fn properties(bench: &Bench, requester: u16) -> Vec<u32> {
    bench.submit(1, &probe(requester), 68);
    assert_eq!(bench.next_used(0), (2, 68));
    assert_eq!(bench.status_of(1, 68), OK);
    let at = Bench::request_at(1) + 0x100;
    (0..16)
        .map(|n| bench.ram.load_u32(at + 4 * n).expect("in RAM"))
        .collect()
}

#[test]
fn reserved_regions_of_an_endpoint_are_told() {
    let bench = Bench::started(config());
    let messages = [0x0014_0001, 1, 0xfee0_0000, 0, 0xfeef_ffff, 0];
    let platform = [0x0014_0001, 0, 0x5000, 0, 0x5fff, 0];
    let expected = [&messages[..], &platform, &[0; 4]].concat();
    assert_eq!(properties(&bench, DEVICE), expected);
    let expected = [&messages[..], &[0; 10]].concat();
    assert_eq!(properties(&bench, DEVICE + 1), expected);
    bench.assert_no_findings();
}

#[test]
fn reserved_regions_pass_untranslated_and_are_not_mapped() {
    let bench = Bench::started(config());
    assert_eq!(bench.read(0x5004), Ok(0x5004));
    assert_eq!(bench.reach(DEVICE + 1, 0x5004, Access::Read), Err(1));
    assert_eq!(bench.write(0xfee0_1000), Ok(0xfee0_1000));
    assert_eq!(bench.ask(&attach(DOMAIN, DEVICE)), OK);
    assert_eq!(
        bench.ask(&map(DOMAIN, 0xfeef_f000, 0xfef0_0fff, 0x5000, RW)),
        INVALID
    );
    let own = map(DOMAIN, 0x4000, 0x5fff, 0x9000, RW);
    assert_eq!(bench.ask(&own), INVALID);
    // It is nobody else's.
    assert_eq!(bench.ask(&attach(DOMAIN + 1, DEVICE + 1)), OK);
    assert_eq!(bench.ask(&map(DOMAIN + 1, 0x4000, 0x5fff, 0x9000, RW)), OK);
}

#[test]
fn probe_without_the_feature_is_not_supported() {
    let mut config = config();
    config.features.set_probe(false);
    let bench = Bench::with(config, crate::temper::Temper::Keep);
    bench.reset();
    bench.accept(FEATURES_LOW & !0x10, FEATURES_HIGH);
    bench.place_queue(0);
    bench.write32(STATUS, 15);
    bench.submit(0, &probe(DEVICE), 68);
    bench.next_used(0);
    assert_eq!(bench.status_of(0, 68), UNSUPPORTED);
}
