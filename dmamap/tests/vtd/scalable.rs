//! VT-d units in scalable mode: the life of a device by first- and by second-stage tables, and what starting them says.

use board::hardware::{Hardware, Width};
use dmamap::iommu::fault::Access;
use dmamap::iommu::{RevokeError, UnitError};
use dmamap::map::{Bidirectional, FromDevice, ToDevice};
use dmamap::system::{Protection, Settings, Stage, TableMode};
use hosted::Hosted;
use hw::vtd::fault::FaultReason;
use hw::vtd::regs::{AddressWidths, LargePages};
use journeys::boot::BootOptions;
use machine::cache::Snooping;
use machine::iommu::translator::Translator;
use machine::iommu::vtd::{CachingMode, ScalableMode, Support, VtdConfig, WriteBuffer};
use machine::temper::Temper;
use machine::{Iommu, Machine, MachineConfig};
use rig::life::{live, round_trip};
use rig::modes::{SCALABLE, WAYS, Way};
use rig::{
    EDU, HEARTBEAT, PAGE, Rig, UNITS, assert_first_fault, buffer_of, first_fault, small, try_read,
    try_write,
};

const TEMPERS: [Temper; 4] = [
    Temper::Keep,
    Temper::Forget,
    Temper::Random(1),
    Temper::Random(2),
];

/// Runs the whole life of a device on a machine with such units, by both stages, in every temper, with walks that snoop
/// and walks that do not.
fn check(unit: &VtdConfig) {
    for way in SCALABLE {
        check_with(&way.unit(unit.clone()), way, way.options());
    }
}

fn check_with(unit: &VtdConfig, way: Way, options: BootOptions) {
    for temper in TEMPERS {
        for walks in [Snooping::On, Snooping::Off] {
            for access in [Access::Write, Access::Read] {
                let unit = unit.clone();
                let iommu = Iommu::Vtd { unit, walks };
                let config = small().with_iommu(iommu).with_temper(temper);
                let mut rig = Rig::boot_with(config, options);
                live(&mut rig, access, way.unmapped(access));
                let pulse = rig.machine.heartbeat();
                assert_eq!(pulse.missed, 0, "{way:?} {temper:?} {walks:?}");
                assert!(rig.unit(0).statistics().pasid_cache_invalidations > 0);
                rig.finish_after_faults();
            }
        }
    }
}

#[test]
fn an_ordinary_unit() {
    check(&VtdConfig::default());
}

#[test]
fn a_unit_that_caches_that_there_is_nothing() {
    check(&VtdConfig {
        caching_mode: CachingMode::NotPresentToo,
        ..VtdConfig::default()
    });
}

#[test]
fn a_unit_behind_a_write_buffer_without_large_pages() {
    check(&VtdConfig {
        write_buffer: WriteBuffer::NeedsFlush,
        large_pages: LargePages::new(),
        ..VtdConfig::default()
    });
}

#[test]
fn a_unit_with_snoop_control_that_invalidates_few_pages_at_once() {
    check(&VtdConfig {
        snoop_control: Support::Yes,
        max_address_mask: Some(0),
        ..VtdConfig::default()
    });
}

#[test]
fn a_unit_without_page_selective_invalidation_and_without_rid_pasid() {
    for way in SCALABLE {
        let unit = VtdConfig {
            max_address_mask: None,
            scalable: Some(ScalableMode {
                rid_pasid: Support::No,
                ..ScalableMode::default()
            }),
            ..VtdConfig::default()
        };
        check_with(&unit, way, way.options());
    }
}

#[test]
fn tables_of_five_levels() {
    for way in SCALABLE {
        let unit = VtdConfig {
            address_widths: AddressWidths::from_bits(0xe),
            guest_address_bits: 57,
            scalable: Some(ScalableMode {
                five_levels: Support::Yes,
                ..ScalableMode::default()
            }),
            ..VtdConfig::default()
        };
        let units = Settings {
            table_levels: Some(5),
            ..way.settings()
        };
        let options = BootOptions {
            units,
            ..BootOptions::default()
        };
        check_with(&unit, way, options);
    }
}

