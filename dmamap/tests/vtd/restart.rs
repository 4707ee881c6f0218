//! Units that are reset under live domains: what was mapped is reached, what was not is not, and nothing is remembered.

use dmamap::iommu::fault::Access;
use dmamap::iommu::{RevokeError, UnitError};
use dmamap::map::{Bidirectional, ToDevice};
use dmamap::system::RestartError;
use machine::Iommu;
use machine::bus::Access as BusAccess;
use machine::cache::Snooping;
use machine::iommu::translator::Translator;
use machine::iommu::vtd::{CachingMode, QueueFault, VtdConfig};
use machine::temper::Temper;
use rig::modes::{WAYS, Way};
use rig::{
    EDU, PAGE, Rig, UNITS, assert_first_fault, buffer_of, first_fault, restart_under_load, small,
    try_read, try_write,
};

fn boot(way: Way, unit: VtdConfig, walks: Snooping, temper: Temper) -> Rig {
    let unit = way.unit(unit);
    let config = small()
        .with_iommu(Iommu::Vtd { unit, walks })
        .with_temper(temper);
    Rig::boot_with(config, way.options())
}

fn restart(rig: &Rig) -> Result<(), RestartError> {
    // SAFETY: the devices of these machines make no request while nobody asks them to.
    unsafe { rig.system().restart_units() }
}

#[test]
fn mappings_live_on_and_nothing_else_is_reached() {
    let caching = VtdConfig {
        caching_mode: CachingMode::NotPresentToo,
        ..VtdConfig::default()
    };
    for way in WAYS {
        for temper in [Temper::Keep, Temper::Forget, Temper::Random(4)] {
            for walks in [Snooping::On, Snooping::Off] {
                for unit in [VtdConfig::default(), caching.clone()] {
                    let mut rig = boot(way, unit, walks, temper);
                    let mut edu = rig.edu();
                    let buffers = [3, 4].map(|byte| buffer_of(rig.kernel, 3 * PAGE, byte));
                    let [kept, gone] = buffers
                        .map(|buffer| edu.device().map_single(buffer, Bidirectional).unwrap());
                    edu.fetch(&kept, 0, 64).unwrap();
                    edu.fetch(&gone, 0, 64).unwrap();
                    let bus = gone.bus_addr();
                    drop(gone.unmap().unwrap());
                    for _ in 0..3 {
                        restart(&rig).unwrap();
                        edu.fetch(&kept, 2 * PAGE, 64).unwrap();
                        edu.store(&kept, 0, 64).unwrap();
                        let more = buffer_of(rig.kernel, PAGE, 5);
                        let more = edu.device().map_single(more, ToDevice).unwrap();
                        edu.fetch(&more, 0, 64).unwrap();
                        more.unmap().unwrap();
                    }
                    assert_eq!(first_fault(rig.system(), EDU), None);
                    try_write(&mut edu, bus, 64);
                    let reason = way.unmapped(Access::Write);
                    assert_first_fault(rig.system(), EDU, bus, Access::Write, reason);
                    drop((kept, edu));
                    assert_eq!(rig.machine.heartbeat().missed, 0);
                    rig.finish_after_faults();
                }
            }
        }
    }
}

#[test]
fn a_queue_that_stopped_works_again() {
    for way in WAYS {
        let mut rig = boot(way, VtdConfig::default(), Snooping::On, Temper::Keep);
        let mut edu = rig.edu();
        let buffer = buffer_of(rig.kernel, PAGE, 1);
        let mapping = edu.device().map_single(buffer, Bidirectional).unwrap();
        edu.fetch(&mapping, 0, 64).unwrap();
        let bus = mapping.bus_addr();
        rig.unit(0).fail_queue(QueueFault::FetchError);
        let quarantined = mapping.unmap().expect_err("the queue stopped");
        assert!(matches!(
            quarantined.error,
            RevokeError::Unit(UnitError::QueueStopped { unit, .. }) if unit == UNITS[0]
        ));
        restart(&rig).unwrap();
        // What the unit remembered of it went with the reset.
        try_read(&mut edu, bus, 64);
        let reason = way.unmapped(Access::Read);
        assert_first_fault(rig.system(), EDU, bus, Access::Read, reason);
        let buffer = buffer_of(rig.kernel, PAGE, 2);
        let mapping = edu.device().map_single(buffer, Bidirectional).unwrap();
        edu.store(&mapping, 0, 64).unwrap();
        mapping.unmap().unwrap();
        edu.stop().detach().unwrap();
        // With the detach the quarantined page came back.
        rig.finish_after_faults();
    }
}

