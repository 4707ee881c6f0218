//! Units that lost their state, or hang: started again with every domain as it is.

use super::{DmaSystem, Phase};
use crate::iommu::UnitError;
use crate::platform::Platform;

/// Why the units were not restarted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RestartError {
    /// No unit runs, or somebody is starting or stopping them, or they did not stop.
    #[error("the IOMMU units do not run, or are being started or stopped by somebody else")]
    NotRunning,
    /// A unit did not answer. It may be tried again; until then nothing that goes through it is confirmed, and nothing
    /// is attached.
    #[error(transparent)]
    Unit(#[from] UnitError),
}

impl<P: Platform> DmaSystem<P> {
    /// Resets every unit and makes it go on with the domains there are: after the machine slept, or a unit stopped its
    /// queue. What is mapped stays mapped, what is not stays out of reach, devices stay attached. Nothing that a unit
    /// remembered of before is left, so an unmap that was waiting meanwhile is confirmed.
    ///
    /// # Errors
    /// [`RestartError`]; all units are tried.
    ///
    /// # Safety
    /// While a unit is reset it may let requests through untranslated. The caller vouches that no device makes
    /// requests until this has returned `Ok`, but those it trusts with all memory: they sleep, or are quiet.
    pub unsafe fn restart_units(&self) -> Result<(), RestartError> {
        let units = {
            let mut state = self.state.lock();
            if !matches!(state.phase, Phase::Running | Phase::Broken) {
                return Err(RestartError::NotRunning);
            }
            // Nobody attaches or stops meanwhile.
            state.phase = Phase::Changing;
            state.units.clone()
        };
        let mut outcome = Ok(());
        for unit in units.iter() {
            unit.service_faults(&self.faults);
            outcome = outcome.and(unit.restart());
        }
        // What is attached to a unit that does not translate would be confined by nothing.
        self.state.lock().phase = match outcome {
            Ok(()) => Phase::Running,
            Err(_) => Phase::Broken,
        };
        Ok(outcome?)
    }
}
