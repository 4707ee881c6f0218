//! The crate vm-memory's IOTLB: ranges in a tree, for software that translates a guest's addresses. No unit could walk
//! it, but it records the same.

use vm_memory::iommu::Iotlb as Ranges;
use vm_memory::{GuestAddress, Permissions};

use super::{Extent, PageTables};

/// Bytes of a list's page.
const PAGE: u64 = 4096;

/// Its `Iotlb`.
#[derive(Default)]
pub struct Iotlb(Ranges);

impl Iotlb {
    /// With nothing mapped.
    pub fn new() -> Self {
        Self::default()
    }

    fn set(&mut self, bus: u64, phys: u64, len: u64) -> bool {
        let (bus, phys) = (GuestAddress(bus), GuestAddress(phys));
        let access = Permissions::ReadWrite;
        self.0.set_mapping(bus, phys, len as usize, access).is_ok()
    }
}

impl PageTables for Iotlb {
    fn peer(&self) -> &'static str {
        "vm-memory iotlb"
    }

    #[inline(never)]
    fn map(&mut self, bus: u64, phys: u64, extent: Extent) -> bool {
        self.set(bus, phys, extent.len_bytes)
    }

    #[inline(never)]
    fn map_list(&mut self, bus: u64, pages: &[u64]) -> bool {
        let buses = (bus..).step_by(PAGE as usize);
        buses
            .zip(pages)
            .all(|(bus, page)| self.set(bus, *page, PAGE))
    }

    #[inline(never)]
    fn unmap(&mut self, bus: u64, extent: Extent) -> bool {
        self.0
            .invalidate_mapping(GuestAddress(bus), extent.len_bytes as usize);
        true
    }

    fn translate(&self, bus: u64) -> Option<u64> {
        let found = Ranges::lookup(&self.0, GuestAddress(bus), 1, Permissions::Read);
        Some(found.ok()?.next()?.base.0)
    }
}
