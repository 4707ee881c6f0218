//! Whole disks moved by DMA: read, written, compared.
//!
//! All three keep every queue of the disk as deep as it goes with commands for consecutive pieces of the disk
//! (*chunks*), and deal with them in disk order. The memory in flight is bounded whatever the depth:
//! many commands means small ones.
//!
//! ```
//! # use board as _;
//! use dmamap::platform::Platform;
//! use journeys::disk::{Disk, DiskError, DiskOptions, ReadDiskError, read_disk};
//!
//! /// How many bytes of a disk are not 0.
//! fn used_bytes<P: Platform>(disk: &mut Disk<P>) -> Result<u64, DiskError> {
//!     let mut used = 0;
//!     let read = read_disk(disk, &DiskOptions::default(), |bytes| {
//!         used += bytes.iter().filter(|&&byte| byte != 0).count() as u64;
//!         Ok::<(), core::convert::Infallible>(())
//!     });
//!     match read {
//!         Ok(_) => Ok(used),
//!         Err(ReadDiskError::Disk(error)) => Err(error),
//!         Err(ReadDiskError::Sink(never)) => match never {},
//!     }
//! }
//! ```

mod chunks;
mod pipeline;
mod read_disk;
mod verify_disk;
mod write_disk;

pub use read_disk::{ReadDiskError, read_disk};
pub use verify_disk::{VerifyDiskError, verify_disk};
pub use write_disk::{WriteDiskError, write_disk};

use dmamap::buffer::BufferError;
use drivers::nvme::{CommandError, Nvme};

use crate::transfer_buffer::TransferBuffer;

/// The disk these journeys work on.
pub type Disk<P> = Nvme<P, TransferBuffer<P>>;

/// The most memory in flight at once, unless even the smallest commands need more.
pub const IN_FLIGHT_BYTES: u64 = 16 << 20;
/// Bytes of the smallest command, blocks permitting.
pub const MIN_CHUNK_BYTES: u64 = 4 << 10;
/// Bytes of the largest command, the controller permitting.
pub const MAX_CHUNK_BYTES: u64 = 256 << 10;

/// What part of a disk is moved, and how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DiskOptions {
    /// How many bytes from the start of the disk; `None` for all of it. The last block is moved whole.
    pub len_bytes: Option<u64>,
    /// Bytes per command; `None` for what fits [`IN_FLIGHT_BYTES`] at the disk's depth and number of queues.
    /// Rounded to what the disk can do.
    pub chunk_bytes: Option<u64>,
}

/// What a journey over a disk did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiskReport {
    /// Bytes moved, without the padding of the last block.
    pub len_bytes: u64,
    /// Bytes of a full command.
    pub chunk_bytes: u64,
    /// Commands that moved them.
    pub commands: u64,
    /// Buffers that took turns.
    pub buffers: usize,
    /// How long it took, by the platform's clock.
    pub elapsed_ns: u64,
}

/// Why a disk could not be moved.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DiskError {
    /// A command failed.
    #[error("at byte {at_byte:#x} of the disk: {error}")]
    Command {
        /// First byte the command was to move.
        at_byte: u64,
        /// How it failed.
        error: CommandError,
    },
    /// The final flush failed: what was written may not last.
    #[error("flush: {0}")]
    Flush(CommandError),
    /// The platform has no memory for the buffers.
    #[error("buffers of {chunk_bytes:#x} bytes: {error}")]
    Buffers {
        /// Bytes of each.
        chunk_bytes: u64,
        /// What the platform says.
        error: BufferError,
    },
    /// More bytes are to be moved than the disk has.
    #[error("{wanted_bytes} bytes are wanted of a disk of {disk_bytes}")]
    DiskTooSmall {
        /// What is wanted.
        wanted_bytes: u64,
        /// What there is.
        disk_bytes: u64,
    },
}
