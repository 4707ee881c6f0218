//! A domain torn down and a device attached again: nothing of the first life is left for the second.

use dmamap::map::FromDevice;
use dmamap::platform::Platform;

use crate::computer::Computer;
use crate::isolation::{ATTEMPT_BYTES, ConfinedEdu, Held, buffer_of, not_mapped};
use crate::{Attempt, IsolationError, Needs};

/// What this journey needs.
pub const NEEDS: Needs = Needs::EDU.and(Needs::IOMMU);

/// What the device is made to write.
const SENT: u8 = 0x3c;
/// What memory holds before.
const KEPT: u8 = 0xd1;

/// Detaches a device that still has a mapping, attaches it again, and lets it try the address it had before; then
/// lends it memory anew, which it reaches.
///
/// # Errors
/// [`IsolationError`], [`Breached`](IsolationError::Breached) if the write to the old address arrived.
pub fn attach_again<P: Platform>(computer: &mut Computer<P>) -> Result<Attempt, IsolationError> {
    NEEDS.check(computer)?;
    let mut confined = ConfinedEdu::attach(computer)?;
    confined.load(SENT)?;
    let lent = buffer_of(confined.edu().device(), KEPT)?;
    let lent = confined
        .edu()
        .device()
        .map_single(lent, FromDevice)
        .map_err(not_mapped)?;
    let (device, bus) = (confined.requester(), lent.bus_addr());
    confined.edu().store(&lent, 0, ATTEMPT_BYTES as u64)?;
    // The domain goes with what is mapped in it; the mapping outlives it and gives its memory back.
    confined.detach(computer)?;
    let mut buffer = lent.unmap()?;
    if Held::of(&buffer, SENT) != Held::Pattern {
        return Err(IsolationError::NotReached { device, bus });
    }

    let mut confined = ConfinedEdu::attach(computer)?;
    confined.refill(&mut buffer, KEPT);
    let attempt = confined.attempt_write(bus)?;
    confined.check_kept(&mut buffer, bus, KEPT)?;
    confined.load(SENT)?;
    if confined.holds(SENT)? != Held::Pattern {
        return Err(confined.not_reached(bus));
    }
    confined.detach(computer)?;
    Ok(attempt)
}
