//! Devices that left, and whose unit did not confirm it: asked again.

use core::sync::atomic::Ordering;

use super::DmaSystem;
use super::attach::requester_of;
use super::occupancy::Turn;
use crate::device::{DetachError, HeldBriefly};
use crate::iommu::Requester;
use crate::pci::Function;
use crate::platform::Platform;

/// Why a device is not free again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecoverError {
    /// It is not among those that were not confirmed to have left: it is attached, or never was, or somebody recovered it
    /// already.
    #[error("{device} is not waiting for its detach to be confirmed")]
    NotWaiting {
        /// The device.
        device: Requester,
    },
    /// [`DetachError::Unconfirmed`]: it was not confirmed this time either, and all is kept as before.
    /// [`DetachError::Shared`]: it was, but others of its group may reach mappings of it that still live.
    #[error(transparent)]
    Detach(#[from] DetachError),
}

impl<P: Platform> DmaSystem<P> {
    /// Detaches a device once more whose [detach](crate::device::Device::detach), or whose attach that failed, was not
    /// confirmed to be undone: after the units were [restarted](Self::restart_units), or were slow. When this returns `Ok`,
    /// it reaches nothing, and can be attached again once all of its [group](crate::group) that were not confirmed to have
    /// left were recovered. With the last of them memory that was kept because of them comes back, and mappings that live
    /// can be unmapped.
    ///
    /// # Errors
    /// [`RecoverError`].
    pub fn recover(&'static self, function: &Function<P>) -> Result<(), RecoverError> {
        let device = requester_of(function);
        let turn = Turn::of_group(self, device);
        if !turn.lost().iter().any(|lost| lost.device == device) {
            return Err(RecoverError::NotWaiting { device });
        }
        // `None` for one whose attach failed.
        let held = self.hold_unconfirmed(device);
        let outcome = self.take_out(device, &turn);
        if let (Ok(_), Some(held)) = (&outcome, &held) {
            let waits = &held.core().detach_unconfirmed;
            waits.store(false, Ordering::Release);
        }
        drop(turn);
        let outcome = outcome.and_then(|left| match &held {
            Some(held) => {
                let core = held.core();
                self.give_back(core, &left);
                // The hold counts as one.
                left.check(device, core.counters.live().saturating_sub(1))
            }
            None => {
                let ended = left.domain.filter(|domain| domain.is_revoked());
                ended.inspect(|domain| self.release_quarantines(domain));
                Ok(())
            }
        });
        drop(held);
        self.sweep();
        Ok(outcome?)
    }

    /// The core of a device whose detach was not confirmed. Whoever has the turn of its group knows that it stays so.
    fn hold_unconfirmed(&self, device: Requester) -> Option<HeldBriefly<P>> {
        let state = self.state.lock();
        let waits = state.cores().find(|core| {
            core.requester == device && core.detach_unconfirmed.load(Ordering::Acquire)
        })?;
        Some(HeldBriefly::new(waits))
    }
}
