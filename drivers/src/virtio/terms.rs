//! What there is to know of one of the crate's drivers, to run it.

use hw::virtio::feature::Features;

/// Whether the crate waits for what it asks of a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Waiting {
    /// Its call returns when the device has answered.
    ForEach,
    /// It comes and looks.
    Never,
}

/// What answers the crate survives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answers {
    /// All.
    Any,
    /// It panics when the device has written nothing.
    NeverEmpty,
}

/// What one of the crate's drivers is to know of its device, and how it uses its queues.
///
/// ```
/// use drivers::virtio::Terms;
///
/// // A network device: what is received in queue 0 comes when it comes.
/// let terms = Terms::new().polled(0);
/// # let _ = terms;
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    withheld: u64,
    polled: u64,
    never_empty: u64,
}

/// What no driver of the crate is told of, as it is the queues' concern:
/// - tables of descriptors: one more page to be mapped for each request;
/// - event indices: the crate compares them without regard to their overflow.
const WITHHELD: Features = Features::new()
    .with_indirect_desc(true)
    .with_event_idx(true);

impl Terms {
    /// Those of a driver that waits for each of its requests.
    pub const fn new() -> Self {
        Self {
            withheld: WITHHELD.into_bits(),
            polled: 0,
            never_empty: 0,
        }
    }

    /// The driver is not told of `features`, by bit.
    pub const fn withhold(mut self, features: u64) -> Self {
        self.withheld |= features;
        self
    }

    /// The driver does not wait for requests in `queue`, one of the first 64: it comes and looks. For all other queues
    /// telling the device waits until it has answered, or was given up.
    pub const fn polled(mut self, queue: u16) -> Self {
        self.polled |= bit(queue);
        self
    }

    /// As [`polled`](Self::polled), and the driver panics when the device answers with nothing: a device that does is given
    /// up, and so is one that cannot be lent memory for it.
    pub const fn polled_never_empty(mut self, queue: u16) -> Self {
        self.never_empty |= bit(queue);
        self.polled(queue)
    }

    pub(super) const fn withheld(self) -> u64 {
        self.withheld
    }

    pub(super) const fn of_queue(self, queue: u16) -> (Waiting, Answers) {
        let waiting = match self.polled & bit(queue) {
            0 => Waiting::ForEach,
            _ => Waiting::Never,
        };
        let answers = match self.never_empty & bit(queue) {
            0 => Answers::Any,
            _ => Answers::NeverEmpty,
        };
        (waiting, answers)
    }
}

impl Default for Terms {
    fn default() -> Self {
        Self::new()
    }
}

const fn bit(queue: u16) -> u64 {
    match queue {
        0..64 => 1 << queue,
        _ => 0,
    }
}
