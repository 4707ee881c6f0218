//! The journeys of devices that sleep, are reset, or go, on computers of every kind of unit.

use dmamap::pci::ResetMethod;
use journeys::reset_device::reset_device;
use journeys::surprise_removal::surprise_removal;
use journeys::suspend_resume::suspend_resume_over;
use machine::cache::Snooping;
use machine::iommu::amd::AmdConfig;
use machine::iommu::riscv::RiscvConfig;
use machine::iommu::smmu::SmmuConfig;
use machine::iommu::virtio::VirtioConfig;
use machine::iommu::vtd::{ScalableMode, VtdConfig};
use machine::temper::Temper;
use machine::{Iommu, MachineConfig};
use rig::Rig;
use rig::disks::test_disk;

/// Runs `journey` on computers of every kind of unit and temper, and ends each by `finish`.
fn on_every_computer(finish: fn(Rig), journey: impl Fn(&mut Rig)) {
    let walks = Snooping::On;
    let scalable = VtdConfig {
        scalable: Some(ScalableMode::default()),
        ..VtdConfig::default()
    };
    let iommus = [
        Iommu::Vtd {
            unit: VtdConfig::default(),
            walks: Snooping::Off,
        },
        Iommu::Vtd {
            unit: scalable,
            walks,
        },
        Iommu::Amd {
            unit: AmdConfig::default(),
            walks,
        },
        Iommu::Smmu {
            unit: SmmuConfig::default(),
            walks,
        },
        Iommu::Riscv {
            unit: RiscvConfig::default(),
            walks,
        },
        Iommu::Virtio {
            unit: VirtioConfig::default(),
        },
    ];
    for iommu in iommus {
        for temper in [Temper::Keep, Temper::Forget, Temper::Random(1)] {
            let config = MachineConfig::default()
                .with_ram(2 << 30)
                .with_iommu(iommu.clone())
                .with_temper(temper);
            let mut rig = Rig::boot(config.with_disk(test_disk(1 << 16)));
            journey(&mut rig);
            finish(rig);
        }
    }
}

#[test]
fn domains_live_on_through_a_loss_of_power() {
    on_every_computer(Rig::finish_after_faults, |rig| {
        let machine = rig.machine.clone();
        // SAFETY: models obey their bus-master bits, and lose their power.
        let slept = unsafe { suspend_resume_over(&mut rig.computer, || machine.power_cycle()) };
        slept.expect("the machine wakes");
    });
}

#[test]
fn a_disk_that_is_reset_is_started_anew() {
    on_every_computer(Rig::finish, |rig| {
        // SAFETY: the disk is behind an IOMMU.
        let reset = unsafe { reset_device(&mut rig.computer) }.expect("the disk is reset");
        assert_eq!(reset.method, ResetMethod::FunctionLevel);
    });
}

#[test]
fn a_disk_that_is_pulled_out_holds_nobody_up() {
    on_every_computer(Rig::finish, |rig| {
        let machine = rig.machine.clone();
        let function = rig.disk_function(0);
        let pull_out = || machine.remove(function.requester());
        // SAFETY: the disk is behind an IOMMU.
        unsafe { surprise_removal(&mut rig.computer, pull_out) }.expect("the driver is told");
    });
}
