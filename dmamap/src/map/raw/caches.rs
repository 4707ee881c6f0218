//! The CPU's caches and memory that has no owner here: reached through the platform's direct map.

use crate::addr::{BusAddr, BusRange, PhysAddr, PhysRange};
use crate::device::{Coherence, Device, DeviceCore};
use crate::map::backing::Backing;
use crate::map::route::Route;
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
        visit: impl FnMut(PhysRange),
    ) -> Result<(), BusAddr> {
        let mut pieces = self.pieces_behind(range);
        pieces.by_ref().for_each(visit);
        match pieces.left.is_empty() {
            true => Ok(()),
            false => Err(pieces.left.start()),
        }
    }

    /// The memory behind `range`, piece by piece, up to the first address that leads nowhere.
    pub(in crate::map) fn pieces_behind(&self, range: BusRange) -> PiecesBehind<'_, P> {
        PiecesBehind {
            route: &self.route,
            left: range,
            behind_left: behind_first_of(&self.route, range),
        }
    }
}

/// Goes through bus addresses and the memory behind them; each page is looked up once.
pub(in crate::map) struct PiecesBehind<'a, P: Platform> {
    route: &'a Route<P>,
    left: BusRange,
    /// What is behind the first address that is left: where the piece before it was found to end, this was found too.
    behind_left: Option<PhysAddr>,
}

impl<P: Platform> PiecesBehind<'_, P> {
    /// The addresses that no piece was told of yet.
    pub(in crate::map) fn left(&self) -> BusRange {
        self.left
    }
}

impl<P: Platform> Iterator for PiecesBehind<'_, P> {
    type Item = PhysRange;

    fn next(&mut self) -> Option<PhysRange> {
        let start = self.behind_left?;
        let page_bytes = self.route.page_bytes();
        let mut len_bytes = 0;
        loop {
            let to_page_end = page_bytes - self.left.start().as_u64() % page_bytes;
            let count = to_page_end.min(self.left.len_bytes());
            self.left = self.left.slice(count, self.left.len_bytes() - count)?;
            len_bytes += count;
            self.behind_left = behind_first_of(self.route, self.left);
            if self.behind_left.is_none() || self.behind_left != start.checked_add(len_bytes) {
                return PhysRange::new(start, len_bytes).ok();
            }
        }
    }
}

fn behind_first_of<P: Platform>(route: &Route<P>, range: BusRange) -> Option<PhysAddr> {
    match range.is_empty() {
        true => None,
        false => route.translate(range.start()).map(|(phys, _)| phys),
    }
}
