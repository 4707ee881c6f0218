//! A mapping of borrowed memory, for the time a closure runs.
//!
//! A guard that borrows its buffer could be forgotten while the device goes on writing. A closure cannot: the
//! call returns, and the borrow ends, only after the device lost the memory.

use crate::addr::{BusAddr, BusRange};
use crate::buffer::DmaMemory;
use crate::device::Device;
use crate::map::OutOfBounds;
use crate::map::direction::Direction;
use crate::map::error::MapError;
use crate::map::live::Live;
use crate::map::terms::{Shape, Terms};
use crate::map::view::CpuView;
use crate::platform::Platform;

impl<P: Platform> Device<P> {
    /// Lends `buffer` to the device while `f` runs.
    ///
    /// The memory was borrowed, so it cannot be kept when the IOMMU does not confirm that the device lost
    /// it: then this does not return but ends in [`Platform::fatal`]. Use
    /// [`map_single`](Self::map_single) where that must not be.
    ///
    /// # Errors
    /// [`MapError`] when the mapping cannot be made; `f` does not run then.
    pub fn map_within<B: DmaMemory, D: Direction, R>(
        &self,
        buffer: &mut B,
        direction: D,
        f: impl FnOnce(&mut ScopedMapping<'_, P, B, D>) -> R,
    ) -> Result<R, MapError> {
        let platform = self.platform();
        let still_reachable = OnUnwind(|| {
            platform.fatal("mapping borrowed memory panicked half way: the device may reach it");
        });
        let terms = Terms::new(self.mask(), Shape::Single, direction);
        let live = Live::establish(self, buffer, terms);
        core::mem::forget(still_reachable);
        let live = match live {
            Ok(live) => live,
            Err(error) if error.leaves_memory_reachable() => {
                platform.fatal("borrowed memory may still be reachable by a device")
            }
            Err(error) => return Err(error),
        };
        let mut mapping = ScopedMapping {
            live: Some(live),
            buffer,
            direction,
        };
        Ok(f(&mut mapping))
    }
}

/// Runs its function unless forgotten.
struct OnUnwind<F: Fn()>(F);

impl<F: Fn()> Drop for OnUnwind<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

/// Borrowed memory the device may use while the closure it was given to runs.
pub struct ScopedMapping<'a, P: Platform, B: DmaMemory, D: Direction> {
    /// `None` only while `drop` runs.
    live: Option<Live<P>>,
    buffer: &'a mut B,
    direction: D,
}

impl<P: Platform, B: DmaMemory, D: Direction> ScopedMapping<'_, P, B, D> {
    fn live(&self) -> &Live<P> {
        self.live.as_ref().expect("only `drop` takes it")
    }

    /// Z: what the device is told.
    pub fn bus_addr(&self) -> BusAddr {
        self.range().start()
    }

    /// All bus addresses of the mapping.
    pub fn range(&self) -> BusRange {
        self.live().range()
    }

    /// The direction it was mapped in.
    pub fn direction(&self) -> D {
        self.direction
    }

    /// As [`Mapping::sync_for_cpu`](crate::map::Mapping::sync_for_cpu).
    pub fn sync_for_cpu(&mut self) -> CpuView<'_, P, D> {
        CpuView::whole(
            self.live.as_mut().expect("only `drop` takes it"),
            self.buffer,
        )
    }

    /// As [`Mapping::sync_range_for_cpu`](crate::map::Mapping::sync_range_for_cpu).
    ///
    /// # Errors
    /// [`OutOfBounds`] if the bytes leave the mapping.
    pub fn sync_range_for_cpu(
        &mut self,
        offset: u64,
        len_bytes: u64,
    ) -> Result<CpuView<'_, P, D>, OutOfBounds> {
        let live = self.live.as_mut().expect("only `drop` takes it");
        CpuView::part(live, self.buffer, offset, len_bytes)
    }
}

impl<P: Platform, B: DmaMemory, D: Direction> Drop for ScopedMapping<'_, P, B, D> {
    fn drop(&mut self) {
        let Some(live) = self.live.take() else { return };
        let platform = live.held().core().platform;
        let still_reachable = OnUnwind(|| {
            platform.fatal("unmapping borrowed memory panicked: the device may reach it");
        });
        if live.revoke(self.buffer).is_err() {
            platform.fatal("borrowed memory may still be reachable by a device");
        }
        core::mem::forget(still_reachable);
    }
}
