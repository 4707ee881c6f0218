//! What the journeys of virtio devices share: how the device is attached, and how they fail.

use dmamap::device::{DetachError, Device, Figures};
use dmamap::platform::Platform;
use dmamap::system::AttachError;
use drivers::virtio::{
    InUse, RequestError, VirtioBlockError, VirtioGpuError, VirtioNetError, VirtioStartError,
};

use crate::{Computer, Unmet};

/// Why a journey of a virtio device failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VirtioJourneyError {
    /// The computer lacks something.
    #[error(transparent)]
    Unmet(#[from] Unmet),
    /// The device cannot be attached.
    #[error(transparent)]
    Attach(#[from] AttachError),
    /// The driver cannot be started.
    #[error("the device does not start: {0}")]
    Start(#[from] VirtioStartError),
    /// A request failed.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// A frame was not sent or received.
    #[error(transparent)]
    Net(#[from] VirtioNetError),
    /// Sectors were not read or written.
    #[error(transparent)]
    Block(#[from] VirtioBlockError),
    /// The screen fails.
    #[error(transparent)]
    Gpu(#[from] VirtioGpuError),
    /// What was sent did not come back in time.
    #[error("of {sent} bytes sent {received} came back in time")]
    NotReturned {
        /// Bytes sent.
        sent: u64,
        /// Bytes received.
        received: u64,
    },
    /// Something else came back than what was sent.
    #[error("byte {at} of what came back is another than was sent")]
    Differs {
        /// Which byte of all.
        at: u64,
    },
    /// Random bytes are none: all alike, or the same as before.
    #[error("{len_bytes} bytes are not random")]
    NotRandom {
        /// How many were asked for.
        len_bytes: usize,
    },
    /// Memory beside a buffer was written.
    #[error("memory beside a buffer was written")]
    Strayed,
    /// The driver was stopped, and something of it is lent to the device.
    #[error("{live_mappings} mappings are left, and {quarantined_bytes} bytes lost")]
    Left {
        /// Mappings that live.
        live_mappings: u64,
        /// Bytes that the IOMMU did not give back.
        quarantined_bytes: u64,
    },
    /// Mappings were not copied, or not left to flushes, or were, against the computer's protection.
    #[error("its mappings were not treated as its protection says")]
    NotTreated,
    /// The device stays in its place.
    #[error(transparent)]
    InUse(#[from] InUse),
    /// The device is not detached.
    #[error(transparent)]
    Detach(#[from] DetachError),
}

/// Detaches a device whose driver was stopped, to which nothing may be lent any more, and which must have been treated as the
/// computer's protection says.
pub(crate) fn detach<P: Platform>(
    computer: &Computer<P>,
    device: Device<P>,
) -> Result<Figures, VirtioJourneyError> {
    let figures = device.figures();
    if !computer.treats_as_asked(&device) {
        return Err(VirtioJourneyError::NotTreated);
    }
    device.detach()?;
    if figures.live_mappings != 0 || figures.quarantined_bytes != 0 {
        return Err(VirtioJourneyError::Left {
            live_mappings: figures.live_mappings,
            quarantined_bytes: figures.quarantined_bytes,
        });
    }
    Ok(figures)
}
