//! What a device can address, and in what pieces it takes memory.
//!
//! The calls are [`Device`]'s: [`set_mask`](Device::set_mask) and its siblings.

use core::sync::atomic::{AtomicU64, Ordering};

use crate::addr::{BusAddr, BusRange, DmaMask, FRAME_BYTES, PhysAddr, PhysRange};
use crate::device::Device;
use crate::iommu::Requester;
use crate::map::Route;
use crate::platform::Platform;

/// A mask the device's route cannot live with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MaskError {
    /// The device reaches memory directly, and not even memory that could stand in for what is beyond its mask.
    #[error(
        "{device}: a mask of {mask} does not even reach the lowest memory, at {memory} (bus {bus}): put the device \
         behind an IOMMU, or give it a wider mask"
    )]
    CannotReachMemory {
        /// The device.
        device: Requester,
        /// The mask asked for.
        mask: DmaMask,
        /// The first byte of the memory with the lowest bus addresses.
        memory: PhysAddr,
        /// The bus address it has.
        bus: BusAddr,
    },
    /// No IOMMU page fits below the mask, the first page not being used.
    #[error("{device}: a mask of {mask} leaves no bus address to map at: 13 bits are the least")]
    NoRoom {
        /// The device.
        device: Requester,
        /// The mask asked for.
        mask: DmaMask,
    },
}

/// The limits a driver has set, or those of a device whose driver said nothing.
pub(crate) struct Limits {
    mask_last: AtomicU64,
    coherent_mask_last: AtomicU64,
    max_segment_bytes: AtomicU64,
    min_align_mask: AtomicU64,
    segment_boundary: AtomicU64,
}

impl Default for Limits {
    fn default() -> Self {
        let mask = DmaMask::DEFAULT.last().as_u64();
        Self {
            mask_last: AtomicU64::new(mask),
            coherent_mask_last: AtomicU64::new(mask),
            max_segment_bytes: AtomicU64::new(DEFAULT_MAX_SEGMENT_BYTES),
            min_align_mask: AtomicU64::new(0),
            segment_boundary: AtomicU64::new(u32::MAX.into()),
        }
    }
}

impl Limits {
    pub(crate) fn mask(&self) -> DmaMask {
        mask_up_to(self.mask_last.load(Ordering::Relaxed))
    }

    fn set_mask(&self, mask: DmaMask) {
        self.mask_last
            .store(mask.last().as_u64(), Ordering::Relaxed);
    }

    pub(crate) fn coherent_mask(&self) -> DmaMask {
        mask_up_to(self.coherent_mask_last.load(Ordering::Relaxed))
    }

    fn set_coherent_mask(&self, mask: DmaMask) {
        self.coherent_mask_last
            .store(mask.last().as_u64(), Ordering::Relaxed);
    }

    pub(crate) fn max_segment_bytes(&self) -> u64 {
        self.max_segment_bytes.load(Ordering::Relaxed)
    }

    fn set_max_segment_bytes(&self, bytes: u64) {
        self.max_segment_bytes.store(bytes, Ordering::Relaxed);
    }

    pub(crate) fn min_align_mask(&self) -> u64 {
        self.min_align_mask.load(Ordering::Relaxed)
    }

    pub(crate) fn segment_boundary(&self) -> u64 {
        self.segment_boundary.load(Ordering::Relaxed)
    }
}

/// The number of as many bits, all set.
fn ones(mask: u64) -> u64 {
    u64::MAX.checked_shr(mask.leading_zeros()).unwrap_or(0)
}

fn mask_up_to(last: u64) -> DmaMask {
    DmaMask::from_bits(64 - last.leading_zeros()).unwrap_or(DmaMask::DEFAULT)
}

/// What a device takes in one piece before its driver says more (rule of the guide: 64 KiB).
const DEFAULT_MAX_SEGMENT_BYTES: u64 = 64 << 10;

impl<P: Platform> Device<P> {
    /// Limits where streaming mappings are placed to what the device can address (`dma_set_mask`). The last
    /// mask set holds; 64 bits never fail; before any call it is 32 bits.
    ///
    /// # Errors
    /// [`MaskError`] when the device could not be served with that mask; the mask stays as it was.
    pub fn set_mask(&self, mask: DmaMask) -> Result<(), MaskError> {
        self.check_mask(mask)?;
        self.core().limits.set_mask(mask);
        Ok(())
    }

    /// As [`set_mask`](Self::set_mask), for coherent memory (`dma_set_coherent_mask`).
    ///
    /// # Errors
    /// As [`set_mask`](Self::set_mask).
    pub fn set_coherent_mask(&self, mask: DmaMask) -> Result<(), MaskError> {
        self.check_mask(mask)?;
        self.core().limits.set_coherent_mask(mask);
        Ok(())
    }

