//! A machine with each kind of unit, and units that hang, of whatever kind.

use machine::cache::Snooping;
use machine::iommu::amd::AmdConfig;
use machine::iommu::riscv::RiscvConfig;
use machine::iommu::smmu::SmmuConfig;
use machine::iommu::virtio::VirtioConfig;
use machine::iommu::vtd::{ScalableMode, VtdConfig};
use machine::{Iommu, Machine};

/// Every kind of unit, by its name.
pub fn kinds() -> [(&'static str, Iommu); 6] {
    let walks = Snooping::On;
    let vtd = |scalable| Iommu::Vtd {
        unit: VtdConfig {
            scalable,
            ..VtdConfig::default()
        },
        walks,
    };
    let amd = AmdConfig::default();
    let smmu = SmmuConfig::default();
    let riscv = RiscvConfig::default();
    let virtio = VirtioConfig::default();
    [
        ("vtd", vtd(None)),
        ("vtd-scalable", vtd(Some(ScalableMode::default()))),
        ("amd", Iommu::Amd { unit: amd, walks }),
        ("smmu", Iommu::Smmu { unit: smmu, walks }),
        ("riscv", Iommu::Riscv { unit: riscv, walks }),
        ("virtio", Iommu::Virtio { unit: virtio }),
    ]
}

/// Calls `each` for every unit of `machine`, of whatever kind.
macro_rules! each_unit {
    ($machine:expr, $each:ident) => {
        $machine.vtd_units().for_each(|unit| unit.$each());
        $machine.amd_units().for_each(|unit| unit.$each());
        $machine.smmu_units().for_each(|unit| unit.$each());
        $machine.riscv_units().for_each(|unit| unit.$each());
        $machine.virtio_units().for_each(|unit| unit.$each());
    };
}

/// Lets every unit hang, until [`go_on`].
pub fn hang(machine: &Machine) {
    each_unit!(machine, hold_queue);
}

/// Ends [`hang`].
pub fn go_on(machine: &Machine) {
    each_unit!(machine, release_queue);
}
