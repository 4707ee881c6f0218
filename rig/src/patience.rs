//! Waiting in tests: it has an end, whatever the host is busy with, and whatever fails meanwhile.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// After which what should have come to be long ago counts as never, however busy the host is.
pub const NEVER: Duration = Duration::from_secs(100);

/// Waits until `is_so`.
pub fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < NEVER, "never: {what}");
        thread::sleep(Duration::from_micros(100));
    }
}

/// Tells other threads to stop when it is dropped: also when the test fails.
pub struct StopOnDrop<'a>(pub &'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}
