//! A device cannot write what it was lent to read.

use dmamap::map::ToDevice;
use dmamap::platform::Platform;

use crate::computer::Computer;
use crate::isolation::{ATTEMPT_BYTES, ConfinedEdu, Held, not_mapped, two_pages_of};
use crate::{Attempt, IsolationError, Needs};

/// What this journey needs.
pub const NEEDS: Needs = Needs::EDU.and(Needs::IOMMU);

/// What the device is lent to read.
const LENT: u8 = 0x3c;
/// What it is made to write over it.
const SENT: u8 = 0xa5;

/// Maps a buffer [`ToDevice`], lets the device try to write it, and sees that it can read it.
///
/// The write comes first: hardware that remembers a read-only translation from a read may refuse a write without a
/// report (QEMU's does).
///
/// # Errors
/// [`IsolationError`], [`Breached`](IsolationError::Breached) if the write arrived.
pub fn read_only_mapping<P: Platform>(
    computer: &mut Computer<P>,
) -> Result<Attempt, IsolationError> {
    NEEDS.check(computer)?;
    let mut confined = ConfinedEdu::attach(computer)?;

    let buffer = two_pages_of(confined.edu().device(), LENT)?;
    let mapping = confined
        .edu()
        .device()
        .map_single(buffer, ToDevice)
        .map_err(not_mapped)?;
    let bus = mapping.bus_addr();
    confined.load(SENT)?;
    let attempt = confined.attempt_write(bus)?;

    confined.edu().fetch(&mapping, 0, ATTEMPT_BYTES as u64)?;
    if confined.holds(LENT)? != Held::Pattern {
        return Err(confined.not_reached(bus));
    }
    if Held::of(&mapping.unmap()?, LENT) != Held::Pattern {
        return Err(confined.breached(bus));
    }
    confined.detach(computer)?;
    Ok(attempt)
}
