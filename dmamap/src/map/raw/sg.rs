//! Lists of pieces of memory.

use crate::addr::{BusRange, PhysRange};
use crate::device::Device;
use crate::map::copies::Copies;
use crate::map::error::{MapError, MapFailure, Quarantined};
use crate::map::establish::fail;
use crate::map::place::Placed;
use crate::map::raw::asked_of;
use crate::map::runs::runs;
use crate::map::segments::segments;
use crate::map::terms::Shape;
use crate::map::{AnyDirection, Attributes};
use crate::platform::Platform;

impl<P: Platform> Device<P> {
    /// Maps pieces of memory (`dma_map_sg`): what the device is told goes into `told`, of which as many are used as the
    /// number returned says, none longer than [`max_segment_bytes`](Self::max_segment_bytes), none across
    /// [`segment_boundary`](Self::segment_boundary). Behind an IOMMU pieces whose inner ends lie on page boundaries become
    /// one segment as far as that; so does a list that is [copied](crate::bounce), as a whole.
    ///
    /// # Errors
    /// As [`map_phys`](Self::map_phys), for all pieces; [`MapFailure::TooManySegments`] if `told` is too
    /// short. No piece stays mapped.
    ///
    /// # Safety
    /// As [`map_phys`](Self::map_phys), for each piece; what unmaps is [`unmap_sg_raw`](Self::unmap_sg_raw).
    pub unsafe fn map_sg_raw(
        &self,
        pieces: &[PhysRange],
        told: &mut [BusRange],
        direction: AnyDirection,
    ) -> Result<usize, MapError> {
        // SAFETY: the caller's promise.
        unsafe { self.map_sg_raw_attrs(pieces, told, direction, Attributes::NONE) }
    }

    /// As [`map_sg_raw`](Self::map_sg_raw), with more asked of the mapping (`dma_map_sg_attrs`).
    ///
    /// # Errors
    /// As [`map_sg_raw`](Self::map_sg_raw), and where what `attributes` ask for cannot be had.
    ///
    /// # Safety
    /// As [`map_sg_raw`](Self::map_sg_raw).
    pub unsafe fn map_sg_raw_attrs(
        &self,
        pieces: &[PhysRange],
        told: &mut [BusRange],
        direction: AnyDirection,
        attributes: Attributes,
    ) -> Result<usize, MapError> {
        let (room, asked) = (told.len(), asked_of(pieces));
        if pieces.is_empty() || pieces.iter().any(|piece| piece.is_empty()) {
            return Err(fail(self, asked, MapFailure::Empty));
        }
        if room == 0 {
            return Err(fail(self, asked, MapFailure::TooManySegments { room }));
        }
        // SAFETY: the caller's promise.
        let placed = unsafe { self.map_raw(Shape::Pieces, pieces, direction, attributes) }?;
        let Placed { range, backing } = placed;
        let core = self.core();
        let cut = segments(
            runs(
                &core.route,
                Copies::of(&backing),
                range,
                pieces.iter().copied(),
            ),
            core.limits.max_segment_bytes(),
            core.limits.segment_boundary(),
        );
        let mut used = 0;
        for segment in cut {
            let Some(slot) = told.get_mut(used) else {
                let backing = core.backing_of(range);
                let direction = AnyDirection::ToDevice;
                // SAFETY: mapped above and told to nobody, so nothing was written.
                let undone =
                    unsafe { self.unmap_raw(range, pieces, backing, direction, attributes) };
                let failure = match undone {
                    Ok(()) => MapFailure::TooManySegments { room },
                    // More urgent than why the list was not mapped.
                    Err(Quarantined { error, .. }) => MapFailure::NotUndone { error },
                };
                return Err(fail(self, asked, failure));
            };
            *slot = segment;
            used += 1;
        }
        Ok(used)
    }

    /// Takes back what [`map_sg_raw`](Self::map_sg_raw) mapped (`dma_unmap_sg`); when this returns `Ok` the device
    /// reaches none of the pieces.
    ///
    /// # Errors
    /// As [`unmap_phys`](Self::unmap_phys): among them, nothing having changed, when `told` is not all that was told.
    ///
    /// # Safety
    /// `pieces` are all that were given to one call of [`map_sg_raw`](Self::map_sg_raw), `told` all that it told, which
    /// is not unmapped yet, `direction` and `attributes` those of that call; where no IOMMU translates, the
    /// device has finished with them.
    pub unsafe fn unmap_sg_raw(
        &self,
        pieces: &[PhysRange],
        told: &[BusRange],
        direction: AnyDirection,
        attributes: Attributes,
    ) -> Result<(), Quarantined> {
        let range = from_first_to_last(told);
        let backing = self.core().backing_of(range);
        // SAFETY: the caller's promise.
        unsafe { self.unmap_raw(range, pieces, backing, direction, attributes) }
    }
}

/// What segments of one list lie in, where an IOMMU translates: side by side, or with ends of pages between them.
pub(super) fn from_first_to_last(told: &[BusRange]) -> BusRange {
    let nowhere = BusRange::new(crate::addr::BusAddr::new(0), 0);
    let whole = told.first().zip(told.last()).and_then(|(first, last)| {
        let bytes = last.last().as_u64().checked_sub(first.start().as_u64())?;
        BusRange::new(first.start(), bytes.checked_add(1)?).ok()
    });
    whole.unwrap_or(nowhere.expect("an empty range exists"))
}