#[test]
fn units_that_have_one_stage_use_it() {
    for (way, first_stage, second_stage) in [
        (Way::FirstStage, Support::Yes, Support::No),
        (Way::SecondStage, Support::No, Support::Yes),
    ] {
        let unit = VtdConfig {
            scalable: Some(ScalableMode {
                first_stage,
                second_stage,
                ..ScalableMode::default()
            }),
            ..VtdConfig::default()
        };
        let units = Settings {
            mode: Some(TableMode::Scalable),
            ..Settings::default()
        };
        let options = BootOptions {
            units,
            ..BootOptions::default()
        };
        check_with(&unit, way, options);
    }
}

#[test]
fn a_unit_that_has_both_modes_is_used_in_scalable_mode_unless_asked_otherwise() {
    let unit = Way::FirstStage.unit(VtdConfig::default());
    let nothing = Settings::default();
    let legacy = Settings {
        mode: Some(TableMode::Legacy),
        ..nothing
    };
    let second = Settings {
        stage: Some(Stage::Second),
        ..nothing
    };
    for (units, way) in [
        (nothing, Way::FirstStage),
        (legacy, Way::Legacy),
        (second, Way::SecondStage),
    ] {
        let options = BootOptions {
            units,
            ..BootOptions::default()
        };
        let mut rig = Rig::boot_with(small().with_iommu(rig::vtd(unit.clone())), options);
        live(&mut rig, Access::Write, way.unmapped(Access::Write));
        rig.finish_after_faults();
    }
}

#[test]
fn what_a_unit_does_not_have_is_an_error_at_start() {
    let only = |first_stage, second_stage| {
        Some(ScalableMode {
            first_stage,
            second_stage,
            ..ScalableMode::default()
        })
    };
    let (yes, no) = (Support::Yes, Support::No);
    let scalable = Some(TableMode::Scalable);
    for (has, mode, stage, missing) in [
        (None, scalable, None, "ECAP.SMTS"),
        (None, None, Some(Stage::First), "ECAP.SMTS"),
        (
            only(yes, yes),
            Some(TableMode::Legacy),
            Some(Stage::First),
            "first-stage tables in legacy mode",
        ),
        (only(no, yes), scalable, Some(Stage::First), "ECAP.FSTS"),
        (only(yes, no), scalable, Some(Stage::Second), "ECAP.SSTS"),
        (only(no, no), scalable, None, "ECAP.FSTS, ECAP.SSTS"),
    ] {
        let unit = VtdConfig {
            scalable: has,
            ..VtdConfig::default()
        };
        let machine = Machine::boot(small().with_iommu(rig::vtd(unit))).unwrap();
        let kernel = Hosted::boot(machine.clone()).unwrap();
        let options = BootOptions {
            units: Settings {
                mode,
                stage,
                ..Settings::default()
            },
            ..BootOptions::default()
        };
        let refused = Rig::boot_on(machine.clone(), kernel, kernel, options);
        let error = refused.err().expect("the unit lacks it").to_string();
        assert!(error.contains(missing), "{error}");
        assert_eq!(machine.findings(), []);
        machine.shutdown();
        assert!(kernel.shutdown().is_clean());
    }
}

#[test]
fn identity_reaches_all_memory_and_nothing_is_reached_after_it() {
    for way in SCALABLE {
        for pass_through in [Support::Yes, Support::No] {
            for temper in TEMPERS {
                let unit = VtdConfig {
                    pass_through,
                    ..way.unit(VtdConfig::default())
                };
                let config = MachineConfig::default()
                    .with_ram(64 << 20)
                    .with_temper(temper)
                    .with_iommu(rig::vtd(unit));
                let mut rig = Rig::boot_with(config, way.options());
                let device = rig.attach_trusted(EDU, Protection::Identity);
                let mut edu = rig.edu_on(device);
                round_trip(&mut edu, rig.kernel, 5);
                let buffer = buffer_of(rig.kernel, PAGE, 0x77);
                let mapping = edu.device().map_single(buffer, ToDevice).unwrap();
                edu.fetch(&mapping, 0, PAGE).unwrap();
                let bus = mapping.bus_addr();
                assert_eq!(bus.as_u64(), mapping.phys().start().as_u64());
                let buffer = mapping.unmap().unwrap();
                try_read(&mut edu, bus, PAGE);
                assert_eq!(first_fault(rig.system(), EDU), None, "it is trusted");
                edu.stop().detach().unwrap();
                assert_eq!(rig.machine.audit().leaves, []);

                let mut edu = rig.edu();
                try_write(&mut edu, bus, PAGE);
                let reason = way.unmapped(Access::Write);
                assert_first_fault(rig.system(), EDU, bus, Access::Write, reason);
                assert_eq!(buffer.as_slice(), [0x77; PAGE as usize]);
                drop((buffer, edu));
                rig.finish_after_faults();
            }
        }
    }
}

