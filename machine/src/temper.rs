//! How a model treats what hardware is free to do: remember or forget, early or late.
//!
//! ```
//! use machine::temper::{Dice, Temper};
//!
//! let dice = Dice::new(7);
//! assert!(!Temper::Keep.forgets(&dice));
//! assert!(Temper::Forget.forgets(&dice));
//! assert_eq!(Dice::new(7).next_u64(), Dice::new(7).next_u64(), "a seed repeats a run's choices");
//! ```

use std::sync::atomic::{AtomicU64, Ordering};

/// The temper of the models' caches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Temper {
    /// Caches forget nothing that was not invalidated: a forgotten invalidation is found.
    #[default]
    Keep,
    /// Caches keep nothing, every access walks: a table freed too early is found.
    Forget,
    /// Each time the dice decide, from this seed.
    Random(u64),
}

impl Temper {
    /// Whether a cache drops what it could keep, this time.
    pub fn forgets(self, dice: &Dice) -> bool {
        match self {
            Self::Keep => false,
            Self::Forget => true,
            Self::Random(_) => dice.one_in(3),
        }
    }
}

/// A seeded source of choices (SplitMix64), shared by threads without a lock.
#[derive(Debug)]
pub struct Dice {
    state: AtomicU64,
}

impl Dice {
    /// Dice that fall as `seed` says.
    pub fn new(seed: u64) -> Self {
        Self {
            state: AtomicU64::new(seed),
        }
    }

    /// Any 64-bit number.
    pub fn next_u64(&self) -> u64 {
        const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
        let mut z = self
            .state
            .fetch_add(STEP, Ordering::Relaxed)
            .wrapping_add(STEP);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound` (0 for a bound of 0).
    pub fn below(&self, bound: u64) -> u64 {
        ((u128::from(self.next_u64()) * u128::from(bound)) >> 64) as u64
    }

    /// True once in `n` times, on average.
    pub fn one_in(&self, n: u64) -> bool {
        self.below(n) == 0
    }
}
