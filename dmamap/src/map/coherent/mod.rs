//! Coherent memory: shared with a device for as long as both need it, seen by both without syncs.
//!
//! Queues and descriptor rings live in it. Order still matters: the body, then a barrier, then the flag that makes it
//! valid, which is what [`Descriptors`] do.
//!
//! With a device that does not snoop the CPU reaches the memory [past its caches](crate::platform::Platform::map_frames).
//!
//! - [`Coherent`] are elements in whole pages ([`Device::alloc_coherent`], with options [`Device::alloc_attrs`]); [`Opaque`] is
//!   memory that no CPU reaches. What the CPU may do with elements is [`Elements`]'.
//! - Small blocks come from a [`DmaPool`], or where nothing may be waited for from an [`AtomicPool`].
//! - Memory that is mapped when it is allocated but needs syncs is [`Noncoherent`] and [`Noncontiguous`].
//! - A device's own memory is `declared.rs`; where the platform's comes from is `memory.rs`.

mod atomic;
mod declared;
mod elements;
mod memory;
mod noncoherent;
mod noncontiguous;
mod opaque;
mod options;
mod pool;
mod publish;

use core::fmt;
use core::ops::Deref;

use crate::addr::{BusAddr, DmaMask, FRAME_BYTES, PhysRange};
use crate::bounce::BounceError;
use crate::buffer::BufferError;
use crate::device::Device;
use crate::iommu::Requester;
use crate::map::error::{MapFailure, Quarantined};
use crate::platform::{MemoryAttribute, Platform, VirtualMapError};

use memory::{CpuReach, Memory};
use options::Report;

pub use atomic::{AtomicBlock, AtomicDestroyError, AtomicPool, AtomicPoolError, AtomicPoolFigures};
pub(crate) use declared::{CoherentSources, Ground};
pub use declared::{DeclareError, DeclaredFull};
pub use elements::{Elements, Shared};
pub use noncoherent::Noncoherent;
pub use noncontiguous::Noncontiguous;
pub use opaque::Opaque;
pub use options::CoherentOptions;
pub use pool::{DestroyError, DmaPool, LayoutError, PoolBlock, PoolError, PoolFigures, PoolLayout};
pub use publish::{Descriptors, FlagWord, Published};

/// Memory that could not be allocated for a device and mapped, and for which.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{device}, {len_bytes:#x} bytes at or below bus {last}: {failure}")]
pub struct CoherentError {
    /// The device.
    pub device: Requester,
    /// Bytes asked for; as many as can be counted, where they were more.
    pub len_bytes: u64,
    /// The highest bus address that they may have: by the device's mask, or by the path to memory.
    pub last: BusAddr,
    /// What stood in the way.
    pub failure: CoherentFailure,
}

