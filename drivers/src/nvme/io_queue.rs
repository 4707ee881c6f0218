//! An I/O queue pair with what its outstanding commands hold.

use alloc::vec::Vec;

use dmamap::device::Device;
use dmamap::map::{CoherentError, FromDevice, Quarantined, ToDevice};
use dmamap::platform::{Interrupt, Platform};
use dmamap::system::Protection;

use super::command::{Command, Operation};
use super::data::{DataMapping, DiskMemory, RetiredData};
use super::error::{CommandError, ControllerError};
use super::prp::{PrpError, PrpLists, Prps};
use super::queue::QueuePair;
use super::slots::{CommandId, SlotTicket, Slots};

/// A command's memory while the controller may use it.
pub(super) enum Data<P: Platform, B: DiskMemory<P>> {
    /// The command moves none.
    None,
    /// The controller writes it.
    Read(B::Mapped<FromDevice>),
    /// The controller reads it.
    Write(B::Mapped<ToDevice>),
    /// The controller wrote it. It may reach it until a flush.
    WasRead(<B::Mapped<FromDevice> as DataMapping>::Retired),
    /// The controller read it. It may reach it until a flush.
    WasWritten(<B::Mapped<ToDevice> as DataMapping>::Retired),
}

impl<P: Platform, B: DiskMemory<P>> Data<P, B> {
    /// Takes the memory back from the device.
    pub(super) fn unmap(self) -> Result<Option<B>, Quarantined> {
        match self {
            Self::None => Ok(None),
            Self::Read(mapping) => mapping.unmap().map(Some),
            Self::Write(mapping) => mapping.unmap().map(Some),
            Self::WasRead(retired) => retired.finish().map(Some),
            Self::WasWritten(retired) => retired.finish().map(Some),
        }
    }

    /// Leaves it to a flush that other commands' memory shares to take the memory back.
    fn retire(self) -> Self {
        match self {
            Self::Read(mapping) => Self::WasRead(mapping.retire()),
            Self::Write(mapping) => Self::WasWritten(mapping.retire()),
            Self::None | Self::WasRead(_) | Self::WasWritten(_) => self,
        }
    }
}

/// A command the controller owns.
pub(super) struct InFlight<P: Platform, B: DiskMemory<P>> {
    pub(super) operation: Operation,
    pub(super) data: Data<P, B>,
    pub(super) submitted_ns: u64,
}

/// An I/O queue pair.
pub(super) struct IoQueue<P: Platform, B: DiskMemory<P>> {
    pair: QueuePair<P>,
    slots: Slots<InFlight<P, B>, Result<(), CommandError>>,
    /// One set per slot.
    lists: Vec<PrpLists<P>>,
    interrupt: Option<Interrupt>,
    taking_back: TakingBack,
}

/// When the memory of a command is taken back from the controller.
#[derive(Clone, Copy, PartialEq, Eq)]
enum TakingBack {
    /// When its caller asks for it, each by itself.
    Each,
    /// Together with that of all commands that were found to have ended.
    Together,
}

