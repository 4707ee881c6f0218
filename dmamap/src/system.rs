//! A machine's DMA state: its IOMMU units, who is attached to which, and what they refused.
//!
//! One [`DmaSystem`] per machine. Boot starts the units ([`start_units`](DmaSystem::start_units)); drivers
//! attach devices ([`attach`](DmaSystem::attach)) and get a [`Device`](crate::device::Device) to map memory
//! for. From the moment the units run, a device nobody attached reaches nothing, except the regions firmware
//! reserved for it.
//!
//! ```
//! # use board as _;
//! use dmamap::pci::Function;
//! use dmamap::platform::Platform;
//! use dmamap::system::{AttachError, DmaSystem, Protection};
//!
//! fn borrow_device<P: Platform>(
//!     system: &'static DmaSystem<P>,
//!     function: &Function<P>,
//! ) -> Result<(), AttachError> {
//!     // Safe, as a unit stands before the device; otherwise this is refused.
//!     let device = system.attach(function, Protection::Strict)?;
//!     assert!(system.is_translated(device.requester()));
//!     // Dropping the handle detaches the device: it reaches nothing any more.
//!     drop(device);
//!     Ok(())
//! }
//! ```

mod attach;
mod bounce;
mod coherence;
mod device_memory;
mod membership;
mod new_domain;
mod occupancy;
mod peer;
mod protection;
mod quiesce;
mod recover;
mod reserved;
mod restart;
mod settings;
mod sleep;
mod start;

use core::ptr::NonNull;
use core::sync::atomic::AtomicBool;

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::bounce::{BounceSettings, Pool};
use crate::bridge::HostBridge;
use crate::buffer::ContiguousArea;
use crate::device::{Coherence, DeviceCore, free_core};
use crate::group::{Group, Groups, Quirk, Quirks};
use crate::iommu::fault::{FaultLog, FaultReport};
use crate::iommu::{
    Attachment, Behind, Domain, DomainId, DomainIds, Requester, ScopeMap, UnitError, Units,
};
use crate::pci::{Function, PciAddress};
use crate::platform::Platform;

pub use bounce::RestrictError;
use bounce::Restricted;
pub use device_memory::DeviceMemoryError;
use device_memory::SetAside;
use occupancy::{GroupKey, Occupancy};
pub use peer::{PeerRefusal, PeerVerdict};
pub use protection::{AttachError, Protection};
pub use quiesce::QuiesceError;
pub use recover::RecoverError;
use reserved::ReservedFor;
pub use reserved::{RegionKind, ReservedRegion};
pub use restart::RestartError;
pub use settings::{AddressOrder, Granule, Settings, Stage, TableMode};
pub use sleep::{ResumeError, ResumeFailed, Resumed, SuspendError, Suspended};
pub use start::StartError;

/// Why the units could not be stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ShutdownError {
    /// Devices are still attached.
    #[error("{device} is still attached: detach every device first")]
    StillAttached {
        /// One of them.
        device: Requester,
    },
    /// A unit did not turn off. Shutting down may be tried again.
    #[error(transparent)]
    Unit(#[from] UnitError),
    /// Somebody is starting or stopping the units at this moment, or they are suspended.
    #[error("the IOMMU units are being started or stopped by somebody else, or are suspended")]
    Busy,
}

/// How far the units are. Devices are attached only while nothing changes: in between, what stands before a
/// device now may not stand there for long.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// None translates.
    Off,
    /// Somebody is starting or stopping them.
    Changing,
    /// All translate.
    Running,
    /// Some did not turn off.
    Stuck,
    /// Some did not start again, and may translate nothing.
    Broken,
    /// All are asleep, or have lost their state.
    Asleep,
}

/// Those of a group behind one unit that firmware left some memory to, before and after a driver has one of the group.
struct FirmwareDevice<P: Platform> {
    key: GroupKey,
    /// The unit's number.
    unit: usize,
    /// What the unit knows them by.
    streams: Vec<Attachment>,
    id: DomainId,
    domain: Domain<P>,
}

impl<P: Platform> FirmwareDevice<P> {
    fn has(&self, stream: Attachment) -> bool {
        membership::holds(&self.streams, stream)
    }
}

