//! Ports that keep every promise, each in its own way.

use dmamap::platform::Platform;

use crate::liar::Lie;
use crate::{CPUS, MIB, boot, boot_with_cpus, check, verdict};

#[test]
fn a_kernel_in_a_process_keeps_every_promise() {
    let (machine, kernel) = boot(256 * MIB);
    let report = check(kernel, kernel, CPUS, CPUS).unwrap();
    assert!(report.frames > 100 && report.pins > 1000, "{report:?}");
    assert_eq!(report.cpus, CPUS);
    assert_eq!(report.fences > 0, kernel.fences_cpus(), "{report:?}");
    assert!(
        report.register_values > 0 && report.interrupts > 1,
        "{report:?}"
    );
    machine.shutdown();
    assert!(kernel.shutdown().is_clean(), "{:?}", kernel.report());
}

#[test]
fn a_machine_may_have_one_cpu() {
    let (machine, kernel) = boot_with_cpus(64 * MIB, 1);
    let report = check(kernel, kernel, 1, 1).unwrap();
    assert_eq!(report.cpus, 1);
    machine.shutdown();
    assert!(kernel.shutdown().is_clean(), "{:?}", kernel.report());
}

#[test]
fn a_cpu_may_come_later() {
    let report = verdict::<parking_lot::RawMutex>(Lie::CpuComesLater, 64 * MIB).unwrap();
    assert_eq!(report.cpus, CPUS);
}

/// Drivers poll then.
#[test]
fn there_may_be_no_interrupts_or_one() {
    for lie in [Lie::NoInterrupts, Lie::OneInterrupt] {
        verdict::<parking_lot::RawMutex>(lie, 64 * MIB).unwrap();
    }
}

/// Each CPU fences for itself then.
#[test]
fn cpus_may_not_be_made_to_fence() {
    let report = verdict::<parking_lot::RawMutex>(Lie::FencesNotForOthers, 64 * MIB).unwrap();
    assert_eq!(report.fences, 0);
}

/// What the table of lies is worth: without one, the same port passes.
#[test]
fn a_liar_that_does_not_lie_passes() {
    verdict::<parking_lot::RawMutex>(Lie::Honest, 64 * MIB).unwrap();
}
