//! A mapping that lives: what every kind of handle is made of.

use core::mem::ManuallyDrop;
use core::ptr::NonNull;

use crate::addr::{BusRange, PhysRange};
use crate::buffer::DmaMemory;
use crate::device::{Coherence, Device, Held};
use crate::iommu::{Owed, Requester, RevokeError};
use crate::map::as_it_is::{AsItIs, map_as_it_is};
use crate::map::asked::Asked;
use crate::map::attributes::{Attributes, CpuSync};
use crate::map::backing::{Backing, Side};
use crate::map::direction::{AnyDirection, Direction};
use crate::map::error::{MapError, MapFailure, Quarantined, Rejected};
use crate::map::establish::{both, establish, revoke};
use crate::map::place::{Contents, Memory, Placed};
use crate::map::terms::{Shape, Terms};
use crate::pagetable::PhysList;
use crate::platform::Platform;

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

    fn next_range(&mut self) -> Option<PhysRange> {
        let piece = self.buffer.segment(self.offset);
        self.offset += piece.len_bytes();
        (!piece.is_empty()).then_some(piece)
    }
}

#[cold]
fn rejected<P: Platform, B: DmaMemory>(
    device: &Device<P>,
    error: MapError,
    buffer: ManuallyDrop<B>,
) -> Rejected<B> {
    let len_bytes = buffer.len_bytes();
    device.core().rejected(error, buffer, len_bytes)
}

/// Bus addresses that a device may use now, and the hold on the device that goes with them.
///
/// Dropping one without [`revoke`](Self::revoke) would leave the addresses usable: its owners never do.
pub(crate) struct Live<P: Platform> {
    held: Held<P>,
    range: BusRange,
    direction: AnyDirection,
    attributes: Attributes,
    /// What must be covered by flushes, beside taking `range` back, before the device has lost the memory: earlier
    /// mappings of it. An error where one was not confirmed to be gone.
    owed: Result<Owed, RevokeError>,
    /// Whether the device could write the memory while it was mapped earlier.
    written_earlier: bool,
    backing: Backing,
}

impl<P: Platform> Live<P> {
    /// Maps `buffer`, which stays untouched by anyone else until [`revoke`](Self::revoke).
    pub(crate) fn establish<B: DmaMemory>(
        device: &Device<P>,
        buffer: &B,
        terms: Terms,
    ) -> Result<Self, MapError> {
        Self::establish_for(Held::new(device, buffer.len_bytes()), buffer, terms)
    }

    /// As [`establish`](Self::establish), for a device that is held. Where the error
    /// [leaves the memory reachable](MapError::leaves_memory_reachable) it is the caller's to keep.
    fn establish_for<B: DmaMemory>(
        held: Held<P>,
        buffer: &B,
        terms: Terms,
    ) -> Result<Self, MapError> {
        match map_as_it_is(held, buffer, &terms) {
            AsItIs::Mapped(held, range) => Ok(Self::new(held, range, &terms, Backing::InPlace)),
            AsItIs::Failed(error) => Err(error),
            AsItIs::Undecided(held) => Self::establish_any(held, buffer, terms),
        }
    }

    /// As [`establish_for`](Self::establish_for), of memory that was [checked](super::establish::check), however it is given.
    #[inline(never)]
    fn establish_any<B: DmaMemory>(
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
        Ok(Self::new(held, range, &terms, backing))
    }

    #[inline]
    fn new(held: Held<P>, range: BusRange, terms: &Terms, backing: Backing) -> Self {
        Self {
            held,
            range,
            direction: terms.direction,
            attributes: terms.attributes,
            owed: Ok(Owed::NOTHING),
            written_earlier: false,
            backing,
        }
    }

    /// Bytes of the memory.
    fn len_bytes(&self) -> u64 {
        self.held.bytes()
    }

