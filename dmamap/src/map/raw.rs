//! The layer below the safe one, for a kernel's block layer or a C interface: bus addresses without owners.
//!
//! Every call here says what the safe layer would have proved. The direction is chosen at run time.

use crate::addr::{BusRange, FRAME_SIZE_LOG2, PhysAddr, PhysRange, VirtAddr};
use crate::buffer::Frames;
use crate::device::{Counters, Device, Held};
use crate::iommu::{DomainError, Owed, RevokeError};
use crate::map::error::{MapError, MapFailure, Quarantined};
use crate::map::live::take_back;
use crate::map::maintain::{clean_pieces, invalidate_mapped};
use crate::map::place::{Contents, Memory, Placed};
use crate::map::raw_copy::Copy;
use crate::map::terms::{Shape, Terms};
use crate::map::{AnyDirection, Attributes};
use crate::pagetable::Replay;
use crate::platform::Platform;

impl<P: Platform> Device<P> {
    /// Maps physical memory for the device (`dma_map_phys`). Behind an IOMMU a device that was
    /// [trusted](crate::system::DmaSystem::attach_trusted) reaches every byte of the frames the range touches, any other
    /// the range alone: it is given copies of what lies in frames that the range does not cover.
    ///
    /// # Errors
    /// [`MapError`]; the memory is as it was, unless [`MapError::leaves_memory_reachable`].
    ///
    /// # Safety
    /// - `memory` is RAM, and stays allocated until [`unmap_raw`](Self::unmap_raw) returned `Ok`, or, where it returned
    ///   [`Quarantined`], until a [`recover`](Self::recover) or [`reset`](Self::reset) that began later did.
    /// - Until then no reference to any byte of its frames is used that the device's accesses in `direction`
    ///   would break: none at all where the device writes, none that writes where it reads.
    /// - The mapping is unmapped before the device is detached, or its memory is kept until
    ///   [`Device::detach`] returned `Ok`.
    pub unsafe fn map_phys(
        &self,
        memory: PhysRange,
        direction: AnyDirection,
    ) -> Result<BusRange, MapError> {
        let mut memory = Memory {
            first: memory,
            len_bytes: memory.len_bytes(),
            pieces: &mut Replay::new(core::iter::once(memory)),
            contents: Contents::AsLent,
            frames: Frames::Shared,
        };
        // SAFETY: the caller says that the memory is RAM, allocated, and not written by references.
        unsafe { self.map_raw(&mut memory, direction) }
    }

    /// Maps `len_bytes` bytes from byte `offset` of a frame on (`dma_map_page`).
    ///
    /// # Errors
    /// As [`map_phys`](Self::map_phys).
    ///
    /// # Safety
    /// As [`map_phys`](Self::map_phys).
    pub unsafe fn map_page(
        &self,
        frame: PhysAddr,
        offset: u64,
        len_bytes: u64,
        direction: AnyDirection,
    ) -> Result<BusRange, MapError> {
        let memory = frame
            .checked_add(offset)
            .and_then(|start| PhysRange::new(start, len_bytes).ok())
            .ok_or_else(|| self.fail(MapFailure::TooLong { len_bytes }))?;
        // SAFETY: the caller's promise is `map_phys`'s.
        unsafe { self.map_phys(memory, direction) }
    }

    /// Maps `len_bytes` bytes from the virtual address `virt` on, which must be physically contiguous memory
    /// of the platform (`dma_map_single`).
    ///
    /// # Errors
    /// As [`map_phys`](Self::map_phys), and [`MapFailure::NotDmaMemory`] for stacks, images and heaps that
    /// are not the machine's RAM, [`MapFailure::NotContiguous`] for memory in pieces.
    ///
    /// # Safety
    /// As [`map_phys`](Self::map_phys), for the physical memory behind `virt`.
    pub unsafe fn map_single_raw(
        &self,
        virt: VirtAddr,
        len_bytes: u64,
        direction: AnyDirection,
    ) -> Result<BusRange, MapError> {
        let memory = self
            .contiguous(virt, len_bytes)
            .map_err(|failure| self.fail(failure))?;
        // SAFETY: the caller's promise is `map_phys`'s.
        unsafe { self.map_phys(memory, direction) }
    }

