//! Getting back what a device was not confirmed to have lost: by asking its units again, and by resetting it.
//!
//! What makes which resource reusable:
//!
//! | resource | what must have happened |
//! |---|---|
//! | a quarantined buffer | every unit before the device confirmed an invalidation that began after the buffer's entries were cleared |
//! | its bus addresses, tables that led to it | the same |
//! | the device's own word for "forgotten" | its reset; it counts for nothing above, as a device can lie |
//!
//! Requests under way are covered by the first line: an invalidation is confirmed after they have drained. A reset function
//! makes none, and is a bus master again only after the units' word, so that nothing it remembers meets an address
//! that was given to another mapping.

use super::{Device, DeviceCore};
use crate::iommu::{Requester, RevokeError};
use crate::pci::{FunctionReset, FunctionResetError, ResetPatience};
use crate::platform::Platform;

/// Why a device was not reset, or got nothing back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResetError {
    /// The function.
    #[error(transparent)]
    Function(#[from] FunctionResetError),
    /// It was reset, but a unit still does not answer: its memory stays in quarantine, and its bus mastering off. The reset
    /// may be tried again.
    #[error("{}: it was reset, but its memory stays in quarantine: {}", .0.device, .0.error)]
    Unit(#[from] NotConfirmed),
}

/// The IOMMU did not confirm that a device lost what was taken from it earlier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{device}: what was taken from it is not confirmed to be lost to it: {error}")]
pub struct NotConfirmed {
    /// The device.
    pub device: Requester,
    /// What the IOMMU did.
    pub error: RevokeError,
}

/// A device that was reset, its bus mastering on again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceReset {
    /// How its function was reset.
    pub function: FunctionReset,
    /// Bytes of memory that came back from quarantine.
    pub recovered_bytes: u64,
}

impl<P: Platform> DeviceCore<P> {
    /// What [`Device::recover`] does.
    pub(crate) fn recover(&self) -> Result<u64, RevokeError> {
        // First what there is, then the question: what comes into quarantine meanwhile is not covered by the answer.
        let taken = self.quarantine.take();
        match self.route.recover() {
            // SAFETY: the unmap of each of these had failed, so its entries were cleared, before the units were asked;
            // and they confirmed.
            Ok(()) => Ok(unsafe { self.release_quarantined(taken) }),
            Err(error) => {
                self.quarantine.put_back(taken);
                Err(error)
            }
        }
    }
}

impl<P: Platform> Device<P> {
    /// Asks the units once more about memory they did not confirm the device to have lost: after they were
    /// [restarted](crate::system::DmaSystem::restart_units), or were slow. Returns how many bytes came back from
    /// quarantine: their owners are dropped, their bus addresses are free.
    ///
    /// # Errors
    /// [`NotConfirmed`] when a unit still does not answer; all stays in quarantine then.
    pub fn recover(&self) -> Result<u64, NotConfirmed> {
        let device = self.requester();
        self.core()
            .recover()
            .map_err(|error| NotConfirmed { device, error })
    }

    /// Resets the device, which forgets all it was told, and gets back the memory that was in quarantine because of it.
    ///
    /// What makes which resource reusable:
    ///
    /// | resource | what must have happened |
    /// |---|---|
    /// | a quarantined buffer, its bus addresses, tables that led to it | every unit before the device confirmed an invalidation that began after the entries were cleared |
    /// | bus mastering | the same, after the function came back from its reset |
    ///
    /// The reset alone gives no memory back: a device can lie, and what a unit remembers outlives it. A device without a unit
    /// before it has no quarantine, as nothing is ever taken from it.
    ///
    /// Mappings that live stay mapped, coherent memory too: the driver, which has to start the device anew, may use or
    /// unmap them. Message interrupts are to be programmed again ([`MsixTable::restore`](crate::pci::MsixTable::restore)).
    /// Sleeps for 100 ms and more.
    ///
    /// # Errors
    /// [`ResetError`]. Unless [nothing was done](FunctionResetError::nothing_was_done) the device is no bus master then.
    pub fn reset(&mut self, patience: ResetPatience) -> Result<DeviceReset, ResetError> {
        let core = self.core();
        let function = core.function.reset(patience)?;
        let recovered_bytes = self.recover()?;
        core.system.let_master(core);
        Ok(DeviceReset {
            function,
            recovered_bytes,
        })
    }
}
