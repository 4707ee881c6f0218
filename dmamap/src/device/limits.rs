//! What holds for a device's mappings: what its driver set, and what the path to memory adds.
//!
//! The calls are [`Device`](crate::device::Device)'s: those of `mask` and of `segment_limits`.

use core::sync::atomic::{AtomicU64, Ordering};

use crate::addr::{BusAddr, DmaMask, FRAME_SIZE_LOG2};
use crate::iommu::Requester;

/// A limit that no device can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LimitError {
    /// Segments of no bytes.
    #[error("{device}: segments of 0 bytes carry nothing: the least is 1")]
    EmptySegment {
        /// The device.
        device: Requester,
    },
    /// Not a power of two less one.
    #[error("{device}: a segment boundary of {boundary:#x} is not 2^n - 1")]
    Boundary {
        /// The device.
        device: Requester,
        /// What was asked for.
        boundary: u64,
    },
    /// Not a power of two less one.
    #[error("{device}: a minimum alignment mask of {mask:#x} is not 2^n - 1")]
    MinAlignMask {
        /// The device.
        device: Requester,
        /// What was asked for.
        mask: u64,
    },
}

/// The limits a driver has set, or those of a device whose driver said nothing; and that of the path.
pub(crate) struct Limits {
    /// The highest address that the bus carries, whatever the device can put on it.
    bus_last: BusAddr,
    mask_last: AtomicU64,
    coherent_mask_last: AtomicU64,
    max_segment_bytes: AtomicU64,
    segment_boundary: AtomicU64,
    min_align_mask: AtomicU64,
    /// The first frame-sized page that is beyond the mask or the bus, for who maps in pages of one frame; 0 once the driver set one of
    /// these two so that it concerns memory shorter than a large leaf. One look at one word tells all.
    pages_end: AtomicU64,
}

/// What a device takes in one piece before its driver says more (rule of the guide: 64 KiB).
const DEFAULT_MAX_SEGMENT_BYTES: u64 = 64 << 10;

/// log2 of the boundary that segments keep to before the driver says more (Linux's: 4 GiB).
pub(crate) const DEFAULT_SEGMENT_BOUNDARY_LOG2: u32 = 32;

const DEFAULT_SEGMENT_BOUNDARY: u64 = (1 << DEFAULT_SEGMENT_BOUNDARY_LOG2) - 1;

/// Stands for a boundary that the driver said nothing of: no boundary is 0, as no segment would fit.
const BOUNDARY_NOT_SET: u64 = 0;

impl Limits {
    /// Those of a device whose driver said nothing, on a bus that carries addresses up to `bus_last`.
    pub(crate) fn new(bus_last: BusAddr) -> Self {
        let mask = DmaMask::DEFAULT.last().as_u64();
        let limits = Self {
            bus_last,
            mask_last: AtomicU64::new(mask),
            coherent_mask_last: AtomicU64::new(mask),
            max_segment_bytes: AtomicU64::new(DEFAULT_MAX_SEGMENT_BYTES),
            segment_boundary: AtomicU64::new(BOUNDARY_NOT_SET),
            min_align_mask: AtomicU64::new(0),
            // Not 0.
            pages_end: AtomicU64::new(1),
        };
        limits.tell_pages_end();
        limits
    }

    #[inline]
    pub(crate) fn bus_last(&self) -> BusAddr {
        self.bus_last
    }

    #[inline]
    pub(crate) fn mask(&self) -> DmaMask {
        DmaMask::whose_last_is(BusAddr::new(self.mask_last.load(Ordering::Relaxed)))
    }

    pub(super) fn set_mask(&self, mask: DmaMask) {
        self.mask_last.store(mask.last().as_u64(), Ordering::SeqCst);
        self.tell_pages_end();
    }

    /// The first frame-sized page that a mapping shorter than a large leaf must not touch; 0 where more is to be asked about it.
    #[inline]
    pub(crate) fn pages_end(&self) -> u64 {
        self.pages_end.load(Ordering::Relaxed)
    }

