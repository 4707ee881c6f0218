//! Giving commands to the controller, and memory with them.

use dmamap::iommu::Requester;
use dmamap::map::{FromDevice, Rejected, ToDevice};
use dmamap::platform::Platform;

use super::Nvme;
use super::command::{Blocks, Command};
use super::data::DiskMemory;
use super::error::{CommandError, Failed};
use super::io_queue::{Data, InFlight};
use super::prp::Prps;
use super::slots::SlotTicket;

/// A command that was submitted: the claim on its outcome and on the memory it was given.
///
/// A ticket that is dropped leaves the memory with the driver until the controller is shut down.
#[derive(Debug)]
#[must_use = "the command's memory comes back with `complete`"]
pub struct Ticket {
    pub(super) controller: Requester,
    pub(super) queue: usize,
    pub(super) slot: SlotTicket,
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
        let (len_bytes, buffer) = self.check(queue, blocks, buffer)?;
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
        let (len_bytes, buffer) = self.check(queue, blocks, buffer)?;
        let mapping = buffer.map(&self.device, ToDevice).map_err(rejected)?;
        let namespace = self.namespace.id();
        self.submit(queue, Data::Write(mapping), len_bytes, |prps| {
            Command::write(namespace, blocks, prps)
        })
    }

    /// Checks what a transfer asks for; returns its bytes, and the buffer in either case.
    fn check(&self, queue: usize, blocks: Blocks, buffer: B) -> Result<(u64, B), Failed<B>> {
        match self.transfer_bytes(queue, blocks, buffer.len_bytes()) {
            Ok(len_bytes) => Ok((len_bytes, buffer)),
            Err(error) => Err(Failed::with_buffer(error, buffer)),
        }
    }

    /// The bytes of a transfer that the queue has room for and a buffer of `buffer_bytes` holds.
    fn transfer_bytes(
        &self,
        queue: usize,
        blocks: Blocks,
        buffer_bytes: u64,
    ) -> Result<u64, CommandError> {
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
        if len_bytes > buffer_bytes {
            return Err(CommandError::BufferTooShort {
                buffer_bytes,
                len_bytes,
            });
        }
        Ok(len_bytes)
    }

    /// Checks that the controller works and that the queue has room.
    pub(super) fn check_queue(&self, queue: usize) -> Result<(), CommandError> {
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
    pub(super) fn submit(
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
