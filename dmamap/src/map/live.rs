//! A mapping that lives: what every kind of handle is made of.

mod ending;
mod retired;
mod syncs;

use core::mem::ManuallyDrop;

use crate::addr::{BusRange, PhysRange};
use crate::buffer::DmaMemory;
use crate::device::{Coherence, Device, Held};
use crate::iommu::Requester;
use crate::map::as_it_is::{AsItIs, map_as_it_is};
use crate::map::asked::Asked;
use crate::map::at_once::AtOnce;
use crate::map::attributes::Attributes;
use crate::map::backing::Backing;
use crate::map::copies::Copies;
use crate::map::direction::AnyDirection;
use crate::map::earlier::Earlier;
use crate::map::error::{MapError, MapFailure, Rejected};
use crate::map::establish::{establish, not_established};
use crate::map::place::{Contents, Memory, Placed};
use crate::map::plain::plain_piece;
use crate::map::terms::Terms;
use crate::pagetable::PhysList;
use crate::platform::Platform;
use crate::slab::Handle;

pub(crate) use retired::RetiredLive;

/// The physically contiguous pieces of a buffer, in order.
pub(crate) struct Pieces<'a, B: DmaMemory> {
    buffer: &'a B,
    offset: u64,
}

impl<'a, B: DmaMemory> Pieces<'a, B> {
    pub(crate) fn of(buffer: &'a B) -> Self {
        Self { buffer, offset: 0 }
    }
}

impl<B: DmaMemory> PhysList for Pieces<'_, B> {
    fn restart(&mut self) {
        self.offset = 0;
    }

    #[inline]
    fn next_range(&mut self) -> Option<PhysRange> {
        let piece = self.buffer.segment(self.offset);
        self.offset += piece.len_bytes();
        (!piece.is_empty()).then_some(piece)
    }
}

/// What becomes of `buffer`, which was not mapped, for a device that was held for it.
#[cold]
fn rejected<P: Platform, B: DmaMemory>(
    device: &Device<P>,
    held: Held<P>,
    failure: MapFailure,
    buffer: ManuallyDrop<B>,
) -> Rejected<B> {
    let (first, len_bytes) = (buffer.segment(0), held.bytes());
    let error = not_established(held, Asked::from(first.start(), len_bytes), failure);
    device.core().rejected(error, buffer, len_bytes)
}

/// Bus addresses that a device may use now, and the hold on the device that goes with them.
///
/// Dropping one without [`revoke`](Self::revoke) would leave the addresses usable: its owners never do.
pub(crate) struct Live<P: Platform> {
    held: Held<P>,
    range: BusRange,
    /// The copies that the device was given.
    copies: Copies,
    /// What the memory owes to earlier mappings of it.
    earlier: Option<Handle<Earlier>>,
    direction: AnyDirection,
    attributes: Attributes,
}

impl<P: Platform> Live<P> {
    /// Maps `buffer`, which stays untouched by anyone else until [`revoke`](Self::revoke).
    #[inline]
    pub(crate) fn establish<B: DmaMemory>(
        device: &Device<P>,
        buffer: &B,
        terms: Terms,
    ) -> Result<Self, MapError> {
        Self::establish_for(Held::new(device, buffer.len_bytes()), buffer, terms)
    }

    /// As [`establish`](Self::establish), for a device that is held. Where the error
    /// [leaves the memory reachable](MapError::leaves_memory_reachable) it is the caller's to keep.
    #[inline]
    fn establish_for<B: DmaMemory>(
        held: Held<P>,
        buffer: &B,
        terms: Terms,
    ) -> Result<Self, MapError> {
        let (first, len_bytes) = (buffer.segment(0), held.bytes());
        match map_as_it_is(held.core(), buffer, (first, len_bytes), &terms) {
            AsItIs::Mapped(range) => Ok(Self::new(held, range, &terms, Copies::None)),
            AsItIs::Failed(failure) => {
                let asked = Asked::from(first.start(), len_bytes);
                Err(not_established(held, asked, failure))
            }
            AsItIs::Undecided => Self::establish_any(held, buffer, terms),
        }
    }

    /// As [`establish_for`](Self::establish_for), of memory that was [checked](super::establish::check), however it is given.
    #[inline(never)]
    fn establish_any<B: DmaMemory>(
        held: Held<P>,
        buffer: &B,
        terms: Terms,
    ) -> Result<Self, MapError> {
        match Self::copied_at_once(&held, buffer, &terms) {
            Some(copy) => {
                let range = copy.range(held.bytes());
                Ok(Self::new(held, range, &terms, copy.copies()))
            }
            None => Self::establish_in_steps(held, buffer, terms),
        }
    }

    #[inline]
    fn copied_at_once<B: DmaMemory>(held: &Held<P>, buffer: &B, terms: &Terms) -> Option<AtOnce> {
        let (first, contents) = (buffer.segment(0), buffer.pointer());
        // SAFETY: the buffer's bytes are readable, and all access to them goes through the buffer, which is borrowed.
        unsafe {
            held.core()
                .copy_at_once(terms, first, held.bytes(), contents)
        }
    }

