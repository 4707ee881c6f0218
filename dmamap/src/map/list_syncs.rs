//! What the turns of CPU and device at a list ask for: cache maintenance, and copying where the device was given copies.

use core::ptr::NonNull;

use crate::bounce::Run;
use crate::buffer::{DmaMemory, ScatterList};
use crate::device::{Coherence, DeviceCore};
use crate::iommu::Requester;
use crate::map::attributes::CpuSync;
use crate::map::backing::Side;
use crate::map::copies::Copies;
use crate::map::{AnyDirection, Attributes};
use crate::platform::Platform;

/// How the CPU and one device take turns at a list that is mapped.
pub(crate) struct ListSyncs<'a, P: Platform> {
    core: &'a DeviceCore<P>,
    direction: AnyDirection,
    at_the_ends: CpuSync,
    copies: Copies,
}

impl<'a, P: Platform> ListSyncs<'a, P> {
    pub(crate) fn new(
        core: &'a DeviceCore<P>,
        direction: AnyDirection,
        attributes: Attributes,
        copies: Copies,
    ) -> Self {
        Self {
            core,
            direction,
            at_the_ends: attributes.cpu_sync,
            copies,
        }
    }

    /// The device.
    pub(crate) fn device(&self) -> Requester {
        self.core.requester
    }

    /// Whether syncs do more than order accesses.
    pub(crate) fn need_sync(&self) -> bool {
        self.sees_no_caches() || self.copies.are_there()
    }

    fn sees_no_caches(&self) -> bool {
        self.core.coherence == Coherence::NotSnooped
    }

    /// Makes the CPU read what the device wrote before it lost the list.
    pub(crate) fn after_unmap<B: DmaMemory>(&self, list: &ScatterList<B>) {
        match self.at_the_ends {
            CpuSync::Automatic => self.for_cpu(list, 0, list.len_bytes()),
            CpuSync::Skipped => self.core.platform.dma_rmb(),
        }
    }

    /// What the device wrote to the `len_bytes` bytes from `offset` of the list on is what the CPU reads from now on.
    pub(crate) fn for_cpu<B: DmaMemory>(&self, list: &ScatterList<B>, offset: u64, len_bytes: u64) {
        // What the device only reads is in memory as it is in the caches.
        let writes = self.direction.device_writes();
        if writes && self.sees_no_caches() {
            self.each_side(list, offset, len_bytes, |start, count| {
                self.core.invalidate_cache(start, count);
            });
        }
        self.core.platform.dma_rmb();
        if writes {
            self.each_copy(list, offset, len_bytes, |run, within, start, count| {
                // SAFETY: the chunk is memory of the list, whose owner lets only volatile accesses to it.
                unsafe { run.copy_out(self.core.platform, within, start, count) };
            });
        }
    }

    /// What the CPU wrote there is what the device reads from now on.
    pub(crate) fn for_device<B: DmaMemory>(
        &self,
        list: &ScatterList<B>,
        offset: u64,
        len_bytes: u64,
    ) {
        // Where the device only writes, the CPU has only read.
        if self.direction.device_reads() {
            self.each_copy(list, offset, len_bytes, |run, within, start, count| {
                // SAFETY: as above.
                unsafe { run.copy_in(self.core.platform, within, start, count) };
            });
            if self.sees_no_caches() {
                self.each_side(list, offset, len_bytes, |start, count| {
                    self.core.clean_cache(start, count);
                });
            }
        }
        self.core.platform.dma_wmb();
    }

    /// Calls `visit` with each stretch of the `len_bytes` bytes from `offset` on where the device has it: the CPU's pointer
    /// to it, and its bytes.
    fn each_side<B: DmaMemory>(
        &self,
        list: &ScatterList<B>,
        offset: u64,
        len_bytes: u64,
        mut visit: impl FnMut(NonNull<u8>, u64),
    ) {
        let whole = list.len_bytes();
        let backing = self.copies.backing(self.core);
        backing.each_side(offset, len_bytes, whole, |side, at, len| match side {
            Side::Buffer => {
                list.each_chunk(at, len, |start, count, _| visit(start, count as u64));
            }
            Side::Copy(run, within) => {
                // SAFETY: a byte of the copy.
                let start = unsafe { run.pointer(self.core.platform).add(within as usize) };
                visit(start, len);
            }
        });
    }

    /// Calls `visit` with each stretch of them that the device has a copy of: the copy, where in it the stretch begins, the
    /// CPU's pointer to the list's own bytes, and how many they are.
    fn each_copy<B: DmaMemory>(
        &self,
        list: &ScatterList<B>,
        offset: u64,
        len_bytes: u64,
        mut visit: impl FnMut(&Run, u64, NonNull<u8>, u64),
    ) {
        if !self.copies.are_there() {
            return;
        }
        let whole = list.len_bytes();
        let backing = self.copies.backing(self.core);
        backing.each_side(offset, len_bytes, whole, |side, at, len| {
            if let Side::Copy(run, within) = side {
                list.each_chunk(at, len, |start, count, done| {
                    visit(run, within + done as u64, start, count as u64);
                });
            }
        });
    }
}
