//! Memory of both kinds a kernel has, behind one type, so that one disk serves both.

use dmamap::addr::BusRange;
use dmamap::buffer::{BufferError, DmaBuffer, ScatteredBuffer};
use dmamap::device::Device;
use dmamap::map::{Direction, Quarantined, Rejected, Retired};
use dmamap::platform::Platform;
use drivers::nvme::{DataMapping, DiskMemory, RetiredData};

/// A buffer for disk data: physically contiguous (`kmalloc`) or scattered (`vmalloc`).
pub enum TransferBuffer<P: Platform> {
    /// One run of physical memory, mapped with `map_single`.
    Contiguous(DmaBuffer<P>),
    /// Frames from anywhere side by side in virtual memory, mapped with `map_sg`.
    Scattered(ScatteredBuffer<P>),
}

impl<P: Platform> TransferBuffer<P> {
    /// The `index`-th of a set of buffers: even ones are contiguous, odd ones scattered.
    ///
    /// # Errors
    /// [`BufferError`] when the platform has no memory of that kind left.
    pub fn allocate(platform: P, index: usize, len_bytes: u64) -> Result<Self, BufferError> {
        Ok(match index % 2 {
            0 => Self::Contiguous(DmaBuffer::allocate(platform, len_bytes)?),
            _ => Self::Scattered(ScatteredBuffer::allocate(platform, len_bytes)?),
        })
    }

    /// The bytes.
    pub fn as_slice(&self) -> &[u8] {
        match self {
            Self::Contiguous(buffer) => buffer.as_slice(),
            Self::Scattered(buffer) => buffer.as_slice(),
        }
    }

    /// The bytes, to be changed.
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        match self {
            Self::Contiguous(buffer) => buffer.as_mut_slice(),
            Self::Scattered(buffer) => buffer.as_mut_slice(),
        }
    }
}

/// A [`TransferBuffer`] while a command may use it.
pub enum MappedTransfer<P: Platform, D: Direction> {
    /// Mapped with `map_single`.
    Single(<DmaBuffer<P> as DiskMemory<P>>::Mapped<D>),
    /// Mapped with `map_sg`.
    Scattered(<ScatteredBuffer<P> as DiskMemory<P>>::Mapped<D>),
}

impl<P: Platform> DiskMemory<P> for TransferBuffer<P> {
    type Mapped<D: Direction> = MappedTransfer<P, D>;

    fn len_bytes(&self) -> u64 {
        self.as_slice().len() as u64
    }

    fn map<D: Direction>(
        self,
        device: &Device<P>,
        direction: D,
    ) -> Result<MappedTransfer<P, D>, Rejected<Self>> {
        match self {
            Self::Contiguous(buffer) => {
                let mapped = buffer.map(device, direction);
                mapped
                    .map(MappedTransfer::Single)
                    .map_err(|back| rejected(back, Self::Contiguous))
            }
            Self::Scattered(buffer) => {
                let mapped = buffer.map(device, direction);
                mapped
                    .map(MappedTransfer::Scattered)
                    .map_err(|back| rejected(back, Self::Scattered))
            }
        }
    }
}

fn rejected<B, P: Platform>(
    rejected: Rejected<B>,
    kind: impl FnOnce(B) -> TransferBuffer<P>,
) -> Rejected<TransferBuffer<P>> {
    Rejected {
        error: rejected.error,
        buffer: rejected.buffer.map(kind),
    }
}

/// A [`TransferBuffer`] on its way back.
pub enum RetiredTransfer<P: Platform, D: Direction> {
    /// Was mapped with `map_single`.
    Single(Retired<P, DmaBuffer<P>, D>),
    /// Was mapped with `map_sg`.
    Scattered(Retired<P, ScatteredBuffer<P>, D>),
}

impl<P: Platform, D: Direction> RetiredData for RetiredTransfer<P, D> {
    type Memory = TransferBuffer<P>;

    fn finish(self) -> Result<TransferBuffer<P>, Quarantined> {
        Ok(match self {
            Self::Single(retired) => TransferBuffer::Contiguous(retired.finish()?),
            Self::Scattered(retired) => TransferBuffer::Scattered(retired.finish()?),
        })
    }
}

// SAFETY: the segments are those of the one mapping inside.
unsafe impl<P: Platform, D: Direction> DataMapping for MappedTransfer<P, D> {
    type Memory = TransferBuffer<P>;
    type Retired = RetiredTransfer<P, D>;

    fn retire(self) -> RetiredTransfer<P, D> {
        match self {
            Self::Single(mapping) => RetiredTransfer::Single(mapping.retire()),
            Self::Scattered(mapping) => RetiredTransfer::Scattered(mapping.retire()),
        }
    }

    fn segments(&self) -> impl Iterator<Item = BusRange> {
        let (single, scattered) = match self {
            Self::Single(mapping) => (Some(mapping.segments()), None),
            Self::Scattered(mapping) => (None, Some(mapping.segments())),
        };
        single
            .into_iter()
            .flatten()
            .chain(scattered.into_iter().flatten())
    }

    fn unmap(self) -> Result<TransferBuffer<P>, Quarantined> {
        Ok(match self {
            Self::Single(mapping) => TransferBuffer::Contiguous(mapping.unmap()?),
            Self::Scattered(mapping) => TransferBuffer::Scattered(mapping.unmap()?),
        })
    }
}
