//! Many small blocks of coherent memory (`dma_pool_…`): descriptors, command lists, status words.
//!
//! A pool cuts coherent pages into blocks of one size, alignment and boundary. Allocating and freeing a block are a few
//! instructions under the platform's lock, from any thread and from interrupt handlers; only when no block is free a page is
//! added, which needs the device. A block is a handle that owns it: there is no double free, no free into another
//! pool, and a block outlives the pool's handle if it must.
//!
//! Blocks of one pool share pages, so the device reaches all of them as long as one is in use; between two
//! users of one device nothing protects. Who owns which block is recorded out of the device's reach
//! (`page.rs`), so whatever a device writes, no block is handed out twice and none outside of the pool.
//!
//! ```
//! # use board as _;
//! use dmamap::device::Device;
//! use dmamap::map::PoolLayout;
//!
//! # fn example<P: dmamap::platform::Platform>(device: &Device<P>) -> Result<(), Box<dyn std::error::Error>> {
//! // Lists of 32 addresses each, none across a page of the device's.
//! let pool = device.create_pool::<u64>("lists", PoolLayout::of(32).align(256).boundary(4096))?;
//! let list = pool.zalloc(device)?;
//! list.write(0, 0x1234_5000)?;
//! // … the device is told `list.bus_addr()` …
//! let pool = pool.destroy().map_err(|error| match error {
//!     dmamap::map::DestroyError::InUse { pool, live_blocks: 1 } => pool,
//!     error => panic!("{error}"),
//! });
//! list.free();
//! pool.unwrap_err().destroy()?;
//! # Ok(())
//! # }
//! ```

mod block;
mod error;
mod layout;
mod page;

use alloc::sync::Arc;
use core::fmt;
use core::marker::PhantomData;

use crate::device::Device;
use crate::iommu::Requester;
use crate::map::coherent::{CoherentOptions, Elements, Shared};
use crate::map::error::Quarantined;
use crate::platform::Platform;
use crate::slab::Handle;

pub use block::PoolBlock;
pub use error::{DestroyError, PoolError};
use layout::{Geometry, Poison};
pub use layout::{LayoutError, PoolLayout};
use page::{Page, Pages};

/// What fills a free block of a pool that [poisons](PoolLayout::poison).
const FREE: u8 = 0xa7;

/// What a pool holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolFigures {
    /// Blocks in use.
    pub live_blocks: usize,
    /// The most that were in use at one time.
    pub peak_blocks: usize,
    /// Blocks free.
    pub free_blocks: usize,
    /// Pages, mapped for the device.
    pub pages: usize,
    /// Blocks that were written to while they were free, found when they were handed out again; 0 of a pool that does not
    /// [poison](PoolLayout::poison).
    pub disturbed: u64,
}

/// Blocks of `T` for one device.
///
/// Dropping a pool whose blocks are in use keeps its memory until the last of them is freed.
pub struct DmaPool<P: Platform, T: Shared> {
    core: Arc<Core<P>>,
    of: PhantomData<fn() -> T>,
}

/// What a pool and its blocks share. The counts are no more than the lock already costs.
pub(crate) struct Core<P: Platform> {
    name: &'static str,
    device: Requester,
    /// Tells devices apart, also one from itself attached again.
    device_core: usize,
    geometry: Geometry,
    state: lock_api::Mutex<P::Lock, State<P>>,
}

struct State<P: Platform> {
    pages: Pages<P>,
    live_blocks: usize,
    peak_blocks: usize,
    disturbed: u64,
}

fn core_address<P: Platform>(device: &Device<P>) -> usize {
    core::ptr::from_ref(device.core()).addr()
}

impl<P: Platform> Device<P> {
    /// Makes a pool of blocks of `T` for the device (`dma_pool_create`). It has no page until a block is allocated, or
    /// [`reserve`](DmaPool::reserve) adds some.
    ///
    /// # Errors
    /// [`PoolError::Layout`].
    pub fn create_pool<T: Shared>(
        &self,
        name: &'static str,
        layout: PoolLayout,
    ) -> Result<DmaPool<P, T>, PoolError> {
        let geometry =
            Geometry::of::<T>(layout, self.page_bytes()).map_err(|error| PoolError::Layout {
                name,
                device: self.requester(),
                error,
            })?;
        let state = State {
            pages: Pages::new(self.platform()),
            live_blocks: 0,
            peak_blocks: 0,
            disturbed: 0,
        };
        Ok(DmaPool {
            core: Arc::new(Core {
                name,
                device: self.requester(),
                device_core: core_address(self),
                geometry,
                state: lock_api::Mutex::new(state),
            }),
            of: PhantomData,
        })
    }
}

