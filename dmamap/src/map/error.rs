//! What can go wrong between asking for a mapping and having its memory back. Errors are values; no bus
//! address means failure.

use core::fmt;

use crate::addr::{BusAddr, BusRange, DmaMask, PhysAddr, PhysRange, VirtAddr};
use crate::bounce::BounceError;
use crate::buffer::ListError;
use crate::iommu::{DomainError, Requester, RevokeError};
use crate::map::asked::Asked;
use crate::map::view::Outside;
use crate::slab::SlabError;
use crate::system::PeerRefusal;

/// A mapping that could not be made: for which device, and of what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{device}, {asked}: {failure}")]
pub struct MapError {
    /// The device.
    pub device: Requester,
    /// The memory.
    pub asked: Asked,
    /// What stood in the way.
    pub failure: MapFailure,
}

/// What stood in the way of a mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MapFailure {
    /// The device is attached so that it reaches nothing.
    #[error("the device is attached as blocked: it may not reach memory")]
    Blocked,
    /// The memory's bus addresses are beyond the device's mask, nothing translates for it, and it reaches no memory that could
    /// stand in.
    #[error(
        "bus {range} is beyond the device's mask of {mask}: allocate within it, or use an IOMMU"
    )]
    BeyondMask {
        /// The bus addresses the memory has.
        range: BusRange,
        /// The device's mask.
        mask: DmaMask,
    },
    /// As [`BeyondMask`](Self::BeyondMask), but what decides is how far the path to memory carries addresses, whatever the mask.
    #[error(
        "bus {range} is beyond {limit}, the last address that the path to memory carries: allocate within it, or use an IOMMU"
    )]
    BeyondPath {
        /// The bus addresses the memory has.
        range: BusRange,
        /// The device's [bus limit](crate::device::Device::bus_limit).
        limit: BusAddr,
    },
    /// One piece of bus addresses would cross the boundary that the driver set for segments.
    #[error(
        "memory at {memory} would cross a multiple of {boundary:#x} + 1 on the bus, which the device's segments may not: \
         map it with map_sg"
    )]
    CrossesBoundary {
        /// The memory.
        memory: PhysRange,
        /// The device's [boundary](crate::device::Device::segment_boundary).
        boundary: u64,
    },
    /// The mapping was to be seen by both sides at once, and the device does not see the CPU's caches.
    #[error("the device does not snoop, and the mapping was to be coherent without syncs")]
    NotCoherent,
    /// The host bridge shows devices no such memory, nor any that could stand in.
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
    /// An IOMMU would show what lies beside these as well, as they are not whole pages, and registers are never copied; or
    /// these are the first of the pieces of a link, which are not whole pages inside it.
    #[error(
        "{memory} is not whole pages of {page_bytes:#x} bytes, the smallest that the IOMMU maps for the device"
    )]
    NotWholePages {
        /// The registers, or the memory.
        memory: PhysRange,
        /// Bytes of the smallest page.
        page_bytes: u64,
    },
    /// Nothing translates for the device, or it is given copies alone: there are no bus addresses to choose.
    #[error(
        "no IOMMU translates for the device, or it is given copies alone: map each piece by itself"
    )]
    NotTranslated,
    /// Only the first link of a span may begin inside a page, where the span does, and only the last may end inside one.
    #[error(
        "memory at {memory} would be linked at byte {offset:#x} of the span: inside it links begin and end at multiples \
         of {page_bytes:#x} bytes"
    )]
    InteriorEdge {
        /// The memory.
        memory: PhysRange,
        /// Where in the span it was to be linked, in bytes.
        offset: u64,
        /// Bytes of the smallest page.
        page_bytes: u64,
    },
    /// The span has no room for the link, or there is nothing there to sync or unlink.
    #[error("{0}: that leaves the span")]
    OutsideSpan(Outside),
    /// A list of links has no room, or has links already.
    #[error(transparent)]
    List(#[from] ListError),
    /// The device could only be given a copy, and the caller asked for none
    /// ([`require_coherent`](crate::map::Attributes::require_coherent)).
    #[error("memory at {memory} would be copied for the device, but coherent memory is required")]
    WouldBounce {
        /// The memory.
        memory: PhysRange,
    },
    /// The device could only be given a copy, and this is no memory that could be copied.
    #[error("physical {memory} is not RAM, and would have to be copied for the device")]
    NotRam {
        /// The physical addresses.
        memory: PhysRange,
    },
    /// The device is given a copy, and there is no memory for one.
    #[error(transparent)]
    Bounce(#[from] BounceError),
    /// There is no byte to map.
    #[error("a mapping of no bytes")]
    Empty,
    /// The memory ends past the last address.
    #[error(
        "{len_bytes:#x} bytes are longer than the {max_bytes:#x} that a mapping from there on can have"
    )]
    TooLong {
        /// Bytes asked for.
        len_bytes: u64,
        /// Bytes from the first one to the last address there is.
        max_bytes: u64,
    },
    /// The address is not memory a device could be given: a stack, an image, a heap of its own.
    #[error("{virt} is not memory of the machine that a device could be given")]
    NotDmaMemory {
        /// The address.
        virt: VirtAddr,
    },
    /// A buffer of a list was exchanged for one that the list's piece does not fit.
    #[error("a piece of the list leaves its buffer: {0}")]
    PieceOutOfBounds(Outside),
    /// The caller's list of segments is too short.
    #[error("the list needs more than {room} segments")]
    TooManySegments {
        /// What the caller had room for.
        room: usize,
    },
    /// The machine is being suspended, or is: nothing is mapped before it was resumed.
    #[error("the machine is suspended")]
    Suspended,
    /// A mapping was given up, and the IOMMU did not confirm that the device lost it.
    #[error("a mapping was given up and not confirmed undone ({error}): its memory is kept")]
    NotUndone {
        /// What the IOMMU did.
        error: RevokeError,
    },
    /// What was to be mapped as registers is memory.
    #[error("physical {range} is memory: only registers are mapped as a resource")]
    IsRam {
        /// The addresses.
        range: PhysRange,
    },
    /// The registers are not, or not all, the caller's to give.
    #[error(
        "registers at physical {registers} are not the peer's, or a part of them was given to another owner"
    )]
    NotOfPeer {
        /// The addresses.
        registers: PhysRange,
    },
    /// The registers are those of a PCI function, and no function was named.
    #[error(
        "registers at physical {registers} are behind a host bridge: map them with map_resource, which knows the way"
    )]
    BehindBridge {
        /// The addresses.
        registers: PhysRange,
    },
    /// Requests of the device are not known to arrive at the peer.
    #[error("no way to the peer: {0}")]
    PeerRefused(PeerRefusal),
    /// The device was given a copy when the memory was mapped before, and the IOMMU did not confirm that it lost it.
    #[error("the copy that the device had of the memory is not known to be lost to it: {0}")]
    NotRevoked(RevokeError),
    /// The memory was mapped before and may be reached that way still, and there is no memory to note that down.
    #[error("no memory to note down how the memory was mapped before: {0}")]
    NoRecord(SlabError),
    /// The domain behind the device refused.
    #[error(transparent)]
    Domain(#[from] DomainError),
}

impl MapFailure {
    /// That of `len_bytes` bytes that do not end before the last address, the first of which is at `first`.
    pub(crate) fn past_the_end(first: PhysAddr, len_bytes: u64) -> Self {
        Self::TooLong {
            len_bytes,
            max_bytes: (u64::MAX - first.as_u64()).saturating_add(1),
        }
    }
}

impl MapError {
    /// Why the mapping was not undone, where the device may reach the memory although it failed.
    pub(crate) fn undo(&self) -> Option<RevokeError> {
        match self.failure {
            MapFailure::NotUndone { error: undo }
            | MapFailure::Domain(DomainError::Unconfirmed { undo, .. }) => Some(undo),
            _ => None,
        }
    }

    /// Whether the device may reach the memory although the mapping failed, so that it must be kept.
    pub fn leaves_memory_reachable(&self) -> bool {
        self.undo().is_some()
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
