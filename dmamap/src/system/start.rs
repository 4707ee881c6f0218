//! Starting the units: everything firmware says is in place before the first one translates.

use alloc::boxed::Box;
use alloc::format;
use alloc::sync::Arc;
use alloc::vec::Vec;

use firmware::{IommuDescription, UnitDescription, UnitKind, Walks};

use super::membership::add;
use super::occupancy::GroupKey;
use super::reserved::{Reserved, ReservedFor};
use super::settings::Settings;
use super::{DmaSystem, FirmwareDevice, Phase};
use crate::addr::{AddrError, PhysAddr, PhysRange};
use crate::group::{Acs, Groups};
use crate::iommu::{
    Attachment, Behind, Domain, DomainIds, MAX_UNITS, Requester, ScopeMap, StreamNames, Unit,
    UnitError, UnitPlace, UnitSetup, UnitStartError, prepare,
};
use crate::mmio::{Mmio, MmioError};
use crate::pagetable::WalkCoherence;
use crate::pci::{PciAddress, Topology};
use crate::platform::{MachineId, MemoryAttribute, Platform};
use crate::resource::{ResourceError, ResourceTree};
use crate::system::AttachError;

/// Bits of a physical address: no machine has fewer or more (VT-d 8.1, and every table format).
const MIN_ADDRESS_BITS: u32 = 32;
const MAX_ADDRESS_BITS: u32 = 52;

