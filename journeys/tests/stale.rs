//! Every unit's model remembers what it was not told to forget, and the driver of each tells it.

#[path = "support/astray.rs"]
mod astray;
#[path = "support/stale.rs"]
mod stale;

use journeys::boot::BootOptions;
use machine::cache::Snooping;
use machine::iommu::amd::AmdConfig;
use machine::iommu::riscv::RiscvConfig;
use machine::iommu::vtd::VtdConfig;
use machine::{Iommu, Machine, MachineConfig};

fn check(name: &str, iommu: Iommu) {
    let config = MachineConfig::default()
        .with_ram(256 << 20)
        .with_iommu(iommu);
    let machine = Machine::boot(config).expect("the machine is sound");
    stale::a_flush_left_out_shows(name, machine, BootOptions::default());
}

#[test]
fn a_flush_left_out_shows_on_vtd() {
    let unit = VtdConfig::default();
    let walks = Snooping::On;
    check("vtd", Iommu::Vtd { unit, walks });
}

#[test]
fn a_flush_left_out_shows_on_amd_vi() {
    let unit = AmdConfig::default();
    let walks = Snooping::On;
    check("amd", Iommu::Amd { unit, walks });
}

#[test]
fn a_flush_left_out_shows_on_the_riscv_iommu() {
    let unit = RiscvConfig::default();
    let walks = Snooping::On;
    check("riscv", Iommu::Riscv { unit, walks });
}
