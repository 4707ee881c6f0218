//! The CPU's caches and memory that has no owner here: reached through the platform's direct map.

use crate::addr::{BusAddr, BusRange, PhysRange};
use crate::device::{Coherence, Device, DeviceCore};
use crate::map::backing::Backing;
use crate::platform::Platform;

impl<P: Platform> Device<P> {
    /// Whether the device sees memory rather than caches.
    pub(super) fn needs_maintenance(&self) -> bool {
        self.core().coherence == Coherence::NotSnooped
    }

    /// What the CPU wrote goes to memory, and no dirty line is left to be written over what the device will write.
    pub(super) fn clean(&self, memory: PhysRange) {
        self.core().clean_for_device(memory);
    }

    /// The CPU reads what the device wrote from now on.
    pub(super) fn invalidate(&self, memory: PhysRange) {
        let core = self.core();
        core.invalidate_cache(
            core.platform.frame_pointer(memory.start()),
            memory.len_bytes(),
        );
    }

    /// The CPU reads what the device wrote to the `len_bytes` bytes of `pieces` from `offset` on, where the device has
    /// them, from now on.
    pub(super) fn invalidate_sides(
        &self,
        backing: &Backing,
        pieces: &[PhysRange],
        offset: u64,
        len_bytes: u64,
    ) {
        if self.needs_maintenance() {
            self.each_side(backing, pieces, offset, len_bytes, |memory| {
                self.invalidate(memory);
            });
        }
    }

    /// What the CPU wrote there goes to memory.
    pub(super) fn clean_sides(
        &self,
        backing: &Backing,
        pieces: &[PhysRange],
        offset: u64,
        len_bytes: u64,
    ) {
        if self.needs_maintenance() {
            self.each_side(backing, pieces, offset, len_bytes, |memory| {
                self.clean(memory);
            });
        }
    }
}

impl<P: Platform> DeviceCore<P> {
    /// Calls `visit` with the memory behind `range`, piece by piece; with the first address that leads nowhere, once all
    /// before it was visited, as the error.
    pub(in crate::map) fn each_piece_behind(
        &self,
        range: BusRange,
        mut visit: impl FnMut(PhysRange),
    ) -> Result<(), BusAddr> {
        let mut left = range;
        while !left.is_empty() {
            let piece = self.piece_at_start_of(left).ok_or(left.start())?;
            visit(piece);
            let len_bytes = piece.len_bytes();
            left = left
                .slice(len_bytes, left.len_bytes() - len_bytes)
                .ok_or(left.start())?;
        }
        Ok(())
    }

    /// The memory behind the first bytes of `range`, as far as it lies in one piece; `None` where the first leads nowhere.
    pub(in crate::map) fn piece_at_start_of(&self, range: BusRange) -> Option<PhysRange> {
        let page_bytes = self.route.page_bytes();
        let (start, _) = self.route.translate(range.start())?;
        let mut len_bytes = 0;
        while len_bytes < range.len_bytes() {
            let bus = range.start().checked_add(len_bytes)?;
            let phys = self.route.translate(bus).map(|(phys, _)| phys);
            if phys.is_none() || phys != start.checked_add(len_bytes) {
                break;
            }
            let to_page_end = page_bytes - bus.as_u64() % page_bytes;
            len_bytes += to_page_end.min(range.len_bytes() - len_bytes);
        }
        PhysRange::new(start, len_bytes).ok()
    }
}
