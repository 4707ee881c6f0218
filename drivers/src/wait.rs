//! Bounded waits: no loop of a driver trusts hardware to end it.

use core::time::Duration;

use dmamap::platform::Platform;

/// How long hardware that is overdue is looked at once more: perhaps it was this thread that did not run, not
/// the hardware.
const GRACE_NS: u64 = 100_000_000;

/// A duration on the platform's clock; one beyond the clock's end never passes.
pub(crate) fn as_ns(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// A duration for messages.
pub(crate) fn as_ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// When a wait is over.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadline {
    at_ns: u64,
    overdue_since_ns: Option<u64>,
}

impl Deadline {
    /// A wait that began at `start_ns` of the platform's clock and may take `timeout`.
    pub(crate) fn after(start_ns: u64, timeout: Duration) -> Self {
        Self {
            at_ns: start_ns.saturating_add(as_ns(timeout)),
            overdue_since_ns: None,
        }
    }

    /// Whether the wait is over for one who looked at the hardware at `now_ns` or later, in vain. It is not
    /// before it was asked twice, some time apart.
    pub(crate) fn has_passed(&mut self, now_ns: u64) -> bool {
        now_ns >= self.at_ns
            && now_ns.saturating_sub(*self.overdue_since_ns.get_or_insert(now_ns)) >= GRACE_NS
    }
}

/// Calls `poll` until it returns a value, or until `timeout` has passed: then `None`.
pub(crate) fn wait_until<P: Platform, R>(
    platform: &P,
    timeout: Duration,
    mut poll: impl FnMut() -> Option<R>,
) -> Option<R> {
    let mut deadline = Deadline::after(platform.now_ns(), timeout);
    loop {
        let now_ns = platform.now_ns();
        if let Some(value) = poll() {
            return Some(value);
        }
        if deadline.has_passed(now_ns) {
            return None;
        }
        platform.relax();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_who_did_not_run_looks_again_before_giving_up() {
        let mut deadline = Deadline::after(1_000, Duration::from_secs(1));
        assert!(!deadline.has_passed(2_000));
        assert!(
            !deadline.has_passed(90_000_000_000),
            "nobody looked in between"
        );
        assert!(!deadline.has_passed(90_000_000_000 + GRACE_NS - 1));
        assert!(deadline.has_passed(90_000_000_000 + GRACE_NS));
    }

    #[test]
    fn a_time_out_beyond_the_clock_never_passes() {
        let mut deadline = Deadline::after(1, Duration::MAX);
        assert!(!deadline.has_passed(u64::MAX - 1));
    }
}
