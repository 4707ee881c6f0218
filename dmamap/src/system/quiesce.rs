//! Before the machine goes down, or another kernel takes its place: no device does anything any more.
//!
//! The order: drivers stop their devices and detach them, [`quiesce`](DmaSystem::quiesce) looks that it is so and takes the
//! leave of all others, [`shutdown`](DmaSystem::shutdown) turns the units off.

use alloc::vec::Vec;

use super::attach::requester_of;
use super::{DmaSystem, Phase};
use crate::iommu::Requester;
use crate::pci::{PciAddress, Topology, Transactions};
use crate::platform::Platform;

/// How long requests of one device may take to end.
const PENDING_MS: u64 = 700;

/// Who still does something.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuiesceError {
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
    /// Units are being started or stopped, or are suspended.
    #[error("the IOMMU units are being started or stopped by somebody else, or are suspended")]
    Busy,
}

impl<P: Platform> DmaSystem<P> {
    /// Makes sure that no device of `topology` makes requests any more: none is attached, bus mastering and message
    /// interrupts are off, and requests under way have ended. Units that are PCI functions, and devices that firmware left
    /// at work in memory of theirs, go on.
    ///
    /// # Errors
    /// [`QuiesceError`] names who is in the way. All devices are tried.
    pub fn quiesce(&self, topology: &Topology<P>) -> Result<(), QuiesceError> {
        self.sweep();
        let unit_functions = {
            let state = self.state.lock();
            if matches!(state.phase, Phase::Changing | Phase::Asleep) {
                return Err(QuiesceError::Busy);
            }
            if !state.attached.is_empty() {
                let devices = state.attached.clone();
                return Err(QuiesceError::StillAttached { devices });
            }
            state.unit_functions.clone()
        };
        let mut outcome = Ok(());
        for function in topology
            .functions()
            .filter(|function| !function.is_bridge())
        {
            let device = function.address();
            let goes_on =
                unit_functions.contains(&device) || self.is_left_at_work(requester_of(function));
            if !goes_on && function.quiesce(PENDING_MS) == Transactions::StillPending {
                outcome = outcome.and(Err(QuiesceError::StillPending { device }));
            }
        }
        outcome
    }
}
