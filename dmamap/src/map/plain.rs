//! The shortest way: memory in one piece, within a page or a few ([`MOST_BYTES`]), of which nothing is asked but a direction, for a device
//! that is given memory as it is.
//!
//! Whatever could say otherwise was settled before: when the device was attached, as one length ([`DeviceCore::plain_from_bytes`]), and when its
//! driver set a limit, as one page number ([`Limits::pages_end`](crate::device::Limits::pages_end)). Where either says no, or the CPU has no
//! page at hand, nothing is done, and [`as_it_is`](super::as_it_is) is asked, which comes to the same.

use crate::addr::{BusAddr, BusRange, FRAME_BYTES, PhysAddr, PhysRange};
use crate::buffer::{DmaMemory, Frames};
use crate::device::{DeviceCore, Revocation};
use crate::iommu::RevokeError;
use crate::map::direction::{AnyDirection, Direction};
use crate::map::route::Route;
use crate::map::{Attributes, translated};
use crate::pagetable::MOST_FRAMES;
use crate::platform::Platform;

/// The most bytes of the frames that plain memory is in: as many frames as a word of a lane tells of.
pub(super) const MOST_BYTES: u64 = MOST_FRAMES as u64 * FRAME_BYTES;

/// Memory of a length that such memory of a device may have.
#[derive(Clone, Copy)]
pub(super) struct PlainMemory(PhysRange);

/// The memory of `buffer`, if it may be that plain: in one piece, this machine's, and in frames that are its own.
#[inline(always)]
pub(super) fn plain_piece<P: Platform, B: DmaMemory>(
    core: &DeviceCore<P>,
    buffer: &B,
) -> Option<PlainMemory> {
    let (first, len_bytes) = (buffer.segment(0), buffer.len_bytes());
    // Lengths first, as they cost least.
    let memory = core.plain_memory(first)?;
    let is_plain = first.len_bytes() == len_bytes
        && buffer.frames() == Frames::Whole
        && core.platform.virt_to_phys(buffer.virt()) == Some(first.start());
    is_plain.then_some(memory)
}

impl<P: Platform> DeviceCore<P> {
    /// `memory`, if it is as long as plain memory may be.
    #[inline(always)]
    pub(super) fn plain_memory(&self, memory: PhysRange) -> Option<PlainMemory> {
        let lengths = self.plain_from_bytes..=MOST_BYTES;
        let is_plain = lengths.contains(&memory.len_bytes());
        is_plain.then_some(PlainMemory(memory))
    }

    /// Maps memory, whose frames are the caller's whole, if it is that plain. The caller counts it.
    ///
    /// What it does is as short as a call of it would be, for each of its few callers.
    #[inline(always)]
    pub(super) fn map_plain(
        &self,
        memory: PlainMemory,
        direction: AnyDirection,
    ) -> Option<BusRange> {
        let Route::Translated(domain) = &self.route else {
            return None;
        };
        let grant = direction.permission().into();
        let map = |pages: Pages| {
            let order = domain.address_order();
            let within = translated::pages_for_small(order, self.limits.pages_end())?;
            match pages {
                Pages::One(page) => domain.map_page(within, page, grant),
                Pages::Few(pages) => domain.map_run(within, pages, grant),
            }
        };
        self.map_plain_by(memory, map)
    }

    /// The same where `map` maps the pages that the memory is in, and says where.
    #[inline(always)]
    pub(super) fn map_plain_by(
        &self,
        PlainMemory(memory): PlainMemory,
        map: impl FnOnce(Pages) -> Option<BusAddr>,
    ) -> Option<BusRange> {
        let (head, len_bytes) = (memory.start().frame_offset(), memory.len_bytes());
        let end = head + len_bytes;
        if end > MOST_BYTES || self.system.is_asleep() {
            return None;
        }
        let frame = PhysAddr::new(memory.start().as_u64() - head);
        let start = map(Pages::of(frame, end))?;
        let start = BusAddr::new(start.as_u64() + head);
        Some(BusRange::of_existing(start, len_bytes))
    }

    /// Takes back a mapping in place at `range` that was made with `attributes`, and whose
    /// [caches need nothing](crate::device::Coherence), if a short way does.
    ///
    /// # Safety
    /// `range` is of a mapping of the device, and this is the first call that takes it back, unless nothing became of it.
    #[inline(always)]
    pub(super) unsafe fn take_back_plain(&self, range: BusRange, attributes: Attributes) -> Taken {
        let Route::Translated(domain) = &self.route else {
            return Taken::Not;
        };
        let pages = translated::pages(range, domain.page_size_log2());
        match self.guard.revocation(attributes) {
            // SAFETY: the caller's promise: the pages were chosen for the mapping.
            Revocation::Alone => match unsafe { domain.unmap_owned(pages) } {
                Ok(()) => Taken::Back,
                Err(error) => Taken::Failed(error),
            },
            // SAFETY: as above.
            Revocation::Later if unsafe { domain.retire_plain(pages) } => Taken::Back,
            Revocation::Later | Revocation::Shared => Taken::Not,
        }
    }
}

/// Whole frames in a row.
pub(super) enum Pages {
    /// One of them.
    One(PhysRange),
    /// More.
    Few(PhysRange),
}

impl Pages {
    /// Those of as many bytes from a frame on as there is at least a byte of the last.
    #[inline(always)]
    fn of(frame: PhysAddr, bytes: u64) -> Self {
        match bytes <= FRAME_BYTES {
            true => Self::One(PhysRange::of_existing(frame, FRAME_BYTES)),
            false => {
                let whole = (bytes + (FRAME_BYTES - 1)) & !(FRAME_BYTES - 1);
                Self::Few(PhysRange::of_existing(frame, whole))
            }
        }
    }
}

/// What became of addresses that were to be taken back.
pub(super) enum Taken {
    /// They are.
    Back,
    /// It was not confirmed.
    Failed(RevokeError),
    /// Nothing.
    Not,
}