    /// Where [pages end](Self::pages_end) with this mask, if nothing more is asked.
    pub(crate) fn pages_end_with(&self, mask: DmaMask) -> u64 {
        let last = mask.narrowed_to(self.bus_last).last().as_u64();
        // Where no page is below, one is as good as none: nothing is lent by single pages.
        (last.saturating_add(1) >> FRAME_SIZE_LOG2).max(1)
    }

    /// Works out where pages end, unless that is 0 for good. Whoever sets a mask does, after it is set. The mask is looked at again for
    /// each attempt to write, and after the last: so who comes late writes what the last mask says.
    fn tell_pages_end(&self) {
        let mask = || self.mask_last.load(Ordering::SeqCst);
        loop {
            let mut seen = mask();
            let _ = self
                .pages_end
                .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |old| {
                    seen = mask();
                    let end = self.pages_end_with(DmaMask::whose_last_is(BusAddr::new(seen)));
                    (old != 0).then_some(end)
                });
            if mask() == seen {
                return;
            }
        }
    }

    fn concern_small(&self) {
        self.pages_end.store(0, Ordering::SeqCst);
    }

    pub(crate) fn coherent_mask(&self) -> DmaMask {
        DmaMask::whose_last_is(BusAddr::new(
            self.coherent_mask_last.load(Ordering::Relaxed),
        ))
    }

    pub(super) fn set_coherent_mask(&self, mask: DmaMask) {
        self.coherent_mask_last
            .store(mask.last().as_u64(), Ordering::Relaxed);
    }

    pub(crate) fn max_segment_bytes(&self) -> u64 {
        self.max_segment_bytes.load(Ordering::Relaxed)
    }

    pub(super) fn set_max_segment_bytes(&self, bytes: u64) {
        self.max_segment_bytes.store(bytes, Ordering::Relaxed);
    }

    /// No segment crosses a multiple of one more than this.
    #[inline]
    pub(crate) fn segment_boundary(&self) -> u64 {
        self.boundary_of_driver()
            .unwrap_or(DEFAULT_SEGMENT_BOUNDARY)
    }

    /// The boundary, if the driver set one: then mappings in one piece are held to it as well.
    #[inline]
    pub(crate) fn boundary_of_driver(&self) -> Option<u64> {
        match self.segment_boundary.load(Ordering::Relaxed) {
            BOUNDARY_NOT_SET => None,
            boundary => Some(boundary),
        }
    }

    pub(crate) fn set_segment_boundary(&self, boundary: u64) {
        self.concern_small();
        self.segment_boundary.store(boundary, Ordering::Relaxed);
    }

    /// The bits of a memory address that its bus address keeps.
    #[inline]
    pub(crate) fn min_align_mask(&self) -> u64 {
        self.min_align_mask.load(Ordering::Relaxed)
    }

    /// Whether the driver may have asked for something that concerns memory shorter than a large leaf, mapped in pages of one frame.
    #[inline]
    pub(crate) fn concern_small_memory(&self) -> bool {
        self.pages_end() == 0
    }

    pub(crate) fn set_min_align_mask(&self, mask: u64) {
        // Below the frame addresses are alike anyhow.
        if mask >> FRAME_SIZE_LOG2 != 0 {
            self.concern_small();
        }
        self.min_align_mask.store(mask, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_end_where_the_mask_and_the_bus_do_until_more_is_asked() {
        let limits = Limits::new(BusAddr::new((1 << 40) - 1));
        assert_eq!(limits.pages_end(), 1 << 20);
        limits.set_mask(DmaMask::ALL);
        assert_eq!(limits.pages_end(), 1 << 28);
        limits.set_mask(DmaMask::whose_last_is(BusAddr::new((1 << 24) - 1)));
        assert_eq!(limits.pages_end(), 1 << 12);
        // Within a page addresses are alike anyhow.
        limits.set_min_align_mask(0xfff);
        assert_eq!(limits.pages_end(), 1 << 12);
        limits.set_min_align_mask(0xffff);
        assert_eq!(limits.pages_end(), 0);
        limits.set_mask(DmaMask::ALL);
        assert_eq!(limits.pages_end(), 0, "for good");
        let limits = Limits::new(BusAddr::new(u64::MAX));
        limits.set_segment_boundary(0xfff);
        assert_eq!(limits.pages_end(), 0);
    }
}
