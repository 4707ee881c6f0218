//! Mapping and unmapping for one owner: what a driver does for the buffers of a ring.
//!
//! The thread that fills a ring and empties it is the only one that maps and unmaps its buffers. [`Lane`] is that thread's: it has bus
//! addresses of its own, and their entries in the device's table, so a buffer that needs no copy is mapped and unmapped by
//! plain loads and stores, without a lock, a locked operation or a word that another CPU writes. The mappings are those of
//! [`Device::map_single`] and [`Device::map_sg`]; who unmaps them elsewhere, or drops them, gives their addresses back to
//! the lane.
//!
//! ```
//! # use board as _;
//! use std::collections::VecDeque;
//!
//! use dmamap::buffer::DmaBuffer;
//! use dmamap::map::{FromDevice, Lane, Mapping};
//! use dmamap::platform::Platform;
//!
//! struct Ring<P: Platform> {
//!     lane: Lane<P>,
//!     buffers: VecDeque<Mapping<P, DmaBuffer<P>, FromDevice>>,
//! }
//!
//! impl<P: Platform> Ring<P> {
//!     /// The device has filled the oldest buffer, and is given another one in its place.
//!     fn turn(&mut self, fresh: DmaBuffer<P>) -> Result<Option<DmaBuffer<P>>, Box<dyn std::error::Error>> {
//!         let mapping = self.lane.map_single(fresh, FromDevice).map_err(|rejected| rejected.error)?;
//!         self.buffers.push_back(mapping);
//!         let oldest = self.buffers.pop_front();
//!         Ok(oldest.map(|mapping| self.lane.unmap(mapping)).transpose()?)
//!     }
//! }
//! ```

use core::fmt;
use core::mem::ManuallyDrop;
use core::ptr::NonNull;
use core::sync::atomic::Ordering;

use crate::addr::{BusAddr, BusRange, DmaMask, FRAME_BYTES, FRAME_SIZE_LOG2, PhysRange};
use crate::buffer::{DmaMemory, Frames};
use crate::device::{Device, DeviceCore, Held, Revocation};
use crate::iommu::{Domain, DomainError, DomainLane, Owed, RevokeError};
use crate::map::asked::Asked;
use crate::map::copies::Copies;
use crate::map::direction::{AnyDirection, Direction};
use crate::map::error::{MapError, MapFailure, Quarantined, Rejected};
use crate::map::live::{Live, Pieces};
use crate::map::owned::Owned;
use crate::map::plain::{MOST_BYTES, Pages, PlainMemory, Taken, plain_piece};
use crate::map::raw::is_whole;
use crate::map::retired::Retired;
use crate::map::route::{Route, WayBack};
use crate::map::sg::SgMapping;
use crate::map::single::Mapping;
use crate::map::terms::{Shape, Terms};
use crate::map::translated::{pages, request_for_small, widened};
use crate::pagetable::{FewFrames, PhysList, Replay};
use crate::platform::Platform;

/// Bus addresses of a device that one owner maps at, alone.
///
/// They are those within the device's [mask](Device::mask) as it is when the lane begins and when it changes, 512 pages at a time.
/// What is there nobody else is given before the lane ends, so a domain with lanes is not
/// [handed over](crate::map::UnmanagedDomain). Where the lane cannot map (memory that must be copied, more than 1 MiB, devices
/// without an IOMMU or with narrow masks, units that know no tables) it maps as the device does, for the price of that.
///
/// Under [`Protection::Deferred`](crate::system::Protection::Deferred) the lane flushes for itself after some unmaps, and shares
/// the flushes and the time limit of all others.
///
/// It may outlive the [`Device`], as mappings do; it maps nothing then. A lane that is forgotten keeps its addresses for ever.
///
/// It is written at each map, so it shares no cache line with what stands beside it.
#[repr(align(64))]
pub struct Lane<P: Platform> {
    pub(super) device: ManuallyDrop<Device<P>>,
    /// `None` where the device's own way is the only one.
    own: Option<DomainLane>,
    /// The last address of the blocks that it may have.
    last: BusAddr,
    /// [Where pages end](crate::device::Limits::pages_end) with that; one that is nowhere where more is to be asked.
    pages_end: u64,
    /// Memory shorter than this is perhaps copied.
    copied_below_bytes: u64,
}

