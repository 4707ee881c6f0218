//! One physically contiguous run of memory.

use crate::addr::{BusRange, FRAME_BYTES, FRAME_SIZE_LOG2, PhysAddr, PhysRange, VirtAddr};
use crate::device::Device;
use crate::iommu::RevokeError;
use crate::map::backing::Backing;
use crate::map::error::{MapError, MapFailure, Quarantined};
use crate::map::establish::fail;
use crate::map::plain::Taken;
use crate::map::terms::Shape;
use crate::map::{AnyDirection, Asked, Attributes};
use crate::platform::Platform;

/// Whether so many bytes from there on are whole frames.
#[inline]
pub(in crate::map) fn is_whole(start: u64, len_bytes: u64) -> bool {
    (start | len_bytes) & (FRAME_BYTES - 1) == 0
}

impl<P: Platform> Device<P> {
    /// Maps physical memory for the device (`dma_map_phys`). Behind an IOMMU a device that was
    /// [trusted](crate::system::DmaSystem::attach_trusted) reaches every byte of the frames the range touches, any other
    /// the range alone: it is given copies of what lies in frames that the range does not cover.
    ///
    /// Unmapping takes the device's handle, or a lane of it and the device still attached, so what is still mapped when the device is
    /// detached is never unmapped: it is out of the device's reach, but what the device wrote to copies does not come to memory, and
    /// the copies are lent for ever, as is what is kept of the device.
    ///
    /// # Errors
    /// [`MapError`]; the memory is as it was, unless [`MapError::leaves_memory_reachable`].
    ///
    /// # Safety
    /// - `memory` is RAM, and stays allocated until [`unmap_phys`](Self::unmap_phys) returned `Ok`.
    /// - Until then no reference to any byte of its frames is used that the device's accesses in `direction`
    ///   would break: none at all where the device writes, none that writes where it reads.
    /// - Where the device does not snoop, nobody writes the cache lines the memory begins and ends in meanwhile.
    /// - The mapping is unmapped before the device is detached, or its memory is kept until
    ///   [`Device::detach`] returned `Ok`.
    #[inline]
    pub unsafe fn map_phys(
        &self,
        memory: PhysRange,
        direction: AnyDirection,
    ) -> Result<BusRange, MapError> {
        // Nobody else's memory is in whole frames.
        if is_whole(memory.start().as_u64(), memory.len_bytes())
            && let Some(plain) = self.core().plain_memory(memory)
            && let Some(range) = self.core().map_plain(plain, direction)
        {
            self.core().counters.begin(memory.len_bytes());
            return Ok(range);
        }
        // SAFETY: the caller's promise.
        unsafe { self.map_phys_attrs(memory, direction, Attributes::NONE) }
    }

    /// As [`map_phys`](Self::map_phys), with more asked of the mapping.
    ///
    /// # Errors
    /// As [`map_phys`](Self::map_phys), and where what `attributes` ask for cannot be had.
    ///
    /// # Safety
    /// As [`map_phys`](Self::map_phys).
    pub unsafe fn map_phys_attrs(
        &self,
        memory: PhysRange,
        direction: AnyDirection,
        attributes: Attributes,
    ) -> Result<BusRange, MapError> {
        // SAFETY: the caller's promise.
        let placed = unsafe { self.map_raw(Shape::Single, &[memory], direction, attributes) }?;
        Ok(placed.range)
    }

    /// Maps `len_bytes` bytes from byte `offset` of a frame on (`dma_map_page`).
    ///
    /// # Errors
    /// As [`map_phys`](Self::map_phys).
    ///
    /// # Safety
    /// As [`map_phys`](Self::map_phys).
    pub unsafe fn map_page(
        &self,
        frame: PhysAddr,
        offset: u64,
        len_bytes: u64,
        direction: AnyDirection,
    ) -> Result<BusRange, MapError> {
        // SAFETY: the caller's promise.
        unsafe { self.map_page_attrs(frame, offset, len_bytes, direction, Attributes::NONE) }
    }

