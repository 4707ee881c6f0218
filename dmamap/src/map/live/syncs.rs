//! Who sees what of a mapping that lives: the CPU what the device wrote, and the device what the CPU did.

use core::ptr::NonNull;

use super::Live;
use crate::map::attributes::CpuSync;
use crate::map::backing::Side;
use crate::platform::Platform;

impl<P: Platform> Live<P> {
    /// Calls `visit` with each stretch of `len_bytes` bytes from byte `offset` of the mapping on: the CPU's pointer to where
    /// the device has it, and how long it is.
    pub(crate) fn device_side(
        &self,
        buffer: NonNull<u8>,
        offset: u64,
        len_bytes: u64,
        mut visit: impl FnMut(NonNull<u8>, u64),
    ) {
        let platform = self.held.core().platform;
        self.backing()
            .each_side(offset, len_bytes, self.len_bytes(), |side, at, len| {
                // SAFETY: callers name bytes of the buffer or, in the same measure, of a copy of them.
                let pointer = unsafe {
                    match side {
                        Side::Buffer => buffer.add(at as usize),
                        Side::Copy(run, within) => run.pointer(platform).add(within as usize),
                    }
                };
                visit(pointer, len);
            });
    }

    /// What the device wrote to the `len_bytes` bytes from `offset` on of the mapping, whose buffer begins at `buffer`, is
    /// what the CPU reads [on the device's side](Self::device_side) from now on.
    ///
    /// Whoever calls it has the buffer alone: it may be written, too.
    #[inline]
    pub(crate) fn sync_for_cpu(&self, buffer: NonNull<u8>, offset: u64, len_bytes: u64) {
        self.see_device_writes(buffer, offset, len_bytes);
        if self.copies.are_there() && self.attributes.cpu_sync == CpuSync::Skipped {
            // Unmapping will not.
            self.copy_out(buffer, offset, len_bytes);
        }
    }

    /// As [`sync_for_cpu`](Self::sync_for_cpu), for those who share the buffer: it is not written.
    #[inline]
    pub(crate) fn see_device_writes(&self, buffer: NonNull<u8>, offset: u64, len_bytes: u64) {
        // What the device only reads is in memory as it is in the caches.
        if self.need_sync() && self.direction.device_writes() {
            self.invalidate(buffer, offset, len_bytes);
        }
        self.held.core().platform.dma_rmb();
    }

    #[inline(never)]
    pub(super) fn invalidate(&self, buffer: NonNull<u8>, offset: u64, len_bytes: u64) {
        let core = self.held.core();
        self.device_side(buffer, offset, len_bytes, |start, len| {
            core.invalidate_cache(start, len);
        });
    }

    /// What the CPU wrote there is what the device reads from now on.
    #[inline]
    pub(crate) fn sync_for_device(&self, buffer: NonNull<u8>, offset: u64, len_bytes: u64) {
        // Where the device only writes, the CPU has only read.
        if self.need_sync() && self.direction.device_reads() {
            self.clean(buffer, offset, len_bytes);
        }
        self.held.core().platform.dma_wmb();
    }

    #[inline(never)]
    fn clean(&self, buffer: NonNull<u8>, offset: u64, len_bytes: u64) {
        let core = self.held.core();
        self.device_side(buffer, offset, len_bytes, |start, len| {
            core.clean_cache(start, len);
        });
    }

    /// Brings what the device wrote to its side into the buffer.
    pub(super) fn copy_out(&self, buffer: NonNull<u8>, offset: u64, len_bytes: u64) {
        if self.copies.are_there() && self.direction.device_writes() {
            let platform = self.held.core().platform;
            // SAFETY: the mapping has the buffer to itself, and views of it are volatile.
            unsafe {
                self.backing()
                    .copy_out(platform, buffer, offset, len_bytes, self.len_bytes());
            }
        }
    }
}