impl<P: Platform, B: DiskMemory<P>> IoQueue<P, B> {
    /// A queue with as many slots as `pair` allows.
    pub(super) fn new(
        device: &Device<P>,
        pair: QueuePair<P>,
        max_transfer_bytes: u64,
        interrupt: Option<Interrupt>,
    ) -> Result<Self, CoherentError> {
        let depth = pair.submission_memory().entries.saturating_sub(1) as usize;
        let slots = Slots::new(depth);
        let lists = (0..slots.count())
            .map(|_| PrpLists::allocate(device, max_transfer_bytes))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            pair,
            slots,
            lists,
            interrupt,
            taking_back: match device.protection() {
                Protection::Deferred => TakingBack::Together,
                _ => TakingBack::Each,
            },
        })
    }

    pub(super) fn pair(&self) -> &QueuePair<P> {
        &self.pair
    }

    pub(super) fn interrupt(&self) -> Option<Interrupt> {
        self.interrupt
    }

    /// Commands that can be outstanding.
    pub(super) fn depth(&self) -> usize {
        self.slots.count()
    }

    /// Commands that are outstanding.
    pub(super) fn outstanding(&self) -> usize {
        self.slots.outstanding()
    }

    /// Whether one more command has a slot. Slots of ended commands stay taken until their callers ask.
    pub(super) fn has_free_slot(&self) -> bool {
        self.slots.next_free().is_some()
    }

    /// Describes `len_bytes` bytes of `data` in the lists of the slot that the next command gets.
    pub(super) fn describe(&mut self, data: &Data<P, B>, len_bytes: u64) -> Result<Prps, PrpError> {
        let lists = self
            .slots
            .next_free()
            .and_then(|slot| self.lists.get_mut(slot));
        let Some(lists) = lists else {
            return Err(PrpError::TooLong { list_pages: 0 });
        };
        match data {
            Data::None => Ok(Prps::NONE),
            Data::Read(mapping) => lists.build(mapping.segments(), len_bytes),
            Data::Write(mapping) => lists.build(mapping.segments(), len_bytes),
            // Only the memory of commands that ended is retired.
            Data::WasRead(_) | Data::WasWritten(_) => Ok(Prps::NONE),
        }
    }

    /// Gives the controller a command, which holds `in_flight` until it ends; back it comes when no slot
    /// is free.
    pub(super) fn submit(
        &mut self,
        command: &Command,
        in_flight: InFlight<P, B>,
    ) -> Result<SlotTicket, InFlight<P, B>> {
        let ticket = self.slots.occupy(in_flight)?;
        self.pair.submit(command.with_id(ticket.id().as_u16()));
        Ok(ticket)
    }

    /// Takes all completions the controller has written.
    ///
    /// Each ends a command that was outstanding, or is an error: there are at most as many as slots.
    pub(super) fn reap(&mut self) -> Result<(), ControllerError> {
        let mut taken = 0usize;
        while let Some(completion) = self.pair.next_completion()? {
            taken += 1;
            let operation = self
                .slots
                .outstanding_by_id(completion.id)
                .map(|c| c.operation);
            let unexpected = ControllerError::UnexpectedCompletion {
                queue: self.pair.id(),
                id: completion.id,
            };
            let operation = operation.ok_or(unexpected)?;
            let result = match completion.status {
                status if status.is_success() => Ok(()),
                status => Err(CommandError::Status { operation, status }),
            };
            let hold = |command: InFlight<P, B>| match self.taking_back {
                TakingBack::Each => command,
                TakingBack::Together => InFlight {
                    data: command.data.retire(),
                    ..command
                },
            };
            self.slots
                .finish(completion.id, result, hold)
                .map_err(|_| unexpected)?;
        }
        if taken > 0 {
            self.pair.release_completions();
        }
        Ok(())
    }

    /// What the ticket's command holds, while it is outstanding.
    pub(super) fn outstanding_command(&self, ticket: SlotTicket) -> Option<&InFlight<P, B>> {
        self.slots.outstanding_command(ticket)
    }

    /// Ends every outstanding command because the controller failed. The controller uses no memory any more.
    pub(super) fn fail_all(&mut self, reason: ControllerError) {
        self.slots.finish_all(|| Err(reason.into()));
    }

    /// Frees the slot of an ended command.
    pub(super) fn take(
        &mut self,
        ticket: SlotTicket,
    ) -> Option<(InFlight<P, B>, Result<(), CommandError>)> {
        self.slots.take(ticket)
    }

    /// How a time-out of the ticket's command is told.
    pub(super) fn timed_out(
        &self,
        id: CommandId,
        operation: Operation,
        waited_ns: u64,
    ) -> ControllerError {
        ControllerError::TimedOut {
            queue: self.pair.id(),
            id: id.as_u16(),
            operation,
            waited_ms: waited_ns / 1_000_000,
        }
    }
}
