//! Every allocation fails in turn: an error comes back, and everything taken on the way goes back.

use std::sync::Arc;

use hosted::{FaultInjector, Hosted, Resource};
use hw::smmu::regs::StreamTableLevels;
use machine::Machine;
use machine::iommu::smmu::SmmuConfig;

use super::{STAGES, staged, with};
use rig::{EDU, Rig};

fn lent(kernel: Hosted) -> (u64, usize, usize, usize) {
    let report = kernel.report();
    (
        report.frames.in_use,
        report.scattered_mappings,
        report.register_windows,
        report.interrupts,
    )
}

#[test]
fn a_boot_that_fails_anywhere_gives_everything_back_and_can_be_tried_again() {
    for stage in STAGES {
        for stream_tables in [StreamTableLevels::TwoLevel, StreamTableLevels::Linear] {
            let unit = SmmuConfig {
                stream_tables,
                ..SmmuConfig::default()
            };
            let machine: Arc<Machine> = Machine::boot(with(unit)).unwrap();
            let kernel = Hosted::boot(machine.clone()).unwrap();
            let injector = FaultInjector::new(kernel);
            let mut failed = Vec::new();
            let requests = injector.fail_each_in_turn(|nth| {
                let before = injector.injected();
                match Rig::boot_on(machine.clone(), kernel, injector, staged(stage)) {
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
                assert_eq!(lent(kernel), (0, 0, 0, 0), "request {nth} failed");
            });
            assert!(requests > 8, "{requests} requests");
            assert_eq!(failed.len() as u64, requests);
            assert_eq!(machine.findings(), []);
            machine.shutdown();
            kernel.shutdown();
        }
    }
}

#[test]
fn an_attach_that_fails_anywhere_gives_everything_back() {
    for stage in STAGES {
        let machine = Machine::boot(with(SmmuConfig::default())).unwrap();
        let kernel = Hosted::boot(machine.clone()).unwrap();
        let injector = FaultInjector::new(kernel);
        let rig = Rig::boot_on(machine, kernel, injector, staged(stage)).unwrap();
        // The block of entries stays, once there.
        drop(rig.attach(EDU));
        let before = lent(kernel);
        let function = rig.function(EDU);
        injector.fail_each_in_turn(|nth| {
            let attached = rig
                .system()
                .attach(&function, dmamap::system::Protection::Strict);
            drop(attached);
            assert_eq!(lent(kernel), before, "request {nth} failed");
        });
        drop(function);
        rig.finish();
    }
}
