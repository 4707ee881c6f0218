//! The commands of one queue that the controller owns, and whose turn is whose.
//!
//! Every command has a slot; its identifier on the wire is the slot's number and the slot's generation. The
//! controller names commands by that identifier and nothing it names is trusted: an identifier is accepted
//! once, while its command is outstanding. So no memory is given back twice, whatever is in the completion
//! queue.

use alloc::vec::Vec;

/// The most commands one queue may have outstanding: an identifier has eight bits for the slot.
pub(crate) const MAX_SLOTS: usize = 256;

/// The highest generation. 255 is left out so that no identifier is 0xffff, which error log pages use for
/// "no command" (NVMe Base 2.0, 5.16.1.2).
const LAST_GENERATION: u8 = 254;

/// A command's identifier in submission and completion entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CommandId(u16);

impl CommandId {
    fn new(slot: usize, generation: u8) -> Self {
        // `slot` is below MAX_SLOTS.
        Self(u16::from(generation) << 8 | slot as u16)
    }

    /// The word for the submission entry.
    pub(crate) fn as_u16(self) -> u16 {
        self.0
    }

    /// The slot named, which may be beyond the queue's.
    pub(crate) fn slot(self) -> usize {
        usize::from(self.0 & 0xff)
    }
}

/// A command with its slot's history: tells one use of a slot from all others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SlotTicket {
    id: CommandId,
    sequence: u64,
}

impl SlotTicket {
    /// The identifier on the wire.
    pub(crate) fn id(self) -> CommandId {
        self.id
    }
}

/// A completion named a command that is not outstanding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NotOutstanding;

/// The slots of one queue; `C` is what a command holds, `R` how it ended.
pub(crate) struct Slots<C, R> {
    slots: Vec<Slot<C, R>>,
    free: Vec<u8>,
    outstanding: usize,
    sequence: u64,
}

struct Slot<C, R> {
    generation: u8,
    sequence: u64,
    state: State<C, R>,
}

enum State<C, R> {
    /// Nobody's.
    Free,
    /// The controller's.
    Outstanding(C),
    /// The caller's, once it asks.
    Finished(C, R),
}

impl<C, R> Slots<C, R> {
    /// `count` free slots, at most [`MAX_SLOTS`].
    pub(crate) fn new(count: usize) -> Self {
        let count = count.min(MAX_SLOTS);
        Self {
            slots: (0..count)
                .map(|_| Slot {
                    generation: 0,
                    sequence: 0,
                    state: State::Free,
                })
                .collect(),
            free: (0..count).rev().map(|slot| slot as u8).collect(),
            outstanding: 0,
            sequence: 0,
        }
    }

    /// Number of slots.
    pub(crate) fn count(&self) -> usize {
        self.slots.len()
    }

    /// Commands the controller owns.
    pub(crate) fn outstanding(&self) -> usize {
        self.outstanding
    }

    /// The slot the next [`occupy`](Self::occupy) will use.
    pub(crate) fn next_free(&self) -> Option<usize> {
        self.free.last().map(|slot| usize::from(*slot))
    }

    /// Puts `command` into a free slot: from here on it is the controller's.
    ///
    /// # Errors
    /// The command, when no slot is free.
    pub(crate) fn occupy(&mut self, command: C) -> Result<SlotTicket, C> {
        let Some(index) = self.free.pop().map(usize::from) else {
            return Err(command);
        };
        let slot = &mut self.slots[index];
        slot.generation = if slot.generation >= LAST_GENERATION {
            0
        } else {
            slot.generation + 1
        };
        self.sequence += 1;
        slot.sequence = self.sequence;
        slot.state = State::Outstanding(command);
        self.outstanding += 1;
        Ok(SlotTicket {
            id: CommandId::new(index, slot.generation),
            sequence: slot.sequence,
        })
    }

    /// The controller says that `id` ended with `result`. What it held is from now on what `hold` makes of it.
    ///
    /// # Errors
    /// [`NotOutstanding`] if no outstanding command has this identifier; nothing is changed then.
    pub(crate) fn finish(
        &mut self,
        id: u16,
        result: R,
        hold: impl FnOnce(C) -> C,
    ) -> Result<(), NotOutstanding> {
        let index = CommandId(id).slot();
        let slot = self.slots.get_mut(index).ok_or(NotOutstanding)?;
        if CommandId::new(index, slot.generation).as_u16() != id {
            return Err(NotOutstanding);
        }
        slot.finish(result, hold)?;
        self.outstanding -= 1;
        Ok(())
    }

    /// Every outstanding command ends with what `result` says.
    pub(crate) fn finish_all(&mut self, mut result: impl FnMut() -> R) {
        for slot in &mut self.slots {
            if matches!(slot.state, State::Outstanding(_)) {
                // Cannot fail: the state was looked at.
                let _ = slot.finish(result(), |command| command);
            }
        }
        self.outstanding = 0;
    }

