//! Commands in flight and the buffers that take turns, in disk order.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use dmamap::platform::Platform;
use drivers::nvme::{CommandError, Failed, Ticket};

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

/// A chunk of the disk and the buffer it is moved to or from.
pub(super) struct Piece<P: Platform> {
    pub(super) buffer: TransferBuffer<P>,
    pub(super) chunk: Chunk,
}

/// What became of a piece that was to be moved.
pub(super) enum Submission<P: Platform> {
    /// The controller has it.
    Accepted,
    /// The device has no bus addresses left for it: those of a piece under way must come back first.
    NotNow(Piece<P>),
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
    /// Comes before the next chunk.
    put_back: Option<Piece<P>>,
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
            put_back: None,
            buffers,
            commands: 0,
            started_ns,
        })
    }

    /// Whether one more command can be outstanding.
    pub(super) fn has_room(&self) -> bool {
        self.in_flight.len() < self.in_flight_most
    }

    /// The piece that is next: its buffer is one that nobody uses.
    pub(super) fn take_next(&mut self) -> Option<Piece<P>> {
        if let Some(piece) = self.put_back.take() {
            return Some(piece);
        }
        let buffer = self.idle.pop()?;
        match self.chunks.next() {
            Some(chunk) => Some(Piece { buffer, chunk }),
            None => {
                self.idle.push(buffer);
                None
            }
        }
    }

    /// Makes a piece the next one again.
    pub(super) fn put_back(&mut self, piece: Piece<P>) {
        self.put_back = Some(piece);
    }

    /// Gives the controller a command for a piece.
    pub(super) fn submit(&mut self, piece: Piece<P>) -> Result<Submission<P>, DiskError> {
        let Piece { buffer, chunk } = piece;
        let submitted = match self.way {
            Way::Read => self.disk.submit_read(chunk.queue, chunk.blocks, buffer),
            Way::Write => self.disk.submit_write(chunk.queue, chunk.blocks, buffer),
        };
        match submitted {
            Ok(ticket) => {
                self.commands += 1;
                self.in_flight.push_back((ticket, chunk));
                Ok(Submission::Accepted)
            }
            // A device with few address lines has few bus addresses.
            Err(Failed {
                error: CommandError::Map(_),
                buffer: Some(buffer),
            }) if !self.in_flight.is_empty() => Ok(Submission::NotNow(Piece { buffer, chunk })),
            Err(failed) => Err(at(chunk.at_byte, failed)),
        }
    }

    /// Waits for the oldest command and hands its piece out; `None` if none is outstanding.
    pub(super) fn complete_oldest(&mut self) -> Result<Option<Piece<P>>, DiskError> {
        let Some((ticket, chunk)) = self.in_flight.pop_front() else {
            return Ok(None);
        };
        let completed = self.disk.complete(ticket);
        let buffer = completed.map_err(|failed| at(chunk.at_byte, failed))?;
        Ok(Some(Piece { buffer, chunk }))
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
