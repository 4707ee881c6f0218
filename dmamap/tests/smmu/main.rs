//! Devices behind an SMMU: what VT-d's tests ask of its units, asked of this one.

mod allocation_failures;
mod described;
mod device_tables;
mod faults;
mod in_flight;
mod privileged;
mod queue;
mod start;
mod strict_unmap;
mod units;

use std::sync::Arc;

use dmamap::addr::PhysAddr;
use dmamap::system::{Settings, Stage};
use journeys::boot::BootOptions;
use machine::cache::Snooping;
use machine::iommu::smmu::{SmmuConfig, SmmuUnit};
use machine::temper::Temper;
use machine::{Iommu, MachineConfig};
use rig::{Rig, small};

/// Where the registers of the unit are.
const UNIT: PhysAddr = PhysAddr::new(0xfea0_0000);

/// Both stages.
const STAGES: [Stage; 2] = [Stage::First, Stage::Second];

/// Every temper of the models' caches.
const TEMPERS: [Temper; 3] = [Temper::Keep, Temper::Forget, Temper::Random(7)];

/// A small machine with this unit, whose walks snoop.
fn with(unit: SmmuConfig) -> MachineConfig {
    let walks = Snooping::On;
    small().with_iommu(Iommu::Smmu { unit, walks })
}

/// A small machine with an SMMU that reads memory, not caches.
fn not_snooping() -> MachineConfig {
    let (unit, walks) = (SmmuConfig::default(), Snooping::Off);
    small().with_iommu(Iommu::Smmu { unit, walks })
}

/// Options that choose `stage`.
fn staged(stage: Stage) -> BootOptions {
    let units = Settings {
        stage: Some(stage),
        ..Settings::default()
    };
    BootOptions {
        units,
        ..BootOptions::default()
    }
}

fn boot(stage: Stage) -> Rig {
    Rig::boot_with(with(SmmuConfig::default()), staged(stage))
}

/// The model.
fn model(rig: &Rig) -> Arc<SmmuUnit> {
    let mut units = rig.machine.smmu_units();
    units.next().expect("the machine has an SMMU").clone()
}
