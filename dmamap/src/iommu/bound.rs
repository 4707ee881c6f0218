//! The bound of every wait on a unit, and the error at its end.

use crate::addr::PhysAddr;
use crate::iommu::unit::UnitError;
use crate::platform::Platform;

/// How long one unit may take to answer.
#[derive(Clone, Copy)]
pub(crate) struct Bound<P: Platform> {
    platform: P,
    unit: PhysAddr,
    bound_ms: u64,
}

impl<P: Platform> Bound<P> {
    /// Waits on the unit whose registers are at `unit` last `bound_ms` milliseconds at most.
    pub(crate) fn new(platform: P, unit: PhysAddr, bound_ms: u64) -> Self {
        Self {
            platform,
            unit,
            bound_ms,
        }
    }

    /// Physical address of the unit's registers: its name in messages.
    pub(crate) fn unit(&self) -> PhysAddr {
        self.unit
    }

    /// When a wait that begins now has lasted too long.
    pub(crate) fn deadline_ns(&self) -> u64 {
        self.platform
            .now_ns()
            .saturating_add(self.bound_ms.saturating_mul(1_000_000))
    }

    /// One turn of a wait for `command`: an error once the deadline has passed.
    pub(crate) fn pause(&self, deadline_ns: u64, command: &'static str) -> Result<(), UnitError> {
        if self.platform.now_ns() >= deadline_ns {
            return Err(self.timed_out(command));
        }
        self.platform.relax();
        Ok(())
    }

    /// Waits until `done` says yes.
    pub(crate) fn until(
        &self,
        command: &'static str,
        mut done: impl FnMut() -> bool,
    ) -> Result<(), UnitError> {
        let deadline_ns = self.deadline_ns();
        while !done() {
            self.pause(deadline_ns, command)?;
        }
        Ok(())
    }

    /// The error of a wait for `command` that has lasted too long.
    pub(crate) fn timed_out(&self, command: &'static str) -> UnitError {
        UnitError::TimedOut {
            unit: self.unit,
            command,
            bound_ms: self.bound_ms,
        }
    }
}
