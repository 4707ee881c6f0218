//! Starting the units: everything firmware says is in place before the first one translates.

use alloc::boxed::Box;
use alloc::format;
use alloc::sync::Arc;
use alloc::vec::Vec;

use firmware::dmar::Dmar;

use super::{DmaSystem, FirmwareDevice, Phase};
use crate::addr::{AddrError, PhysAddr, PhysRange};
use crate::iommu::{
    Attachment, Domain, DomainIds, MAX_UNITS, Requester, ScopeMap, Unit, UnitError, UnitPlace,
    VtdStartError, VtdUnit, functions_of,
};
use crate::mmio::{Mmio, MmioError};
use crate::pci::Topology;
use crate::platform::{MemoryAttribute, Platform};
use crate::resource::{ResourceError, ResourceTree};
use crate::system::AttachError;

/// Choices a machine's owner may make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// How long a unit may take to answer, in milliseconds, before a wait for it ends in an error.
    pub wait_bound_ms: u64,
    /// Levels of page tables, where the unit walks several; `None` takes the fewest that reach all
    /// memory.
    pub table_levels: Option<u8>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            wait_bound_ms: 10_000,
            table_levels: None,
        }
    }
}

/// Why the units could not be started; they are off then.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StartError {
    /// They run already, or somebody is starting or stopping them.
    #[error("the IOMMU units of this machine run already, or are being started or stopped")]
    AlreadyStarted,
    /// A device is attached, without translation.
    #[error("{device} is attached already, without translation: start the units first")]
    DeviceAttached {
        /// The device.
        device: Requester,
    },
    /// The table names no unit, or more than a domain can span.
    #[error("the DMAR table names {count} units; 1 to 64 can be started")]
    UnitCount {
        /// How many it names.
        count: usize,
    },
    /// A range of the table does not exist.
    #[error("DMAR table: {0}")]
    Range(#[from] AddrError),
    /// A unit's registers cannot be claimed.
    #[error("registers of an IOMMU unit: {0}")]
    Resource(#[from] ResourceError),
    /// A unit's registers cannot be mapped.
    #[error("registers of an IOMMU unit: {0}")]
    Mmio(#[from] MmioError),
    /// A unit refused.
    #[error(transparent)]
    Vtd(#[from] VtdStartError),
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
    /// Starts every unit the DMAR table names. When this returns, every request of a PCI device is
    /// translated: devices that firmware reserved memory for reach that memory, the others nothing.
    ///
    /// # Errors
    /// [`StartError`]; every unit is off then, or its tables are kept.
    ///
    /// # Safety
    /// `dmar` is this machine's: where it says that a unit's registers are, they are.
    pub unsafe fn start_units(
        &'static self,
        dmar: &Dmar,
        topology: &Topology<P>,
        tree: &mut ResourceTree,
        settings: Settings,
    ) -> Result<(), StartError> {
        let count = dmar.units().len();
        if !(1..=MAX_UNITS).contains(&count) {
            return Err(StartError::UnitCount { count });
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
        let started = unsafe { self.prepare_units(dmar, tree, settings, &mut units) }
            .and_then(|()| self.turn_on(dmar, topology, settings, &units));
        if started.is_ok() {
            self.state.lock().phase = Phase::Running;
        } else {
            let mut stopped = Ok(());
            for unit in &units {
                stopped = stopped.and(unit.stop());
            }
            let mut state = self.state.lock();
            state.phase = Phase::Off;
            state.units = Arc::new([]);
            state.scopes = None;
            let firmware = core::mem::take(&mut state.firmware);
            drop(state);
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
        dmar: &Dmar,
        tree: &mut ResourceTree,
        settings: Settings,
        units: &mut Vec<Arc<VtdUnit<P>>>,
    ) -> Result<(), StartError> {
        for (n, unit) in dmar.units().iter().enumerate() {
            let name = format!("dmar{n}");
            let range = PhysRange::new(PhysAddr::new(unit.register_base), unit.register_len)?;
            // SAFETY: the caller vouches for the table, and the table says that these are registers.
            unsafe { tree.insert_registers(&name, range)? };
            let claim = tree.request("VT-d driver", range)?;
            let mmio = Mmio::ioremap(self.platform, claim, MemoryAttribute::Uncached)?;
            let bound_ms = settings.wait_bound_ms;
            let place = UnitPlace {
                segment: unit.segment,
                host_address_bits: dmar.host_address_bits(),
            };
            let unit = VtdUnit::prepare(self.platform, place, mmio, bound_ms, &self.faults)?;
            units.push(unit);
        }
        Ok(())
    }

    fn turn_on(
        &'static self,
        dmar: &Dmar,
        topology: &Topology<P>,
        settings: Settings,
        units: &[Arc<VtdUnit<P>>],
    ) -> Result<(), StartError> {
        let direct = direct_regions(dmar, topology)?;
        let ids = units
            .iter()
            .map(|unit| unit.facts().domain_ids)
            .min()
            .unwrap_or(0);
        let mut with_direct: Vec<Requester> = direct.iter().map(|(device, _)| *device).collect();
        with_direct.sort();
        with_direct.dedup();
        {
            let mut state = self.state.lock();
            let each =
                |unit: &Arc<VtdUnit<P>>| -> Arc<dyn Unit<P>> { Arc::<VtdUnit<P>>::clone(unit) };
            state.units = units.iter().map(each).collect();
            state.scopes = Some(ScopeMap::new(dmar.units(), topology));
            state.ids = DomainIds::new(ids);
            state.settings = settings;
            state.direct = direct;
        }
        for device in with_direct {
            self.attach_firmware(device)
                .map_err(|error| StartError::Direct {
                    device,
                    error: Box::new(error),
                })?;
        }
        for unit in units {
            unit.turn_on()?;
        }
        Ok(())
    }

    /// Gives a device the memory firmware reserved for it, and nothing else.
    fn attach_firmware(&'static self, requester: Requester) -> Result<(), AttachError> {
        let Some(unit) = self.unit_of(requester) else {
            return Ok(());
        };
        let id = self.allocate_id(requester)?;
        let domain: Domain<P> = self.build_domain(requester, unit, id)?;
        let attachment = Attachment {
            requester,
            pasid: None,
        };
        let device = Arc::new(FirmwareDevice {
            requester,
            id,
            domain,
        });
        // Known before its unit is told: if that fails, stopping the units ends its domain too.
        self.state.lock().firmware.push(device.clone());
        let attached = device.domain.attach(unit, attachment);
        attached.map_err(|error| AttachError::Domain {
            device: requester,
            error,
        })
    }
}

/// The memory that firmware reserved (RMRR), by device (VT-d 8.4).
fn direct_regions<P: Platform>(
    dmar: &Dmar,
    topology: &Topology<P>,
) -> Result<Vec<(Requester, PhysRange)>, AddrError> {
    let mut direct = Vec::new();
    for region in dmar.reserved_regions() {
        let memory = PhysRange::new(
            PhysAddr::new(region.base),
            (region.last - region.base).saturating_add(1),
        )?;
        for scope in &region.scopes {
            let devices = functions_of(region.segment, scope, topology);
            direct.extend(devices.into_iter().map(|device| (device, memory)));
        }
    }
    Ok(direct)
}