    /// As [`map_page`](Self::map_page), with more asked of the mapping (`dma_map_page_attrs`).
    ///
    /// # Errors
    /// As [`map_phys_attrs`](Self::map_phys_attrs).
    ///
    /// # Safety
    /// As [`map_phys`](Self::map_phys).
    pub unsafe fn map_page_attrs(
        &self,
        frame: PhysAddr,
        offset: u64,
        len_bytes: u64,
        direction: AnyDirection,
        attributes: Attributes,
    ) -> Result<BusRange, MapError> {
        let memory = frame
            .checked_add(offset)
            .and_then(|start| PhysRange::new(start, len_bytes).ok())
            .ok_or_else(|| {
                let first = PhysAddr::new(frame.as_u64().saturating_add(offset));
                let failure = MapFailure::past_the_end(first, len_bytes);
                fail(self, Asked::from(first, len_bytes), failure)
            })?;
        // SAFETY: the caller's promise is `map_phys`'s.
        unsafe { self.map_phys_attrs(memory, direction, attributes) }
    }

    /// Maps `len_bytes` bytes from the virtual address `virt` on, which must be physically contiguous memory
    /// of the platform (`dma_map_single`).
    ///
    /// # Errors
    /// As [`map_phys`](Self::map_phys), and [`MapFailure::NotDmaMemory`] for stacks, images and heaps that
    /// are not the machine's RAM, [`MapFailure::NotContiguous`] for memory in pieces.
    ///
    /// # Safety
    /// As [`map_phys`](Self::map_phys), for the physical memory behind `virt`.
    pub unsafe fn map_single_raw(
        &self,
        virt: VirtAddr,
        len_bytes: u64,
        direction: AnyDirection,
    ) -> Result<BusRange, MapError> {
        // SAFETY: the caller's promise.
        unsafe { self.map_single_raw_attrs(virt, len_bytes, direction, Attributes::NONE) }
    }

    /// As [`map_single_raw`](Self::map_single_raw), with more asked of the mapping (`dma_map_single_attrs`).
    ///
    /// # Errors
    /// As [`map_single_raw`](Self::map_single_raw), and where what `attributes` ask for cannot be had.
    ///
    /// # Safety
    /// As [`map_single_raw`](Self::map_single_raw).
    pub unsafe fn map_single_raw_attrs(
        &self,
        virt: VirtAddr,
        len_bytes: u64,
        direction: AnyDirection,
        attributes: Attributes,
    ) -> Result<BusRange, MapError> {
        let memory = self.contiguous(virt, len_bytes).map_err(|failure| {
            let first = self.platform().virt_to_phys(virt);
            fail(self, Asked::maybe_from(first, len_bytes), failure)
        })?;
        // SAFETY: the caller's promise is `map_phys`'s.
        unsafe { self.map_phys_attrs(memory, direction, attributes) }
    }

    /// Takes back what [`map_phys`](Self::map_phys), [`map_page`](Self::map_page) or
    /// [`map_single_raw`](Self::map_single_raw) mapped; when this returns `Ok` the device reaches nothing through it
    /// (`dma_unmap_phys`, `dma_unmap_page`, `dma_unmap_single`), or is trusted not to try
    /// ([`Protection::Deferred`](crate::system::Protection::Deferred)).
    ///
    /// # Errors
    /// [`Quarantined`] when the IOMMU did not confirm: the memory must be kept. Also, nothing having changed, when
    /// `range` is not all of one mapping ([`RevokeError::NotWhole`]).
    ///
    /// # Safety
    /// `range` is one that a call of this layer for this device returned, whole, not unmapped yet, and was mapped with
    /// `direction` and `attributes`; where no IOMMU translates, the device has finished with it.
    #[inline]
    pub unsafe fn unmap_phys(
        &self,
        range: BusRange,
        direction: AnyDirection,
        attributes: Attributes,
    ) -> Result<(), Quarantined> {
        let taken = match attributes == Attributes::NONE && self.gave_whole(range) {
            // SAFETY: the caller's promise.
            true => unsafe { self.core().take_back_plain(range, attributes) },
            false => Taken::Not,
        };
        match taken {
            Taken::Back => {
                self.whole_is_back(range);
                Ok(())
            }
            Taken::Failed(error) => self.whole_not_back(range, error),
            // SAFETY: as above: nothing was done.
            Taken::Not => unsafe { self.unmap_phys_in_steps(range, direction, attributes) },
        }
    }

