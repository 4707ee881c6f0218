//! Every kind of unit: what is mapped is reached, what is unmapped is refused, and the refusal is told exactly.

use dmamap::addr::{BusAddr, DmaMask};
use dmamap::iommu::fault::Access;
use dmamap::map::{Bidirectional, FromDevice, ToDevice};
use dmamap::system::{AttachError, Protection, Settings};
use hosted::Hosted;
use hw::vtd::fault::FaultReason;
use hw::vtd::regs::{AddressWidths, LargePages};
use journeys::boot::BootOptions;
use machine::cache::Snooping;
use machine::iommu::vtd::{CachingMode, Support, VtdConfig, WriteBuffer};
use machine::temper::Temper;
use machine::{Iommu, MachineConfig};
use rig::life::{live, round_trip};
use rig::{EDU, HEARTBEAT, PAGE, Rig, assert_first_fault, buffer_of, small, try_read, try_write};

const TEMPERS: [Temper; 4] = [
    Temper::Keep,
    Temper::Forget,
    Temper::Random(1),
    Temper::Random(2),
];

/// Runs the whole life of a device on a machine with such units, in every temper, with walks that snoop and
/// walks that do not.
fn check(unit: VtdConfig) {
    check_with(unit, BootOptions::default());
}

fn check_with(unit: VtdConfig, options: BootOptions) {
    for temper in TEMPERS {
        for walks in [Snooping::On, Snooping::Off] {
            for access in [Access::Write, Access::Read] {
                let iommu = Iommu::Vtd {
                    unit: unit.clone(),
                    walks,
                };
                let config = small().with_iommu(iommu).with_temper(temper);
                let mut rig = Rig::boot_with(config, options);
                let reason = match access {
                    Access::Write => FaultReason::WriteNotPermitted,
                    Access::Read | Access::Unknown => FaultReason::ReadNotPermitted,
                };
                live(&mut rig, access, reason);
                let pulse = rig.machine.heartbeat();
                assert_eq!(pulse.missed, 0, "{temper:?} {walks:?}");
                rig.finish_after_faults();
            }
        }
    }
}

#[test]
fn an_ordinary_unit() {
    check(VtdConfig::default());
}

#[test]
fn a_unit_that_caches_that_there_is_nothing() {
    check(VtdConfig {
        caching_mode: CachingMode::NotPresentToo,
        ..VtdConfig::default()
    });
}

#[test]
fn a_unit_behind_a_write_buffer() {
    check(VtdConfig {
        write_buffer: WriteBuffer::NeedsFlush,
        ..VtdConfig::default()
    });
}

#[test]
fn a_unit_with_snoop_control() {
    check(VtdConfig {
        snoop_control: Support::Yes,
        ..VtdConfig::default()
    });
}

#[test]
fn a_unit_without_page_selective_invalidation() {
    check(VtdConfig {
        max_address_mask: None,
        ..VtdConfig::default()
    });
}

#[test]
fn a_unit_that_invalidates_few_pages_at_once() {
    for max_address_mask in [0, 1, 3] {
        check(VtdConfig {
            max_address_mask: Some(max_address_mask),
            ..VtdConfig::default()
        });
    }
}

#[test]
fn a_unit_that_knows_only_small_pages() {
    check(VtdConfig {
        large_pages: LargePages::new(),
        ..VtdConfig::default()
    });
}

#[test]
fn a_unit_with_one_fault_record() {
    check(VtdConfig {
        fault_records: 1,
        ..VtdConfig::default()
    });
}

#[test]
fn a_unit_with_everything_difficult() {
    check(VtdConfig {
        caching_mode: CachingMode::NotPresentToo,
        write_buffer: WriteBuffer::NeedsFlush,
        large_pages: LargePages::new().with_size_2m(true),
        domain_id_bits: 4,
        max_address_mask: Some(1),
        pass_through: Support::Yes,
        snoop_control: Support::Yes,
        ..VtdConfig::default()
    });
}

#[test]
fn tables_of_three_four_and_five_levels() {
    let widths = AddressWidths::new();
    let cases = [
        (3, widths.with_bits_39(true), 39),
        (4, widths.with_bits_48(true), 48),
        (5, widths.with_bits_57(true), 57),
    ];
    for (levels, address_widths, guest_address_bits) in cases {
        // The unit walks only these.
        check(VtdConfig {
            address_widths,
            guest_address_bits,
            ..VtdConfig::default()
        });
        // It walks others too, and these are asked for.
        let all = widths
            .with_bits_39(true)
            .with_bits_48(true)
            .with_bits_57(true);
        let unit = VtdConfig {
            address_widths: all,
            guest_address_bits: 57,
            ..VtdConfig::default()
        };
        let units = Settings {
            table_levels: Some(levels),
            ..Settings::default()
        };
        check_with(
            unit,
            BootOptions {
                units,
                ..BootOptions::default()
            },
        );
    }
}

