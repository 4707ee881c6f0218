//! What a device behind an IOMMU is given of some memory, and nothing of it is mapped yet.
//!
//! A page that holds others' memory as well is not given to a device that nobody vouched for: what lies in it is copied to a
//! page of its own. Whole pages are given as they are. What will be mapped at once and what is linked to addresses that
//! were chosen before is decided here alike.

use crate::addr::{BusAddr, FRAME_SIZE_LOG2, PhysAddr, PhysRange};
use crate::bounce::{BounceError, Exposure, PoolName, Run};
use crate::buffer::Frames;
use crate::device::{DeviceCore, Trust};
use crate::iommu::DomainError;
use crate::map::MapFailure;
use crate::map::backing::Backing;
use crate::map::edges::{self, Cut, Given, GivenList};
use crate::map::place::{Contents, Memory};
use crate::map::terms::Terms;
use crate::map::translated::widened;
use crate::pagetable::Replay;
use crate::platform::Platform;

impl<P: Platform> DeviceCore<P> {
    /// Cuts the memory at pages of `2^page_log2` bytes, copies what the device is not to reach in place, and brings the rest
    /// to where it sees it. The copies are lent until they are [released](Backing::release) or [not given](Self::not_given).
    ///
    /// # Errors
    /// [`MapFailure`]; nothing is lent then.
    ///
    /// # Safety
    /// [`Memory::contents`] are readable, and no reference that writes them is in use.
    pub(super) unsafe fn give(
        &self,
        page_log2: u32,
        terms: &Terms,
        memory: &mut Memory<'_>,
    ) -> Result<Backing, MapFailure> {
        let shared = match memory.frames {
            Frames::Whole => false,
            Frames::Shared => {
                self.guard.trust() == Trust::Withheld || self.shares_lines(terms, memory)
            }
        };
        let backing = match edges::cut(memory, page_log2, shared) {
            Cut::InPlace => Backing::InPlace,
            // SAFETY: the caller's promise.
            Cut::Whole => return unsafe { self.give_copy(page_log2, terms, memory) },
            Cut::Edges { head, tail } => {
                let ends = [head, tail];
                // SAFETY: the caller's promise.
                unsafe { self.copy_edges(page_log2, terms, memory.first, ends) }?
            }
        };
        self.clean_given(terms, memory, &backing);
        Ok(backing)
    }

    /// Copies all of the memory to pages of its own, in one piece.
    ///
    /// # Errors
    /// As [`give`](Self::give).
    ///
    /// # Safety
    /// As [`give`](Self::give).
    pub(super) unsafe fn give_copy(
        &self,
        page_log2: u32,
        terms: &Terms,
        memory: &mut Memory<'_>,
    ) -> Result<Backing, MapFailure> {
        self.may_copy(terms, memory)?;
        let keep_mask = terms.min_align_mask | ((1 << page_log2) - 1);
        let request = self.request(memory, terms, keep_mask, page_log2);
        let run = self.bounce.shared.allocate(&request, &Anywhere)?;
        // SAFETY: the caller vouches for the contents, which are as long as the run.
        unsafe { self.fill(&run, memory) };
        let pool = PoolName::Shared;
        Ok(Backing::Whole { pool, run })
    }

    unsafe fn copy_edges(
        &self,
        page_log2: u32,
        terms: &Terms,
        first: PhysRange,
        [head, tail]: [Option<PhysRange>; 2],
    ) -> Result<Backing, MapFailure> {
        self.may_be_copied(terms, first)?;
        let edge = |bytes: PhysRange| {
            let memory = &mut Memory {
                first: bytes,
                len_bytes: bytes.len_bytes(),
                pieces: &mut Replay::new(core::iter::once(bytes)),
                contents: Contents::AsLent,
                frames: Frames::Shared,
            };
            let request = self.request(memory, terms, (1 << page_log2) - 1, page_log2);
            self.check_ram(bytes)?;
            let run = self.bounce.shared.allocate(&request, &Anywhere)?;
            // SAFETY: the caller vouches for the memory, of which this is a part.
            unsafe { self.fill(&run, memory) };
            Ok::<Run, MapFailure>(run)
        };
        let head = head.map(edge).transpose()?;
        match tail.map(edge).transpose() {
            Ok(tail) => Ok(Backing::Edges { head, tail }),
            Err(failure) => {
                let tail = None;
                // SAFETY: no device was given it.
                unsafe { Backing::Edges { head, tail }.release(self) };
                Err(failure)
            }
        }
    }

    /// Ends what was to be given and was not mapped, as `failure` says, which may thereby change: the copies go back, or are
    /// kept where the device may reach them.
    pub(super) fn not_given(&self, backing: Backing, failure: MapFailure) -> MapFailure {
        let MapFailure::Domain(DomainError::Unconfirmed { cause, undo }) = failure else {
            // SAFETY: a map that failed and was confirmed undone was never visible.
            unsafe { backing.release(self) };
            return failure;
        };
        let failure = match backing {
            // The copy is lost, not the memory.
            Backing::Whole { .. } => BounceError::Unconfirmed { cause }.into(),
            Backing::InPlace | Backing::Edges { .. } => failure,
        };
        self.keep_copies_from_use(backing, undo);
        failure
    }

    /// As [`clean_given`](Self::clean_given), of one piece of memory in whole frames.
    #[inline(never)]
    pub(super) fn clean_frames(&self, piece: PhysRange) {
        self.clean_for_device(widened(piece, FRAME_SIZE_LOG2));
    }

    /// What the CPU wrote to what is given in place goes to memory, whatever the direction: no dirty line is left to be
    /// written over what the device will write. Whole frames, where they are the memory's: the device reaches what lies
    /// beside it in them, and memory may still hold there what somebody else wrote.
    pub(super) fn clean_given(&self, terms: &Terms, memory: &mut Memory<'_>, backing: &Backing) {
        if !terms.maintains(self.coherence) {
            return;
        }
        let frames = memory.frames;
        let mut list = GivenList::new(memory, backing);
        while let Some(given) = list.next() {
            match (given, frames) {
                (Given::InPlace(piece), Frames::Whole) => {
                    self.clean_frames(piece);
                }
                (Given::InPlace(piece), Frames::Shared) => self.clean_for_device(piece),
                // It was cleaned when it was filled.
                (Given::Copy(_), _) => {}
            }
        }
    }
}

/// Memory that is mapped for each mapping.
struct Anywhere;

impl Exposure for Anywhere {
    fn last(&self) -> PhysAddr {
        PhysAddr::new(u64::MAX)
    }

    fn reaches(&self, _: PhysRange, _: Option<BusAddr>) -> bool {
        true
    }

    fn expose(&self, _: PhysRange) -> Result<Option<BusAddr>, DomainError> {
        Ok(None)
    }
}
