//! Submission and completion queues: rings in memory, their doorbells, and whose turn it is.
//!
//! Pure bookkeeping; nothing here touches memory. A command is handed out only when its completion will
//! have a free slot, so a completion is never posted to a full queue.

/// Where commands come from.
#[derive(Clone, Debug)]
pub(crate) struct SubmissionQueue {
    /// Bus address of entry 0.
    pub(crate) base: u64,
    /// Number of entries (2 to 65536).
    pub(crate) entries: u32,
    /// The completion queue its commands report to.
    pub(crate) completion_queue: u16,
    head: u32,
    tail: u32,
}

/// Where results go.
#[derive(Clone, Debug)]
pub(crate) struct CompletionQueue {
    /// Bus address of entry 0.
    pub(crate) base: u64,
    /// Number of entries (2 to 65536).
    pub(crate) entries: u32,
    /// The MSI-X vector raised after each entry, if interrupts are enabled for the queue.
    pub(crate) vector: Option<u16>,
    head: u32,
    tail: u32,
    phase: Phase,
}

/// The bit that tells new completions from those of the previous lap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// The bit is 0.
    Zero,
    /// The bit is 1: the first lap's, as memory starts as zeroes.
    One,
}

impl Phase {
    /// The bit of the next lap, and of the previous one.
    pub(crate) fn inverted(self) -> Self {
        match self {
            Self::Zero => Self::One,
            Self::One => Self::Zero,
        }
    }
}

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
    #[error(
        "{value} is no valid value of {doorbell:?}: {entries} entries, head {head}, tail {tail}"
    )]
    Value {
        doorbell: Doorbell,
        value: u32,
        entries: u32,
        head: u32,
        tail: u32,
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

/// All queues of a controller, the admin pair at index 0.
#[derive(Debug)]
pub(crate) struct Queues {
    submission: Vec<Option<SubmissionQueue>>,
    completion: Vec<Option<CompletionQueue>>,
    /// The I/O submission queue served last.
    turn: usize,
}

impl Queues {
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

    /// Whether any I/O queue exists.
    pub(crate) fn has_io_queues(&self) -> bool {
        self.submission[1..].iter().any(Option::is_some)
            || self.completion[1..].iter().any(Option::is_some)
    }

    /// Creates submission queue `id`, empty. The caller has checked that the id is free and in range.
    pub(crate) fn create_submission(
        &mut self,
        id: u16,
        base: u64,
        entries: u32,
        completion_queue: u16,
    ) {
        self.submission[usize::from(id)] = Some(SubmissionQueue {
            base,
            entries,
            completion_queue,
            head: 0,
            tail: 0,
        });
    }

    /// Creates completion queue `id`, empty. The caller has checked that the id is free and in range.
    pub(crate) fn create_completion(
        &mut self,
        id: u16,
        base: u64,
        entries: u32,
        vector: Option<u16>,
    ) {
        self.completion[usize::from(id)] = Some(CompletionQueue {
            base,
            entries,
            vector,
            head: 0,
            tail: 0,
            phase: Phase::One,
        });
    }

    /// Deletes submission queue `id` and the commands nobody fetched.
    pub(crate) fn delete_submission(&mut self, id: u16) -> Option<SubmissionQueue> {
        self.submission.get_mut(usize::from(id))?.take()
    }

    /// Deletes completion queue `id`.
    pub(crate) fn delete_completion(&mut self, id: u16) -> Option<CompletionQueue> {
        self.completion.get_mut(usize::from(id))?.take()
    }

    /// Whether a submission queue reports to completion queue `id`.
    pub(crate) fn completion_in_use(&self, id: u16) -> bool {
        self.submission
            .iter()
            .flatten()
            .any(|queue| queue.completion_queue == id)
    }

    /// Whether completion queue `id` exists and has a free slot.
    pub(crate) fn has_room(&self, id: u16) -> bool {
        self.completion(id).is_some_and(|queue| queue.free() > 0)
    }

    /// The CPU wrote `value` to `doorbell`.
    pub(crate) fn ring(&mut self, doorbell: Doorbell, value: u32) -> Result<(), DoorbellError> {
        let none = DoorbellError::NoSuchQueue(doorbell);
        match doorbell {
            Doorbell::SubmissionTail(id) => {
                let slot = self
                    .submission
                    .get_mut(usize::from(id))
                    .and_then(Option::as_mut);
                let queue = slot.ok_or(none)?;
                let &mut SubmissionQueue {
                    entries,
                    head,
                    tail,
                    ..
                } = queue;
                let free = entries - 1 - distance(head, tail, entries);
                if !(1..=free).contains(&advance(tail, value, entries)) {
                    return Err(DoorbellError::Value {
                        doorbell,
                        value,
                        entries,
                        head,
                        tail,
                    });
                }
                queue.tail = value;
            }
            Doorbell::CompletionHead(id) => {
                let slot = self
                    .completion
                    .get_mut(usize::from(id))
                    .and_then(Option::as_mut);
                let queue = slot.ok_or(none)?;
                let &mut CompletionQueue {
                    entries,
                    head,
                    tail,
                    ..
                } = queue;
                let posted = distance(head, tail, entries);
                if !(1..=posted).contains(&advance(head, value, entries)) {
                    return Err(DoorbellError::Value {
                        doorbell,
                        value,
                        entries,
                        head,
                        tail,
                    });
                }
                queue.head = value;
            }
        }
        Ok(())
    }

    /// Takes the next command whose completion has a free slot: the admin queue's first, then the I/O
    /// queues' in turn. Its slot in the submission queue is free from now on.
    pub(crate) fn next_command(&mut self, entry_bytes: u64) -> Option<Fetch> {
        let io_queues = self.submission.len() - 1;
        let io = (0..io_queues).map(|step| (self.turn + step) % io_queues + 1);
        let id = std::iter::once(0).chain(io).find(|&id| {
            self.submission[id].as_ref().is_some_and(|queue| {
                queue.head != queue.tail && self.has_room(queue.completion_queue)
            })
        })?;
        if id != 0 {
            self.turn = id % io_queues;
        }
        let queue = self.submission[id].as_mut()?;
        let bus = queue.base.wrapping_add(u64::from(queue.head) * entry_bytes);
        queue.head = (queue.head + 1) % queue.entries;
        Some(Fetch {
            queue: id as u16,
            bus,
        })
    }

    /// Takes the next free slot for a completion of submission queue `id`; `None` when the queue was deleted
    /// or its completion queue is full.
    pub(crate) fn next_slot(&mut self, id: u16, entry_bytes: u64) -> Option<Slot> {
        let submission = self.submission.get(usize::from(id))?.as_ref()?;
        let queue = self
            .completion
            .get_mut(usize::from(submission.completion_queue))?
            .as_mut()?;
        if queue.free() == 0 {
            return None;
        }
        let slot = Slot {
            bus: queue.base.wrapping_add(u64::from(queue.tail) * entry_bytes),
            phase: queue.phase,
            submission_head: submission.head as u16,
            vector: queue.vector,
        };
        queue.tail = (queue.tail + 1) % queue.entries;
        if queue.tail == 0 {
            queue.phase = queue.phase.inverted();
        }
        Some(slot)
    }
}

impl CompletionQueue {
    /// How many completions may be posted: one slot always stays empty.
    fn free(&self) -> u32 {
        self.entries - 1 - distance(self.head, self.tail, self.entries)
    }
}

/// Steps from `from` forward to `to` in a ring of `entries`.
fn distance(from: u32, to: u32, entries: u32) -> u32 {
    (to + entries - from) % entries
}

/// The same for a value the CPU wrote: `u32::MAX` if it lies outside the ring.
fn advance(from: u32, to: u32, entries: u32) -> u32 {
    if to < entries {
        distance(from, to, entries)
    } else {
        u32::MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Doorbell::{CompletionHead, SubmissionTail};

    fn pair(entries: u32) -> Queues {
        let mut queues = Queues::new(2);
        queues.create_completion(1, 0x2000, entries, Some(1));
        queues.create_submission(1, 0x1000, entries, 1);
        queues
    }

    fn turn(queues: &mut Queues) -> Option<(u64, u64, Phase)> {
        let fetch = queues.next_command(64)?;
        let slot = queues
            .next_slot(fetch.queue, 16)
            .expect("room was asked for");
        Some((fetch.bus, slot.bus, slot.phase))
    }

    #[test]
    fn rings_wrap_and_the_phase_turns_with_each_lap() {
        let mut queues = pair(3);
        for lap in 0..7u32 {
            let phase = if (lap / 3).is_multiple_of(2) {
                Phase::One
            } else {
                Phase::Zero
            };
            queues.ring(SubmissionTail(1), (lap + 1) % 3).unwrap();
            let at = u64::from(lap % 3);
            assert_eq!(
                turn(&mut queues),
                Some((0x1000 + 64 * at, 0x2000 + 16 * at, phase))
            );
            assert_eq!(turn(&mut queues), None);
            queues.ring(CompletionHead(1), (lap + 1) % 3).unwrap();
        }
    }

    #[test]
    fn a_full_completion_queue_holds_commands_back() {
        let mut queues = pair(4);
        queues.create_completion(2, 0x3000, 2, None);
        queues.create_submission(2, 0x4000, 4, 2);
        queues.ring(SubmissionTail(2), 3).unwrap();
        assert!(turn(&mut queues).is_some());
        assert_eq!(turn(&mut queues), None);
        assert_eq!(queues.next_slot(2, 16), None);
        queues.ring(CompletionHead(2), 1).unwrap();
        assert!(turn(&mut queues).is_some());
    }

    #[test]
    fn queues_are_served_in_turn_and_the_admin_queue_first() {
        let mut queues = pair(8);
        queues.create_completion(0, 0x9000, 8, None);
        queues.create_submission(0, 0x8000, 8, 0);
        queues.create_submission(2, 0x4000, 8, 1);
        for id in [1, 2] {
            queues.ring(SubmissionTail(id), 2).unwrap();
        }
        queues.ring(SubmissionTail(0), 1).unwrap();
        let order: Vec<u16> = std::iter::from_fn(|| queues.next_command(64))
            .map(|fetch| fetch.queue)
            .collect();
        assert_eq!(order, [0, 1, 2, 1, 2]);
    }

    #[test]
    fn misused_doorbells_change_nothing() {
        let mut queues = pair(4);
        let value = |doorbell, value, head, tail| {
            Err(DoorbellError::Value {
                doorbell,
                value,
                entries: 4,
                head,
                tail,
            })
        };
        let tail = SubmissionTail(1);
        assert_eq!(queues.ring(tail, 4), value(tail, 4, 0, 0));
        assert_eq!(queues.ring(tail, 0), value(tail, 0, 0, 0));
        queues.ring(tail, 2).unwrap();
        // One more than the free entries: the tail would pass the head.
        assert_eq!(queues.ring(tail, 1), value(tail, 1, 0, 2));
        let head = CompletionHead(1);
        assert_eq!(queues.ring(head, 1), value(head, 1, 0, 0));
        turn(&mut queues).unwrap();
        assert_eq!(queues.ring(head, 2), value(head, 2, 0, 1));
        queues.ring(head, 1).unwrap();
        for doorbell in [SubmissionTail(2), CompletionHead(2), SubmissionTail(77)] {
            assert_eq!(
                queues.ring(doorbell, 1),
                Err(DoorbellError::NoSuchQueue(doorbell))
            );
        }
    }
}
