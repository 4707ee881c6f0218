//! A virtio disk is read whole, written whole and read back, by a driver that knows nothing of `dmamap`.

use alloc::vec::Vec;
use core::convert::Infallible;

use drivers::virtio::{Slot, VirtioBlock};

use crate::virtio_device::{VirtioJourneyError, detach};
use crate::virtio_disk::{ReadVirtioDiskError, VirtioDiskReport, read_virtio_disk};
use crate::{Computer, Needs};

/// What this journey needs. The disk holds what it held before, unless the journey fails.
pub const NEEDS: Needs = Needs::VIRTIO_DISK;

/// Reads the first virtio disk, writes every byte of it inverted, reads that back, and writes and reads what it held before.
/// A disk that can only be read is read twice.
///
/// # Errors
/// [`VirtioJourneyError`].
///
/// # Safety
/// Nobody else uses the first virtio disk; without an IOMMU it keeps to the memory that its driver tells it of.
pub unsafe fn virtio_disk_rewritten<S: Slot>(
    computer: &mut Computer<S::Platform>,
) -> Result<VirtioDiskReport, VirtioJourneyError> {
    NEEDS.check(computer)?;
    let function = computer.virtio_disks().next().cloned();
    let function = function.ok_or(NEEDS.unmet())?;
    // SAFETY: the caller vouches for the device.
    let device = unsafe { computer.attach_or_trust(&function)? };
    let started = VirtioBlock::<S>::start(device, &function, computer.resources_mut());
    let mut disk = started.map_err(|failed| failed.error)?;
    let (mut held, mut report) = read(&mut disk)?;
    if disk.is_read_only() {
        report = expect(&mut disk, &held)?;
    } else {
        for _ in 0..2 {
            held.iter_mut().for_each(|byte| *byte = !*byte);
            disk.write(0, &held)?;
            report = expect(&mut disk, &held)?;
        }
    }
    detach(computer, disk.stop()?)?;
    Ok(report)
}

/// All of the disk.
fn read<S: Slot>(
    disk: &mut VirtioBlock<S>,
) -> Result<(Vec<u8>, VirtioDiskReport), VirtioJourneyError> {
    let mut bytes = Vec::new();
    let report = read_virtio_disk(disk, |piece| {
        bytes.extend_from_slice(piece);
        Ok::<(), Infallible>(())
    });
    match report {
        Ok(report) => Ok((bytes, report)),
        Err(ReadVirtioDiskError::Disk { error, .. }) => Err(error.into()),
        Err(ReadVirtioDiskError::Sink(never)) => match never {},
    }
}

/// Reads the disk, which must hold `wanted`.
fn expect<S: Slot>(
    disk: &mut VirtioBlock<S>,
    wanted: &[u8],
) -> Result<VirtioDiskReport, VirtioJourneyError> {
    let (found, report) = read(disk)?;
    let differs = found
        .iter()
        .zip(wanted)
        .position(|(found, wanted)| found != wanted);
    match differs {
        None if found.len() == wanted.len() => Ok(report),
        differs => Err(VirtioJourneyError::Differs {
            at: differs.unwrap_or(found.len().min(wanted.len())) as u64,
        }),
    }
}
