//! What is mapped, and by which calls.

use std::sync::Arc;

use dmamap::addr::{BusAddr, BusRange, FRAME_BYTES};
use dmamap::buffer::{DmaBuffer, DmaMemory};
use dmamap::device::Device;
use dmamap::iova::{IovaRequest, SharedSpace};
use dmamap::map::{AnyDirection, Attributes, Bidirectional};
use dmamap::system::Protection;

use super::Computer;
use crate::PeersError;
use crate::undisturbed::Undisturbed;

/// One CPU's part: makes so many pairs of a map and an unmap, and says whether all were made.
pub type Worker = Box<dyn FnMut(u64) -> bool + Send>;

/// What CPUs share: hands out a part for each.
pub type Shared = Box<dyn Fn() -> Result<Worker, PeersError>>;

/// A way from the buffer to the unit and back. What is mapped are 4 KiB, in both directions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Path {
    /// A pair of bus addresses alone, out of one space.
    Addresses,
    /// `map_single` and `unmap` on the device, for which flushes are shared.
    Deferred,
    /// `map_phys` and `unmap_phys` on the device, for which flushes are shared.
    DeferredRaw,
    /// `map_single` and `unmap` in a lane that the CPU has of the device.
    Lane,
    /// `map_phys` and `unmap_phys` in such a lane.
    LaneRaw,
    /// `map_single` and `unmap` on a device that is given copies alone.
    Copies,
    /// `map_single` and `unmap` on the device, each with an invalidation of its own.
    Strict,
}

impl Path {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Addresses,
        Self::Deferred,
        Self::DeferredRaw,
        Self::Lane,
        Self::LaneRaw,
        Self::Copies,
        Self::Strict,
    ];

    /// What it is called in the figures.
    pub fn name(self) -> &'static str {
        match self {
            Self::Addresses => "iova pair 4K",
            Self::Deferred => "map_single and unmap 4K, deferred",
            Self::DeferredRaw => "map_phys and unmap_phys 4K, deferred",
            Self::Lane => "map_single and unmap 4K, deferred, in a lane of its own",
            Self::LaneRaw => "map_phys and unmap_phys 4K, deferred, in a lane of its own",
            Self::Copies => "map_single and unmap 4K, copied",
            Self::Strict => "map_single and unmap 4K, strict",
        }
    }

    /// What CPUs share of `computer` on this path. One such at a time has its device.
    ///
    /// # Errors
    /// [`PeersError::Failed`] without memory, or where the device is attached already.
    pub fn shared_on(self, computer: &Arc<Computer>) -> Result<Shared, PeersError> {
        let protection = match self {
            Self::Addresses => return addresses(computer),
            Self::Deferred | Self::DeferredRaw | Self::Lane | Self::LaneRaw => Protection::Deferred,
            Self::Copies => Protection::Bounce,
            Self::Strict => Protection::Strict,
        };
        let device = Arc::new(computer.attach(protection)?);
        let computer = computer.clone();
        Ok(Box::new(move || {
            let memory = DmaBuffer::allocate(computer.platform(), FRAME_BYTES);
            let memory = memory.map_err(|_| PeersError::failed("dmamap", "allocate a buffer"))?;
            let device = device.clone();
            Ok(match self {
                Self::DeferredRaw => by_address(device, memory),
                Self::Lane => in_a_lane(&device, memory),
                Self::LaneRaw => by_address_in_a_lane(&device, memory),
                _ => single(device, memory),
            })
        }))
    }
}

type Buffer = DmaBuffer<Undisturbed>;

const DIRECTION: AnyDirection = AnyDirection::Bidirectional;

fn single(device: Arc<Device<Undisturbed>>, memory: Buffer) -> Worker {
    let mut memory = Some(memory);
    Box::new(move |pairs| {
        (0..pairs).all(|_| {
            let lent = memory.take();
            let mapping = lent.and_then(|lent| device.map_single(lent, Bidirectional).ok());
            memory = mapping.and_then(|mapping| mapping.unmap().ok());
            memory.is_some()
        })
    })
}

fn in_a_lane(device: &Device<Undisturbed>, memory: Buffer) -> Worker {
    let mut lane = device.lane();
    let mut memory = Some(memory);
    Box::new(move |pairs| {
        (0..pairs).all(|_| {
            let lent = memory.take();
            let mapping = lent.and_then(|lent| lane.map_single(lent, Bidirectional).ok());
            memory = mapping.and_then(|mapping| lane.unmap(mapping).ok());
            memory.is_some()
        })
    })
}

fn by_address(device: Arc<Device<Undisturbed>>, memory: Buffer) -> Worker {
    Box::new(move |pairs| {
        (0..pairs).all(|_| {
            // SAFETY: the buffer outlives the mapping, and nobody refers to its bytes.
            let mapped = unsafe { device.map_phys(memory.segment(0), DIRECTION) };
            mapped.is_ok_and(|range| {
                // SAFETY: it was mapped above, the same way.
                unsafe { device.unmap_phys(range, DIRECTION, Attributes::NONE) }.is_ok()
            })
        })
    })
}

fn by_address_in_a_lane(device: &Device<Undisturbed>, memory: Buffer) -> Worker {
    let mut lane = device.lane();
    Box::new(move |pairs| {
        (0..pairs).all(|_| {
            // SAFETY: the buffer outlives the mapping, and nobody refers to its bytes.
            let mapped = unsafe { lane.map_phys(memory.segment(0), DIRECTION) };
            mapped.is_ok_and(|range| {
                // SAFETY: it was mapped above, the same way, and the device is there until nobody maps any more.
                unsafe { lane.unmap_phys(range, DIRECTION, Attributes::NONE) }.is_ok()
            })
        })
    })
}

/// log2 of the bytes that bus addresses span, and of a page's.
const APERTURE_LOG2: u32 = 48;
const PAGE_LOG2: u32 = 12;

fn addresses(computer: &Arc<Computer>) -> Result<Shared, PeersError> {
    let failed = || PeersError::failed("dmamap", "make a space");
    let aperture = BusRange::new(BusAddr::new(0), 1 << APERTURE_LOG2).map_err(|_| failed())?;
    let space = SharedSpace::new(computer.platform(), aperture, PAGE_LOG2);
    let space = Arc::new(space.map_err(|_| failed())?);
    let request = IovaRequest::naturally_aligned(FRAME_BYTES);
    Ok(Box::new(move || {
        let space = space.clone();
        Ok(Box::new(move |pairs| {
            (0..pairs).all(|_| {
                let range = space.allocate(request);
                // SAFETY: it was just allocated.
                range.is_ok_and(|range| unsafe { space.free(range) }.is_ok())
            })
        }))
    }))
}
