//! What can go wrong with bus addresses.

use super::IovaRequest;
use crate::addr::BusRange;
use crate::slab::SlabError;

/// Why an [`IovaSpace`](super::IovaSpace) refused. Nothing has changed then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IovaError {
    /// No gap fits the request.
    #[error("no free bus addresses for {request}; the widest gap has {widest_gap_bytes:#x} bytes")]
    IovaExhausted {
        /// What was asked for.
        request: IovaRequest,
        /// Bytes of the widest gap, wherever it is.
        widest_gap_bytes: u64,
    },
    /// The request asks for no bytes, for an alignment beyond 64 bits, or for parts of
    /// granules.
    #[error("a request for {request} is not in whole granules of 2^{granule_log2} bytes")]
    Malformed {
        /// What was asked for.
        request: IovaRequest,
        /// The space's granule.
        granule_log2: u32,
    },
    /// A range to be reserved is in use.
    #[error("bus {allocated} is allocated and cannot be reserved")]
    InUse {
        /// The allocated range that is in the way.
        allocated: BusRange,
    },
    /// A range to be freed is not allocated.
    #[error("bus {range} is not allocated: it never was, or is already free, or is reserved")]
    NotAllocated {
        /// What was to be freed.
        range: BusRange,
    },
    /// A range to be freed was allocated with another length.
    #[error("bus {range} cannot be freed: what was allocated there is {allocated}")]
    PartialFree {
        /// What was to be freed.
        range: BusRange,
        /// What was allocated.
        allocated: BusRange,
    },
    /// Granules are 4 KiB to 1 GiB.
    #[error("a granule of 2^{granule_log2} bytes is not between 4 KiB and 1 GiB")]
    Granule {
        /// What was asked for.
        granule_log2: u32,
    },
    /// No memory for the record of the range.
    #[error("no memory to record bus addresses: {0}")]
    OutOfMemory(#[from] SlabError),
}

impl IovaError {
    /// The same where there is a gap of so many bytes as well.
    pub(crate) fn beside_gap(mut self, len_bytes: u64) -> Self {
        if let Self::IovaExhausted {
            widest_gap_bytes: widest,
            ..
        } = &mut self
        {
            *widest = len_bytes.max(*widest);
        }
        self
    }
}