#[test]
fn levels_that_no_unit_walks_are_an_error_at_start() {
    for levels in [0, 2, 5, 6, 8, 200, 255] {
        let machine = machine::Machine::boot(small()).unwrap();
        let kernel = Hosted::boot(machine.clone()).unwrap();
        let units = Settings {
            table_levels: Some(levels),
            ..Settings::default()
        };
        let options = BootOptions {
            units,
            ..BootOptions::default()
        };
        let refused = Rig::boot_on(machine.clone(), kernel, kernel, options);
        let error = refused
            .err()
            .expect("no unit walks such tables")
            .to_string();
        assert!(error.contains(&format!("{levels} levels")), "{error}");
        assert_eq!(machine.findings(), []);
        machine.shutdown();
        assert!(kernel.shutdown().is_clean());
    }
}

#[test]
fn addresses_beyond_what_the_unit_translates_are_never_used() {
    // It walks tables that tell apart more addresses than it takes.
    let unit = VtdConfig {
        address_widths: AddressWidths::new().with_bits_48(true),
        guest_address_bits: 39,
        ..VtdConfig::default()
    };
    let mut rig = Rig::boot(small().with_iommu(rig::vtd(unit)));
    let mut edu = rig.edu();
    edu.device().set_mask_and_coherent(DmaMask::ALL).unwrap();
    round_trip(&mut edu, rig.kernel, 3);
    let beyond = BusAddr::new(1 << 39);
    edu.stop().detach().unwrap();
    let device = rig.attach(HEARTBEAT);
    device.set_mask_and_coherent(DmaMask::ALL).unwrap();
    for _ in 0..50 {
        let mapping = device
            .map_single(buffer_of(rig.kernel, PAGE, 0), ToDevice)
            .unwrap();
        assert!(mapping.range().last() < beyond);
        std::mem::forget(mapping);
    }
    device.detach().unwrap();
    let _ = rig.finish_with_losses();
}

#[test]
fn few_domain_ids_are_enough_for_few_devices_and_come_back() {
    let unit = VtdConfig {
        domain_id_bits: 4,
        ..VtdConfig::default()
    };
    let mut rig = Rig::boot(small().with_iommu(rig::vtd(unit)));
    // More attachments than ids: each gives its id back.
    for _ in 0..40 {
        let mut edu = rig.edu();
        round_trip(&mut edu, rig.kernel, 1);
        edu.stop().detach().unwrap();
    }
    rig.finish();
}

#[test]
fn only_devices_of_one_group_share_a_domain() {
    let rig = Rig::boot(small());
    let functions: Vec<_> = rig.computer.topology().functions().collect();
    let group_of = |requester: u16| {
        let mut functions = functions.iter();
        let function = functions.find(|one| one.requester() == requester);
        rig.system().group_of(function.unwrap()).unwrap()
    };
    let attached: Vec<_> = functions
        .iter()
        .map(|function| rig.system().attach(function, Protection::Strict).unwrap())
        .collect();
    assert!(attached.len() > 5, "{attached:?}");
    for device in &attached {
        let buffer = buffer_of(rig.kernel, PAGE, 1);
        let mapping = device.map_single(buffer, ToDevice).unwrap();
        let group = group_of(device.requester().id);
        let ids: Vec<u16> = group
            .members()
            .iter()
            .map(|member| member.address.requester())
            .collect();
        for other in &attached {
            let reached = other.translate(mapping.bus_addr()).is_some();
            assert_eq!(reached, ids.contains(&other.requester().id), "{group}");
        }
        // One table, whoever of the group is asked for it.
        let leaves = rig.machine.audit().leaves;
        let [leaf] = &leaves[..] else {
            panic!("{leaves:?}")
        };
        assert!(ids.contains(&leaf.requester), "{group}");
    }
    // The port without a disk, and the one with the bridge and all behind it.
    let sizes = |id| group_of(id).members().len();
    assert_eq!([EDU.id, 1 << 3, 4 << 3].map(sizes), [1, 1, 3]);
    drop(attached);
    rig.finish();
}

#[test]
fn identity_reaches_all_memory_at_its_own_address() {
    for pass_through in [Support::Yes, Support::No] {
        for temper in TEMPERS {
            for walks in [Snooping::On, Snooping::Off] {
                let unit = VtdConfig {
                    pass_through,
                    ..VtdConfig::default()
                };
                let iommu = Iommu::Vtd { unit, walks };
                // The device reaches 256 MiB: all memory this machine has.
                let config = MachineConfig::default()
                    .with_ram(64 << 20)
                    .with_iommu(iommu);
                let mut rig = Rig::boot(config.with_temper(temper));
                identity(&mut rig);
                rig.finish();
            }
        }
    }
}