impl<P: Platform> Device<P> {
    /// A lane for one owner.
    pub fn lane(&self) -> Lane<P> {
        let core = self.core();
        core.lanes.fetch_add(1, Ordering::Relaxed);
        let mask = core.limits.mask();
        Lane {
            // Not this handle: one that never ends the device, whose core the count keeps.
            device: ManuallyDrop::new(Device::new(NonNull::from(core))),
            own: own_lane(core),
            last: mask.last(),
            pages_end: pages_end(core, mask),
            copied_below_bytes: core.bounce.own_below_bytes().max(1),
        }
    }
}

impl<P: Platform> Lane<P> {
    /// As [`Device::map_single`].
    ///
    /// # Errors
    /// As [`Device::map_single`].
    #[inline]
    pub fn map_single<B: DmaMemory, D: Direction>(
        &mut self,
        buffer: B,
        direction: D,
    ) -> Result<Mapping<P, B, D>, Rejected<B>> {
        // Until the outcome is known the device may reach the memory: should anything panic, it is leaked.
        let buffer = ManuallyDrop::new(buffer);
        let plain = plain_piece(self.device.core(), &*buffer);
        if let Some(memory) = plain
            && let Some(range) = self.map_plain(memory, direction.any())
        {
            let live = Live::plain(&self.device, range, direction.any());
            let owned = Owned::from_parts(live, buffer, direction);
            return Ok(Mapping { owned });
        }
        self.map_single_as_it_is(buffer, direction)
    }

    /// As [`map_single`](Self::map_single), for all but the plainest memory.
    #[inline(never)]
    fn map_single_as_it_is<B: DmaMemory, D: Direction>(
        &mut self,
        buffer: ManuallyDrop<B>,
        direction: D,
    ) -> Result<Mapping<P, B, D>, Rejected<B>> {
        let terms = Terms::new(self.device.mask(), Shape::Single, direction);
        match self.map_one(&*buffer, &terms) {
            Some(range) => Ok(Mapping {
                owned: self.owned(buffer, direction, range, &terms),
            }),
            None => match self.device.map_single(self.not_left(buffer)?, direction) {
                Err(rejected) => {
                    let buffer = self.flushed_for(rejected)?;
                    self.map_single_as_it_is(ManuallyDrop::new(buffer), direction)
                }
                mapped => mapped,
            },
        }
    }

    /// As [`Device::map_sg`].
    ///
    /// # Errors
    /// As [`Device::map_sg`].
    pub fn map_sg<B: DmaMemory, D: Direction>(
        &mut self,
        buffer: B,
        direction: D,
    ) -> Result<SgMapping<P, B, D>, Rejected<B>> {
        let terms = Terms::new(self.device.mask(), Shape::Pieces, direction);
        // As in `map_single`.
        let buffer = ManuallyDrop::new(buffer);
        match self.map_pieces(&*buffer, &terms) {
            Some(range) => Ok(SgMapping {
                owned: self.owned(buffer, direction, range, &terms),
            }),
            None => match self.device.map_sg(self.not_left(buffer)?, direction) {
                Err(rejected) => {
                    let buffer = self.flushed_for(rejected)?;
                    self.map_sg(buffer, direction)
                }
                mapped => mapped,
            },
        }
    }

    /// Memory that was rejected and is to be mapped once more: bus addresses were missing that the lane had staged, and it has no more.
    #[cold]
    fn flushed_for<B: DmaMemory>(&mut self, rejected: Rejected<B>) -> Result<B, Rejected<B>> {
        match rejected.buffer {
            Some(buffer) if self.flush_for(&rejected.error) => Ok(buffer),
            buffer => Err(Rejected { buffer, ..rejected }),
        }
    }

