//! What a unit's driver is given to begin with, and which driver begins.

use alloc::sync::Arc;

use firmware::UnitKind;

use crate::iommu::amd::AmdUnit;
use crate::iommu::fault::FaultLog;
use crate::iommu::riscv::RiscvUnit;
use crate::iommu::smmu::SmmuUnit;
use crate::iommu::start_error::UnitStartError;
use crate::iommu::stream::StreamNames;
use crate::iommu::unit::Unit;
use crate::iommu::virtio::VirtioUnit;
use crate::iommu::vtd::VtdUnit;
use crate::mmio::Mmio;
use crate::pagetable::WalkCoherence;
use crate::pci::Function;
use crate::platform::Platform;
use crate::resource::ResourceTree;
use crate::system::Settings;

/// Where a unit is reached.
pub(crate) enum UnitPlace<P: Platform> {
    /// Its registers, claimed and mapped.
    Registers(Mmio<P>),
    /// It is a PCI function. Memory decoding is on; its driver claims the BARs it needs, and makes it a bus master
    /// if it reads its tables as one.
    Function(Function<P>),
}

/// What a unit's driver is given.
pub(crate) struct UnitSetup<'a, P: Platform> {
    pub(crate) platform: P,
    /// PCI segment of the devices behind the unit.
    pub(crate) segment: u16,
    pub(crate) place: UnitPlace<P>,
    /// Where BARs are claimed.
    pub(crate) tree: &'a mut ResourceTree,
    /// Bits of a physical address on this host, 32 to 52.
    pub(crate) host_address_bits: u32,
    /// Whether the unit's walks snoop, where firmware says so.
    pub(crate) walks: Option<WalkCoherence>,
    /// How the unit names devices.
    pub(crate) streams: StreamNames,
    /// Choices of the machine's owner.
    pub(crate) settings: Settings,
    /// Where faults go.
    pub(crate) log: &'a Arc<FaultLog<P>>,
}

impl<P: Platform> UnitSetup<'_, P> {
    /// The registers of a unit that is no PCI function.
    ///
    /// # Errors
    /// [`UnitStartError::NotAFunction`] where it is one.
    pub(crate) fn registers(
        place: UnitPlace<P>,
        kind: &'static str,
    ) -> Result<Mmio<P>, UnitStartError> {
        match place {
            UnitPlace::Registers(mmio) => Ok(mmio),
            UnitPlace::Function(function) => Err(UnitStartError::NotAFunction {
                kind,
                function: function.address(),
            }),
        }
    }
}

/// Prepares a unit of `kind`: its tables say that every device is blocked, its queues work, its faults are read. It
/// does not translate before [`Unit::turn_on`], so that reserved regions can be mapped first.
///
/// # Errors
/// [`UnitStartError`]; the unit holds nothing then, or where it did not answer, keeps it.
pub(crate) fn prepare<P: Platform>(
    kind: UnitKind,
    setup: UnitSetup<'_, P>,
) -> Result<Arc<dyn Unit<P>>, UnitStartError> {
    match kind {
        UnitKind::Vtd => Ok(VtdUnit::prepare(setup)?),
        UnitKind::AmdVi => Ok(AmdUnit::prepare(setup)?),
        UnitKind::SmmuV3 => Ok(SmmuUnit::prepare(setup)?),
        UnitKind::Riscv => Ok(RiscvUnit::prepare(setup)?),
        UnitKind::Virtio => Ok(VirtioUnit::prepare(setup)?),
    }
}
