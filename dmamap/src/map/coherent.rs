//! Coherent memory: shared with a device for as long as both need it, seen by both without syncs.
//!
//! Queues and descriptor rings live in it. Order still matters: write the body, then
//! [`dma_wmb`](crate::platform::Platform::dma_wmb), then the flag that makes it valid.
//!
//! With a device that does not snoop the CPU reaches the memory [past its caches](crate::platform::Platform::map_frames).

use core::cell::Cell;
use core::fmt;
use core::marker::PhantomData;
use core::ptr::NonNull;

use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::addr::{BusAddr, BusRange, FRAME_BYTES, FRAME_SIZE_LOG2, VirtAddr};
use crate::buffer::{BufferError, DmaBuffer, DmaMemory};
use crate::device::Device;
use crate::iommu::Requester;
use crate::map::Bidirectional;
use crate::map::error::{MapError, Quarantined};
use crate::map::live::Live;
use crate::map::terms::{Shape, Terms};
use crate::map::uncached::Uncached;
use crate::map::view::OutOfBounds;
use crate::platform::{Platform, VirtualMapError};

/// Why coherent memory could not be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CoherentError {
    /// The platform lent no memory for it.
    #[error(transparent)]
    Buffer(#[from] BufferError),
    /// The device cannot be given it.
    #[error(transparent)]
    Map(#[from] MapError),
    /// The device does not snoop, and the platform could not map the memory past the CPU's caches.
    #[error(
        "{device} does not snoop, and past the CPU's caches its memory cannot be mapped: {error}"
    )]
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

/// What both a CPU and a device may read and write at any moment: any bytes are a valid value.
pub trait Shared: FromBytes + IntoBytes + Immutable + Copy + Send + 'static {}
impl<T: FromBytes + IntoBytes + Immutable + Copy + Send + 'static> Shared for T {}

impl<P: Platform> Device<P> {
    /// Allocates `count` zeroed elements that the device reads and writes at
    /// [`bus_addr`](Coherent::bus_addr) (`dma_alloc_coherent`). The first is aligned, on the bus and in
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
        let mask = self.coherent_reach();
        let last = self.core().route.last_within(mask);
        let mut buffer = DmaBuffer::allocate_within(self.platform(), bytes, last, align_log2)?;
        // Before the device reaches the memory: the lines that are dropped are the CPU's alone.
        let uncached = Uncached::for_device(self.core(), &mut buffer).map_err(|error| {
            let device = self.requester();
            CoherentError::Uncached { device, error }
        })?;
        let terms = Terms::new(mask, Shape::AlignedBlock, Bidirectional);
        match Live::establish_owned(self, buffer, terms) {
            Ok(parts) => Ok(Coherent {
                parts: Some(parts),
                uncached,
                count,
                element: PhantomData,
            }),
            Err(rejected) => {
                // Before the buffer is freed with what is left of `rejected`.
                drop(uncached);
                Err(rejected.error.into())
            }
        }
    }
}

/// Elements that the CPU and one device share. The CPU reads and writes whole elements or fields by
/// volatile copies; there is never a reference to them. It may move to another thread, not be shared between threads.
pub struct Coherent<P: Platform, T: Shared> {
    /// `None` only while `free` or `drop` runs.
    parts: Option<(Live<P>, DmaBuffer<P>)>,
    /// The CPU's way past its caches, for a device that does not snoop. Ends before the buffer does.
    uncached: Option<Uncached<P>>,
    count: usize,
    /// Two CPUs that access one element at the same moment would race, so it is not `Sync`.
    element: PhantomData<Cell<T>>,
}

impl<P: Platform, T: Shared> Coherent<P, T> {
    fn parts(&self) -> &(Live<P>, DmaBuffer<P>) {
        self.parts
            .as_ref()
            .expect("only `free` and `drop` take the parts")
    }

    /// Z: where the device finds the first element.
    pub fn bus_addr(&self) -> BusAddr {
        self.range().start()
    }

