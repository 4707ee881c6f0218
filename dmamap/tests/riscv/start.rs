//! RISC-V IOMMUs that this driver cannot use, that do not answer, that were left at work, or for which there is no
//! memory: a typed error, and nothing kept.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use board::between::Between;
use board::hardware::{Hardware, Width};
use dmamap::system::{Protection, Settings, Stage};
use hosted::{FaultInjector, Hosted, Resource};
use hw::riscv::directory::ContextFormat;
use hw::riscv::regs::{self, Ddtp, IommuMode};
use journeys::boot::BootOptions;
use machine::cache::Snooping;
use machine::iommu::Unit;
use machine::iommu::riscv::{AtReset, RiscvConfig};
use machine::{Iommu, Machine, MachineConfig};
use rig::observed::{Observed, Touch};
use rig::riscv::{UNIT, by, unit, with};
use rig::{EDU, Rig, impatient, small};

/// Boots a machine that cannot be used; returns what is said, after everything was given back.
fn refused(config: MachineConfig, options: BootOptions) -> String {
    let machine = Machine::boot(config).unwrap();
    let kernel = Hosted::boot(machine.clone()).unwrap();
    let refused = Rig::boot_on(machine.clone(), kernel, kernel, options);
    let error = refused.err().expect("the unit cannot be used").to_string();
    assert_eq!(machine.findings(), []);
    machine.shutdown();
    let report = kernel.shutdown();
    assert!(report.is_clean(), "{report:?}");
    error
}

#[test]
fn a_stage_that_is_asked_for_and_not_there_is_an_error() {
    for (stage, first_stage_levels, second_stage_levels, feature) in [
        (Stage::First, 0, 5, "first stage of 64-bit tables"),
        (Stage::Second, 5, 0, "stage of 64-bit tables as asked for"),
    ] {
        let config = RiscvConfig {
            first_stage_levels,
            second_stage_levels,
            ..RiscvConfig::default()
        };
        let error = refused(with(config), by(stage));
        assert!(
            error.contains("RISC-V IOMMU unit at") && error.contains(feature),
            "{error}"
        );
    }
}

#[test]
fn levels_that_the_unit_does_not_walk_are_an_error_of_the_first_attachment() {
    for levels in [0, 2, 4, 5, 6] {
        let config = RiscvConfig {
            first_stage_levels: 3,
            ..RiscvConfig::default()
        };
        let units = Settings {
            table_levels: Some(levels),
            ..Settings::default()
        };
        let options = BootOptions {
            units,
            ..BootOptions::default()
        };
        let rig = Rig::boot_with(with(config), options);
        let function = rig.function(EDU);
        let refused = rig.system().attach(&function, Protection::Strict);
        let error = refused.expect_err("no such tables").to_string();
        assert!(error.contains(&format!("{levels} levels")), "{error}");
        drop(function);
        rig.finish();
    }
}

#[test]
fn nothing_there_is_an_error() {
    // Firmware's table tells of a unit; nothing answers at its place.
    struct Gone(Arc<Machine>);
    impl Between for Gone {
        fn board(&self) -> &dyn Hardware {
            &*self.0
        }

        fn on_read(&self, phys: u64, width: Width) -> u64 {
            match phys.checked_sub(UNIT.as_u64()) {
                Some(0..0x1000) => width.ones(),
                _ => self.0.read(phys, width),
            }
        }
    }
    let machine = Machine::boot(with(RiscvConfig::default())).unwrap();
    let kernel = Hosted::boot(Arc::new(Gone(machine.clone()))).unwrap();
    let refused = Rig::boot_on(machine.clone(), kernel, kernel, BootOptions::default());
    let error = refused.err().expect("nothing is there").to_string();
    assert!(error.contains("nothing answers at 0xfe900000"), "{error}");
    machine.shutdown();
    assert!(kernel.shutdown().is_clean());
}

#[test]
fn a_unit_that_never_carries_out_a_command_is_an_error_that_names_it() {
    let machine = Machine::boot(with(RiscvConfig::default())).unwrap();
    let kernel = Hosted::boot(machine.clone()).unwrap();
    let model = machine.riscv_units().next().unwrap().clone();
    model.hold_queue();
    let refused = Rig::boot_on(machine.clone(), kernel, kernel, impatient(150));
    let error = refused.err().expect("it hangs").to_string();
    // It was given up in the first submission, and cannot be turned off with that in its queue.
    assert!(
        error.contains("0xfe900000") && error.contains("command queue drain"),
        "{error}"
    );
    assert_eq!(machine.findings(), []);
    machine.shutdown();
    kernel.shutdown();
}

#[test]
fn every_mode_the_driver_tries_is_waited_for_and_left_through_off() {
    // What `ddtp` was told, as the modes, four bits each.
    let told = Arc::new(AtomicU64::new(0));
    let noted = told.clone();
    let observer = move |_: &Machine, touch| {
        if let Touch::Wrote { phys, value } = touch
            && phys == UNIT.as_u64() + regs::DDTP
        {
            let before = noted.load(Ordering::Relaxed);
            noted.store(before << 4 | value & 0xf, Ordering::Relaxed);
        }
    };
    let config = RiscvConfig {
        context_format: ContextFormat::Base,
        directory_levels: vec![1, 3],
        ..RiscvConfig::default()
    };
    let machine = Machine::boot(with(config)).unwrap();
    let kernel = Hosted::boot(Observed::new(machine.clone(), observer)).unwrap();
    let rig = Rig::boot_on(machine, kernel, kernel, BootOptions::default()).unwrap();
    // One level is taken and too shallow; two are not taken; three are, and stay.
    assert_eq!(told.load(Ordering::Relaxed), 0x20_3404);
    drop(rig.attach(EDU));
    rig.finish();
}

