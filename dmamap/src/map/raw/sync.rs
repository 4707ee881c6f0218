//! Whose turn it is at memory that stays mapped.
//!
//! Where the device snoops, and was given no copies, these only order accesses: [`need_sync_raw`](Device::need_sync_raw) tells, once per mapping.

use crate::addr::{BusAddr, BusRange, PhysRange};
use crate::device::Device;
use crate::iommu::Requester;
use crate::map::{AnyDirection, Outside};
use crate::platform::Platform;

use super::copies::Way;
use super::sg::from_first_to_last;
use super::total;

/// Why mapped memory was not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RawSyncError {
    /// The device reaches nothing there.
    #[error("{device}: bus {bus} is not mapped: nothing to sync")]
    NotMapped {
        /// The device.
        device: Requester,
        /// The first address that leads nowhere.
        bus: BusAddr,
    },
    /// The part to be synced leaves the mapping.
    #[error("{device}: {error}")]
    OutOfBounds {
        /// The device.
        device: Requester,
        /// By how much.
        error: Outside,
    },
}

impl<P: Platform> Device<P> {
    /// Whether syncs of `range`, as it was mapped, do more than order memory accesses (`dma_need_sync`).
    pub fn need_sync_raw(&self, range: BusRange) -> bool {
        self.needs_maintenance() || self.core().backing_of(range).is_copied()
    }

    /// What the device wrote to `range` is what the CPU reads from now on (`dma_sync_single_for_cpu`).
    ///
    /// # Errors
    /// [`RawSyncError::NotMapped`].
    ///
    /// # Safety
    /// `range` is mapped by this layer in `direction`, or is [linked](crate::map::RawIovaSpan) without gaps; whole, or in part
    /// where the whole [needs no copying](Self::need_sync_raw): a part of a copy is found only by
    /// [`sync_raw_range_for_cpu`](Self::sync_raw_range_for_cpu). The device does not write it until it is synced
    /// for the device; the CPU has written none of its cache lines since it was last synced for the device; no reference to
    /// the memory is in use that writing what the device wrote would break.
    pub unsafe fn sync_raw_single_for_cpu(
        &self,
        range: BusRange,
        direction: AnyDirection,
    ) -> Result<(), RawSyncError> {
        // SAFETY: the caller's promise.
        unsafe { self.sync_raw_range_for_cpu(range, 0, range.len_bytes(), direction) }
    }

    /// What the CPU wrote to `range` is what the device reads from now on (`dma_sync_single_for_device`).
    ///
    /// # Errors
    /// [`RawSyncError::NotMapped`].
    ///
    /// # Safety
    /// `range` is mapped by this layer in `direction`, whole, or in part as for
    /// [`sync_raw_single_for_cpu`](Self::sync_raw_single_for_cpu); the CPU touches it no more until it is synced
    /// for the CPU.
    pub unsafe fn sync_raw_single_for_device(
        &self,
        range: BusRange,
        direction: AnyDirection,
    ) -> Result<(), RawSyncError> {
        // SAFETY: the caller's promise.
        unsafe { self.sync_raw_range_for_device(range, 0, range.len_bytes(), direction) }
    }

    /// As [`sync_raw_single_for_cpu`](Self::sync_raw_single_for_cpu), for `len_bytes` bytes from byte `offset` of a mapping on
    /// (`dma_sync_single_range_for_cpu`).
    ///
    /// # Errors
    /// [`RawSyncError`].
    ///
    /// # Safety
    /// As [`sync_raw_single_for_cpu`](Self::sync_raw_single_for_cpu), for that part of `mapping`, which is named whole.
    pub unsafe fn sync_raw_range_for_cpu(
        &self,
        mapping: BusRange,
        offset: u64,
        len_bytes: u64,
        direction: AnyDirection,
    ) -> Result<(), RawSyncError> {
        let part = self.part(mapping, offset, len_bytes)?;
        if self.needs_maintenance() && direction.device_writes() {
            self.core()
                .each_piece_behind(part, |memory| self.invalidate(memory))
                .map_err(|bus| self.not_mapped(bus))?;
        }
        self.platform().dma_rmb();
        if direction.device_writes() {
            // SAFETY: the caller's promise.
            unsafe { self.copy_part(mapping, offset, len_bytes, Way::ToMemory) };
        }
        Ok(())
    }

