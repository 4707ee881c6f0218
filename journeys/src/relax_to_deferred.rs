//! A device that was attached strict is relaxed while it works (`relax_to_deferred`): unmaps then share flushes, and after a flush
//! it reaches as little.

use dmamap::device::RelaxError;
use dmamap::map::FromDevice;
use dmamap::platform::Platform;
use dmamap::system::Protection;

use crate::computer::Computer;
use crate::isolation::{ATTEMPT_BYTES, ConfinedEdu, Held, buffer_of, not_lent, not_mapped};
use crate::{Attempt, IsolationError, Needs};

/// What this journey needs: a unit, as what nobody translates is never flushed.
pub const NEEDS: Needs = Needs::EDU.and(Needs::IOMMU);

/// What the device writes.
const SENT: u8 = 0xab;
/// What memory holds before.
const KEPT: u8 = 0x14;

/// Attaches a device strict, whatever the computer's protection; takes memory back from it; relaxes it with memory mapped,
/// retires that, and takes it after the flush; then the device tries again. It is not pinned any more.
///
/// # Errors
/// [`IsolationError`], [`Breached`](IsolationError::Breached) if the last write arrived.
pub fn relax_to_deferred<P: Platform>(
    computer: &mut Computer<P>,
) -> Result<Attempt, IsolationError> {
    NEEDS.check(computer)?;
    let mut confined = ConfinedEdu::attach_as(computer, Protection::Strict)?;
    confined.load(SENT)?;
    if confined.edu().device().flush_figures().retired != 0 {
        return Err(confined.unexpected("a strict unmap was left to a flush"));
    }
    let device = confined.edu().device();
    let buffer = buffer_of(device, KEPT)?;
    let mapping = device.map_single(buffer, FromDevice).map_err(not_mapped)?;
    let bus = mapping.bus_addr();
    device.relax_to_deferred().map_err(not_lent)?;
    let pinned = device.pin_protection();
    if device.protection() != Protection::Deferred
        || !matches!(pinned, Err(RelaxError::NotStrict { .. }))
    {
        return Err(confined.unexpected("it is not deferred after it was relaxed"));
    }
    confined.now_protected(Protection::Deferred);

    confined.edu().store(&mapping, 0, ATTEMPT_BYTES as u64)?;
    let retired = mapping.retire();
    let figures = confined.edu().device().flush_figures();
    if (figures.retired, figures.waiting) != (1, 1) {
        return Err(confined.unexpected("what was retired does not wait for a flush"));
    }
    let mut buffer = retired.finish()?;
    let figures = confined.edu().device().flush_figures();
    if (figures.flushes, figures.waiting) != (1, 0) {
        return Err(confined.unexpected("memory came back without a flush"));
    }
    if Held::of(&buffer, SENT) != Held::Pattern {
        return Err(confined.not_reached(bus));
    }
    let attempt = confined.attempt_on(&mut buffer, bus, KEPT)?;
    let attempt = attempt.ok_or(NEEDS.unmet())?;
    confined.detach(computer)?;
    Ok(attempt)
}
