//! Coherent memory: shared with a device for as long as both need it, seen by both without syncs.
//!
//! Queues and descriptor rings live in it. Order still matters: write the body, then
//! [`dma_wmb`](crate::platform::Platform::dma_wmb), then the flag that makes it valid.

mod elements;
mod publish;

use core::fmt;
use core::ops::Deref;

use crate::addr::{FRAME_BYTES, FRAME_SIZE_LOG2};
use crate::buffer::{BufferError, DmaBuffer, DmaMemory};
use crate::device::Device;
use crate::map::Bidirectional;
use crate::map::error::{MapError, Quarantined};
use crate::map::live::Live;
use crate::map::terms::{Shape, Terms};
use crate::platform::Platform;

pub use elements::{Elements, Shared};
pub use publish::{Descriptors, FlagWord, Published};

/// Why coherent memory could not be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CoherentError {
    /// The platform lent no memory for it.
    #[error(transparent)]
    Buffer(#[from] BufferError),
    /// The device cannot be given it.
    #[error(transparent)]
    Map(#[from] MapError),
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
    /// [`bus_addr`](Elements::bus_addr) (`dma_alloc_coherent`). The first is aligned, on the bus and in
    /// memory, to the power of two of bytes that holds them all.
    ///
    /// # Errors
    /// [`CoherentError`].
    pub fn alloc_coherent<T: Shared>(&self, count: usize) -> Result<Coherent<P, T>, CoherentError> {
        let (len_bytes, align) = (size_of::<T>(), align_of::<T>());
        if len_bytes == 0 || align as u64 > FRAME_BYTES {
            return Err(CoherentError::Element { len_bytes, align });
        }
        let bytes = (len_bytes as u64)
            .checked_mul(count as u64)
            .ok_or(BufferError::TooLong {
                len_bytes: u64::MAX,
            })?;
        let page_bytes = self.page_bytes();
        // Where the unit's pages are larger than frames, whole pages: all of them become reachable.
        let bytes = match page_bytes {
            FRAME_BYTES => bytes,
            _ => bytes
                .checked_next_multiple_of(page_bytes)
                .ok_or(BufferError::TooLong { len_bytes: bytes })?,
        };
        let order = bytes
            .checked_next_multiple_of(page_bytes)
            .and_then(u64::checked_next_power_of_two);
        let align_log2 = order.map_or(FRAME_SIZE_LOG2, u64::ilog2);
        let mask = self.coherent_mask();
        let last = self.core().route.last_within(mask);
        let buffer = DmaBuffer::allocate_within(self.platform(), bytes, last, align_log2)?;
        let terms = Terms::new(mask, Shape::AlignedBlock, Bidirectional);
        let (live, buffer) =
            Live::establish_owned(self, buffer, terms).map_err(|rejected| rejected.error)?;
        // SAFETY: the buffer holds `count` elements from a frame's start on, is the value's from here on, and is freed when
        // that ends; no reference to it is made.
        let elements =
            unsafe { Elements::new(self.platform(), buffer.pointer(), live.range(), count) };
        Ok(Coherent {
            elements,
            memory: Some((live, buffer)),
        })
    }
}

/// Elements that the CPU and one device share, and their memory. What can be done with them is [`Elements`]'.
///
/// It may move to another thread, not be shared between threads.
pub struct Coherent<P: Platform, T: Shared> {
    elements: Elements<P, T>,
    /// `None` only while `free` or `drop` runs.
    memory: Option<(Live<P>, DmaBuffer<P>)>,
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
        match self.memory.take() {
            Some((live, buffer)) => live.revoke_owned(buffer).map(drop),
            None => Ok(()),
        }
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
