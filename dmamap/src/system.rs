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
mod coherence;
mod new_domain;
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

use crate::bridge::HostBridge;
use crate::device::{Coherence, DeviceCore, free_core};
use crate::iommu::fault::{FaultLog, FaultReport};
use crate::iommu::{
    Attachment, Behind, Domain, DomainId, DomainIds, Requester, ScopeMap, UnitError, Units,
};
use crate::pci::PciAddress;
use crate::platform::Platform;

pub(crate) use attach::Below;
pub use protection::{AttachError, Protection};
pub use quiesce::QuiesceError;
pub use recover::RecoverError;
use reserved::ReservedFor;
pub use reserved::{RegionKind, ReservedRegion};
pub use restart::RestartError;
pub use settings::{Granule, Settings, Stage, TableMode};
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

/// A device that firmware left some memory to, or several that their unit cannot tell apart, before and after a driver
/// has it.
struct FirmwareDevice<P: Platform> {
    /// What its unit takes for it: it, and its aliases.
    behind: Behind,
    id: DomainId,
    domain: Domain<P>,
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
    attached: Vec<Requester>,
    /// Attaches under way.
    attaching: usize,
    /// Devices that do not do as their host bridge says.
    coherence: Vec<(Requester, Coherence)>,
    cores: Vec<CoreSlot<P>>,
    /// Units that are PCI functions.
    unit_functions: Vec<PciAddress>,
}

/// A machine's DMA state.
pub struct DmaSystem<P: Platform> {
    platform: P,
    bridges: Vec<HostBridge>,
    faults: Arc<FaultLog<P>>,
    /// Whether nothing may be mapped: read without the lock.
    asleep: AtomicBool,
    state: lock_api::Mutex<P::Lock, State<P>>,
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
            attached: Vec::new(),
            attaching: 0,
            coherence: Vec::new(),
            cores: Vec::new(),
            unit_functions: Vec::new(),
        };
        Box::leak(Box::new(Self {
            platform,
            bridges,
            faults: Arc::new(FaultLog::new()),
            asleep: AtomicBool::new(false),
            state: lock_api::Mutex::new(state),
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

    /// The requests of `requester`, as its unit sees them.
    fn attachment(&self, requester: Requester) -> Attachment {
        let stream = self.behind(requester).map(|behind| behind.stream);
        Attachment {
            requester,
            stream: stream.unwrap_or(requester.id.into()),
            pasid: None,
        }
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
            state.phase = Phase::Off;
            state.scopes = None;
            state.units = Arc::new([]);
            core::mem::take(&mut state.firmware)
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
                let found = state.cores.iter().position(|slot| {
                    // SAFETY: a core in the list has not been freed: only the line below the lock does, after
                    // taking it out.
                    unsafe { slot.0.as_ref() }.is_unreferenced()
                });
                found.map(|n| state.cores.swap_remove(n))
            };
            let Some(CoreSlot(core)) = unreferenced else {
                return;
            };
            // Outside the lock: freeing a core frees its domain.
            // SAFETY: it came from a leaked box, is unreferenced for good, and is in the list no more.
            unsafe { free_core(core) };
        }
    }
}
