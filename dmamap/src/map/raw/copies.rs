//! Copies behind mappings without owners: found again by the bus addresses, and copied as syncs and unmapping ask.

use crate::addr::{BusRange, PhysRange};
use crate::bounce::{PoolName, Run};
use crate::device::{Device, DeviceCore};
use crate::map::AnyDirection;
use crate::map::backing::{Backing, Side};
use crate::map::route::Route;
use crate::platform::Platform;

/// Which way bytes are copied.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::map) enum Way {
    /// From the device's copy to the memory.
    ToMemory,
    /// From the memory to the device's copy.
    ToCopy,
}

impl<P: Platform> DeviceCore<P> {
    /// What the device reaches through the raw mapping, or the raw links, at `range`. Costs nothing where nothing is copied.
    ///
    /// The device's table tells, and has all that is mapped: it goes when the device is detached, and after that nobody may
    /// unmap mappings without owners. What outlives the handle keeps its backing itself.
    ///
    /// The copies stay the mapping's until its unmapping [releases](Backing::release) them: dropping this keeps them.
    pub(in crate::map) fn backing_of(&self, range: BusRange) -> Backing {
        if range.is_empty() || !self.bounce.anything_lent() {
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
                let head = head
                    .filter(|_| matches!(self.route, Route::Translated(_)))
                    .map(|(_, run)| run);
                match (&head, &tail) {
                    (None, None) => Backing::InPlace,
                    _ => Backing::Edges { head, tail },
                }
            }
        }
    }

    fn tail_of(&self, range: BusRange) -> Option<Run> {
        // Elsewhere all is copied or nothing.
        let Route::Translated(domain) = &self.route else {
            return None;
        };
        let page = range.last().align_down(domain.page_size_log2());
        let (phys, _) = self.route.translate(page)?;
        let (pool, run) = self.bounce.find(phys)?;
        let ends = range.last().as_u64() - page.as_u64() + 1 == run.len_bytes();
        (ends && pool == PoolName::Shared).then_some(run)
    }

    /// Copies the `len_bytes` bytes from `offset` on of a mapping of `whole` bytes, as far as the device has copies of them,
    /// which each stand in for one piece of memory.
    ///
    /// # Safety
    /// As [`Device::copy_pieces`].
    pub(in crate::map) unsafe fn copy_where_they_are_from(
        &self,
        backing: &Backing,
        whole: u64,
        offset: u64,
        len_bytes: u64,
        way: Way,
    ) {
        backing.each_side(offset, len_bytes, whole, |side, _, len| {
            let Side::Copy(run, within) = side else {
                return;
            };
            let memory = PhysRange::new(run.origin(), run.len_bytes());
            if let Some(part) = memory.ok().and_then(|memory| memory.slice(within, len)) {
                // SAFETY: a part of the memory, which the caller says is allocated.
                unsafe { copy(self.platform, run, within, part, way) };
            }
        });
    }
}

impl<P: Platform> Device<P> {
    /// The one piece of memory that is mapped at `range`.
    pub(super) fn piece_behind(&self, range: BusRange, backing: &Backing) -> Option<PhysRange> {
        let start = match backing {
            Backing::Whole { run, .. }
            | Backing::Edges {
                head: Some(run), ..
            } => run.origin(),
            Backing::InPlace | Backing::Edges { head: None, .. } => {
                self.translate(range.start())?
            }
        };
        PhysRange::new(start, range.len_bytes()).ok()
    }

    /// Calls `visit` with the memory that the device reaches for the `len_bytes` bytes of `pieces` from `offset` on.
    pub(super) fn each_side(
        &self,
        backing: &Backing,
        pieces: &[PhysRange],
        offset: u64,
        len_bytes: u64,
        mut visit: impl FnMut(PhysRange),
    ) {
        let whole = super::total(pieces);
        backing.each_side(offset, len_bytes, whole, |side, at, len| match side {
            Side::Buffer => each_part(pieces, at, len, |part, _| visit(part)),
            Side::Copy(run, within) => {
                if let Some(part) = run.bytes().slice(within, len) {
                    visit(part);
                }
            }
        });
    }

    /// Copies the `len_bytes` bytes of `pieces` from `offset` on, as far as the device has copies of them.
    ///
    /// # Safety
    /// The mapping lives, or its copies were not given back yet; its memory is allocated, and no reference that the
    /// copying would break is in use.
    pub(super) unsafe fn copy_pieces(
        &self,
        backing: &Backing,
        pieces: &[PhysRange],
        offset: u64,
        len_bytes: u64,
        way: Way,
    ) {
        let platform = self.platform();
        let whole = super::total(pieces);
        backing.each_side(offset, len_bytes, whole, |side, at, len| {
            let Side::Copy(run, within) = side else {
                return;
            };
            each_part(pieces, at, len, |part, done| {
                // SAFETY: a part of the memory, which the caller says is allocated.
                unsafe { copy(platform, run, within + done, part, way) };
            });
        });
    }
}

/// Copies between byte `within` of the run and `memory`.
///
/// # Safety
/// The memory is allocated and as long as what is left of the run, and no reference that the copying would break is in use.
unsafe fn copy<P: Platform>(platform: P, run: &Run, within: u64, memory: PhysRange, way: Way) {
    let (start, len) = (platform.frame_pointer(memory.start()), memory.len_bytes());
    // SAFETY: the caller's promise, for the memory and for the run.
    unsafe {
        match way {
            Way::ToMemory if run.direction() != AnyDirection::ToDevice => {
                run.copy_out(platform, within, start, len);
            }
            Way::ToMemory => {}
            Way::ToCopy => run.copy_in(platform, within, start, len),
        }
    }
}

/// Calls `visit` with each part of one piece in the `len_bytes` bytes from `offset` on, and how many bytes came before it.
fn each_part(
    pieces: &[PhysRange],
    offset: u64,
    len_bytes: u64,
    mut visit: impl FnMut(PhysRange, u64),
) {
    let (mut skip, mut done) = (offset, 0);
    for piece in pieces {
        if skip >= piece.len_bytes() {
            skip -= piece.len_bytes();
            continue;
        }
        let count = (piece.len_bytes() - skip).min(len_bytes - done);
        match piece.slice(skip, count) {
            Some(part) if count > 0 => visit(part, done),
            _ => break,
        }
        done += count;
        skip = 0;
    }
}