    /// Flushes what the lane has staged, if bus addresses are all that was missing; whether it had staged any.
    #[cold]
    pub(super) fn flush_for(&mut self, error: &MapError) -> bool {
        let is_that = matches!(&error.failure, MapFailure::Domain(it) if it.lacks_addresses());
        is_that
            && self
                .parts()
                .is_some_and(|(_, domain, own)| domain.flush_addresses_in(own))
    }

    /// What owns memory that was mapped at `range`.
    #[inline(always)]
    fn owned<B: DmaMemory, D: Direction>(
        &self,
        buffer: ManuallyDrop<B>,
        direction: D,
        range: BusRange,
        terms: &Terms,
    ) -> Owned<P, B, D> {
        let held = Held::new(&self.device, range.len_bytes());
        Owned::from_parts(
            Live::new(held, range, terms, Copies::None),
            buffer,
            direction,
        )
    }

    /// Memory that the device is to map its own way: not once it is detached, though others of its group may go on in its domain.
    fn not_left<B: DmaMemory>(&self, buffer: ManuallyDrop<B>) -> Result<B, Rejected<B>> {
        let (core, buffer) = (self.device.core(), ManuallyDrop::into_inner(buffer));
        match core.leaving.load(Ordering::Acquire) {
            true => Err(Rejected {
                error: core.not_mapped(Asked::of(&buffer), DomainError::Revoked.into()),
                buffer: Some(buffer),
            }),
            false => Ok(buffer),
        }
    }

    /// As [`Mapping::unmap`], of a mapping that this lane made, or any other.
    ///
    /// # Errors
    /// As [`Mapping::unmap`].
    #[inline]
    pub fn unmap<B: DmaMemory, D: Direction>(
        &mut self,
        mapping: Mapping<P, B, D>,
    ) -> Result<B, Quarantined> {
        self.end(mapping.owned)
    }

    /// As [`SgMapping::unmap`], of a mapping that this lane made, or any other.
    ///
    /// # Errors
    /// As [`SgMapping::unmap`].
    pub fn unmap_sg<B: DmaMemory, D: Direction>(
        &mut self,
        mapping: SgMapping<P, B, D>,
    ) -> Result<B, Quarantined> {
        self.end(mapping.owned)
    }

    /// As [`Mapping::retire`], of a mapping that this lane made, or any other.
    pub fn retire<B: DmaMemory, D: Direction>(
        &mut self,
        mapping: Mapping<P, B, D>,
    ) -> Retired<P, B, D> {
        match self.way_of(&mapping.owned) {
            Some(way) => mapping.owned.retire_by(way),
            None => mapping.retire(),
        }
    }

    /// The lane has no more addresses than those in use, or none: what it has staged is flushed, and all its blocks go back with what
    /// is mapped in them. The next mapping has a block lent anew.
    pub fn shrink(&mut self) {
        self.begin_anew(self.device.mask());
    }

    #[inline]
    fn end<B: DmaMemory, D: Direction>(&mut self, owned: Owned<P, B, D>) -> Result<B, Quarantined> {
        // Looked at where it stands: moving it costs as much as the rest.
        let owned = ManuallyDrop::new(owned);
        match self.take_back(owned.live()) {
            Taken::Back => Ok(ManuallyDrop::into_inner(owned).part_in_place()),
            Taken::Failed(error) => Err(ManuallyDrop::into_inner(owned).keep(error)),
            Taken::Not => self.end_otherwise(ManuallyDrop::into_inner(owned)),
        }
    }

    /// Takes a mapping back that is as most are: in place.
    #[inline]
    fn take_back(&mut self, live: &Live<P>) -> Taken {
        let is_ours = core::ptr::eq(live.held().core(), self.device.core());
        match is_ours && live.is_in_place() {
            true => {
                // SAFETY: the mapping ends with this.
                let taken = unsafe { self.take_back_page(live.range()) };
                match taken {
                    // SAFETY: as above: nothing was done.
                    Taken::Not => unsafe { self.take_back_pages(live.range()) },
                    taken => taken,
                }
            }
            false => Taken::Not,
        }
    }

