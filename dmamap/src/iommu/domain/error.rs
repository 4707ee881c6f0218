//! Why a domain could not map memory, or not take it back.

use crate::addr::BusRange;
use crate::iommu::unit::UnitError;
use crate::iova::IovaError;
use crate::pagetable::{MapError as TableError, UnmapError};
use crate::platform::OutOfFrames;

/// Why a domain could not map memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DomainError {
    /// No bus address is free.
    #[error(transparent)]
    Iova(#[from] IovaError),
    /// The table refused.
    #[error(transparent)]
    Table(#[from] TableError),
    /// The unit did not make the mapping visible in time; it was undone.
    #[error(transparent)]
    Unit(#[from] UnitError),
    /// The unit did not make the mapping visible in time, nor confirm that it was undone: the device may
    /// reach the memory.
    #[error("a mapping failed ({cause}) and was not confirmed undone ({undo}): its memory is kept")]
    Unconfirmed {
        /// Why the mapping failed.
        cause: UnitError,
        /// Why it could not be undone.
        undo: RevokeError,
    },
    /// What was mapped was not taken back.
    #[error(transparent)]
    Revoke(#[from] RevokeError),
    /// No memory for what waits for a flush.
    #[error("no memory for the flush queue: {0}")]
    FlushQueue(#[from] OutOfFrames),
    /// The device was detached.
    #[error("the device was detached: its mappings are revoked")]
    Revoked,
    /// The domain was [handed over](crate::map::UnmanagedDomain::of): nothing is mapped there but what its owner maps.
    #[error("the domain was handed over: its owner chooses its bus addresses")]
    HandedOver,
}

impl DomainError {
    /// Whether free bus addresses are all that was missing.
    pub(crate) fn lacks_addresses(&self) -> bool {
        matches!(self, Self::Iova(IovaError::IovaExhausted { .. }))
    }
}

/// Why a domain could not take a mapping back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RevokeError {
    /// The unit did not confirm in time that the device lost the memory.
    #[error(transparent)]
    Unit(#[from] UnitError),
    /// An earlier detach of the device was not confirmed.
    #[error("the device's detach was never confirmed by the IOMMU: it may still reach memory")]
    DetachUnconfirmed,
    /// The flush that was to cover it ended in a panic.
    #[error("the flush that was to take it from the device ended in a panic")]
    FlushCrashed,
    /// The table does not hold what was to be unmapped.
    #[error(transparent)]
    Table(#[from] UnmapError),
    /// What was to be unlinked leaves the span.
    #[error("that leaves the span at bus {span}")]
    OutsideSpan {
        /// The span.
        span: BusRange,
    },
    /// No mapping begins where one was to be unmapped.
    #[error("no mapping begins there")]
    NotMapped,
    /// What was to be unmapped is part of a mapping, or more than one.
    #[error(
        "the mapping that begins there is bus {mapping}: it is unmapped as a whole or not at all"
    )]
    NotWhole {
        /// The whole mapping.
        mapping: BusRange,
    },
}

impl RevokeError {
    /// Whether nothing was done, because the caller named what is not there to be taken back.
    pub(crate) fn changed_nothing(&self) -> bool {
        matches!(
            self,
            Self::Table(_) | Self::NotMapped | Self::NotWhole { .. } | Self::OutsideSpan { .. }
        )
    }

    /// Whether nothing that units say later makes up for it.
    pub(crate) fn is_final(&self) -> bool {
        matches!(self, Self::FlushCrashed) || self.changed_nothing()
    }

    /// Of two errors of the same memory the one that decides what becomes of it.
    pub(crate) fn or_graver(self, other: Self) -> Self {
        match !self.is_final() && other.is_final() {
            true => other,
            false => self,
        }
    }
}
