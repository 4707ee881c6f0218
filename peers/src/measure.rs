//! Contestants take turns, so that what disturbs the machine disturbs each alike.
//!
//! ```
//! use peers::measure::{Contestant, Effort, Timer, measure};
//!
//! let timer = Timer::calibrated();
//! let work = Box::new(move || Ok(vec![timer.time(|| { std::hint::black_box(1 + 1); })]));
//! let took = measure(vec![Contestant { peer: "addition", sample: work }], Effort { rounds: 5, ..Effort::default() })?;
//! assert_eq!(took[0].phases.len(), 1);
//! # Ok::<(), peers::PeersError>(())
//! ```

use std::time::Instant;

use crate::PeersError;
use crate::statistics::Summary;

/// How much is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Effort {
    /// Samples that are taken and not counted.
    pub warm_up: usize,
    /// Samples that count, of each contestant.
    pub rounds: usize,
    /// About how long a sample should take, where it can be chosen, in nanoseconds.
    pub sample_ns: u64,
}

impl Default for Effort {
    fn default() -> Self {
        Self {
            warm_up: 5,
            rounds: 101,
            sample_ns: 150_000,
        }
    }
}

/// Who is measured. A sample is nanoseconds per operation, one number for each phase of the load.
pub struct Contestant<'a> {
    /// Its name.
    pub peer: &'static str,
    /// Takes one sample.
    pub sample: Box<dyn FnMut() -> Result<Vec<f64>, PeersError> + 'a>,
}

/// What a contestant took.
#[derive(Clone, Debug, PartialEq)]
pub struct Took {
    /// Its name.
    pub peer: &'static str,
    /// A summary for each phase of the load.
    pub phases: Vec<Summary>,
}

/// Takes samples of all contestants in turn. The next round begins with another of them.
///
/// # Errors
/// The first that a contestant makes.
pub fn measure(
    mut contestants: Vec<Contestant<'_>>,
    effort: Effort,
) -> Result<Vec<Took>, PeersError> {
    for contestant in &mut contestants {
        for _ in 0..effort.warm_up {
            (contestant.sample)()?;
        }
    }
    let count = contestants.len();
    let mut samples: Vec<Vec<Vec<f64>>> = vec![Vec::new(); count];
    for round in 0..effort.rounds.max(1) {
        for turn in 0..count {
            let number = (round + turn) % count;
            let sample = (contestants[number].sample)()?;
            samples[number].resize(sample.len(), Vec::new());
            for (phase, ns) in samples[number].iter_mut().zip(sample) {
                phase.push(ns);
            }
        }
    }
    let summaries =
        |phases: &Vec<Vec<f64>>| phases.iter().filter_map(|ns| Summary::of(ns)).collect();
    let took = contestants.iter().zip(&samples);
    Ok(took
        .map(|(contestant, phases)| Took {
            peer: contestant.peer,
            phases: summaries(phases),
        })
        .collect())
}

/// A clock that knows what looking at it costs.
#[derive(Clone, Copy, Debug)]
pub struct Timer {
    overhead_ns: f64,
}

impl Timer {
    /// Measures what it costs.
    pub fn calibrated() -> Self {
        let look = |_| elapsed_ns(|| {});
        let overhead_ns = (0..1000).map(look).fold(f64::INFINITY, f64::min);
        Self { overhead_ns }
    }

    /// How long `work` takes, in nanoseconds.
    #[inline]
    pub fn time(&self, work: impl FnOnce()) -> f64 {
        (elapsed_ns(work) - self.overhead_ns).max(0.0)
    }
}

#[inline]
fn elapsed_ns(work: impl FnOnce()) -> f64 {
    let start = Instant::now();
    work();
    start.elapsed().as_nanos() as f64
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    #[test]
    fn contestants_take_turns_and_begin_in_turn() {
        let order = RefCell::new(Vec::new());
        let contestant = |peer: &'static str, ns: f64| Contestant {
            peer,
            sample: Box::new({
                let order = &order;
                move || {
                    order.borrow_mut().push(peer);
                    Ok(vec![ns, 2.0 * ns])
                }
            }),
        };
        let effort = Effort {
            warm_up: 1,
            rounds: 3,
            sample_ns: 1,
        };
        let took = measure(vec![contestant("a", 1.0), contestant("b", 5.0)], effort).unwrap();
        assert_eq!(
            order.borrow().as_slice(),
            ["a", "b", "a", "b", "b", "a", "a", "b"]
        );
        let medians: Vec<_> = took
            .iter()
            .map(|took| (took.peer, took.phases[0].median, took.phases[1].median))
            .collect();
        assert_eq!(medians, [("a", 1.0, 2.0), ("b", 5.0, 10.0)]);
    }

    #[test]
    fn a_contestant_that_fails_ends_the_run() {
        let failing = Contestant {
            peer: "a",
            sample: Box::new(|| Err(PeersError::failed("a", "run"))),
        };
        let error = measure(vec![failing], Effort::default()).unwrap_err();
        assert_eq!(error.to_string(), "a could not run");
    }

    #[test]
    fn a_timer_times() {
        let timer = Timer::calibrated();
        let slept = timer.time(|| std::thread::sleep(std::time::Duration::from_millis(2)));
        assert!(slept >= 1.9e6, "{slept}");
        assert!(timer.time(|| {}) >= 0.0);
    }
}
