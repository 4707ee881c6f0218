//! What tests do to a unit's queue of commands, to try a driver's patience.

use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use crate::temper::Dice;

/// Something that goes wrong with the next command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueueFault {
    /// It cannot be fetched: the queue stops with the unit's error for that.
    FetchError,
    /// It is passed over: an invalidation invalidates nothing, a wait tells nobody.
    Lost,
}

/// Hooks of one queue.
#[derive(Debug, Default)]
pub(super) struct QueueHooks {
    /// Commands are not looked at.
    pub(super) held: bool,
    /// What the next command meets.
    pub(super) fault: Option<QueueFault>,
    /// How long after the tail was written the unit looks at it.
    pub(super) latency: Duration,
    not_before: Option<Instant>,
    wait_latency: Option<WaitLatency>,
    /// When the wait at the head is over, once it was begun.
    wait_over: Option<Instant>,
}

/// How long commands take that tell software that all before them are done.
#[derive(Debug)]
struct WaitLatency {
    microseconds: RangeInclusive<u64>,
    dice: Dice,
}

impl QueueHooks {
    /// Software wrote the tail.
    pub(super) fn tail_written(&mut self) {
        self.not_before = (!self.latency.is_zero()).then(|| Instant::now() + self.latency);
    }

    /// Whether the unit does not look at the queue yet.
    pub(super) fn is_early(&self) -> bool {
        let moments = [self.not_before, self.wait_over];
        let mut moments = moments.into_iter().flatten();
        moments.any(|moment| Instant::now() < moment)
    }

    /// From now on a wait takes some time out of `microseconds`, by dice of `seed`.
    pub(super) fn slow_waits(&mut self, microseconds: RangeInclusive<u64>, seed: u64) {
        self.wait_latency = Some(WaitLatency {
            microseconds,
            dice: Dice::new(seed),
        });
    }

    /// Whether waits take time.
    pub(super) fn are_waits_slow(&self) -> bool {
        self.wait_latency.is_some()
    }

    /// Whether the wait at the head takes time that is not over: then it is looked at again when the unit is not
    /// [early](Self::is_early) any more.
    pub(super) fn is_wait_on(&mut self) -> bool {
        let Some(latency) = &self.wait_latency else {
            return false;
        };
        if self
            .wait_over
            .take()
            .is_some_and(|moment| Instant::now() >= moment)
        {
            return false;
        }
        let (least, most) = (*latency.microseconds.start(), *latency.microseconds.end());
        let takes = least + latency.dice.below((most - least).saturating_add(1));
        self.wait_over = Some(Instant::now() + Duration::from_micros(takes));
        true
    }
}
