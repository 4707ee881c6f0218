//! Every kind of RISC-V IOMMU: what is mapped is reached, what is unmapped is refused, and the refusal is told exactly.

use dmamap::buffer::{DmaBuffer, ScatteredBuffer};
use dmamap::iommu::fault::Access;
use dmamap::map::{Bidirectional, FromDevice, ToDevice};
use dmamap::system::{Protection, Settings, Stage};
use drivers::edu::Edu;
use hosted::Hosted;
use hw::riscv::directory::ContextFormat;
use hw::riscv::regs::InterruptGeneration;
use journeys::boot::BootOptions;
use machine::device::nvme::{Medium, NvmeConfig};
use machine::iommu::riscv::{AtReset, Extension, RiscvConfig};
use machine::{Machine, MachineConfig};
use rig::riscv::{TEMPERS, UNIT, by, page_faults, unit, with};
use rig::{EDU, PAGE, Rig, buffer_of, first_fault, try_read, try_write};

/// Runs the whole life of a device on a machine with such a unit, in every temper.
fn check(unit: RiscvConfig, stage: Stage) {
    check_with(unit, stage, by(stage));
}

fn check_with(unit: RiscvConfig, stage: Stage, options: BootOptions) {
    let accesses = [Access::Write, Access::Read].into_iter().cycle();
    for (temper, access) in TEMPERS.into_iter().zip(accesses) {
        let config = with(unit.clone()).with_temper(temper);
        let mut rig = Rig::boot_with(config, options);
        live(&mut rig, stage, access);
        rig.finish_after_faults();
    }
}

