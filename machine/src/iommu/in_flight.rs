//! Drain: an invalidation is complete only when every transaction that used what it removed is done.
//!
//! ```
//! use machine::iommu::in_flight::Gate;
//!
//! let gate = Gate::new();
//! let transaction = gate.enter();
//! // … look up, copy …
//! let drain = gate.begin_drain();
//! assert!(!gate.is_drained(drain));
//! let later = gate.enter();
//! drop(transaction);
//! assert!(gate.is_drained(drain), "who entered later is not waited for");
//! # drop(later);
//! ```

use std::sync::atomic::{AtomicUsize, Ordering};

/// Counts transactions in flight in two generations, so that a drain waits for those before it and is not
/// kept waiting by those after it. Nobody blocks: the one who drains asks again.
#[derive(Debug, Default)]
pub struct Gate {
    /// Its lowest bit is the generation that new transactions join.
    generation: AtomicUsize,
    in_flight: [AtomicUsize; 2],
}

/// A transaction in flight; it lands when this is dropped.
#[derive(Debug)]
pub struct Guard<'a> {
    count: &'a AtomicUsize,
}

/// A drain that was begun: the generation it waits for.
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct Drain {
    generation: usize,
}

impl Gate {
    /// Nothing in flight.
    pub fn new() -> Self {
        Self::default()
    }

    /// A transaction takes off. Look translations up only after this.
    pub fn enter(&self) -> Guard<'_> {
        loop {
            let generation = self.generation.load(Ordering::SeqCst);
            let count = &self.in_flight[generation & 1];
            count.fetch_add(1, Ordering::SeqCst);
            // A drain that began in between may not have seen the count: join the next generation then.
            if self.generation.load(Ordering::SeqCst) == generation {
                return Guard { count };
            }
            count.fetch_sub(1, Ordering::SeqCst);
        }
    }

    /// Begins to wait for all who are in flight now; what they must not use any more was removed before.
    /// One drain at a time: the next begins when [`is_drained`](Self::is_drained) has said yes, as a
    /// generation's count is used again two drains later.
    pub fn begin_drain(&self) -> Drain {
        Drain {
            generation: self.generation.fetch_add(1, Ordering::SeqCst),
        }
    }

    /// Whether all `drain` waits for have landed.
    pub fn is_drained(&self, drain: Drain) -> bool {
        self.in_flight[drain.generation & 1].load(Ordering::SeqCst) == 0
    }

    /// How many are in flight now.
    pub fn in_flight(&self) -> usize {
        self.in_flight
            .iter()
            .map(|count| count.load(Ordering::SeqCst))
            .sum()
    }
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        self.count.fetch_sub(1, Ordering::SeqCst);
    }
}
