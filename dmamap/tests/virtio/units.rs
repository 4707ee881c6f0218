//! virtio-iommus of every make: what is mapped is reached, what is unmapped is refused; and those that cannot be used.

use std::sync::Arc;

use dmamap::addr::{BusAddr, PhysAddr};
use dmamap::buffer::DmaBuffer;
use dmamap::iommu::fault::Access;
use dmamap::iommu::{DomainError, UnitStartError};
use dmamap::map::{FromDevice, MapFailure, ToDevice};
use dmamap::platform::Platform;
use dmamap::system::{Protection, StartError};
use hosted::{FaultInjector, Hosted, Resource};
use hw::virtio::feature::Features;
use journeys::boot::{BootError, BootOptions};
use machine::Machine;
use machine::bus::Access as BusAccess;
use machine::iommu::translator::Translator;
use machine::iommu::virtio::{Reserved, ReservedKind, Unattached, VirtioConfig};
use rig::virtio::{TEMPERS, UNIT, behind, unit};
use rig::{EDU, PAGE, Rig, buffer_of, first_fault, small, try_read, try_write};

/// The life of a device on a machine with such a unit, in every temper.
fn check(config: VirtioConfig) {
    for temper in TEMPERS {
        for access in [Access::Write, Access::Read] {
            let mut rig = Rig::boot(behind(config.clone()).with_temper(temper));
            live(&mut rig, access);
            rig.finish_after_faults();
        }
    }
}

/// The life of a device that at last goes where it must not, by `access`.
fn live(rig: &mut Rig, access: Access) {
    let mut edu = rig.edu();
    for pages in [1, 2, 5, 16] {
        let len_bytes = pages * PAGE;
        let source = buffer_of(rig.kernel, len_bytes, pages as u8);
        let source = edu.device().map_single(source, ToDevice).unwrap();
        let target = buffer_of(rig.kernel, len_bytes, 0xee);
        let target = edu.device().map_single(target, FromDevice).unwrap();
        for page in 0..pages {
            edu.fetch(&source, page * PAGE, PAGE).unwrap();
            edu.store(&target, page * PAGE, PAGE).unwrap();
        }
        let target = target.unmap().unwrap();
        assert!(target.as_slice().iter().all(|&byte| byte == pages as u8));
    }
    assert_eq!(rig.system().faults().total, 0);

    let buffer = buffer_of(rig.kernel, PAGE, 0x5a);
    let mapping = edu.device().map_single(buffer, FromDevice).unwrap();
    edu.store(&mapping, 0, 64).unwrap();
    let bus = mapping.bus_addr();
    let mut buffer = mapping.unmap().unwrap();
    buffer.as_mut_slice().fill(0x5a);
    match access {
        Access::Write => try_write(&mut edu, bus, 64),
        _ => try_read(&mut edu, bus, 64),
    }
    let fault = first_fault(rig.system(), EDU).expect("it was refused");
    assert_eq!(
        (fault.unit, fault.address, fault.access),
        (UNIT, bus, access)
    );
    assert_eq!(fault.reason.code, 2);
    assert!(buffer.as_slice().iter().all(|&byte| byte == 0x5a));
    edu.stop().detach().unwrap();
    assert_eq!(rig.machine.audit().leaves, []);
}

#[test]
fn a_unit_as_qemu_has_it() {
    check(VirtioConfig::default());
}

#[test]
fn endpoints_called_otherwise_than_requesters() {
    check(VirtioConfig {
        first_endpoint: 0x1234_0000,
        ..VirtioConfig::default()
    });
}

#[test]
fn units_without_what_can_be_left_out() {
    let needed = Features::new().with_version_1(true).with_map_unmap(true);
    check(VirtioConfig {
        features: needed,
        reserved: Vec::new(),
        ..VirtioConfig::default()
    });
}

#[test]
fn a_unit_with_room_for_one_request_at_a_time() {
    check(VirtioConfig {
        queue_size_max: 4,
        ..VirtioConfig::default()
    });
}