    /// Takes back what is mapped at `range`, in place, if it is a page at hand, and nothing was asked of it.
    ///
    /// # Safety
    /// `range` is of a mapping of the device, and this is the first call that takes it back, unless nothing became of it.
    #[inline(always)]
    pub(super) unsafe fn take_back_page(&mut self, range: BusRange) -> Taken {
        let Some((core, domain, own)) = self.parts() else {
            return Taken::Not;
        };
        let range = pages(range, FRAME_SIZE_LOG2);
        let done = match core.guard.default_revocation() {
            // SAFETY: these pages were chosen for the mapping, which ends with them.
            Revocation::Later => unsafe { domain.retire_page_in(own, range) },
            // SAFETY: as above.
            Revocation::Alone => unsafe { domain.unmap_page_in(own, range) },
            Revocation::Shared => None,
        };
        match done {
            Some(Ok(())) => Taken::Back,
            Some(Err(error)) => Taken::Failed(error),
            None => Taken::Not,
        }
    }

    /// As [`take_back_page`](Self::take_back_page), wherever the pages are.
    ///
    /// # Safety
    /// As [`take_back_page`](Self::take_back_page).
    #[inline(never)]
    pub(super) unsafe fn take_back_pages(&mut self, range: BusRange) -> Taken {
        let Some((core, domain, own)) = self.parts() else {
            return Taken::Not;
        };
        let mut way = LaneWay { domain, own };
        let outcome = match core.guard.default_revocation() {
            // SAFETY: the caller's promise.
            Revocation::Alone => unsafe { way.unmap(range) },
            // SAFETY: as above.
            Revocation::Later => unsafe { way.retire(range) }.map(|_| ()),
            Revocation::Shared => return Taken::Not,
        };
        match outcome {
            Ok(()) => Taken::Back,
            Err(error) => Taken::Failed(error),
        }
    }

    #[inline(never)]
    fn end_otherwise<B: DmaMemory, D: Direction>(
        &mut self,
        owned: Owned<P, B, D>,
    ) -> Result<B, Quarantined> {
        match self.way_of(&owned) {
            Some(way) => owned.unmap_by(way),
            None => owned.unmap(),
        }
    }

    /// The device's domain, and the lane in it, if it has one.
    #[inline(always)]
    fn parts(&mut self) -> Option<(&DeviceCore<P>, &Domain<P>, &mut DomainLane)> {
        let core = self.device.core();
        match (&core.route, &mut self.own) {
            (Route::Translated(domain), Some(own)) => Some((core, domain, own)),
            _ => None,
        }
    }

