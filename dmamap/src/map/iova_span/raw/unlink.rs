//! How links without owners are taken back: when the device has lost them, the CPU has what it wrote, also to copies.

use super::RawIovaSpan;
use crate::addr::BusRange;
use crate::iommu::RevokeError;
use crate::map::attributes::CpuSync;
use crate::map::backing::Backing;
use crate::map::error::Quarantined;
use crate::map::raw::Way;
use crate::pagetable::UnmapError;
use crate::platform::Platform;

/// Pieces of memory that are noted while they are taken back: with more than that a unit is waited for more than once.
const PIECES_AT_ONCE: usize = 32;

impl<P: Platform> RawIovaSpan<P> {
    /// Takes back whole links: what was linked in `len_bytes` bytes from `offset` on (`dma_iova_unlink`). When this returns
    /// `Ok` the device reaches none of it, and what it wrote is in the memory.
    ///
    /// That a device was detached before changes nothing, unless it does not snoop: which memory was linked in place is then
    /// not known any more, and the caller drops the CPU's lines of it. What was copied is right all the same.
    ///
    /// # Errors
    /// [`Quarantined`] when the IOMMU did not confirm: the memory must be kept. Also, nothing having changed, when not all of it
    /// is linked, or a link or a large page would be split; but where the device does not snoop and writes more than a few
    /// pieces of memory, what lies before a page that would be split is unlinked.
    ///
    /// # Safety
    /// Where memory was linked there, it is unlinked whole, and there are no gaps between links.
    pub unsafe fn unlink(&mut self, offset: u64, len_bytes: u64) -> Result<(), Quarantined> {
        let device = self.reserved.held().core().requester;
        let refused = |range, error| Quarantined {
            device,
            range,
            error,
        };
        let Ok(range) = self.reserved.range(offset, len_bytes) else {
            let span = self.range();
            return Err(refused(span, RevokeError::OutsideSpan { span }));
        };
        let pages = self
            .pages_of_links(offset, range)
            .map_err(|error| refused(range, error))?;
        let writes = self.direction.device_writes();
        let outcome = match self.maintains() && writes {
            true => self.unlink_by_pieces(range),
            false => self
                .unlink_at_once(pages, len_bytes)
                .map_err(Stopped::before_all),
        };
        if let Err(Stopped { error, gone_bytes }) = outcome {
            if !error.changed_nothing() {
                self.reserved.count_quarantined(len_bytes);
                let backing = self.take_copies(offset, len_bytes);
                let core = self.reserved.held().core();
                core.keep_copies_from_use(backing, error);
            } else if gone_bytes > 0 {
                // SAFETY: the units confirmed that the device lost these; else as below.
                unsafe { self.end_copies(offset, gone_bytes) };
            }
            return Err(refused(range, error));
        }
        // SAFETY: the units confirmed that the device lost the links; the caller says that their memory is allocated until this
        // returns and not referred to.
        unsafe { self.end_copies(offset, len_bytes) };
        if self.ragged_end == Some(offset + len_bytes) {
            self.ragged_end = None;
        }
        Ok(())
    }

    /// Of the copies those that stand in for bytes of the `len_bytes` bytes from `offset` on, which are whole links.
    fn take_copies(&mut self, offset: u64, len_bytes: u64) -> Backing {
        let Backing::Edges { head, tail } = &mut self.backing else {
            return Backing::InPlace;
        };
        let head = head.take_if(|_| offset == 0);
        let tail = tail.take_if(|_| self.ragged_end == Some(offset + len_bytes));
        match (&head, &tail) {
            (None, None) => Backing::InPlace,
            _ => Backing::Edges { head, tail },
        }
    }

