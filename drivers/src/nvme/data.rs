//! Memory that a disk command may own while it runs.

use dmamap::addr::BusRange;
use dmamap::buffer::{DmaBuffer, DmaMemory, ScatteredBuffer};
use dmamap::device::Device;
use dmamap::map::{Direction, Mapping, Quarantined, Rejected, Retired, SgMapping};
use dmamap::platform::Platform;

/// Memory for a command's data, and how it is mapped for the device: [`DmaBuffer`]s with `map_single`,
/// [`ScatteredBuffer`]s with `map_sg`. Other owned memory joins by implementing this with either.
pub trait DiskMemory<P: Platform>: Sized {
    /// The memory while the device may use it.
    type Mapped<D: Direction>: DataMapping<Memory = Self>;

    /// Number of bytes.
    fn len_bytes(&self) -> u64;

    /// Lets `device` use the memory.
    ///
    /// # Errors
    /// The memory comes back with the error.
    fn map<D: Direction>(
        self,
        device: &Device<P>,
        direction: D,
    ) -> Result<Self::Mapped<D>, Rejected<Self>>;
}

/// Mapped memory: where the device finds it, and the way back.
///
/// # Safety
/// An implementer promises that [`segments`](Self::segments) are bus addresses of memory that was mapped by the
/// [`map`](DiskMemory::map) that made this value, for the device and in the direction given there, and that the
/// device may use them until [`unmap`](Self::unmap): a controller that is trusted is told to use them.
pub unsafe trait DataMapping: Sized {
    /// What was mapped.
    type Memory;

    /// The memory on its way back.
    type Retired: RetiredData<Memory = Self::Memory>;

    /// The bus addresses (Z) of the memory, in its order.
    fn segments(&self) -> impl Iterator<Item = BusRange>;

    /// Takes the memory back from the device.
    ///
    /// # Errors
    /// [`Quarantined`] if the device may still reach it: it is then lost until the device is reset.
    fn unmap(self) -> Result<Self::Memory, Quarantined>;

    /// Leaves it to a flush that other commands' memory shares to take the memory back.
    fn retire(self) -> Self::Retired;
}

/// Memory that was mapped, and that the device may reach until a flush.
pub trait RetiredData: Sized {
    /// What was mapped.
    type Memory;

    /// Gives the memory back, after a flush if none has covered it.
    ///
    /// # Errors
    /// [`Quarantined`] if the device may still reach it: it is then lost until the device is reset.
    fn finish(self) -> Result<Self::Memory, Quarantined>;
}

impl<P: Platform, B: DmaMemory, D: Direction> RetiredData for Retired<P, B, D> {
    type Memory = B;

    fn finish(self) -> Result<B, Quarantined> {
        Retired::finish(self)
    }
}

impl<P: Platform> DiskMemory<P> for DmaBuffer<P> {
    type Mapped<D: Direction> = Mapping<P, Self, D>;

    fn len_bytes(&self) -> u64 {
        DmaMemory::len_bytes(self)
    }

    fn map<D: Direction>(
        self,
        device: &Device<P>,
        direction: D,
    ) -> Result<Mapping<P, Self, D>, Rejected<Self>> {
        device.map_single(self, direction)
    }
}

// SAFETY: the segment is the mapping's own.
unsafe impl<P: Platform, B: DmaMemory, D: Direction> DataMapping for Mapping<P, B, D> {
    type Memory = B;
    type Retired = Retired<P, B, D>;

    fn segments(&self) -> impl Iterator<Item = BusRange> {
        core::iter::once(self.range())
    }

    fn unmap(self) -> Result<B, Quarantined> {
        Mapping::unmap(self)
    }

    fn retire(self) -> Retired<P, B, D> {
        Mapping::retire(self)
    }
}

impl<P: Platform> DiskMemory<P> for ScatteredBuffer<P> {
    type Mapped<D: Direction> = SgMapping<P, Self, D>;

    fn len_bytes(&self) -> u64 {
        DmaMemory::len_bytes(self)
    }

    fn map<D: Direction>(
        self,
        device: &Device<P>,
        direction: D,
    ) -> Result<SgMapping<P, Self, D>, Rejected<Self>> {
        device.map_sg(self, direction)
    }
}

// SAFETY: the segments are the mapping's own.
unsafe impl<P: Platform, B: DmaMemory, D: Direction> DataMapping for SgMapping<P, B, D> {
    type Memory = B;
    type Retired = Retired<P, B, D>;

    fn segments(&self) -> impl Iterator<Item = BusRange> {
        SgMapping::segments(self)
    }

    fn unmap(self) -> Result<B, Quarantined> {
        SgMapping::unmap(self)
    }

    fn retire(self) -> Retired<P, B, D> {
        SgMapping::retire(self)
    }
}
