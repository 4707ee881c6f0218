//! In what pieces a device takes memory.
//!
//! ```
//! # use board as _;
//! # use dmamap::{device::{Device, LimitError}, platform::Platform};
//! # fn example<P: Platform>(device: &Device<P>) -> Result<(), LimitError> {
//! device.set_max_segment_bytes(0x2000)?;
//! device.set_segment_boundary(0xffff)?; // no segment crosses a multiple of 64 KiB
//! device.set_min_align_mask(0xfff)?; // Z and Y are alike in their lowest 12 bits
//! # Ok(())
//! # }
//! ```

use crate::device::{Device, LimitError};
use crate::platform::Platform;

impl<P: Platform> Device<P> {
    /// The longest segment a list is told in, in bytes (`dma_get_max_seg_size`): 64 KiB before the driver says more.
    pub fn max_segment_bytes(&self) -> u64 {
        self.core().limits.max_segment_bytes()
    }

    /// Sets the longest segment the device takes (`dma_set_max_seg_size`). Lists that are mapped are cut anew.
    ///
    /// # Errors
    /// [`LimitError::EmptySegment`] for 0.
    pub fn set_max_segment_bytes(&self, bytes: u64) -> Result<(), LimitError> {
        if bytes == 0 {
            return Err(LimitError::EmptySegment {
                device: self.requester(),
            });
        }
        self.core().limits.set_max_segment_bytes(bytes);
        Ok(())
    }

    /// What no segment crosses a multiple of, less one (`dma_get_seg_boundary`): 4 GiB less one before the driver says
    /// more.
    pub fn segment_boundary(&self) -> u64 {
        self.core().limits.segment_boundary()
    }

    /// Sets what no segment crosses a multiple of, less one (`dma_set_seg_boundary`).
    ///
    /// Lists are cut there. A mapping in one piece cannot be cut: behind an IOMMU it is placed between two boundaries,
    /// and where that cannot be it is refused with
    /// [`MapFailure::CrossesBoundary`](crate::map::MapFailure::CrossesBoundary). Linux holds only lists to the
    /// boundary and lets the device find out; so do we for the boundary of a driver that never set one.
    /// Coherent memory, aligned to its own size, crosses none that is not shorter than itself.
    ///
    /// # Errors
    /// [`LimitError::Boundary`] unless it is a power of two less one, and not 0.
    pub fn set_segment_boundary(&self, boundary: u64) -> Result<(), LimitError> {
        if boundary == 0 || boundary & boundary.wrapping_add(1) != 0 {
            return Err(LimitError::Boundary {
                device: self.requester(),
                boundary,
            });
        }
        self.core().limits.set_segment_boundary(boundary);
        Ok(())
    }

    /// The bits in which a streaming mapping's first bus address is its memory's first address
    /// (`dma_get_min_align_mask`). Behind an IOMMU those below the page always are.
    pub fn min_align_mask(&self) -> u64 {
        self.core().limits.min_align_mask()
    }

    /// Sets the bits of a memory address that the bus address keeps (`dma_set_min_align_mask`): for devices that take the
    /// offset in their own page from the address. Of a list it is the first byte's address that is kept.
    ///
    /// # Errors
    /// [`LimitError::MinAlignMask`] unless it is a power of two less one; 0 asks for nothing.
    pub fn set_min_align_mask(&self, mask: u64) -> Result<(), LimitError> {
        if mask & mask.wrapping_add(1) != 0 {
            return Err(LimitError::MinAlignMask {
                device: self.requester(),
                mask,
            });
        }
        self.core().limits.set_min_align_mask(mask);
        Ok(())
    }
}
