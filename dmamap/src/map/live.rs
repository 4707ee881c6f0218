//! A mapping that lives: what every kind of handle is made of.

mod retired;

use core::mem::ManuallyDrop;
use core::ptr::NonNull;

use crate::addr::{BusRange, PhysRange};
use crate::bounce::{PoolName, RunPlace};
use crate::buffer::DmaMemory;
use crate::device::{Coherence, Device, Held};
use crate::iommu::{Owed, Requester, RevokeError};
use crate::map::as_it_is::{AsItIs, map_as_it_is};
use crate::map::asked::Asked;
use crate::map::at_once::AtOnce;
use crate::map::attributes::{Attributes, CpuSync};
use crate::map::backing::{Backing, Side};
use crate::map::copies::{Copies, CopyReach};
use crate::map::direction::AnyDirection;
use crate::map::earlier::{Earlier, Written};
use crate::map::error::{MapError, MapFailure, Quarantined, Rejected};
use crate::map::establish::{establish, not_established, revoke};
use crate::map::place::{Contents, Memory, Placed};
use crate::map::plain::{Taken, plain_piece};
use crate::map::route::WayBack;
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

    /// Calls `visit` with each stretch of `len_bytes` bytes from byte `offset` of the mapping on: the CPU's pointer to where
    /// the device has it, and how long it is.
    pub(crate) fn device_side(
        &self,
        buffer: NonNull<u8>,
        offset: u64,
        len_bytes: u64,
        mut visit: impl FnMut(NonNull<u8>, u64),
    ) {
        let platform = self.held.core().platform;
        self.backing()
            .each_side(offset, len_bytes, self.len_bytes(), |side, at, len| {
                // SAFETY: callers name bytes of the buffer or, in the same measure, of a copy of them.
                let pointer = unsafe {
                    match side {
                        Side::Buffer => buffer.add(at as usize),
                        Side::Copy(run, within) => run.pointer(platform).add(within as usize),
                    }
                };
                visit(pointer, len);
            });
    }

    /// What the device wrote to the `len_bytes` bytes from `offset` on of the mapping, whose buffer begins at `buffer`, is
    /// what the CPU reads [on the device's side](Self::device_side) from now on.
    ///
    /// Whoever calls it has the buffer alone: it may be written, too.
    #[inline]
    pub(crate) fn sync_for_cpu(&self, buffer: NonNull<u8>, offset: u64, len_bytes: u64) {
        self.see_device_writes(buffer, offset, len_bytes);
        if self.copies.are_there() && self.attributes.cpu_sync == CpuSync::Skipped {
            // Unmapping will not.
            self.copy_out(buffer, offset, len_bytes);
        }
    }

    /// As [`sync_for_cpu`](Self::sync_for_cpu), for those who share the buffer: it is not written.
    #[inline]
    pub(crate) fn see_device_writes(&self, buffer: NonNull<u8>, offset: u64, len_bytes: u64) {
        // What the device only reads is in memory as it is in the caches.
        if self.need_sync() && self.direction.device_writes() {
            self.invalidate(buffer, offset, len_bytes);
        }
        self.held.core().platform.dma_rmb();
    }

    #[inline(never)]
    fn invalidate(&self, buffer: NonNull<u8>, offset: u64, len_bytes: u64) {
        let core = self.held.core();
        self.device_side(buffer, offset, len_bytes, |start, len| {
            core.invalidate_cache(start, len);
        });
    }

    /// What the CPU wrote there is what the device reads from now on.
    #[inline]
    pub(crate) fn sync_for_device(&self, buffer: NonNull<u8>, offset: u64, len_bytes: u64) {
        // Where the device only writes, the CPU has only read.
        if self.need_sync() && self.direction.device_reads() {
            self.clean(buffer, offset, len_bytes);
        }
        self.held.core().platform.dma_wmb();
    }

    #[inline(never)]
    fn clean(&self, buffer: NonNull<u8>, offset: u64, len_bytes: u64) {
        let core = self.held.core();
        self.device_side(buffer, offset, len_bytes, |start, len| {
            core.clean_cache(start, len);
        });
    }

    /// Brings what the device wrote to its side into the buffer.
    fn copy_out(&self, buffer: NonNull<u8>, offset: u64, len_bytes: u64) {
        if self.copies.are_there() && self.direction.device_writes() {
            let platform = self.held.core().platform;
            // SAFETY: the mapping has the buffer to itself, and views of it are volatile.
            unsafe {
                self.backing()
                    .copy_out(platform, buffer, offset, len_bytes, self.len_bytes());
            }
        }
    }

    /// Takes the addresses back; when this returns `Ok` the device reaches nothing through them. Otherwise the memory is
    /// the caller's to keep, for ever.
    pub(crate) fn revoke<B: DmaMemory>(mut self, buffer: &B) -> Result<(), Quarantined> {
        // SAFETY: the mapping ends with this call.
        match unsafe { self.take_back() } {
            Ok(()) => {
                let written = self.take_earlier().written;
                self.part(buffer, written);
                Ok(())
            }
            Err(error) => {
                let lost_bytes = self.backing().lent_bytes();
                self.held.core().quarantine.lose(lost_bytes);
                Err(self.quarantined(error))
            }
        }
    }

    /// As [`revoke`](Self::revoke); the buffer comes back, or goes into the device's quarantine. Should anything panic, it is leaked.
    #[inline]
    pub(crate) fn revoke_owned<B: DmaMemory>(
        self,
        buffer: ManuallyDrop<B>,
    ) -> Result<B, Quarantined> {
        let core = self.held.core();
        let is_plain = !self.need_sync() && self.earlier.is_none();
        // What the steps come to, for nearly all mappings.
        let taken = match is_plain {
            // SAFETY: the range is of this mapping, which ends with this call.
            true => unsafe { core.take_back_plain(self.range, self.attributes) },
            false => Taken::Not,
        };
        match taken {
            Taken::Back => {
                core.platform.dma_rmb();
                Ok(ManuallyDrop::into_inner(buffer))
            }
            Taken::Failed(error) => Err(self.kept(buffer, error)),
            Taken::Not => self.revoke_owned_copied(buffer),
        }
    }

    /// As [`revoke_owned`](Self::revoke_owned), wherever the short way did nothing: copies end in one as well.
    #[inline(never)]
    fn revoke_owned_copied<B: DmaMemory>(self, buffer: ManuallyDrop<B>) -> Result<B, Quarantined> {
        let Some((pool, run)) = self.copy_that_ends_at_once() else {
            return self.revoke_owned_in_steps(buffer);
        };
        let core = self.held.core();
        // SAFETY: no table says whether the device has the copy: it has it always, or nothing translates for it. The mapping had the
        // buffer to itself, views of it are volatile, and it ends with this call.
        unsafe { core.end_copy(pool, run, self.direction, buffer.pointer()) };
        Ok(ManuallyDrop::into_inner(buffer))
    }

    /// Its copy, where the mapping is that and no more: no table is changed at its end, no cache maintained, nothing is owed.
    #[inline]
    fn copy_that_ends_at_once(&self) -> Option<(PoolName, RunPlace)> {
        let core = self.held.core();
        match self.copies {
            Copies::Whole { pool, run, reach }
                if (reach == CopyReach::Always || !core.route.joins_pieces())
                    && self.earlier.is_none()
                    && core.ends_copy_at_once(self.attributes.cpu_sync) =>
            {
                Some((pool, run))
            }
            _ => None,
        }
    }

    #[inline(never)]
    fn revoke_owned_in_steps<B: DmaMemory>(
        self,
        buffer: ManuallyDrop<B>,
    ) -> Result<B, Quarantined> {
        // SAFETY: the mapping ends with this call.
        let outcome = unsafe { self.take_back() };
        self.part_owned(buffer, outcome)
    }

    /// Takes the addresses back; [`part_owned`](Self::part_owned) is what follows.
    ///
    /// # Safety
    /// It is called once, and the mapping ends with it.
    unsafe fn take_back(&self) -> Result<(), RevokeError> {
        // SAFETY: the caller's promise.
        unsafe { self.take_back_by(&self.held.core().route) }
    }

    /// The same by a way of the device.
    ///
    /// # Safety
    /// As [`take_back`](Self::take_back).
    #[inline]
    pub(crate) unsafe fn take_back_by(&self, way: impl WayBack) -> Result<(), RevokeError> {
        let (core, attributes) = (self.held.core(), self.attributes);
        // SAFETY: `range` is of this mapping, which the caller ends.
        unsafe { revoke(core, way, self.range, self.copies, attributes, self.owed()) }
    }

    /// What the memory owes to earlier mappings of it, if there were any.
    #[inline]
    fn owed(&self) -> Option<Result<Owed, RevokeError>> {
        let note = self.earlier?;
        Some(self.held.core().earlier.get(note).owed)
    }

    /// As [`owed`](Self::owed), and all else. Called once.
    #[inline]
    fn take_earlier(&mut self) -> Earlier {
        match self.earlier.take() {
            Some(note) => self.held.core().earlier.take(note),
            None => Earlier::NOTHING,
        }
    }

    fn quarantined(&self, error: RevokeError) -> Quarantined {
        Quarantined {
            device: self.held.core().requester,
            range: self.range,
            error,
        }
    }

    /// The last of a mapping that was taken back, or not, as `outcome` says: then the buffer and the copies of it that the
    /// device was given go into its quarantine.
    pub(crate) fn part_owned<B: DmaMemory>(
        mut self,
        buffer: ManuallyDrop<B>,
        outcome: Result<(), RevokeError>,
    ) -> Result<B, Quarantined> {
        match outcome {
            Ok(()) => {
                let written = self.take_earlier().written;
                self.part(&*buffer, written);
                Ok(ManuallyDrop::into_inner(buffer))
            }
            Err(error) => Err(self.kept(buffer, error)),
        }
    }

    #[cold]
    pub(crate) fn kept<B: DmaMemory>(
        self,
        buffer: ManuallyDrop<B>,
        error: RevokeError,
    ) -> Quarantined {
        let quarantined = self.quarantined(error);
        self.keep(buffer, error);
        quarantined
    }

    fn keep<B: DmaMemory>(mut self, buffer: ManuallyDrop<B>, error: RevokeError) {
        let _ = self.take_earlier();
        let (core, len_bytes) = (self.held.core(), buffer.len_bytes());
        core.keep_from_use(buffer, len_bytes, self.backing(), error);
    }

    /// The last of a mapping that was taken back, whose memory the device could write `earlier`.
    #[inline]
    fn part<B: DmaMemory>(self, buffer: &B, earlier: Written) {
        match self.need_sync() {
            true => self.part_in_steps(buffer, earlier),
            false => self.held.core().platform.dma_rmb(),
        }
    }

    #[inline(never)]
    fn part_in_steps<B: DmaMemory>(mut self, buffer: &B, earlier: Written) {
        let core = self.held.core();
        if let Copies::Whole { pool, run, .. } = self.copies
            && core.ends_copy_at_once(self.attributes.cpu_sync)
        {
            // SAFETY: the route's word is that the device lost the mapping, or it has the copy always; the mapping had the buffer
            // to itself, and views of it are volatile.
            return unsafe { core.end_copy(pool, run, self.direction, buffer.pointer()) };
        }
        self.take_from_device(buffer, earlier);
        self.give_copies_back();
    }

    fn give_copies_back(&mut self) {
        let backing = self.backing();
        self.copies = Copies::None;
        // SAFETY: callers have the route's word that the device lost the mapping, or it has the copy always.
        unsafe { backing.release(self.held.core()) };
    }

    /// Makes what the device wrote, before it lost the memory, what the CPU reads in the buffer; also what it wrote `earlier`.
    fn take_from_device<B: DmaMemory>(&self, buffer: &B, earlier: Written) {
        let core = self.held.core();
        let is_automatic = self.need_sync() && self.attributes.cpu_sync == CpuSync::Automatic;
        // After the device lost the memory: until then lines of it could come into the caches and be outdated again.
        if is_automatic && self.direction.device_writes() {
            self.invalidate(buffer.pointer(), 0, self.len_bytes());
        } else if is_automatic && earlier == Written::Perhaps {
            core.invalidate_cache(buffer.pointer(), buffer.len_bytes());
        }
        core.platform.dma_rmb();
        if is_automatic {
            self.copy_out(buffer.pointer(), 0, self.len_bytes());
        }
    }
}