impl<P: Platform, T: Shared> DmaPool<P, T> {
    /// The name it was given.
    pub fn name(&self) -> &'static str {
        self.core.name
    }

    /// Takes a free block; where there is none, adds a page (`dma_pool_alloc`). What is in the block is what its last user or
    /// the device left.
    ///
    /// # Errors
    /// [`PoolError`].
    pub fn alloc(&self, device: &Device<P>) -> Result<PoolBlock<P, T>, PoolError> {
        self.check(device)?;
        match self.try_alloc() {
            Err(PoolError::Exhausted { .. }) => {
                // Dropped, if it comes to that, when the lock is not held any more: that waits for the device to lose it.
                let mut page = Some(self.core.new_page(device)?);
                self.block(|state| state.add_and_take(&mut page, &self.core))
            }
            outcome => outcome,
        }
    }

    /// As [`alloc`](Self::alloc), the block zeroed (`dma_pool_zalloc`).
    ///
    /// # Errors
    /// As [`alloc`](Self::alloc).
    pub fn zalloc(&self, device: &Device<P>) -> Result<PoolBlock<P, T>, PoolError> {
        let block = self.alloc(device)?;
        block.fill(0);
        Ok(block)
    }

    /// Takes a free block, or fails at once: no page is added, nothing is mapped. For interrupt handlers, with
    /// [`reserve`](Self::reserve) before.
    ///
    /// # Errors
    /// [`PoolError::Exhausted`].
    pub fn try_alloc(&self) -> Result<PoolBlock<P, T>, PoolError> {
        let (name, device) = (self.core.name, self.core.device);
        self.block(|state| {
            let blocks = state.live_blocks;
            state.pages.take().ok_or(PoolError::Exhausted {
                name,
                device,
                blocks,
            })
        })
    }

    /// Adds pages until `blocks` blocks are free.
    ///
    /// # Errors
    /// [`PoolError`]; pages that were added stay.
    pub fn reserve(&self, device: &Device<P>, blocks: usize) -> Result<(), PoolError> {
        self.check(device)?;
        while self.core.state.lock().pages.free_blocks < blocks {
            let mut page = Some(self.core.new_page(device)?);
            self.core.state.lock().add(&mut page, &self.core)?;
        }
        Ok(())
    }

    /// Gives pages back that have no block in use; returns how many. Waits until the device has lost them.
    ///
    /// # Errors
    /// The first [`Quarantined`] page, after all others went back.
    pub fn shrink(&self) -> Result<usize, Quarantined> {
        self.core.shrink()
    }

    /// Gives all memory back (`dma_pool_destroy`).
    ///
    /// # Errors
    /// [`DestroyError::InUse`] has the pool, when blocks of it are in use.
    pub fn destroy(self) -> Result<(), DestroyError<P, T>> {
        let live_blocks = self.core.state.lock().live_blocks;
        if live_blocks > 0 {
            return Err(DestroyError::InUse {
                pool: self,
                live_blocks,
            });
        }
        // This is the only handle, so there will be no block again.
        self.core
            .shrink()
            .map(drop)
            .map_err(DestroyError::Quarantined)
    }

    /// What it holds.
    pub fn figures(&self) -> PoolFigures {
        let state = self.core.state.lock();
        PoolFigures {
            live_blocks: state.live_blocks,
            peak_blocks: state.peak_blocks,
            free_blocks: state.pages.free_blocks,
            pages: state.pages.len(),
            disturbed: state.disturbed,
        }
    }

    fn check(&self, device: &Device<P>) -> Result<(), PoolError> {
        if self.core.device_core == core_address(device) {
            return Ok(());
        }
        Err(PoolError::ForeignDevice {
            name: self.core.name,
            device: device.requester(),
        })
    }

    /// The block that `take` takes.
    fn block(
        &self,
        take: impl FnOnce(&mut State<P>) -> Result<(Handle<Page<P>>, u16), PoolError>,
    ) -> Result<PoolBlock<P, T>, PoolError> {
        let core = &self.core;
        let geometry = &core.geometry;
        let mut state = core.state.lock();
        let (page, slot) = take(&mut state)?;
        state.live_blocks += 1;
        state.peak_blocks = state.peak_blocks.max(state.live_blocks);
        let memory = &state.pages.page(page).memory;
        // SAFETY: the block is this handle's alone until it is given back, and its page stays as long: pages are taken out
        // when no block is in use. It lies inside the page, aligned for `T`, by the geometry, which `new_page` found to hold.
        let elements = unsafe { memory.part(geometry.offset(slot.into()), geometry.elements) };
        drop(state);
        let block = PoolBlock::new(elements, Arc::clone(core), page, slot);
        if geometry.poison == Poison::On {
            core.look_for_damage(&block);
        }
        Ok(block)
    }
}

