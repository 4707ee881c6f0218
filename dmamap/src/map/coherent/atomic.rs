//! Coherent memory made ready in advance, for where nothing may be waited for.
//!
//! No call of this crate's mapping API sleeps, so coherent memory can be allocated anywhere. What [`AtomicPool`] buys is time:
//! allocating takes no frame, writes no table entry, remaps nothing uncached, and freeing waits for no
//! invalidation; both look at a few thousand words of bits at the most. It is grown ahead, from code that has time
//! ([`grow`](AtomicPool::grow)), and says when it is used up. Linux keeps such pools for the whole system; here each is one
//! device's, as memory that is already mapped is mapped for somebody.
//!
//! ```
//! # use board as _;
//! use dmamap::device::Device;
//!
//! # fn example<P: dmamap::platform::Platform>(device: &Device<P>) -> Result<(), Box<dyn std::error::Error>> {
//! let pool = device.create_atomic_pool(64 << 10)?;
//! // … in an interrupt handler …
//! let status = pool.alloc::<u32>(16)?;
//! assert_eq!(status.read(0)?, 0);
//! status.free();
//! // … with time again …
//! if pool.figures().free_bytes < 16 << 10 {
//!     pool.grow(device, 64 << 10)?;
//! }
//! # Ok(())
//! # }
//! ```

use alloc::sync::Arc;
use core::fmt;
use core::ops::Deref;

use super::{Coherent, CoherentError, CoherentOptions, Elements, Shared};
use crate::addr::FRAME_BYTES;
use crate::bitmap::{Bitmap, RunRequest};
use crate::device::Device;
use crate::iommu::Requester;
use crate::map::error::Quarantined;
use crate::platform::Platform;

/// What is handed out is whole units of so many bytes: a cache line, so that no two users share one.
const UNIT_BYTES: usize = 64;

/// How often a pool can be grown.
pub(super) const MAX_REGIONS: usize = 8;

/// What one region of a pool holds at most. It bounds the search.
pub(super) const MAX_REGION_BYTES: u64 = 1 << 20;

/// Why an atomic pool could not be made, grown, or asked for memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AtomicPoolError {
    /// No run of its memory is free that is long enough.
    #[error(
        "atomic pool of {device}: no {len_bytes:#x} bytes in a row left, {free_bytes:#x} in all"
    )]
    Exhausted {
        /// The device.
        device: Requester,
        /// Bytes asked for.
        len_bytes: usize,
        /// Bytes free.
        free_bytes: usize,
    },
    /// Memory for the pool could not be had.
    #[error(transparent)]
    Memory(#[from] CoherentError),
    /// There is no memory to keep account of the region.
    #[error("atomic pool of {device}: no memory to keep account of {len_bytes:#x} bytes")]
    NoAccount {
        /// The device.
        device: Requester,
        /// Bytes of the region.
        len_bytes: u64,
    },
    /// A pool has a bounded number of regions of bounded length.
    #[error(
        "atomic pool of {device}: more than {max_regions} regions, or one of more than {max_bytes:#x} bytes"
    )]
    TooLarge {
        /// The device.
        device: Requester,
        /// How many there may be.
        max_regions: usize,
        /// Bytes of each.
        max_bytes: u64,
    },
    /// Elements that take no space, or are aligned more strictly than a unit.
    #[error(
        "atomic pool of {device}: elements of {len_bytes} bytes aligned to {align} do not come from it"
    )]
    Element {
        /// The device.
        device: Requester,
        /// Bytes of an element.
        len_bytes: usize,
        /// Its alignment.
        align: usize,
    },
    /// The pool is another device's, or one's that was attached before.
    #[error("an atomic pool was created for another device than this {device}")]
    ForeignDevice {
        /// The device given.
        device: Requester,
    },
}

/// What an atomic pool holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AtomicPoolFigures {
    /// Bytes mapped for the device.
    pub bytes: usize,
    /// Bytes free.
    pub free_bytes: usize,
    /// Allocations that live.
    pub live_blocks: usize,
    /// Regions, of which there are a few at most.
    pub regions: usize,
    /// Allocations that were refused.
    pub refused: u64,
}

/// Coherent memory of one device, mapped already.
///
/// Dropping a pool of which something is in use keeps its memory until the last of that is freed.
pub struct AtomicPool<P: Platform> {
    core: Arc<Core<P>>,
}

struct Core<P: Platform> {
    device: Requester,
    /// Tells devices apart, also one from itself attached again.
    device_core: usize,
    state: lock_api::Mutex<P::Lock, State<P>>,
}