fn identity(rig: &mut Rig) {
    let function = rig.function(EDU);
    let refused = rig.system().attach(&function, Protection::Identity);
    assert!(
        matches!(refused, Err(AttachError::NotRevocable { device: EDU })),
        "{refused:?}"
    );
    drop(function);
    let device = rig.attach_trusted(EDU, Protection::Identity);
    let mut edu = rig.edu_on(device);
    for pages in [1, 7] {
        round_trip(&mut edu, rig.kernel, pages);
    }
    let mapping = edu
        .device()
        .map_single(buffer_of(rig.kernel, PAGE, 9), Bidirectional)
        .unwrap();
    assert_eq!(mapping.bus_addr().as_u64(), mapping.phys().start().as_u64());
    edu.fetch(&mapping, 0, PAGE).unwrap();
    let bus = mapping.bus_addr();
    let buffer = mapping.unmap().unwrap();
    // It is trusted: what is unmapped it still reaches.
    try_read(&mut edu, bus, PAGE);
    drop(buffer);
    edu.stop().detach().unwrap();
    assert_eq!(rig.machine.audit().leaves, []);
}

#[test]
fn after_identity_nothing_is_reached_any_more() {
    for pass_through in [Support::Yes, Support::No] {
        let unit = VtdConfig {
            pass_through,
            ..VtdConfig::default()
        };
        let config = MachineConfig::default()
            .with_ram(64 << 20)
            .with_iommu(rig::vtd(unit));
        let mut rig = Rig::boot(config);
        let buffer = buffer_of(rig.kernel, PAGE, 0x77);
        let device = rig.attach_trusted(EDU, Protection::Identity);
        let mut edu = rig.edu_on(device);
        let mapping = edu.device().map_single(buffer, ToDevice).unwrap();
        edu.fetch(&mapping, 0, PAGE).unwrap();
        let bus = mapping.bus_addr();
        let buffer = mapping.unmap().unwrap();
        edu.stop().detach().unwrap();
        let mut edu = rig.edu();
        try_write(&mut edu, bus, PAGE);
        let reason = FaultReason::WriteNotPermitted;
        assert_first_fault(rig.system(), EDU, bus, Access::Write, reason);
        assert_eq!(buffer.as_slice(), [0x77; PAGE as usize]);
        drop((buffer, edu));
        rig.finish_after_faults();
    }
}

#[test]
fn a_direction_is_what_the_device_may_do_and_no_more() {
    for temper in TEMPERS {
        let mut rig = Rig::boot(small().with_temper(temper));
        let mut edu = rig.edu();
        let mapping = edu
            .device()
            .map_single(buffer_of(rig.kernel, PAGE, 1), ToDevice)
            .unwrap();
        edu.fetch(&mapping, 0, 64).unwrap();
        assert_eq!(rig.system().faults().total, 0);
        try_write(&mut edu, mapping.bus_addr(), 64);
        let reason = FaultReason::WriteNotPermitted;
        assert_first_fault(rig.system(), EDU, mapping.bus_addr(), Access::Write, reason);
        drop((mapping, edu));
        rig.finish_after_faults();

        let mut rig = Rig::boot(small().with_temper(temper));
        let mut edu = rig.edu();
        let mapping = edu
            .device()
            .map_single(buffer_of(rig.kernel, PAGE, 1), FromDevice)
            .unwrap();
        edu.store(&mapping, 0, 64).unwrap();
        assert_eq!(rig.system().faults().total, 0);
        try_read(&mut edu, mapping.bus_addr(), 64);
        let reason = FaultReason::ReadNotPermitted;
        assert_first_fault(rig.system(), EDU, mapping.bus_addr(), Access::Read, reason);
        drop((mapping, edu));
        rig.finish_after_faults();
    }
}

#[test]
fn units_can_be_stopped_and_started_again() {
    let machine = machine::Machine::boot(small()).unwrap();
    let kernel = Hosted::boot(machine.clone()).unwrap();
    for _ in 0..3 {
        let mut rig =
            Rig::boot_on(machine.clone(), kernel, kernel, BootOptions::default()).unwrap();
        let mut edu = rig.edu();
        round_trip(&mut edu, kernel, 2);
        edu.stop().detach().unwrap();
        // SAFETY: no device has anything to do.
        unsafe { rig.system().shutdown() }.unwrap();
        assert_eq!(machine.findings(), []);
        drop(rig);
        assert_eq!(kernel.frames().in_use, 0);
    }
    assert_eq!(machine.heartbeat().missed, 0);
    machine.shutdown();
    assert!(kernel.shutdown().is_clean());
}