    /// The lane as a way back, if it is one of the mapping's device.
    #[inline]
    fn way_of<B: DmaMemory, D: Direction>(
        &mut self,
        owned: &Owned<P, B, D>,
    ) -> Option<LaneWay<'_, P>> {
        let (core, domain, own) = self.parts()?;
        let is_ours = core::ptr::eq(owned.live().held().core(), core);
        is_ours.then_some(LaneWay { domain, own })
    }

    /// As [`DeviceCore::map_plain`], in the lane.
    #[inline(always)]
    pub(super) fn map_plain(
        &mut self,
        memory: PlainMemory,
        direction: AnyDirection,
    ) -> Option<BusRange> {
        let end = self.pages_end;
        let (core, domain, own) = self.parts()?;
        core.map_plain_by(memory, |pages| {
            let is_open = core.limits.pages_end() == end
                && !domain.tells_of_maps()
                && !core.leaving.load(Ordering::Acquire);
            let grant = direction.permission().into();
            match pages {
                _ if !is_open => None,
                Pages::One(page) => domain.map_page_in(own, page, grant),
                Pages::Few(pages) => domain.map_run_in(own, pages, grant),
            }
        })
    }

    /// Whether the device was detached, or is being, though others of its group may go on in its domain.
    pub(super) fn has_left(&self) -> bool {
        self.device.core().leaving.load(Ordering::Acquire)
    }

    /// Maps whole pages as [`map_plain`](Self::map_plain) does, in a block that is lent first.
    pub(super) fn map_first_pages(
        &mut self,
        memory: PhysRange,
        direction: AnyDirection,
    ) -> Option<BusRange> {
        let terms = Terms::new(self.device.mask(), Shape::Single, direction);
        let (core, domain, _) = self.parts()?;
        let is_plain = is_whole(memory.start().as_u64(), memory.len_bytes())
            && core.plain_memory(memory).is_some();
        if !is_plain || !is_open(core, domain) {
            return None;
        }
        self.keep_to(terms.mask);
        let (core, domain, own) = self.parts()?;
        let range = map_small_in(domain, own, (core, memory), &terms)?;
        core.counters.begin(memory.len_bytes());
        Some(range)
    }

    /// Maps memory in one piece, if the lane does.
    #[inline]
    fn map_one<B: DmaMemory>(&mut self, buffer: &B, terms: &Terms) -> Option<BusRange> {
        let (first, len_bytes) = (buffer.segment(0), buffer.len_bytes());
        if first.len_bytes() != len_bytes || !self.may_map(buffer, first, terms) {
            return None;
        }
        let (core, domain, own) = self.parts()?;
        let memory = widened(first, FRAME_SIZE_LOG2);
        let at_hand = match memory.len_bytes() {
            FRAME_BYTES => domain.map_page_in(own, memory, terms.grant()),
            1..=MOST_BYTES => domain.map_run_in(own, memory, terms.grant()),
            _ => None,
        };
        let found = match at_hand {
            Some(start) => BusRange::of_existing(start, memory.len_bytes()),
            None => map_small_in(domain, own, (core, first), terms)?,
        };
        let offset = first.start().as_u64() - memory.start().as_u64();
        found.slice(offset, len_bytes)
    }

    fn map_pieces<B: DmaMemory>(&mut self, buffer: &B, terms: &Terms) -> Option<BusRange> {
        let first = buffer.segment(0);
        if !self.may_map(buffer, first, terms) {
            return None;
        }
        let (core, domain, own) = self.parts()?;
        let mut few = FewFrames::NONE;
        if few.become_of(&mut Pieces::of(buffer))
            && let Some(first) = domain.map_few_in(own, &few, terms.grant())
        {
            return Some(few.range(first));
        }
        // As long as all of them, wherever that may be: nothing but its length is looked at.
        let all = PhysRange::new(first.start(), buffer.len_bytes()).ok()?;
        let order = domain.address_order();
        let all = (all.len_bytes(), widened(all, FRAME_SIZE_LOG2));
        let request = request_for_small(order, &core.limits, terms, all)?;
        let range = domain.map_list_in(own, request, &mut Pieces::of(buffer), terms.grant())?;
        range.slice(0, buffer.len_bytes())
    }

    /// Whether the lane may map memory, of which `first` is the first piece, as it is. Where not, the device's own way says why.
    #[inline]
    fn may_map<B: DmaMemory>(&mut self, buffer: &B, first: PhysRange, terms: &Terms) -> bool {
        let core = self.device.core();
        let (Route::Translated(domain), Some(_)) = (&core.route, &self.own) else {
            return false;
        };
        let is_as_it_is = buffer.frames() == Frames::Whole
            && buffer.len_bytes() >= self.copied_below_bytes
            && is_open(core, domain)
            && core.platform.virt_to_phys(buffer.virt()) == Some(first.start());
        if !is_as_it_is {
            return false;
        }
        if terms.maintains(core.coherence) {
            let mut pieces = Pieces::of(buffer);
            while let Some(piece) = pieces.next_range() {
                core.clean_frames(piece);
            }
        }
        self.keep_to(terms.mask);
        true
    }

    /// The lane's blocks are within the device's mask.
    #[inline]
    fn keep_to(&mut self, mask: DmaMask) {
        if mask.last() != self.last {
            self.begin_anew(mask);
        }
    }

    /// Gives all blocks back, and is lent others, within `mask`. Should the device's be another one by now, the next mapping finds that.
    #[cold]
    fn begin_anew(&mut self, mask: DmaMask) {
        self.last = mask.last();
        self.pages_end = pages_end(self.device.core(), mask);
        let core = self.device.core();
        if let (Route::Translated(domain), Some(mut own)) = (&core.route, self.own.take()) {
            domain.end_lane(&mut own);
            self.own = own_lane(core);
        }
    }
}

