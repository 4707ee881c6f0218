//! The IOMMU units are reset with live domains, as when a machine wakes up: what was mapped still is, what was not
//! still is not.

use dmamap::map::FromDevice;
use dmamap::platform::Platform;

use crate::computer::Computer;
use crate::isolation::{ATTEMPT_BYTES, ConfinedEdu, Held, buffer_of, not_mapped};
use crate::{Attempt, IsolationError, Needs};

/// What this journey needs.
pub const NEEDS: Needs = Needs::EDU.and(Needs::IOMMU);

/// What the device is made to write.
const SENT: u8 = 0x71;
/// What memory holds before.
const KEPT: u8 = 0x8e;

/// Lends memory, restarts the units, lets the device write the memory; takes it back, and lets the device try again.
///
/// # Errors
/// [`IsolationError`], [`Breached`](IsolationError::Breached) if the last write arrived.
///
/// # Safety
/// Every other device of the computer is quiet until this returns, or trusted with all memory: units that are being
/// reset may not confine it.
pub unsafe fn unit_reset<P: Platform>(
    computer: &mut Computer<P>,
) -> Result<Attempt, IsolationError> {
    NEEDS.check(computer)?;
    let system = computer.system();
    let mut confined = ConfinedEdu::attach(computer)?;
    confined.load(SENT)?;
    let lent = buffer_of(confined.edu().device(), KEPT)?;
    let lent = confined
        .edu()
        .device()
        .map_single(lent, FromDevice)
        .map_err(not_mapped)?;
    let bus = lent.bus_addr();

    // SAFETY: this device is idle between two commands, and the caller vouches for the others.
    unsafe { system.restart_units()? };
    confined.edu().store(&lent, 0, ATTEMPT_BYTES as u64)?;
    let mut buffer = lent.unmap()?;
    if Held::of(&buffer, SENT) != Held::Pattern {
        return Err(confined.not_reached(bus));
    }
    confined.refill(&mut buffer, KEPT);
    let attempt = confined.attempt_write(bus)?;

    // SAFETY: as above.
    unsafe { system.restart_units()? };
    confined.attempt_write(bus)?;
    confined.check_kept(&mut buffer, bus, KEPT)?;
    confined.load(SENT)?;
    if confined.holds(SENT)? != Held::Pattern {
        return Err(confined.not_reached(bus));
    }
    confined.detach(computer)?;
    Ok(attempt)
}
