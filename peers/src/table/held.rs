//! `dmamap`'s tables as a CPU's lane writes them: through entries that it holds, without a walk.

use dmamap::addr::{BusAddr, BusRange, PhysAddr, PhysRange};
use dmamap::pagetable::{ArmLpaeStage1, HELD, HeldEntries, Permission, Replay};

use super::ours::Ours;
use super::{Extent, PageTables};
use crate::PeersError;
use crate::frames::Frames;

/// Bytes of a page, and of those whose entries are held together.
const PAGE: u64 = 4096;
const BLOCK: u64 = PAGE * HELD as u64;

/// The tables of [`Ours`], with all entries held from `start` on.
pub struct Held {
    table: Ours,
    start: u64,
    blocks: Vec<HeldEntries<Frames, ArmLpaeStage1>>,
}

impl Held {
    /// Entries for `len_bytes` from `start` on are held; both are multiples of 2 MiB.
    ///
    /// # Errors
    /// [`PeersError::Failed`] without memory.
    pub fn new(start: u64, len_bytes: u64) -> Result<Self, PeersError> {
        let mut table = Ours::new()?;
        let starts = (start..start + len_bytes).step_by(BLOCK as usize);
        let blocks = starts.map(|bus| table.hold(bus)).collect::<Option<_>>();
        let blocks = blocks.ok_or(PeersError::failed(table.peer(), "hold entries"))?;
        Ok(Self {
            table,
            start,
            blocks,
        })
    }

    #[inline]
    fn block(&self, bus: u64) -> Option<&HeldEntries<Frames, ArmLpaeStage1>> {
        self.blocks
            .get((bus.checked_sub(self.start)? / BLOCK) as usize)
    }
}

impl PageTables for Held {
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

impl Drop for Held {
    fn drop(&mut self) {
        for block in self.blocks.drain(..) {
            self.table.let_go(block);
        }
    }
}
