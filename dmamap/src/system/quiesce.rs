//! Before the machine goes down, or another kernel takes its place: no device does anything any more.
//!
//! The order: drivers stop their devices and detach them, [`quiesce`](DmaSystem::quiesce) looks that it is so and takes the
//! leave of all others, [`shutdown`](DmaSystem::shutdown) turns the units off.

use alloc::vec::Vec;

use super::attach::requester_of;
use super::{DmaSystem, Phase};
use crate::iommu::Requester;
use crate::pci::{Function, PciAddress, Topology, end_requests};
use crate::platform::{MachineId, Platform};

/// Who still does something.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuiesceError {
    /// The topology is another machine's.
    #[error("these are functions of {machine}, and this system's is {system}")]
    OtherMachine {
        /// Whose they are.
        machine: MachineId,
        /// The system's own.
        system: MachineId,
    },
    /// Devices are attached, or were and it was not confirmed that they left.
    #[error("{} devices are still attached, the first is {}", .devices.len(), .devices[0])]
    StillAttached {
        /// All of them; one at least.
        devices: Vec<Requester>,
    },
    /// A device does not end its requests. It is no bus master any more.
    #[error("{device} has requests under way that do not end")]
    StillPending {
        /// The device.
        device: PciAddress,
    },
    /// Units are being started or stopped, or are suspended; or somebody else quiesces the machine, or attaches or detaches
    /// a device.
    #[error(
        "somebody else is changing the IOMMU units, attaching or detaching a device, or they are suspended"
    )]
    Busy,
}

impl<P: Platform> DmaSystem<P> {
    /// Makes sure that no device of `topology` makes requests any more: none is attached, bus mastering and message
    /// interrupts are off, and requests under way have ended. Units that are PCI functions, and devices that firmware left
    /// at work in memory of theirs, go on. Meanwhile nobody is attached ([`AttachError::UnitsChanging`]).
    ///
    /// [`AttachError::UnitsChanging`]: super::AttachError::UnitsChanging
    ///
    /// # Errors
    /// [`QuiesceError`] names who is in the way. All devices are tried.
    pub fn quiesce(&self, topology: &Topology<P>) -> Result<(), QuiesceError> {
        let (machine, system) = (topology.machine(), self.platform.machine());
        if machine != system {
            return Err(QuiesceError::OtherMachine { machine, system });
        }
        self.sweep();
        let (unit_functions, before) = {
            let mut state = self.state.lock();
            if matches!(state.phase, Phase::Changing | Phase::Asleep) {
                return Err(QuiesceError::Busy);
            }
            if !state.attached.is_empty() {
                let devices = state.attached.clone();
                return Err(QuiesceError::StillAttached { devices });
            }
            if state.is_anybody_moving() {
                return Err(QuiesceError::Busy);
            }
            // Whoever were attached from here on would be made a bus master, and not be seen.
            let before = core::mem::replace(&mut state.phase, Phase::Changing);
            (state.unit_functions.clone(), before)
        };
        let functions = topology.functions();
        let devices: Vec<_> = functions
            .filter(|function| {
                let is_unit = unit_functions.contains(&function.address());
                !function.is_bridge() && !is_unit && !self.is_left_at_work(requester_of(function))
            })
            .collect();
        let outcome = end_requests(self.platform, &devices, Function::silence);
        self.state.lock().phase = before;
        outcome.map_err(|device| QuiesceError::StillPending { device })
    }
}
