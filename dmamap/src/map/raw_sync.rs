//! Syncs of mappings without owners: the CPU's turn at memory that stays mapped.

use crate::addr::BusRange;
use crate::device::Device;
use crate::map::maintain::{clean_mapped, invalidate_mapped};
use crate::map::raw_copy::Copy;
use crate::map::{AnyDirection, OutOfBounds};
use crate::platform::Platform;

impl<P: Platform> Device<P> {
    /// What the device wrote to the `len_bytes` bytes from `offset` on of the mapping at `range` is in its memory when this
    /// returns (`dma_sync_single_range_for_cpu`).
    ///
    /// # Errors
    /// [`OutOfBounds`] if these bytes leave the mapping.
    ///
    /// # Safety
    /// `range` is one that a call of this layer for this device returned in `direction`, whole, and not unmapped yet; no
    /// reference to its memory is in use that writing what the device wrote would break.
    pub unsafe fn sync_raw_for_cpu(
        &self,
        range: BusRange,
        offset: u64,
        len_bytes: u64,
        direction: AnyDirection,
    ) -> Result<(), OutOfBounds> {
        OutOfBounds::check(offset, len_bytes, range.len_bytes())?;
        let core = self.core();
        if let Some(part) = range.slice(offset, len_bytes) {
            invalidate_mapped(core, part);
        }
        core.platform.dma_rmb();
        if direction != AnyDirection::ToDevice {
            let backing = core.backing_of(range);
            // SAFETY: the caller's promise.
            unsafe { core.copy_raw(&backing, range, offset, len_bytes, Copy::ToMemory) };
            // The runs are the mapping's still.
            core::mem::forget(backing);
        }
        Ok(())
    }

    /// What the CPU wrote there is what the device reads from now on (`dma_sync_single_range_for_device`).
    ///
    /// # Errors
    /// As [`sync_raw_for_cpu`](Self::sync_raw_for_cpu).
    ///
    /// # Safety
    /// As [`sync_raw_for_cpu`](Self::sync_raw_for_cpu).
    pub unsafe fn sync_raw_for_device(
        &self,
        range: BusRange,
        offset: u64,
        len_bytes: u64,
        direction: AnyDirection,
    ) -> Result<(), OutOfBounds> {
        OutOfBounds::check(offset, len_bytes, range.len_bytes())?;
        let core = self.core();
        if direction != AnyDirection::FromDevice {
            let backing = core.backing_of(range);
            // SAFETY: the caller's promise.
            unsafe { core.copy_raw(&backing, range, offset, len_bytes, Copy::ToCopy) };
            core::mem::forget(backing);
        }
        if let Some(part) = range.slice(offset, len_bytes) {
            clean_mapped(core, part);
        }
        core.platform.dma_wmb();
        Ok(())
    }
}
