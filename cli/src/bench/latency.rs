//! Latencies, in nanoseconds: every one is recorded, in buckets no wider than a thousandth of what they hold.

use std::hint::black_box;
use std::time::{Duration, Instant};

use hdrhistogram::{CreationError, Histogram};
use serde_json::{Value, json};

/// The longest that is told apart, in nanoseconds: an hour. What took longer counts as that.
const LONGEST_NS: u64 = 3_600_000_000_000;
/// Decimal digits that are kept.
const DIGITS: u8 = 3;
/// Readings of the clock from which its cost is taken.
const CLOCK_READINGS: u32 = 100_000;

/// How long each of many operations took.
#[derive(Clone)]
pub(super) struct Latency(Histogram<u64>);

impl Latency {
    /// None yet. All memory it needs is taken here.
    pub(super) fn new() -> Result<Self, CreationError> {
        Histogram::new_with_bounds(1, LONGEST_NS, DIGITS).map(Self)
    }

    /// One operation took so long.
    pub(super) fn record(&mut self, took: Duration) {
        let ns = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.0.saturating_record(ns);
    }

    /// None again. What memory there is has been touched then.
    pub(super) fn forget(&mut self) {
        self.0.reset();
    }

    /// Adds another thread's.
    pub(super) fn merge(&mut self, other: &Self) {
        // All have the same bounds, so that nothing of the other's is out of range.
        let added = self.0.add(&other.0);
        debug_assert!(added.is_ok());
    }

    /// Operations.
    pub(super) fn count(&self) -> u64 {
        self.0.len()
    }

    /// What they come to.
    pub(super) fn summary(&self) -> Summary {
        let at = |quantile| self.0.value_at_quantile(quantile);
        Summary {
            count: self.0.len(),
            mean: self.0.mean(),
            min: self.0.min(),
            p50: at(0.5),
            p99: at(0.99),
            p999: at(0.999),
            max: self.0.max(),
        }
    }
}

/// What many latencies come to, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Summary {
    pub(super) count: u64,
    pub(super) mean: f64,
    pub(super) min: u64,
    /// Half of them took no longer.
    pub(super) p50: u64,
    /// 99 of 100 took no longer.
    pub(super) p99: u64,
    /// 999 of 1000 took no longer.
    pub(super) p999: u64,
    pub(super) max: u64,
}

impl Summary {
    /// For programs.
    pub(super) fn json(&self) -> Value {
        json!({
            "count": self.count,
            "mean_ns": self.mean,
            "min_ns": self.min,
            "p50_ns": self.p50,
            "p99_ns": self.p99,
            "p999_ns": self.p999,
            "max_ns": self.max,
        })
    }
}

/// What one reading of the clock costs, in nanoseconds: it is part of each latency once.
pub(super) fn clock_ns() -> f64 {
    let started = Instant::now();
    for _ in 0..CLOCK_READINGS {
        black_box(Instant::now());
    }
    started.elapsed().as_nanos() as f64 / f64::from(CLOCK_READINGS)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether `value` is `wanted` to three digits.
    fn about(value: u64, wanted: u64) -> bool {
        value.abs_diff(wanted) * 1000 <= wanted
    }

    #[test]
    fn percentiles_are_of_all_threads_together() {
        let (mut one, mut other) = (Latency::new().unwrap(), Latency::new().unwrap());
        for ns in 1..=500 {
            one.record(Duration::from_nanos(ns * 1000));
            other.record(Duration::from_nanos((500 + ns) * 1000));
        }
        one.merge(&other);
        let all = one.summary();
        assert_eq!((one.count(), all.count), (1000, 1000));
        assert!(about(all.min, 1000), "{all:?}");
        assert!(about(all.p50, 500_000), "{all:?}");
        assert!(about(all.p99, 990_000), "{all:?}");
        assert!(about(all.p999, 999_000), "{all:?}");
        assert!(about(all.max, 1_000_000), "{all:?}");
        assert!(about(all.mean as u64, 500_500), "{all:?}");
    }

    #[test]
    fn what_takes_longer_than_can_be_told_is_not_lost() {
        let mut latency = Latency::new().unwrap();
        latency.record(Duration::ZERO);
        latency.record(Duration::MAX);
        let all = latency.summary();
        assert_eq!(all.count, 2);
        assert!(about(all.max, LONGEST_NS), "{all:?}");
    }
}
