//! A device uses another's registers (`map_resource`), which lie where few address lines do not reach, and loses them.

use alloc::boxed::Box;

use dmamap::map::Bidirectional;
use dmamap::platform::Platform;
use hw::nvme::regs::ASQ;

use crate::computer::Computer;
use crate::isolation::{ConfinedEdu, not_lent, not_mapped};
use crate::{Attempt, IsolationError, Needs};

/// What this journey needs: a unit, as nothing else brings registers to where the device's 28 address lines reach, nor takes
/// them away again. No other driver may have the disk.
pub const NEEDS: Needs = Needs::EDU
    .and(Needs::DISK)
    .and(Needs::IOMMU)
    .and(Needs::PEERS);

/// What the device writes into a register of the disk that is switched off: where its first queue is to be.
const WORD: u64 = 0x0012_3456_7000;
/// What the register holds when the device tries again.
const KEPT: u64 = 0x7000;

/// Lends the first disk's registers to the educational device, which writes one, takes them back, and lets it try again.
///
/// # Errors
/// [`IsolationError`], [`NotReached`](IsolationError::NotReached) if the first write did not arrive,
/// [`Breached`](IsolationError::Breached) if the second did.
pub fn peer_registers<P: Platform>(computer: &mut Computer<P>) -> Result<Attempt, IsolationError> {
    NEEDS.check(computer)?;
    let disk = computer.disks().next().cloned();
    let disk = disk.ok_or(Needs::DISK.unmet())?;
    let mut confined = ConfinedEdu::attach(computer)?;
    disk.enable_memory().map_err(not_lent)?;
    let window = disk.claim_bar(0, "peer", computer.resources_mut());
    let window = window.map_err(|error| IsolationError::NotLent(Box::new(error)))?;
    let register = window.register::<u64>(ASQ).map_err(not_lent)?;
    register.write(0);
    let device = confined.edu().device();
    let mapping = device
        .map_resource(&disk, window, Bidirectional)
        .map_err(not_mapped)?;
    let at = mapping.range().slice(ASQ, size_of_val(&WORD) as u64);
    let bus = at.ok_or(confined.unexpected("its peer has not that register"))?;
    let bus = bus.start();
    confined.load_bytes(&WORD.to_le_bytes())?;
    // SAFETY: the device is confined, and these registers are lent to it.
    unsafe { confined.edu().store_at(bus, size_of_val(&WORD) as u64)? };
    let window = mapping.unmap()?;
    if register.read() != WORD {
        return Err(confined.not_reached(bus));
    }

    register.write(KEPT);
    let attempt = confined.attempt_write(bus)?;
    if register.read() != KEPT {
        return Err(confined.breached(bus));
    }
    register.write(0);
    drop((register, window));
    confined.detach(computer)?;
    Ok(attempt)
}
