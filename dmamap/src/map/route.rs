//! Which way a device's mappings take.

use crate::addr::{BusAddr, BusRange, DmaMask, PhysAddr, PhysRange};
use crate::iommu::{Domain, RevokeError};
use crate::map::direct::Direct;
use crate::map::terms::Terms;
use crate::map::{MapFailure, Permission, translated};
use crate::pagetable::PhysList;
use crate::platform::Platform;

/// The way of one device, chosen when it is attached.
pub(crate) enum Route<P: Platform> {
    /// It reaches nothing.
    Blocked,
    /// It reaches memory where the bus has it.
    Direct(Direct<P>),
    /// It reaches what its domain's tables say.
    Translated(Domain<P>),
}

/// Where bus addresses should lie.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Alignment {
    /// Wherever they serve best: where a large leaf or one invalidation command covers them.
    Convenient,
    /// At a multiple of the power of two of bytes that holds them all, as the memory is.
    ToOrder,
}

impl<P: Platform> Route<P> {
    /// Chooses bus addresses for `len_bytes` bytes that lie in the pieces `memory` yields, `first` being the first. With more
    /// than one piece on the direct route only the first piece's addresses are returned: the others have
    /// their own.
    pub(crate) fn map(
        &self,
        terms: &Terms,
        first: PhysRange,
        len_bytes: u64,
        memory: &mut dyn PhysList,
    ) -> Result<BusRange, MapFailure> {
        if len_bytes == 0 {
            return Err(MapFailure::Empty);
        }
        match self {
            Self::Blocked => Err(MapFailure::Blocked),
            Self::Direct(direct) => {
                let reached = direct.reach(first, terms.mask)?;
                memory.restart();
                while let Some(piece) = memory.next_range() {
                    direct.reach(piece, terms.mask)?;
                }
                Ok(reached)
            }
            Self::Translated(domain) => {
                let page_log2 = domain.page_size_log2();
                let alignment = terms.shape.alignment();
                let placement =
                    translated::place(page_log2, terms.mask, first, len_bytes, alignment)?;
                translated::map(domain, placement, memory, terms.permission())
            }
        }
    }

    /// Makes `range`, as [`map`](Self::map) returned it, unreachable; returns when it is.
    pub(crate) fn unmap(&self, range: BusRange) -> Result<(), RevokeError> {
        match self {
            Self::Blocked | Self::Direct(_) => Ok(()),
            Self::Translated(domain) => {
                domain.unmap(translated::pages(range, domain.page_size_log2()))
            }
        }
    }

    /// Asks once more to make unreachable what [`unmap`](Self::unmap) could not; returns when it is.
    pub(crate) fn recover(&self) -> Result<(), RevokeError> {
        match self {
            Self::Blocked | Self::Direct(_) => Ok(()),
            Self::Translated(domain) => domain.recover(),
        }
    }

    /// Whether units confirmed that no device reaches anything this way any more, and so never will.
    pub(crate) fn is_revoked(&self) -> bool {
        match self {
            Self::Blocked | Self::Direct(_) => false,
            Self::Translated(domain) => domain.is_revoked(),
        }
    }

    /// Z → Y, and what the device may do there.
    pub(crate) fn translate(&self, bus: BusAddr) -> Option<(PhysAddr, Permission)> {
        match self {
            Self::Blocked => None,
            Self::Direct(direct) => Some((direct.phys(bus)?, Permission::ReadWrite)),
            Self::Translated(domain) => domain.lookup(bus),
        }
    }

    /// Whether pieces of memory lie side by side on the bus whatever they do in memory.
    pub(crate) fn joins_pieces(&self) -> bool {
        matches!(self, Self::Translated(_))
    }

    /// The highest physical address worth allocating memory at for a device with `mask`.
    pub(crate) fn last_within(&self, mask: DmaMask) -> PhysAddr {
        match self {
            Self::Direct(direct) => direct.last_within(mask),
            Self::Blocked | Self::Translated(_) => PhysAddr::new(u64::MAX),
        }
    }
}
