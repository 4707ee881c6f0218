//! What sizes serve a device: how long a mapping may be, how long it is best, and where pieces join.
//!
//! ```
//! # use board as _;
//! # use dmamap::{device::Device, platform::Platform};
//! # fn example<P: Platform>(device: &Device<P>) {
//! assert!(device.opt_mapping_bytes() <= device.max_mapping_bytes());
//! # }
//! ```

use crate::addr::BusAddr;
use crate::bounce::{Forced, SLOT_BYTES};
use crate::device::{Coherence, Device};
use crate::map::Route;
use crate::platform::Platform;

/// Bytes up to which a mapping is one leaf or one invalidation: the large page that all formats have.
const ONE_LEAF_BYTES: u64 = 2 << 20;

impl<P: Platform> Device<P> {
    /// The most bytes that a driver may count on for one streaming mapping (`dma_max_mapping_size`): as many as there are bus
    /// addresses within the [mask](Self::mask), the [path's limit](Self::bus_limit) and the IOMMU's reach. 0 for a blocked
    /// device.
    ///
    /// A device that is given [copies](crate::bounce), as it is restricted to a pool, or copies are forced, or it is under
    /// [`Protection::Bounce`](crate::system::Protection::Bounce), or its mask does not reach all memory, is told what its pool
    /// lends at once, less what [`min_align_mask`](Self::min_align_mask) may take of that. A pool of reserved memory refuses
    /// more; any other serves more as long as the machine has memory in a row for it.
    pub fn max_mapping_bytes(&self) -> u64 {
        let addresses = self.addresses();
        match self.longest_copy() {
            Some(longest) => addresses.min(longest),
            None => addresses,
        }
    }

    /// The most bytes that the device's pool is sure to lend for one mapping; `None` where mappings are not copied for what the
    /// device is.
    fn longest_copy(&self) -> Option<u64> {
        let core = self.core();
        let longest = match &core.route {
            Route::Blocked => return None,
            Route::Direct(direct) => {
                if core.bounce.forced == Forced::WhereNeeded && !self.addressing_limited() {
                    return None;
                }
                core.longest_direct_copy(direct, self.reach())
            }
            // The pools of all permissions are alike.
            Route::Translated(_) => core.bounce.own_for_all()?.longest_run(),
        };
        let taken = self.min_align_mask().checked_next_multiple_of(SLOT_BYTES);
        let taken = taken.unwrap_or(u64::MAX);
        Some(longest.saturating_sub(taken))
    }

    /// The most bytes for which there are bus addresses in a row.
    fn addresses(&self) -> u64 {
        let last = self.reach().last();
        match &self.core().route {
            Route::Blocked => 0,
            Route::Direct(_) => last.as_u64().saturating_add(1),
            Route::Translated(domain) => {
                let page_bytes = self.page_bytes();
                let last: BusAddr = last.min(domain.last());
                // Whole pages, of which the first is never a bus address.
                let pages = last.as_u64().saturating_add(1) / page_bytes;
                pages.saturating_sub(1) * page_bytes
            }
        }
    }

    /// The most bytes for which mapping and unmapping stay cheap (`dma_opt_mapping_size`): behind an IOMMU what one large
    /// page or one invalidation covers; elsewhere [`max_mapping_bytes`](Self::max_mapping_bytes).
    pub fn opt_mapping_bytes(&self) -> u64 {
        let max = self.max_mapping_bytes();
        match &self.core().route {
            Route::Translated(_) => max.min(ONE_LEAF_BYTES),
            Route::Blocked | Route::Direct(_) => max,
        }
    }

    /// Pieces of a list that begin and end at multiples of one more than this lie side by side on the bus, wherever they
    /// are in memory (`dma_get_merge_boundary`); `None` where nothing joins them.
    pub fn merge_boundary(&self) -> Option<u64> {
        match &self.core().route {
            Route::Translated(_) => Some(self.page_bytes() - 1),
            Route::Blocked | Route::Direct(_) => None,
        }
    }

    /// What memory that the device writes should begin and end at a multiple of, so that the CPU's own writes beside it
    /// do no harm (`dma_get_cache_alignment`): a cache line where the device does not snoop, else 1.
    pub fn cache_alignment_bytes(&self) -> u64 {
        match self.core().coherence {
            Coherence::Snooped => 1,
            Coherence::NotSnooped => self.core().platform.cache_line_bytes(),
        }
    }
}
