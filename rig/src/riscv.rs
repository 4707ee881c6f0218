//! Machines with a RISC-V IOMMU.

use std::sync::Arc;

use dmamap::addr::PhysAddr;
use dmamap::platform::Platform;
use dmamap::system::{Settings, Stage};
use hw::riscv::fault::Cause;
use journeys::boot::BootOptions;
use machine::cache::Snooping;
use machine::iommu::riscv::{RiscvConfig, RiscvUnit};
use machine::temper::Temper;
use machine::{Iommu, MachineConfig};

use crate::{Rig, small};

/// Where the registers of the unit are.
pub const UNIT: PhysAddr = PhysAddr::new(0xfe90_0000);

/// Every temper of the model's caches.
pub const TEMPERS: [Temper; 4] = [
    Temper::Keep,
    Temper::Forget,
    Temper::Random(1),
    Temper::Random(2),
];

/// A small machine with a unit like `unit`, whose walks snoop.
pub fn with(unit: RiscvConfig) -> MachineConfig {
    let walks = Snooping::On;
    small().with_iommu(Iommu::Riscv { unit, walks })
}

/// Options by which `stage` translates.
pub fn by(stage: Stage) -> BootOptions {
    let units = Settings {
        stage: Some(stage),
        ..Settings::default()
    };
    BootOptions {
        units,
        ..BootOptions::default()
    }
}

/// The model.
pub fn unit<P: Platform>(rig: &Rig<P>) -> &Arc<RiscvUnit> {
    rig.machine
        .riscv_units()
        .next()
        .expect("the machine has a unit")
}

/// What `stage` says of a write, and of a read, of what is not mapped.
pub fn page_faults(stage: Stage) -> [Cause; 2] {
    match stage {
        Stage::First => [Cause::WritePageFault, Cause::ReadPageFault],
        Stage::Second => [Cause::WriteGuestPageFault, Cause::ReadGuestPageFault],
    }
}