struct State<P: Platform> {
    /// Filled from the first on; none is taken out while the pool lives.
    regions: [Option<Region<P>>; MAX_REGIONS],
    live_blocks: usize,
    refused: u64,
}

struct Region<P: Platform> {
    memory: Coherent<P, u8>,
    used: Bitmap,
}

impl<P: Platform> Device<P> {
    /// Makes a pool of at least `len_bytes` bytes, ready for use.
    ///
    /// # Errors
    /// [`AtomicPoolError`].
    pub fn create_atomic_pool(&self, len_bytes: u64) -> Result<AtomicPool<P>, AtomicPoolError> {
        let state = State {
            regions: [const { None }; MAX_REGIONS],
            live_blocks: 0,
            refused: 0,
        };
        let pool = AtomicPool {
            core: Arc::new(Core {
                device: self.requester(),
                device_core: core::ptr::from_ref(self.core()).addr(),
                state: lock_api::Mutex::new(state),
            }),
        };
        pool.grow(self, len_bytes)?;
        Ok(pool)
    }
}

impl<P: Platform> AtomicPool<P> {
    /// Adds a region of at least `len_bytes` bytes, up to 1 MiB, of which a pool has 8 at most. Not for where nothing may be
    /// waited for.
    ///
    /// # Errors
    /// [`AtomicPoolError`]; the pool stays as it was.
    pub fn grow(&self, device: &Device<P>, len_bytes: u64) -> Result<(), AtomicPoolError> {
        let requester = device.requester();
        if self.core.device_core != core::ptr::from_ref(device.core()).addr() {
            return Err(AtomicPoolError::ForeignDevice { device: requester });
        }
        let too_large = AtomicPoolError::TooLarge {
            device: requester,
            max_regions: MAX_REGIONS,
            max_bytes: MAX_REGION_BYTES,
        };
        if len_bytes > MAX_REGION_BYTES {
            return Err(too_large);
        }
        let len_bytes = len_bytes.max(1).next_multiple_of(FRAME_BYTES);
        let no_account = AtomicPoolError::NoAccount {
            device: requester,
            len_bytes,
        };
        let used = Bitmap::new(len_bytes as usize / UNIT_BYTES).map_err(|_| no_account)?;
        let options = CoherentOptions::NONE.no_warn();
        let memory = device.alloc_attrs::<u8>(len_bytes as usize, options)?;
        let mut region = Some(Region { memory, used });
        let mut state = self.core.state.lock();
        if let Some(place) = state.regions.iter_mut().find(|place| place.is_none()) {
            *place = region.take();
        }
        // Unmapping waits for the hardware, so not under the lock.
        drop(state);
        match region {
            None => Ok(()),
            Some(_) => Err(too_large),
        }
    }

    /// Takes `count` zeroed elements, aligned on the bus to the power of two of bytes that holds them all. Takes no frame, maps
    /// nothing, never waits.
    ///
    /// # Errors
    /// [`AtomicPoolError::Exhausted`], which is counted, and [`AtomicPoolError::Element`].
    pub fn alloc<T: Shared>(&self, count: usize) -> Result<AtomicBlock<P, T>, AtomicPoolError> {
        let (element_bytes, align) = (size_of::<T>(), align_of::<T>());
        if element_bytes == 0 || count == 0 || align > UNIT_BYTES {
            return Err(AtomicPoolError::Element {
                device: self.core.device,
                len_bytes: element_bytes,
                align,
            });
        }
        let mut state = self.core.state.lock();
        let units = element_bytes
            .checked_mul(count)
            .map(|bytes| bytes.div_ceil(UNIT_BYTES));
        let Some((region, first, units)) = units.and_then(|units| state.take(units)) else {
            state.refused += 1;
            let (bytes, used) = state.bytes();
            return Err(AtomicPoolError::Exhausted {
                device: self.core.device,
                len_bytes: element_bytes.saturating_mul(count),
                free_bytes: bytes - used,
            });
        };
        state.live_blocks += 1;
        let memory = &state.regions[region].as_ref().expect(FILLED).memory;
        // SAFETY: the units are this handle's alone until it gives them back, and regions stay as long as the handle holds
        // the core; the elements lie inside, aligned as units are.
        let elements = unsafe { memory.part((first * UNIT_BYTES) as u64, count) };
        drop(state);
        let block = AtomicBlock {
            elements,
            core: Arc::clone(&self.core),
            region,
            first,
            units,
        };
        block.fill(0);
        Ok(block)
    }

