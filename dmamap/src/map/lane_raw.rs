//! A lane for a kernel that keeps its memory itself: bus addresses without owners.

use crate::addr::{BusRange, PhysRange};
use crate::iommu::DomainError;
use crate::map::error::{MapError, Quarantined};
use crate::map::lane::Lane;
use crate::map::plain::Taken;
use crate::map::raw::is_whole;
use crate::map::{AnyDirection, Asked, Attributes};
use crate::platform::Platform;

impl<P: Platform> Lane<P> {
    /// As [`Device::map_phys`](crate::device::Device::map_phys).
    ///
    /// # Errors
    /// As [`Device::map_phys`](crate::device::Device::map_phys).
    ///
    /// # Safety
    /// As [`Device::map_phys`](crate::device::Device::map_phys). Nobody detaches the device during the call, or the memory is kept until
    /// [`unmap_phys`](Self::unmap_phys) returned `Ok`: a detachment that looked before would not know of the mapping.
    #[inline]
    pub unsafe fn map_phys(
        &mut self,
        memory: PhysRange,
        direction: AnyDirection,
    ) -> Result<BusRange, MapError> {
        // Nobody else's memory is in whole frames.
        if is_whole(memory.start().as_u64(), memory.len_bytes())
            && let Some(plain) = self.device.core().plain_memory(memory)
            && let Some(range) = self.map_plain(plain, direction)
        {
            self.device.core().counters.begin(memory.len_bytes());
            return Ok(range);
        }
        // SAFETY: the caller's promise.
        unsafe { self.map_phys_on_device(memory, direction) }
    }

    /// # Safety
    /// As [`map_phys`](Self::map_phys).
    #[inline(never)]
    unsafe fn map_phys_on_device(
        &mut self,
        memory: PhysRange,
        direction: AnyDirection,
    ) -> Result<BusRange, MapError> {
        if self.has_left() {
            let asked = Asked::from(memory.start(), memory.len_bytes());
            let core = self.device.core();
            return Err(core.not_mapped(asked, DomainError::Revoked.into()));
        }
        if let Some(range) = self.map_first_pages(memory, direction) {
            return Ok(range);
        }
        // SAFETY: the caller's promise.
        let mapped = unsafe { self.device.map_phys(memory, direction) };
        match mapped {
            Err(error) if self.flush_for(&error) => {
                // SAFETY: as above: nothing was done, and nothing is staged any more.
                unsafe { self.map_phys_on_device(memory, direction) }
            }
            mapped => mapped,
        }
    }

    /// As [`Device::unmap_phys`](crate::device::Device::unmap_phys), of what [`map_phys`](Self::map_phys) mapped, or the device.
    ///
    /// # Errors
    /// [`Quarantined`] when the IOMMU did not confirm: the memory must be kept.
    ///
    /// # Safety
    /// As [`Device::unmap_phys`](crate::device::Device::unmap_phys), and the device was not detached, though the lane outlives that: what the
    /// range was of is known no more then, and what was copied is lost. Unlike there, what is not one mapping, whole, is not refused.
    #[inline]
    pub unsafe fn unmap_phys(
        &mut self,
        range: BusRange,
        direction: AnyDirection,
        attributes: Attributes,
    ) -> Result<(), Quarantined> {
        let is_plain = attributes == Attributes::NONE && self.device.gave_whole(range);
        let mut taken = Taken::Not;
        if is_plain {
            // SAFETY: the caller's promise.
            taken = unsafe { self.take_back_page(range) };
            if matches!(taken, Taken::Not) {
                // SAFETY: as above: nothing was done.
                taken = unsafe { self.take_back_pages(range) };
            }
        }
        match taken {
            Taken::Back => {
                self.device.whole_is_back(range);
                Ok(())
            }
            Taken::Failed(error) => self.device.whole_not_back(range, error),
            // SAFETY: as above: nothing was done.
            Taken::Not => unsafe { self.device.unmap_phys(range, direction, attributes) },
        }
    }
}