    /// What the ticket's command holds, while the controller owns it.
    pub(crate) fn outstanding_command(&self, ticket: SlotTicket) -> Option<&C> {
        match self.slot(ticket).map(|slot| &slot.state) {
            Some(State::Outstanding(command)) => Some(command),
            _ => None,
        }
    }

    /// What the command with this identifier holds, while the controller owns it.
    pub(crate) fn outstanding_by_id(&self, id: u16) -> Option<&C> {
        let index = CommandId(id).slot();
        let slot = self.slots.get(index)?;
        match &slot.state {
            State::Outstanding(command)
                if CommandId::new(index, slot.generation).as_u16() == id =>
            {
                Some(command)
            }
            _ => None,
        }
    }

    /// Frees the slot of a finished command and returns what it held and how it ended.
    pub(crate) fn take(&mut self, ticket: SlotTicket) -> Option<(C, R)> {
        let index = ticket.id.slot();
        let slot = self
            .slots
            .get_mut(index)
            .filter(|slot| slot.sequence == ticket.sequence)?;
        match core::mem::replace(&mut slot.state, State::Free) {
            State::Finished(command, result) => {
                self.free.push(index as u8);
                Some((command, result))
            }
            other => {
                slot.state = other;
                None
            }
        }
    }

    fn slot(&self, ticket: SlotTicket) -> Option<&Slot<C, R>> {
        self.slots
            .get(ticket.id.slot())
            .filter(|slot| slot.sequence == ticket.sequence)
    }
}

impl<C, R> Slot<C, R> {
    fn finish(&mut self, result: R, hold: impl FnOnce(C) -> C) -> Result<(), NotOutstanding> {
        match core::mem::replace(&mut self.state, State::Free) {
            State::Outstanding(command) => {
                self.state = State::Finished(hold(command), result);
                Ok(())
            }
            other => {
                self.state = other;
                Err(NotOutstanding)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_completion_is_accepted_once() {
        let mut slots = Slots::new(4);
        let ticket = slots.occupy("read").unwrap();
        let id = ticket.id().as_u16();
        assert_eq!(slots.finish(id, 0, |held| held), Ok(()));
        assert_eq!(slots.finish(id, 1, |held| held), Err(NotOutstanding));
        assert_eq!(slots.take(ticket), Some(("read", 0)));
        assert_eq!(slots.finish(id, 2, |held| held), Err(NotOutstanding));
        assert_eq!(slots.take(ticket), None);
    }

    #[test]
    fn a_completion_of_the_previous_use_of_a_slot_is_refused() {
        let mut slots = Slots::new(1);
        let first = slots.occupy(1).unwrap();
        slots.finish(first.id().as_u16(), (), |held| held).unwrap();
        slots.take(first).unwrap();
        let second = slots.occupy(2).unwrap();
        assert_eq!(first.id().slot(), second.id().slot());
        assert_eq!(
            slots.finish(first.id().as_u16(), (), |held| held),
            Err(NotOutstanding)
        );
        assert_eq!(slots.outstanding_command(second), Some(&2));
        assert_eq!(slots.outstanding_command(first), None);
    }

    #[test]
    fn a_full_queue_gives_the_command_back() {
        let mut slots: Slots<_, ()> = Slots::new(1);
        slots.occupy("first").unwrap();
        assert_eq!(slots.occupy("second"), Err("second"));
    }

    #[test]
    fn any_identifier_changes_nothing_unless_it_is_outstanding() {
        let mut slots = Slots::new(MAX_SLOTS);
        let tickets: Vec<_> = (0..MAX_SLOTS).map(|n| slots.occupy(n).unwrap()).collect();
        let mut accepted = 0;
        for id in 0..=u16::MAX {
            accepted += usize::from(slots.finish(id, id, |held| held).is_ok());
        }
        assert_eq!(accepted, MAX_SLOTS);
        assert_eq!(slots.outstanding(), 0);
        for (n, ticket) in tickets.into_iter().enumerate() {
            assert_eq!(slots.take(ticket), Some((n, ticket.id().as_u16())));
        }
    }

    #[test]
    fn generations_never_make_the_identifier_reserved_for_no_command() {
        let mut slots = Slots::new(MAX_SLOTS);
        for _ in 0..300 {
            let tickets: Vec<_> = (0..MAX_SLOTS).map(|_| slots.occupy(()).unwrap()).collect();
            for ticket in tickets {
                assert_ne!(ticket.id().as_u16(), 0xffff);
                slots.finish(ticket.id().as_u16(), (), |held| held).unwrap();
                slots.take(ticket).unwrap();
            }
        }
    }

    #[test]
    fn a_lost_controller_finishes_every_outstanding_command() {
        let mut slots = Slots::new(3);
        let done = slots.occupy('a').unwrap();
        let lost = slots.occupy('b').unwrap();
        slots
            .finish(done.id().as_u16(), "done", |held| held)
            .unwrap();
        slots.finish_all(|| "lost");
        assert_eq!(slots.take(done), Some(('a', "done")));
        assert_eq!(slots.take(lost), Some(('b', "lost")));
        assert_eq!(slots.outstanding(), 0);
    }
}
