//! Which bus addresses a device can use: its driver's masks, and the path's own limit.
//!
//! ```
//! # use board as _;
//! # use dmamap::{addr::DmaMask, device::Device, platform::Platform};
//! # fn example<P: Platform>(device: &Device<P>) -> Result<(), dmamap::device::MaskError> {
//! device.set_mask(DmaMask::ALL)?; // never fails
//! assert_eq!(device.coherent_mask(), DmaMask::DEFAULT); // a mask of its own
//! # Ok(())
//! # }
//! ```

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
    /// As [`CannotReachMemory`](Self::CannotReachMemory), but what decides is how far the path to memory carries addresses,
    /// whatever the mask.
    #[error(
        "{device}: the path to memory carries addresses up to {limit} and does not even reach the lowest memory, at \
         {memory} (bus {bus}): put the device behind an IOMMU"
    )]
    PathMissesMemory {
        /// The device.
        device: Requester,
        /// Its [bus limit](Device::bus_limit).
        limit: BusAddr,
        /// The first byte of the memory with the lowest bus addresses.
        memory: PhysAddr,
        /// The bus address it has.
        bus: BusAddr,
    },
    /// As [`NoRoom`](Self::NoRoom), but what decides is how far the path to memory carries addresses, whatever the mask.
    #[error(
        "{device}: the path to memory carries addresses up to {limit}, which leaves no bus address to map at"
    )]
    NoRoomOnPath {
        /// The device.
        device: Requester,
        /// Its [bus limit](Device::bus_limit).
        limit: BusAddr,
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

/// Which of the two is the narrower.
enum Decides {
    Mask,
    Path,
}

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
            Some((_, bus)) => DmaMask::reaching(bus),
            None => DmaMask::DEFAULT,
        }
    }

    /// Whether memory exists that the device cannot reach with its mask (`dma_addressing_limited`).
    pub fn addressing_limited(&self) -> bool {
        match self.highest_direct() {
            Some((_, bus)) => self.reach().last() < bus,
            None => self.reach() < DmaMask::DEFAULT,
        }
    }

    /// The highest bus address that the path to memory carries, where that is narrower than what the device can put on
    /// the bus: from `dma-ranges`, or a root complex's address size limit (`bus_dma_limit`). [`DmaMask::ALL`]'s
    /// last where nothing limits it. Every mapping keeps to the smaller of this and the mask.
    pub fn bus_limit(&self) -> BusAddr {
        self.core().limits.bus_last()
    }

    /// What streaming mappings keep to: the mask, as far as the path carries addresses.
    pub(crate) fn reach(&self) -> DmaMask {
        self.mask().narrowed_to(self.bus_limit())
    }

    /// What coherent memory keeps to: its mask, as far as the path carries addresses.
    pub(crate) fn coherent_reach(&self) -> DmaMask {
        self.coherent_mask().narrowed_to(self.bus_limit())
    }

    fn check_mask(&self, mask: DmaMask) -> Result<(), MaskError> {
        let device = self.requester();
        let limit = self.bus_limit();
        let last = mask.narrowed_to(limit).last();
        let decides = match limit <= mask.last() && limit < DmaMask::ALL.last() {
            true => Decides::Path,
            false => Decides::Mask,
        };
        // Page 0 is never a bus address, so the second page must be within reach.
        if last.as_u64() < 2 * FRAME_BYTES - 1 {
            return Err(match decides {
                Decides::Mask => MaskError::NoRoom { device, mask },
                Decides::Path => MaskError::NoRoomOnPath { device, limit },
            });
        }
        match self.lowest_direct() {
            // Memory beyond the mask is copied to memory that is not: some must be.
            Some((memory, bus)) if last.as_u64() - (FRAME_BYTES - 1) < bus.as_u64() => {
                Err(match decides {
                    Decides::Mask => MaskError::CannotReachMemory {
                        device,
                        mask,
                        memory,
                        bus,
                    },
                    Decides::Path => MaskError::PathMissesMemory {
                        device,
                        limit,
                        memory,
                        bus,
                    },
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