    /// Maps pieces of memory (`dma_map_sg`): the bus addresses of each go into `segments`, of which as many
    /// are used as the number returned says. Behind an IOMMU pieces whose inner ends lie on frame
    /// boundaries become one segment, and the whole is unmapped with [`unmap_raw`](Self::unmap_raw)
    /// of that segment.
    ///
    /// # Errors
    /// As [`map_phys`](Self::map_phys), for all pieces; [`MapFailure::TooManySegments`] if `segments` is too
    /// short. No piece stays mapped.
    ///
    /// # Safety
    /// As [`map_phys`](Self::map_phys), for each piece.
    pub unsafe fn map_sg_raw(
        &self,
        pieces: &[PhysRange],
        segments: &mut [BusRange],
        direction: AnyDirection,
    ) -> Result<usize, MapError> {
        let room = segments.len();
        let (Some(&first), Some(slot)) = (pieces.first(), segments.first_mut()) else {
            let failure = if pieces.is_empty() {
                MapFailure::Empty
            } else {
                MapFailure::TooManySegments { room }
            };
            return Err(self.fail(failure));
        };
        if self.core().route.joins_pieces() && inner_ends_are_aligned(pieces) {
            let lengths = pieces.iter().map(|piece| piece.len_bytes());
            let len_bytes = lengths.reduce(u64::saturating_add).unwrap_or_default();
            let mut memory = Memory {
                first,
                len_bytes,
                pieces: &mut Replay::new(pieces.iter().copied()),
                contents: Contents::AsLent,
                frames: Frames::Shared,
            };
            // SAFETY: the caller's promise, for each piece.
            match unsafe { self.map_raw(&mut memory, direction) } {
                Ok(range) => {
                    *slot = range;
                    return Ok(1);
                }
                // It must be copied as a whole: then each piece by itself.
                Err(MapError {
                    failure: MapFailure::NotContiguous { .. },
                    ..
                }) => {}
                Err(error) => return Err(error),
            }
        }
        if pieces.len() > room {
            return Err(self.fail(MapFailure::TooManySegments { room }));
        }
        for (n, &piece) in pieces.iter().enumerate() {
            // SAFETY: the caller's promise covers each piece.
            match unsafe { self.map_phys(piece, direction) } {
                Ok(range) => segments[n] = range,
                Err(error) => {
                    let mut outcome = error;
                    for &mapped in &segments[..n] {
                        // SAFETY: mapped above and told to nobody.
                        let undone = unsafe { self.unmap_raw(mapped) };
                        if let Err(Quarantined {
                            error: undo @ RevokeError::Unit(cause),
                            ..
                        }) = undone
                        {
                            // More urgent than why the list was not mapped.
                            let kept = DomainError::Unconfirmed { cause, undo };
                            outcome = self.fail(MapFailure::Domain(kept));
                        }
                    }
                    return Err(outcome);
                }
            }
        }
        Ok(pieces.len())
    }

