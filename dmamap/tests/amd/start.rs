//! Starting, resetting and stopping: whatever firmware left, and whatever fails on the way.

use board::hardware::Width;
use dmamap::map::{FromDevice, ToDevice};
use dmamap::system::StartError;
use hosted::{FaultInjector, Hosted, Resource};
use hw::amd::regs::{self, Control, ExclusionBase, Status};
use journeys::boot::{BootError, BootOptions};
use machine::cache::Snooping;
use machine::iommu::Unit;
use machine::iommu::amd::{AmdConfig, AmdUnit, EventInterrupt, QueueFault};
use machine::temper::Temper;
use machine::{Iommu, Machine, MachineConfig};

use rig::{self, EDU, HEARTBEAT, PAGE, Rig, buffer_of, impatient, small};

fn config() -> MachineConfig {
    small().with_iommu(rig::amd(AmdConfig::default()))
}

fn read(unit: &AmdUnit, register: u64) -> u64 {
    unit.read_register(register, Width::Qword)
}

#[test]
fn a_boot_that_fails_anywhere_gives_everything_back_and_can_be_tried_again() {
    for walks in [Snooping::On, Snooping::Off] {
        let unit = AmdConfig::default();
        let machine = Machine::boot(small().with_iommu(Iommu::Amd { unit, walks })).unwrap();
        let kernel = Hosted::boot(machine.clone()).unwrap();
        let injector = FaultInjector::new(kernel);
        let mut failed = Vec::new();
        let requests = injector.fail_each_in_turn(|nth| {
            let before = injector.injected();
            match Rig::boot_on(machine.clone(), kernel, injector, BootOptions::default()) {
                Err(_) => failed.push(injector.last_injected().unwrap()),
                Ok(rig) => {
                    if injector.injected() != before {
                        // Without an interrupt a unit's events are read when somebody asks.
                        let missed = injector.last_injected().unwrap();
                        assert_eq!(missed, Resource::Interrupt, "request {nth} went unnoticed");
                        failed.push(missed);
                    }
                    // SAFETY: no driver gave a device anything to do.
                    unsafe { rig.system().shutdown() }.unwrap();
                }
            }
            let report = kernel.report();
            assert_eq!(report.frames.in_use, 0, "request {nth}");
            assert_eq!(report.interrupts, 0, "request {nth}");
        });
        assert!(requests > 5, "{requests}");
        for resource in [Resource::Frames, Resource::Interrupt] {
            assert!(failed.contains(&resource), "{failed:?}");
        }
        assert_eq!(machine.findings(), []);
        machine.shutdown();
        kernel.shutdown();
    }
}

#[test]
fn what_firmware_left_on_is_turned_off_first() {
    let machine = Machine::boot(config()).unwrap();
    let unit = machine.amd_units().next().unwrap().clone();
    let kernel = Hosted::boot(machine.clone()).unwrap();
    // Tables and rings of firmware's in memory that is the kernel's by now, everything on, one event logged.
    let write = |register, value| unit.write_register(register, Width::Qword, value);
    write(regs::DEVICE_TABLE_BASE, 0x100_0000);
    write(regs::COMMAND_BUFFER_BASE, 0x200_0000 | 8 << 56);
    write(regs::EVENT_LOG_BASE, 0x201_0000 | 8 << 56);
    write(regs::EXCLUSION_LIMIT, 0x7fff_f000);
    write(
        regs::EXCLUSION_BASE,
        ExclusionBase::new()
            .with_exen(true)
            .with_allow(true)
            .into_bits(),
    );
    let on = Control::new()
        .with_iommuen(true)
        .with_eventlogen(true)
        .with_cmdbufen(true)
        .with_coherent(true);
    write(regs::CONTROL, on.with_isoc(true).into_bits());
    while !Status::from_bits(read(&unit, regs::STATUS)).cmdbufrun() {}
    let rig = Rig::boot_on(machine.clone(), kernel, kernel, BootOptions::default()).unwrap();
    let control = Control::from_bits(read(&unit, regs::CONTROL));
    assert!(
        control.iommuen() && control.isoc(),
        "what is the board's matter stays"
    );
    assert_eq!(read(&unit, regs::EXCLUSION_BASE), 0);
    let device = rig.attach(EDU);
    let mapping = device
        .map_single(buffer_of(rig.kernel, PAGE, 1), ToDevice)
        .unwrap();
    drop(mapping.unmap().unwrap());
    device.detach().unwrap();
    rig.finish();
}

