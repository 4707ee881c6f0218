//! The shortest way: memory within one page, of which nothing is asked but a direction, for a device that is given memory as it is.
//!
//! Whatever could say otherwise was settled before: when the device was attached, as one length ([`DeviceCore::plain_from_bytes`]), and when its
//! driver set a limit, as one page number ([`Limits::pages_end`](crate::device::Limits::pages_end)). Where either says no, or the CPU has no
//! page at hand, nothing is done, and [`as_it_is`](super::as_it_is) is asked, which comes to the same.

use crate::addr::{BusAddr, BusRange, FRAME_BYTES, PhysAddr, PhysRange};
use crate::buffer::{DmaMemory, Frames};
use crate::device::{DeviceCore, Revocation};
use crate::iommu::Domain;
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
        let (head, len_bytes) = (memory.start().frame_offset(), memory.len_bytes());
        let is_plain = len_bytes >= self.plain_from_bytes && len_bytes <= FRAME_BYTES - head;
        if !is_plain || self.system.is_asleep() {
            return None;
        }
        let frame = PhysAddr::new(memory.start().as_u64() - head);
        let page = PhysRange::of_existing(frame, FRAME_BYTES);
        let within = translated::pages_for_small(domain.address_order(), self.limits.pages_end())?;
        let start = domain.map_page(within, page, direction.permission().into())?;
        let start = BusAddr::new(start.as_u64() + head);
        Some(BusRange::of_existing(start, len_bytes))
    }

    /// How a mapping in place at `range` is taken back that was made with `attributes`, and whose
    /// [caches need nothing](crate::device::Coherence).
    #[inline(always)]
    pub(super) fn plain_way_back(&self, range: BusRange, attributes: Attributes) -> WayBack<'_, P> {
        let Route::Translated(domain) = &self.route else {
            return WayBack::InSteps;
        };
        let pages = translated::pages(range, domain.page_size_log2());
        match self.guard.revocation(attributes) {
            Revocation::Alone => WayBack::Alone(domain, pages),
            Revocation::Later => WayBack::Later(domain, pages),
            Revocation::Shared => WayBack::InSteps,
        }
    }
}

/// How a mapping is taken back: which pages, of which domain.
pub(super) enum WayBack<'a, P: Platform> {
    /// By [`Domain::unmap_owned`].
    Alone(&'a Domain<P>, BusRange),
    /// By [`Domain::retire_plain`]; where that did nothing, in steps.
    Later(&'a Domain<P>, BusRange),
    /// As any mapping is.
    InSteps,
}