#[test]
fn a_direction_is_what_the_device_may_do_and_no_more() {
    for way in WAYS {
        for temper in TEMPERS {
            let config = small()
                .with_iommu(rig::vtd(way.unit(VtdConfig::default())))
                .with_temper(temper);
            let mut rig = Rig::boot_with(config, way.options());
            let mut edu = rig.edu();
            let mapping = edu
                .device()
                .map_single(buffer_of(rig.kernel, PAGE, 1), ToDevice)
                .unwrap();
            let bus = mapping.bus_addr();
            edu.fetch(&mapping, 0, 64).unwrap();
            try_write(&mut edu, bus, 64);
            assert_first_fault(rig.system(), EDU, bus, Access::Write, way.read_only());
            assert!(
                mapping
                    .unmap()
                    .unwrap()
                    .as_slice()
                    .iter()
                    .all(|&byte| byte == 1)
            );
            drop(edu);
            rig.finish_after_faults();
        }
    }
    // Second-stage tables, unlike those of the first stage, tell writing alone.
    let way = Way::SecondStage;
    let config = small().with_iommu(rig::vtd(way.unit(VtdConfig::default())));
    let mut rig = Rig::boot_with(config, way.options());
    let mut edu = rig.edu();
    let mapping = edu
        .device()
        .map_single(buffer_of(rig.kernel, PAGE, 1), FromDevice)
        .unwrap();
    let bus = mapping.bus_addr();
    try_read(&mut edu, bus, 64);
    let reason = FaultReason::ScalableReadNotPermitted;
    assert_first_fault(rig.system(), EDU, bus, Access::Read, reason);
    drop((mapping, edu));
    rig.finish_after_faults();
}

#[test]
fn a_fault_of_a_device_that_is_not_attached_says_what_is_missing() {
    for way in SCALABLE {
        let config = small().with_iommu(rig::vtd(way.unit(VtdConfig::default())));
        let mut rig = Rig::boot_with(config, way.options());
        let edu = rig.edu();
        let device = edu.stop();
        device.detach().unwrap();
        let unit = rig.unit(0);
        assert!(
            unit.translate(EDU.id, 0x1000, machine::bus::Access::Read)
                .is_err()
        );
        let fault = first_fault(rig.system(), EDU).expect("it is read");
        assert_eq!(fault.reason.code, 0x59);
        assert_eq!(fault.reason.text, "PASID-table entry not present");
        rig.finish_after_faults();
    }
}

/// The three words of PASID 0's entry of `requester`, found from the unit's registers.
fn pasid_entry(rig: &Rig, unit: usize, requester: u16) -> [u64; 3] {
    let load = |phys: u64| rig.machine.ram().load_u64(phys).unwrap();
    let root = rig.machine.read(UNITS[unit].as_u64() + 0x20, Width::Qword);
    assert_eq!(root & 0xfff, 1 << 10, "scalable mode");
    let half = u64::from(requester >> 7 & 1);
    let contexts = load((root & !0xfff) + u64::from(requester >> 8) * 16 + half * 8);
    let context = (contexts & !0xfff) + u64::from(requester & 0x7f) * 32;
    let directory = load(context);
    assert_eq!([8, 16, 24].map(|offset| load(context + offset)), [0; 3]);
    let table = load(directory & !0xfff) & !0xfff;
    [0, 8, 16].map(|offset| load(table + offset))
}

