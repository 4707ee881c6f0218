//! What a pool refuses.

use core::fmt;

use super::DmaPool;
use super::layout::LayoutError;
use crate::addr::BusRange;
use crate::iommu::Requester;
use crate::map::coherent::{CoherentError, Shared};
use crate::map::error::Quarantined;
use crate::platform::Platform;
use crate::slab::SlabError;

/// Why a pool could not be made, or has no block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PoolError {
    /// There are no such blocks.
    #[error("pool {name} of {device}: {error}")]
    Layout {
        /// The pool.
        name: &'static str,
        /// The device.
        device: Requester,
        /// What is wrong with them.
        error: LayoutError,
    },
    /// No block is free, and the call is one that does not add pages.
    #[error("pool {name} of {device}: all {blocks} blocks are in use")]
    Exhausted {
        /// The pool.
        name: &'static str,
        /// The device.
        device: Requester,
        /// Blocks there are.
        blocks: usize,
    },
    /// A page could not be added.
    #[error("pool {name}: {error}")]
    Memory {
        /// The pool.
        name: &'static str,
        /// Why.
        error: CoherentError,
    },
    /// A page could not be recorded.
    #[error("pool {name} of {device}: no memory for the record of a page: {error}")]
    Record {
        /// The pool.
        name: &'static str,
        /// The device.
        device: Requester,
        /// Why.
        error: SlabError,
    },
    /// The bus shows the pool's memory at an offset that spoils its alignment.
    #[error(
        "pool {name} of {device}: a page at bus {page} is not aligned to {align_bytes:#x} bytes"
    )]
    Misaligned {
        /// The pool.
        name: &'static str,
        /// The device.
        device: Requester,
        /// The page.
        page: BusRange,
        /// What its blocks need.
        align_bytes: u64,
    },
    /// The pool is another device's, or one's that was attached before.
    #[error("pool {name} was created for another device than this {device}")]
    ForeignDevice {
        /// The pool.
        name: &'static str,
        /// The device given.
        device: Requester,
    },
}

/// A pool that was not destroyed, or not without a loss.
pub enum DestroyError<P: Platform, T: Shared> {
    /// Blocks are in use: the pool lives on (`dma_pool_destroy` of a busy pool).
    InUse {
        /// The pool.
        pool: DmaPool<P, T>,
        /// Blocks not freed.
        live_blocks: usize,
    },
    /// The pool is gone, but the IOMMU did not confirm that the device lost all of it: that is kept.
    Quarantined(Quarantined),
}

impl<P: Platform, T: Shared> fmt::Display for DestroyError<P, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InUse { pool, live_blocks } => {
                let (name, device) = (pool.name(), pool.core.device);
                write!(f, "pool {name} of {device} has {live_blocks} blocks in use")
            }
            Self::Quarantined(error) => error.fmt(f),
        }
    }
}

impl<P: Platform, T: Shared> fmt::Debug for DestroyError<P, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DestroyError({self})")
    }
}

impl<P: Platform, T: Shared> core::error::Error for DestroyError<P, T> {}