#[test]
fn units_restart_with_live_domains() {
    for temper in [Temper::Keep, Temper::Forget, Temper::Random(5)] {
        for interrupt in [
            EventInterrupt::MsiRegisters,
            EventInterrupt::ConfigurationSpaceOnly,
        ] {
            let unit = AmdConfig {
                event_interrupt: interrupt,
                ..AmdConfig::default()
            };
            let mut rig = Rig::boot(small().with_iommu(rig::amd(unit)).with_temper(temper));
            let mut edu = rig.edu();
            let source = buffer_of(rig.kernel, PAGE, 0x71);
            let source = edu.device().map_single(source, ToDevice).unwrap();
            let target = buffer_of(rig.kernel, PAGE, 0);
            let target = edu.device().map_single(target, FromDevice).unwrap();
            for _ in 0..3 {
                // SAFETY: the devices are idle but for the heartbeat, which firmware vouches for.
                unsafe { rig.system().restart_units() }.unwrap();
                edu.fetch(&source, 0, PAGE).unwrap();
                edu.store(&target, 0, PAGE).unwrap();
            }
            assert!(
                target
                    .unmap()
                    .unwrap()
                    .as_slice()
                    .iter()
                    .all(|&byte| byte == 0x71)
            );
            drop(source.unmap().unwrap());
            edu.stop().detach().unwrap();
            assert_eq!(rig.machine.heartbeat().missed, 0);
            rig.finish();
        }
    }
}

#[test]
fn a_restart_gets_a_ring_going_that_had_stopped() {
    let rig = Rig::boot_with(config(), impatient(20_000));
    let device = rig.attach(EDU);
    let map = || {
        device
            .map_single(buffer_of(rig.kernel, PAGE, 1), ToDevice)
            .unwrap()
    };
    let (lost, kept) = (map(), map());
    rig.amd_unit().fail_queue(QueueFault::FetchError);
    assert!(lost.unmap().is_err());
    // SAFETY: no device was given anything to do.
    unsafe { rig.system().restart_units() }.unwrap();
    drop(kept.unmap().unwrap());
    device.detach().unwrap();
    assert_eq!(rig.machine.audit().leaves, []);
    rig.assert_no_findings();
    rig.abandon();
}

#[test]
fn a_unit_that_does_not_complete_at_start_is_an_error_and_can_be_tried_again() {
    let machine = Machine::boot(config()).unwrap();
    let kernel = Hosted::boot(machine.clone()).unwrap();
    let unit = machine.amd_units().next().unwrap().clone();
    unit.hold_queue();
    let error = Rig::boot_on(machine.clone(), kernel, kernel, impatient(150)).err();
    let Some(BootError::Start(error)) = error else {
        panic!("{error:?}")
    };
    let StartError::Unit(error) = *error else {
        panic!("{error:?}")
    };
    let text = error.to_string();
    for part in ["0xfeb80000", "global invalidation"] {
        assert!(text.contains(part), "{text}");
    }
    unit.release_queue();
    let rig = Rig::boot_on(machine, kernel, kernel, BootOptions::default()).unwrap();
    rig.finish();
}

#[test]
fn a_stopped_unit_remembers_nothing_of_its_last_life() {
    let machine = Machine::boot(config()).unwrap();
    let kernel = Hosted::boot(machine.clone()).unwrap();
    for round in 0..3 {
        let rig = Rig::boot_on(machine.clone(), kernel, kernel, BootOptions::default()).unwrap();
        for requester in [EDU, HEARTBEAT] {
            let device = rig.attach(requester);
            let mapping = device
                .map_single(buffer_of(kernel, PAGE, round), ToDevice)
                .unwrap();
            drop(mapping.unmap().unwrap());
            device.detach().unwrap();
        }
        // SAFETY: every device was detached, and models obey their bus-master bit.
        unsafe { rig.system().shutdown() }.unwrap();
        assert_eq!(kernel.report().frames.in_use, 0, "round {round}");
    }
    assert_eq!(machine.heartbeat().missed, 0);
    assert_eq!(machine.findings(), []);
    machine.shutdown();
    kernel.shutdown();
}
