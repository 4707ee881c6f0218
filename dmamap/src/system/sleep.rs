//! Suspending a machine and resuming it, devices attached and memory mapped.
//!
//! While it sleeps units and devices may lose their power, and with it everything they were told; memory keeps its content.
//! What is mapped stays mapped, at the same bus addresses. In between
//!
//! - nobody is attached, and nothing is mapped ([`MapFailure::Suspended`](crate::map::MapFailure::Suspended));
//! - an unmap is not confirmed, as no unit can say that it forgot anything: the memory goes into quarantine and comes back
//!   when the machine was resumed;
//! - no device is a bus master.
//!
//! Drivers stop their devices before and start them again after; whoever has an MSI-X table
//! [restores](crate::pci::MsixTable::restore) it.
//!
//! ```
//! # use board as _;
//! use dmamap::pci::Topology;
//! use dmamap::platform::Platform;
//! use dmamap::system::DmaSystem;
//!
//! fn nap<P: Platform>(
//!     system: &'static DmaSystem<P>,
//!     topology: &Topology<P>,
//! ) -> Result<(), Box<dyn std::error::Error>> {
//!     let suspended = system.suspend(topology)?;
//!     // … the machine sleeps …
//!     // SAFETY: the devices slept too, and have told nobody yet to do anything.
//!     let resumed = unsafe { system.resume(suspended) }.map_err(|failed| failed.error)?;
//!     assert!(resumed.lost.is_empty());
//!     Ok(())
//! }
//! ```

use core::fmt;
use core::sync::atomic::Ordering;

use alloc::vec::Vec;

use super::{DmaSystem, Phase};
use crate::device::{DeviceCore, HeldBriefly};
use crate::iommu::UnitError;
use crate::map::Route;
use crate::pci::{
    BusMaster, Deadline, Function, PciAddress, SavedConfig, SavedTopology, Topology, end_requests,
};
use crate::platform::{MachineId, Platform};

/// How long functions may take to answer after they got their power back (PCI Express 6.6.1): all together, as that was
/// at one time.
const READY_MS: u64 = 1_000;

/// Why a machine was not suspended; it goes on as before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SuspendError {
    /// The topology is another machine's.
    #[error("these are functions of {machine}, and this system's is {system}")]
    OtherMachine {
        /// Whose they are.
        machine: MachineId,
        /// The system's own.
        system: MachineId,
    },
    /// Units are being started or stopped, or did not start or stop, or are suspended already; or a device is being
    /// attached or detached at this moment.
    #[error(
        "somebody else is changing the IOMMU units, attaching or detaching a device, or they are suspended"
    )]
    Busy,
    /// A device does not end its requests.
    #[error("{device} has requests under way that do not end: stop the device first")]
    StillPending {
        /// The device.
        device: PciAddress,
    },
}

/// Why a machine was not resumed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResumeError {
    /// It is another machine's, or it is not suspended.
    #[error("this machine is not suspended")]
    NotSuspended,
    /// A unit did not answer.
    #[error(transparent)]
    Unit(#[from] UnitError),
}

/// A machine that is suspended: what is needed to resume it. Forgetting it leaves the machine suspended.
#[must_use = "the machine sleeps until it is resumed"]
pub struct Suspended<P: Platform> {
    system: &'static DmaSystem<P>,
    saved: SavedTopology<P>,
    before: Phase,
}

/// A machine that could not be resumed. It may be tried again.
pub struct ResumeFailed<P: Platform> {
    /// Why.
    pub error: ResumeError,
    /// What to try again with.
    pub suspended: Suspended<P>,
}

/// What became of a machine that was resumed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resumed {
    /// Functions that did not come back, or not as they were: no bus masters, their drivers find them gone.
    pub lost: Vec<PciAddress>,
    /// Bytes of memory that came back from quarantine.
    pub recovered_bytes: u64,
}

