//! Every unit's model remembers what it was not told to forget, and the driver of each tells it.

#[path = "support/astray.rs"]
mod astray;
#[path = "support/stale.rs"]
mod stale;

use dmamap::system::Stage;
use journeys::boot::BootOptions;
use machine::cache::Snooping;
use machine::iommu::amd::AmdConfig;
use machine::iommu::riscv::RiscvConfig;
use machine::iommu::smmu::SmmuConfig;
use machine::iommu::vtd::{ScalableMode, VtdConfig};
use machine::{Iommu, Machine, MachineConfig};

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
