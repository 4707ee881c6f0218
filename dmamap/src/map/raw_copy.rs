//! Copies behind mappings without owners: found again by the bus addresses, and copied as syncs and unmapping ask.

use crate::addr::{BusRange, FRAME_SIZE_LOG2};
use crate::bounce::{PoolName, Run};
use crate::device::DeviceCore;
use crate::map::AnyDirection;
use crate::map::backing::Backing;
use crate::map::route::Route;
use crate::platform::Platform;

/// Which way bytes are copied.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Copy {
    /// From the device's copy to the memory.
    ToMemory,
    /// From the memory to the device's copy.
    ToCopy,
}

impl<P: Platform> DeviceCore<P> {
    /// What the device reaches through the raw mapping at `range`. Costs nothing where nothing is copied.
    pub(super) fn backing_of(&self, range: BusRange) -> Backing {
        if !self.bounce.anything_lent() {
            return Backing::InPlace;
        }
        let first = self.route.translate(range.start());
        let head = first.and_then(|(first, _)| self.bounce.find(first));
        match head {
            Some((pool, run)) if run.len_bytes() == range.len_bytes() => {
                Backing::Whole { pool, run }
            }
            head => {
                let tail = self.tail_of(range);
                let head = head.map(|(_, run)| run);
                match (&head, &tail) {
                    (None, None) => Backing::InPlace,
                    _ => Backing::Edges { head, tail },
                }
            }
        }
    }

    fn tail_of(&self, range: BusRange) -> Option<Run> {
        let page_log2 = match &self.route {
            Route::Translated(domain) => domain.page_size_log2(),
            Route::Direct(_) | Route::Blocked => FRAME_SIZE_LOG2,
        };
        let page = range.last().align_down(page_log2);
        let (phys, _) = self.route.translate(page)?;
        let (pool, run) = self.bounce.find(phys)?;
        let ends = range.last().as_u64() - page.as_u64() + 1 == run.len_bytes();
        (ends && pool == PoolName::Shared).then_some(run)
    }

    /// Copies the `len_bytes` bytes from `offset` on of a raw mapping, as far as the device has copies of them.
    ///
    /// # Safety
    /// The mapping lives, or its copies were not given back yet; its memory is allocated, and no reference that the
    /// copying would break is in use.
    pub(super) unsafe fn copy_raw(
        &self,
        backing: &Backing,
        range: BusRange,
        offset: u64,
        len_bytes: u64,
        way: Copy,
    ) {
        let platform = self.platform;
        backing.each_run(range.len_bytes(), |run, first| {
            // The part of the run that was asked for.
            let start = offset.max(first);
            let end = (offset + len_bytes).min(first + run.len_bytes());
            let Some(len) = end.checked_sub(start).filter(|&len| len > 0) else {
                return;
            };
            let within = start - first;
            // SAFETY: a run's memory is one piece, which the caller says is allocated; the part lies within it.
            unsafe {
                let memory = platform.frame_pointer(run.origin()).add(within as usize);
                match way {
                    Copy::ToMemory if run.direction() != AnyDirection::ToDevice => {
                        run.copy_out(platform, within, memory, len);
                    }
                    Copy::ToMemory => {}
                    Copy::ToCopy => run.copy_in(platform, within, memory, len),
                }
            }
        });
    }
}