    /// All bus addresses of the memory.
    pub fn range(&self) -> BusRange {
        self.parts().0.range()
    }

    /// Z of element `index`, or `None` past the end.
    pub fn element_bus_addr(&self, index: usize) -> Option<BusAddr> {
        let offset = (index < self.count).then_some(index * size_of::<T>())?;
        self.bus_addr().checked_add(offset as u64)
    }

    /// X: where the CPU has the first element, for printing.
    pub fn virt(&self) -> VirtAddr {
        VirtAddr::from_ptr(self.pointer().as_ptr())
    }

    /// The CPU's pointer to the first element, for a driver of somebody else's that shares memory by pointers. Valid until
    /// the memory is freed; what is read or written through it meets a device that does the same, so no reference to
    /// the memory may be made of it.
    pub fn pointer(&self) -> NonNull<u8> {
        match &self.uncached {
            Some(uncached) => uncached.pointer(),
            None => self.parts().1.pointer(),
        }
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there are none; never true of memory that could be allocated.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Element `index`, as it is now.
    ///
    /// # Errors
    /// [`OutOfBounds`] past the last element.
    pub fn read(&self, index: usize) -> Result<T, OutOfBounds> {
        self.read_at((index as u64).saturating_mul(size_of::<T>() as u64))
    }

    /// Changes element `index`.
    ///
    /// # Errors
    /// [`OutOfBounds`] past the last element.
    pub fn write(&self, index: usize, value: T) -> Result<(), OutOfBounds> {
        self.write_at((index as u64).saturating_mul(size_of::<T>() as u64), value)
    }

    /// The field of type `U` at byte `offset` of the memory, as it is now; one access where `U` is a
    /// primitive.
    ///
    /// # Errors
    /// [`OutOfBounds`] if it leaves the memory or is not aligned for `U`.
    pub fn read_at<U: Shared>(&self, offset: u64) -> Result<U, OutOfBounds> {
        let field = self.field::<U>(offset)?;
        // SAFETY: in bounds and aligned (checked by `field`), of a type for which any bytes are valid; the
        // memory is ours until `free`, and a device that writes it meanwhile is why the read is volatile.
        Ok(unsafe { field.read_volatile() })
    }

    /// Changes the field of type `U` at byte `offset` of the memory.
    ///
    /// # Errors
    /// [`OutOfBounds`] if it leaves the memory or is not aligned for `U`.
    pub fn write_at<U: Shared>(&self, offset: u64, value: U) -> Result<(), OutOfBounds> {
        let field = self.field::<U>(offset)?;
        // SAFETY: as in `read_at`; no reference to the memory exists.
        unsafe { field.write_volatile(value) };
        Ok(())
    }

    fn field<U: Shared>(&self, offset: u64) -> Result<*mut U, OutOfBounds> {
        let whole_bytes = (self.count * size_of::<T>()) as u64;
        let len_bytes = size_of::<U>() as u64;
        OutOfBounds::check(offset, len_bytes, whole_bytes)?;
        let field = self
            .pointer()
            .as_ptr()
            .wrapping_add(offset as usize)
            .cast::<U>();
        if field.is_aligned() {
            Ok(field)
        } else {
            Err(OutOfBounds {
                offset,
                len_bytes,
                whole_bytes,
            })
        }
    }

    /// Gives the memory back (`dma_free_coherent`). Dropping it does the same.
    ///
    /// # Errors
    /// [`Quarantined`] when the IOMMU did not confirm that the device lost it; it is kept then.
    pub fn free(mut self) -> Result<(), Quarantined> {
        self.end()
    }

    fn end(&mut self) -> Result<(), Quarantined> {
        match self.parts.take() {
            Some((live, buffer)) => {
                // Drops lines of the buffer that came into the caches meanwhile.
                let buffer = live.revoke_owned(buffer);
                self.uncached = None;
                buffer.map(drop)
            }
            None => Ok(()),
        }
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
        write!(f, "Coherent({} elements at {:?})", self.count, self.range())
    }
}