    /// Takes a mapping of this layer back; when this returns `Ok` the device reaches nothing through it
    /// (`dma_unmap_single`, `dma_unmap_page`, `dma_unmap_phys`), or is trusted not to try
    /// ([`Protection::Deferred`](crate::system::Protection::Deferred)).
    ///
    /// # Errors
    /// [`Quarantined`] when the IOMMU did not confirm: the memory must be kept. Also when nothing is mapped
    /// at `range`.
    ///
    /// # Safety
    /// `range` is one that a call of this layer for this device returned, whole, and not unmapped yet. Where no IOMMU
    /// translates, or the device does not snoop, the device has finished with it.
    pub unsafe fn unmap_raw(&self, range: BusRange) -> Result<(), Quarantined> {
        let core = self.core();
        // Now, as the tables tell where the memory is.
        invalidate_mapped(core, range);
        let backing = core.backing_of(range);
        let outcome = match backing.is_always_mapped() {
            true => Ok(()),
            false => take_back(
                core,
                range,
                backing.revoked_with(Attributes::NONE),
                Ok(Owed::NOTHING),
            ),
        };
        let (shares, bytes) = (core.counters.shares(), range.len_bytes());
        match outcome {
            Ok(()) => {}
            // Nothing has changed: what is mapped there goes on to count.
            Err(error @ RevokeError::Table(_)) => {
                return Err(Quarantined {
                    device: core.requester,
                    range,
                    error,
                });
            }
            Err(_) => {}
        }
        let end = || {
            // SAFETY: the mapping was counted when it was made, and `self` keeps the counters alive.
            core.platform
                .pin(|cpu| unsafe { Counters::<P>::finish(shares, cpu, bytes) });
        };
        if let Err(error) = outcome {
            core.quarantine.count_foreign(bytes);
            core.keep_copies_from_use(backing, error);
            end();
            return Err(Quarantined {
                device: core.requester,
                range,
                error,
            });
        }
        end();
        core.platform.dma_rmb();
        // SAFETY: the caller says that the memory is allocated until this returns; what the device may write nobody refers
        // to. The route confirmed that the device lost the mapping, or it has the copy always.
        unsafe {
            core.copy_raw(&backing, range, 0, bytes, Copy::ToMemory);
            backing.release(core);
        }
        Ok(())
    }

    /// # Safety
    /// As [`map_phys`](Self::map_phys), for all of `memory`.
    unsafe fn map_raw(
        &self,
        memory: &mut Memory<'_>,
        direction: AnyDirection,
    ) -> Result<BusRange, MapError> {
        let len_bytes = memory.len_bytes;
        let held = Held::new(self, len_bytes);
        let core = self.core();
        if core.system.is_asleep() {
            held.withdraw();
            return Err(self.fail(MapFailure::Suspended));
        }
        let terms = Terms::new(core.limits.mask(), Shape::Pieces, direction);
        clean_pieces(core, memory.pieces);
        // SAFETY: the caller's promise.
        match unsafe { core.place(&terms, memory) } {
            Ok(Placed { range, backing }) => {
                // The count and the copies are `unmap_raw`'s to take back.
                core::mem::forget((held, backing));
                Ok(range)
            }
            Err(failure) => {
                let error = self.fail(failure);
                if error.leaves_memory_reachable() {
                    core.quarantine.count_foreign(len_bytes);
                }
                held.withdraw();
                Err(error)
            }
        }
    }

    fn contiguous(&self, virt: VirtAddr, len_bytes: u64) -> Result<PhysRange, MapFailure> {
        if len_bytes == 0 {
            return Err(MapFailure::Empty);
        }
        let platform = self.platform();
        let phys = |virt| {
            platform
                .virt_to_phys(virt)
                .ok_or(MapFailure::NotDmaMemory { virt })
        };
        let start = phys(virt)?;
        let memory =
            PhysRange::new(start, len_bytes).map_err(|_| MapFailure::TooLong { len_bytes })?;
        let step = 1 << FRAME_SIZE_LOG2;
        let mut offset = step - virt.frame_offset();
        while offset < len_bytes {
            let virt = virt
                .checked_add(offset)
                .ok_or(MapFailure::TooLong { len_bytes })?;
            if Some(phys(virt)?) != start.checked_add(offset) {
                let first = PhysRange::new(start, offset).unwrap_or(memory);
                return Err(MapFailure::NotContiguous { first });
            }
            offset += step;
        }
        Ok(memory)
    }

    fn fail(&self, failure: MapFailure) -> MapError {
        MapError {
            device: self.requester(),
            failure,
        }
    }
}

/// Whether every piece but the first starts, and every piece but the last ends, on a frame boundary.
fn inner_ends_are_aligned(pieces: &[PhysRange]) -> bool {
    pieces.windows(2).all(|pair| {
        let end = pair[0].start().as_u64().wrapping_add(pair[0].len_bytes());
        PhysAddr::new(end).frame_offset() == 0 && pair[1].start().frame_offset() == 0
    })
}
