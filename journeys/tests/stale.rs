//! Every unit's model remembers what it was not told to forget, and the driver of each tells it.

use dmamap::bridge::PeerForwarding;
use dmamap::system::Stage;
use hosted::Hosted;
use journeys::boot::BootOptions;
use journeys::unmap_blocks_device::unmap_blocks_device;
use machine::cache::Snooping;
use machine::iommu::amd::AmdConfig;
use machine::iommu::riscv::RiscvConfig;
use machine::iommu::smmu::SmmuConfig;
use machine::iommu::vtd::{ScalableMode, VtdConfig};
use machine::{Iommu, Machine, MachineConfig};
use rig::{astray, boot_kernel, stale};

/// Where the machine has its AMD-Vi unit.
const AMD_REGISTERS: u64 = 0xfeb8_0000;

fn check(name: &str, iommu: Iommu, stage: Option<Stage>) {
    let config = MachineConfig::default()
        .with_ram(256 << 20)
        .with_iommu(iommu);
    let machine = Machine::boot(config).expect("the machine is sound");
    let mut options = BootOptions::default();
    options.units.stage = stage;
    stale::a_flush_left_out_shows(name, machine, options);
}

#[test]
fn a_flush_left_out_shows_on_vtd() {
    let unit = VtdConfig::default();
    let walks = Snooping::On;
    check("vtd", Iommu::Vtd { unit, walks }, None);
}

#[test]
fn a_flush_left_out_shows_on_vtd_in_scalable_mode() {
    for stage in [Stage::First, Stage::Second] {
        let unit = VtdConfig {
            scalable: Some(ScalableMode::default()),
            ..VtdConfig::default()
        };
        let walks = Snooping::On;
        check("vtd-scalable", Iommu::Vtd { unit, walks }, Some(stage));
    }
}

#[test]
fn a_flush_left_out_shows_on_the_smmu() {
    for stage in [Stage::First, Stage::Second] {
        let unit = SmmuConfig::default();
        let walks = Snooping::On;
        check("smmu", Iommu::Smmu { unit, walks }, Some(stage));
    }
}

#[test]
fn a_flush_left_out_shows_on_amd_vi() {
    let unit = AmdConfig::default();
    let walks = Snooping::On;
    check("amd", Iommu::Amd { unit, walks }, None);
}

#[test]
fn a_flush_left_out_shows_on_the_riscv_iommu() {
    for stage in [Stage::First, Stage::Second] {
        let unit = RiscvConfig::default();
        let walks = Snooping::On;
        check("riscv", Iommu::Riscv { unit, walks }, Some(stage));
    }
}

/// QEMU's AMD-Vi remembers no entries of its device table; the model does.
#[test]
fn a_device_entry_that_is_not_forgotten_shows_on_amd_vi() {
    for (goes_astray, shows) in [(false, false), (true, true)] {
        let unit = AmdConfig::default();
        let walks = Snooping::On;
        let config = MachineConfig::default()
            .with_ram(256 << 20)
            .with_iommu(Iommu::Amd { unit, walks });
        let machine = Machine::boot(config).expect("the machine is sound");
        let astray = astray::Astray::new(machine.clone());
        astray.follow_amd_entries(AMD_REGISTERS);
        let kernel = Hosted::boot(astray.clone()).expect("the kernel boots");
        let (options, peers) = (BootOptions::default(), PeerForwarding::Unknown);
        let computer = boot_kernel(kernel, kernel, options, peers);
        let mut computer = computer.expect("it boots");
        astray.lead_astray(goes_astray);
        // The journey ends with the device detached and its tables freed.
        unmap_blocks_device(&mut computer).expect("pages are forgotten all the same");
        assert_eq!(astray.gone() > 0, goes_astray);
        let found = machine.findings();
        assert_eq!(!found.is_empty(), shows, "{found:?}");
        drop(computer);
        kernel.shutdown();
    }
}