    /// As [`sync_raw_single_for_device`](Self::sync_raw_single_for_device), for `len_bytes` bytes from byte `offset` of a
    /// mapping on (`dma_sync_single_range_for_device`).
    ///
    /// # Errors
    /// [`RawSyncError`].
    ///
    /// # Safety
    /// As [`sync_raw_single_for_device`](Self::sync_raw_single_for_device), for that part of `mapping`, which is named whole.
    pub unsafe fn sync_raw_range_for_device(
        &self,
        mapping: BusRange,
        offset: u64,
        len_bytes: u64,
        direction: AnyDirection,
    ) -> Result<(), RawSyncError> {
        let part = self.part(mapping, offset, len_bytes)?;
        if direction.device_reads() {
            // SAFETY: the caller's promise.
            unsafe { self.copy_part(mapping, offset, len_bytes, Way::ToCopy) };
        }
        if self.needs_maintenance() {
            // Also where the device writes: no dirty line may be written over what it will write.
            self.core()
                .each_piece_behind(part, |memory| self.clean(memory))
                .map_err(|bus| self.not_mapped(bus))?;
        }
        self.platform().dma_wmb();
        Ok(())
    }

    /// As [`sync_raw_single_for_cpu`](Self::sync_raw_single_for_cpu), for the pieces of a list (`dma_sync_sg_for_cpu`).
    ///
    /// # Safety
    /// `pieces` are all that were given to one call of [`map_sg_raw`](Self::map_sg_raw), which are mapped in `direction`, and
    /// `told` all that it told; else as [`sync_raw_single_for_cpu`](Self::sync_raw_single_for_cpu).
    pub unsafe fn sync_raw_sg_for_cpu(
        &self,
        pieces: &[PhysRange],
        told: &[BusRange],
        direction: AnyDirection,
    ) {
        if !direction.device_writes() {
            self.platform().dma_rmb();
            return;
        }
        let (backing, len_bytes) = (
            self.core().backing_of(from_first_to_last(told)),
            total(pieces),
        );
        self.invalidate_sides(&backing, pieces, 0, len_bytes);
        self.platform().dma_rmb();
        // SAFETY: the caller's promise.
        unsafe { self.copy_pieces(&backing, pieces, 0, len_bytes, Way::ToMemory) };
    }

    /// As [`sync_raw_single_for_device`](Self::sync_raw_single_for_device), for the pieces of a list
    /// (`dma_sync_sg_for_device`).
    ///
    /// # Safety
    /// As [`sync_raw_sg_for_cpu`](Self::sync_raw_sg_for_cpu); the CPU touches the pieces no more until they are synced for
    /// the CPU.
    pub unsafe fn sync_raw_sg_for_device(
        &self,
        pieces: &[PhysRange],
        told: &[BusRange],
        direction: AnyDirection,
    ) {
        let (backing, len_bytes) = (
            self.core().backing_of(from_first_to_last(told)),
            total(pieces),
        );
        if direction.device_reads() {
            // SAFETY: the caller's promise.
            unsafe { self.copy_pieces(&backing, pieces, 0, len_bytes, Way::ToCopy) };
        }
        self.clean_sides(&backing, pieces, 0, len_bytes);
        self.platform().dma_wmb();
    }

    /// Copies the `len_bytes` bytes from `offset` on of what is mapped at `mapping`, as far as the device has copies of them.
    ///
    /// # Safety
    /// That of [`copy_pieces`](Self::copy_pieces).
    unsafe fn copy_part(&self, mapping: BusRange, offset: u64, len_bytes: u64, way: Way) {
        let backing = self.core().backing_of(mapping);
        let whole = mapping.len_bytes();
        // SAFETY: the caller's promise; what was mapped, or linked, each time was one piece.
        unsafe {
            self.core()
                .copy_where_they_are_from(&backing, whole, offset, len_bytes, way);
        }
    }

    fn part(
        &self,
        mapping: BusRange,
        offset: u64,
        len_bytes: u64,
    ) -> Result<BusRange, RawSyncError> {
        let device = self.requester();
        Outside::check(offset, len_bytes, mapping.len_bytes())
            .map_err(|error| RawSyncError::OutOfBounds { device, error })?;
        Ok(mapping
            .slice(offset, len_bytes)
            .expect("the part was just found to lie inside"))
    }

    fn not_mapped(&self, bus: BusAddr) -> RawSyncError {
        RawSyncError::NotMapped {
            device: self.requester(),
            bus,
        }
    }
}
