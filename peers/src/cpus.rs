//! The CPUs of the platform: each thread is one, with a number of its own, from its first use to its end.
//!
//! ```
//! let mine = peers::cpus::current();
//! let other = std::thread::spawn(peers::cpus::current).join();
//! assert!(mine < peers::cpus::COUNT && other.is_ok_and(|other| other != mine));
//! ```

use std::cell::Cell;
use std::sync::Mutex;
use std::sync::OnceLock;

use rustix::thread::{MembarrierCommand, membarrier};

/// How many threads there are at most.
pub const COUNT: usize = 64;

/// A bit for each number that a thread has.
static TAKEN: Mutex<u64> = Mutex::new(0);

thread_local! {
    /// This thread's number. Without a destructor, so that asking is one load.
    static NUMBER: Cell<usize> = const { Cell::new(usize::MAX) };
    static SEAT: Cell<Option<Seat>> = const { Cell::new(None) };
}

/// Gives a number back.
struct Seat(usize);

impl Drop for Seat {
    fn drop(&mut self) {
        if let Ok(mut taken) = TAKEN.lock() {
            *taken &= !(1 << self.0);
        }
    }
}

/// The calling thread's number, below [`COUNT`].
///
/// # Panics
/// When as many threads have one already.
#[inline]
#[must_use]
pub fn current() -> usize {
    let number = NUMBER.get();
    if number < COUNT { number } else { sit() }
}

#[cold]
fn sit() -> usize {
    let mut taken = TAKEN.lock().expect("nobody panics with the lock");
    let number = taken.trailing_ones() as usize;
    assert!(number < COUNT, "no number left for one more thread");
    *taken |= 1 << number;
    SEAT.set(Some(Seat(number)));
    NUMBER.set(number);
    number
}

/// Whether [`fence_all`] can be.
pub fn can_fence_all() -> bool {
    static REGISTERED: OnceLock<bool> = OnceLock::new();
    *REGISTERED.get_or_init(|| membarrier(MembarrierCommand::RegisterPrivateExpedited).is_ok())
}

/// Has all threads of the process that run execute a barrier.
///
/// # Panics
/// Where it [cannot be](can_fence_all).
pub fn fence_all() {
    membarrier(MembarrierCommand::PrivateExpedited).expect("the process is registered for it");
}
