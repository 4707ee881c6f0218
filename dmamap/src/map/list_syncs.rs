//! Cache maintenance for the pieces of a list.

use crate::addr::FRAME_BYTES;
use crate::buffer::{DmaMemory, ScatterList};
use crate::device::{Coherence, Device, Held};
use crate::map::Attributes;
use crate::map::attributes::CpuSync;
use crate::platform::Platform;

/// How the CPU and one device take turns at lists.
#[derive(Clone, Copy)]
pub(crate) struct ListSyncs<P: Platform> {
    platform: P,
    coherence: Coherence,
}

impl<P: Platform> ListSyncs<P> {
    pub(crate) fn on(device: &Device<P>) -> Self {
        let core = device.core();
        Self {
            platform: core.platform,
            coherence: core.coherence,
        }
    }

    pub(crate) fn of(held: &Held<P>) -> Self {
        let core = held.core();
        Self {
            platform: core.platform,
            coherence: core.coherence,
        }
    }

    /// Whether syncs do more than order accesses.
    pub(crate) fn need_sync(self) -> bool {
        self.coherence == Coherence::NotSnooped
    }

    fn maintains(self, attributes: Attributes) -> bool {
        self.need_sync() && attributes.cpu_sync == CpuSync::Automatic
    }

    /// Writes back all frames of the buffers from entry `first` on, before the device can reach them: it reaches what lies
    /// beside a piece in its frames, and memory may still hold there what somebody else wrote.
    pub(crate) fn before_map<B: DmaMemory>(
        self,
        list: &ScatterList<B>,
        first: usize,
        attributes: Attributes,
    ) {
        if !self.maintains(attributes) {
            return;
        }
        for entry in list.entries().iter().skip(first) {
            let buffer = entry.buffer();
            let reached = buffer.len_bytes().next_multiple_of(FRAME_BYTES);
            self.platform
                .clean_cache(buffer.pointer(), reached as usize);
        }
    }

    /// Makes the CPU read what the device wrote before it lost the list.
    pub(crate) fn after_unmap<B: DmaMemory>(self, list: &ScatterList<B>, attributes: Attributes) {
        if self.maintains(attributes) {
            list.each_chunk(0, list.len_bytes(), |start, count, _| {
                self.platform.invalidate_cache(start, count);
            });
        }
        self.platform.dma_rmb();
    }

    /// What the device wrote to the `len_bytes` bytes from `offset` of the list on is what the CPU reads from now on.
    pub(crate) fn for_cpu<B: DmaMemory>(self, list: &ScatterList<B>, offset: u64, len_bytes: u64) {
        if self.need_sync() {
            list.each_chunk(offset, len_bytes, |start, count, _| {
                self.platform.invalidate_cache(start, count);
            });
        }
        self.platform.dma_rmb();
    }

    /// What the CPU wrote there is what the device reads from now on.
    pub(crate) fn for_device<B: DmaMemory>(
        self,
        list: &ScatterList<B>,
        offset: u64,
        len_bytes: u64,
    ) {
        if self.need_sync() {
            list.each_chunk(offset, len_bytes, |start, count, _| {
                self.platform.clean_cache(start, count);
            });
        }
        self.platform.dma_wmb();
    }
}
