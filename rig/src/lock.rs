//! A lock for platforms of tests.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, Ordering};

thread_local! {
    static HELD: Cell<usize> = const { Cell::new(0) };
}

/// How many locks this thread holds.
pub fn locks_held() -> usize {
    HELD.with(Cell::get)
}

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
        let taken = !self.0.swap(true, Ordering::Acquire);
        HELD.with(|held| held.set(held.get() + usize::from(taken)));
        taken
    }

    unsafe fn unlock(&self) {
        self.0.store(false, Ordering::Release);
        // Guards stay on their thread in these tests.
        let others = HELD.get().checked_sub(1);
        HELD.set(others.expect("this thread took the lock"));
    }
}