/// Why memory could not be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CoherentFailure {
    /// The platform lent no memory for it.
    #[error(transparent)]
    Buffer(#[from] BufferError),
    /// The pool that the device is restricted to has none for it.
    #[error(transparent)]
    Bounce(#[from] BounceError),
    /// The device cannot be given it.
    #[error(transparent)]
    Map(#[from] MapFailure),
    /// The device has memory of its own, and that is used up.
    #[error(transparent)]
    Declared(#[from] DeclaredFull),
    /// The CPU is to reach the memory past its caches, as the device does not snoop or the caller wants it so, and the
    /// platform could not map it like that.
    #[error("it cannot be mapped past the CPU's caches: {0}")]
    Uncached(VirtualMapError),
    /// An element needs a stricter alignment than a frame has, or takes no space.
    #[error("elements of {len_bytes} bytes aligned to {align} cannot be coherent memory")]
    Element {
        /// Bytes of an element.
        len_bytes: usize,
        /// Its alignment.
        align: usize,
    },
}

impl<P: Platform> Device<P> {
    /// Allocates `count` zeroed elements that the device reads and writes at
    /// [`bus_addr`](Elements::bus_addr) (`dma_alloc_coherent`). The first is aligned on the bus to the power of two of bytes
    /// that holds them all; in memory too where nothing translates.
    ///
    /// # Errors
    /// [`CoherentError`], which is logged as a warning, too.
    pub fn alloc_coherent<T: Shared>(&self, count: usize) -> Result<Coherent<P, T>, CoherentError> {
        self.alloc_attrs(count, CoherentOptions::NONE)
    }

    /// As [`alloc_coherent`](Self::alloc_coherent), with options (`dma_alloc_attrs`).
    ///
    /// # Errors
    /// [`CoherentError`].
    pub fn alloc_attrs<T: Shared>(
        &self,
        count: usize,
        options: CoherentOptions,
    ) -> Result<Coherent<P, T>, CoherentError> {
        let memory = self.obtain::<T>(count, options)?;
        // SAFETY: the memory holds `count` elements from a frame's start on, is the value's from here on, and is freed when
        // that ends; no reference to it is made.
        let elements = unsafe {
            Elements::new(
                self.platform(),
                self.requester(),
                (memory.pointer(), memory.bus()),
                count,
                memory.stores(),
            )
        };
        Ok(Coherent {
            elements,
            memory: Some(memory),
        })
    }

    fn obtain<T: Shared>(
        &self,
        count: usize,
        options: CoherentOptions,
    ) -> Result<Memory<P>, CoherentError> {
        let (len_bytes, align) = (size_of::<T>(), align_of::<T>());
        let bytes = (len_bytes as u64).saturating_mul(count as u64);
        let memory = match len_bytes == 0 || align as u64 > FRAME_BYTES {
            true => Err(CoherentFailure::Element { len_bytes, align }),
            // No machine has so many, if they could not be counted.
            false => Memory::obtain(self, bytes, options, CpuReach::Elements),
        };
        reported(self, bytes, options, memory)
    }

    /// That `len_bytes` bytes could not be had, which were to keep to `reach`.
    fn not_allocated(
        &self,
        len_bytes: u64,
        reach: DmaMask,
        failure: CoherentFailure,
    ) -> CoherentError {
        CoherentError {
            device: self.requester(),
            len_bytes,
            last: reach.last(),
            failure,
        }
    }
}

/// The outcome for `len_bytes` bytes, told to the log if it is a failure and the caller does not see to that.
fn reported<P: Platform, M>(
    device: &Device<P>,
    len_bytes: u64,
    options: CoherentOptions,
    outcome: Result<M, CoherentFailure>,
) -> Result<M, CoherentError> {
    let outcome = outcome
        .map_err(|failure| device.not_allocated(len_bytes, device.coherent_reach(), failure));
    if let Err(error) = &outcome
        && options.report == Report::Logged
    {
        log::warn!("no coherent memory: {error}");
    }
    outcome
}

/// Elements that the CPU and one device share, and their memory. What can be done with them is [`Elements`]'.
///
/// It may move to another thread, not be shared between threads.
pub struct Coherent<P: Platform, T: Shared> {
    elements: Elements<P, T>,
    /// `None` only while `free` or `drop` runs.
    memory: Option<Memory<P>>,
}

impl<P: Platform, T: Shared> Coherent<P, T> {
    /// Gives the memory back (`dma_free_coherent`). Dropping it does the same.
    ///
    /// # Errors
    /// [`Quarantined`] when the IOMMU did not confirm that the device lost it; it is kept then.
    pub fn free(mut self) -> Result<(), Quarantined> {
        self.end()
    }

    fn memory(&self) -> &Memory<P> {
        self.memory
            .as_ref()
            .expect("only `free` and `drop` take the memory")
    }

    /// Y: the physical pieces that the memory is in, in order, for another device to be lent it by
    /// [`map_sg_raw`](Device::map_sg_raw), or a kernel to map it for a process (`dma_get_sgtable`). None of
    /// [declared memory](Device::declare_coherent_memory), of which nobody said where it is.
    ///
    /// They are whole frames of this value's: whoever lends them keeps it meanwhile.
    ///
    /// ```
    /// # use board as _;
    /// use dmamap::addr::BusRange;
    /// use dmamap::device::Device;
    /// use dmamap::map::{AnyDirection, Coherent, MapError};
    /// use dmamap::platform::Platform;
    ///
    /// /// Lets `peer` reach what another device shares with the CPU; returns how many of `told` it is told.
    /// ///
    /// /// # Safety
    /// /// `ring` is kept until `peer` has lost it.
    /// unsafe fn lend<P: Platform>(
    ///     ring: &Coherent<P, u64>,
    ///     peer: &Device<P>,
    ///     told: &mut [BusRange],
    /// ) -> Result<usize, MapError> {
    ///     let pieces: Vec<_> = ring.pieces().collect();
    ///     // SAFETY: frames of the ring's, which nobody has a reference to, and which the caller keeps.
    ///     unsafe { peer.map_sg_raw(&pieces, told, AnyDirection::Bidirectional) }
    /// }
    /// ```
    pub fn pieces(&self) -> impl Iterator<Item = PhysRange> + '_ {
        self.memory().pieces()
    }

    /// How the CPU has the memory mapped, where not as it has all memory: any other mapping of the [`pieces`](Self::pieces),
    /// for a process for one (`dma_mmap_attrs`), is to be the same.
    pub fn attribute(&self) -> Option<MemoryAttribute> {
        self.memory().attribute()
    }

    fn end(&mut self) -> Result<(), Quarantined> {
        self.memory.take().map_or(Ok(()), Memory::free)
    }
}

impl<P: Platform, T: Shared> Deref for Coherent<P, T> {
    type Target = Elements<P, T>;

    fn deref(&self) -> &Elements<P, T> {
        &self.elements
    }
}

impl<P: Platform, T: Shared> Drop for Coherent<P, T> {
    fn drop(&mut self) {
        if let Err(error) = self.end() {
            log::error!("{error}");
        }
    }
}

impl<P: Platform, T: Shared> fmt::Debug for Coherent<P, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Coherent({:?})", self.elements)
    }
}
