//! All queues of a controller: which exist, their doorbells, and whose turn it is.
//!
//! A command is handed out only when a slot for its completion could be reserved, so a completion is never
//! posted to a full queue.

use hw::nvme::{completion, submission};

use super::queue::{CompletionQueue, Phase, Ring, SubmissionQueue};

/// The two doorbells of a queue pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Doorbell {
    /// New tail of this submission queue.
    SubmissionTail(u16),
    /// New head of this completion queue.
    CompletionHead(u16),
}

/// A doorbell write the controller ignores and reports as an asynchronous event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DoorbellError {
    /// The queue does not exist.
    #[error("{0:?} was written, but there is no such queue")]
    NoSuchQueue(Doorbell),
    /// The value is outside the ring, repeats the last one, or passes the other end of the queue.
    #[error("{value} is no valid value of {doorbell:?} of {ring:?}")]
    Value {
        doorbell: Doorbell,
        value: u32,
        ring: Ring,
    },
}

/// A command to fetch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fetch {
    /// The submission queue it is in.
    pub(crate) queue: u16,
    /// Where it lies.
    pub(crate) bus: u64,
}

/// Where the next completion goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Slot {
    /// Bus address of the entry.
    pub(crate) bus: u64,
    /// The phase bit it must carry.
    pub(crate) phase: Phase,
    /// Head of the submission queue, for the entry.
    pub(crate) submission_head: u16,
    /// The vector to raise.
    pub(crate) vector: Option<u16>,
}

/// The queues by id, the admin pair at 0.
#[derive(Debug)]
pub(crate) struct QueueSet {
    submission: Vec<Option<SubmissionQueue>>,
    completion: Vec<Option<CompletionQueue>>,
    /// The I/O submission queue, counted from 0, to look at first.
    turn: usize,
}

impl QueueSet {
    /// Room for `io_queues` pairs beside the admin pair, none of which exists yet.
    pub(crate) fn new(io_queues: u16) -> Self {
        let count = usize::from(io_queues) + 1;
        Self {
            submission: vec![None; count],
            completion: vec![None; count],
            turn: 0,
        }
    }

    /// Deletes all queues, with whatever is in them.
    pub(crate) fn clear(&mut self) {
        self.submission.fill(None);
        self.completion.fill(None);
        self.turn = 0;
    }

    /// The submission queue `id`, if it exists.
    pub(crate) fn submission(&self, id: u16) -> Option<&SubmissionQueue> {
        self.submission.get(usize::from(id))?.as_ref()
    }

    /// The completion queue `id`, if it exists.
    pub(crate) fn completion(&self, id: u16) -> Option<&CompletionQueue> {
        self.completion.get(usize::from(id))?.as_ref()
    }

    fn completion_mut(&mut self, id: u16) -> Option<&mut CompletionQueue> {
        self.completion.get_mut(usize::from(id))?.as_mut()
    }

    /// Whether any I/O queue exists.
    pub(crate) fn has_io_queues(&self) -> bool {
        let mut submission = self.submission.iter().skip(1);
        let mut completion = self.completion.iter().skip(1);
        submission.any(Option::is_some) || completion.any(Option::is_some)
    }

    /// Creates submission queue `id`. The caller has checked that the id is free and in range.
    pub(crate) fn create_submission(&mut self, id: u16, queue: SubmissionQueue) {
        self.submission[usize::from(id)] = Some(queue);
    }

    /// Creates completion queue `id`. The caller has checked that the id is free and in range.
    pub(crate) fn create_completion(&mut self, id: u16, queue: CompletionQueue) {
        self.completion[usize::from(id)] = Some(queue);
    }

    /// Deletes submission queue `id` and the commands nobody fetched.
    pub(crate) fn delete_submission(&mut self, id: u16) {
        self.submission[usize::from(id)] = None;
    }

    /// Deletes completion queue `id`.
    pub(crate) fn delete_completion(&mut self, id: u16) {
        self.completion[usize::from(id)] = None;
    }

    /// Whether a submission queue reports to completion queue `id`.
    pub(crate) fn completion_in_use(&self, id: u16) -> bool {
        let mut queues = self.submission.iter().flatten();
        queues.any(|queue| queue.completion_queue == id)
    }

    /// Whether completion queue `id` exists and has room for one more command's completion.
    pub(crate) fn has_room(&self, id: u16) -> bool {
        self.completion(id).is_some_and(|queue| queue.room() > 0)
    }

    /// The CPU wrote `value` to `doorbell`.
    pub(crate) fn ring(&mut self, doorbell: Doorbell, value: u32) -> Result<(), DoorbellError> {
        let moved = match doorbell {
            Doorbell::SubmissionTail(id) => {
                let queue = self.submission.get_mut(usize::from(id));
                let queue = queue.and_then(Option::as_mut);
                queue.map(|queue| queue.ring.fill_to(value))
            }
            Doorbell::CompletionHead(id) => {
                let queue = self.completion_mut(id);
                queue.map(|queue| queue.ring.empty_to(value))
            }
        };
        moved
            .ok_or(DoorbellError::NoSuchQueue(doorbell))?
            .map_err(|ring| DoorbellError::Value {
                doorbell,
                value,
                ring,
            })
    }

    /// Takes the next command for whose completion there is room, which is reserved: the admin queue's first,
    /// then the I/O queues' in turn. Its slot in the submission queue is free from now on.
    pub(crate) fn next_command(&mut self) -> Option<Fetch> {
        let io_queues = self.submission.len() - 1;
        let io = (0..io_queues).map(|step| (self.turn + step) % io_queues + 1);
        let id = std::iter::once(0).chain(io).find(|&id| {
            self.submission[id].as_ref().is_some_and(|queue| {
                queue.ring.used() != 0 && self.has_room(queue.completion_queue)
            })
        })?;
        if id != 0 {
            self.turn = id % io_queues;
        }
        let queue = self.submission[id].as_mut()?;
        let bus = queue.take(submission::ENTRY_BYTES);
        let completion_queue = queue.completion_queue;
        if let Some(queue) = self.completion_mut(completion_queue) {
            queue.reserve();
        }
        Some(Fetch {
            queue: id as u16,
            bus,
        })
    }

    /// A command of submission queue `id` is done or forgotten: what was reserved for it is free.
    pub(crate) fn release(&mut self, id: u16) {
        if let Some(to) = self.submission(id).map(|queue| queue.completion_queue)
            && let Some(queue) = self.completion_mut(to)
        {
            queue.release();
        }
    }

    /// Takes the next slot for a completion of submission queue `id`; `None` when the queue was deleted or its
    /// completion queue is full.
    pub(crate) fn next_slot(&mut self, id: u16) -> Option<Slot> {
        let submission = self.submission(id)?;
        let submission_head = submission.ring.head as u16;
        let completion_queue = submission.completion_queue;
        let queue = self.completion_mut(completion_queue)?;
        let (bus, phase) = queue.fill(completion::ENTRY_BYTES)?;
        Some(Slot {
            bus,
            phase,
            submission_head,
            vector: queue.vector,
        })
    }
}

#[cfg(test)]
mod tests;