    /// As [`establish`](Self::establish), for a buffer that is given away.
    #[inline]
    pub(crate) fn establish_owned<B: DmaMemory>(
        device: &Device<P>,
        buffer: B,
        terms: Terms,
    ) -> Result<(Self, B), Rejected<B>> {
        // Until the outcome is known the device may reach the memory: should anything panic, it is leaked.
        let buffer = ManuallyDrop::new(buffer);
        let held = Held::new(device, buffer.len_bytes());
        // Here and not only behind the call: what is mapped as it is is then written where the caller has it.
        match map_as_it_is(held, &*buffer, &terms) {
            AsItIs::Mapped(held, range) => {
                let live = Self::new(held, range, &terms, Backing::InPlace);
                Ok((live, ManuallyDrop::into_inner(buffer)))
            }
            AsItIs::Failed(error) => Err(rejected(device, error, buffer)),
            AsItIs::Undecided(held) => match Self::establish_any(held, &*buffer, terms) {
                Ok(live) => Ok((live, ManuallyDrop::into_inner(buffer))),
                Err(error) => Err(rejected(device, error, buffer)),
            },
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

    /// Whether the device was given copies, whole or in part.
    pub(crate) fn backing(&self) -> &Backing {
        &self.backing
    }

    /// Whether [`sync_for_cpu`](Self::sync_for_cpu) and [`sync_for_device`](Self::sync_for_device) do more than order
    /// accesses.
    pub(crate) fn need_sync(&self) -> bool {
        self.held.core().coherence == Coherence::NotSnooped || self.backing.is_copied()
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
        self.backing
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
    pub(crate) fn sync_for_cpu(&self, buffer: NonNull<u8>, offset: u64, len_bytes: u64) {
        self.see_device_writes(buffer, offset, len_bytes);
        if self.attributes.cpu_sync == CpuSync::Skipped {
            // Unmapping will not.
            self.copy_out(buffer, offset, len_bytes);
        }
    }

    /// As [`sync_for_cpu`](Self::sync_for_cpu), for those who share the buffer: it is not written.
    pub(crate) fn see_device_writes(&self, buffer: NonNull<u8>, offset: u64, len_bytes: u64) {
        let core = self.held.core();
        // What the device only reads is in memory as it is in the caches.
        if self.need_sync() && self.direction.device_writes() {
            self.device_side(buffer, offset, len_bytes, |start, len| {
                core.invalidate_cache(start, len);
            });
        }
        core.platform.dma_rmb();
    }

    /// What the CPU wrote there is what the device reads from now on.
    pub(crate) fn sync_for_device(&self, buffer: NonNull<u8>, offset: u64, len_bytes: u64) {
        let core = self.held.core();
        // Where the device only writes, the CPU has only read.
        if self.need_sync() && self.direction.device_reads() {
            self.device_side(buffer, offset, len_bytes, |start, len| {
                core.clean_cache(start, len);
            });
        }
        core.platform.dma_wmb();
    }

    /// Brings what the device wrote to its side into the buffer.
    fn copy_out(&self, buffer: NonNull<u8>, offset: u64, len_bytes: u64) {
        if self.direction.device_writes() {
            let platform = self.held.core().platform;
            // SAFETY: the mapping has the buffer to itself, and views of it are volatile.
            unsafe {
                self.backing
                    .copy_out(platform, buffer, offset, len_bytes, self.len_bytes());
            }
        }
    }

    /// Takes the addresses back; when this returns `Ok` the device reaches nothing through them. Otherwise the memory is
    /// the caller's to keep, for ever.
    pub(crate) fn revoke<B: DmaMemory>(self, buffer: &B) -> Result<(), Quarantined> {
        // SAFETY: the mapping ends with this call.
        match unsafe { self.take_back() } {
            Ok(()) => {
                self.part(buffer);
                Ok(())
            }
            Err(error) => {
                let lost_bytes = self.backing.lent_bytes();
                self.held.core().quarantine.lose(lost_bytes);
                Err(self.quarantined(error))
            }
        }
    }

    /// As [`revoke`](Self::revoke); the buffer comes back, or goes into the device's quarantine.
    pub(crate) fn revoke_owned<B: DmaMemory>(self, buffer: B) -> Result<B, Quarantined> {
        // Should anything panic, it is leaked.
        let buffer = ManuallyDrop::new(buffer);
        // SAFETY: the mapping ends with this call.
        let outcome = unsafe { self.take_back() };
        self.part_owned(buffer, outcome)
    }

    /// Takes the addresses back; [`part_owned`](Self::part_owned) is what follows.
    ///
    /// # Safety
    /// It is called once, and the mapping ends with it.
    #[inline]
    pub(crate) unsafe fn take_back(&self) -> Result<(), RevokeError> {
        let (core, attributes) = (self.held.core(), self.attributes);
        // SAFETY: `range` is of this mapping, which the caller ends.
        unsafe { revoke(core, self.range, &self.backing, attributes, &self.owed) }
    }

    /// Takes the addresses out of the tables; the device may reach the memory until a flush.
    /// [`finish`](Self::finish) tells when it has lost it.
    ///
    /// # Safety
    /// It is called once, and the mapping is not [revoked](Self::revoke) then.
    pub(crate) unsafe fn retire(&mut self) {
        if self.backing.is_always_mapped() {
            return;
        }
        // SAFETY: the caller's promise: the range is of this mapping, and nobody else takes it back.
        let retired = unsafe { self.held.core().route.retire(self.range) };
        self.owed = both(self.owed, retired);
    }

    /// Whether flushes have covered what was [retired](Self::retire), or never will.
    pub(crate) fn is_settled(&self) -> bool {
        match self.owed {
            Ok(owed) => self.held.core().route.outcome(owed).is_some(),
            Err(_) => true,
        }
    }

    /// Flushes if nobody did since this was [retired](Self::retire); when this returns `Ok` the device reaches nothing
    /// through it. The buffer comes back, or goes into the device's quarantine.
    pub(crate) fn finish_owned<B: DmaMemory>(self, buffer: B) -> Result<B, Quarantined> {
        // Should anything panic, it is leaked.
        let buffer = ManuallyDrop::new(buffer);
        let route = &self.held.core().route;
        let outcome = self.owed.and_then(|owed| route.flush_through(owed));
        self.part_owned(buffer, outcome)
    }

    /// Where the device of this [retired](Self::retire) mapping had copies: flushes, brings what it wrote into the buffer,
    /// and gives the copies back.
    pub(crate) fn end_copies<B: DmaMemory>(&mut self, buffer: &B) -> Result<(), RevokeError> {
        if !self.backing.is_copied() {
            return Ok(());
        }
        let route = &self.held.core().route;
        self.owed = self
            .owed
            .and_then(|owed| route.flush_through(owed))
            .map(|()| Owed::NOTHING);
        self.owed?;
        self.take_from_device(buffer);
        let backing = core::mem::replace(&mut self.backing, Backing::InPlace);
        // SAFETY: the route confirmed that the device lost the mapping, or has the copy always.
        unsafe { backing.release(self.held.core()) };
        Ok(())
    }

    /// The error of memory that is not mapped again as [`end_copies`](Self::end_copies) failed.
    pub(crate) fn not_ended<B: DmaMemory>(&self, buffer: &B, error: RevokeError) -> MapError {
        let failure = MapFailure::NotRevoked(error);
        self.held.core().not_mapped(Asked::of(buffer), failure)
    }

    /// Maps the memory of this [retired](Self::retire) mapping again, for the same device. It hangs on the flushes that
    /// this one does, too.
    pub(crate) fn establish_again<B: DmaMemory>(
        &self,
        buffer: &B,
        shape: Shape,
        direction: impl Direction,
    ) -> Result<Self, MapError> {
        let mask = self.held.core().limits.mask();
        let terms = Terms::new(mask, shape, direction).with(self.attributes);
        let held = self.held.another(buffer.len_bytes());
        Ok(Self {
            owed: self.owed,
            written_earlier: self.written_earlier || self.direction.device_writes(),
            ..Self::establish_for(held, buffer, terms)?
        })
    }

    /// Puts the memory into the device's quarantine where mapping it again failed so that the device may reach it, `undo`
    /// saying why.
    pub(crate) fn keep_not_mapped_again<B: DmaMemory>(
        self,
        buffer: ManuallyDrop<B>,
        undo: RevokeError,
    ) {
        let error = self.owed.err().map_or(undo, |owed| undo.or_graver(owed));
        self.keep(buffer, error);
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
    #[inline]
    pub(crate) fn part_owned<B: DmaMemory>(
        self,
        buffer: ManuallyDrop<B>,
        outcome: Result<(), RevokeError>,
    ) -> Result<B, Quarantined> {
        match outcome {
            Ok(()) => {
                self.part(&*buffer);
                Ok(ManuallyDrop::into_inner(buffer))
            }
            Err(error) => Err(self.kept(buffer, error)),
        }
    }

    #[cold]
    fn kept<B: DmaMemory>(self, buffer: ManuallyDrop<B>, error: RevokeError) -> Quarantined {
        let quarantined = self.quarantined(error);
        self.keep(buffer, error);
        quarantined
    }

    fn keep<B: DmaMemory>(self, buffer: ManuallyDrop<B>, error: RevokeError) {
        let len_bytes = buffer.len_bytes();
        let core = self.held.core();
        core.keep_from_use(buffer, len_bytes, self.backing, error);
    }

    /// The last of a mapping that was taken back.
    #[inline]
    fn part<B: DmaMemory>(self, buffer: &B) {
        self.take_from_device(buffer);
        if self.backing.is_copied() {
            self.give_copies_back();
        }
    }

    #[inline(never)]
    fn give_copies_back(self) {
        // SAFETY: the route confirmed that the device lost the mapping, or has the copy always.
        unsafe { self.backing.release(self.held.core()) };
    }

    /// Makes what the device wrote, before it lost the memory, what the CPU reads in the buffer.
    #[inline]
    fn take_from_device<B: DmaMemory>(&self, buffer: &B) {
        let core = self.held.core();
        let is_automatic = self.need_sync() && self.attributes.cpu_sync == CpuSync::Automatic;
        // After the device lost the memory: until then lines of it could come into the caches and be outdated again.
        if is_automatic && self.direction.device_writes() {
            self.device_side(buffer.pointer(), 0, self.len_bytes(), |start, len| {
                core.invalidate_cache(start, len);
            });
        } else if is_automatic && self.written_earlier {
            core.invalidate_cache(buffer.pointer(), buffer.len_bytes());
        }
        core.platform.dma_rmb();
        if is_automatic {
            self.copy_out(buffer.pointer(), 0, self.len_bytes());
        }
    }
}
