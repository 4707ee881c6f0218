//! Errors of a disk's requests.

use super::ShareError;

/// Why a disk did not do what it was asked. After those that say that the disk is stopped every request fails alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum VirtioBlockError {
    /// Only whole sectors are moved.
    #[error("{len_bytes} bytes are not whole sectors of 512 bytes")]
    PartOfSector {
        /// What was asked for.
        len_bytes: usize,
    },
    /// Sectors past the disk's end.
    #[error("{sectors} sectors from {first} on are not on a disk of {capacity}")]
    OutOfDisk {
        /// First sector asked for.
        first: u64,
        /// Sectors asked for.
        sectors: u64,
        /// Sectors there are.
        capacity: u64,
    },
    /// The disk can only be read.
    #[error("the disk is read-only")]
    ReadOnly,
    /// The disk answered that it did not do it.
    #[error("the disk refuses: {0}")]
    Refused(virtio_drivers::Error),
    /// The disk is gone: its configuration reads as all ones.
    #[error("the disk is gone: its configuration reads as all ones")]
    Removed,
    /// The disk did not answer in time; it is stopped.
    #[error("the disk did not answer in time, and is stopped")]
    TimedOut,
    /// The disk answered a request that was not made; it is stopped.
    #[error("the disk answers what it was not asked, and is stopped")]
    WrongAnswer,
    /// Memory could not be lent to the disk; it is stopped.
    #[error("the disk is stopped: {0}")]
    Share(#[from] ShareError),
}
