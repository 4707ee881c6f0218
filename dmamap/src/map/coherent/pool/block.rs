//! A block of a pool.

use alloc::sync::Arc;
use core::fmt;
use core::ops::Deref;

use super::Core;
use super::page::Page;
use crate::map::coherent::{Elements, Shared};
use crate::platform::Platform;
use crate::slab::Handle;

/// Elements in a pool's memory, this handle's alone until it is dropped. What can be done with them is [`Elements`]'.
///
/// Forgetting one keeps its pool's memory for ever; nothing is handed out twice.
///
/// ```compile_fail
/// # use board as _;
/// # fn example<P: dmamap::platform::Platform>(block: dmamap::map::PoolBlock<P, u64>) {
/// block.free();
/// block.free(); // there is no block any more
/// # }
/// ```
pub struct PoolBlock<P: Platform, T: Shared> {
    elements: Elements<P, T>,
    core: Arc<Core<P>>,
    page: Handle<Page<P>>,
    slot: u16,
}

impl<P: Platform, T: Shared> PoolBlock<P, T> {
    pub(super) fn new(
        elements: Elements<P, T>,
        core: Arc<Core<P>>,
        page: Handle<Page<P>>,
        slot: u16,
    ) -> Self {
        Self {
            elements,
            core,
            page,
            slot,
        }
    }

    /// Gives the block back to its pool (`dma_pool_free`). Dropping it does the same.
    ///
    /// Never waits, unless the pool itself was dropped and this was its last block: then the pool's memory is unmapped.
    pub fn free(self) {
        drop(self);
    }
}

impl<P: Platform, T: Shared> Deref for PoolBlock<P, T> {
    type Target = Elements<P, T>;

    fn deref(&self) -> &Elements<P, T> {
        &self.elements
    }
}

impl<P: Platform, T: Shared> Drop for PoolBlock<P, T> {
    fn drop(&mut self) {
        self.core.give(&self.elements, self.page, self.slot);
    }
}

impl<P: Platform, T: Shared> fmt::Debug for PoolBlock<P, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PoolBlock({:?} of {})", self.elements, self.core.name)
    }
}