    #[inline(never)]
    fn establish_in_steps<B: DmaMemory>(
        held: Held<P>,
        buffer: &B,
        terms: Terms,
    ) -> Result<Self, MapError> {
        let mut memory = Memory {
            first: buffer.segment(0),
            len_bytes: held.bytes(),
            pieces: &mut Pieces::of(buffer),
            contents: Contents::At(buffer.pointer()),
            frames: buffer.frames(),
        };
        // SAFETY: the buffer's bytes are readable, and all access to them goes through the buffer, which is borrowed.
        let (held, placed) = unsafe { establish(held, &terms, &mut memory) }?;
        let Placed { range, backing } = placed;
        Ok(Self::new(held, range, &terms, Copies::of(&backing)))
    }

    #[inline]
    pub(super) fn new(held: Held<P>, range: BusRange, terms: &Terms, copies: Copies) -> Self {
        Self {
            held,
            range,
            copies,
            earlier: None,
            direction: terms.direction,
            attributes: terms.attributes,
        }
    }

    /// As [`establish`](Self::establish), of memory of which nothing is asked but a direction, if that is all that is to be said
    /// of it.
    #[inline(always)]
    pub(super) fn establish_plain<B: DmaMemory>(
        device: &Device<P>,
        buffer: &B,
        direction: AnyDirection,
    ) -> Option<Self> {
        let memory = plain_piece(device.core(), buffer)?;
        let range = device.core().map_plain(memory, direction)?;
        Some(Self::plain(device, range, direction))
    }

    /// What is known of such memory that was mapped at `range`. The device is counted as held only now: a handle keeps it meanwhile, or its
    /// count of lanes.
    #[inline(always)]
    pub(super) fn plain(device: &Device<P>, range: BusRange, direction: AnyDirection) -> Self {
        Self {
            held: Held::new(device, range.len_bytes()),
            range,
            copies: Copies::None,
            earlier: None,
            direction,
            attributes: Attributes::NONE,
        }
    }

    /// Bytes of the memory.
    fn len_bytes(&self) -> u64 {
        self.held.bytes()
    }

    /// As [`establish`](Self::establish), for a buffer that is given away; `make` makes of both what is returned.
    #[inline(never)]
    pub(crate) fn establish_owned<B: DmaMemory, T>(
        device: &Device<P>,
        buffer: ManuallyDrop<B>,
        terms: Terms,
        make: impl FnOnce(Self, ManuallyDrop<B>) -> T,
    ) -> Result<T, Rejected<B>> {
        let len_bytes = buffer.len_bytes();
        let (held, first) = (Held::new(device, len_bytes), buffer.segment(0));
        match map_as_it_is(held.core(), &*buffer, (first, len_bytes), &terms) {
            AsItIs::Mapped(range) => Ok(make(Self::new(held, range, &terms, Copies::None), buffer)),
            AsItIs::Failed(failure) => Err(rejected(device, held, failure, buffer)),
            AsItIs::Undecided => Self::establish_owned_copied(device, held, buffer, terms, make),
        }
    }

    /// As [`establish_any`](Self::establish_any), and `make` makes of it what is returned where it is made.
    #[inline(never)]
    fn establish_owned_copied<B: DmaMemory, T>(
        device: &Device<P>,
        held: Held<P>,
        buffer: ManuallyDrop<B>,
        terms: Terms,
        make: impl FnOnce(Self, ManuallyDrop<B>) -> T,
    ) -> Result<T, Rejected<B>> {
        match Self::copied_at_once(&held, &*buffer, &terms) {
            Some(copy) => {
                let range = copy.range(held.bytes());
                Ok(make(Self::new(held, range, &terms, copy.copies()), buffer))
            }
            None => Self::establish_owned_in_steps(device, held, buffer, terms, make),
        }
    }

    #[inline(never)]
    fn establish_owned_in_steps<B: DmaMemory, T>(
        device: &Device<P>,
        held: Held<P>,
        buffer: ManuallyDrop<B>,
        terms: Terms,
        make: impl FnOnce(Self, ManuallyDrop<B>) -> T,
    ) -> Result<T, Rejected<B>> {
        match Self::establish_in_steps(held, &*buffer, terms) {
            Ok(live) => Ok(make(live, buffer)),
            Err(error) => {
                let len_bytes = buffer.len_bytes();
                Err(device.core().rejected(error, buffer, len_bytes))
            }
        }
    }

    pub(crate) fn held(&self) -> &Held<P> {
        &self.held
    }

    /// The device.
    pub(crate) fn device(&self) -> Requester {
        self.held.core().requester
    }

    pub(crate) fn range(&self) -> BusRange {
        self.range
    }

    /// The copies that the device was given.
    pub(crate) fn copies(&self) -> Copies {
        self.copies
    }

    /// Whether it is as most are: no copies, caches that the device sees, nothing asked for and nothing owed.
    #[inline]
    pub(crate) fn is_in_place(&self) -> bool {
        !self.need_sync() && self.earlier.is_none() && self.attributes.protection.is_none()
    }

    /// The last of a mapping that [is in place](Self::is_in_place), and that was taken back.
    #[inline]
    pub(crate) fn part_in_place(self) {
        self.held.core().platform.dma_rmb();
    }

    fn backing(&self) -> Backing {
        self.copies.backing(self.held.core())
    }

    /// Whether [`sync_for_cpu`](Self::sync_for_cpu) and [`sync_for_device`](Self::sync_for_device) do more than order
    /// accesses.
    #[inline]
    pub(crate) fn need_sync(&self) -> bool {
        self.held.core().coherence == Coherence::NotSnooped || self.copies.are_there()
    }
}