#[test]
fn few_domains_and_addresses_that_begin_late_and_end_early() {
    check(VirtioConfig {
        domain_range: 7..=9,
        input_range: 0x7000..=0x1_2345_6fff,
        ..VirtioConfig::default()
    });
    check(VirtioConfig {
        input_range: 0..=u64::MAX,
        domain_range: 0..=u32::MAX,
        ..VirtioConfig::default()
    });
}

#[test]
fn a_unit_that_blocks_from_the_start() {
    check(VirtioConfig {
        at_boot: Unattached::Blocked,
        ..VirtioConfig::default()
    });
}

#[test]
fn pages_larger_than_frames_map_what_is_made_of_them_and_copy_the_rest() {
    let rig = Rig::boot(behind(VirtioConfig {
        page_size_mask: 0xffff_ffff_ffff_0000,
        ..VirtioConfig::default()
    }));
    let device = rig.attach(EDU);
    let large = DmaBuffer::allocate(rig.kernel, 1 << 16).unwrap();
    let aligned = device.map_single(large, ToDevice).unwrap();
    assert!(aligned.bus_addr().is_aligned(16));
    drop(aligned);
    let one_frame = DmaBuffer::allocate(rig.kernel, PAGE).unwrap();
    let in_place = one_frame.phys(0);
    let copied = device.map_single(one_frame, ToDevice).unwrap();
    assert_ne!(device.translate(copied.bus_addr()), in_place);
    assert_eq!(device.figures().bounced_bytes, PAGE);
    drop((copied, device));
    rig.finish();
}

#[test]
fn nothing_is_mapped_where_the_unit_reserves_addresses() {
    // All that the device reaches but a little.
    let reserved = |addresses, requester| Reserved {
        requester,
        addresses,
        kind: ReservedKind::Platform,
    };
    let rig = Rig::boot(behind(VirtioConfig {
        reserved: vec![
            reserved(0..=0x00ff_ffff, Some(EDU.id)),
            reserved(0x0100_4000..=0xffff_ffff, Some(EDU.id)),
        ],
        ..VirtioConfig::default()
    }));
    let device = rig.attach(EDU);
    let mappings: Vec<_> = (0..4)
        .map(|_| {
            device
                .map_single(buffer_of(rig.kernel, PAGE, 1), ToDevice)
                .unwrap()
        })
        .collect();
    let mut pages: Vec<u64> = mappings.iter().map(|one| one.bus_addr().as_u64()).collect();
    pages.sort();
    assert_eq!(pages, [0x100_0000, 0x100_1000, 0x100_2000, 0x100_3000]);
    let rejected = device
        .map_single(buffer_of(rig.kernel, PAGE, 1), ToDevice)
        .unwrap_err();
    assert!(
        matches!(
            rejected.error.failure,
            MapFailure::Domain(DomainError::Iova(_))
        ),
        "{rejected:?}"
    );
    drop((rejected, mappings, device));
    rig.finish();
}

#[test]
fn a_trusted_device_is_let_through_where_the_unit_can() {
    for (features, leaves) in [
        (VirtioConfig::default().features, 1),
        (
            VirtioConfig::default().features.with_bypass_config(false),
            0,
        ),
    ] {
        // As much memory as the device has address lines for.
        let unit = VirtioConfig {
            features,
            ..VirtioConfig::default()
        };
        let mut rig = Rig::boot(behind(unit).with_ram(64 << 20));
        let device = rig.attach_trusted(EDU, Protection::Identity);
        let mut edu = rig.edu_on(device);
        let target = buffer_of(rig.kernel, PAGE, 0xee);
        let target = edu.device().map_single(target, FromDevice).unwrap();
        assert_eq!(target.bus_addr().as_u64(), target.phys().start().as_u64());
        edu.store(&target, 0, PAGE).unwrap();
        let all = rig.machine.audit().leaves;
        let whole = all.iter().filter(|leaf| leaf.len_bytes == u64::MAX);
        assert_eq!(whole.count(), leaves);
        drop(target);
        edu.stop().detach().unwrap();
        rig.finish();
    }
}