/// Whether lanes of a device map small memory now.
#[inline]
fn is_open<P: Platform>(core: &DeviceCore<P>, domain: &Domain<P>) -> bool {
    !core.system.is_asleep()
        && !core.limits.concern_small_memory()
        && !domain.tells_of_maps()
        && !core.leaving.load(Ordering::Acquire)
}

/// Where pages of a lane with blocks within this mask end; one that is nowhere where more is to be asked.
fn pages_end<P: Platform>(core: &DeviceCore<P>, mask: DmaMask) -> u64 {
    match core.limits.pages_end() {
        0 => u64::MAX,
        _ => core.limits.pages_end_with(mask),
    }
}

/// A lane of the device's domain, where whole pages are the memory's own where frames are.
fn own_lane<P: Platform>(core: &DeviceCore<P>) -> Option<DomainLane> {
    match &core.route {
        Route::Translated(domain) if domain.page_size_log2() == FRAME_SIZE_LOG2 => {
            domain.own_lane()
        }
        Route::Translated(_) | Route::Blocked | Route::Direct(_) => None,
    }
}

/// Maps memory in one piece in a lane, if it is short enough.
#[inline(never)]
fn map_small_in<P: Platform>(
    domain: &Domain<P>,
    own: &mut DomainLane,
    (core, piece): (&DeviceCore<P>, PhysRange),
    terms: &Terms,
) -> Option<BusRange> {
    let (order, memory) = (domain.address_order(), widened(piece, FRAME_SIZE_LOG2));
    let small = (piece.len_bytes(), memory);
    let request = request_for_small(order, &core.limits, terms, small)?;
    let mut list = Replay::new(core::iter::once(memory));
    domain.map_list_in(own, request, &mut list, terms.grant())
}

/// A lane that takes addresses back.
struct LaneWay<'a, P: Platform> {
    domain: &'a Domain<P>,
    own: &'a mut DomainLane,
}

impl<P: Platform> WayBack for LaneWay<'_, P> {
    #[inline]
    unsafe fn unmap(&mut self, range: BusRange) -> Result<(), RevokeError> {
        let pages = pages(range, self.domain.page_size_log2());
        // SAFETY: the caller's promise: these pages were chosen for the mapping.
        unsafe { self.domain.unmap_in(self.own, pages) }
    }

    #[inline]
    unsafe fn retire(&mut self, range: BusRange) -> Result<Owed, RevokeError> {
        let pages = pages(range, self.domain.page_size_log2());
        // SAFETY: the caller's promise: these pages were chosen for the mapping.
        unsafe { self.domain.retire_in(self.own, pages) }
    }
}

impl<P: Platform> Drop for Lane<P> {
    fn drop(&mut self) {
        if let Some((_, domain, own)) = self.parts() {
            domain.end_lane(own);
        }
        let core = NonNull::from(self.device.core());
        // The last touch: from here on the system may free the core.
        // SAFETY: the count of this lane keeps the core; no reference into it is left but this one, which ends with the store.
        unsafe { (*core.as_ptr()).lanes.fetch_sub(1, Ordering::Release) };
    }
}

impl<P: Platform> fmt::Debug for Lane<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Lane({})", self.device.requester())
    }
}
