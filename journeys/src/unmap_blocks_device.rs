//! A device reaches memory while it is mapped, and not a moment longer.
//!
//! ```
//! # use std::error::Error;
//! # use hosted::Hosted;
//! # use journeys::boot::{BootOptions, MachineDescription, boot};
//! # use machine::{Machine, MachineConfig};
//! # fn main() -> Result<(), Box<dyn Error>> {
//! # let machine = Machine::boot(MachineConfig::default())?;
//! # let kernel = Hosted::boot(machine.clone())?;
//! # let description = MachineDescription {
//! #     rsdp: kernel.rsdp().ok_or("no ACPI")?,
//! #     host_bridge: kernel.host_bridges()?.remove(0),
//! # };
//! # // SAFETY: the description is the machine's own.
//! # let mut computer = unsafe { boot(kernel, &description, &kernel, BootOptions::default())? };
//! use journeys::unmap_blocks_device::unmap_blocks_device;
//!
//! let attempt = unmap_blocks_device(&mut computer)?;
//! let refused = attempt.refused().ok_or("it was not refused")?;
//! assert_eq!(refused.fault.requester.to_string(), "0000:00:03.0");
//! # Ok(())
//! # }
//! ```

use dmamap::map::FromDevice;
use dmamap::platform::Platform;

use crate::computer::Computer;
use crate::isolation::{ATTEMPT_BYTES, ConfinedEdu, Held, buffer_of, not_mapped};
use crate::{Attempt, IsolationError, Needs};

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
) -> Result<Attempt, IsolationError> {
    NEEDS.check(computer)?;
    let mut confined = ConfinedEdu::attach(computer)?;
    confined.load(SENT)?;

    let buffer = buffer_of(confined.edu().device(), KEPT)?;
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

    let attempt = confined.attempt_on(&mut buffer, bus, KEPT)?;
    let attempt = attempt.ok_or(NEEDS.unmet())?;
    confined.detach(computer)?;
    Ok(attempt)
}