#[test]
fn devices_that_nobody_attached_reach_nothing_until_the_units_are_off() {
    for at_boot in [Unattached::Passes, Unattached::Blocked] {
        let rig = Rig::boot(behind(VirtioConfig {
            at_boot,
            ..VirtioConfig::default()
        }));
        let unit = unit(&rig).clone();
        let passes = || unit.translate(EDU.id, PAGE, BusAccess::Read).is_ok();
        assert!(!passes());
        let fault = first_fault(rig.system(), EDU).expect("it was refused");
        assert_eq!((fault.reason.code, fault.address), (1, BusAddr::new(PAGE)));
        let device = rig.attach(EDU);
        drop(device);
        assert!(!passes());
        // SAFETY: the models obey their bus-master bit.
        unsafe { rig.system().shutdown() }.unwrap();
        assert_eq!(
            passes(),
            at_boot == Unattached::Passes,
            "it is as it was found"
        );
        rig.abandon();
    }
}

/// Boots a machine whose unit cannot be used; it is told why, and nothing is lost.
fn refuse(config: VirtioConfig) -> UnitStartError {
    let machine = Machine::boot(behind(config)).unwrap();
    let kernel = Hosted::boot(machine.clone()).unwrap();
    let booted = Rig::boot_on(machine.clone(), kernel, kernel, BootOptions::default());
    let error = match booted {
        Err(BootError::Start(error)) => match *error {
            StartError::Prepare(error) => error,
            other => panic!("{other}"),
        },
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("it was used"),
    };
    assert_eq!(machine.findings(), []);
    machine.shutdown();
    let report = kernel.shutdown();
    assert!(report.is_clean(), "{report:?}");
    error
}

#[test]
fn units_that_lack_what_is_needed_are_refused() {
    let defaults = VirtioConfig::default;
    let features = defaults().features;
    let with = |features| VirtioConfig {
        features,
        ..defaults()
    };
    for (config, part) in [
        (with(features.with_version_1(false)), "VERSION_1"),
        (with(features.with_map_unmap(false)), "MAP_UNMAP"),
        (
            VirtioConfig {
                page_size_mask: 1 << 21,
                ..defaults()
            },
            "64 KiB",
        ),
        (
            VirtioConfig {
                queue_size_max: 2,
                ..defaults()
            },
            "queues",
        ),
        (
            VirtioConfig {
                probe_size: 1 << 17,
                ..defaults()
            },
            "PROBE",
        ),
        (
            VirtioConfig {
                domain_range: 5..=5,
                ..defaults()
            },
            "domains",
        ),
    ] {
        let error = refuse(config);
        match error {
            UnitStartError::Missing {
                kind,
                unit,
                feature,
            } => {
                assert_eq!((kind, unit), ("virtio-iommu", UNIT));
                assert!(feature.contains(part), "{feature}");
            }
            other => panic!("{other}"),
        }
    }
}

#[test]
fn a_table_that_names_another_place_is_an_error() {
    use firmware::{IommuDescription, UnitDescription, UnitKind, UnitPlace};

    for (phys, place) in [(0xfe80_0000, true), (0xfed9_0000, false)] {
        let rig = Rig::boot_without_iommu(small());
        let description = IommuDescription {
            units: vec![UnitDescription {
                kind: UnitKind::Virtio,
                place: UnitPlace::Registers {
                    phys,
                    len_bytes: 0x1000,
                },
                segment: 0,
                walks: None,
            }],
            ..IommuDescription::default()
        };
        let mut tree = dmamap::resource::ResourceTree::of(rig.kernel.machine());
        // SAFETY: nothing is there, or registers of a unit that are only read.
        let error = unsafe {
            rig.system().start_units(
                &description,
                rig.computer.topology(),
                &mut tree,
                BootOptions::default().units,
            )
        }
        .unwrap_err();
        let expected = StartError::Prepare(UnitStartError::NotThere {
            kind: "virtio-iommu",
            unit: PhysAddr::new(phys),
        });
        assert_eq!(error, expected);
        if place {
            rig.finish();
        } else {
            // VT-d's registers are not to be read so.
            rig.abandon();
        }
    }
}

