//! The register file (4.2.2), the dance at the start (3.1.1), the configuration (5.13.4).

use board::hardware::Width;

use super::super::{VirtioConfig, VirtioConfigError};
use super::bench::*;
use crate::findings::FindingKind;
use crate::iommu::Unit;
use crate::temper::Temper;

fn fresh() -> Bench {
    Bench::with(VirtioConfig::default(), Temper::Keep)
}

#[test]
fn unit_is_recognised() {
    let bench = fresh();
    assert_eq!([0, 4, 8].map(|at| bench.read32(at)), [0x7472_6976, 2, 23]);
    bench.write32(DEVICE_FEATURES_SEL, 0);
    assert_eq!(bench.read32(DEVICE_FEATURES), 0x3000_0077);
    bench.write32(DEVICE_FEATURES_SEL, 1);
    assert_eq!(bench.read32(DEVICE_FEATURES), 3);
    bench.write32(DEVICE_FEATURES_SEL, 2);
    assert_eq!(bench.read32(DEVICE_FEATURES), 0);
    let sizes = [0, 1, 2].map(|queue| {
        bench.write32(QUEUE_SEL, queue);
        bench.read32(QUEUE_SIZE_MAX)
    });
    assert_eq!(sizes, [256, 256, 0]);
    bench.assert_no_findings();
}

#[test]
fn configuration_says_what_the_unit_can_do() {
    let bench = fresh();
    let words: Vec<u32> = (0..9).map(|n| bench.read32(CONFIG + 4 * n)).collect();
    assert_eq!(
        words,
        [
            0xffff_f000,
            0xffff_ffff,
            0,
            0,
            0xffff_ffff,
            0xffff,
            1,
            0xffff,
            512
        ]
    );
    assert_eq!(bench.read8(BYPASS), 1);
    bench.assert_no_findings();
}

