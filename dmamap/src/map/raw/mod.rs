//! The layer below the safe one, for a kernel's block layer or a C interface: bus addresses without owners.
//!
//! | calls | Linux's | file |
//! |---|---|---|
//! | [`map_phys`](Device::map_phys), [`map_page`](Device::map_page), [`map_single_raw`](Device::map_single_raw), [`unmap_phys`](Device::unmap_phys) | `dma_map_phys`, `_page`, `_single` | `single` |
//! | [`map_sg_raw`](Device::map_sg_raw), [`unmap_sg_raw`](Device::unmap_sg_raw) | `dma_map_sg` | `sg` |
//! | [`sync_raw_single_for_cpu`](Device::sync_raw_single_for_cpu) and others | `dma_sync_…` | `sync` |
//!
//! Every call here says what the safe layer would have proved. The direction is chosen at run time. Each `map` has a
//! sibling `…_attrs` that takes [`Attributes`](crate::map::Attributes); unmaps and syncs take what the mapping was made with.
//!
//! ```
//! # use board as _;
//! # use dmamap::{addr::PhysRange, device::Device, map::{AnyDirection, Attributes}, platform::Platform};
//! /// # Safety
//! /// The frames are lent to the caller, who refers to them by nothing else meanwhile.
//! unsafe fn send<P: Platform>(device: &Device<P>, frames: PhysRange) -> Result<(), Box<dyn std::error::Error>> {
//!     let direction = AnyDirection::ToDevice;
//!     // SAFETY: the caller's promise.
//!     let bus = unsafe { device.map_phys(frames, direction)? };
//!     // … tell the device `bus` and wait until it has finished …
//!     // SAFETY: mapped above, the same way.
//!     unsafe { device.unmap_phys(bus, direction, Attributes::NONE)? };
//!     Ok(())
//! }
//! ```

mod caches;
mod sg;
mod single;
mod sync;

use crate::addr::{BusRange, PhysRange};
use crate::device::{Counters, Device};
use crate::iommu::RevokeError;
use crate::map::error::{MapError, MapFailure, Quarantined};
use crate::map::establish::{establish, fail};
use crate::map::terms::{Shape, Terms};
use crate::map::{AnyDirection, Attributes};
use crate::pagetable::PhysList;
use crate::platform::Platform;

pub use sync::RawSyncError;

impl<P: Platform> Device<P> {
    /// Maps `len_bytes` bytes in the pieces of `list`; the count is the unmap's to take back.
    fn map_raw(
        &self,
        shape: Shape,
        first: PhysRange,
        len_bytes: u64,
        list: &mut dyn PhysList,
        direction: AnyDirection,
        attributes: Attributes,
    ) -> Result<BusRange, MapError> {
        let terms = Terms::new(self.mask(), shape, direction).with(attributes);
        let clean = |list: &mut dyn PhysList| {
            if self.maintains(attributes) {
                self.clean_list(list);
            }
        };
        let (held, range) = establish(self, terms, first, len_bytes, list, clean)?;
        // The count is the unmap's to take back.
        core::mem::forget(held);
        Ok(range)
    }

    /// Makes `range` unreachable and takes the count of its `len_bytes` bytes back.
    pub(super) fn unmap_raw(&self, range: BusRange, len_bytes: u64) -> Result<(), Quarantined> {
        let core = self.core();
        let quarantined = |error: RevokeError| Quarantined {
            device: core.requester,
            range,
            error,
        };
        let outcome = core.route.unmap(range).map_err(quarantined);
        match outcome {
            Ok(()) => {}
            // What is mapped there goes on to count.
            Err(error) if error.error.changed_nothing() => return Err(error),
            Err(_) => core.count_quarantined(len_bytes),
        }
        let shares = core.counters.shares();
        // SAFETY: the mapping was counted when it was made, and `self` keeps the counters alive.
        core.platform
            .pin(|cpu| unsafe { Counters::<P>::finish(shares, cpu, len_bytes) });
        outcome?;
        core.platform.dma_rmb();
        Ok(())
    }

    fn fail(&self, failure: MapFailure) -> MapError {
        fail(self, failure)
    }
}
