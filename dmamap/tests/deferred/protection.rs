//! The default and the floor of a device's protection, and relaxing it while mappings live.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use dmamap::device::RelaxError;
use dmamap::map::Attributes;
use dmamap::system::{AttachError, Protection, Settings};
use journeys::boot::BootOptions;
use machine::temper::Temper;

use super::kinds::kinds;
use super::{Bidirectional, LONG_MS, attach_deferred, flushing, lend};
use rig::patience::StopOnDrop;
use rig::{EDU, PAGE, Rig, buffer_of, small};

fn at_least(least: Protection) -> BootOptions {
    let units = Settings {
        least_protection: least,
        ..Settings::default()
    };
    BootOptions {
        units,
        ..BootOptions::default()
    }
}

#[test]
fn a_strict_device_is_relaxed_while_mappings_live() {
    for kind in kinds() {
        let rig = kind.boot(Temper::Keep, 64, LONG_MS);
        let device = rig.attach_trusted(EDU, Protection::Strict);
        assert_eq!(device.protection(), Protection::Strict);
        let lent: Vec<_> = (0..4).map(|_| lend(&device, 1)).collect();
        let mut lent = lent.into_iter();
        drop(lent.next().unwrap().unmap().unwrap());
        assert_eq!(device.flush_figures().retired, 0);
        device.relax_to_deferred().unwrap();
        device.relax_to_deferred().unwrap();
        assert_eq!(device.protection(), Protection::Deferred);
        let commands = rig.system().invalidations();
        // The device could reach it still, so nobody else is to have it yet.
        let buffers: Vec<_> = lent.map(|one| one.unmap().unwrap()).collect();
        assert_eq!(rig.system().invalidations(), commands, "{}", kind.name);
        assert_eq!(device.flush_figures().waiting, 3);
        device.flush().unwrap();
        drop(buffers);
        device.detach().unwrap();
        rig.finish();
    }
}

#[test]
fn relaxing_a_device_nobody_vouched_for_lets_no_memory_go_early() {
    let rig = Rig::boot_with(small(), flushing(Default::default(), 64, LONG_MS));
    let device = rig.attach(EDU);
    let lent = lend(&device, 1);
    device.relax_to_deferred().unwrap();
    drop(lent.unmap().unwrap());
    let figures = device.flush_figures();
    assert_eq!(
        (figures.retired, figures.waiting, figures.flushes),
        (1, 0, 1)
    );
    device.detach().unwrap();
    rig.finish();
}

#[test]
fn threads_that_map_and_unmap_do_not_notice() {
    for kind in kinds() {
        let rig = kind.boot(Temper::Random(9), 16, 1);
        let device = rig.attach(EDU);
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            let stop = StopOnDrop(&done);
            for _ in 0..2 {
                scope.spawn(|| {
                    let mut rounds = 0;
                    while rounds < 30 || !done.load(Ordering::SeqCst) {
                        drop(lend(&device, 2).unmap().unwrap());
                        rounds += 1;
                    }
                    for _ in 0..30 {
                        drop(lend(&device, 2).unmap().unwrap());
                    }
                });
            }
            device.relax_to_deferred().unwrap();
            drop(stop);
        });
        assert!(device.flush_figures().retired >= 60);
        device.detach().unwrap();
        rig.finish();
    }
}

#[test]
fn only_from_strict_to_deferred() {
    let rig = Rig::boot(small());
    let device = rig.attach_trusted(EDU, Protection::Identity);
    assert_eq!(device.protection(), Protection::Identity);
    let error = device.relax_to_deferred().unwrap_err();
    let protection = Protection::Identity;
    let expected = RelaxError::NotStrict {
        device: EDU,
        protection,
    };
    assert_eq!(error, expected);
    device.detach().unwrap();
    let device = rig.attach_trusted(EDU, Protection::Blocked);
    assert_eq!(device.protection(), Protection::Blocked);
    assert!(device.relax_to_deferred().is_err());
    device.detach().unwrap();
    let device = attach_deferred(&rig);
    assert_eq!(device.protection(), Protection::Deferred);
    device.relax_to_deferred().unwrap();
    assert!(device.pin_protection().is_ok(), "it is as it was attached");
    device.detach().unwrap();
    rig.finish();
}

#[test]
fn what_is_pinned_is_not_relaxed_and_what_is_relaxed_not_pinned() {
    let rig = Rig::boot(small());
    let device = rig.attach(EDU);
    device.pin_protection().unwrap();
    device.pin_protection().unwrap();
    let error = device.relax_to_deferred().unwrap_err();
    assert_eq!(error, RelaxError::Pinned { device: EDU });
    assert_eq!(device.protection(), Protection::Strict);
    device.detach().unwrap();
    let device = rig.attach(EDU);
    device.relax_to_deferred().unwrap();
    assert!(device.pin_protection().is_err());
    device.detach().unwrap();
    rig.finish();
}

#[test]
fn the_machines_owner_sets_a_floor() {
    let rig = Rig::boot_with(small(), at_least(Protection::Strict));
    let function = rig.function(EDU);
    let refused = |protection| AttachError::TooWeak {
        device: EDU,
        protection,
        least: Protection::Strict,
    };
    let error = rig.system().attach(&function, Protection::Deferred);
    assert_eq!(error.unwrap_err(), refused(Protection::Deferred));
    // SAFETY: it is refused.
    let error = unsafe { rig.system().attach_trusted(&function, Protection::Identity) };
    assert_eq!(error.unwrap_err(), refused(Protection::Identity));
    let device = rig.attach(EDU);
    let least = Protection::Strict;
    let error = device.relax_to_deferred().unwrap_err();
    assert_eq!(error, RelaxError::TooWeak { device: EDU, least });
    device.detach().unwrap();
    let device = rig.attach_trusted(EDU, Protection::Blocked);
    device.detach().unwrap();
    drop(function);
    rig.finish();

    let rig = Rig::boot_with(small(), at_least(Protection::Deferred));
    attach_deferred(&rig).detach().unwrap();
    rig.finish();
}

#[test]
fn a_mapping_is_never_protected_less_than_its_device() {
    let rig = Rig::boot_with(small(), flushing(Default::default(), 64, LONG_MS));
    let device = rig.attach_trusted(EDU, Protection::Strict);
    for asked in [Protection::Identity, Protection::Deferred] {
        let attributes = Attributes::NONE.at_least(asked);
        let lent = buffer_of(rig.kernel, PAGE, 1);
        let lent = device.map_single_attrs(lent, Bidirectional, attributes);
        let before = rig.system().invalidations();
        drop(lent.unwrap().unmap().unwrap());
        assert!(rig.system().invalidations() > before, "{asked:?}");
    }
    assert_eq!(device.flush_figures().retired, 0);
    device.detach().unwrap();
    rig.finish();
}
