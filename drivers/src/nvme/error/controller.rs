//! Errors of the controller as a whole: they end everything.

use core::fmt;

use crate::nvme::command::Operation;

/// The controller cannot be worked with any more. It was disabled; outstanding commands fail with this reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ControllerError {
    /// Registers read as all ones: nothing answers there any more.
    #[error("the controller is gone: its registers read as all ones")]
    Removed,
    /// `CSTS.CFS` is set.
    #[error("the controller reports a fatal error (CSTS.CFS, status {csts:#x})")]
    Fatal {
        /// The status register.
        csts: u32,
    },
    /// `CSTS.RDY` did not follow `CC.EN` in time.
    #[error("the controller did not become {expected} within {waited_ms} ms")]
    NotReady {
        /// What was waited for.
        expected: Readiness,
        /// How long.
        waited_ms: u64,
    },
    /// `CSTS.SHST` did not report the end of a shutdown.
    #[error("the controller did not finish its shutdown within {waited_ms} ms")]
    ShutdownTimedOut {
        /// How long was waited.
        waited_ms: u64,
    },
    /// A command was not completed in time.
    #[error(
        "{operation} (command {id:#06x} of queue {queue}) was not completed within {waited_ms} ms"
    )]
    TimedOut {
        /// Queue id; 0 is the admin queue.
        queue: u16,
        /// Its identifier in that queue.
        id: u16,
        /// What it was to do.
        operation: Operation,
        /// How long was waited.
        waited_ms: u64,
    },
    /// A completion names a command that is not outstanding.
    #[error("queue {queue} completed command {id:#06x}, which is not outstanding")]
    UnexpectedCompletion {
        /// Queue id.
        queue: u16,
        /// The identifier.
        id: u16,
    },
    /// A completion names another submission queue than the one of its completion queue.
    #[error("completion queue {queue} has a completion of submission queue {claimed}")]
    ForeignCompletion {
        /// Queue id.
        queue: u16,
        /// The one named.
        claimed: u16,
    },
    /// A completion reports a position past the end of the submission queue.
    #[error("queue {queue} of {entries} entries reports its head at {head}")]
    QueueHeadOutOfRange {
        /// Queue id.
        queue: u16,
        /// The position reported.
        head: u16,
        /// Entries of the queue.
        entries: u32,
    },
}

/// A state of `CSTS.RDY`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// Commands are processed.
    Ready,
    /// The controller is disabled and uses no memory.
    Disabled,
}

impl fmt::Display for Readiness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ready => "ready",
            Self::Disabled => "disabled",
        })
    }
}
