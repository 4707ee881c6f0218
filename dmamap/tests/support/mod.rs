//! A platform of nothing but memory, for tests of what needs nothing else; and reproducible randomness.
// Each test binary uses a part, and none is a library.
#![allow(dead_code, unreachable_pub, unused_imports)]

mod arena;
mod lock;
mod random;

pub use arena::{Arena, LINE_BYTES, Line, Memory, POISON_WORD};
pub use lock::{SpinLock, locks_held};
pub use random::Random;
