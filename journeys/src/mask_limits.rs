//! A device with few address lines reaches all memory, by bus addresses that it can drive: where units translate, or of
//! copies.

use alloc::vec::Vec;

use dmamap::addr::{BusAddr, DmaMask, PhysAddr};
use dmamap::buffer::DmaBuffer;
use dmamap::device::Device;
use dmamap::map::Bidirectional;
use dmamap::platform::Platform;

use crate::computer::Computer;
use crate::isolation::{ATTEMPT_BYTES, ConfinedEdu, Held, buffer_of, not_mapped};
use crate::needs::Unmet;
use crate::{IsolationError, Needs};

/// What this journey needs.
pub const NEEDS: Needs = Needs::EDU.and(Needs::NEAR_MEMORY).and(Needs::HIGH_MEMORY);

/// The first address that 32 address lines do not reach.
const FOUR_GIB: PhysAddr = PhysAddr::new(1 << 32);

/// How many buffers are tried until one lies high.
const TRIES: usize = 256;

/// What passes through the device.
const SENT: u8 = 0x42;

/// Where memory was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MaskLimits {
    /// Y: where the memory lies.
    pub phys: PhysAddr,
    /// Z: where the device reached it, or what stood in for it.
    pub bus: BusAddr,
    /// What the device can address.
    pub mask: DmaMask,
}

/// Lets the educational device (28 address lines) read and write memory above 4 GiB.
///
/// # Errors
/// [`IsolationError`], [`BeyondMask`](IsolationError::BeyondMask) if the mapping is out of the device's reach.
///
/// # Safety
/// Where there is no IOMMU, the educational device does what it is told.
pub unsafe fn mask_limits<P: Platform>(
    computer: &mut Computer<P>,
) -> Result<MaskLimits, IsolationError> {
    NEEDS.check(computer)?;
    // SAFETY: the caller vouches for the device.
    let mut confined = unsafe { ConfinedEdu::attach_or_trust(computer)? };
    let (buffer, phys) = high_buffer(confined.edu().device())?;

    let device = confined.edu().device();
    let mask = device.mask();
    let mapping = device
        .map_single(buffer, Bidirectional)
        .map_err(not_mapped)?;
    let bus = mapping.bus_addr();
    if !mask.covers(mapping.range()) {
        return Err(IsolationError::BeyondMask {
            device: confined.requester(),
            bus,
        });
    }
    confined.edu().fetch(&mapping, 0, ATTEMPT_BYTES as u64)?;
    if confined.holds(SENT)? != Held::Pattern {
        return Err(confined.not_reached(bus));
    }
    confined.load(!SENT)?;
    confined.edu().store(&mapping, 0, ATTEMPT_BYTES as u64)?;
    if Held::of(&mapping.unmap()?, !SENT) != Held::Pattern {
        return Err(confined.not_reached(bus));
    }
    confined.detach(computer)?;
    Ok(MaskLimits { phys, bus, mask })
}

/// A buffer above 4 GiB. The platform cannot be asked for one, so low ones are held until a high one comes.
fn high_buffer<P: Platform>(
    device: &Device<P>,
) -> Result<(DmaBuffer<P>, PhysAddr), IsolationError> {
    let mut low = Vec::new();
    for _ in 0..TRIES {
        let buffer = buffer_of(device, SENT)?;
        match buffer.phys(0) {
            Some(phys) if phys >= FOUR_GIB => return Ok((buffer, phys)),
            _ => low.push(buffer),
        }
    }
    Err(Unmet {
        lacking: Needs::HIGH_MEMORY,
    }
    .into())
}