/// Why the units could not be started; they are off then.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StartError {
    /// The topology is another machine's.
    #[error("these are functions of {machine}, and this system's is {system}")]
    OtherMachine {
        /// Whose they are.
        machine: MachineId,
        /// The system's own.
        system: MachineId,
    },
    /// They run already, or somebody is starting or stopping them.
    #[error("the IOMMU units of this machine run already, or are being started or stopped")]
    AlreadyStarted,
    /// A device is attached, without translation.
    #[error("{device} is attached already, without translation: start the units first")]
    DeviceAttached {
        /// The device.
        device: Requester,
    },
    /// Firmware names no unit, or more than a domain can span.
    #[error("firmware names {count} IOMMU units; 1 to 64 can be started")]
    UnitCount {
        /// How many it names.
        count: usize,
    },
    /// Firmware puts devices behind a unit that it does not name.
    #[error("firmware puts devices behind IOMMU unit number {unit}, but names {count}")]
    NoSuchUnit {
        /// The unit's number.
        unit: usize,
        /// How many it names.
        count: usize,
    },
    /// Firmware names addresses that do not exist.
    #[error("what firmware says of the IOMMU: {0}")]
    Range(#[from] AddrError),
    /// A unit's registers cannot be claimed.
    #[error("registers of an IOMMU unit: {0}")]
    Resource(#[from] ResourceError),
    /// A unit's registers cannot be mapped.
    #[error("registers of an IOMMU unit: {0}")]
    Mmio(#[from] MmioError),
    /// A unit that should be a PCI function is not there.
    #[error("firmware says that {address} is an IOMMU unit, but no such function was found")]
    NoFunction {
        /// Where it should be.
        address: PciAddress,
    },
    /// A unit cannot be used.
    #[error(transparent)]
    Prepare(#[from] UnitStartError),
    /// A unit refused.
    #[error(transparent)]
    Unit(#[from] UnitError),
    /// Memory that firmware reserved for a device could not be mapped for it.
    #[error("memory firmware reserved for {device} cannot be mapped: {error}")]
    Direct {
        /// The device.
        device: Requester,
        /// Why.
        error: Box<AttachError>,
    },
}

impl<P: Platform> DmaSystem<P> {
    /// Starts every unit that firmware describes. When this returns, every request of a PCI device behind one is
    /// translated: devices that firmware reserved memory for reach that memory, the others nothing.
    ///
    /// # Errors
    /// [`StartError`]; every unit is off then, or its tables are kept.
    ///
    /// # Safety
    /// - `description` is this machine's: where it says that a unit's registers are, they are.
    /// - The host bridges the system was made with say rightly how their devices
    ///   [meet the CPU's caches](crate::bridge::HostBridge::coherence), as far as
    ///   [`set_coherence`](Self::set_coherence) does not.
    pub unsafe fn start_units(
        &'static self,
        description: &IommuDescription,
        topology: &Topology<P>,
        tree: &mut ResourceTree,
        settings: Settings,
    ) -> Result<(), StartError> {
        let (machine, system) = (topology.machine(), self.platform.machine());
        if machine != system {
            return Err(StartError::OtherMachine { machine, system });
        }
        let count = description.units.len();
        if !(1..=MAX_UNITS).contains(&count) {
            return Err(StartError::UnitCount { count });
        }
        let mut behind = description.assignments.iter().map(|each| each.unit);
        if let Some(unit) = behind.find(|&unit| unit >= count) {
            return Err(StartError::NoSuchUnit { unit, count });
        }
        {
            let mut state = self.state.lock();
            if state.phase != Phase::Off {
                return Err(StartError::AlreadyStarted);
            }
            if let Some(&device) = state.attached.first() {
                return Err(StartError::DeviceAttached { device });
            }
            state.phase = Phase::Changing;
        }
        let mut units = Vec::with_capacity(count);
        // SAFETY: the caller's promise.
        let started =
            unsafe { self.prepare_units(description, topology, tree, settings, &mut units) }
                .and_then(|()| self.turn_on(description, topology, settings, &units));
        if started.is_ok() {
            self.state.lock().phase = Phase::Running;
        } else {
            let mut stopped = Ok(());
            for unit in &units {
                stopped = stopped.and(unit.stop());
            }
            let firmware = self.state.lock().forget_units();
            for device in firmware {
                let _ = device.domain.end(stopped);
            }
        }
        started
    }

    /// # Safety
    /// As [`start_units`](Self::start_units).
    unsafe fn prepare_units(
        &self,
        description: &IommuDescription,
        topology: &Topology<P>,
        tree: &mut ResourceTree,
        settings: Settings,
        units: &mut Vec<Arc<dyn Unit<P>>>,
    ) -> Result<(), StartError> {
        for (n, unit) in description.units.iter().enumerate() {
            // SAFETY: the caller vouches for the description.
            let place = unsafe { self.place(n, unit, topology, tree)? };
            let host_address_bits = description.host_address_bits.unwrap_or(MAX_ADDRESS_BITS);
            let setup = UnitSetup {
                platform: self.platform,
                segment: unit.segment,
                place,
                tree: &mut *tree,
                host_address_bits: host_address_bits.clamp(MIN_ADDRESS_BITS, MAX_ADDRESS_BITS),
                walks: unit.walks.map(|walks| match walks {
                    Walks::Snoop => WalkCoherence::Snooped,
                    Walks::DoNotSnoop => WalkCoherence::NotSnooped,
                }),
                streams: StreamNames::of_unit(description, n),
                settings,
                log: &self.faults,
            };
            units.push(prepare(unit.kind, setup)?);
        }
        Ok(())
    }

    /// Finds unit number `n`, and makes it reachable.
    ///
    /// # Safety
    /// As [`start_units`](Self::start_units).
    unsafe fn place(
        &self,
        n: usize,
        unit: &UnitDescription,
        topology: &Topology<P>,
        tree: &mut ResourceTree,
    ) -> Result<UnitPlace<P>, StartError> {
        match unit.place {
            firmware::UnitPlace::Registers { phys, len_bytes } => {
                let name = format!("{}{n}", register_name(unit.kind));
                let range = PhysRange::new(PhysAddr::new(phys), len_bytes)?;
                // SAFETY: the caller vouches for the description, and it says that these are registers.
                unsafe { tree.insert_registers(&name, range)? };
                let claim = tree.request("IOMMU driver", range)?;
                let attribute = MemoryAttribute::Uncached;
                let mmio = Mmio::ioremap(self.platform, claim, attribute)?;
                Ok(UnitPlace::Registers(mmio))
            }
            firmware::UnitPlace::Function { segment, requester } => {
                let mut functions = topology.functions();
                let function = functions.find(|function| {
                    function.address().segment == segment && function.requester() == requester
                });
                let function = function.ok_or(StartError::NoFunction {
                    address: PciAddress::from_requester(segment, requester),
                })?;
                function.start_as_unit();
                function.enable_memory().map_err(UnitStartError::from)?;
                self.state.lock().unit_functions.push(function.address());
                Ok(UnitPlace::Function(function.clone()))
            }
        }
    }

    fn turn_on(
        &'static self,
        description: &IommuDescription,
        topology: &Topology<P>,
        settings: Settings,
        units: &[Arc<dyn Unit<P>>],
    ) -> Result<(), StartError> {
        let reserved = ReservedFor::all(description, topology)?;
        let ids = units
            .iter()
            .map(|unit| unit.facts().domain_ids)
            .min()
            .unwrap_or(0);
        let direct = reserved
            .iter()
            .filter(|each| matches!(each.what, Reserved::Direct(..)));
        let mut with_direct: Vec<Requester> = direct.map(|each| each.device).collect();
        with_direct.sort();
        with_direct.dedup();
        // Before groups are made: they are what the ports then do.
        for function in topology.functions() {
            if let Err(error) = Acs::isolate(function) {
                log::warn!("{function}: {error}; its access control services stay as they are");
            }
        }
        {
            let scopes = ScopeMap::new(description, topology);
            let mut state = self.state.lock();
            let stream = |requester| {
                let behind = scopes.behind(requester)?;
                Some((behind.unit, behind.stream))
            };
            state.groups = Groups::with_streams(topology, &state.quirks, stream);
            state.units = units.into();
            state.scopes = Some(scopes);
            state.ids = DomainIds::new(ids);
            state.settings = settings;
            state.reserved = reserved;
        }
        self.attach_firmware(&with_direct)?;
        for unit in units {
            unit.turn_on()?;
        }
        Ok(())
    }

    /// Gives devices the memory firmware reserved for them and others of their groups, and nothing else.
    fn attach_firmware(&'static self, devices: &[Requester]) -> Result<(), StartError> {
        let mut domains: Vec<(GroupKey, usize, Named)> = Vec::new();
        for &device in devices {
            let Some(Behind { unit, .. }) = self.behind(device) else {
                continue;
            };
            let key = self.state.lock().key_of(device);
            let streams = self.attachments(device, unit);
            let streams = streams.map_err(|error| not_direct(device, error))?;
            let named = streams.into_iter().map(|stream| (device, stream));
            match domains
                .iter_mut()
                .find(|each| (each.0, each.1) == (key, unit))
            {
                Some((_, _, known)) => known.extend(named),
                None => domains.push((key, unit, named.collect())),
            }
        }
        for (key, unit, named) in domains {
            self.build_firmware_domain(key, unit, &named)?;
        }
        Ok(())
    }

    fn build_firmware_domain(
        &'static self,
        key: GroupKey,
        unit: usize,
        named: &[(Requester, Attachment)],
    ) -> Result<(), StartError> {
        let Some(&(first, _)) = named.first() else {
            return Ok(());
        };
        let built = self.allocate_id(first).and_then(|id| {
            let domain: Domain<P> = self.build_domain(first, unit, id)?;
            Ok((id, domain))
        });
        let (id, domain) = built.map_err(|error| not_direct(first, error))?;
        let mut streams = Vec::new();
        for &(_, stream) in named {
            add(&mut streams, stream);
        }
        let device = Arc::new(FirmwareDevice {
            key,
            unit,
            streams,
            id,
            domain,
        });
        // Known before its unit is told: if that fails, stopping the units ends its domain too.
        self.state.lock().firmware.push(device.clone());
        for stream in &device.streams {
            let attached = device.domain.attach(unit, *stream);
            attached.map_err(|error| {
                let device = stream.requester;
                not_direct(device, AttachError::Domain { device, error })
            })?;
        }
        Ok(())
    }
}

/// Names that a unit knows devices by, and whose they are.
type Named = Vec<(Requester, Attachment)>;

fn not_direct(device: Requester, error: AttachError) -> StartError {
    StartError::Direct {
        device,
        error: Box::new(error),
    }
}

/// What the resource tree calls the registers of units of a kind.
fn register_name(kind: UnitKind) -> &'static str {
    match kind {
        UnitKind::Vtd => "dmar",
        UnitKind::AmdVi => "amd-vi",
        UnitKind::SmmuV3 => "smmu",
        UnitKind::Riscv => "riscv-iommu",
        UnitKind::Virtio => "virtio-iommu",
    }
}
