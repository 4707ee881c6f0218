//! Cache maintenance for one device: done where its accesses do not snoop, and counted.

use core::ptr::NonNull;

use crate::device::{Coherence, Device, DeviceCore};
use crate::platform::Platform;

impl<P: Platform> DeviceCore<P> {
    /// What the CPU stored in these bytes is where the device reads it, and no dirty line is left to be written over what
    /// the device will write.
    pub(crate) fn clean_cache(&self, start: NonNull<u8>, len_bytes: u64) {
        if self.coherence == Coherence::NotSnooped && len_bytes != 0 {
            self.platform.clean_cache(start, len_bytes as usize);
            self.counters.cleaned(len_bytes);
        }
    }

    /// What the device wrote in these bytes is what the CPU loads from now on.
    pub(crate) fn invalidate_cache(&self, start: NonNull<u8>, len_bytes: u64) {
        if self.coherence == Coherence::NotSnooped && len_bytes != 0 {
            self.platform.invalidate_cache(start, len_bytes as usize);
            self.counters.invalidated(len_bytes);
        }
    }
}

impl<P: Platform> Device<P> {
    /// Whether the device's accesses see and update the CPU's caches, so that syncs only order (`dev_is_dma_coherent`).
    pub fn coherence(&self) -> Coherence {
        self.core().coherence
    }
}
