//! Commands from submission to the return of their memory.

use dmamap::iommu::Requester;
use dmamap::map::{FromDevice, Rejected, ToDevice};
use dmamap::platform::Platform;

use super::Nvme;
use super::command::{Blocks, Command};
use super::data::DiskMemory;
use super::error::{CommandError, ControllerError, Failed};
use super::io_queue::{Data, InFlight};
use super::prp::Prps;
use super::slots::SlotTicket;
use crate::wait::as_ns;

/// How long the driver waits for a completion before it looks at the controller's status.
const HEALTH_CHECK_NS: u64 = 100_000_000;

/// A command that was submitted: the claim on its outcome and on the memory it was given.
///
/// A ticket that is dropped leaves the memory with the driver until the controller is shut down.
#[derive(Debug)]
#[must_use = "the command's memory comes back with `complete`"]
pub struct Ticket {
    controller: Requester,
    queue: usize,
    slot: SlotTicket,
}

impl<P: Platform, B: DiskMemory<P>> Nvme<P, B> {
    /// Starts to read `blocks` into the first bytes of `buffer`, on I/O queue `queue` (0 to, not including,
    /// [`queue_count`](Self::queue_count)).
    ///
    /// # Errors
    /// [`Failed`] with the buffer, if the command could not be given to the controller.
    pub fn submit_read(
        &mut self,
        queue: usize,
        blocks: Blocks,
        buffer: B,
    ) -> Result<Ticket, Failed<B>> {
        let len_bytes = match self.check(queue, blocks, &buffer) {
            Ok(len_bytes) => len_bytes,
            Err(error) => return Err(Failed::with_buffer(error, buffer)),
        };
        let mapping = buffer.map(&self.device, FromDevice).map_err(rejected)?;
        let namespace = self.namespace.id();
        self.submit(queue, Data::Read(mapping), len_bytes, |prps| {
            Command::read(namespace, blocks, prps)
        })
    }

    /// Starts to write `blocks` from the first bytes of `buffer`, on I/O queue `queue`.
    ///
    /// # Errors
    /// As [`submit_read`](Self::submit_read).
    pub fn submit_write(
        &mut self,
        queue: usize,
        blocks: Blocks,
        buffer: B,
    ) -> Result<Ticket, Failed<B>> {
        let len_bytes = match self.check(queue, blocks, &buffer) {
            Ok(len_bytes) => len_bytes,
            Err(error) => return Err(Failed::with_buffer(error, buffer)),
        };
        let mapping = buffer.map(&self.device, ToDevice).map_err(rejected)?;
        let namespace = self.namespace.id();
        self.submit(queue, Data::Write(mapping), len_bytes, |prps| {
            Command::write(namespace, blocks, prps)
        })
    }

    /// Waits until the command ended and the device has lost its memory, and gives the memory back.
    ///
    /// A command that takes longer than [`command_timeout`](super::Settings::command_timeout) stops the
    /// controller: only so is its memory safe to have back.
    ///
    /// # Errors
    /// [`Failed`], with the memory unless the device may still reach it.
    pub fn complete(&mut self, ticket: Ticket) -> Result<B, Failed<B>> {
        let buffer = self.finish(ticket)?;
        // Only tickets of reads and writes leave this module.
        buffer.ok_or_else(|| Failed::without_buffer(CommandError::ForeignTicket))
    }

    /// Reads `blocks` into the first bytes of `buffer` and waits for it.
    ///
    /// # Errors
    /// As [`submit_read`](Self::submit_read) and [`complete`](Self::complete).
    pub fn read(&mut self, blocks: Blocks, buffer: B) -> Result<B, Failed<B>> {
        let ticket = self.submit_read(0, blocks, buffer)?;
        self.complete(ticket)
    }

    /// Writes `blocks` from the first bytes of `buffer` and waits for it. What was written lasts after
    /// [`flush`](Self::flush).
    ///
    /// # Errors
    /// As [`submit_write`](Self::submit_write) and [`complete`](Self::complete).
    pub fn write(&mut self, blocks: Blocks, buffer: B) -> Result<B, Failed<B>> {
        let ticket = self.submit_write(0, blocks, buffer)?;
        self.complete(ticket)
    }

    /// Makes every write that was completed before last, and waits for it.
    ///
    /// # Errors
    /// [`CommandError`] if it cannot; queue 0 must have room for one command.
    pub fn flush(&mut self) -> Result<(), CommandError> {
        self.check_queue(0)?;
        let namespace = self.namespace.id();
        let flush = |_| Command::flush(namespace);
        let ticket = self
            .submit(0, Data::None, 0, flush)
            .map_err(|failed| failed.error)?;
        self.finish(ticket).map(drop).map_err(|failed| failed.error)
    }

    /// Checks what a transfer asks for; returns its bytes.
    fn check(&self, queue: usize, blocks: Blocks, buffer: &B) -> Result<u64, CommandError> {
        self.check_queue(queue)?;
        let namespace_blocks = self.namespace.blocks();
        let within = blocks
            .first
            .checked_add(u64::from(blocks.count))
            .is_some_and(|end| end <= namespace_blocks);
        if blocks.count == 0 || !within {
            return Err(CommandError::OutOfRange {
                blocks,
                namespace_blocks,
            });
        }
        let len_bytes = u64::from(blocks.count) * self.namespace.block_bytes();
        let max_transfer_bytes = self.max_transfer_bytes;
        if len_bytes > max_transfer_bytes {
            return Err(CommandError::TransferTooLong {
                len_bytes,
                max_transfer_bytes,
            });
        }
        let buffer_bytes = buffer.len_bytes();
        if len_bytes > buffer_bytes {
            return Err(CommandError::BufferTooShort {
                buffer_bytes,
                len_bytes,
            });
        }
        Ok(len_bytes)
    }

