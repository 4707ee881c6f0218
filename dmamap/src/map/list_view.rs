//! The CPU's turn at a list that is mapped.

use core::marker::PhantomData;

use crate::buffer::{DmaMemory, ScatterList};
use crate::map::OutOfBounds;
use crate::map::direction::{DeviceReads, DeviceWrites, Direction};
use crate::map::list_syncs::ListSyncs;
use crate::map::window::{copy_in, copy_out};
use crate::platform::Platform;

/// Leave for the CPU to copy data in and out of a mapped list, across the ends of its pieces. As
/// [`CpuView`](crate::map::CpuView): no reference to the memory exists, and dropping the view hands the bytes back to the
/// device.
pub struct ListView<'a, P: Platform, B: DmaMemory, D: Direction> {
    syncs: ListSyncs<'a, P>,
    list: &'a ScatterList<B>,
    offset: u64,
    len_bytes: u64,
    direction: PhantomData<D>,
}

impl<'a, P: Platform, B: DmaMemory, D: Direction> ListView<'a, P, B, D> {
    pub(super) fn part(
        syncs: ListSyncs<'a, P>,
        list: &'a mut ScatterList<B>,
        offset: u64,
        len_bytes: u64,
    ) -> Result<Self, OutOfBounds> {
        OutOfBounds::check(syncs.device(), offset, len_bytes, list.len_bytes())?;
        // It is only read from here on.
        let list: &'a ScatterList<B> = list;
        syncs.for_cpu(list, offset, len_bytes);
        Ok(Self {
            syncs,
            list,
            offset,
            len_bytes,
            direction: PhantomData,
        })
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
        let len_bytes = into.len() as u64;
        OutOfBounds::check(self.syncs.device(), offset, len_bytes, self.len_bytes)?;
        self.list
            .each_chunk(self.offset + offset, len_bytes, |start, count, done| {
                // SAFETY: the chunk is the mapping's memory, borrowed by this view, and only accessed by volatile
                // copies while it is mapped.
                unsafe { copy_out(start, &mut into[done..done + count]) };
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
        let len_bytes = bytes.len() as u64;
        OutOfBounds::check(self.syncs.device(), offset, len_bytes, self.len_bytes)?;
        self.list
            .each_chunk(self.offset + offset, len_bytes, |start, count, done| {
                // SAFETY: as in `read_at`; `&mut self` excludes another writer.
                unsafe { copy_in(&bytes[done..done + count], start) };
            });
        Ok(())
    }
}

impl<P: Platform, B: DmaMemory, D: Direction> Drop for ListView<'_, P, B, D> {
    fn drop(&mut self) {
        self.syncs
            .for_device(self.list, self.offset, self.len_bytes);
    }
}
