//! Commands in flight and the buffers that take turns, in disk order.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use dmamap::platform::Platform;
use drivers::nvme::{Failed, Ticket};

use super::chunks::{Chunk, Chunks, Geometry};
use super::{Disk, DiskError, DiskOptions, DiskReport};
use crate::transfer_buffer::TransferBuffer;

/// Which way data goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// From the disk to memory.
    Read,
    /// From memory to the disk.
    Write,
}

/// The commands under way on a disk.
///
/// There is one buffer more than commands can be outstanding, so that the disk stays busy while
/// the caller has one in hand.
pub(super) struct Pipeline<'a, P: Platform> {
    disk: &'a mut Disk<P>,
    way: Way,
    chunks: Chunks,
    in_flight: VecDeque<(Ticket, Chunk)>,
    in_flight_most: usize,
    idle: Vec<TransferBuffer<P>>,
    buffers: usize,
    commands: u64,
    started_ns: u64,
}

impl<'a, P: Platform> Pipeline<'a, P> {
    pub(super) fn new(
        disk: &'a mut Disk<P>,
        way: Way,
        options: &DiskOptions,
    ) -> Result<Self, DiskError> {
        let geometry = Geometry::of(disk);
        let chunks = Chunks::new(geometry, options)?;
        let platform = disk.device().platform();
        let started_ns = platform.now_ns();
        let in_flight_most = geometry.commands_in_flight();
        let wanted = usize::try_from(chunks.remaining()).unwrap_or(usize::MAX);
        let buffers = wanted.min(in_flight_most + 1);
        let chunk_bytes = chunks.chunk_bytes();
        let idle = (0..buffers)
            .map(|index| TransferBuffer::allocate(platform, index, chunk_bytes))
            .collect::<Result<_, _>>()
            .map_err(|error| DiskError::Buffers { chunk_bytes, error })?;
        Ok(Self {
            disk,
            way,
            chunks,
            in_flight: VecDeque::with_capacity(in_flight_most.min(buffers)),
            in_flight_most,
            idle,
            buffers,
            commands: 0,
            started_ns,
        })
    }

    /// Whether one more command can be outstanding.
    pub(super) fn has_room(&self) -> bool {
        self.in_flight.len() < self.in_flight_most
    }

    /// A buffer nobody uses and the chunk that is next, if there are both.
    pub(super) fn take_next(&mut self) -> Option<(TransferBuffer<P>, Chunk)> {
        let buffer = self.idle.pop()?;
        match self.chunks.next() {
            Some(chunk) => Some((buffer, chunk)),
            None => {
                self.idle.push(buffer);
                None
            }
        }
    }

    /// Gives the controller a command for `chunk`.
    pub(super) fn submit(
        &mut self,
        buffer: TransferBuffer<P>,
        chunk: Chunk,
    ) -> Result<(), DiskError> {
        let Chunk {
            queue,
            blocks,
            at_byte,
            ..
        } = chunk;
        let submitted = match self.way {
            Way::Read => self.disk.submit_read(queue, blocks, buffer),
            Way::Write => self.disk.submit_write(queue, blocks, buffer),
        };
        let ticket = submitted.map_err(|failed| at(at_byte, failed))?;
        self.commands += 1;
        self.in_flight.push_back((ticket, chunk));
        Ok(())
    }

    /// Waits for the oldest command and hands its buffer out; `None` if none is outstanding.
    pub(super) fn complete_oldest(
        &mut self,
    ) -> Result<Option<(TransferBuffer<P>, Chunk)>, DiskError> {
        let Some((ticket, chunk)) = self.in_flight.pop_front() else {
            return Ok(None);
        };
        let buffer = self
            .disk
            .complete(ticket)
            .map_err(|failed| at(chunk.at_byte, failed))?;
        Ok(Some((buffer, chunk)))
    }

    /// Takes a buffer back for a later command.
    pub(super) fn recycle(&mut self, buffer: TransferBuffer<P>) {
        self.idle.push(buffer);
    }

    /// Makes what was written last.
    pub(super) fn flush(&mut self) -> Result<(), DiskError> {
        self.disk.flush().map_err(DiskError::Flush)
    }

    /// What was done, once all of it is.
    pub(super) fn report(&self) -> DiskReport {
        DiskReport {
            len_bytes: self.chunks.len_bytes(),
            chunk_bytes: self.chunks.chunk_bytes(),
            commands: self.commands,
            buffers: self.buffers,
            elapsed_ns: self
                .disk
                .device()
                .platform()
                .now_ns()
                .saturating_sub(self.started_ns),
        }
    }
}

impl<P: Platform> Drop for Pipeline<'_, P> {
    /// Waits for what is still under way after an error: the disk stays usable, no buffer is left with it.
    fn drop(&mut self) {
        while let Some((ticket, _)) = self.in_flight.pop_front() {
            drop(self.disk.complete(ticket));
        }
    }
}

fn at<B>(at_byte: u64, failed: Failed<B>) -> DiskError {
    DiskError::Command {
        at_byte,
        error: failed.error,
    }
}