/// A core on its way from the device that left it to being freed.
struct CoreSlot<P: Platform>(NonNull<DeviceCore<P>>);

// SAFETY: a core may be used and freed on any thread; the slot only says where it is.
unsafe impl<P: Platform> Send for CoreSlot<P> {}

struct State<P: Platform> {
    phase: Phase,
    units: Units<P>,
    scopes: Option<ScopeMap>,
    ids: DomainIds,
    settings: Settings,
    /// Addresses firmware reserved, and for whom.
    reserved: Vec<ReservedFor>,
    firmware: Vec<Arc<FirmwareDevice<P>>>,
    bounce: BounceSettings,
    restricted: Vec<Restricted<P>>,
    set_aside: Vec<SetAside<P>>,
    /// Devices that behave otherwise than they say.
    quirks: Quirks,
    /// Who cannot be kept from whom; while the units run.
    groups: Groups,
    /// The groups of which somebody is attached.
    occupied: Vec<Occupancy<P>>,
    attached: Vec<Requester>,
    /// Devices that do not do as their host bridge says.
    coherence: Vec<(Requester, Coherence)>,
    cores: Vec<CoreSlot<P>>,
    /// Units that are PCI functions.
    unit_functions: Vec<PciAddress>,
}

impl<P: Platform> State<P> {
    /// The cores of all devices, of those whose handle is gone too.
    fn cores(&self) -> impl Iterator<Item = &DeviceCore<P>> {
        self.cores.iter().map(|slot| {
            // SAFETY: a core in the list has not been freed: `sweep` does that after taking it out, for which it has the
            // state to itself.
            unsafe { slot.0.as_ref() }
        })
    }

    /// The units are off, and nothing stands before any device; returns the domains that firmware's devices were in.
    fn forget_units(&mut self) -> Vec<Arc<FirmwareDevice<P>>> {
        self.phase = Phase::Off;
        self.scopes = None;
        self.groups = Groups::default();
        self.units = Arc::new([]);
        self.unit_functions.clear();
        core::mem::take(&mut self.firmware)
    }
}

/// A machine's DMA state.
pub struct DmaSystem<P: Platform> {
    platform: P,
    bridges: Vec<HostBridge>,
    faults: Arc<FaultLog<P>>,
    /// Whether nothing may be mapped: read without the lock.
    asleep: AtomicBool,
    /// What stands in for memory that devices do not reach.
    bounce: Pool<P>,
    state: lock_api::Mutex<P::Lock, State<P>>,
    area: lock_api::Mutex<P::Lock, Option<ContiguousArea<P>>>,
}