impl<P: Platform> DmaSystem<P> {
    /// Suspends the machine: no device is a bus master any more, its requests under way have ended, and no unit is asked
    /// anything. `topology` has the machine's functions, whose configuration is saved.
    ///
    /// # Errors
    /// [`SuspendError`].
    pub fn suspend(&'static self, topology: &Topology<P>) -> Result<Suspended<P>, SuspendError> {
        let (machine, system) = (topology.machine(), self.platform.machine());
        if machine != system {
            return Err(SuspendError::OtherMachine { machine, system });
        }
        let before = {
            let mut state = self.state.lock();
            match state.phase {
                before @ (Phase::Off | Phase::Running) if !state.is_anybody_moving() => {
                    state.phase = Phase::Changing;
                    before
                }
                _ => return Err(SuspendError::Busy),
            }
        };
        self.asleep.store(true, Ordering::SeqCst);
        let suspended = Suspended {
            system: self,
            saved: topology.save(),
            before,
        };
        if let Err(device) = suspended.quiet_devices() {
            self.asleep.store(false, Ordering::SeqCst);
            suspended.wake_devices(&[]);
            self.state.lock().phase = before;
            return Err(SuspendError::StillPending { device });
        }
        for unit in self.units().iter() {
            unit.service_faults(&self.faults);
            unit.sleep();
        }
        self.state.lock().phase = Phase::Asleep;
        Ok(suspended)
    }

    /// Resumes the machine: functions are configured as before, units translate again with everything that is mapped, and
    /// devices that are attached are bus masters.
    ///
    /// # Errors
    /// [`ResumeFailed`]; no device is a bus master then.
    ///
    /// # Safety
    /// While a unit starts it may let requests through untranslated. The caller vouches that no device makes requests
    /// until this has returned `Ok`, but those it trusts with all memory: they lost their power, or obey
    /// that they are no bus masters.
    pub unsafe fn resume(
        &'static self,
        suspended: Suspended<P>,
    ) -> Result<Resumed, ResumeFailed<P>> {
        let fail = |error, suspended| Err(ResumeFailed { error, suspended });
        if !core::ptr::eq(suspended.system, self) {
            return fail(ResumeError::NotSuspended, suspended);
        }
        // Nobody else has it: there is one `Suspended` while the phase is this.
        let lost = suspended.configure();
        for unit in self.units().iter() {
            if let Err(error) = unit.restart() {
                return fail(error.into(), suspended);
            }
        }
        self.asleep.store(false, Ordering::SeqCst);
        self.state.lock().phase = suspended.before;
        let recovered_bytes = self.recover_all();
        suspended.wake_devices(&lost);
        Ok(Resumed {
            lost,
            recovered_bytes,
        })
    }

    /// Whether the machine is suspended, or about to be.
    pub(crate) fn is_asleep(&self) -> bool {
        self.asleep.load(Ordering::SeqCst)
    }

    /// Makes an attached device a bus master, unless it leaves, may not, or the machine sleeps.
    pub(crate) fn let_master(&self, core: &DeviceCore<P>) {
        // Under the lock: a detach, and a suspend, switch it off after they have made themselves known.
        let _state = self.state.lock();
        let stays = !core.leaving.load(Ordering::Acquire) && !self.is_asleep();
        if stays && !matches!(core.route, Route::Blocked) {
            // SAFETY: as when it was attached: its unit confines it to a domain whose mappings own their memory, or it
            // was vouched for. What stands before it does so until its detach, which has not begun.
            unsafe { core.function.enable_bus_master() };
        }
    }

    /// Cores of devices that are attached, held.
    fn attached_cores(&self) -> Vec<HeldBriefly<P>> {
        let state = self.state.lock();
        let cores = state.cores();
        let attached = cores.filter(|core| !core.leaving.load(Ordering::Acquire));
        attached.map(HeldBriefly::new).collect()
    }

