//! Why a unit could not be started, whoever built it.

use crate::addr::PhysAddr;
use crate::iommu::unit::UnitError;
use crate::mmio::MmioError;
use crate::pci::{ClaimBarError, ConfigError, PciAddress};
use crate::platform::OutOfFrames;

/// Why a unit could not be started. It was not turned on, and where it did not answer, what it may still use is kept.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnitStartError {
    /// Its register window does not hold its registers.
    #[error("IOMMU unit: {0}")]
    Registers(#[from] MmioError),
    /// Its BAR cannot be claimed.
    #[error("IOMMU unit: {0}")]
    Bar(#[from] ClaimBarError),
    /// Its configuration space cannot be used.
    #[error("IOMMU unit: {0}")]
    Config(#[from] ConfigError),
    /// The unit lacks something its driver needs.
    #[error("{kind} unit at {unit} has no {feature}: this driver cannot use it")]
    Missing {
        /// What it is: "VT-d".
        kind: &'static str,
        /// Physical address of its registers.
        unit: PhysAddr,
        /// What it lacks.
        feature: &'static str,
    },
    /// Nothing answers where firmware says the unit is.
    #[error("nothing answers at {unit}, where firmware says a {kind} unit is")]
    NotThere {
        /// What should be there: "VT-d".
        kind: &'static str,
        /// Physical address of its registers.
        unit: PhysAddr,
    },
    /// Firmware says it is a PCI function, and no unit of its kind is one.
    #[error("firmware says that {function} is a {kind} unit, but such units are no PCI functions")]
    NotAFunction {
        /// What it should be: "VT-d".
        kind: &'static str,
        /// The function.
        function: PciAddress,
    },
    /// Nothing here drives units of its kind.
    #[error("no driver for a {kind} unit")]
    NoDriver {
        /// What it is.
        kind: &'static str,
    },
    /// No frame for its tables.
    #[error("IOMMU unit: {0}")]
    OutOfFrames(#[from] OutOfFrames),
    /// It did not answer.
    #[error(transparent)]
    Unit(#[from] UnitError),
}
