//! Elements that the CPU and a device share: how the CPU reaches memory of every coherent kind.
//!
//! [`Coherent`](super::Coherent) and the handles of pools deref to [`Elements`], as a vector does to its slice: what can be
//! done with the memory is written once, who gives it back is the handle's affair.

use core::cell::Cell;
use core::fmt;
use core::marker::PhantomData;
use core::ptr::NonNull;

use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::options::CpuStores;
use crate::addr::{BusAddr, BusRange, VirtAddr};
use crate::iommu::Requester;
use crate::map::view::{OutOfBounds, Outside};
use crate::map::window::{copy_in, copy_out};
use crate::platform::Platform;

/// What both a CPU and a device may read and write at any moment: any bytes are a valid value.
pub trait Shared: FromBytes + IntoBytes + Immutable + Copy + Send + 'static {}
impl<T: FromBytes + IntoBytes + Immutable + Copy + Send + 'static> Shared for T {}

/// Elements in memory that a CPU and one device share. The CPU reads and writes whole elements or fields by
/// volatile copies; there is never a reference to them.
///
/// It is not `Sync`: two CPUs that access one element at the same moment would race.
pub struct Elements<P: Platform, T: Shared> {
    platform: P,
    device: Requester,
    start: NonNull<u8>,
    bus: BusRange,
    count: usize,
    stores: CpuStores,
    element: PhantomData<Cell<T>>,
}

// SAFETY: the memory may be accessed from any thread, and this value is the only leave to do so.
unsafe impl<P: Platform, T: Shared> Send for Elements<P, T> {}

impl<P: Platform, T: Shared> Elements<P, T> {
    /// `count` elements at `start`, which `device` finds at `bus`, written as `stores` says.
    ///
    /// # Safety
    /// While the value can be reached, all bytes of the elements are readable and writable for the CPU, aligned for
    /// `T`, and accessed by no CPU but through this value or by volatile means; and `bus` has at least as many bytes.
    pub(super) unsafe fn new(
        platform: P,
        device: Requester,
        (start, bus): (NonNull<u8>, BusRange),
        count: usize,
        stores: CpuStores,
    ) -> Self {
        Self {
            platform,
            device,
            start,
            bus,
            count,
            stores,
            element: PhantomData,
        }
    }

    pub(super) fn platform(&self) -> P {
        self.platform
    }

    /// `count` elements of `U` from byte `offset` on.
    ///
    /// # Safety
    /// They lie inside the memory, aligned for `U`; what was promised to [`new`](Self::new) holds for them as long as what comes
    /// back can be reached, and nothing else accesses them.
    pub(super) unsafe fn part<U: Shared>(&self, offset: u64, count: usize) -> Elements<P, U> {
        // SAFETY: inside the memory.
        let start = unsafe { self.start.add(offset as usize) };
        let len_bytes = (count * size_of::<U>()) as u64;
        let bus = (self.bus)
            .slice(offset, len_bytes)
            .expect("a part lies inside its memory");
        // SAFETY: the caller's promise.
        unsafe { Elements::new(self.platform, self.device, (start, bus), count, self.stores) }
    }

    /// Whether all bytes are `byte`.
    pub(super) fn is_filled_with(&self, byte: u8) -> bool {
        let mut chunk = [0; 64];
        (0..self.len_bytes()).step_by(chunk.len()).all(|offset| {
            let step = chunk.len().min(self.len_bytes() - offset);
            // SAFETY: `offset + step` is at most the length; the rest as in `read_bytes`.
            unsafe { copy_out(self.start.add(offset), &mut chunk[..step]) };
            chunk[..step].iter().all(|&one| one == byte)
        })
    }

    /// What was written before is visible to the device before what is written after.
    pub(super) fn order_stores(&self) {
        match self.stores {
            CpuStores::Ordered => self.platform.dma_wmb(),
            CpuStores::Combined => self.platform.dma_mb(),
        }
    }

    /// The device.
    pub fn device(&self) -> Requester {
        self.device
    }

    /// Z: where the device finds the first element.
    pub fn bus_addr(&self) -> BusAddr {
        self.bus.start()
    }

    /// All bus addresses of the memory.
    pub fn range(&self) -> BusRange {
        self.bus
    }

    /// Z of element `index`, or `None` past the end.
    pub fn element_bus_addr(&self, index: usize) -> Option<BusAddr> {
        let offset = (index < self.count).then_some(index * size_of::<T>())?;
        self.bus_addr().checked_add(offset as u64)
    }

    /// X: where the CPU has the first element, for printing.
    pub fn virt(&self) -> VirtAddr {
        VirtAddr::from_ptr(self.start.as_ptr())
    }

    /// The CPU's pointer to the first element, for a driver of somebody else's that shares memory by pointers. Valid until
    /// the memory is freed; what is read or written through it meets a device that does the same, so no reference to
    /// the memory may be made of it.
    pub fn pointer(&self) -> NonNull<u8> {
        self.start
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there are none; never true of memory that could be allocated.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    fn len_bytes(&self) -> usize {
        self.count * size_of::<T>()
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
        // memory is ours (promised to `new`), and a device that writes it meanwhile is why the read is volatile.
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

    /// Copies bytes out, from byte `offset` on; in which steps is not said.
    ///
    /// # Errors
    /// [`OutOfBounds`] if that leaves the memory; nothing is copied.
    pub fn read_bytes(&self, offset: u64, into: &mut [u8]) -> Result<(), OutOfBounds> {
        OutOfBounds::check(
            self.device,
            offset,
            into.len() as u64,
            self.len_bytes() as u64,
        )?;
        // SAFETY: in bounds; the memory is ours (promised to `new`) and only accessed by volatile means.
        unsafe { copy_out(self.start.add(offset as usize), into) };
        Ok(())
    }

    /// Copies bytes in, from byte `offset` on; in which steps is not said.
    ///
    /// # Errors
    /// [`OutOfBounds`] if that leaves the memory; nothing is copied.
    pub fn write_bytes(&self, offset: u64, bytes: &[u8]) -> Result<(), OutOfBounds> {
        OutOfBounds::check(
            self.device,
            offset,
            bytes.len() as u64,
            self.len_bytes() as u64,
        )?;
        // SAFETY: as in `read_bytes`.
        unsafe { copy_in(bytes, self.start.add(offset as usize)) };
        Ok(())
    }

    /// Sets all bytes to `byte`.
    pub fn fill(&self, byte: u8) {
        let chunk = [byte; 64];
        let mut done = 0;
        while done < self.len_bytes() {
            let step = chunk.len().min(self.len_bytes() - done);
            // SAFETY: `done + step` is at most the length; the rest as in `read_bytes`.
            unsafe { copy_in(&chunk[..step], self.start.add(done)) };
            done += step;
        }
    }

    fn field<U: Shared>(&self, offset: u64) -> Result<*mut U, OutOfBounds> {
        let whole_bytes = self.len_bytes() as u64;
        let len_bytes = size_of::<U>() as u64;
        OutOfBounds::check(self.device, offset, len_bytes, whole_bytes)?;
        let field = self
            .start
            .as_ptr()
            .wrapping_add(offset as usize)
            .cast::<U>();
        if field.is_aligned() {
            Ok(field)
        } else {
            let device = self.device;
            let outside = Outside {
                offset,
                len_bytes,
                whole_bytes,
            };
            Err(OutOfBounds { device, outside })
        }
    }
}

impl<P: Platform, T: Shared> fmt::Debug for Elements<P, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} elements at {:?}", self.count, self.range())
    }
}