    /// Whether memory that was mapped at `range` by calls of this file, and of which nothing was asked, was given as it is, and its caches
    /// need nothing: whole frames are, as nobody else's memory is in them.
    #[inline]
    pub(in crate::map) fn gave_whole(&self, range: BusRange) -> bool {
        let len_bytes = range.len_bytes();
        len_bytes >= self.core().plain_from_bytes && is_whole(range.start().as_u64(), len_bytes)
    }

    /// The last of a mapping that was given whole, and that was taken back.
    #[inline]
    pub(in crate::map) fn whole_is_back(&self, range: BusRange) {
        self.core().counters.end(range.len_bytes());
        self.platform().dma_rmb();
    }

    /// The same where it was not confirmed, or refused.
    #[cold]
    pub(in crate::map) fn whole_not_back(
        &self,
        range: BusRange,
        error: RevokeError,
    ) -> Result<(), Quarantined> {
        let (backing, len_bytes) = (Backing::InPlace, range.len_bytes());
        self.raw_taken_back(range, len_bytes, backing, Err(error))
            .map(|_| ())
    }

    /// As [`unmap_phys`](Self::unmap_phys).
    ///
    /// # Safety
    /// As [`unmap_phys`](Self::unmap_phys).
    #[inline(never)]
    unsafe fn unmap_phys_in_steps(
        &self,
        range: BusRange,
        direction: AnyDirection,
        attributes: Attributes,
    ) -> Result<(), Quarantined> {
        let backing = self.core().backing_of(range);
        if !backing.is_copied() && !self.needs_maintenance() && self.core().route.joins_pieces() {
            // Whose memory it was need not be known.
            // SAFETY: the caller's promise.
            unsafe { self.revoke_raw(range, range.len_bytes(), backing, attributes)? };
            self.platform().dma_rmb();
            return Ok(());
        }
        // Where the memory is can be asked only before.
        let Some(memory) = self.piece_behind(range, &backing) else {
            let error = RevokeError::NotMapped;
            return Err(Quarantined {
                device: self.requester(),
                range,
                error,
            });
        };
        // SAFETY: the caller's promise.
        unsafe { self.unmap_raw(range, &[memory], backing, direction, attributes) }
    }

    fn contiguous(&self, virt: VirtAddr, len_bytes: u64) -> Result<PhysRange, MapFailure> {
        if len_bytes == 0 {
            return Err(MapFailure::Empty);
        }
        let platform = self.platform();
        let phys = |virt| {
            platform
                .virt_to_phys(virt)
                .ok_or(MapFailure::NotDmaMemory { virt })
        };
        let start = phys(virt)?;
        let memory = PhysRange::new(start, len_bytes)
            .map_err(|_| MapFailure::past_the_end(start, len_bytes))?;
        let step = 1 << FRAME_SIZE_LOG2;
        let mut offset = step - virt.frame_offset();
        while offset < len_bytes {
            let virt = virt
                .checked_add(offset)
                .ok_or_else(|| MapFailure::past_the_end(start, len_bytes))?;
            if Some(phys(virt)?) != start.checked_add(offset) {
                let first = PhysRange::new(start, offset).unwrap_or(memory);
                return Err(MapFailure::NotContiguous { first });
            }
            offset += step;
        }
        Ok(memory)
    }
}
