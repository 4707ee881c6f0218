//! The layer below the safe one, for a kernel's block layer or a C interface: bus addresses without owners.
//!
//! | calls | Linux's | file |
//! |---|---|---|
//! | [`map_phys`](Device::map_phys), [`map_page`](Device::map_page), [`map_single_raw`](Device::map_single_raw), [`unmap_phys`](Device::unmap_phys) | `dma_map_phys`, `_page`, `_single` | `single` |
//! | [`map_sg_raw`](Device::map_sg_raw), [`unmap_sg_raw`](Device::unmap_sg_raw) | `dma_map_sg` | `sg` |
//! | [`sync_raw_single_for_cpu`](Device::sync_raw_single_for_cpu) and others | `dma_sync_…` | `sync` |
//!
//! Every call here says what the safe layer would have proved. The direction is chosen at run time. Each `map` has a
//! sibling `…_attrs` that takes [`Attributes`](crate::map::Attributes); unmaps and syncs take what the mapping was made with.
//!
//! ```
//! # use board as _;
//! # use dmamap::{addr::PhysRange, device::Device, map::{AnyDirection, Asked, Attributes}, platform::Platform};
//! /// # Safety
//! /// The frames are lent to the caller, who refers to them by nothing else meanwhile.
//! unsafe fn send<P: Platform>(device: &Device<P>, frames: PhysRange) -> Result<(), Box<dyn std::error::Error>> {
//!     let direction = AnyDirection::ToDevice;
//!     // SAFETY: the caller's promise.
//!     let bus = unsafe { device.map_phys(frames, direction)? };
//!     // … tell the device `bus` and wait until it has finished …
//!     // SAFETY: mapped above, the same way.
//!     unsafe { device.unmap_phys(bus, direction, Attributes::NONE)? };
//!     Ok(())
//! }
//! ```

mod caches;
mod copies;
mod sg;
mod single;
mod sync;

use crate::addr::{BusRange, PhysRange};
use crate::buffer::Frames;
use crate::device::{Device, Held};
use crate::iommu::RevokeError;
use crate::map::attributes::CpuSync;
use crate::map::backing::Backing;
use crate::map::copies::Copies;
use crate::map::error::{MapError, MapFailure, Quarantined};
use crate::map::establish::{establish, fail, revoke};
use crate::map::place::{Contents, Memory, Placed};
use crate::map::terms::{Shape, Terms};
use crate::map::{AnyDirection, Asked, Attributes};
use crate::pagetable::Replay;
use crate::platform::Platform;

pub(super) use copies::Way;
pub(super) use single::is_whole;

pub use sync::RawSyncError;

impl<P: Platform> Device<P> {
    /// Maps all bytes of `pieces`, of which there is one; the count, and the copies, are the unmap's to take back.
    ///
    /// # Safety
    /// That of [`map_phys`](Self::map_phys), for each piece.
    unsafe fn map_raw(
        &self,
        shape: Shape,
        pieces: &[PhysRange],
        direction: AnyDirection,
        attributes: Attributes,
    ) -> Result<Placed, MapError> {
        let asked = asked_of(pieces);
        let Some(&first) = pieces.first() else {
            return Err(fail(self, asked, MapFailure::Empty));
        };
        let terms = Terms::new(self.mask(), shape, direction).with(attributes);
        terms
            .check_coherence(self.core().coherence)
            .map_err(|failure| fail(self, asked, failure))?;
        let mut memory = Memory {
            first,
            len_bytes: total(pieces),
            pieces: &mut Replay::new(pieces.iter().copied()),
            contents: Contents::AsLent,
            frames: Frames::Shared,
        };
        let len_bytes = memory.len_bytes;
        let held = Held::new(self, len_bytes);
        // SAFETY: the caller says that the memory is RAM, allocated, and not written by references.
        let established = unsafe { establish(held, &terms, &mut memory) };
        let (held, placed) = established.inspect_err(|error| self.count_kept(error, len_bytes))?;
        core::mem::forget(held);
        Ok(placed)
    }

    /// Takes `pieces`, which were mapped at `range`, from the device, and lets the CPU have what it wrote.
    ///
    /// # Safety
    /// That of [`unmap_phys`](Self::unmap_phys), `pieces` being all that was mapped there.
    unsafe fn unmap_raw(
        &self,
        range: BusRange,
        pieces: &[PhysRange],
        backing: Backing,
        direction: AnyDirection,
        attributes: Attributes,
    ) -> Result<(), Quarantined> {
        let core = self.core();
        let len_bytes = total(pieces);
        // SAFETY: the caller's promise.
        let backing = unsafe { self.revoke_raw(range, len_bytes, backing, attributes)? };
        if attributes.cpu_sync == CpuSync::Automatic {
            if direction.device_writes() {
                // After the device lost the memory: until then lines of it could come into the caches and be outdated.
                self.invalidate_sides(&backing, pieces, 0, len_bytes);
            }
            core.platform.dma_rmb();
            // SAFETY: the caller says that the memory is allocated until this returns; what the device may write nobody
            // refers to.
            unsafe { self.copy_pieces(&backing, pieces, 0, len_bytes, Way::ToMemory) };
        } else {
            core.platform.dma_rmb();
        }
        // SAFETY: the route confirmed that the device lost the mapping, or has the copy always.
        unsafe { backing.release(core) };
        Ok(())
    }

    /// Makes `range` unreachable and takes the count of its `len_bytes` bytes back; so come the copies, or they are kept.
    ///
    /// # Safety
    /// `range` is what was returned when it was mapped, and this is the first call that takes it back.
    pub(super) unsafe fn revoke_raw(
        &self,
        range: BusRange,
        len_bytes: u64,
        backing: Backing,
        attributes: Attributes,
    ) -> Result<Backing, Quarantined> {
        let core = self.core();
        // SAFETY: the caller's promise.
        let revoked = unsafe {
            revoke(
                core,
                &core.route,
                range,
                Copies::of(&backing),
                attributes,
                None,
            )
        };
        self.raw_taken_back(range, len_bytes, backing, revoked)
    }

    /// The last of a mapping that was taken back, or not, as `revoked` says.
    fn raw_taken_back(
        &self,
        range: BusRange,
        len_bytes: u64,
        backing: Backing,
        revoked: Result<(), RevokeError>,
    ) -> Result<Backing, Quarantined> {
        let core = self.core();
        let quarantined = |error| Quarantined {
            device: core.requester,
            range,
            error,
        };
        let outcome = match revoked {
            Ok(()) => Ok(backing),
            // What is mapped there goes on to count.
            Err(error) if error.changed_nothing() => return Err(quarantined(error)),
            Err(error) => {
                core.quarantine.count_foreign(len_bytes);
                core.keep_copies_from_use(backing, error);
                Err(quarantined(error))
            }
        };
        core.counters.end(len_bytes);
        outcome
    }

    /// Counts memory that the device may reach although it was not mapped: its owner keeps it.
    pub(super) fn count_kept(&self, error: &MapError, len_bytes: u64) {
        if error.leaves_memory_reachable() {
            self.core().quarantine.count_foreign(len_bytes);
        }
    }
}

/// What errors say of `pieces`.
fn asked_of(pieces: &[PhysRange]) -> Asked {
    let first = pieces.first().map(|piece| piece.start());
    Asked::maybe_from(first, total(pieces))
}

/// Bytes of all pieces.
fn total(pieces: &[PhysRange]) -> u64 {
    let lengths = pieces.iter().map(|piece| piece.len_bytes());
    lengths.reduce(u64::saturating_add).unwrap_or_default()
}
