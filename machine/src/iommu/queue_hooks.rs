//! What tests do to a unit's queue of commands, to try a driver's patience.

use std::time::{Duration, Instant};

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
}

impl QueueHooks {
    /// Software wrote the tail.
    pub(super) fn tail_written(&mut self) {
        self.not_before = (!self.latency.is_zero()).then(|| Instant::now() + self.latency);
    }

    /// Whether the unit does not look at the queue yet.
    pub(super) fn is_early(&self) -> bool {
        self.not_before
            .is_some_and(|moment| Instant::now() < moment)
    }
}
