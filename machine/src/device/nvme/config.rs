//! What kind of disk to build: the backing file, its limits, and how it misbehaves.

use std::fs::File;
use std::io;
use std::time::Duration;

/// Whether a disk's blocks can be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Medium {
    /// Blocks can be read; a write command fails.
    ReadOnly,
    /// Blocks can be read and written.
    ReadWrite,
}

/// In which order a controller executes and completes the I/O commands it has fetched: the specification
/// leaves it free.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CompletionOrder {
    /// As submitted, queue by queue.
    #[default]
    Submission,
    /// Several commands are fetched ahead and dice from this seed choose among them.
    Shuffled(u64),
}

/// An NVMe disk over a file.
#[derive(Debug)]
pub struct NvmeConfig {
    /// Its name in findings, and its serial number.
    pub name: String,
    /// Holds the blocks.
    pub file: File,
    /// How many bytes of the file the disk shows, from its first on; the last block is filled with zeroes. A
    /// writable regular file is made exactly this long.
    pub len_bytes: u64,
    /// Whether the blocks can be written.
    pub medium: Medium,
    /// How many address lines the controller drives (12 to 64): the machine really drops the higher bits.
    pub address_lines: u32,
    /// Most pairs of I/O queues a driver can create (1 to 1024).
    pub io_queues: u16,
    /// Most entries of one queue (2 to 65536).
    pub queue_entries: u32,
    /// Distance of doorbells, as a power of two of 4 bytes (0 to 8).
    pub doorbell_stride_log2: u8,
    /// Largest transfer of one command, as a power of two of 4 KiB pages (1 to 12).
    pub max_transfer_pages_log2: u8,
    /// In which order I/O commands complete.
    pub order: CompletionOrder,
    /// Deliberate faults.
    pub misbehaviour: Misbehaviour,
    /// With a seed, the disk also tries to reach memory outside its mappings while it works.
    pub rogue: Option<u64>,
}

impl NvmeConfig {
    /// A well-behaved disk that shows the first `len_bytes` bytes of `file`.
    pub fn new(file: File, len_bytes: u64, medium: Medium) -> Self {
        Self {
            name: "nvme".to_owned(),
            file,
            len_bytes,
            medium,
            address_lines: 64,
            io_queues: 8,
            queue_entries: 1024,
            doorbell_stride_log2: 0,
            max_transfer_pages_log2: 8,
            order: CompletionOrder::Submission,
            misbehaviour: Misbehaviour::default(),
            rogue: None,
        }
    }
}

/// Why there can be no such disk.
#[derive(Debug, thiserror::Error)]
pub enum NvmeConfigError {
    /// A limit is outside what the register that tells it can say, or the model supports.
    #[error("{what} of an NVMe disk must be {least} to {most}, not {value}")]
    Limit {
        /// Which field of [`NvmeConfig`].
        what: &'static str,
        /// What it is.
        value: u64,
        /// Its least value.
        least: u64,
        /// Its greatest value.
        most: u64,
    },
    /// The backing file could not be made as long as the disk.
    #[error("cannot make the disk's file {len_bytes} bytes long: {source}")]
    Length {
        /// The length asked for.
        len_bytes: u64,
        /// What the host said.
        source: io::Error,
    },
}

impl NvmeConfig {
    /// Checks the limits.
    pub(crate) fn check(&self) -> Result<(), NvmeConfigError> {
        let limits = [
            ("len_bytes", self.len_bytes, 1, i64::MAX as u64),
            ("address_lines", self.address_lines.into(), 12, 64),
            ("io_queues", self.io_queues.into(), 1, 1024),
            ("queue_entries", self.queue_entries.into(), 2, 1 << 16),
            (
                "doorbell_stride_log2",
                self.doorbell_stride_log2.into(),
                0,
                8,
            ),
            (
                "max_transfer_pages_log2",
                self.max_transfer_pages_log2.into(),
                1,
                12,
            ),
        ];
        for (what, value, least, most) in limits {
            if !(least..=most).contains(&value) {
                return Err(NvmeConfigError::Limit {
                    what,
                    value,
                    least,
                    most,
                });
            }
        }
        Ok(())
    }
}

/// Faults a disk commits on purpose. I/O commands are counted from 0, in the order the controller fetches them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Misbehaviour {
    /// Flips the lowest bit of this byte, counted from 0 over all data that read commands transfer.
    pub flip_bit_of_byte: Option<u64>,
    /// Fails every read or write that touches this block with an unrecovered read error or a write fault.
    pub broken_block: Option<u64>,
    /// Never completes this I/O command.
    pub never_complete: Option<u64>,
    /// Stops with the fatal status (`CSTS.CFS`) instead of executing this I/O command.
    pub fatal_at: Option<u64>,
    /// After this I/O command's completion, posts one for a command that was never submitted.
    pub unknown_command_at: Option<u64>,
    /// Posts this I/O command's completion twice.
    pub complete_twice_at: Option<u64>,
    /// Posts this I/O command's completion with the phase bit of the previous lap, and raises the interrupt.
    pub wrong_phase_at: Option<u64>,
    /// Waits before completing each I/O command.
    pub delay: Duration,
    /// Never becomes ready after it was enabled.
    pub never_ready: NeverReady,
}

/// Whether a controller ignores that it was enabled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NeverReady {
    /// It becomes ready.
    #[default]
    No,
    /// `CSTS.RDY` stays 0.
    Yes,
}
