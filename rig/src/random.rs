//! Random numbers that a printed seed brings back.

use std::cell::Cell;

/// SplitMix64.
pub struct Random(Cell<u64>);

impl Random {
    /// Seeded from the variable `SEED`, or else `default`; prints which, and tests show it when they fail.
    pub fn from_environment(default: u64) -> Self {
        let seed = std::env::var("SEED")
            .ok()
            .and_then(|seed| seed.parse().ok())
            .unwrap_or(default);
        println!("SEED={seed}");
        Self(Cell::new(seed))
    }

    /// Seeded with `seed`, for one of several that another seeds.
    pub fn seeded(seed: u64) -> Self {
        Self(Cell::new(seed))
    }

    /// The next number.
    pub fn next(&self) -> u64 {
        let mut z = self.0.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.0.set(z);
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    /// One of `0..bound`.
    pub fn below(&self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// One of `choices`, of which there must be one.
    pub fn pick<T: Copy>(&self, choices: &[T]) -> T {
        choices[self.below(choices.len() as u64) as usize]
    }
}