#[test]
fn a_function_that_was_started_as_a_unit_is_its_drivers_alone() {
    use dmamap::pci::{ConfigError, FunctionResetError, ResetPatience};
    use firmware::{IommuDescription, UnitDescription, UnitKind, UnitPlace};

    let rig = Rig::boot_without_iommu(small());
    let function = rig.function(EDU);
    assert_eq!(function.write_config(0xf00, 0u32), Ok(()));
    let description = IommuDescription {
        units: vec![UnitDescription {
            kind: UnitKind::Virtio,
            place: UnitPlace::Function {
                segment: 0,
                requester: EDU.id,
            },
            segment: 0,
            walks: None,
        }],
        ..IommuDescription::default()
    };
    let mut tree = dmamap::resource::ResourceTree::of(rig.kernel.machine());
    let (topology, settings) = (rig.computer.topology(), BootOptions::default().units);
    // SAFETY: it is none, which its registers are read for.
    let started = unsafe {
        let system = rig.system();
        system.start_units(&description, topology, &mut tree, settings)
    };
    assert!(started.is_err());
    // Firmware says it is one: nobody but who starts it again touches it.
    let address = function.address();
    let refused = Err(ConfigError::Unit { address });
    assert_eq!(function.write_config(0xf00, 0u32), refused);
    assert_eq!(function.modify_config(0xf00, |bits: u32| bits), refused);
    assert_eq!(
        function.reset(ResetPatience::default()),
        Err(FunctionResetError::Unit(address))
    );
    drop(function);
    rig.finish();
}

#[test]
fn a_boot_that_fails_anywhere_gives_everything_back_and_can_be_tried_again() {
    let machine: Arc<Machine> = Machine::boot(behind(VirtioConfig::default())).unwrap();
    let kernel = Hosted::boot(machine.clone()).unwrap();
    let injector = FaultInjector::new(kernel);
    let mut failed = Vec::new();
    let requests = injector.fail_each_in_turn(|nth| {
        match Rig::boot_on(machine.clone(), kernel, injector, BootOptions::default()) {
            Err(_) => failed.push(injector.last_injected().unwrap()),
            // SAFETY: no driver gave a device anything to do.
            Ok(rig) => unsafe { rig.system().shutdown() }.unwrap(),
        }
        let report = kernel.report();
        let lent = (
            report.frames.in_use,
            report.register_windows,
            report.interrupts,
        );
        assert_eq!(lent, (0, 0, 0), "request {nth} failed");
        assert_eq!(machine.findings(), [], "request {nth} failed");
    });
    assert_eq!(failed.len() as u64, requests);
    for resource in [Resource::Frames, Resource::RegisterWindow] {
        assert!(failed.contains(&resource), "{failed:?}");
    }
    let mut rig = Rig::boot_on(machine, kernel, injector, BootOptions::default()).unwrap();
    let edu = rig.edu();
    drop(edu);
    rig.finish();
}

#[test]
fn attaching_and_mapping_fail_cleanly() {
    let machine: Arc<Machine> = Machine::boot(behind(VirtioConfig::default())).unwrap();
    let kernel = Hosted::boot(machine.clone()).unwrap();
    let injector = FaultInjector::new(kernel);
    let rig = Rig::boot_on(machine, kernel, injector, BootOptions::default()).unwrap();
    let function = rig.function(EDU);
    let lent = rig.frames_in_use();
    let requests = injector.fail_each_in_turn(|nth| {
        if let Ok(device) = rig.system().attach(&function, Protection::Strict) {
            if let Ok(buffer) = DmaBuffer::allocate(injector, 3 * PAGE) {
                drop(device.map_single(buffer, ToDevice));
            }
            drop(device);
        }
        assert_eq!(rig.frames_in_use(), lent, "request {nth} failed");
        rig.assert_no_findings();
    });
    assert!(requests >= 5, "{requests}");
    drop(function);
    rig.finish();
}
