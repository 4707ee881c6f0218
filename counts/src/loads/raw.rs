//! The calls below the safe layer, which take an address and return one: what other kernels' drivers have.

use dmamap::addr::{BusRange, PhysRange};
use dmamap::buffer::{DmaBuffer, DmaMemory};
use dmamap::device::Device;
use dmamap::map::{AnyDirection, Attributes};
use dmamap::system::Protection;

use super::Paths;
use super::lent::{PAGE, buffer, detach};
use crate::CountsError;
use crate::computer::Booted;
use crate::plain::Plain;

const STRICT: &str = "map_phys and unmap_phys 4K, strict";
const SHARED: &str = "map_phys and unmap_phys 4K, deferred";

const STRICT_LANE: &str = "map_phys and unmap_phys 4K, strict, in a lane of its own";
const SHARED_LANE: &str = "map_phys and unmap_phys 4K, deferred, in a lane of its own";

const DIRECTION: AnyDirection = AnyDirection::Bidirectional;

/// Walks these paths.
///
/// # Errors
/// [`CountsError`].
pub fn run(paths: &mut Paths<'_>) -> Result<(), CountsError> {
    if !paths.want(&[STRICT, STRICT_LANE, SHARED, SHARED_LANE]) {
        return Ok(());
    }
    let booted = Booted::get()?;
    let device = booted.attach(Protection::Strict)?;
    on_device(paths, STRICT, &device)?;
    in_a_lane(paths, STRICT_LANE, &device)?;
    detach(device)?;
    let device = booted.attach_trusted(Protection::Deferred)?;
    on_device(paths, SHARED, &device)?;
    in_a_lane(paths, SHARED_LANE, &device)?;
    detach(device)
}

/// Maps and unmaps a page, which stays the same.
fn on_device(
    paths: &mut Paths<'_>,
    name: &'static str,
    device: &Device<Plain>,
) -> Result<(), CountsError> {
    let memory = buffer(device, PAGE)?;
    paths.walk(name, || {
        // SAFETY: the buffer outlives the mapping, and nobody refers to its bytes.
        let mapped = unsafe { device.map_phys(whole(&memory), DIRECTION) };
        let range: BusRange = mapped.map_err(|_| "it was not mapped")?;
        // SAFETY: it was mapped above, the same way.
        let unmapped = unsafe { device.unmap_phys(range, DIRECTION, Attributes::NONE) };
        unmapped.map_err(|_| "it was not unmapped")
    })
}

/// The same for the owner of a lane.
fn in_a_lane(
    paths: &mut Paths<'_>,
    name: &'static str,
    device: &Device<Plain>,
) -> Result<(), CountsError> {
    let mut lane = device.lane();
    let memory = buffer(device, PAGE)?;
    paths.walk(name, || {
        // SAFETY: the buffer outlives the mapping, and nobody refers to its bytes.
        let mapped = unsafe { lane.map_phys(whole(&memory), DIRECTION) };
        let range: BusRange = mapped.map_err(|_| "it was not mapped")?;
        // SAFETY: it was mapped above, the same way.
        let unmapped = unsafe { lane.unmap_phys(range, DIRECTION, Attributes::NONE) };
        unmapped.map_err(|_| "it was not unmapped")
    })
}

/// Where a buffer in one piece is.
fn whole(memory: &DmaBuffer<Plain>) -> PhysRange {
    memory.segment(0)
}
