//! Errors of one command, and its memory on the way back.

use alloc::boxed::Box;
use core::fmt;

use dmamap::map::{MapError, Quarantined};
use hw::nvme::StatusField;

use super::ControllerError;
use crate::nvme::command::{Blocks, Operation};
use crate::nvme::prp::PrpError;

/// Why a command did not do its work.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CommandError {
    /// The controller completed it with an error.
    #[error("{operation} failed: {status}")]
    Status {
        /// What it was to do.
        operation: Operation,
        /// What the controller says.
        status: StatusField,
    },
    /// The controller failed before the command was done.
    #[error(transparent)]
    Controller(#[from] ControllerError),
    /// There is no such queue.
    #[error("there is no I/O queue {queue}: the controller has {queues}")]
    NoSuchQueue {
        /// The index asked for.
        queue: usize,
        /// How many there are.
        queues: usize,
    },
    /// The queue has as many commands outstanding as it can.
    #[error("I/O queue {queue} already has {depth} commands outstanding")]
    QueueFull {
        /// The queue's index.
        queue: usize,
        /// Its depth.
        depth: usize,
    },
    /// No blocks are named, or some that the namespace does not have.
    #[error("{blocks} are not within the namespace's {namespace_blocks}")]
    OutOfRange {
        /// What was named.
        blocks: Blocks,
        /// What there is.
        namespace_blocks: u64,
    },
    /// One command cannot move that much.
    #[error("{len_bytes} bytes are more than the {max_transfer_bytes} of one command")]
    TransferTooLong {
        /// What was asked for.
        len_bytes: u64,
        /// What is possible.
        max_transfer_bytes: u64,
    },
    /// The buffer is shorter than the blocks.
    #[error("a buffer of {buffer_bytes} bytes does not hold {len_bytes}")]
    BufferTooShort {
        /// Bytes the buffer has.
        buffer_bytes: u64,
        /// Bytes of the blocks.
        len_bytes: u64,
    },
    /// The buffer could not be mapped for the device.
    #[error("the buffer cannot be mapped: {0}")]
    Map(Box<MapError>),
    /// The mapping could not be described to the controller.
    #[error(transparent)]
    Prp(#[from] PrpError),
    /// The command ended, but its memory could not be taken back from the device. It is lost until the
    /// device is reset.
    #[error("the buffer could not be taken back: {0}")]
    Quarantined(Box<Quarantined>),
    /// The ticket is not one of this controller's outstanding commands.
    #[error("the ticket is not of this controller")]
    ForeignTicket,
}

// Boxed, as they are rare and would make every command's result as large as themselves.
impl From<MapError> for CommandError {
    fn from(error: MapError) -> Self {
        Self::Map(Box::new(error))
    }
}

impl From<Quarantined> for CommandError {
    fn from(error: Quarantined) -> Self {
        Self::Quarantined(Box::new(error))
    }
}

/// A command that failed, with the memory it was given.
pub struct Failed<B> {
    /// Why.
    pub error: CommandError,
    /// The memory; `None` only where the device may still reach it ([`CommandError::Quarantined`]) or there
    /// was none.
    pub buffer: Option<B>,
}

impl<B> Failed<B> {
    pub(in crate::nvme) fn with_buffer(error: impl Into<CommandError>, buffer: B) -> Self {
        Self {
            error: error.into(),
            buffer: Some(buffer),
        }
    }

    pub(in crate::nvme) fn without_buffer(error: impl Into<CommandError>) -> Self {
        Self {
            error: error.into(),
            buffer: None,
        }
    }
}

impl<B> fmt::Debug for Failed<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Failed")
            .field("error", &self.error)
            .field("buffer", &self.buffer.as_ref().map(|_| ".."))
            .finish()
    }
}

impl<B> fmt::Display for Failed<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl<B> core::error::Error for Failed<B> {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        Some(&self.error)
    }
}