#[test]
fn a_unit_that_firmware_left_at_work_is_taken_over() {
    for at_reset in [AtReset::Off, AtReset::Bare] {
        let config = RiscvConfig {
            at_reset,
            ..RiscvConfig::default()
        };
        let machine = Machine::boot(with(config)).unwrap();
        let model = machine.riscv_units().next().unwrap().clone();
        // Both queues on, a directory in which nothing is valid, an interrupt pending.
        let ram = machine.ram();
        let frame = machine.reserved_ram()[0].start;
        let write = |offset, width, value| model.write_register(offset, width, value);
        let wait = |offset, bit| {
            while model.read_register(offset, Width::Dword) & bit == 0 {
                model.idle();
            }
        };
        for word in (frame..frame + 0x1000).step_by(8) {
            ram.store_u64(word, 0).unwrap();
        }
        write(regs::CQB, Width::Qword, frame >> 2 | 7);
        write(regs::CQT, Width::Dword, 0);
        write(regs::CQCSR, Width::Dword, 3);
        wait(regs::CQCSR, 1 << 16);
        write(regs::FQB, Width::Qword, frame >> 2 | 3);
        write(regs::FQH, Width::Dword, 0);
        write(regs::FQCSR, Width::Dword, 3);
        wait(regs::FQCSR, 1 << 16);
        write(regs::DDTP, Width::Qword, frame >> 2 | 4);
        while model.read_register(regs::DDTP, Width::Qword) & 0x1f != 4 {
            model.idle();
        }
        let kernel = Hosted::boot(machine.clone()).unwrap();
        let rig = Rig::boot_on(machine, kernel, kernel, BootOptions::default()).unwrap();
        drop(rig.attach(EDU));
        let model = unit(&rig).clone();
        rig.finish();
        // It was left off, with nothing of it in use.
        let ddtp = Ddtp::from_bits(model.read_register(regs::DDTP, Width::Qword));
        assert_eq!(ddtp.iommu_mode(), IommuMode::Off);
        for control in [regs::CQCSR, regs::FQCSR] {
            assert_eq!(model.read_register(control, Width::Dword) & 0x3_0001, 0);
        }
    }
}

#[test]
fn a_boot_that_fails_anywhere_gives_everything_back_and_can_be_tried_again() {
    for context_format in [ContextFormat::Base, ContextFormat::Extended] {
        let config = RiscvConfig {
            context_format,
            ..RiscvConfig::default()
        };
        let machine = Machine::boot(with(config)).unwrap();
        let kernel = Hosted::boot(machine.clone()).unwrap();
        let injector = FaultInjector::new(kernel);
        let mut failed = Vec::new();
        let requests = injector.fail_each_in_turn(|nth| {
            let before = injector.injected();
            match Rig::boot_on(machine.clone(), kernel, injector, BootOptions::default()) {
                Err(_) => failed.push(injector.last_injected().unwrap()),
                Ok(rig) => {
                    if injector.injected() != before {
                        // Without an interrupt a unit's faults are read when somebody asks.
                        let missed = injector.last_injected().unwrap();
                        assert_eq!(missed, Resource::Interrupt, "request {nth} went unnoticed");
                        failed.push(missed);
                    }
                    // SAFETY: no driver gave a device anything to do.
                    unsafe { rig.system().shutdown() }.unwrap();
                }
            }
            let report = kernel.report();
            assert_eq!(
                (
                    report.frames.in_use,
                    report.register_windows,
                    report.interrupts
                ),
                (0, 0, 0),
                "request {nth} failed"
            );
            assert_eq!(machine.findings(), [], "request {nth} failed");
        });
        assert_eq!(failed.len() as u64, requests);
        assert!(failed.contains(&Resource::Frames) && failed.contains(&Resource::Interrupt));
        machine.shutdown();
        assert!(kernel.shutdown().is_clean());
    }
}

#[test]
fn an_attachment_that_fails_anywhere_gives_everything_back_and_can_be_tried_again() {
    for stage in [Stage::First, Stage::Second] {
        let config = RiscvConfig::default();
        let machine = Machine::boot(with(config)).unwrap();
        let kernel = Hosted::boot(machine.clone()).unwrap();
        let injector = FaultInjector::new(kernel);
        let rig = Rig::boot_on(machine, kernel, injector, by(stage)).unwrap();
        // The directory's tables stay once they are there.
        drop(rig.attach(EDU));
        let lent = rig.frames_in_use();
        let function = rig.function(EDU);
        let requests = injector.fail_each_in_turn(|nth| {
            if let Ok(device) = rig.system().attach(&function, Protection::Strict) {
                device.detach().unwrap();
            }
            assert_eq!(rig.frames_in_use(), lent, "request {nth} failed");
            rig.assert_no_findings();
        });
        assert!(requests > 3, "{requests}");
        drop(function);
        rig.finish();
    }
}

#[test]
fn a_unit_that_does_not_snoop_where_firmware_does_not_say_so_is_not_taken_into_use() {
    // RIMT has no word for it, so that a driver takes the unit to snoop. The commands it finds in memory are not those that
    // the driver left in the caches.
    let iommu = Iommu::Riscv {
        unit: RiscvConfig::default(),
        walks: Snooping::Off,
    };
    let machine = Machine::boot(small().with_iommu(iommu)).unwrap();
    let kernel = Hosted::boot(machine.clone()).unwrap();
    let refused = Rig::boot_on(machine, kernel, kernel, BootOptions::default());
    let refused = refused.map(drop).expect_err("it was started");
    let refused = format!("{refused:?}");
    assert!(refused.contains("QueueStopped"), "{refused}");
}