    /// Lets the CPU have what the device wrote to the copies among the `len_bytes` bytes from `offset` on, which were unlinked,
    /// and gives the copies back.
    ///
    /// # Safety
    /// The units confirmed that the device lost those bytes. The memory that was linked there is allocated, and no reference to
    /// it is in use.
    unsafe fn end_copies(&mut self, offset: u64, len_bytes: u64) {
        let backing = self.take_copies(offset, len_bytes);
        let writes = self.direction.device_writes();
        let core = self.reserved.held().core();
        if self.maintains() && writes {
            // Of a device that was detached before nobody found them behind its addresses.
            for run in backing.runs() {
                core.invalidate_cache(run.pointer(core.platform), run.len_bytes());
            }
        }
        core.platform.dma_rmb();
        if writes && self.reserved.terms().attributes.cpu_sync == CpuSync::Automatic {
            // SAFETY: the caller's promise.
            unsafe {
                core.copy_where_they_are_from(&backing, len_bytes, 0, len_bytes, Way::ToMemory);
            }
        }
        // SAFETY: the caller's promise.
        unsafe { backing.release(core) };
    }

    /// The pages of what is linked at `range`, which begins at `offset`, if it begins and ends where links may.
    fn pages_of_links(&self, offset: u64, range: BusRange) -> Result<BusRange, RevokeError> {
        let end = offset + range.len_bytes();
        let pages = self.reserved.pages_of(range);
        let begins = offset == 0 || pages.start() == range.start();
        let ends = match self.ragged_end {
            Some(last) if self.reserved.reaches(pages, last) => end == last,
            Some(_) | None => self.reserved.is_page_end(end),
        };
        match begins && ends {
            true => Ok(pages),
            false => Err(UnmapError::Misaligned {
                range,
                granule_bytes: self.reserved.page_bytes(),
            }
            .into()),
        }
    }

    fn unlink_at_once(&mut self, pages: BusRange, len_bytes: u64) -> Result<(), RevokeError> {
        self.reserved.unlink(pages)?;
        self.linked_bytes = self.linked_bytes.saturating_sub(len_bytes);
        Ok(())
    }

    /// Takes back what is linked at `range`, and lets the CPU see what the device wrote there, when the device has lost it:
    /// where it is can be asked only before. What lies in more pieces than there is room to note is taken back in parts.
    fn unlink_by_pieces(&mut self, range: BusRange) -> Result<(), Stopped> {
        let mut left = range;
        while !left.is_empty() {
            let core = self.reserved.held().core();
            let mut walk = core.pieces_behind(left);
            let pieces: [_; PIECES_AT_ONCE] = core::array::from_fn(|_| walk.next());
            let noted = walk.left();
            let first = left == range;
            if first {
                // Where not all is linked nothing is taken.
                walk.by_ref().for_each(drop);
            }
            let ended = first || pieces.iter().any(Option::is_none);
            let rest = match ended && !walk.left().is_empty() {
                // The table says what is missing; or the device was detached, and nothing is linked any more.
                true => end_of(left),
                false => noted,
            };
            let len_bytes = left.len_bytes() - rest.len_bytes();
            let part = left.slice(0, len_bytes).expect("what lies before the rest");
            if let Err(error) = self.unlink_at_once(self.reserved.pages_of(part), len_bytes) {
                // The memory is kept: the device may as well lose the rest.
                let error = match rest.is_empty() || error.changed_nothing() {
                    true => error,
                    false => match self.reserved.unlink(self.reserved.pages_of(rest)) {
                        Ok(()) => error,
                        Err(other) => error.or_graver(other),
                    },
                };
                let gone_bytes = range.len_bytes() - left.len_bytes();
                return Err(Stopped { error, gone_bytes });
            }
            let core = self.reserved.held().core();
            for memory in pieces.into_iter().flatten() {
                let start = core.platform.frame_pointer(memory.start());
                core.invalidate_cache(start, memory.len_bytes());
            }
            left = rest;
        }
        Ok(())
    }

    fn maintains(&self) -> bool {
        let core = self.reserved.held().core();
        self.reserved.terms().maintains(core.coherence)
    }
}

/// Why links were not all taken back.
struct Stopped {
    error: RevokeError,
    /// Bytes from the first on that the device was confirmed to have lost before.
    gone_bytes: u64,
}

impl Stopped {
    fn before_all(error: RevokeError) -> Self {
        let gone_bytes = 0;
        Self { error, gone_bytes }
    }
}

/// No bytes, behind the last of `range`.
fn end_of(range: BusRange) -> BusRange {
    let end = range.slice(range.len_bytes(), 0);
    end.expect("nothing lies inside wherever it is")
}
