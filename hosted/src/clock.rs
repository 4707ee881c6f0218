//! The clock.

use std::sync::OnceLock;
use std::time::Instant;

/// Nanoseconds since the process first asked. One clock for all kernels of the process; it never goes back.
pub(crate) fn now_ns() -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    u64::try_from(START.get_or_init(Instant::now).elapsed().as_nanos()).unwrap_or(u64::MAX)
}