    /// Checks that the controller works and that the queue has room.
    fn check_queue(&self, queue: usize) -> Result<(), CommandError> {
        if let Some(reason) = self.lost {
            return Err(reason.into());
        }
        let queues = self.queue_count();
        let found = self.engine.queues.get(queue);
        let found = found.ok_or(CommandError::NoSuchQueue { queue, queues })?;
        match found.has_free_slot() {
            true => Ok(()),
            false => Err(CommandError::QueueFull {
                queue,
                depth: found.depth(),
            }),
        }
    }

    /// Gives the controller a command whose data is mapped; `queue` was checked.
    fn submit(
        &mut self,
        queue: usize,
        data: Data<P, B>,
        len_bytes: u64,
        command: impl FnOnce(Prps) -> Command,
    ) -> Result<Ticket, Failed<B>> {
        let queues = self.engine.queues.len();
        let submitted_ns = self.device.platform().now_ns();
        let Some(target) = self.engine.queues.get_mut(queue) else {
            return Err(take_back(data, CommandError::NoSuchQueue { queue, queues }));
        };
        let command = match target.describe(&data, len_bytes) {
            Ok(prps) => command(prps),
            Err(error) => return Err(take_back(data, error.into())),
        };
        let in_flight = InFlight {
            operation: command.operation,
            data,
            submitted_ns,
        };
        match target.submit(&command, in_flight) {
            Ok(slot) => Ok(Ticket {
                controller: self.device.requester(),
                queue,
                slot,
            }),
            Err(in_flight) => {
                let full = CommandError::QueueFull {
                    queue,
                    depth: target.depth(),
                };
                Err(take_back(in_flight.data, full))
            }
        }
    }

    /// Waits for the end of any command; `None` for one that has no memory.
    fn finish(&mut self, ticket: Ticket) -> Result<Option<B>, Failed<B>> {
        let foreign = || Failed::without_buffer(CommandError::ForeignTicket);
        if ticket.controller != self.device.requester() || ticket.queue >= self.queue_count() {
            return Err(foreign());
        }
        // A controller that was stopped ended all its commands, and nothing it wrote is looked at any more.
        if self.lost.is_none()
            && let Err(reason) = self.wait(ticket.queue, ticket.slot)
        {
            log::error!(
                "{}: the controller is stopped: {reason}",
                self.device.requester()
            );
            self.lost = Some(reason);
            self.engine.stop(reason);
        }
        let ended = self.engine.queues[ticket.queue].take(ticket.slot);
        let (in_flight, result) = ended.ok_or_else(foreign)?;
        match (in_flight.data.unmap(), result) {
            (Ok(buffer), Ok(())) => Ok(buffer),
            (Ok(buffer), Err(error)) => Err(Failed { error, buffer }),
            (Err(quarantined), _) => Err(Failed::without_buffer(quarantined)),
        }
    }

    /// Waits until the command is no longer outstanding.
    ///
    /// # Errors
    /// What is wrong with the controller, if it is: it must then be stopped.
    fn wait(&mut self, queue: usize, slot: SlotTicket) -> Result<(), ControllerError> {
        let platform = self.device.platform();
        let mut check_health_ns = platform.now_ns().saturating_add(HEALTH_CHECK_NS);
        loop {
            let queue = &mut self.engine.queues[queue];
            // Counted before the queue is looked at: an interrupt after the look ends the wait below at once.
            let seen = queue
                .interrupt()
                .map(|interrupt| platform.interrupt_count(interrupt));
            // Read before the queue is looked at, too: time that passes after the look is not the device's.
            let now_ns = platform.now_ns();
            queue.reap()?;
            let Some(command) = queue.outstanding_command(slot) else {
                return Ok(());
            };
            let waited_ns = now_ns.saturating_sub(command.submitted_ns);
            let left_ns = as_ns(self.settings.command_timeout).saturating_sub(waited_ns);
            if left_ns == 0 {
                return Err(queue.timed_out(slot.id(), command.operation, waited_ns));
            }
            if now_ns >= check_health_ns {
                self.engine.controller.check_health()?;
                check_health_ns = now_ns.saturating_add(HEALTH_CHECK_NS);
            }
            match (queue.interrupt(), seen) {
                (Some(interrupt), Some(seen)) => {
                    let until_ns = check_health_ns.min(now_ns.saturating_add(left_ns));
                    platform.wait_for_interrupt(interrupt, seen, until_ns);
                }
                _ => platform.relax(),
            }
        }
    }
}

/// The memory of a command that the controller never got.
fn take_back<P: Platform, B: DiskMemory<P>>(data: Data<P, B>, error: CommandError) -> Failed<B> {
    match data.unmap() {
        Ok(buffer) => Failed { error, buffer },
        Err(quarantined) => Failed::without_buffer(quarantined),
    }
}

fn rejected<B>(rejected: Rejected<B>) -> Failed<B> {
    Failed {
        error: rejected.error.into(),
        buffer: rejected.buffer,
    }
}
