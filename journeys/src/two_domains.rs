//! A device reaches nothing of what another one was lent, also where both know it by the same number.

use dmamap::addr::BusAddr;
use dmamap::map::{Bidirectional, FromDevice};
use dmamap::platform::Platform;

use crate::computer::Computer;
use crate::isolation::{ATTEMPT_BYTES, ConfinedEdu, Held, buffer_of, not_mapped};
use crate::needs::Unmet;
use crate::{Attempt, IsolationError, Needs};

/// What this journey needs. No other driver may have the disk.
pub const NEEDS: Needs = Needs::EDU.and(Needs::DISK).and(Needs::IOMMU);

/// What the neighbour's memory holds.
const KEPT: u8 = 0x66;
/// What the device is made to write.
const SENT: u8 = 0x99;

/// What two devices in two domains were seen to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TwoDomains {
    /// The attempt on the neighbour's address while nothing of the device's own was mapped.
    pub attempt: Attempt,
    /// Where the neighbour's memory is for the neighbour.
    pub neighbours_bus: BusAddr,
    /// Where the device's own memory was afterwards; it may be the same number.
    pub own_bus: BusAddr,
}

/// Lends memory to the disk, lets the educational device try to write it at the disk's address, then
/// lends the educational device memory of its own, which it may write.
///
/// # Errors
/// [`IsolationError`], [`Breached`](IsolationError::Breached) if anything arrived in the disk's memory.
pub fn two_domains<P: Platform>(computer: &mut Computer<P>) -> Result<TwoDomains, IsolationError> {
    NEEDS.check(computer)?;
    let disk = computer.disks().next().cloned().ok_or(Unmet {
        lacking: Needs::DISK,
    })?;
    let neighbour = computer.attach(&disk)?;
    let mut confined = ConfinedEdu::attach(computer)?;
    confined.load(SENT)?;

    let lent = buffer_of(&neighbour, KEPT)?;
    let lent = neighbour
        .map_single(lent, Bidirectional)
        .map_err(not_mapped)?;
    let neighbours_bus = lent.bus_addr();
    let attempt = confined.attempt_write(neighbours_bus)?;

    let own = buffer_of(confined.edu().device(), KEPT)?;
    let own = confined
        .edu()
        .device()
        .map_single(own, FromDevice)
        .map_err(not_mapped)?;
    let own_bus = own.bus_addr();
    confined.edu().store(&own, 0, ATTEMPT_BYTES as u64)?;
    if Held::of(&own.unmap()?, SENT) != Held::Pattern {
        return Err(confined.not_reached(own_bus));
    }
    if Held::of(&lent.unmap()?, KEPT) != Held::Pattern {
        return Err(confined.breached(neighbours_bus));
    }
    confined.detach()?;
    neighbour.detach()?;
    Ok(TwoDomains {
        attempt,
        neighbours_bus,
        own_bus,
    })
}
