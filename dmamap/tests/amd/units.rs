//! Every kind of AMD-Vi unit: what is mapped is reached, what is unmapped is refused, and the refusal is told exactly.

use dmamap::addr::{BusAddr, DmaMask};
use dmamap::buffer::{DmaBuffer, ScatteredBuffer};
use dmamap::device::Device;
use dmamap::iommu::fault::Access;
use dmamap::map::{Bidirectional, FromDevice, ToDevice};
use dmamap::system::{AttachError, Protection, Settings};
use drivers::edu::Edu;
use hosted::Hosted;
use hw::amd::event::EventCode;
use hw::amd::regs::HostLevels;
use journeys::boot::BootOptions;
use machine::bus::Access as BusAccess;
use machine::cache::Snooping;
use machine::iommu::amd::{AmdConfig, EventInterrupt, Support};
use machine::iommu::translator::{Destination, Translator};
use machine::temper::Temper;
use machine::{Iommu, MachineConfig};
use rig::{
    self, AMD_UNIT, EDU, HEARTBEAT, PAGE, Rig, buffer_of, first_fault, small, try_read, try_write,
};

const TEMPERS: [Temper; 4] = [
    Temper::Keep,
    Temper::Forget,
    Temper::Random(1),
    Temper::Random(2),
];

/// Runs the whole life of a device on a machine with such a unit, in every temper, with walks that snoop and
/// walks that do not.
fn check(unit: AmdConfig) {
    check_with(unit, BootOptions::default());
}

fn check_with(unit: AmdConfig, options: BootOptions) {
    for temper in TEMPERS {
        for walks in [Snooping::On, Snooping::Off] {
            for access in [Access::Write, Access::Read] {
                let iommu = Iommu::Amd {
                    unit: unit.clone(),
                    walks,
                };
                let config = small().with_iommu(iommu).with_temper(temper);
                let mut rig = Rig::boot_with(config, options);
                live(&mut rig, access);
                let pulse = rig.machine.heartbeat();
                assert_eq!(pulse.missed, 0, "{temper:?} {walks:?}");
                rig.finish_after_faults();
            }
        }
    }
}

/// The life of a device that at last goes where it must not, by `access`.
fn live(rig: &mut Rig, access: Access) {
    let mut edu = rig.edu();
    for pages in [1, 2, 5, 40] {
        round_trip(&mut edu, rig.kernel, pages);
    }
    large_leaves(edu.device(), rig.kernel);
    assert_eq!(rig.system().faults().total, 0);
    rig.assert_no_findings();

    let buffer = buffer_of(rig.kernel, PAGE, 0x5a);
    let mapping = edu.device().map_single(buffer, Bidirectional).unwrap();
    edu.fetch(&mapping, 0, 64).unwrap();
    edu.store(&mapping, 0, 64).unwrap();
    let bus = mapping.bus_addr();
    let buffer = mapping.unmap().unwrap();
    match access {
        Access::Write => try_write(&mut edu, bus, 64),
        Access::Read | Access::Unknown => try_read(&mut edu, bus, 64),
    }
    assert_first_fault(rig, bus, access, "I/O page fault: page not present");
    assert!(buffer.as_slice().iter().all(|&byte| byte == 0x5a));

    // What was refused there is reached as soon as it is mapped again.
    let mapping = edu.device().map_single(buffer, Bidirectional).unwrap();
    let faults = rig.system().faults().total;
    edu.fetch(&mapping, 0, 64).unwrap();
    assert_eq!(rig.system().faults().total, faults);
    drop(mapping);
    edu.stop().detach().unwrap();
    assert_eq!(rig.machine.audit().leaves, []);
}

fn assert_first_fault(rig: &Rig, bus: BusAddr, access: Access, text: &str) {
    let fault = first_fault(rig.system(), EDU).expect("the device was refused");
    assert_eq!(
        (fault.unit, fault.address),
        (AMD_UNIT, bus.align_down(12)),
        "{fault}"
    );
    assert_eq!(fault.access, access, "{fault}");
    assert_eq!(
        fault.reason.code,
        u16::from(EventCode::IoPageFault.code()),
        "{fault}"
    );
    assert_eq!(fault.reason.text, text, "{fault}");
}

