//! What can go wrong between asking for a mapping and having its memory back. Errors are values; no bus
//! address means failure.

use core::fmt;

use crate::addr::{BusRange, DmaMask, PhysRange, VirtAddr};
use crate::iommu::{DomainError, Requester, RevokeError};

/// A mapping that could not be made, and for which device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{device}: {failure}")]
pub struct MapError {
    /// The device.
    pub device: Requester,
    /// What stood in the way.
    pub failure: MapFailure,
}

/// What stood in the way of a mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MapFailure {
    /// The device is attached so that it reaches nothing.
    #[error("the device is attached as blocked: it may not reach memory")]
    Blocked,
    /// The memory's bus addresses are beyond the device's mask, and nothing translates for it.
    #[error(
        "bus {range} is beyond the device's mask of {mask}: allocate within it, or use an IOMMU"
    )]
    BeyondMask {
        /// The bus addresses the memory has.
        range: BusRange,
        /// The device's mask.
        mask: DmaMask,
    },
    /// The host bridge shows devices no such memory.
    #[error("memory at physical {memory} has no bus address behind this host bridge")]
    NotOnBus {
        /// The memory.
        memory: PhysRange,
    },
    /// `map_single` takes one physically contiguous piece.
    #[error("the buffer is in pieces ({first} is the first): map it with map_sg")]
    NotContiguous {
        /// The first piece.
        first: PhysRange,
    },
    /// The unit's smallest page is larger than a frame, and the memory is not made of such pages.
    #[error(
        "memory at {memory} is not whole pages of {page_bytes:#x} bytes, the smallest that the IOMMU maps for the \
         device: allocate it with DmaBuffer::allocate_for"
    )]
    NotWholePages {
        /// The memory.
        memory: PhysRange,
        /// Bytes of the smallest page.
        page_bytes: u64,
    },
    /// There is no byte to map.
    #[error("a mapping of no bytes")]
    Empty,
    /// The memory ends past the last address.
    #[error("{len_bytes:#x} bytes are longer than any mapping can be")]
    TooLong {
        /// Bytes asked for.
        len_bytes: u64,
    },
    /// The address is not memory a device could be given: a stack, an image, a heap of its own.
    #[error("{virt} is not memory of the machine that a device could be given")]
    NotDmaMemory {
        /// The address.
        virt: VirtAddr,
    },
    /// The caller's list of segments is too short.
    #[error("the list needs more than {room} segments")]
    TooManySegments {
        /// What the caller had room for.
        room: usize,
    },
    /// The machine is being suspended, or is: nothing is mapped before it was resumed.
    #[error("the machine is suspended")]
    Suspended,
    /// The domain behind the device refused.
    #[error(transparent)]
    Domain(#[from] DomainError),
}

impl MapError {
    /// Whether the device may reach the memory although the mapping failed, so that it must be kept.
    pub fn leaves_memory_reachable(&self) -> bool {
        matches!(
            self.failure,
            MapFailure::Domain(DomainError::Unconfirmed { .. })
        )
    }
}

/// A mapping that could not be made, with the memory it was to be of.
pub struct Rejected<B> {
    /// Why.
    pub error: MapError,
    /// The memory; `None` only where the device may [still reach it](MapError::leaves_memory_reachable).
    pub buffer: Option<B>,
}

impl<B> fmt::Debug for Rejected<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rejected")
            .field("error", &self.error)
            .finish_non_exhaustive()
    }
}

impl<B> fmt::Display for Rejected<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl<B> core::error::Error for Rejected<B> {}

/// The IOMMU did not confirm that the device lost a mapping: its memory and its bus addresses are kept and counted, and
/// not used again before a [`recover`](crate::device::Device::recover) or [`reset`](crate::device::Device::reset) of the
/// device succeeded, or its detach.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{device}: bus {range} may still be reachable, its memory is quarantined: {error}")]
pub struct Quarantined {
    /// The device.
    pub device: Requester,
    /// The addresses it may still use.
    pub range: BusRange,
    /// What the IOMMU did.
    pub error: RevokeError,
}
