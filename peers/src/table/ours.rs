//! `dmamap`'s tables in the format that `io-pgtable-arm.c` writes. The domain's lock is counted with the addresses.

use dmamap::addr::{BusAddr, BusRange, PhysAddr, PhysRange};
use dmamap::pagetable::{
    ArmLpaeStage1, Gather, Granule, HeldEntries, PageTable, Permission, Replay,
};

use super::{Extent, PageTables};
use crate::PeersError;
use crate::frames::Frames;

const PEER: &str = "dmamap";

/// Bits of bus addresses, and of physical ones.
const BITS: u32 = 48;

/// Bytes of a granule.
const PAGE: u64 = 4096;

/// [`PageTable`] of [`ArmLpaeStage1`], granule 4 KiB.
pub struct Ours(Option<PageTable<Frames, ArmLpaeStage1>>);

impl Ours {
    /// With nothing mapped.
    ///
    /// # Errors
    /// [`PeersError::Failed`] without memory.
    pub fn new() -> Result<Self, PeersError> {
        let failed = || PeersError::failed(PEER, "make a page table");
        let format = ArmLpaeStage1::new(Granule::FourKib, BITS, BITS).map_err(|_| failed())?;
        let table = PageTable::new(Frames, format).map_err(|_| failed())?;
        Ok(Self(Some(table)))
    }
}

impl Ours {
    /// Holds the entries of 512 pages of a level from `bus` on. They are [let go](Self::let_go) before this value is dropped.
    pub(super) fn hold<const LEVEL: u32>(
        &mut self,
        bus: u64,
    ) -> Option<HeldEntries<Frames, ArmLpaeStage1, LEVEL>> {
        // SAFETY: who holds them has these addresses for itself, and lets go of them before the table is freed.
        unsafe { self.0.as_mut()?.hold_entries(BusAddr::new(bus)) }
    }

    /// Lets go of them.
    pub(super) fn let_go<const LEVEL: u32>(
        &mut self,
        held: HeldEntries<Frames, ArmLpaeStage1, LEVEL>,
    ) {
        let mut gather = Gather::new(Frames);
        if let Some(table) = &mut self.0 {
            let parted = table.let_go_entries(held, &mut gather);
            debug_assert!(parted.is_ok(), "they are of this table");
        }
        // SAFETY: no unit walks the table.
        unsafe { gather.release() };
    }
}

fn frame(page: u64) -> Option<PhysRange> {
    PhysRange::new(PhysAddr::new(page), PAGE).ok()
}

impl PageTables for Ours {
    fn peer(&self) -> &'static str {
        PEER
    }

    #[inline(never)]
    fn map(&mut self, bus: u64, phys: u64, extent: Extent) -> bool {
        let phys = PhysRange::new(PhysAddr::new(phys), extent.len_bytes);
        let (Some(table), Ok(phys)) = (&mut self.0, phys) else {
            return false;
        };
        table
            .map(BusAddr::new(bus), phys, Permission::ReadWrite)
            .is_ok()
    }

    #[inline(never)]
    fn map_list(&mut self, bus: u64, pages: &[u64]) -> bool {
        let Some(table) = &mut self.0 else {
            return false;
        };
        let frames = pages.iter().filter_map(|page| frame(*page));
        table
            .map_list(
                BusAddr::new(bus),
                &mut Replay::new(frames),
                Permission::ReadWrite,
            )
            .is_ok()
    }

    #[inline(never)]
    fn unmap(&mut self, bus: u64, extent: Extent) -> bool {
        let range = BusRange::new(BusAddr::new(bus), extent.len_bytes);
        let (Some(table), Ok(range)) = (&mut self.0, range) else {
            return false;
        };
        let mut gather = Gather::new(Frames);
        let unmapped = table.unmap(range, &mut gather).is_ok();
        let whole = gather.range() == Some(range) || gather.frames() > 0;
        // SAFETY: no unit walks the table.
        unsafe { gather.release() };
        unmapped && whole
    }

    fn translate(&self, bus: u64) -> Option<u64> {
        let target = self.0.as_ref()?.lookup(BusAddr::new(bus))?;
        Some(target.phys.as_u64())
    }
}

impl Drop for Ours {
    fn drop(&mut self) {
        if let Some(table) = self.0.take() {
            // SAFETY: no unit walks it.
            unsafe { table.free() };
        }
    }
}
