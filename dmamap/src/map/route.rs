//! Which way a device's mappings take.

use alloc::sync::Arc;

use crate::addr::{BusAddr, BusRange, DmaMask, FRAME_BYTES, PhysAddr};
use crate::iommu::{Domain, Owed, RevokeError};
use crate::map::direct::Direct;
use crate::map::{Permission, translated};
use crate::platform::Platform;

/// The way of one device, chosen when it is attached.
pub(crate) enum Route<P: Platform> {
    /// It reaches nothing.
    Blocked,
    /// It reaches memory where the bus has it.
    Direct(Direct),
    /// It reaches what its domain's tables say.
    Translated(Arc<Domain<P>>),
}

/// Whether a multiple of `boundary` + 1 lies inside `range`.
pub(crate) fn crosses(range: BusRange, boundary: u64) -> bool {
    range.start().as_u64() & !boundary != range.last().as_u64() & !boundary
}

/// Where bus addresses should lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Alignment {
    /// Wherever they serve best: where a large leaf or one invalidation command covers them.
    Convenient,
    /// At a multiple of the power of two of bytes that holds them all, as the memory is.
    ToOrder,
}

/// Who takes bus addresses of mappings back: the device's route, or a lane on it that somebody has.
pub(crate) trait WayBack {
    /// As [`Route::unmap`].
    ///
    /// # Safety
    /// As [`Route::unmap`].
    unsafe fn unmap(&mut self, range: BusRange) -> Result<(), RevokeError>;

    /// As [`Route::retire`].
    ///
    /// # Safety
    /// As [`Route::unmap`].
    unsafe fn retire(&mut self, range: BusRange) -> Result<Owed, RevokeError>;
}

impl<P: Platform> WayBack for &Route<P> {
    #[inline]
    unsafe fn unmap(&mut self, range: BusRange) -> Result<(), RevokeError> {
        // SAFETY: the caller's promise.
        unsafe { Route::unmap(self, range) }
    }

    #[inline]
    unsafe fn retire(&mut self, range: BusRange) -> Result<Owed, RevokeError> {
        // SAFETY: the caller's promise.
        unsafe { Route::retire(self, range) }
    }
}

impl<P: Platform> Route<P> {
    /// Makes `range`, the bus addresses of a mapping, unreachable; returns when it is.
    ///
    /// # Safety
    /// It is what was returned when it was mapped, and this is the first call that takes it back.
    pub(crate) unsafe fn unmap(&self, range: BusRange) -> Result<(), RevokeError> {
        match self {
            Self::Blocked | Self::Direct(_) => Ok(()),
            Self::Translated(domain) => {
                let pages = translated::pages(range, domain.page_size_log2());
                // SAFETY: the caller's promise: these pages were chosen for the mapping.
                unsafe { domain.unmap_owned(pages) }
            }
        }
    }

    /// Takes `range`, the bus addresses of a mapping, out of the tables, and leaves it to a flush that others share to
    /// make it unreachable.
    ///
    /// # Safety
    /// As [`unmap`](Self::unmap).
    pub(crate) unsafe fn retire(&self, range: BusRange) -> Result<Owed, RevokeError> {
        match self {
            Self::Blocked | Self::Direct(_) => Ok(Owed::NOTHING),
            Self::Translated(domain) => {
                let pages = translated::pages(range, domain.page_size_log2());
                // SAFETY: the caller's promise: these pages were chosen for the mapping.
                unsafe { domain.retire_owned(pages) }
            }
        }
    }

    /// Returns when all that `owed` stands for is unreachable.
    pub(crate) fn flush_through(&self, owed: Owed) -> Result<(), RevokeError> {
        match self {
            Self::Blocked | Self::Direct(_) => Ok(()),
            Self::Translated(domain) => domain.flush_through(owed),
        }
    }

    /// Whether all that `owed` stands for is unreachable; `None` while a flush is to come.
    pub(crate) fn outcome(&self, owed: Owed) -> Option<Result<(), RevokeError>> {
        match self {
            Self::Blocked | Self::Direct(_) => Some(Ok(())),
            Self::Translated(domain) => domain.outcome(owed),
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

    /// Bytes of the smallest page that can be lent.
    pub(crate) fn page_bytes(&self) -> u64 {
        match self {
            Self::Translated(domain) => 1 << domain.page_size_log2(),
            Self::Direct(_) | Self::Blocked => FRAME_BYTES,
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
