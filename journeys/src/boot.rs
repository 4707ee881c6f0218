//! From a machine's description to a [`Computer`]: the part of a kernel's boot that DMA needs.
//!
//! 1. the resource tree: RAM, the host bridge's windows, configuration space, IOMMU registers
//! 2. firmware's tables: where configuration space lies, which units translate for whom
//! 3. the buses: functions found, BARs assigned
//! 4. the units: devices blocked until they are attached, what firmware keeps mapped as it was
//!
//! ```
//! use hosted::Hosted;
//! use journeys::boot::{BootOptions, MachineDescription, boot};
//! use machine::{Machine, MachineConfig};
//!
//! let machine = Machine::boot(MachineConfig::default())?;
//! let kernel = Hosted::boot(machine.clone())?;
//! let description = MachineDescription {
//!     rsdp: kernel.rsdp().ok_or("no ACPI")?,
//!     host_bridge: kernel.host_bridges()?.remove(0),
//! };
//! // SAFETY: the description is the machine's own, and nobody else drives it.
//! let computer = unsafe { boot(kernel, &description, &kernel, BootOptions::default())? };
//! assert!(computer.has_iommu());
//! assert_eq!(computer.edus().count(), 1);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod devicetree;
mod kept;

use alloc::boxed::Box;
use alloc::vec::Vec;

use dmamap::addr::{AddrError, BusAddr, PhysAddr, PhysRange};
use dmamap::bridge::{BridgeError, HostBridge};
use dmamap::device::Coherence;
use dmamap::pci::{self, EnumerateError};
use dmamap::platform::Platform;
use dmamap::resource::{ResourceError, ResourceTree};
use dmamap::system::{DeviceMemoryError, DmaSystem, Protection, Settings, StartError};
use firmware::{IommuDescription, Iort, Mcfg, PhysicalMemory, Tables};

pub use devicetree::boot_from_devicetree;

use crate::computer::Computer;
use kept::{KeptDevice, kept_devices};

/// What an environment knows of its machine before anything was looked at.
#[derive(Clone, Debug)]
pub struct MachineDescription {
    /// Where firmware's root pointer (RSDP) lies.
    pub rsdp: PhysAddr,
    /// The PCI host bridge and its windows, which firmware describes in a language (AML) not read here.
    pub host_bridge: HostBridge,
}

/// Whether the machine's IOMMU units are used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IommuUse {
    /// All units that firmware's tables name are started.
    #[default]
    AsFirmwareSays,
    /// None is: devices reach memory directly, and attaching one is `unsafe`.
    Ignored,
}

/// Choices at boot.
#[derive(Clone, Copy, Debug, Default)]
pub struct BootOptions {
    /// Whether IOMMU units are used.
    pub iommu: IommuUse,
    /// How they are used.
    pub units: Settings,
    /// How devices meet the CPU's caches where a devicetree does not say: on Arm they do not, on RISC-V they do.
    pub coherence_if_unsaid: Coherence,
    /// How strongly journeys have memory protected from the devices they attach.
    pub protection: Protection,
}