/// Through memory to the device and back to other memory.
fn round_trip(edu: &mut Edu<Hosted>, kernel: Hosted, pages: u64) {
    let len_bytes = pages * PAGE;
    let mut source = DmaBuffer::allocate(kernel, len_bytes).unwrap();
    for (n, byte) in source.as_mut_slice().iter_mut().enumerate() {
        *byte = (n as u64 / PAGE * 7 + n as u64 % 251) as u8;
    }
    let expected = source.as_slice().to_vec();
    let source = edu.device().map_single(source, ToDevice).unwrap();
    let target = edu
        .device()
        .map_single(buffer_of(kernel, len_bytes, 0xee), FromDevice)
        .unwrap();
    for page in 0..pages {
        edu.fetch(&source, page * PAGE, PAGE).unwrap();
        edu.store(&target, page * PAGE, PAGE).unwrap();
    }
    assert!(target.unmap().unwrap().as_slice() == expected);
    assert!(source.unmap().unwrap().as_slice() == expected);
}

/// Memory long enough for large leaves and for runs, mapped and unmapped between small mappings.
fn large_leaves(device: &Device<Hosted>, kernel: Hosted) {
    let small = device
        .map_single(DmaBuffer::allocate(kernel, PAGE).unwrap(), ToDevice)
        .unwrap();
    for len_bytes in [64 << 10, 3 << 20] {
        let large = DmaBuffer::allocate(kernel, len_bytes).unwrap();
        let large = device.map_single(large, FromDevice).unwrap();
        let (bus, phys) = (large.range(), large.phys());
        for offset in [0, PAGE - 1, len_bytes / 2, len_bytes - 1] {
            let at = bus.start().checked_add(offset).unwrap();
            assert_eq!(device.translate(at), phys.start().checked_add(offset));
        }
        let after = bus.last().checked_add(1).unwrap();
        assert_eq!(
            device.translate(after),
            None,
            "more is mapped than was asked for"
        );
        drop(large.unmap().unwrap());
    }
    let scattered = ScatteredBuffer::allocate(kernel, 40 * PAGE).unwrap();
    let list = device.map_sg(scattered, FromDevice).unwrap();
    drop(list.unmap().unwrap());
    drop(small.unmap().unwrap());
}

#[test]
fn an_ordinary_unit() {
    check(AmdConfig::default());
}

#[test]
fn a_unit_told_of_its_interrupt_by_destination_and_vector() {
    check(AmdConfig {
        event_interrupt: EventInterrupt::IntCapXt,
        ..AmdConfig::default()
    });
}

#[test]
fn a_unit_without_an_interrupt_is_polled() {
    check(AmdConfig {
        event_interrupt: EventInterrupt::ConfigurationSpaceOnly,
        ..AmdConfig::default()
    });
}

#[test]
fn a_unit_that_cannot_forget_all_at_once() {
    let unit = AmdConfig {
        invalidate_all: Support::No,
        ..AmdConfig::default()
    };
    let config = small().with_iommu(rig::amd(unit));
    let mut rig = Rig::boot(config);
    live(&mut rig, Access::Write);
    let statistics = rig.amd_unit().statistics();
    assert!(statistics.entry_invalidations >= 65536, "{statistics:?}");
    assert!(statistics.domain_invalidations >= 65536, "{statistics:?}");
    rig.finish_after_faults();
}

#[test]
fn tables_of_three_to_six_levels() {
    for (host_levels, deepest) in [
        (HostLevels::Four, 4),
        (HostLevels::Five, 5),
        (HostLevels::Six, 6),
    ] {
        let unit = AmdConfig {
            host_levels,
            ..AmdConfig::default()
        };
        for levels in 3..=7 {
            let options = BootOptions {
                units: Settings {
                    table_levels: Some(levels),
                    ..Settings::default()
                },
                ..BootOptions::default()
            };
            if levels <= deepest {
                let config = small().with_iommu(rig::amd(unit.clone()));
                let mut rig = Rig::boot_with(config, options);
                live(&mut rig, Access::Read);
                rig.finish_after_faults();
            }
        }
    }
}

#[test]
fn a_mapping_for_reading_is_not_written() {
    for interrupt in [
        EventInterrupt::MsiRegisters,
        EventInterrupt::ConfigurationSpaceOnly,
    ] {
        let unit = AmdConfig {
            event_interrupt: interrupt,
            ..AmdConfig::default()
        };
        let mut rig = Rig::boot(small().with_iommu(rig::amd(unit)));
        let mut edu = rig.edu();
        let buffer = buffer_of(rig.kernel, PAGE, 0x5a);
        let mapping = edu.device().map_single(buffer, ToDevice).unwrap();
        let bus = mapping.bus_addr();
        try_write(&mut edu, bus, 64);
        assert_first_fault(
            &rig,
            bus,
            Access::Write,
            "I/O page fault: access not permitted",
        );
        assert!(
            mapping
                .unmap()
                .unwrap()
                .as_slice()
                .iter()
                .all(|&byte| byte == 0x5a)
        );
        edu.stop().detach().unwrap();
        rig.finish_after_faults();
    }
}

