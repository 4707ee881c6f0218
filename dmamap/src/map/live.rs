//! A mapping that lives: what every kind of handle is made of.

use core::mem::ManuallyDrop;
use core::ptr::NonNull;

use crate::addr::{BusRange, FRAME_BYTES, PhysRange};
use crate::buffer::DmaMemory;
use crate::device::{Coherence, Device, Held};
use crate::iommu::RevokeError;
use crate::map::attributes::CpuSync;
use crate::map::error::{MapError, MapFailure, Quarantined, Rejected};
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

/// Bus addresses that a device may use now, and the hold on the device that goes with them.
///
/// Dropping one without [`revoke`](Self::revoke) would leave the addresses usable: its owners never do.
pub(crate) struct Live<P: Platform> {
    held: Held<P>,
    range: BusRange,
    terms: Terms,
}

impl<P: Platform> Live<P> {
    /// Maps `buffer`, which stays untouched by anyone else until [`revoke`](Self::revoke).
    pub(crate) fn establish<B: DmaMemory>(
        device: &Device<P>,
        buffer: &B,
        terms: Terms,
    ) -> Result<Self, MapError> {
        let len_bytes = buffer.len_bytes();
        let first = buffer.segment(0);
        let fail = |failure| MapError {
            device: device.requester(),
            failure,
        };
        // Memory of another machine, or that no machine lent, is told by where this one's CPU sees it.
        let virt = buffer.virt();
        if device.platform().virt_to_phys(virt) != Some(first.start()) {
            return Err(fail(MapFailure::NotDmaMemory { virt }));
        }
        if terms.shape != Shape::Pieces && first.len_bytes() != len_bytes {
            return Err(fail(MapFailure::NotContiguous { first }));
        }
        let held = Held::new(device, len_bytes);
        let core = held.core();
        if core.system.is_asleep() {
            held.withdraw();
            return Err(fail(MapFailure::Suspended));
        }
        if terms.attributes.cpu_sync == CpuSync::Automatic {
            // Whatever the direction: what the CPU wrote goes to memory; and no dirty line is left to be written over what the device will
            // write. Whole frames: the device reaches what follows the buffer in its last one, and memory may still
            // hold there what somebody else wrote.
            core.clean_cache(buffer.pointer(), len_bytes.next_multiple_of(FRAME_BYTES));
        }
        match core
            .route
            .map(&terms, first, len_bytes, &mut Pieces::of(buffer))
        {
            Ok(range) => Ok(Self { held, range, terms }),
            Err(failure) => {
                held.withdraw();
                Err(fail(failure))
            }
        }
    }

    /// As [`establish`](Self::establish), for a buffer that is given away.
    pub(crate) fn establish_owned<B: DmaMemory>(
        device: &Device<P>,
        buffer: B,
        terms: Terms,
    ) -> Result<(Self, B), Rejected<B>> {
        // Until the outcome is known the device may reach the memory: should anything panic, it is leaked.
        let buffer = ManuallyDrop::new(buffer);
        match Self::establish(device, &*buffer, terms) {
            Ok(live) => Ok((live, ManuallyDrop::into_inner(buffer))),
            Err(error) if error.leaves_memory_reachable() => {
                device.core().quarantine.keep(buffer);
                Err(Rejected {
                    error,
                    buffer: None,
                })
            }
            Err(error) => Err(Rejected {
                error,
                buffer: Some(ManuallyDrop::into_inner(buffer)),
            }),
        }
    }

    pub(crate) fn held(&self) -> &Held<P> {
        &self.held
    }

    pub(crate) fn range(&self) -> BusRange {
        self.range
    }

    /// Whether [`sync_for_cpu`](Self::sync_for_cpu) and [`sync_for_device`](Self::sync_for_device) do more than order
    /// accesses.
    pub(crate) fn need_sync(&self) -> bool {
        self.held.core().coherence == Coherence::NotSnooped
    }

    /// What the device wrote to the `len_bytes` bytes at `start`, memory of the mapped buffer, is what the CPU reads from
    /// now on.
    pub(crate) fn sync_for_cpu(&self, start: NonNull<u8>, len_bytes: u64) {
        let core = self.held.core();
        // What the device only reads is in memory as it is in the caches.
        if self.terms.direction.device_writes() {
            core.invalidate_cache(start, len_bytes);
        }
        core.platform.dma_rmb();
    }

    /// What the CPU wrote to the `len_bytes` bytes at `start`, memory of the mapped buffer, is what the device reads from
    /// now on.
    pub(crate) fn sync_for_device(&self, start: NonNull<u8>, len_bytes: u64) {
        let core = self.held.core();
        // Where the device only writes, the CPU has only read.
        if self.terms.direction.device_reads() {
            core.clean_cache(start, len_bytes);
        }
        core.platform.dma_wmb();
    }

    /// Takes the addresses back; when this returns `Ok` the device reaches nothing through them. Otherwise the memory is
    /// the caller's to keep.
    pub(crate) fn revoke<B: DmaMemory>(self, buffer: &B) -> Result<(), Quarantined> {
        self.end(buffer)
    }

    fn end<B: DmaMemory>(&self, buffer: &B) -> Result<(), Quarantined> {
        let core = self.held.core();
        let (device, range) = (core.requester, self.range);
        core.route.unmap(range).map_err(|error| Quarantined {
            device,
            range,
            error,
        })?;
        let Terms {
            direction,
            attributes,
            ..
        } = self.terms;
        // After the device lost the memory: until then lines of it could come into the caches and be outdated again.
        if direction.device_writes() && attributes.cpu_sync == CpuSync::Automatic {
            core.invalidate_cache(buffer.pointer(), buffer.len_bytes());
        }
        // What the device wrote before it lost the memory is read after this.
        core.platform.dma_rmb();
        Ok(())
    }

    /// As [`revoke`](Self::revoke); the buffer comes back, or goes into the device's quarantine.
    pub(crate) fn revoke_owned<B: DmaMemory>(self, buffer: B) -> Result<B, Quarantined> {
        // Should anything panic, it is leaked.
        let buffer = ManuallyDrop::new(buffer);
        match self.end(&*buffer) {
            Ok(()) => Ok(ManuallyDrop::into_inner(buffer)),
            Err(quarantined) => {
                let quarantine = &self.held.core().quarantine;
                match quarantined.error {
                    // Nothing was taken from the device, so that it would never come back.
                    RevokeError::Table(_) => quarantine.lose(buffer.len_bytes()),
                    RevokeError::Unit(_) | RevokeError::DetachUnconfirmed => {
                        quarantine.keep(buffer)
                    }
                }
                Err(quarantined)
            }
        }
    }
}
