//! The crate aarch64-paging, with which firmware and hypervisors write tables of the same format. It neither refuses
//! what is mapped already nor tells what was not mapped.

use std::ptr::NonNull;

use aarch64_paging::descriptor::{El1Attributes, PhysicalAddress};
use aarch64_paging::paging::{
    Constraints, El1And0, MemoryRegion, PageTable, RootTable, Translation, VaRange,
};
use dmamap::addr::{FRAME_BYTES, PhysAddr, PhysRange};
use dmamap::platform::{FrameRequest, Platform};

use super::{Extent, PageTables};
use crate::frames::Frames;

/// Its `RootTable` of four levels, on the same frames as ours.
pub struct Aarch64Paging(RootTable<El1And0, OutOfFrames>);

/// Tables out of [`Frames`], where physical addresses are virtual ones.
struct OutOfFrames;

impl Translation<El1Attributes> for OutOfFrames {
    fn allocate_table(&mut self) -> (NonNull<PageTable<El1Attributes>>, PhysicalAddress) {
        let frames = Frames.allocate_frames(FrameRequest::new(1));
        let frame = frames.expect("the crate knows no failure").start();
        let table = Frames
            .frame_pointer(frame)
            .cast::<PageTable<El1Attributes>>();
        // SAFETY: the frame was just lent, and a table fills it.
        unsafe { table.write_bytes(0, 1) };
        (table, PhysicalAddress(frame.as_u64() as usize))
    }

    unsafe fn deallocate_table(&mut self, table: NonNull<PageTable<El1Attributes>>) {
        let start = PhysAddr::new(table.addr().get() as u64);
        let frame = PhysRange::new(start, FRAME_BYTES).expect("a frame ends somewhere");
        // SAFETY: it came from `allocate_table`, and the caller says that it is not used any more.
        unsafe { Frames.free_frames(frame) };
    }

    fn physical_to_virtual(&self, phys: PhysicalAddress) -> NonNull<PageTable<El1Attributes>> {
        Frames.frame_pointer(PhysAddr::new(phys.0 as u64)).cast()
    }
}

/// What `dmamap` and Linux write too.
const LEAF: El1Attributes = El1Attributes::VALID
    .union(El1Attributes::ACCESSED)
    .union(El1Attributes::NON_GLOBAL)
    .union(El1Attributes::USER)
    .union(El1Attributes::INNER_SHAREABLE);

impl Aarch64Paging {
    /// With nothing mapped.
    pub fn new() -> Self {
        Self(RootTable::with_va_range(
            OutOfFrames,
            0,
            El1And0,
            VaRange::Lower,
        ))
    }

    fn write(&mut self, bus: u64, phys: u64, len: u64, attributes: El1Attributes) -> bool {
        let region = MemoryRegion::new(bus as usize, (bus + len) as usize);
        let phys = PhysicalAddress(phys as usize);
        let constraints = Constraints::NO_CONTIGUOUS_HINT;
        self.0
            .map_range(&region, phys, attributes, constraints)
            .is_ok()
    }
}

impl Default for Aarch64Paging {
    fn default() -> Self {
        Self::new()
    }
}

impl PageTables for Aarch64Paging {
    fn peer(&self) -> &'static str {
        "aarch64-paging"
    }

    #[inline(never)]
    fn map(&mut self, bus: u64, phys: u64, extent: Extent) -> bool {
        self.write(bus, phys, extent.len_bytes, LEAF)
    }

    #[inline(never)]
    fn map_list(&mut self, bus: u64, pages: &[u64]) -> bool {
        let buses = (bus..).step_by(FRAME_BYTES as usize);
        buses
            .zip(pages)
            .all(|(bus, page)| self.write(bus, *page, FRAME_BYTES, LEAF))
    }

    #[inline(never)]
    fn unmap(&mut self, bus: u64, extent: Extent) -> bool {
        self.write(bus, 0, extent.len_bytes, El1Attributes::empty())
    }

    fn translate(&self, bus: u64) -> Option<u64> {
        let region = MemoryRegion::new(bus as usize, bus as usize + 1);
        let mut phys = None;
        let walked = self.0.walk_range(&region, &mut |_, entry, level| {
            if entry.is_valid() && !(entry.is_table_or_page() && level < 3) {
                let size = FRAME_BYTES << (9 * (3 - level));
                phys = Some(entry.output_address().0 as u64 | (bus & (size - 1)));
            }
            Ok(())
        });
        walked.ok().and(phys)
    }
}
