//! A device reaches memory while it is mapped, and not a moment longer.

use dmamap::map::FromDevice;
use dmamap::platform::Platform;

use crate::computer::Computer;
use crate::isolation::{ATTEMPT_BYTES, ConfinedEdu, Held, buffer_of, not_mapped};
use crate::{IsolationError, Needs, Refused};

/// What this journey needs.
pub const NEEDS: Needs = Needs::EDU.and(Needs::IOMMU);

/// What the device is made to write.
const SENT: u8 = 0x5a;
/// What memory holds before.
const KEPT: u8 = 0xc3;

/// Lets the device write a mapped buffer, unmaps it, and lets the device try the same address again.
///
/// # Errors
/// [`IsolationError`], [`Breached`](IsolationError::Breached) if the second write arrived.
pub fn unmap_blocks_device<P: Platform>(
    computer: &mut Computer<P>,
) -> Result<Refused, IsolationError> {
    NEEDS.check(computer)?;
    let platform = computer.platform();
    let mut confined = ConfinedEdu::attach(computer)?;
    confined.load(SENT)?;

    let buffer = buffer_of(platform, KEPT)?;
    let mapping = confined
        .edu()
        .device()
        .map_single(buffer, FromDevice)
        .map_err(not_mapped)?;
    let bus = mapping.bus_addr();
    confined.edu().store(&mapping, 0, ATTEMPT_BYTES as u64)?;
    let mut buffer = mapping.unmap()?;
    if Held::of(&buffer, SENT) != Held::Pattern {
        return Err(confined.not_reached(bus));
    }

    buffer.as_mut_slice().fill(KEPT);
    let refused = confined.attempt_write(bus)?;
    if Held::of(&buffer, KEPT) != Held::Pattern {
        return Err(confined.breached(bus));
    }
    confined.detach()?;
    Ok(refused)
}
