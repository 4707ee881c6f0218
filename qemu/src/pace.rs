//! How far QEMU's clock goes while somebody waits for a device.
//!
//! Time stands still there unless it is told to pass, and every look at a register and every step of the clock is a message
//! there and one back. So a wait begins with short steps, which are exact, and goes on with longer ones: a transfer of
//! 100 ms takes seven looks, not a hundred.

use std::sync::atomic::{AtomicU64, Ordering};

/// The first step of a wait.
const SHORTEST_NS: u64 = 1_000_000;

/// Longer is none: whoever else waits meanwhile sees the clock go by as much.
const LONGEST_NS: u64 = 64_000_000;

/// The next step.
pub(crate) struct Pace(AtomicU64);

impl Pace {
    pub(crate) fn new() -> Self {
        Self(AtomicU64::new(SHORTEST_NS))
    }

    /// Nanoseconds that may pass now, as somebody waits.
    pub(crate) fn step_ns(&self) -> u64 {
        // Another who waits at the same moment may double it too, or not: either is a step within the bounds.
        let step_ns = self.0.load(Ordering::Relaxed);
        let next_ns = (2 * step_ns).min(LONGEST_NS);
        self.0.store(next_ns, Ordering::Relaxed);
        step_ns
    }

    /// Devices were told something: the next wait is another one.
    pub(crate) fn begin_anew(&self) {
        self.0.store(SHORTEST_NS, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_of_100_ms_takes_seven_steps() {
        let pace = Pace::new();
        let steps: Vec<u64> = (0..7).map(|_| pace.step_ns() / SHORTEST_NS).collect();
        assert_eq!(steps, [1, 2, 4, 8, 16, 32, 64]);
        assert!(steps.iter().sum::<u64>() >= 100);
        assert_eq!(pace.step_ns(), LONGEST_NS);
        assert_eq!(pace.step_ns(), LONGEST_NS);
        pace.begin_anew();
        assert_eq!(pace.step_ns(), SHORTEST_NS);
    }
}
