//! What firmware and hardware keep for themselves: direct memory is where its device expects it, and no mapping ever
//! lies over a reserved address.

use alloc::vec::Vec;

use dmamap::addr::{BusAddr, BusRange, PhysAddr};
use dmamap::device::Device;
use dmamap::iommu::Requester;
use dmamap::map::Bidirectional;
use dmamap::pci::Function;
use dmamap::platform::Platform;
use dmamap::system::{RegionKind, ReservedRegion};

use crate::computer::Computer;
use crate::isolation::{buffer_of, not_mapped};
use crate::{IsolationError, Needs};

/// What this journey needs.
pub const NEEDS: Needs = Needs::RESERVED.and(Needs::IOMMU);

/// Mappings tried for each device.
const MAPPINGS: usize = 64;

/// What was found reserved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReservedMemory {
    /// Devices that were attached.
    pub devices: usize,
    /// Regions reached at equal addresses: memory that firmware left to a device, and interrupt doorbells.
    pub direct: usize,
    /// Regions where nothing is ever mapped.
    pub unmappable: usize,
}

/// Attaches every device in turn that has reserved regions, looks at what it reaches there, and maps memory all around
/// them.
///
/// # Errors
/// [`IsolationError::Reserved`] where a region is not kept.
pub fn reserved_memory<P: Platform>(
    computer: &mut Computer<P>,
) -> Result<ReservedMemory, IsolationError> {
    NEEDS.check(computer)?;
    let system = computer.system();
    let mut found = ReservedMemory::default();
    let functions: Vec<Function<P>> = computer.topology().functions().cloned().collect();
    for function in functions.iter().filter(|function| !function.is_bridge()) {
        let requester = requester_of(function);
        if !system.is_translated(requester) {
            continue;
        }
        let regions = system.reserved_regions(requester)?;
        let device = computer.attach(function)?;
        found.devices += 1;
        for region in &regions {
            match region.kind {
                RegionKind::Direct(_) => found.direct += 1,
                RegionKind::Unmappable => found.unmappable += 1,
            }
            kept(&device, region)?;
        }
        let buffers = (0..MAPPINGS).map(|_| buffer_of(&device, 0));
        let mappings: Vec<_> = buffers
            .map(|buffer| -> Result<_, IsolationError> {
                device
                    .map_single(buffer?, Bidirectional)
                    .map_err(not_mapped)
            })
            .collect::<Result<_, _>>()?;
        for region in &regions {
            let over = |range: BusRange| range.overlaps(region.range);
            if mappings.iter().any(|mapping| over(mapping.range())) {
                return Err(not_kept(&device, region));
            }
            kept(&device, region)?;
        }
        for mapping in mappings {
            mapping.unmap()?;
        }
        regions
            .iter()
            .try_for_each(|region| kept(&device, region))?;
        device.detach()?;
    }
    Ok(found)
}

/// That the first and the last byte of a region lead where they must: to themselves, or nowhere.
fn kept<P: Platform>(device: &Device<P>, region: &ReservedRegion) -> Result<(), IsolationError> {
    let itself = |bus: BusAddr| match region.kind {
        RegionKind::Direct(_) => Some(PhysAddr::new(bus.as_u64())),
        RegionKind::Unmappable => None,
    };
    let ends = [region.range.start(), region.range.last()];
    match ends
        .into_iter()
        .all(|bus| device.translate(bus) == itself(bus))
    {
        true => Ok(()),
        false => Err(not_kept(device, region)),
    }
}

fn not_kept<P: Platform>(device: &Device<P>, region: &ReservedRegion) -> IsolationError {
    IsolationError::Reserved {
        device: device.requester(),
        region: region.range,
    }
}

fn requester_of<P: Platform>(function: &Function<P>) -> Requester {
    Requester {
        segment: function.address().segment,
        id: function.requester(),
    }
}
