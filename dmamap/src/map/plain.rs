//! The shortest way: memory within one page, of which nothing is asked but a direction, for a device that is given memory as it is.
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
use crate::platform::Platform;

/// The memory of `buffer`, if it may be that plain: in one piece, this machine's, and in frames that are its own.
#[inline(always)]
pub(super) fn plain_piece<P: Platform, B: DmaMemory>(
    core: &DeviceCore<P>,
    buffer: &B,
) -> Option<PhysRange> {
    let (first, len_bytes) = (buffer.segment(0), buffer.len_bytes());
    // Lengths first, as they cost least.
    let is_plain = (core.plain_from_bytes..=FRAME_BYTES).contains(&len_bytes)
        && first.len_bytes() == len_bytes
        && buffer.frames() == Frames::Whole
        && core.platform.virt_to_phys(buffer.virt()) == Some(first.start());
    is_plain.then_some(first)
}

impl<P: Platform> DeviceCore<P> {
    /// Maps memory, whose frames are the caller's whole, if it is that plain. The caller counts it.
    ///
    /// What it does is as short as a call of it would be, for each of its few callers.
    #[inline(always)]
    pub(super) fn map_plain(&self, memory: PhysRange, direction: AnyDirection) -> Option<BusRange> {
        let Route::Translated(domain) = &self.route else {
            return None;
        };
        self.map_plain_by(memory, |page| {
            let order = domain.address_order();
            let within = translated::pages_for_small(order, self.limits.pages_end())?;
            domain.map_page(within, page, direction.permission().into())
        })
    }

    /// The same where `map` maps the page that the memory is in, and says where.
    #[inline(always)]
    pub(super) fn map_plain_by(
        &self,
        memory: PhysRange,
        map: impl FnOnce(PhysRange) -> Option<BusAddr>,
    ) -> Option<BusRange> {
        let (head, len_bytes) = (memory.start().frame_offset(), memory.len_bytes());
        let is_plain = len_bytes >= self.plain_from_bytes && len_bytes <= FRAME_BYTES - head;
        if !is_plain || self.system.is_asleep() {
            return None;
        }
        let frame = PhysAddr::new(memory.start().as_u64() - head);
        let start = map(PhysRange::of_existing(frame, FRAME_BYTES))?;
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

/// What became of addresses that were to be taken back.
pub(super) enum Taken {
    /// They are.
    Back,
    /// It was not confirmed.
    Failed(RevokeError),
    /// Nothing.
    Not,
}