    /// Both masks at once (`dma_set_mask_and_coherent`).
    ///
    /// # Errors
    /// As [`set_mask`](Self::set_mask).
    pub fn set_mask_and_coherent(&self, mask: DmaMask) -> Result<(), MaskError> {
        self.set_mask(mask)?;
        self.set_coherent_mask(mask)
    }

    /// The mask streaming mappings keep to.
    pub fn mask(&self) -> DmaMask {
        self.core().limits.mask()
    }

    /// The mask coherent memory keeps to.
    pub fn coherent_mask(&self) -> DmaMask {
        self.core().limits.coherent_mask()
    }

    /// The narrowest mask with which every mapping is as good as with a wider one
    /// (`dma_get_required_mask`).
    pub fn required_mask(&self) -> DmaMask {
        match self.highest_direct() {
            Some((_, bus)) => mask_up_to(bus.as_u64()),
            None => DmaMask::DEFAULT,
        }
    }

    /// Whether memory exists that the device cannot reach with its mask (`dma_addressing_limited`).
    pub fn addressing_limited(&self) -> bool {
        self.mask() < self.required_mask()
    }

    /// The longest piece [`map_sg`](Self::map_sg) hands the device, in bytes (`dma_get_max_seg_size`).
    pub fn max_segment_bytes(&self) -> u64 {
        self.core().limits.max_segment_bytes()
    }

    /// Sets the longest piece the device takes; rounded down to whole frames, at least one.
    pub fn set_max_segment_bytes(&self, bytes: u64) {
        let whole = (bytes / FRAME_BYTES).max(1) * FRAME_BYTES;
        self.core().limits.set_max_segment_bytes(whole);
    }

    /// Bits of addresses that the device needs kept when memory is copied for it, so that its own pages start where the
    /// memory's do (`dma_get_min_align_mask`).
    pub fn min_align_mask(&self) -> u64 {
        self.core().limits.min_align_mask()
    }

    /// Sets the lower bits of addresses that must be kept: `2^n - 1` (`dma_set_min_align_mask`). Other values are taken
    /// as the next such.
    pub fn set_min_align_mask(&self, mask: u64) {
        let limits = &self.core().limits;
        limits.min_align_mask.store(ones(mask), Ordering::Relaxed);
    }

    /// The addresses a segment may not cross: multiples of this plus one (`dma_get_seg_boundary`).
    pub fn segment_boundary(&self) -> u64 {
        self.core().limits.segment_boundary()
    }

    /// Sets what a segment may not cross: multiples of `2^n` for a mask of `2^n - 1`, of a frame at least
    /// (`dma_set_seg_boundary`). Other values are taken as the next such.
    pub fn set_segment_boundary(&self, mask: u64) {
        let mask = ones(mask).max(FRAME_BYTES - 1);
        let limits = &self.core().limits;
        limits.segment_boundary.store(mask, Ordering::Relaxed);
    }

    fn check_mask(&self, mask: DmaMask) -> Result<(), MaskError> {
        let device = self.requester();
        // Page 0 is never a bus address, so the second page must be within reach.
        if mask.last().as_u64() < 2 * FRAME_BYTES - 1 {
            return Err(MaskError::NoRoom { device, mask });
        }
        match self.lowest_direct() {
            // Memory beyond the mask is copied to memory that is not: some must be.
            Some((memory, bus)) if mask.last().as_u64() - (FRAME_BYTES - 1) < bus.as_u64() => {
                Err(MaskError::CannotReachMemory {
                    device,
                    mask,
                    memory,
                    bus,
                })
            }
            _ => Ok(()),
        }
    }

    /// The first byte of memory that copies can be made in, and its bus address, where the device reaches memory without
    /// translation.
    fn lowest_direct(&self) -> Option<(PhysAddr, BusAddr)> {
        let core = self.core();
        let Route::Direct(direct) = &core.route else {
            return None;
        };
        match core.bounce.shared.memory() {
            Some(pool) => {
                let bus = direct.bus_range(pool)?;
                Some((pool.start(), bus.start()))
            }
            None => direct.lowest(core.platform),
        }
    }

    /// The last byte of memory and its bus address, where the device reaches memory without translation.
    fn highest_direct(&self) -> Option<(PhysAddr, BusAddr)> {
        let core = self.core();
        let Route::Direct(direct) = &core.route else {
            return None;
        };
        let mut highest = None;
        core.platform.memory_map(&mut |range: PhysRange| {
            let bus = direct.bus_range(range).map(BusRange::last);
            highest = highest.max(bus.map(|bus| (bus, range.last())));
        });
        highest.map(|(bus, memory)| (memory, bus))
    }
}
