//! A graphics adapter shows a picture, another one in its place, and a cursor.
//!
//! What it shows the caller may know how to see: byte `at` of the last picture is [`pixel_byte`]`(at)`.
//!
//! ```
//! # use board as _;
//! use drivers::virtio::Slot;
//! use journeys::Computer;
//! use journeys::virtio_device::VirtioJourneyError;
//! use journeys::virtio_gpu::virtio_gpu;
//!
//! /// How wide the screen is.
//! fn width<S: Slot>(computer: &mut Computer<S::Platform>) -> Result<u32, VirtioJourneyError> {
//!     // SAFETY: the computer's devices keep to what they are told, and nobody else drives them.
//!     let report = unsafe { virtio_gpu::<S>(computer, |_, _| ())? };
//!     Ok(report.width)
//! }
//! ```

use alloc::vec;

use drivers::virtio::{Slot, VirtioGpu};
use hw::virtio::gpu::DEVICE_TYPE;

use crate::virtio_device::{VirtioJourneyError, detach};
use crate::{Computer, Needs};

/// What this journey needs.
pub const NEEDS: Needs = Needs::VIRTIO_GPU;

/// What was shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VirtioGpuReport {
    /// Pixels of a row.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// Mappings made.
    pub maps: u64,
}

/// Byte `at` of the last picture.
pub fn pixel_byte(at: usize) -> u8 {
    (at as u32).wrapping_mul(0x9e37_79b1).to_be_bytes()[0]
}

/// Shows pictures; while the last is shown, `see` is told its width and height.
///
/// # Errors
/// [`VirtioJourneyError`].
///
/// # Safety
/// Nobody else uses the first graphics adapter; without an IOMMU it keeps to the memory that its driver tells it of.
pub unsafe fn virtio_gpu<S: Slot>(
    computer: &mut Computer<S::Platform>,
    see: impl FnOnce(u32, u32),
) -> Result<VirtioGpuReport, VirtioJourneyError> {
    NEEDS.check(computer)?;
    let function = computer.virtio_devices(DEVICE_TYPE).next().cloned();
    let function = function.ok_or(NEEDS.unmet())?;
    // SAFETY: the caller vouches for the device.
    let device = unsafe { computer.attach_or_trust(&function)? };
    let started = VirtioGpu::<S>::start(device, &function, computer.resources_mut());
    let mut gpu = started.map_err(|failed| failed.error)?;
    gpu.set_up(64, 48)?.fill(0x55);
    gpu.flush()?;
    let (width, height) = gpu.resolution()?;
    let pixels = gpu.set_up(width, height)?;
    for (at, byte) in pixels.iter_mut().enumerate() {
        *byte = pixel_byte(at);
    }
    gpu.flush()?;
    gpu.set_up_cursor(&vec![0xff; 64 * 64 * 4], 10, 10)?;
    gpu.move_cursor(20, 30)?;
    see(width, height);
    let device = gpu.stop()?;
    Ok(VirtioGpuReport {
        width,
        height,
        maps: detach(computer, device)?.maps,
    })
}
