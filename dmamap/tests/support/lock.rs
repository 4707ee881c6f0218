//! A lock for platforms of tests.

use std::sync::atomic::{AtomicBool, Ordering};

/// A lock that spins.
pub struct SpinLock(AtomicBool);

// SAFETY: only one caller of `swap` sees false until `unlock` stores it again.
unsafe impl lock_api::RawMutex for SpinLock {
    const INIT: Self = Self(AtomicBool::new(false));
    type GuardMarker = lock_api::GuardSend;

    fn lock(&self) {
        while !self.try_lock() {
            std::thread::yield_now();
        }
    }

    fn try_lock(&self) -> bool {
        !self.0.swap(true, Ordering::Acquire)
    }

    unsafe fn unlock(&self) {
        self.0.store(false, Ordering::Release);
    }
}
