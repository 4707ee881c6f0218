//! The CPU's caches and memory that has no owner here: reached through the platform's direct map.

use crate::addr::{BusAddr, BusRange, PhysRange};
use crate::device::{Coherence, Device};
use crate::map::Attributes;
use crate::map::attributes::CpuSync;
use crate::map::backing::Backing;
use crate::pagetable::PhysList;
use crate::platform::Platform;

impl<P: Platform> Device<P> {
    /// Whether mapping and unmapping with `attributes` maintain caches.
    pub(super) fn maintains(&self, attributes: Attributes) -> bool {
        self.needs_maintenance() && attributes.cpu_sync == CpuSync::Automatic
    }

    /// Whether the device sees memory rather than caches.
    pub(super) fn needs_maintenance(&self) -> bool {
        self.core().coherence == Coherence::NotSnooped
    }

    /// What the CPU wrote goes to memory, and no dirty line is left to be written over what the device will write.
    pub(super) fn clean(&self, memory: PhysRange) {
        let core = self.core();
        core.clean_cache(
            core.platform.frame_pointer(memory.start()),
            memory.len_bytes(),
        );
    }

    pub(super) fn clean_list(&self, list: &mut dyn PhysList) {
        list.restart();
        while let Some(memory) = list.next_range() {
            self.clean(memory);
        }
        list.restart();
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

    /// Calls `visit` with the memory behind `range`, a page at a time; with the first address that leads nowhere,
    /// once all before it was visited, as the error.
    pub(super) fn each_piece_behind(
        &self,
        range: BusRange,
        mut visit: impl FnMut(PhysRange),
    ) -> Result<(), BusAddr> {
        let page_bytes = self.page_bytes();
        let mut offset = 0;
        while let Some(bus) = range
            .start()
            .checked_add(offset)
            .filter(|_| offset < range.len_bytes())
        {
            let to_page_end = page_bytes - bus.as_u64() % page_bytes;
            let len_bytes = to_page_end.min(range.len_bytes() - offset);
            let phys = self.translate(bus).ok_or(bus)?;
            visit(PhysRange::new(phys, len_bytes).map_err(|_| bus)?);
            offset += len_bytes;
        }
        Ok(())
    }
}