/// Why a machine could not be booted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BootError {
    /// Firmware's tables are damaged.
    #[error("firmware tables: {0}")]
    Firmware(#[from] firmware::Error),
    /// Firmware does not say where configuration space lies.
    #[error("no MCFG table names configuration space of segment {segment:04x} bus {first_bus:02x}")]
    NoConfigurationSpace {
        /// The host bridge's segment.
        segment: u16,
        /// Its first bus.
        first_bus: u8,
    },
    /// The devicetree is damaged.
    #[error("{0}")]
    Devicetree(#[from] firmware::TableError),
    /// The devicetree describes no PCI host bridge.
    #[error("the devicetree describes no PCI host bridge")]
    NoHostBridge,
    /// A host bridge cannot be as firmware describes it.
    #[error("PCI host bridge: {0}")]
    HostBridge(#[from] BridgeError),
    /// A table names addresses that cannot be.
    #[error("firmware tables: {0}")]
    Address(#[from] AddrError),
    /// Things overlap that cannot.
    #[error(transparent)]
    Resource(#[from] ResourceError),
    /// The buses cannot be enumerated.
    #[error(transparent)]
    Enumerate(#[from] EnumerateError),
    /// Memory that firmware set aside for some devices cannot be handed to them.
    #[error(transparent)]
    DeviceMemory(#[from] DeviceMemoryError),
    /// IOMMU units cannot be started.
    #[error("IOMMU: {0}")]
    Start(Box<StartError>),
}

// Boxed, as it is larger than all others.
impl From<StartError> for BootError {
    fn from(error: StartError) -> Self {
        Self::Start(Box::new(error))
    }
}

/// Boots a machine as far as DMA needs it.
///
/// Configuration space is read through `platform`, firmware's tables through `memory`. The computer's
/// [`DmaSystem`] lives as long as the process.
///
/// # Errors
/// [`BootError`]; bus mastering is then off wherever enumeration came.
///
/// # Safety
/// - `description` is true: the host bridge exists, behind its windows lie registers, not memory, and its devices meet
///   the CPU's caches as it says, or do not snoop where an IORT says that.
/// - The tables are those of this machine's firmware: configuration space and IOMMU registers are where they
///   say, and not memory.
/// - Nobody else drives this machine's devices or IOMMU units, now or later.
pub unsafe fn boot<P: Platform>(
    platform: P,
    description: &MachineDescription,
    memory: &dyn PhysicalMemory,
    options: BootOptions,
) -> Result<Computer<P>, BootError> {
    let tables = Tables::find(description.rsdp.as_u64(), memory)?;
    let bridge = &as_iort_says(&description.host_bridge, tables.iort()?);
    let ecam = configuration_space(bridge, tables.mcfg()?)?;
    let iommus = match options.iommu {
        IommuUse::AsFirmwareSays => tables.iommus()?,
        IommuUse::Ignored => IommuDescription::default(),
    };

    // SAFETY: the caller's promise.
    unsafe { bring_up(platform, bridge, ecam, &iommus, options) }
}

/// The part of a boot that is the same whatever firmware speaks.
///
/// # Safety
/// As [`boot`], `bridge`, `ecam` and `iommus` being what firmware says.
unsafe fn bring_up<P: Platform>(
    platform: P,
    bridge: &HostBridge,
    ecam: PhysRange,
    iommus: &IommuDescription,
    options: BootOptions,
) -> Result<Computer<P>, BootError> {
    let mut resources = ResourceTree::of(platform.machine());
    insert_ram(platform, &mut resources)?;
    // SAFETY: the caller vouches for the bridge's windows.
    unsafe { bridge.insert_windows(&mut resources)? };
    // SAFETY: the caller vouches for firmware's tables, and so for configuration space.
    unsafe { resources.insert_registers("PCI MMCONFIG", ecam)? };

    let kept = kept_devices(iommus);
    let paths: Vec<_> = kept.iter().map(KeptDevice::path).collect();
    let topology = pci::enumerate(platform, bridge, ecam, &mut resources, &paths)?;
    for problem in topology.problems() {
        log::warn!("{problem}");
    }

    let system = DmaSystem::new(platform, alloc::vec![bridge.clone()]);
    if !iommus.units.is_empty() {
        // SAFETY: the caller vouches for firmware's tables, and so for the units' registers.
        unsafe { system.start_units(iommus, &topology, &mut resources, options.units)? };
    }
    Ok(Computer {
        platform,
        system,
        topology,
        resources,
        protection: options.protection,
        removable: None,
    })
}

/// The bridge, whose devices do not snoop if its description or the table says so, and which passes on the addresses that
/// the table says.
fn as_iort_says(bridge: &HostBridge, iort: Option<Iort>) -> HostBridge {
    let Some(iort) = iort else {
        return bridge.clone();
    };
    let mut ours = iort
        .root_complexes()
        .filter(|root| root.segment == bridge.segment());
    let bridge = match ours.any(|root| !root.memory.coherent) {
        true => bridge.clone().with_coherence(Coherence::NotSnooped),
        false => bridge.clone(),
    };
    match iort.bus_limit(bridge.segment()) {
        Some(last) => bridge.with_bus_limit(BusAddr::new(last)),
        None => bridge,
    }
}

/// Where configuration space of the bridge's buses lies.
fn configuration_space(bridge: &HostBridge, mcfg: Option<Mcfg>) -> Result<PhysRange, BootError> {
    let (segment, first_bus) = (bridge.segment(), bridge.first_bus());
    let allocations = mcfg.iter().flat_map(|mcfg| mcfg.allocations());
    let ours = allocations
        .filter(|each| each.segment == segment)
        .find(|each| (each.first_bus..=each.last_bus).contains(&first_bus))
        .ok_or(BootError::NoConfigurationSpace { segment, first_bus })?;
    let start = ours.bus0_phys + u64::from(first_bus) * hw::pci::ECAM_BUS_BYTES;
    let last_bus = ours.last_bus.min(bridge.last_bus()).max(first_bus);
    let buses = u64::from(last_bus - first_bus) + 1;
    Ok(PhysRange::new(
        PhysAddr::new(start),
        buses * hw::pci::ECAM_BUS_BYTES,
    )?)
}

fn insert_ram<P: Platform>(platform: P, resources: &mut ResourceTree) -> Result<(), ResourceError> {
    let mut outcome = Ok(());
    platform.memory_map(&mut |range| {
        if outcome.is_ok() {
            outcome = resources.insert("System RAM", range);
        }
    });
    outcome
}
