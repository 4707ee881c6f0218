//! Errors of devices at work.

use super::{ShareError, VirtioStartError};

/// Why a device was given up. It was reset then: it has lost all it was told, and is told nothing more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// It did not answer a request in time.
    #[error("the device did not answer a request in queue {queue} in time")]
    TimedOut {
        /// Which queue.
        queue: u16,
    },
    /// It answered a request that was not made, or with more than it was given room for, or with nothing where there must be
    /// something.
    #[error("the device answers in queue {queue} what it was not asked")]
    WrongAnswer {
        /// Which queue.
        queue: u16,
    },
    /// It says that it cannot go on.
    #[error("the device says that it needs a reset")]
    NeedsReset,
    /// Its registers read as if nobody were there.
    #[error("the device is gone")]
    Gone,
    /// It does not reset. It has lost its leave to reach memory.
    #[error("the device does not reset")]
    NotReset,
    /// It refuses the features that were accepted of those it offers.
    #[error("the device refuses the features accepted of it")]
    FeaturesRefused,
    /// Its configuration does not stand still.
    #[error("the device's configuration does not stand still")]
    Unsteady,
    /// A queue cannot be used: nobody could tell the device of requests, or it does not lie in memory allocated for it.
    #[error("queue {queue} cannot be used")]
    NoQueue {
        /// Which queue.
        queue: u16,
    },
    /// It refused part of what it was asked, and what it did of the rest is unknown.
    #[error("the device refuses part of what it was asked: {0}")]
    HalfDone(virtio_drivers::Error),
    /// Memory that it cannot do without could not be lent to it.
    #[error("memory cannot be lent to the device: {0}")]
    Share(ShareError),
}

/// Why a device did not do what it was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// The device was given up; every request fails alike from then on.
    #[error("the device is stopped: {0}")]
    Stopped(#[from] Fault),
    /// Memory could not be lent for the request. The device was not told of it, and goes on.
    #[error("the request was not made: {0}")]
    Share(#[from] ShareError),
    /// The device, or the crate, refuses.
    #[error("refused: {0}")]
    Refused(virtio_drivers::Error),
}

impl From<RequestError> for VirtioStartError {
    fn from(error: RequestError) -> Self {
        match error {
            RequestError::Stopped(fault) => Self::Device(fault),
            RequestError::Share(error) => Self::Share(error),
            RequestError::Refused(error) => Self::Driver(error),
        }
    }
}

/// Why a disk did not do what it was asked.
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
    /// The request failed.
    #[error(transparent)]
    Request(#[from] RequestError),
}

/// Why a network device did not send or receive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum VirtioNetError {
    /// A frame is empty or too long.
    #[error("a frame of {len_bytes} bytes: 1 to {most} are sent")]
    FrameLength {
        /// Its length.
        len_bytes: usize,
        /// Most there can be.
        most: usize,
    },
    /// A received frame is longer than the memory to put it. It is kept.
    #[error("a frame of {len_bytes} bytes was received, and there is room for {room}")]
    NoRoom {
        /// Its length.
        len_bytes: usize,
        /// Room there is.
        room: usize,
    },
    /// The request failed.
    #[error(transparent)]
    Request(#[from] RequestError),
}

/// Why a screen does not show what it should.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum VirtioGpuError {
    /// A picture of that size cannot be had.
    #[error("a picture of {width} by {height} pixels: 1 to {most} each way are possible")]
    Resolution {
        /// Pixels in a row.
        width: u32,
        /// Rows.
        height: u32,
        /// Most of either.
        most: u32,
    },
    /// No picture was set up.
    #[error("there is no picture to show")]
    NoPicture,
    /// A cursor has a certain size.
    #[error("a cursor of {len_bytes} bytes: it has {needed}")]
    CursorSize {
        /// What was given.
        len_bytes: usize,
        /// What is needed.
        needed: usize,
    },
    /// The request failed.
    #[error(transparent)]
    Request(#[from] RequestError),
}
