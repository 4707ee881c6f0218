//! A machine behind one virtio-iommu.

use std::sync::Arc;

use dmamap::addr::PhysAddr;
use dmamap::platform::Platform;
use machine::iommu::virtio::{VirtioConfig, VirtioUnit};
use machine::temper::Temper;
use machine::{Iommu, MachineConfig};

use crate::{Rig, small};

/// Where the unit's registers are.
pub const UNIT: PhysAddr = PhysAddr::new(0xfe80_0000);

/// Every temper of the models.
pub const TEMPERS: [Temper; 4] = [
    Temper::Keep,
    Temper::Forget,
    Temper::Random(1),
    Temper::Random(2),
];

/// A small machine behind `unit`.
pub fn behind(unit: VirtioConfig) -> MachineConfig {
    small().with_iommu(Iommu::Virtio { unit })
}

/// The model of the unit.
pub fn unit<P: Platform>(rig: &Rig<P>) -> &Arc<VirtioUnit> {
    rig.machine
        .virtio_units()
        .next()
        .expect("the machine has one")
}
