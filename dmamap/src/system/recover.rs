//! Devices that left, and whose unit did not confirm it: asked again.

use core::ptr::NonNull;
use core::sync::atomic::Ordering;

use super::attach::requester_of;
use super::{CoreSlot, DmaSystem};
use crate::device::{DetachError, DeviceCore};
use crate::iommu::Requester;
use crate::pci::Function;
use crate::platform::Platform;

/// Why a device is not free again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecoverError {
    /// It is not among those whose detach was not confirmed: it is attached, or never was, or somebody is recovering it
    /// at this moment.
    #[error("{device} is not waiting for its detach to be confirmed")]
    NotWaiting {
        /// The device.
        device: Requester,
    },
    /// It was not confirmed this time either. All is kept as before.
    #[error(transparent)]
    Detach(#[from] DetachError),
}

impl<P: Platform> DmaSystem<P> {
    /// Detaches a device once more whose [detach](crate::device::Device::detach) was not confirmed: after the units were
    /// [restarted](Self::restart_units), or were slow. When this returns `Ok`, it reaches nothing: memory that was kept
    /// because of it comes back, mappings that live can be unmapped, and it can be attached again.
    ///
    /// # Errors
    /// [`RecoverError`].
    pub fn recover(&self, function: &Function<P>) -> Result<(), RecoverError> {
        let device = requester_of(function);
        let waiting = self.take_waiting(device);
        let core = waiting.ok_or(RecoverError::NotWaiting { device })?;
        // SAFETY: a core is freed by `sweep` alone, once it is out of the list, or in it and unreferenced; this one is out
        // of the list.
        let outcome = self.detach(unsafe { core.as_ref() });
        if outcome.is_ok() {
            // SAFETY: as above.
            let waits = unsafe { &core.as_ref().detach_unconfirmed };
            waits.store(false, Ordering::Release);
        }
        self.state.lock().cores.push(CoreSlot(core));
        self.sweep();
        Ok(outcome?)
    }

    /// Takes the core of a device that waits for its detach to be confirmed out of the list, so that nobody else has it.
    fn take_waiting(&self, device: Requester) -> Option<NonNull<DeviceCore<P>>> {
        let mut state = self.state.lock();
        let index = state.cores.iter().position(|slot| {
            // SAFETY: a core in the list has not been freed.
            let core = unsafe { slot.0.as_ref() };
            core.requester == device && core.detach_unconfirmed.load(Ordering::Acquire)
        })?;
        Some(state.cores.swap_remove(index).0)
    }
}