/// The life of a device that at last goes where it must not, by `access`.
fn live(rig: &mut Rig, stage: Stage, access: Access) {
    let mut edu = rig.edu();
    for pages in [1, 2, 5, 16] {
        round_trip(&mut edu, rig.kernel, pages);
    }
    large_and_scattered(&edu, rig.kernel);
    assert_eq!(rig.system().faults().total, 0);
    rig.assert_no_findings();

    let buffer = buffer_of(rig.kernel, PAGE, 0x5a);
    let mapping = edu.device().map_single(buffer, Bidirectional).unwrap();
    edu.fetch(&mapping, 0, 64).unwrap();
    edu.store(&mapping, 0, 64).unwrap();
    let bus = mapping.bus_addr();
    let buffer = mapping.unmap().unwrap();
    let [write, read] = page_faults(stage);
    let cause = match access {
        Access::Write => {
            try_write(&mut edu, bus, 64);
            write
        }
        Access::Read => {
            try_read(&mut edu, bus, 64);
            read
        }
        Access::Unknown => unreachable!("a device reads or writes"),
    };
    let fault = first_fault(rig.system(), EDU).expect("it was refused");
    assert_eq!(
        (fault.unit, fault.address, fault.access),
        (UNIT, bus, access)
    );
    assert_eq!(
        (fault.reason.code, fault.reason.text),
        (cause.code(), cause.text())
    );
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

/// Memory long enough for a large leaf, and many pieces.
fn large_and_scattered(edu: &Edu<Hosted>, kernel: Hosted) {
    let device = edu.device();
    let large = DmaBuffer::allocate(kernel, 3 << 20).unwrap();
    let large = device.map_single(large, FromDevice).unwrap();
    let after = large.range().last().checked_add(1).unwrap();
    assert_eq!(
        device.translate(after),
        None,
        "more is mapped than was asked for"
    );
    let (bus, phys) = (large.bus_addr(), large.phys().start());
    assert_eq!(device.translate(bus), Some(phys));
    drop(large.unmap().unwrap());
    let scattered = ScatteredBuffer::allocate(kernel, 40 * PAGE).unwrap();
    let list = device.map_sg(scattered, FromDevice).unwrap();
    drop(list.unmap().unwrap());
    device.reclaim().unwrap();
}

#[test]
fn an_ordinary_unit_by_either_stage() {
    check(RiscvConfig::default(), Stage::First);
    check(RiscvConfig::default(), Stage::Second);
    let ordinary = RiscvConfig::default();
    check_with(ordinary, Stage::First, BootOptions::default());
}

#[test]
fn a_unit_with_one_stage_uses_it() {
    let first = RiscvConfig {
        second_stage_levels: 0,
        ..RiscvConfig::default()
    };
    check_with(first, Stage::First, BootOptions::default());
    let second = RiscvConfig {
        first_stage_levels: 0,
        ..RiscvConfig::default()
    };
    check_with(second, Stage::Second, BootOptions::default());
}

#[test]
fn contexts_and_directories_of_every_form() {
    for (context_format, depths) in [
        (
            ContextFormat::Base,
            vec![vec![2], vec![3], vec![2, 3], vec![1, 2, 3]],
        ),
        (ContextFormat::Extended, vec![vec![3], vec![2], vec![1]]),
    ] {
        for directory_levels in depths {
            let unit = RiscvConfig {
                context_format,
                directory_levels,
                ..RiscvConfig::default()
            };
            check(unit.clone(), Stage::First);
            check(unit, Stage::Second);
        }
    }
}

#[test]
fn the_directory_is_as_shallow_as_reaches_every_device() {
    for (context_format, directory_levels, mode) in [
        (ContextFormat::Base, vec![1, 2, 3], 3),
        (ContextFormat::Base, vec![1, 3], 4),
        (ContextFormat::Extended, vec![1, 2, 3], 4),
        (ContextFormat::Extended, vec![1, 2], 3),
    ] {
        let config = RiscvConfig {
            context_format,
            directory_levels,
            ..RiscvConfig::default()
        };
        let rig = Rig::boot(with(config));
        let ddtp = machine::iommu::Unit::read_register(
            &**unit(&rig),
            hw::riscv::regs::DDTP,
            board::hardware::Width::Qword,
        );
        assert_eq!(ddtp & 0x1f, mode);
        rig.finish();
    }
}

#[test]
fn units_with_extensions() {
    for (non_leaf_invalidation, range_invalidation) in [
        (Extension::Present, Extension::Absent),
        (Extension::Absent, Extension::Present),
        (Extension::Present, Extension::Present),
    ] {
        let unit = RiscvConfig {
            non_leaf_invalidation,
            range_invalidation,
            ..RiscvConfig::default()
        };
        check(unit.clone(), Stage::First);
        check(unit, Stage::Second);
    }
}

#[test]
fn ranges_are_named_where_the_unit_knows_them() {
    let pages_invalidated = |range_invalidation| {
        let config = RiscvConfig {
            range_invalidation,
            ..RiscvConfig::default()
        };
        let rig = Rig::boot(with(config));
        let device = rig.attach(EDU);
        let buffer = DmaBuffer::allocate(rig.kernel, 64 * PAGE).unwrap();
        let mapping = device.map_single(buffer, ToDevice).unwrap();
        let before = unit(&rig).statistics();
        drop(mapping.unmap().unwrap());
        let after = unit(&rig).statistics();
        drop(device);
        rig.finish();
        (
            after.page_invalidations - before.page_invalidations,
            after.space_invalidations - before.space_invalidations,
        )
    };
    assert_eq!(pages_invalidated(Extension::Absent), (0, 1));
    let (pages, spaces) = pages_invalidated(Extension::Present);
    assert!((1..=8).contains(&pages) && spaces == 0, "{pages}, {spaces}");
}

#[test]
fn tables_of_three_four_and_five_levels() {
    for levels in [3, 4, 5] {
        for stage in [Stage::First, Stage::Second] {
            let unit = RiscvConfig {
                first_stage_levels: 5,
                second_stage_levels: 5,
                ..RiscvConfig::default()
            };
            let units = Settings {
                table_levels: Some(levels),
                stage: Some(stage),
                ..Settings::default()
            };
            let options = BootOptions {
                units,
                ..BootOptions::default()
            };
            check_with(unit, stage, options);
        }
    }
}

#[test]
fn a_unit_that_lets_everything_pass_at_first() {
    let unit = RiscvConfig {
        at_reset: AtReset::Bare,
        ..RiscvConfig::default()
    };
    check(unit, Stage::First);
}

#[test]
fn a_unit_with_one_vector_or_wires_only() {
    for (interrupts, vectors_log2) in [(InterruptGeneration::Msi, 0), (InterruptGeneration::Wsi, 4)]
    {
        let unit = RiscvConfig {
            interrupts,
            vectors_log2,
            ..RiscvConfig::default()
        };
        check(unit, Stage::First);
    }
}

#[test]
fn identity_reaches_all_memory_at_its_own_address_and_nothing_afterwards() {
    for stage in [Stage::First, Stage::Second] {
        for temper in TEMPERS {
            let config = with(RiscvConfig::default()).with_ram(64 << 20);
            let mut rig = Rig::boot_with(config.with_temper(temper), by(stage));
            let device = rig.attach_trusted(EDU, Protection::Identity);
            let mut edu = rig.edu_on(device);
            round_trip(&mut edu, rig.kernel, 3);
            let buffer = buffer_of(rig.kernel, PAGE, 0x77);
            let mapping = edu.device().map_single(buffer, ToDevice).unwrap();
            let bus = mapping.bus_addr();
            assert_eq!(bus.as_u64(), mapping.phys().start().as_u64());
            let buffer = mapping.unmap().unwrap();
            // It is trusted: what is unmapped it still reaches.
            try_read(&mut edu, bus, PAGE);
            edu.stop().detach().unwrap();
            assert_eq!(rig.machine.audit().leaves, []);
            assert_eq!(rig.system().faults().total, 0);

            let mut edu = rig.edu();
            try_write(&mut edu, bus, PAGE);
            let fault = first_fault(rig.system(), EDU).expect("it was refused");
            assert_eq!(fault.reason.code, page_faults(stage)[0].code());
            assert_eq!(buffer.as_slice(), [0x77; PAGE as usize]);
            drop((buffer, edu));
            rig.finish_after_faults();
        }
    }
}

#[test]
fn what_a_device_may_read_it_cannot_write() {
    for stage in [Stage::First, Stage::Second] {
        for temper in TEMPERS {
            let config = with(RiscvConfig::default()).with_temper(temper);
            let mut rig = Rig::boot_with(config, by(stage));
            let mut edu = rig.edu();
            let mapping = edu
                .device()
                .map_single(buffer_of(rig.kernel, PAGE, 1), ToDevice)
                .unwrap();
            edu.fetch(&mapping, 0, 64).unwrap();
            assert_eq!(rig.system().faults().total, 0);
            try_write(&mut edu, mapping.bus_addr(), 64);
            let fault = first_fault(rig.system(), EDU).expect("it was refused");
            assert_eq!(fault.reason.code, page_faults(stage)[0].code());
            drop((mapping, edu));
            rig.finish_after_faults();
        }
    }
}

#[test]
fn devices_of_different_groups_share_no_domain() {
    for stage in [Stage::First, Stage::Second] {
        let rig = Rig::boot_with(with(RiscvConfig::default()), by(stage));
        let functions = rig.computer.topology().functions();
        // What is below a port of this machine is in one group with it.
        let attached: Vec<_> = functions
            .filter(|function| function.parent().is_none())
            .map(|function| rig.system().attach(function, Protection::Strict).unwrap())
            .collect();
        assert!(attached.len() > 4, "{attached:?}");
        for device in &attached {
            let buffer = buffer_of(rig.kernel, PAGE, 1);
            let mapping = device.map_single(buffer, ToDevice).unwrap();
            for other in &attached {
                let reached = other.translate(mapping.bus_addr()).is_some();
                assert_eq!(reached, other.requester() == device.requester());
            }
        }
        drop(attached);
        rig.finish();
    }
}

#[test]
fn a_device_beyond_the_directory_cannot_be_attached() {
    // One level of extended contexts reaches 64 device ids: functions of bus 0 up to 07.7.
    let config = RiscvConfig {
        directory_levels: vec![1],
        ..RiscvConfig::default()
    };
    let file = tempfile::tempfile().unwrap();
    file.set_len(PAGE).unwrap();
    let disk = NvmeConfig::new(file, PAGE, Medium::ReadOnly);
    let rig = Rig::boot(with(config).with_disk(disk));
    let disk = rig.computer.disks().next().expect("it is there").clone();
    let refused = rig.system().attach(&disk, Protection::Strict);
    let error = refused.expect_err("no place for it").to_string();
    assert!(error.contains("device ids that wide"), "{error}");
    drop(rig.attach(EDU));
    drop(disk);
    rig.finish();
}

#[test]
fn the_unit_can_be_stopped_and_started_again() {
    for at_reset in [AtReset::Off, AtReset::Bare] {
        for temper in TEMPERS {
            let unit = RiscvConfig {
                at_reset,
                ..RiscvConfig::default()
            };
            let config: MachineConfig = with(unit).with_temper(temper);
            let machine = Machine::boot(config).unwrap();
            let kernel = Hosted::boot(machine.clone()).unwrap();
            for _ in 0..3 {
                let options = BootOptions::default();
                let mut rig = Rig::boot_on(machine.clone(), kernel, kernel, options).unwrap();
                let mut edu = rig.edu();
                round_trip(&mut edu, kernel, 2);
                edu.stop().detach().unwrap();
                // SAFETY: no device has anything to do.
                unsafe { rig.system().shutdown() }.unwrap();
                assert_eq!(machine.findings(), []);
                drop(rig);
                assert_eq!(kernel.frames().in_use, 0);
            }
            machine.shutdown();
            assert!(kernel.shutdown().is_clean());
        }
    }
}