#[test]
fn faults_are_told_after_a_reset_as_before() {
    for way in WAYS {
        let mut rig = boot(way, VtdConfig::default(), Snooping::On, Temper::Keep);
        let mut edu = rig.edu();
        let bus = dmamap::addr::BusAddr::new(0x234_5000);
        for turn in 1..=3 {
            try_write(&mut edu, bus, 64);
            assert!(first_fault(rig.system(), EDU).is_some());
            let total = rig.system().faults().total;
            assert!(total >= turn, "{total} faults after {turn} attempts");
            restart(&rig).unwrap();
        }
        let reason = way.unmapped(Access::Write);
        assert_first_fault(rig.system(), EDU, bus, Access::Write, reason);
        drop(edu);
        rig.finish_after_faults();
    }
}

#[test]
fn a_command_that_ends_late_does_not_keep_later_ones_out() {
    for way in WAYS {
        let unit = way.unit(VtdConfig::default());
        let options = journeys::boot::BootOptions {
            units: dmamap::system::Settings {
                wait_bound_ms: 150,
                ..way.settings()
            },
            ..journeys::boot::BootOptions::default()
        };
        let mut rig = Rig::boot_with(small().with_iommu(rig::vtd(unit)), options);
        let mut edu = rig.edu();
        let buffer = buffer_of(rig.kernel, PAGE, 1);
        let mapping = edu.device().map_single(buffer, Bidirectional).unwrap();
        let bus = mapping.bus_addr().as_u64();
        // A request that does not land keeps translation on.
        let under_way = rig.unit(0).translate(EDU.id, bus, BusAccess::Read).unwrap();
        for _ in 0..2 {
            match restart(&rig) {
                Err(RestartError::Unit(UnitError::TimedOut { unit, command, .. })) => {
                    assert_eq!((unit, command), (UNITS[0], "translation disable"));
                }
                other => panic!("{other:?}"),
            }
        }
        drop(under_way);
        restart(&rig).unwrap();
        edu.fetch(&mapping, 0, 64).unwrap();
        mapping.unmap().unwrap();
        drop(edu);
        rig.finish();
    }
}

#[test]
fn a_unit_that_hangs_is_named_and_can_be_restarted_later() {
    for way in WAYS {
        let unit = way.unit(VtdConfig::default());
        let options = journeys::boot::BootOptions {
            units: dmamap::system::Settings {
                wait_bound_ms: 150,
                ..way.settings()
            },
            ..journeys::boot::BootOptions::default()
        };
        let mut rig = Rig::boot_with(small().with_iommu(rig::vtd(unit)), options);
        let mut edu = rig.edu();
        let buffer = buffer_of(rig.kernel, PAGE, 1);
        let mapping = edu.device().map_single(buffer, Bidirectional).unwrap();
        rig.unit(0).hold_queue();
        match restart(&rig) {
            Err(RestartError::Unit(UnitError::TimedOut { unit, command, .. })) => {
                assert_eq!((unit, command), (UNITS[0], "global invalidation"));
            }
            other => panic!("{other:?}"),
        }
        rig.unit(0).release_queue();
        restart(&rig).unwrap();
        edu.fetch(&mapping, 0, 64).unwrap();
        mapping.unmap().unwrap();
        drop(edu);
        rig.finish();
    }
}

#[test]
fn others_map_and_unmap_while_the_unit_restarts() {
    let rig = Rig::boot(small());
    restart_under_load(&rig);
    rig.finish_after_faults();
}
