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

use crate::addr::FRAME_BYTES;
use crate::bounce::BounceError;
use crate::buffer::BufferError;
use crate::device::Device;
use crate::iommu::Requester;
use crate::map::error::{MapError, Quarantined};
use crate::platform::{Platform, VirtualMapError};

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

/// Why coherent memory could not be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CoherentError {
    /// The platform lent no memory for it.
    #[error(transparent)]
    Buffer(#[from] BufferError),
    /// The pool that the device is restricted to has none for it.
    #[error(transparent)]
    Bounce(#[from] BounceError),
    /// The device cannot be given it.
    #[error(transparent)]
    Map(#[from] MapError),
    /// The device has memory of its own, and that is used up.
    #[error(transparent)]
    Declared(#[from] DeclaredFull),
    /// The CPU is to reach the memory past its caches, as the device does not snoop or the caller wants it so, and the
    /// platform could not map it like that.
    #[error("{device}: its memory cannot be mapped past the CPU's caches: {error}")]
    Uncached {
        /// The device.
        device: Requester,
        /// What the platform said.
        error: VirtualMapError,
    },
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
        let memory = reported(self, options, self.obtain::<T>(count, options))?;
        // SAFETY: the memory holds `count` elements from a frame's start on, is the value's from here on, and is freed when
        // that ends; no reference to it is made.
        let elements = unsafe {
            Elements::new(
                self.platform(),
                memory.pointer(),
                memory.bus(),
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
        if len_bytes == 0 || align as u64 > FRAME_BYTES {
            return Err(CoherentError::Element { len_bytes, align });
        }
        let bytes = (len_bytes as u64)
            .checked_mul(count as u64)
            .ok_or(BufferError::TooLong {
                len_bytes: u64::MAX,
            })?;
        Memory::obtain(self, bytes, options, CpuReach::Elements)
    }
}

/// `outcome`, told to the log if it is a failure and the caller does not see to that.
fn reported<P: Platform, M>(
    device: &Device<P>,
    options: CoherentOptions,
    outcome: Result<M, CoherentError>,
) -> Result<M, CoherentError> {
    if let Err(error) = &outcome
        && options.report == Report::Logged
    {
        log::warn!("{}: no coherent memory: {error}", device.requester());
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