impl<P: Platform> DmaSystem<P> {
    /// The state of a machine with these host bridges, no IOMMU unit running yet.
    ///
    /// It lives as long as the program, as a kernel's does: devices and mappings refer to it.
    pub fn new(platform: P, bridges: Vec<HostBridge>) -> &'static Self {
        let state = State {
            phase: Phase::Off,
            units: Arc::new([]),
            scopes: None,
            ids: DomainIds::new(0),
            settings: Settings::default(),
            reserved: Vec::new(),
            firmware: Vec::new(),
            bounce: BounceSettings::default(),
            restricted: Vec::new(),
            set_aside: Vec::new(),
            quirks: Quirks::known(),
            groups: Groups::default(),
            occupied: Vec::new(),
            attached: Vec::new(),
            coherence: Vec::new(),
            cores: Vec::new(),
            unit_functions: Vec::new(),
        };
        Box::leak(Box::new(Self {
            platform,
            bridges,
            faults: Arc::new(FaultLog::new()),
            asleep: AtomicBool::new(false),
            bounce: bounce::default_pool(platform),
            state: lock_api::Mutex::new(state),
            area: lock_api::Mutex::new(None),
        }))
    }

    /// The platform the machine lends us.
    pub fn platform(&self) -> P {
        self.platform
    }

    /// The host bridges.
    pub fn bridges(&self) -> &[HostBridge] {
        &self.bridges
    }

    /// Has coherent memory longer than a frame come from `area`, as long as there is room, for every device without an
    /// [area of its own](crate::device::Device::set_contiguous_area).
    pub fn set_contiguous_area(&self, area: Option<ContiguousArea<P>>) {
        let before = core::mem::replace(&mut *self.area.lock(), area);
        drop(before);
    }

    pub(crate) fn contiguous_area(&self) -> Option<ContiguousArea<P>> {
        self.area.lock().clone()
    }

    /// Number of IOMMU units that translate.
    pub fn unit_count(&self) -> usize {
        self.units().len()
    }

    /// Whether a unit stands between `requester` and memory.
    pub fn is_translated(&self, requester: Requester) -> bool {
        self.behind(requester).is_some()
    }

    /// What stands before `requester`.
    fn behind(&self, requester: Requester) -> Option<Behind> {
        self.state.lock().scopes.as_ref()?.behind(requester)
    }

    /// Notes how a kind of device behaves, whatever it says, beside what this layer knows. Counts from the next start of
    /// the units on.
    pub fn add_quirk(&self, quirk: Quirk) {
        self.state.lock().quirks.add(quirk);
    }

    /// Which devices the units cannot keep from each other; none while no unit translates.
    pub fn groups(&self) -> Groups {
        self.state.lock().groups.clone()
    }

    /// The group of `function`: those that share its domain, and why. `None` while no unit translates.
    pub fn group_of(&self, function: &Function<P>) -> Option<Group> {
        let state = self.state.lock();
        state.groups.group_of(function.address()).cloned()
    }

    /// What the units refused so far. Reads their fault records first.
    pub fn faults(&self) -> FaultReport {
        self.service_faults();
        self.faults.report()
    }

    /// Reads the units' fault records; also done when they raise their interrupt.
    pub fn service_faults(&self) {
        if self.is_asleep() {
            return;
        }
        for unit in self.units().iter() {
            unit.service_faults(&self.faults);
        }
    }

    /// Invalidation commands the units completed so far.
    pub fn invalidations(&self) -> u64 {
        self.units().iter().map(|unit| unit.invalidations()).sum()
    }

    /// Turns every unit off and gives back all memory they were lent, after [`quiesce`](Self::quiesce). From then on devices reach
    /// memory untranslated, as before [`start_units`](Self::start_units).
    ///
    /// # Errors
    /// [`ShutdownError`]; what a unit may still walk is kept.
    ///
    /// # Safety
    /// With translation off nothing confines a device. The caller vouches that none starts requests of its
    /// own any more: they are switched off, or trusted, or powered down with the machine.
    pub unsafe fn shutdown(&self) -> Result<(), ShutdownError> {
        self.sweep();
        self.reclaim_bounce();
        let units = {
            let mut state = self.state.lock();
            if let Some(&device) = state.attached.first() {
                return Err(ShutdownError::StillAttached { device });
            }
            match state.phase {
                Phase::Off => return Ok(()),
                Phase::Changing | Phase::Asleep => return Err(ShutdownError::Busy),
                Phase::Running | Phase::Stuck | Phase::Broken => state.phase = Phase::Changing,
            }
            state.units.clone()
        };
        let mut outcome = Ok(());
        for unit in units.iter() {
            unit.service_faults(&self.faults);
            outcome = outcome.and(unit.stop());
        }
        let firmware = {
            let mut state = self.state.lock();
            if let Err(error) = outcome {
                state.phase = Phase::Stuck;
                return Err(error.into());
            }
            state.forget_units()
        };
        for device in firmware {
            // Its unit is off, so nothing walks its table.
            let _ = device.domain.end(Ok(()));
        }
        Ok(())
    }

    fn units(&self) -> Units<P> {
        self.state.lock().units.clone()
    }

    /// Frees the cores of devices whose handle and last mapping are gone.
    pub(crate) fn sweep(&self) {
        loop {
            let unreferenced = {
                let mut state = self.state.lock();
                let found = state.cores().position(DeviceCore::is_unreferenced);
                found.map(|n| state.cores.swap_remove(n))
            };
            let Some(CoreSlot(core)) = unreferenced else {
                break;
            };
            // Outside the lock: freeing a core frees its domain.
            // SAFETY: it came from a leaked box, is unreferenced for good, and is in the list no more.
            unsafe { free_core(core) };
        }
        if self.state.lock().attached.is_empty() {
            self.reclaim_bounce();
        }
    }
}
