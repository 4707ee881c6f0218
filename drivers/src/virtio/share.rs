//! What the crate lends its device for one request, copied into memory that the device can be given.
//!
//! The crate lends any bytes it has: a word on a stack, part of a heap. A device reaches whole pages, so lending those bytes
//! themselves would lend what lies beside them too, and hosted they are not even the machine's RAM. So they are copied
//! into pages of their own, mapped for this request only.

use dmamap::addr::BusAddr;
use dmamap::buffer::DmaBuffer;
use dmamap::device::Device;
use dmamap::map::{Bidirectional, Direction, FromDevice, Mapping, Quarantined, ToDevice};
use dmamap::platform::Platform;
use virtio_drivers::BufferDirection;

use super::error::ShareError;

type Lent<P, D> = Mapping<P, DmaBuffer<P>, D>;

/// Pages that the device reaches in place of the crate's bytes, until [`end`](Self::end).
pub(super) enum Share<P: Platform> {
    ToDevice(Lent<P, ToDevice>),
    FromDevice(Lent<P, FromDevice>),
    Both(Lent<P, Bidirectional>),
}

impl<P: Platform> Share<P> {
    /// Copies `bytes` and lends the copy. What the device only writes is copied too: it may write less than it was
    /// lent, and the rest has to come back as it was.
    pub(super) fn begin(
        device: &Device<P>,
        bytes: &[u8],
        direction: BufferDirection,
    ) -> Result<Self, ShareError> {
        let mut buffer = DmaBuffer::allocate_for(device, bytes.len() as u64)?;
        buffer.as_mut_slice()[..bytes.len()].copy_from_slice(bytes);
        Ok(match direction {
            BufferDirection::DriverToDevice => Self::ToDevice(lend(device, buffer, ToDevice)?),
            BufferDirection::DeviceToDriver => Self::FromDevice(lend(device, buffer, FromDevice)?),
            BufferDirection::Both => Self::Both(lend(device, buffer, Bidirectional)?),
        })
    }

    /// Z: what the device is told.
    pub(super) fn bus_addr(&self) -> BusAddr {
        match self {
            Self::ToDevice(lent) => lent.bus_addr(),
            Self::FromDevice(lent) => lent.bus_addr(),
            Self::Both(lent) => lent.bus_addr(),
        }
    }

    /// Number of bytes of the pages.
    pub(super) fn len_bytes(&self) -> u64 {
        match self {
            Self::ToDevice(lent) => lent.len_bytes(),
            Self::FromDevice(lent) => lent.len_bytes(),
            Self::Both(lent) => lent.len_bytes(),
        }
    }

    /// Copies what the device wrote back into `bytes`, no longer than those it began with. Nothing where it only read.
    pub(super) fn copy_back(&mut self, bytes: &mut [u8]) {
        let copied = match self {
            Self::ToDevice(_) => Ok(()),
            Self::FromDevice(lent) => lent.sync_for_cpu().read_at(0, bytes),
            Self::Both(lent) => lent.sync_for_cpu().read_at(0, bytes),
        };
        if let Err(error) = copied {
            log::error!("virtio: more is taken back than was lent: {error}");
        }
    }

    /// Takes the pages back from the device.
    pub(super) fn end(self) -> Result<(), Quarantined> {
        match self {
            Self::ToDevice(lent) => lent.unmap().map(drop),
            Self::FromDevice(lent) => lent.unmap().map(drop),
            Self::Both(lent) => lent.unmap().map(drop),
        }
    }
}

fn lend<P: Platform, D: Direction>(
    device: &Device<P>,
    buffer: DmaBuffer<P>,
    direction: D,
) -> Result<Lent<P, D>, ShareError> {
    let mapped = device.map_single(buffer, direction);
    mapped.map_err(|rejected| rejected.error.into())
}