    /// Gets back what was not confirmed while the units slept; returns how many bytes.
    fn recover_all(&self) -> u64 {
        let mut recovered_bytes = 0;
        for held in self.attached_cores() {
            // What is still not confirmed stays in quarantine, as its figures say.
            recovered_bytes += held.core().recover().unwrap_or(0);
        }
        recovered_bytes
    }
}

impl<P: Platform> Suspended<P> {
    /// Takes bus mastering from every device, and waits for its requests.
    ///
    /// # Errors
    /// The device that does not end them.
    fn quiet_devices(&self) -> Result<(), PciAddress> {
        // Whoever had the lock before has made its device a bus master; who has it after finds that the machine sleeps.
        let units = self.system.state.lock().unit_functions.clone();
        let is_unit = |address| units.contains(&address);
        let functions = self.saved.iter().map(|(function, _)| function);
        let devices: Vec<_> = functions
            .filter(|function| !function.is_bridge() && !is_unit(function.address()))
            .collect();
        let platform = self.system.platform;
        end_requests(platform, &devices, Function::disable_bus_master)
    }

    /// Gives every function its configuration back, bridges and units their bus mastering too; returns those that are
    /// lost.
    fn configure(&self) -> Vec<PciAddress> {
        let platform = self.system.platform;
        let units = self.system.state.lock().unit_functions.clone();
        let mut lost = Vec::new();
        let mut waited_for: Vec<_> = self.saved.iter().collect();
        let deadline = Deadline::in_ms(platform, READY_MS);
        // All are looked at in turn, as one that never answers would use up the time of those after it.
        loop {
            // Before they are looked at: each is once more when the time is over.
            let is_over = deadline.is_over(platform);
            let mut silent: Vec<&(Function<P>, SavedConfig)> = Vec::new();
            for each in waited_for {
                let (function, saved) = each;
                // Nobody passes requests on to what is behind a bridge that has not come back.
                let is_cut_off = function.parent().is_some_and(|above| {
                    silent
                        .iter()
                        .any(|(one, _)| one.address() == above.address())
                });
                if is_cut_off || !function.is_ready() {
                    silent.push(each);
                    continue;
                }
                // A unit reads its tables and commands by requests of its own.
                let master = match function.is_bridge() || units.contains(&function.address()) {
                    true => saved.bus_master(),
                    false => BusMaster::Off,
                };
                if saved.restore(function.config(), master).is_err() {
                    lost.push(function);
                }
            }
            waited_for = silent;
            if is_over || waited_for.is_empty() {
                break;
            }
            platform.relax();
        }
        lost.extend(waited_for.iter().map(|(function, _)| function));
        for function in &lost {
            function.disable_bus_master();
        }
        let mut lost: Vec<_> = lost.into_iter().map(Function::address).collect();
        lost.sort();
        lost
    }

    /// Makes attached devices bus masters, and those that firmware left at work; but none that is `lost`.
    fn wake_devices(&self, lost: &[PciAddress]) {
        for held in self.system.attached_cores() {
            if !lost.contains(&held.core().function.address()) {
                self.system.let_master(held.core());
            }
        }
        let kept = |function: &Function<P>| !lost.contains(&function.address());
        for (function, saved) in self.saved.iter().filter(|(function, _)| kept(function)) {
            let device = super::attach::requester_of(function);
            if saved.bus_master() == BusMaster::On && self.system.is_left_at_work(device) {
                // SAFETY: its unit confines it to the memory that firmware reserved for it.
                unsafe { function.enable_bus_master() };
            }
        }
    }
}

impl<P: Platform> fmt::Debug for Suspended<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Suspended({} functions)", self.saved.iter().count())
    }
}

impl<P: Platform> fmt::Debug for ResumeFailed<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResumeFailed")
            .field("error", &self.error)
            .finish_non_exhaustive()
    }
}

impl<P: Platform> fmt::Display for ResumeFailed<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl<P: Platform> core::error::Error for ResumeFailed<P> {}