impl<P: Platform> State<P> {
    /// Adds `page`; leaves it where it is on failure.
    fn add(
        &mut self,
        page: &mut Option<Page<P>>,
        core: &Core<P>,
    ) -> Result<Handle<Page<P>>, PoolError> {
        let (name, device) = (core.name, core.device);
        let failed = |error| PoolError::Record {
            name,
            device,
            error,
        };
        self.pages.reserve().map_err(failed)?;
        let page = page.take().expect("a page is added once");
        self.pages.add(page).map_err(failed)
    }

    /// Adds a page and takes its first block, so that nobody else can take all of it before.
    fn add_and_take(
        &mut self,
        page: &mut Option<Page<P>>,
        core: &Core<P>,
    ) -> Result<(Handle<Page<P>>, u16), PoolError> {
        let slot = page.as_mut().and_then(Page::take);
        let slot = slot.expect("a new page has a free block");
        Ok((self.add(page, core)?, slot))
    }
}

impl<P: Platform> Core<P> {
    fn new_page(&self, device: &Device<P>) -> Result<Page<P>, PoolError> {
        let (name, geometry) = (self.name, &self.geometry);
        let memory = usize::try_from(geometry.page_bytes)
            .map_err(|_| {
                let (elements, element_bytes) = (geometry.elements, 1);
                let error = LayoutError::TooLong {
                    elements,
                    element_bytes,
                };
                PoolError::Layout {
                    name,
                    device: self.device,
                    error,
                }
            })
            .and_then(|bytes| {
                let options = CoherentOptions::NONE.no_warn();
                device
                    .alloc_attrs::<u8>(bytes, options)
                    .map_err(|error| PoolError::Memory { name, error })
            })?;
        let align_bytes = geometry.page_bytes.next_power_of_two();
        if !memory.bus_addr().as_u64().is_multiple_of(align_bytes) {
            return Err(PoolError::Misaligned {
                name,
                device: self.device,
                page: memory.range(),
                align_bytes,
            });
        }
        if geometry.poison == Poison::On {
            memory.fill(FREE);
        }
        Ok(Page::new(memory, geometry.slots))
    }

    fn give<T: Shared>(&self, elements: &Elements<P, T>, page: Handle<Page<P>>, slot: u16) {
        if self.geometry.poison == Poison::On {
            elements.fill(FREE);
        }
        let mut state = self.state.lock();
        state.pages.give(page, slot);
        state.live_blocks -= 1;
    }

    fn look_for_damage<T: Shared>(&self, block: &PoolBlock<P, T>) {
        if block.is_filled_with(FREE) {
            return;
        }
        self.state.lock().disturbed += 1;
        log::error!(
            "{}: a free block of pool {} at bus {} was written to",
            self.device,
            self.name,
            block.range()
        );
    }

    fn shrink(&self) -> Result<usize, Quarantined> {
        let mut next = self.state.lock().pages.unlink_unused();
        let (mut pages, mut outcome) = (0, Ok(()));
        while let Some(page) = next {
            // Bound first: the lock is not held while the hardware is waited for.
            let memory;
            (memory, next) = self.state.lock().pages.remove(page);
            match memory.free() {
                Ok(()) => pages += 1,
                Err(error) => outcome = outcome.and(Err(error)),
            }
        }
        self.state.lock().pages.reclaim();
        outcome.map(|()| pages)
    }
}

impl<P: Platform, T: Shared> fmt::Debug for DmaPool<P, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DmaPool({} of {})", self.core.name, self.core.device)
    }
}