    /// What it holds.
    pub fn figures(&self) -> AtomicPoolFigures {
        let state = self.core.state.lock();
        let (bytes, used) = state.bytes();
        AtomicPoolFigures {
            bytes,
            free_bytes: bytes - used,
            live_blocks: state.live_blocks,
            regions: state.regions.iter().flatten().count(),
            refused: state.refused,
        }
    }

    /// Gives all memory back.
    ///
    /// # Errors
    /// [`AtomicDestroyError::InUse`] has the pool, when something of it is in use.
    pub fn destroy(self) -> Result<(), AtomicDestroyError<P>> {
        let mut state = self.core.state.lock();
        let live_blocks = state.live_blocks;
        if live_blocks > 0 {
            drop(state);
            return Err(AtomicDestroyError::InUse {
                pool: self,
                live_blocks,
            });
        }
        let regions = core::mem::replace(&mut state.regions, [const { None }; MAX_REGIONS]);
        drop(state);
        let mut outcome = Ok(());
        for region in regions.into_iter().flatten() {
            if let Err(error) = region.memory.free() {
                outcome = outcome.and(Err(AtomicDestroyError::Quarantined(error)));
            }
        }
        outcome
    }
}

/// Why a region is where a block says.
const FILLED: &str = "a region stays in its place while a block of it lives";

impl<P: Platform> State<P> {
    /// Takes a run of `units`; returns the region, the first unit and their number.
    fn take(&mut self, units: usize) -> Option<(usize, usize, usize)> {
        let align = units.checked_next_power_of_two()?;
        for (index, region) in self.regions.iter_mut().enumerate() {
            let region = region.as_mut()?;
            let first_number = region.memory.bus_addr().as_u64() / UNIT_BYTES as u64;
            let request = RunRequest {
                units,
                align,
                phase: (first_number & (align as u64 - 1)) as usize,
                end: usize::MAX,
            };
            if let Some(first) = region.used.take(request) {
                return Some((index, first, units));
            }
        }
        None
    }

    /// Bytes there are, and bytes in use.
    fn bytes(&self) -> (usize, usize) {
        let units = |count: fn(&Bitmap) -> usize| {
            let regions = self.regions.iter().flatten();
            regions.map(|region| count(&region.used)).sum::<usize>() * UNIT_BYTES
        };
        (units(Bitmap::units), units(Bitmap::taken))
    }
}

/// Elements in an atomic pool's memory, this handle's alone until it is dropped. What can be done with them is [`Elements`]'.
pub struct AtomicBlock<P: Platform, T: Shared> {
    elements: Elements<P, T>,
    core: Arc<Core<P>>,
    region: usize,
    first: usize,
    units: usize,
}

impl<P: Platform, T: Shared> AtomicBlock<P, T> {
    /// Gives the elements back to their pool. Dropping them does the same.
    ///
    /// Never waits, unless the pool itself was dropped and this was the last of it: then the pool's memory is unmapped.
    pub fn free(self) {
        drop(self);
    }
}

impl<P: Platform, T: Shared> Deref for AtomicBlock<P, T> {
    type Target = Elements<P, T>;

    fn deref(&self) -> &Elements<P, T> {
        &self.elements
    }
}

impl<P: Platform, T: Shared> Drop for AtomicBlock<P, T> {
    fn drop(&mut self) {
        let mut state = self.core.state.lock();
        let region = state.regions[self.region].as_mut().expect(FILLED);
        region.used.give(self.first, self.units);
        state.live_blocks -= 1;
    }
}

/// An atomic pool that was not destroyed, or not without a loss.
pub enum AtomicDestroyError<P: Platform> {
    /// Some of it is in use: the pool lives on.
    InUse {
        /// The pool.
        pool: AtomicPool<P>,
        /// Allocations not freed.
        live_blocks: usize,
    },
    /// The pool is gone, but the IOMMU did not confirm that the device lost all of it: that is kept.
    Quarantined(Quarantined),
}

impl<P: Platform> fmt::Display for AtomicDestroyError<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InUse { pool, live_blocks } => {
                write!(f, "{pool:?} has {live_blocks} blocks in use")
            }
            Self::Quarantined(error) => error.fmt(f),
        }
    }
}

impl<P: Platform> fmt::Debug for AtomicDestroyError<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AtomicDestroyError({self})")
    }
}

impl<P: Platform> core::error::Error for AtomicDestroyError<P> {}

impl<P: Platform> fmt::Debug for AtomicPool<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AtomicPool(of {})", self.core.device)
    }
}

impl<P: Platform, T: Shared> fmt::Debug for AtomicBlock<P, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AtomicBlock({:?})", self.elements)
    }
}
