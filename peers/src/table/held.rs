//! `dmamap`'s tables as a CPU's lane writes them: through entries that it holds, without a walk.

use dmamap::addr::{BusAddr, BusRange, PhysAddr, PhysRange};
use dmamap::pagetable::{ArmLpaeStage1, HELD, HeldEntries, Permission, Replay};

use super::ours::Ours;
use super::{Extent, PageTables};
use crate::PeersError;
use crate::frames::Frames;

/// Bytes of the smallest page.
const PAGE: u64 = 4096;

/// log2 of the bytes of a page of a level, and of those of which the entries are held together.
const fn page_log2(level: u32) -> u32 {
    PAGE.ilog2() + HELD.ilog2() * (level - 1)
}
const fn block_log2(level: u32) -> u32 {
    page_log2(level) + HELD.ilog2()
}

/// The tables of [`Ours`], with all entries of a level held from `start` on.
pub struct Held<const LEVEL: u32> {
    table: Ours,
    start: u64,
    blocks: Vec<HeldEntries<Frames, ArmLpaeStage1, LEVEL>>,
}

impl<const LEVEL: u32> Held<LEVEL> {
    /// Entries for `len_bytes` from `start` on are held; both are multiples of 512 pages.
    ///
    /// # Errors
    /// [`PeersError::Failed`] without memory.
    pub fn new(start: u64, len_bytes: u64) -> Result<Self, PeersError> {
        let mut table = Ours::new()?;
        let starts = (start..start + len_bytes).step_by(1 << block_log2(LEVEL));
        let blocks = starts.map(|bus| table.hold(bus)).collect::<Option<_>>();
        let blocks = blocks.ok_or(PeersError::failed(table.peer(), "hold entries"))?;
        Ok(Self {
            table,
            start,
            blocks,
        })
    }

    #[inline]
    fn block(&self, bus: u64) -> Option<&HeldEntries<Frames, ArmLpaeStage1, LEVEL>> {
        self.blocks
            .get((bus.checked_sub(self.start)? >> block_log2(LEVEL)) as usize)
    }
}

impl<const LEVEL: u32> PageTables for Held<LEVEL> {
    fn peer(&self) -> &'static str {
        self.table.peer()
    }

    #[inline(never)]
    fn map(&mut self, bus: u64, phys: u64, extent: Extent) -> bool {
        let phys = PhysRange::new(PhysAddr::new(phys), extent.len_bytes);
        let (Some(block), Ok(phys)) = (self.block(bus), phys) else {
            return false;
        };
        block.map(BusAddr::new(bus), phys, Permission::ReadWrite)
    }

    #[inline(never)]
    fn map_list(&mut self, bus: u64, pages: &[u64]) -> bool {
        let range = BusRange::new(BusAddr::new(bus), PAGE * pages.len() as u64);
        let (Some(block), Ok(range)) = (self.block(bus), range) else {
            return false;
        };
        let frames = pages
            .iter()
            .filter_map(|page| PhysRange::new(PhysAddr::new(*page), PAGE).ok());
        block.map_list(range, &mut Replay::new(frames), Permission::ReadWrite)
    }

    #[inline(never)]
    fn unmap(&mut self, bus: u64, extent: Extent) -> bool {
        let range = BusRange::new(BusAddr::new(bus), extent.len_bytes);
        let (Some(block), Ok(range)) = (self.block(bus), range) else {
            return false;
        };
        block.unmap(range)
    }

    fn translate(&self, bus: u64) -> Option<u64> {
        self.table.translate(bus)
    }
}

impl<const LEVEL: u32> Drop for Held<LEVEL> {
    fn drop(&mut self) {
        for block in self.blocks.drain(..) {
            self.table.let_go(block);
        }
    }
}
