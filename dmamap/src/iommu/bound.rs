//! The bound of every wait on a unit, and the error at its end.

use crate::addr::PhysAddr;
use crate::iommu::unit::UnitError;
use crate::platform::Platform;

/// Which of the looks at a unit this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Look {
    /// Another may follow, and less than half of the time has passed.
    Early,
    /// Another may follow, but time runs out: the one to count on nobody else at.
    Late,
    /// It begins after the deadline, and none follows: the one to spare nothing at.
    Last,
}

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

    /// Looks at the unit until `look` has found what it looks for, or `deadline_ns` has passed: then once more. It may be the
    /// CPU that was late to look, not the unit.
    ///
    /// # Errors
    /// Those of `look`; [`UnitError::TimedOut`] names `command`.
    pub(crate) fn look_until<R>(
        &self,
        deadline_ns: u64,
        command: &'static str,
        look: impl FnMut(Look) -> Result<Option<R>, UnitError>,
    ) -> Result<R, UnitError> {
        let late_ns = deadline_ns.saturating_sub(self.bound_ms.saturating_mul(1_000_000) / 2);
        let next = || match self.platform.now_ns() {
            now_ns if now_ns >= deadline_ns => Look::Last,
            now_ns if now_ns >= late_ns => Look::Late,
            _ => Look::Early,
        };
        let found = look_until(next, || self.platform.relax(), look)?;
        found.ok_or_else(|| self.timed_out(command))
    }

    /// Waits until `done` says yes.
    pub(crate) fn until(
        &self,
        command: &'static str,
        mut done: impl FnMut() -> bool,
    ) -> Result<(), UnitError> {
        self.look_until(self.deadline_ns(), command, |_| Ok(done().then_some(())))
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

/// What `look` found, if it did before it had begun after the deadline once; `next` says which look comes.
fn look_until<R, E>(
    next: impl Fn() -> Look,
    relax: impl Fn(),
    mut look: impl FnMut(Look) -> Result<Option<R>, E>,
) -> Result<Option<R>, E> {
    let mut which = Look::Early;
    loop {
        if let Some(found) = look(which)? {
            return Ok(Some(found));
        }
        which = next();
        if which == Look::Last {
            return look(Look::Last);
        }
        relax();
    }
}

#[cfg(test)]
mod tests {
    use core::cell::Cell;

    use super::*;

    #[test]
    fn a_cpu_that_was_away_until_after_the_deadline_looks_once_more() {
        // The unit answers after the first look, and the deadline passes, before the clock is read.
        let answered = Cell::new(false);
        let overdue = || {
            answered.set(true);
            Look::Last
        };
        let look = |_| Ok::<_, ()>(answered.get().then_some(7));
        assert_eq!(look_until(overdue, || (), look), Ok(Some(7)));
    }

    #[test]
    fn the_last_look_is_one_and_known_to_be_it() {
        let (looks, last) = (Cell::new(0), Cell::new(0));
        let look = |which| {
            looks.set(looks.get() + 1);
            last.set(last.get() + u32::from(which == Look::Last));
            Ok::<Option<()>, ()>(None)
        };
        let next = || match looks.get() {
            1 => Look::Early,
            2 => Look::Late,
            _ => Look::Last,
        };
        assert_eq!(look_until(next, || (), look), Ok(None));
        assert_eq!((looks.get(), last.get()), (4, 1));
    }

    #[test]
    fn an_error_ends_the_wait() {
        let look = |_| Err::<Option<()>, _>("gone");
        assert_eq!(look_until(|| Look::Early, || (), look), Err("gone"));
    }
}
