//! Scattered memory: frames from anywhere side by side at virtual addresses (`vmap`).
//!
//! Each run of consecutive frames is one mapping of the host, of which Linux allows a process some 65,000:
//! they are [budgeted](budget) over all kernels of the process, and running out of them is an ordinary error.
//! X → Y is recorded per page in a flat table that is read without a lock.

mod budget;
mod space;

use std::ptr::NonNull;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use board::ram::{Ram, RamError, Reservation};
use dmamap::addr::{FRAME_BYTES, FRAME_SIZE_LOG2, PhysAddr, VirtAddr};
use dmamap::platform::VirtualMapError;
use parking_lot::Mutex;

use budget::Budget;
use space::Space;

/// Pages of address space each kernel sets aside: 16 GiB.
const PAGES: usize = 1 << 22;

/// The scattered mappings of one kernel. Nothing is set aside until the first is made.
#[derive(Default)]
pub(crate) struct Vmalloc {
    area: OnceLock<Option<Area>>,
}

struct Area {
    reservation: Reservation,
    /// Per page the number of the frame behind it plus one; 0 where nothing is mapped.
    frames: Box<[AtomicU32]>,
    space: Mutex<Space>,
}

impl Vmalloc {
    /// Maps the frames of `ram` side by side.
    ///
    /// # Safety
    /// As [`Platform::map_scattered`](dmamap::platform::Platform::map_scattered).
    pub(crate) unsafe fn map(
        &self,
        ram: &Ram,
        frames: &[PhysAddr],
    ) -> Result<NonNull<u8>, VirtualMapError> {
        let len_bytes = (frames.len() as u64) << FRAME_SIZE_LOG2;
        let full = VirtualMapError::OutOfAddressSpace { len_bytes };
        let area = self.area.get_or_init(Area::reserve).as_ref().ok_or(full)?;
        let pages: Vec<u64> = frames.iter().map(|frame| frame.as_u64()).collect();
        let budget = Budget::take(host_mappings(&pages)).ok_or(full)?;
        let first = area.space.lock().take(frames.len(), budget).ok_or(full)?;
        // SAFETY: these pages were free in `space`, so nobody has learned their addresses.
        match unsafe {
            area.reservation
                .map_pages((first as u64) << FRAME_SIZE_LOG2, ram, &pages)
        } {
            Ok(start) => {
                for (entry, page) in area.frames[first..].iter().zip(&pages) {
                    entry.store((page >> FRAME_SIZE_LOG2) as u32 + 1, Ordering::Release);
                }
                Ok(start)
            }
            Err(error) => {
                area.space.lock().give_back(first, frames.len());
                Err(match error {
                    RamError::NotAPage(page) => VirtualMapError::NothingThere(
                        dmamap::addr::PhysRange::new(PhysAddr::new(page), FRAME_BYTES)
                            .map_err(|_| full)?,
                    ),
                    _ => full,
                })
            }
        }
    }

    /// Undoes one [`map`](Self::map); `false` if no such mapping starts there.
    ///
    /// # Safety
    /// Nobody uses the mapping's addresses any more.
    pub(crate) unsafe fn unmap(&self, start: NonNull<u8>, pages: usize) -> bool {
        let Some(area) = self.area() else {
            return false;
        };
        let Some(first) = area.page_of(VirtAddr::from_ptr(start.as_ptr())) else {
            return false;
        };
        // Held to the end: nobody may take these pages before they are unmapped.
        let mut space = area.space.lock();
        if !space.is_taken(first, pages) {
            return false;
        }
        for entry in &area.frames[first..first + pages] {
            entry.store(0, Ordering::Release);
        }
        // SAFETY: a whole mapping of this area, which the caller has given up.
        let unmapped = unsafe {
            area.reservation
                .unmap_pages((first as u64) << FRAME_SIZE_LOG2, pages)
        };
        match unmapped {
            Ok(()) => space.give_back(first, pages),
            // Still mapped: those addresses are lost, not reused.
            Err(error) => log::error!("scattered pages stay mapped: {error}"),
        }
        true
    }

    /// The frame address behind `virt`, with its offset in the page.
    pub(crate) fn phys_of(&self, virt: VirtAddr) -> Option<PhysAddr> {
        let area = self.area()?;
        let frame = area.frames[area.page_of(virt)?]
            .load(Ordering::Acquire)
            .checked_sub(1)?;
        Some(PhysAddr::new(
            (u64::from(frame) << FRAME_SIZE_LOG2) | virt.frame_offset(),
        ))
    }

    /// Number of mappings that live.
    pub(crate) fn count(&self) -> usize {
        self.area()
            .map_or(0, |area| area.space.lock().taken_count())
    }

    fn area(&self) -> Option<&Area> {
        self.area.get()?.as_ref()
    }
}

impl Area {
    fn reserve() -> Option<Self> {
        let reservation = Reservation::new((PAGES as u64) << FRAME_SIZE_LOG2)
            .inspect_err(|error| log::error!("no address space for scattered memory: {error}"))
            .ok()?;
        // Asked for as zeros, so that entries of pages never mapped cost no memory.
        // SAFETY: all zeros is an `AtomicU32`.
        let frames = unsafe { Box::new_zeroed_slice(PAGES).assume_init() };
        Some(Self {
            reservation,
            frames,
            space: Mutex::new(Space::new(PAGES)),
        })
    }

    fn page_of(&self, virt: VirtAddr) -> Option<usize> {
        let base = self.reservation.base().addr().get() as u64;
        let page = virt.as_u64().checked_sub(base)? >> FRAME_SIZE_LOG2;
        usize::try_from(page).ok().filter(|page| *page < PAGES)
    }
}

/// How many mappings of the host these pages need: one per run of consecutive ones, and one for the guard
/// page that splits the reservation after them.
fn host_mappings(pages: &[u64]) -> usize {
    pages
        .chunk_by(|a, b| a.checked_add(FRAME_BYTES) == Some(*b))
        .count()
        + 1
}

#[cfg(test)]
#[path = "vmalloc_tests.rs"]
mod tests;
