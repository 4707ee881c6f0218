//! A domain's record of Z → Y, whatever its form: between the domain that changes it and the unit that obeys it.

use alloc::boxed::Box;
use core::ptr::NonNull;
use core::sync::atomic::AtomicU64;

use crate::addr::{BusAddr, BusRange, PhysAddr};
use crate::pagetable::{
    Format, Gather, Grant, HELD, LeafWords, MapError, PageTable, Permission, PhysList, Privileges,
    UnmapError,
};
use crate::platform::Platform;

/// What a unit does with the requests of an attachment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Translate {
    /// Walks the table whose root lies at `root`.
    Table {
        /// Physical address of the root table.
        root: PhysAddr,
        /// Number of levels.
        levels: u8,
    },
    /// Lets them through: Z is Y.
    PassThrough,
}

/// The table of a domain, whatever its format; one call per list.
pub(crate) trait Translation<P: Platform>: Send {
    fn root(&self) -> Translate;
    fn aperture_last(&self) -> BusAddr;
    /// log2 of the smallest page.
    fn page_size_log2(&self) -> u32;
    fn privileges(&self) -> Privileges;
    fn map_list(
        &mut self,
        bus: BusAddr,
        memory: &mut dyn PhysList,
        grant: Grant,
    ) -> Result<(), MapError>;
    fn unmap(&mut self, range: BusRange, gather: &mut Gather<P>) -> Result<(), UnmapError>;
    fn lookup(&self, bus: BusAddr) -> Option<(PhysAddr, Permission)>;
    fn frames(&self) -> usize;
    fn reclaim(&mut self, gather: &mut Gather<P>);
    /// What entries of a level say, 1 for the smallest pages; `None` where there are none to be held.
    fn leaf_words(&self, level: u32) -> Option<Box<dyn LeafWords>> {
        let _ = level;
        None
    }
    /// Holds entries of a level for [`HELD`] of its pages from `bus` on, until they are let go.
    fn hold(&mut self, bus: BusAddr, level: u32) -> Option<NonNull<[AtomicU64; HELD]>> {
        let _ = (bus, level);
        None
    }
    /// Lets go of entries of a level that are held.
    fn let_go(&mut self, bus: BusAddr, level: u32, gather: &mut Gather<P>) {
        let _ = (bus, level, gather);
    }
    /// # Safety
    /// No unit walks the table any more, nor has cached anything of it.
    unsafe fn free(self: Box<Self>);
}

impl<P: Platform, F: Format> Translation<P> for PageTable<P, F> {
    fn root(&self) -> Translate {
        Translate::Table {
            root: self.root_phys(),
            levels: self.levels() as u8,
        }
    }

    fn aperture_last(&self) -> BusAddr {
        PageTable::aperture_last(self)
    }

    fn page_size_log2(&self) -> u32 {
        self.granule_log2()
    }

    fn privileges(&self) -> Privileges {
        PageTable::privileges(self)
    }

    fn map_list(
        &mut self,
        bus: BusAddr,
        memory: &mut dyn PhysList,
        grant: Grant,
    ) -> Result<(), MapError> {
        PageTable::map_list_of(self, bus, memory, grant)
    }

    fn unmap(&mut self, range: BusRange, gather: &mut Gather<P>) -> Result<(), UnmapError> {
        PageTable::unmap(self, range, gather)
    }

    fn lookup(&self, bus: BusAddr) -> Option<(PhysAddr, Permission)> {
        PageTable::lookup(self, bus).map(|target| (target.phys, target.permission))
    }

    fn frames(&self) -> usize {
        PageTable::frames(self)
    }

    fn reclaim(&mut self, gather: &mut Gather<P>) {
        PageTable::reclaim(self, gather);
    }

    fn leaf_words(&self, level: u32) -> Option<Box<dyn LeafWords>> {
        PageTable::leaf_words(self, level)
    }

    fn hold(&mut self, bus: BusAddr, level: u32) -> Option<NonNull<[AtomicU64; HELD]>> {
        PageTable::hold(self, bus, level)
    }

    fn let_go(&mut self, bus: BusAddr, level: u32, gather: &mut Gather<P>) {
        PageTable::let_go(self, bus, level, gather);
    }

    unsafe fn free(self: Box<Self>) {
        // SAFETY: the caller's promise.
        unsafe { PageTable::free(*self) };
    }
}
