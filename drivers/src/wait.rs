//! Bounded waits: no loop of a driver trusts hardware to end it.

use core::time::Duration;

use dmamap::platform::Platform;

/// A duration on the platform's clock; one beyond the clock's end never passes.
pub(crate) fn as_ns(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// A duration for messages.
pub(crate) fn as_ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Calls `poll` until it returns a value, or until `timeout` has passed: then `None`.
///
/// The condition is looked at once more after the clock passed the deadline, so that a caller that was
/// kept from running does not take its own absence for the hardware's.
pub(crate) fn wait_until<P: Platform, R>(
    platform: &P,
    timeout: Duration,
    mut poll: impl FnMut() -> Option<R>,
) -> Option<R> {
    let deadline = platform.now_ns().saturating_add(as_ns(timeout));
    loop {
        let last_look = platform.now_ns() >= deadline;
        if let Some(value) = poll() {
            return Some(value);
        }
        if last_look {
            return None;
        }
        platform.relax();
    }
}
