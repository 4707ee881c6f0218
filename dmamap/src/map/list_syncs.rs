//! Cache maintenance for the pieces of a list.

use crate::addr::FRAME_BYTES;
use crate::buffer::{DmaMemory, ScatterList};
use crate::device::{Coherence, DeviceCore};
use crate::map::AnyDirection;
use crate::map::attributes::CpuSync;
use crate::map::terms::Terms;
use crate::platform::Platform;

/// How the CPU and one device take turns at a list that is mapped as `terms` say.
pub(crate) struct ListSyncs<'a, P: Platform> {
    core: &'a DeviceCore<P>,
    direction: AnyDirection,
    at_the_ends: CpuSync,
}

impl<'a, P: Platform> ListSyncs<'a, P> {
    pub(crate) fn new(core: &'a DeviceCore<P>, terms: &Terms) -> Self {
        Self {
            core,
            direction: terms.direction,
            at_the_ends: terms.attributes.cpu_sync,
        }
    }

    /// Whether syncs do more than order accesses.
    pub(crate) fn need_sync(&self) -> bool {
        self.core.coherence == Coherence::NotSnooped
    }

    /// Writes back all frames of the buffers from entry `first` on, before the device can reach them: it reaches what lies
    /// beside a piece in its frames, and memory may still hold there what somebody else wrote.
    pub(crate) fn before_map<B: DmaMemory>(&self, list: &ScatterList<B>, first: usize) {
        if self.at_the_ends == CpuSync::Skipped {
            return;
        }
        for entry in list.entries().iter().skip(first) {
            let buffer = entry.buffer();
            let reached = buffer.len_bytes().next_multiple_of(FRAME_BYTES);
            self.core.clean_cache(buffer.pointer(), reached);
        }
    }

    /// Makes the CPU read what the device wrote before it lost the list.
    pub(crate) fn after_unmap<B: DmaMemory>(&self, list: &ScatterList<B>) {
        if self.at_the_ends == CpuSync::Automatic {
            self.invalidate(list, 0, list.len_bytes());
        }
        self.core.platform.dma_rmb();
    }

    /// What the device wrote to the `len_bytes` bytes from `offset` of the list on is what the CPU reads from now on.
    pub(crate) fn for_cpu<B: DmaMemory>(&self, list: &ScatterList<B>, offset: u64, len_bytes: u64) {
        self.invalidate(list, offset, len_bytes);
        self.core.platform.dma_rmb();
    }

    /// What the CPU wrote there is what the device reads from now on.
    pub(crate) fn for_device<B: DmaMemory>(
        &self,
        list: &ScatterList<B>,
        offset: u64,
        len_bytes: u64,
    ) {
        // Where the device only writes, the CPU has only read.
        if self.need_sync() && self.direction.device_reads() {
            list.each_chunk(offset, len_bytes, |start, count, _| {
                self.core.clean_cache(start, count as u64);
            });
        }
        self.core.platform.dma_wmb();
    }

    fn invalidate<B: DmaMemory>(&self, list: &ScatterList<B>, offset: u64, len_bytes: u64) {
        // What the device only reads is in memory as it is in the caches.
        if self.need_sync() && self.direction.device_writes() {
            list.each_chunk(offset, len_bytes, |start, count, _| {
                self.core.invalidate_cache(start, count as u64);
            });
        }
    }
}
