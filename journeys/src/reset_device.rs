//! A disk is reset while memory is mapped for it: it forgets all it was told, and is started anew on the same device.

use alloc::boxed::Box;

use dmamap::buffer::DmaBuffer;
use dmamap::device::Device;
use dmamap::map::Bidirectional;
use dmamap::pci::{Function, FunctionReset, ResetPatience};
use dmamap::platform::Platform;
use drivers::nvme::{Blocks, Nvme, Settings};

use crate::computer::Computer;
use crate::isolation::{buffer_of, detach_treated, not_mapped, with_all_lines};
use crate::needs::Unmet;
use crate::{IsolationError, Needs};

/// What this journey needs. No other driver may have the disk.
pub const NEEDS: Needs = Needs::DISK;

/// The disk's first block.
const FIRST: Blocks = Blocks { first: 0, count: 1 };

/// Reads a block, resets the disk, finds it off and its mapping where it was, starts it again and reads the same.
///
/// # Errors
/// [`IsolationError`].
///
/// # Safety
/// Where there is no IOMMU, the disk does what it is told.
pub unsafe fn reset_device<P: Platform>(
    computer: &mut Computer<P>,
) -> Result<FunctionReset, IsolationError> {
    NEEDS.check(computer)?;
    let lacking = Needs::DISK;
    let function = computer.disks().next().cloned();
    let function = function.ok_or(Unmet { lacking })?;
    // SAFETY: the caller vouches for the disk.
    let device = unsafe { computer.attach_or_trust(&function)? };
    let device = with_all_lines(device, &function)?;
    let requester = device.requester();
    let kept = buffer_of(&device, 0)?;
    let kept = device.map_single(kept, Bidirectional).map_err(not_mapped)?;
    let target = device.translate(kept.bus_addr());

    let (before, mut device) = read(device, &function, computer)?;
    let reset = device.reset(ResetPatience::default())?;
    if device.translate(kept.bus_addr()) != target || device.figures().quarantined_bytes != 0 {
        return Err(IsolationError::Unexpected {
            device: requester,
            what: "its reset changed what is mapped for it",
        });
    }
    let (after, device) = read(device, &function, computer)?;
    if before.as_slice() != after.as_slice() {
        return Err(IsolationError::Differs { device: requester });
    }
    kept.unmap()?;
    detach_treated(computer, device, computer.protection())?;
    Ok(reset.function)
}

/// Starts the disk, reads its first block, and stops it.
fn read<P: Platform>(
    device: Device<P>,
    function: &Function<P>,
    computer: &mut Computer<P>,
) -> Result<(DmaBuffer<P>, Device<P>), IsolationError> {
    let tree = computer.resources_mut();
    let disk = Nvme::start(device, function, tree, Settings::default());
    let mut disk = disk.map_err(|failed| IsolationError::Disk(Box::new(failed.error)))?;
    let block = u64::from(FIRST.count) * disk.namespace().block_bytes();
    let buffer = DmaBuffer::allocate_for(disk.device(), block)?;
    let buffer = disk
        .read(FIRST, buffer)
        .map_err(|failed| IsolationError::Disk(Box::new(failed.error)))?;
    let device = disk
        .shutdown()
        .map_err(|failed| IsolationError::Disk(Box::new(failed.error)))?;
    Ok((buffer, device))
}
