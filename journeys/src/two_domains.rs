//! A device reaches nothing of what another one was lent, also where both know it by the same number.

use dmamap::addr::BusAddr;
use dmamap::map::{Bidirectional, FromDevice};
use dmamap::platform::Platform;

use crate::computer::Computer;
use crate::isolation::{ATTEMPT_BYTES, ConfinedEdu, not_mapped, two_pages_of};
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
    /// Where the end of the neighbour's memory is for the neighbour: there the device tried.
    pub neighbours_bus: BusAddr,
    /// Where the end of the device's own memory was afterwards; it may be the same number.
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

    let lent = two_pages_of(&neighbour, KEPT)?;
    let last = (lent.as_slice().len() - ATTEMPT_BYTES) as u64;
    let lent = neighbour
        .map_single(lent, Bidirectional)
        .map_err(not_mapped)?;
    // In the last page: where the device finds copies of its own at the same numbers, it has read the first.
    let neighbours_bus = lent.bus_addr().checked_add(last);
    let neighbours_bus = neighbours_bus.expect("a byte of the mapping");
    let attempt = confined.attempt_write(neighbours_bus)?;

    let own = two_pages_of(confined.edu().device(), KEPT)?;
    let own = confined
        .edu()
        .device()
        .map_single(own, FromDevice)
        .map_err(not_mapped)?;
    let own_bus = own.bus_addr().checked_add(last);
    let own_bus = own_bus.expect("a byte of the mapping");
    confined.edu().store(&own, last, ATTEMPT_BYTES as u64)?;
    let own = own.unmap()?;
    let written = &own.as_slice()[last as usize..][..ATTEMPT_BYTES];
    if written.iter().any(|&byte| byte != SENT) {
        return Err(confined.not_reached(own_bus));
    }
    if lent.unmap()?.as_slice().iter().any(|&byte| byte != KEPT) {
        return Err(confined.breached(neighbours_bus));
    }
    confined.detach(computer)?;
    neighbour.detach()?;
    Ok(TwoDomains {
        attempt,
        neighbours_bus,
        own_bus,
    })
}
