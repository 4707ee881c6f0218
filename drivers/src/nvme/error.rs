//! What can go wrong, and who is to blame: the controller as a whole, one command, bring-up, shutdown.

use core::fmt;

use dmamap::device::{Device, MaskError};
use dmamap::iommu::unit::Requester;
use dmamap::map::{CoherentError, MapError, Quarantined};
use dmamap::mmio::MmioError;
use dmamap::pci::{ClaimBarError, ConfigError, PciAddress};
use dmamap::platform::Platform;
use hw::nvme::StatusField;

use super::command::{Blocks, Operation};
use super::prp::PrpError;

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
    Map(#[from] MapError),
    /// The mapping could not be described to the controller.
    #[error(transparent)]
    Prp(#[from] PrpError),
    /// The command ended, but its memory could not be taken back from the device. It is lost until the
    /// device is reset.
    #[error("the buffer could not be taken back: {0}")]
    Quarantined(#[from] Quarantined),
    /// The ticket is not one of this controller's outstanding commands.
    #[error("the ticket is not of this controller")]
    ForeignTicket,
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
    pub(super) fn with_buffer(error: impl Into<CommandError>, buffer: B) -> Self {
        Self {
            error: error.into(),
            buffer: Some(buffer),
        }
    }

    pub(super) fn without_buffer(error: impl Into<CommandError>) -> Self {
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

/// Why a controller could not be brought up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// Device and function are not the same.
    #[error("device {device} was attached, but function {function} is to be driven")]
    WrongFunction {
        /// The device that was attached.
        device: Requester,
        /// The function given.
        function: PciAddress,
    },
    /// The registers could not be claimed or mapped.
    #[error(transparent)]
    Registers(#[from] ClaimBarError),
    /// The function's registers have no address.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The registers are too short for what the controller says it has.
    #[error(transparent)]
    Mmio(#[from] MmioError),
    /// The function says that it drives an impossible number of address lines.
    #[error("the function says it drives {bits} address lines: 1 to 64 are possible")]
    AddressLines {
        /// What it says.
        bits: u32,
    },
    /// The device's addresses do not suffice.
    #[error(transparent)]
    Mask(#[from] MaskError),
    /// Memory for queues and lists could not be had.
    #[error(transparent)]
    Coherent(#[from] CoherentError),
    /// The controller does not work with pages of 4 KiB.
    #[error("the controller's smallest memory page is 2^{page_size_log2} bytes: 2^12 is needed")]
    PageSize {
        /// log2 of its smallest page.
        page_size_log2: u32,
    },
    /// The controller does not have the NVM command set.
    #[error("the controller does not support the NVM command set (CAP.CSS {css:#04x})")]
    CommandSet {
        /// The sets it supports.
        css: u8,
    },
    /// The namespace does not exist.
    #[error("there is no namespace {namespace}: the controller has {namespaces}")]
    NoSuchNamespace {
        /// The one asked for.
        namespace: u32,
        /// How many there are.
        namespaces: u32,
    },
    /// The namespace's format is one the driver does not know.
    #[error(
        "namespace {namespace} has blocks of 2^{block_size_log2} bytes with {metadata_bytes} bytes of metadata: 2^9 to 2^16 bytes without are supported"
    )]
    Format {
        /// The namespace.
        namespace: u32,
        /// log2 of a block's bytes.
        block_size_log2: u8,
        /// Metadata bytes of each block.
        metadata_bytes: u16,
    },
    /// An admin command failed.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// The controller failed.
    #[error(transparent)]
    Controller(#[from] ControllerError),
}

/// A controller that could not be brought up, with its device: it is disabled and may be detached.
pub struct StartFailed<P: Platform> {
    /// Why.
    pub error: StartError,
    /// The device.
    pub device: Device<P>,
}

/// Why a controller did not shut down as it should.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ShutdownError {
    /// A queue could not be deleted.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// The controller failed.
    #[error(transparent)]
    Controller(#[from] ControllerError),
}

/// A controller that did not shut down as it should. It was cut off from memory all the same, and its device may
/// be detached.
pub struct ShutdownFailed<P: Platform> {
    /// The first error.
    pub error: ShutdownError,
    /// The device.
    pub device: Device<P>,
}

macro_rules! error_with_device {
    ($failed:ident) => {
        impl<P: Platform> fmt::Debug for $failed<P> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($failed))
                    .field("error", &self.error)
                    .finish()
            }
        }

        impl<P: Platform> fmt::Display for $failed<P> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.error.fmt(f)
            }
        }

        impl<P: Platform> core::error::Error for $failed<P> {
            fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
                self.error.source()
            }
        }
    };
}
error_with_device!(StartFailed);
error_with_device!(ShutdownFailed);
