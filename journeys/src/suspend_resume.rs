//! The machine sleeps with live domains: what was mapped still is when it wakes, what was not still is not.

use dmamap::map::{FromDevice, MapFailure};
use dmamap::platform::Platform;
use dmamap::system::Protection;

use crate::computer::Computer;
use crate::isolation::{ATTEMPT_BYTES, ConfinedEdu, Held, buffer_of, not_mapped};
use crate::{Attempt, IsolationError, Needs};

/// What this journey needs.
pub const NEEDS: Needs = Needs::EDU.and(Needs::NEAR_MEMORY);

/// What the device is made to write.
const SENT: u8 = 0x4d;
/// What memory holds before.
const KEPT: u8 = 0xb2;

/// As [`suspend_resume_over`], the machine keeping its power.
///
/// # Errors
/// As [`suspend_resume_over`].
///
/// # Safety
/// Every other device of the computer obeys its bus-master bit, or is trusted with all memory; and where there is no
/// IOMMU, the educational device does what it is told.
pub unsafe fn suspend_resume<P: Platform>(
    computer: &mut Computer<P>,
) -> Result<Option<Attempt>, IsolationError> {
    // SAFETY: the caller's promise.
    unsafe { suspend_resume_over(computer, || ()) }
}

/// Lends memory, suspends the machine, finds that nothing is lent and nothing is taken back meanwhile, lets `sleep` take the
/// power from units and devices, and resumes the machine; then the device writes the memory, which is taken back, and
/// tries again where a unit confines it.
///
/// # Errors
/// [`IsolationError`], [`Breached`](IsolationError::Breached) if the last write arrived.
///
/// # Safety
/// Every other device of the computer obeys its bus-master bit, or loses its power in `sleep`, or is trusted with all
/// memory; and where there is no IOMMU, the educational device does what it is told.
pub unsafe fn suspend_resume_over<P: Platform>(
    computer: &mut Computer<P>,
    sleep: impl FnOnce(),
) -> Result<Option<Attempt>, IsolationError> {
    NEEDS.check(computer)?;
    let system = computer.system();
    // SAFETY: the caller vouches for the device.
    let mut confined = unsafe { ConfinedEdu::attach_or_trust(computer)? };
    let device = confined.requester();
    let unexpected = |what| IsolationError::Unexpected { device, what };
    let lent = buffer_of(confined.edu().device(), KEPT)?;
    let lent = confined
        .edu()
        .device()
        .map_single(lent, FromDevice)
        .map_err(not_mapped)?;
    let given_up = buffer_of(confined.edu().device(), KEPT)?;
    let given_up = confined
        .edu()
        .device()
        .map_single(given_up, FromDevice)
        .map_err(not_mapped)?;
    let bus = lent.bus_addr();

    let suspended = system.suspend(computer.topology())?;
    let late = buffer_of(confined.edu().device(), KEPT)?;
    match confined.edu().device().map_single(late, FromDevice) {
        Err(refused) if refused.error.failure == MapFailure::Suspended => {}
        _ => return Err(unexpected("memory was lent while the machine slept")),
    }
    // With bounce buffers no unit is asked, as the device never reached the memory itself; and without units nobody is.
    let asks_a_unit = computer.has_iommu() && computer.protection() != Protection::Bounce;
    if given_up.unmap().is_ok() == asks_a_unit {
        return Err(unexpected(
            "an unmap was not answered as it must be while the machine slept",
        ));
    }
    sleep();
    // SAFETY: this device is idle, and the caller vouches for the others.
    let resumed = unsafe { system.resume(suspended) }.map_err(|failed| failed.error)?;
    if let Some(&lost) = resumed.lost.first() {
        return Err(IsolationError::Lost(lost));
    }
    if confined.edu().device().figures().quarantined_bytes != 0 {
        return Err(unexpected("memory stayed in quarantine"));
    }

    confined.load(SENT)?;
    confined.edu().store(&lent, 0, ATTEMPT_BYTES as u64)?;
    let mut buffer = lent.unmap()?;
    if Held::of(&buffer, SENT) != Held::Pattern {
        return Err(confined.not_reached(bus));
    }
    let attempt = confined.attempt_on(&mut buffer, bus, KEPT)?;
    confined.detach(computer)?;
    Ok(attempt)
}
