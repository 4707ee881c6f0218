//! The CPU's turn at memory that is mapped: between `sync_for_cpu` and `sync_for_device`.

use core::marker::PhantomData;
use core::ptr::NonNull;

use crate::buffer::DmaMemory;
use crate::iommu::Requester;
use crate::map::direction::{DeviceReads, DeviceWrites, Direction};
use crate::map::live::Live;
use crate::map::window::{copy_in, copy_out};
use crate::platform::Platform;

/// Bytes outside what a mapping or coherent memory of `device` holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{device}: {outside}")]
pub struct OutOfBounds {
    /// The device whose the memory is.
    pub device: Requester,
    /// Which bytes, and how many there are.
    pub outside: Outside,
}

/// Bytes outside some memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{len_bytes:#x} bytes at offset {offset:#x} leave the {whole_bytes:#x} bytes of memory")]
pub struct Outside {
    /// Offset asked for, in bytes.
    pub offset: u64,
    /// Bytes asked for.
    pub len_bytes: u64,
    /// Bytes there are.
    pub whole_bytes: u64,
}

impl OutOfBounds {
    pub(crate) fn check(
        device: Requester,
        offset: u64,
        len_bytes: u64,
        whole_bytes: u64,
    ) -> Result<(), Self> {
        Outside::check(offset, len_bytes, whole_bytes).map_err(|outside| Self { device, outside })
    }
}

impl Outside {
    pub(crate) fn check(offset: u64, len_bytes: u64, whole_bytes: u64) -> Result<(), Self> {
        match offset.checked_add(len_bytes) {
            Some(end) if end <= whole_bytes => Ok(()),
            _ => Err(Self {
                offset,
                len_bytes,
                whole_bytes,
            }),
        }
    }
}

/// Leave for the CPU to copy data in and out of mapped memory. The memory stays mapped, so nothing here is
/// a reference to it; dropping the view hands the bytes back to the device.
///
/// Only what the device writes can be read, and only what it reads written:
///
/// ```compile_fail
/// # fn example<P: dmamap::platform::Platform>(view: dmamap::map::CpuView<'_, P, dmamap::map::ToDevice>) {
/// view.read_at(0, &mut [0; 4]); // the device never writes this memory
/// # }
/// ```
pub struct CpuView<'a, P: Platform, D: Direction> {
    live: &'a Live<P>,
    /// The buffer's first byte.
    buffer: NonNull<u8>,
    /// The view's first byte.
    start: u64,
    len_bytes: u64,
    direction: PhantomData<D>,
}

impl<'a, P: Platform, D: Direction> CpuView<'a, P, D> {
    #[inline]
    pub(crate) fn whole<B: DmaMemory>(live: &'a mut Live<P>, buffer: &'a mut B) -> Self {
        Self::begin(live, buffer.pointer(), 0, buffer.len_bytes())
    }

    #[inline]
    pub(crate) fn part<B: DmaMemory>(
        live: &'a mut Live<P>,
        buffer: &'a mut B,
        offset: u64,
        len_bytes: u64,
    ) -> Result<Self, OutOfBounds> {
        OutOfBounds::check(live.device(), offset, len_bytes, buffer.len_bytes())?;
        Ok(Self::begin(live, buffer.pointer(), offset, len_bytes))
    }

    /// A view of part of a mapping that several share, whose buffer begins at `buffer`.
    ///
    /// # Safety
    /// The bytes are memory of the mapping `live`, mapped in `D`, and nobody else on the CPU's side accesses them while
    /// the view lives.
    pub(crate) unsafe fn over(
        live: &'a Live<P>,
        buffer: NonNull<u8>,
        start: u64,
        len_bytes: u64,
    ) -> Self {
        Self::begin(live, buffer, start, len_bytes)
    }

    #[inline]
    fn begin(live: &'a Live<P>, buffer: NonNull<u8>, start: u64, len_bytes: u64) -> Self {
        live.sync_for_cpu(buffer, start, len_bytes);
        Self {
            live,
            buffer,
            start,
            len_bytes,
            direction: PhantomData,
        }
    }

    /// Number of bytes in view.
    pub fn len_bytes(&self) -> u64 {
        self.len_bytes
    }

    /// Copies what the device wrote, from byte `offset` of the view on.
    ///
    /// # Errors
    /// [`OutOfBounds`] if that leaves the view; nothing is copied.
    pub fn read_at(&self, offset: u64, into: &mut [u8]) -> Result<(), OutOfBounds>
    where
        D: DeviceWrites,
    {
        OutOfBounds::check(
            self.live.device(),
            offset,
            into.len() as u64,
            self.len_bytes,
        )?;
        let (at, len) = (self.start + offset, into.len() as u64);
        let mut rest = into;
        self.live.device_side(self.buffer, at, len, |from, len| {
            let (now, later) = core::mem::take(&mut rest).split_at_mut(len as usize);
            // SAFETY: in bounds; the memory is the mapping's, borrowed by this view, or the copy's, and only accessed
            // by volatile copies while it is mapped.
            unsafe { copy_out(from, now) };
            rest = later;
        });
        Ok(())
    }

    /// Copies data in for the device, from byte `offset` of the view on.
    ///
    /// # Errors
    /// [`OutOfBounds`] if that leaves the view; nothing is copied.
    pub fn write_at(&mut self, offset: u64, bytes: &[u8]) -> Result<(), OutOfBounds>
    where
        D: DeviceReads,
    {
        OutOfBounds::check(
            self.live.device(),
            offset,
            bytes.len() as u64,
            self.len_bytes,
        )?;
        let (at, len) = (self.start + offset, bytes.len() as u64);
        let mut rest = bytes;
        self.live.device_side(self.buffer, at, len, |to, len| {
            let (now, later) = rest.split_at(len as usize);
            // SAFETY: as in `read_at`; `&mut self` excludes another writer.
            unsafe { copy_in(now, to) };
            rest = later;
        });
        if self.live.copies().are_there() {
            // The buffer has it too when it comes back.
            // SAFETY: as above.
            unsafe { copy_in(bytes, self.buffer.add(at as usize)) };
        }
        Ok(())
    }
}

impl<P: Platform, D: Direction> Drop for CpuView<'_, P, D> {
    #[inline]
    fn drop(&mut self) {
        self.live
            .sync_for_device(self.buffer, self.start, self.len_bytes);
    }
}
