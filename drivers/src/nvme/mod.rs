//! A driver for NVM Express controllers: disks that fetch commands and move data by DMA.
//!
//! | step | file |
//! |---|---|
//! | claim the registers, learn the mask, enable, identify, create queues | `start` |
//! | give a command with its memory to a queue | `submit` |
//! | wait for its end, take the memory back | `complete` |
//! | one queue pair: rings, phases, doorbells | `queue`, `ring`, `completion` |
//! | which commands are outstanding, and what they hold | `slots`, `io_queue` |
//! | where a command's data lies | `prp`, `data` |
//! | how the end of a command is learned | `interrupts` |
//! | delete queues, shut down, give the device back | `shutdown` |
//!
//! Memory is mapped for one command and only while it runs. The controller is not trusted: what it writes
//! into the completion queues is checked, a lie or a time-out stops it for good
//! ([`ControllerError`]), and a buffer comes back only after the device has lost it.
//!
//! ```
//! # use board as _;
//! use dmamap::buffer::DmaBuffer;
//! use dmamap::platform::Platform;
//! use drivers::nvme::{Blocks, CommandError, Nvme};
//!
//! /// Reads the first block of a disk.
//! fn first_block<P: Platform>(
//!     disk: &mut Nvme<P, DmaBuffer<P>>,
//!     buffer: DmaBuffer<P>,
//! ) -> Result<DmaBuffer<P>, CommandError> {
//!     let blocks = Blocks { first: 0, count: 1 };
//!     let ticket = disk.submit_read(0, blocks, buffer).map_err(|failed| failed.error)?;
//!     // … submit more: up to `queue_depth` commands on each of `queue_count` queues …
//!     disk.complete(ticket).map_err(|failed| failed.error)
//! }
//! ```

mod admin;
mod blocking;
mod command;
mod complete;
mod completion;
mod controller;
mod data;
mod engine;
mod error;
mod identify;
mod interrupts;
mod io_queue;
mod prp;
mod queue;
mod ring;
mod settings;
mod shutdown;
mod slots;
mod start;
mod submit;

pub use command::{Blocks, Operation};
pub use data::{DataMapping, DiskMemory, RetiredData};
pub use error::{
    CommandError, ControllerError, Failed, Readiness, ShutdownError, ShutdownFailed, StartError,
    StartFailed,
};
pub use identify::{ControllerInfo, Namespace};
pub use interrupts::{CompletionMode, PollingReason};

pub use prp::PrpError;
pub use settings::{Completion, MAX_QUEUE_DEPTH, MAX_QUEUES, Settings};
pub use submit::Ticket;

use dmamap::device::Device;
use dmamap::mmio::Mmio;
use dmamap::platform::Platform;

use engine::Engine;

/// A running NVMe controller and one of its namespaces.
///
/// `B` is the memory commands are given. Dropping the controller stops it, takes all memory back and
/// detaches the device; [`shutdown`](Self::shutdown) does so in order.
pub struct Nvme<P: Platform, B: DiskMemory<P>> {
    // Dropped before the device, through which its memory is mapped.
    engine: Engine<P, B>,
    settings: Settings,
    completion_mode: CompletionMode,
    info: ControllerInfo,
    namespace: Namespace,
    max_transfer_bytes: u64,
    /// Why the controller was stopped for good.
    lost: Option<ControllerError>,
    device: Device<P>,
}

impl<P: Platform, B: DiskMemory<P>> Nvme<P, B> {
    /// Who the controller is.
    pub fn info(&self) -> &ControllerInfo {
        &self.info
    }

    /// The disk.
    pub fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// Most bytes one command may move: a whole number of blocks.
    pub fn max_transfer_bytes(&self) -> u64 {
        self.max_transfer_bytes
    }

    /// Number of I/O queue pairs.
    pub fn queue_count(&self) -> usize {
        self.engine.queues.len()
    }

    /// Commands each queue can have outstanding.
    pub fn queue_depth(&self) -> usize {
        self.engine.queues.first().map_or(0, |queue| queue.depth())
    }

    /// Commands the controller owns on all queues, as far as completions have been looked at.
    pub fn outstanding(&self) -> usize {
        self.engine
            .queues
            .iter()
            .map(|queue| queue.outstanding())
            .sum()
    }

    /// How ends of commands are learned, and why it is by polling if it is.
    pub fn completion_mode(&self) -> &CompletionMode {
        &self.completion_mode
    }

    /// Why the controller was stopped, if it was: every further command fails with this.
    pub fn lost(&self) -> Option<ControllerError> {
        self.lost
    }

    /// The device, for its figures and mask.
    pub fn device(&self) -> &Device<P> {
        &self.device
    }

    /// The controller's registers (B and C), for showing.
    pub fn registers(&self) -> &Mmio<P> {
        self.engine.controller.registers()
    }
}
