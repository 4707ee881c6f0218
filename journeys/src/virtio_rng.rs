//! An entropy device fills buffers of any alignment, on the stack and on the heap, and nothing beside them.
//!
//! ```
//! # use board as _;
//! use drivers::virtio::Slot;
//! use journeys::Computer;
//! use journeys::virtio_device::VirtioJourneyError;
//! use journeys::virtio_rng::virtio_rng;
//!
//! /// How many random bytes there were.
//! fn bytes<S: Slot>(computer: &mut Computer<S::Platform>) -> Result<u64, VirtioJourneyError> {
//!     // SAFETY: the computer's devices keep to what they are told, and nobody else drives them.
//!     let report = unsafe { virtio_rng::<S>(computer)? };
//!     Ok(report.len_bytes)
//! }
//! ```

use alloc::vec;

use drivers::virtio::{Slot, VirtioRng};
use hw::virtio::entropy::DEVICE_TYPE;

use crate::virtio_device::{VirtioJourneyError, detach};
use crate::{Computer, Needs};

/// What this journey needs.
pub const NEEDS: Needs = Needs::VIRTIO_RNG;

/// Beside each buffer.
const BESIDE: u8 = 0xee;

/// What was filled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VirtioRngReport {
    /// Bytes.
    pub len_bytes: u64,
    /// Mappings made.
    pub maps: u64,
}

/// Fills buffers.
///
/// # Errors
/// [`VirtioJourneyError`].
///
/// # Safety
/// Nobody else uses the first entropy device; without an IOMMU it keeps to the memory that its driver tells it of.
pub unsafe fn virtio_rng<S: Slot>(
    computer: &mut Computer<S::Platform>,
) -> Result<VirtioRngReport, VirtioJourneyError> {
    NEEDS.check(computer)?;
    let function = computer.virtio_devices(DEVICE_TYPE).next().cloned();
    let function = function.ok_or(NEEDS.unmet())?;
    // SAFETY: the caller vouches for the device.
    let device = unsafe { computer.attach_or_trust(&function)? };
    let started = VirtioRng::<S>::start(device, &function, computer.resources_mut());
    let mut rng = started.map_err(|failed| failed.error)?;
    let mut report = VirtioRngReport::default();
    let mut on_stack = [BESIDE; 83];
    let mut on_heap = vec![BESIDE; 9001];
    for start in [0, 1, 7] {
        report.len_bytes += fill_within(&mut rng, &mut on_stack, start)?;
        report.len_bytes += fill_within(&mut rng, &mut on_heap, start)?;
    }
    let device = rng.stop()?;
    report.maps = detach(computer, device)?.maps;
    Ok(report)
}

/// Fills `memory` from byte `start` to its last but three, twice.
fn fill_within<S: Slot>(
    rng: &mut VirtioRng<S>,
    memory: &mut [u8],
    start: usize,
) -> Result<u64, VirtioJourneyError> {
    memory.fill(BESIDE);
    let end = memory.len() - 3;
    rng.fill(&mut memory[start..end])?;
    let first = memory[start..end].to_vec();
    rng.fill(&mut memory[start..end])?;
    let beside = memory[..start].iter().chain(&memory[end..]);
    if beside.into_iter().any(|&byte| byte != BESIDE) {
        return Err(VirtioJourneyError::Strayed);
    }
    let second = &memory[start..end];
    // By chance once in more runs than anybody makes.
    let alike = |bytes: &[u8]| bytes.windows(2).all(|pair| pair[0] == pair[1]);
    let tail = first.len() - 16;
    if first == second || alike(&first) || alike(&first[tail..]) || first[tail..] == second[tail..]
    {
        return Err(VirtioJourneyError::NotRandom {
            len_bytes: first.len(),
        });
    }
    Ok(2 * first.len() as u64)
}
