//! A disk is pulled out with memory mapped for it: its driver is told, nothing is waited for, and memory comes back: by the
//! word of its unit where there is one.

use alloc::boxed::Box;

use dmamap::buffer::DmaBuffer;
use dmamap::map::Bidirectional;
use dmamap::pci::Function;
use dmamap::platform::Platform;
use drivers::nvme::{Blocks, CommandError, ControllerError, Nvme, Settings};

use crate::computer::{Computer, Removable};
use crate::isolation::{Held, buffer_of, detach_treated, not_mapped, with_all_lines};
use crate::{IsolationError, Needs};

/// What this journey needs. No other driver may have the disk, and nobody after.
pub const NEEDS: Needs = Needs::DISK;

/// What [`remove_removable`] needs.
pub const NEEDS_REMOVABLE: Needs = NEEDS.and(Needs::REMOVABLE);

/// What memory holds.
const KEPT: u8 = 0x6b;

/// As [`surprise_removal`] of the disk that the computer has for that ([`Computer::set_removable`]).
///
/// # Errors
/// [`IsolationError`].
///
/// # Safety
/// As for [`surprise_removal`].
pub unsafe fn remove_removable<P: Platform>(
    computer: &mut Computer<P>,
) -> Result<(), IsolationError> {
    NEEDS_REMOVABLE.check(computer)?;
    let unmet = Needs::REMOVABLE.unmet();
    let Removable { address, pull_out } = computer.removable.take().ok_or(unmet)?;
    let function = computer.disks().find(|disk| disk.address() == address);
    let function = function.cloned().ok_or(unmet)?;
    // SAFETY: the caller's promise.
    unsafe { remove(computer, &function, pull_out) }
}

/// Lends memory, lets `pull_out` pull the first disk out, asks it for a block in vain, and takes the memory back.
///
/// # Errors
/// [`IsolationError`].
///
/// # Safety
/// Where there is no IOMMU, the disk does what it is told.
pub unsafe fn surprise_removal<P: Platform>(
    computer: &mut Computer<P>,
    pull_out: impl FnOnce(),
) -> Result<(), IsolationError> {
    NEEDS.check(computer)?;
    let function = computer.disks().next().cloned();
    let function = function.ok_or(Needs::DISK.unmet())?;
    // SAFETY: the caller's promise.
    unsafe { remove(computer, &function, pull_out) }
}

/// # Safety
/// As for [`surprise_removal`].
unsafe fn remove<P: Platform>(
    computer: &mut Computer<P>,
    function: &Function<P>,
    pull_out: impl FnOnce(),
) -> Result<(), IsolationError> {
    // SAFETY: the caller vouches for the disk.
    let device = unsafe { computer.attach_or_trust(function)? };
    let device = with_all_lines(device, function)?;
    let requester = device.requester();
    let unexpected = |what| IsolationError::Unexpected {
        device: requester,
        what,
    };
    let kept = buffer_of(&device, KEPT)?;
    let kept = device.map_single(kept, Bidirectional).map_err(not_mapped)?;
    let tree = computer.resources_mut();
    let disk = Nvme::start(device, function, tree, Settings::default());
    let mut disk = disk.map_err(|failed| IsolationError::Disk(Box::new(failed.error)))?;
    pull_out();
    if function.is_present() {
        return Err(unexpected("it is there after it was pulled out"));
    }
    let buffer = DmaBuffer::allocate_for(disk.device(), disk.namespace().block_bytes())?;
    match disk.read(Blocks { first: 0, count: 1 }, buffer) {
        Ok(_) => return Err(unexpected("it answers after it was pulled out")),
        Err(failed) => match failed.error {
            CommandError::Controller(ControllerError::Removed) if failed.buffer.is_some() => {}
            error => return Err(IsolationError::Disk(Box::new(error))),
        },
    }
    // Memory is kept until the unit says that the device lost it, gone or not.
    if disk.device().translate(kept.bus_addr()).is_none() {
        return Err(unexpected("its mapping went with it"));
    }
    if Held::of(&kept.unmap()?, KEPT) != Held::Pattern {
        return Err(unexpected("it wrote to memory after it was pulled out"));
    }
    match disk.shutdown() {
        Ok(_) => Err(unexpected("it was shut down after it was pulled out")),
        Err(failed) => detach_treated(computer, failed.device, computer.protection()),
    }
}
