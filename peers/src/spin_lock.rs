//! The lock that stands for a domain's: taken without others, one locked operation and a store, as in a kernel.
//!
//! ```
//! let lock: peers::spin_lock::Locked<u32> = lock_api::Mutex::new(1);
//! *lock.lock() += 1;
//! assert_eq!(*lock.lock(), 2);
//! ```

use std::sync::atomic::{AtomicBool, Ordering};

/// What a lock keeps.
pub type Locked<T> = lock_api::Mutex<SpinLock, T>;

/// A lock that spins.
pub struct SpinLock(AtomicBool);

// SAFETY: only one caller of `swap` sees false until `unlock` stores it again.
unsafe impl lock_api::RawMutex for SpinLock {
    const INIT: Self = Self(AtomicBool::new(false));
    type GuardMarker = lock_api::GuardSend;

    #[inline]
    fn lock(&self) {
        while !self.try_lock() {
            while self.0.load(Ordering::Relaxed) {
                std::hint::spin_loop();
            }
        }
    }

    #[inline]
    fn try_lock(&self) -> bool {
        !self.0.swap(true, Ordering::Acquire)
    }

    #[inline]
    unsafe fn unlock(&self) {
        self.0.store(false, Ordering::Release);
    }
}