#[test]
fn identity_passes_and_ends_with_the_attachment() {
    let rig = Rig::boot(small().with_iommu(rig::amd(AmdConfig::default())));
    let device = rig.attach_trusted(HEARTBEAT, Protection::Identity);
    device.set_mask(DmaMask::ALL).unwrap();
    let mapping = device
        .map_single(buffer_of(rig.kernel, PAGE, 3), Bidirectional)
        .unwrap();
    let bus = mapping.bus_addr().as_u64();
    assert_eq!(bus, mapping.phys().start().as_u64());
    let unit = rig.amd_unit();
    let reached = |bus| {
        let request = unit.translate(HEARTBEAT.id, bus, BusAccess::Write);
        request.map(|request| request.destination())
    };
    assert_eq!(reached(bus), Ok(Destination::Physical(bus)));
    drop(mapping.unmap().unwrap());
    device.detach().unwrap();
    assert!(reached(bus).is_err());
    rig.finish_after_faults();
}

#[test]
fn nothing_is_mapped_where_no_memory_can_be() {
    let rig = Rig::boot(small().with_iommu(rig::amd(AmdConfig::default())));
    let device = rig.attach(EDU);
    device.set_mask(DmaMask::ALL).unwrap();
    let special = [(0xfee0_0000, 0x10_0000), (0xfd_0000_0000, 0x3_0000_0000)];
    for n in 0..64 {
        let mapping = device
            .map_single(buffer_of(rig.kernel, PAGE, n), ToDevice)
            .unwrap();
        let bus = mapping.bus_addr().as_u64();
        assert!(
            !special
                .iter()
                .any(|(start, len)| (*start..start + len).contains(&bus))
        );
    }
    drop(device);
    rig.finish();
}

#[test]
fn device_left_at_work_beats_on_through_starting_and_attaching() {
    for temper in TEMPERS {
        let config = small()
            .with_iommu(rig::amd(AmdConfig::default()))
            .with_temper(temper);
        let rig = Rig::boot(config);
        let before = rig.machine.heartbeat();
        let device = rig.attach(HEARTBEAT);
        let mapping = device
            .map_single(buffer_of(rig.kernel, PAGE, 1), ToDevice)
            .unwrap();
        drop(mapping.unmap().unwrap());
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
        while rig.machine.heartbeat().beats <= before.beats {
            assert!(std::time::Instant::now() < deadline);
        }
        device.detach().unwrap();
        assert_eq!(rig.machine.heartbeat().missed, 0);
        rig.finish();
    }
}

#[test]
fn tables_deeper_than_the_unit_walks_are_not_to_be_had() {
    let unit = AmdConfig {
        host_levels: HostLevels::Four,
        ..AmdConfig::default()
    };
    let options = BootOptions {
        units: Settings {
            table_levels: Some(5),
            ..Settings::default()
        },
        ..BootOptions::default()
    };
    let config: MachineConfig = small().with_iommu(rig::amd(unit));
    let machine = machine::Machine::boot(config).unwrap();
    let kernel = Hosted::boot(machine.clone()).unwrap();
    let error = Rig::boot_on(machine.clone(), kernel, kernel, options).err();
    let text = format!("{error:?}");
    assert!(
        text.contains(&format!(
            "{:?}",
            AttachError::NoSuchLevels {
                device: HEARTBEAT,
                levels: 5
            }
        )),
        "{text}"
    );
    machine.shutdown();
    kernel.shutdown();
}

#[test]
fn tables_that_are_given_back_are_forgotten_first() {
    let rig = Rig::boot(small().with_iommu(rig::amd(AmdConfig::default())));
    let device = rig.attach(EDU);
    let unit = rig.amd_unit();
    for round in 0..3 {
        let mapping = device
            .map_single(buffer_of(rig.kernel, PAGE, round), ToDevice)
            .unwrap();
        let bus = mapping.bus_addr().as_u64();
        // The unit remembers the way there.
        assert!(unit.translate(EDU.id, bus, BusAccess::Read).is_ok());
        drop(mapping.unmap().unwrap());
        let before = rig.frames_in_use();
        device.reclaim().unwrap();
        assert!(rig.frames_in_use() < before, "no table was given back");
    }
    device.detach().unwrap();
    rig.finish();
}