#[test]
fn fields_without_their_feature_are_zero() {
    let mut config = VirtioConfig::default();
    config.features = config
        .features
        .with_input_range(false)
        .with_domain_range(false)
        .with_probe(false)
        .with_bypass_config(false);
    let bench = Bench::with(config, Temper::Keep);
    let words: Vec<u32> = (0..9).map(|n| bench.read32(CONFIG + 4 * n)).collect();
    assert_eq!(words, [0xffff_f000, 0xffff_ffff, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(bench.read8(BYPASS), 0);
}

#[test]
fn reset_is_over_only_when_the_status_shows_it() {
    let bench = Bench::started(VirtioConfig::default());
    bench.write32(STATUS, 0);
    assert_eq!(bench.read32(STATUS), 15, "it takes time");
    bench.wait_until(|| bench.read32(STATUS) == 0);
    bench.assert_no_findings();
    bench.write32(STATUS, 0);
    bench.write32(STATUS, 1);
    bench.assert_no_findings();
    bench.write32(STATUS, 0);
    bench.write32(STATUS, 1);
    assert_eq!(bench.found(FindingKind::IllegalRegisterUse), 1);
}

#[test]
fn features_that_were_not_offered_are_refused() {
    let bench = fresh();
    bench.reset();
    bench.accept(FEATURES_LOW | 8, FEATURES_HIGH);
    assert_eq!(bench.read32(STATUS), 3);
    assert_eq!(bench.found(FindingKind::IllegalRegisterUse), 1);
}

#[test]
fn legacy_driver_is_refused() {
    let bench = fresh();
    bench.reset();
    bench.accept(FEATURES_LOW, 0);
    assert_eq!(bench.read32(STATUS), 3);
}

/// Something done at the wrong time, or to something that does not exist.
#[track_caller]
fn check_illegal(prepare: impl Fn(&Bench), act: impl Fn(&Bench)) {
    let bench = fresh();
    bench.reset();
    prepare(&bench);
    bench.assert_no_findings();
    act(&bench);
    assert_eq!(bench.found(FindingKind::IllegalRegisterUse), 1);
}

#[test]
fn steps_are_not_left_out_nor_taken_back() {
    let nothing = |_: &Bench| {};
    check_illegal(nothing, |bench| bench.write32(STATUS, 2));
    check_illegal(nothing, |bench| bench.write32(STATUS, 15));
    check_illegal(
        |bench| bench.accept(FEATURES_LOW, FEATURES_HIGH),
        |bench| bench.write32(STATUS, 3),
    );
    check_illegal(
        |bench| bench.accept(FEATURES_LOW, FEATURES_HIGH),
        |bench| bench.write32(DRIVER_FEATURES, 0),
    );
}

#[test]
fn queues_are_configured_between_features_and_driver_ok() {
    check_illegal(
        |bench| bench.write32(STATUS, 1),
        |bench| bench.write32(QUEUE_SIZE, 64),
    );
    let placed = |bench: &Bench| {
        bench.accept(FEATURES_LOW, FEATURES_HIGH);
        bench.place_queue(0);
    };
    check_illegal(placed, |bench| bench.write32(0x80, 0x9000));
    check_illegal(placed, |bench| bench.write32(NOTIFY, 0));
    check_illegal(
        |bench| {
            placed(bench);
            bench.write32(STATUS, 15);
            bench.write32(QUEUE_SEL, 1);
        },
        |bench| bench.write32(QUEUE_SIZE, 64),
    );
}

#[test]
fn queues_that_cannot_be_are_refused() {
    let ready = |bench: &Bench| bench.accept(FEATURES_LOW, FEATURES_HIGH);
    for size in [0, 3, 512] {
        check_illegal(ready, |bench| bench.write32(QUEUE_SIZE, size));
    }
    check_illegal(ready, |bench| bench.write32(QUEUE_READY, 1));
    check_illegal(ready, |bench| {
        bench.write32(QUEUE_SEL, 2);
        bench.write32(QUEUE_SIZE, 64);
    });
    check_illegal(
        |bench| {
            ready(bench);
            bench.write32(STATUS, 15);
        },
        |bench| bench.write32(NOTIFY, 2),
    );
}

#[test]
fn registers_are_accessed_at_their_width() {
    let nothing = |_: &Bench| {};
    let read = |bench: &Bench, at, width| {
        bench.unit.read_register(at, width);
    };
    check_illegal(nothing, |bench| read(bench, 0x0, Width::Qword));
    check_illegal(nothing, |bench| read(bench, 0x70, Width::Byte));
    check_illegal(nothing, |bench| read(bench, 0x100, Width::Qword));
    check_illegal(nothing, |bench| read(bench, 0x124, Width::Dword));
    check_illegal(nothing, |bench| read(bench, 0x102, Width::Dword));
    check_illegal(nothing, |bench| read(bench, 0x128, Width::Byte));
    check_illegal(nothing, |bench| read(bench, 0xff8, Width::Dword));
    check_illegal(nothing, |bench| read(bench, 0x0c, Width::Word));
    check_illegal(nothing, |bench| {
        bench.unit.write_register(0x72, Width::Word, 0)
    });
}

#[test]
fn configuration_is_read_only_but_for_bypass() {
    let ready = |bench: &Bench| bench.accept(FEATURES_LOW, FEATURES_HIGH);
    check_illegal(ready, |bench| bench.write32(CONFIG, 0));
    check_illegal(ready, |bench| bench.write8(BYPASS, 2));
    check_illegal(|_| {}, |bench| bench.write8(BYPASS, 0));
}

#[test]
fn units_that_cannot_be_are_refused() {
    let defaults = VirtioConfig::default;
    let check = |config: VirtioConfig| config.check();
    assert_eq!(check(defaults()), Ok(()));
    let config = VirtioConfig {
        page_size_mask: 0,
        ..defaults()
    };
    assert_eq!(check(config), Err(VirtioConfigError::PageSizes));
    let config = VirtioConfig {
        queue_size_max: 48,
        ..defaults()
    };
    assert_eq!(check(config), Err(VirtioConfigError::QueueSize(48)));
    let config = VirtioConfig {
        probe_size: 20,
        ..defaults()
    };
    let error = VirtioConfigError::ProbeSize {
        len_bytes: 24,
        probe_size: 20,
    };
    assert_eq!(check(config), Err(error));
}