#[test]
fn entries_say_how_walks_and_pages_snoop() {
    for (walks, snoop_control) in [
        (Snooping::On, Support::Yes),
        (Snooping::On, Support::No),
        (Snooping::Off, Support::Yes),
    ] {
        for way in SCALABLE {
            let unit = VtdConfig {
                snoop_control,
                ..way.unit(VtdConfig::default())
            };
            let iommu = Iommu::Vtd { unit, walks };
            let rig = Rig::boot_with(small().with_iommu(iommu), way.options());
            let device = rig.attach(EDU);
            let [low, tag, first] = pasid_entry(&rig, 0, EDU.id);
            assert_eq!(tag & 1 << 23 != 0, walks == Snooping::On, "PWSNP");
            // Leaves of the second stage say it themselves.
            let pages = snoop_control == Support::Yes && way == Way::FirstStage;
            assert_eq!(tag & 1 << 24 != 0, pages, "PGSNP");
            let kind = low >> 6 & 7;
            match way {
                Way::FirstStage => assert_eq!((kind, first & 0xfff), (1, 0)),
                _ => assert_eq!((kind, first), (2, 0)),
            }
            device.detach().unwrap();
            assert_eq!(pasid_entry(&rig, 0, EDU.id)[0], 0);
            rig.finish();
        }
    }
}

#[test]
fn a_unit_that_hangs_is_an_error_that_names_it_and_the_command() {
    for way in SCALABLE {
        let config = small().with_iommu(rig::vtd(way.unit(VtdConfig::default())));
        let options = BootOptions {
            units: Settings {
                wait_bound_ms: 150,
                ..way.settings()
            },
            ..BootOptions::default()
        };
        let rig = Rig::boot_with(config, options);
        let device = rig.attach(EDU);
        let buffer = buffer_of(rig.kernel, PAGE, 1);
        let mapping = device.map_single(buffer, Bidirectional).unwrap();
        rig.unit(0).hold_queue();
        let quarantined = mapping.unmap().expect_err("nothing confirms it");
        match quarantined.error {
            RevokeError::Unit(error @ UnitError::TimedOut { unit, command, .. }) => {
                assert_eq!((unit, command), (UNITS[0], "IOTLB invalidation"));
                assert!(error.to_string().contains("0xfed90000"), "{error}");
            }
            other => panic!("{other}"),
        }
        rig.unit(0).release_queue();
        assert_eq!(device.figures().quarantined_bytes, PAGE);
        drop(device);
        rig.finish();
    }
}

#[test]
fn a_queue_that_stopped_says_where_and_why() {
    for way in SCALABLE {
        let config = small().with_iommu(rig::vtd(way.unit(VtdConfig::default())));
        let rig = Rig::boot_with(config, way.options());
        let device = rig.attach(EDU);
        let buffer = buffer_of(rig.kernel, PAGE, 1);
        let mapping = device.map_single(buffer, Bidirectional).unwrap();
        let head = rig.machine.read(UNITS[0].as_u64() + 0x80, Width::Qword);
        rig.unit(0)
            .fail_queue(machine::iommu::vtd::QueueFault::FetchError);
        let quarantined = mapping.unmap().expect_err("the queue stopped");
        match quarantined.error {
            RevokeError::Unit(UnitError::QueueStopped {
                unit,
                entry,
                reason,
            }) => {
                // Descriptors have 32 bytes.
                assert_eq!((unit, u64::from(entry) * 32), (UNITS[0], head));
                assert_eq!(reason, "descriptor fetch failed");
            }
            other => panic!("{other}"),
        }
        drop(device);
        rig.abandon();
    }
}

#[test]
fn devices_share_no_tag() {
    for way in SCALABLE {
        let config = small().with_iommu(rig::vtd(way.unit(VtdConfig::default())));
        let rig = Rig::boot_with(config, way.options());
        let devices = [EDU, HEARTBEAT].map(|requester| rig.attach(requester));
        let tags = [
            pasid_entry(&rig, 0, EDU.id),
            pasid_entry(&rig, 1, HEARTBEAT.id),
        ]
        .map(|[_, tag, _]| tag & 0xffff);
        assert_ne!(tags[0], tags[1]);
        assert!(tags.iter().all(|&tag| tag != 0));
        drop(devices);
        rig.finish();
    }
}
