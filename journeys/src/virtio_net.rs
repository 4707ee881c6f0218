//! A network device sends frames of every kind of length, and receives each as it was.
//!
//! Its network must send back what it is sent: [`Needs::LOOPED_NET`].
//!
//! ```
//! # use board as _;
//! use drivers::virtio::Slot;
//! use journeys::Computer;
//! use journeys::virtio_device::VirtioJourneyError;
//! use journeys::virtio_net::virtio_net;
//!
//! /// How many frames went round.
//! fn frames<S: Slot>(computer: &mut Computer<S::Platform>) -> Result<u64, VirtioJourneyError> {
//!     // SAFETY: the computer's devices keep to what they are told, and nobody else drives them.
//!     let report = unsafe { virtio_net::<S>(computer)? };
//!     Ok(report.frames)
//! }
//! ```

use dmamap::platform::Platform;
use drivers::virtio::{MAX_FRAME_BYTES, Slot, VirtioNet};
use hw::virtio::net::DEVICE_TYPE;

use crate::virtio_device::{VirtioJourneyError, detach};
use crate::{Computer, Needs};

/// What this journey needs.
pub const NEEDS: Needs = Needs::LOOPED_NET;

/// Lengths of the frames: the least, odd ones, the most, across pages of a heap.
const LENGTHS: [usize; 6] = [60, 61, 127, 1000, 1513, MAX_FRAME_BYTES];

/// Rounds: more frames than a queue has entries, so that each is used again.
const ROUNDS: u64 = 8;

/// How long a frame may take.
const PATIENCE_NS: u64 = 20_000_000_000;

/// What went round.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VirtioNetReport {
    /// Frames.
    pub frames: u64,
    /// Bytes of them.
    pub len_bytes: u64,
    /// Mappings made.
    pub maps: u64,
}

/// Sends frames and receives them.
///
/// # Errors
/// [`VirtioJourneyError`].
///
/// # Safety
/// Nobody else uses the first network device; without an IOMMU it keeps to the memory that its driver tells it of.
pub unsafe fn virtio_net<S: Slot>(
    computer: &mut Computer<S::Platform>,
) -> Result<VirtioNetReport, VirtioJourneyError> {
    NEEDS.check(computer)?;
    let function = computer.virtio_devices(DEVICE_TYPE).next().cloned();
    let function = function.ok_or(NEEDS.unmet())?;
    // SAFETY: the caller vouches for the device.
    let device = unsafe { computer.attach_or_trust(&function)? };
    let started = VirtioNet::<S>::start(device, &function, computer.resources_mut());
    let mut net = started.map_err(|failed| failed.error)?;
    let mut report = VirtioNetReport::default();
    for round in 0..ROUNDS {
        for len in LENGTHS {
            go_round(computer.platform(), &mut net, round, len)?;
            report.frames += 1;
            report.len_bytes += len as u64;
        }
    }
    let device = net.stop()?;
    report.maps = detach(computer, device)?.maps;
    Ok(report)
}

/// Sends a frame of `len` bytes and receives it.
fn go_round<S: Slot>(
    platform: S::Platform,
    net: &mut VirtioNet<S>,
    round: u64,
    len: usize,
) -> Result<(), VirtioJourneyError> {
    // On the stack, and beginning anywhere.
    let mut sent = [0; MAX_FRAME_BYTES + 3];
    let sent = &mut sent[round as usize % 3..][..len];
    for (at, byte) in sent.iter_mut().enumerate() {
        *byte = (at as u64 * 31 + round * 7 + len as u64) as u8;
    }
    net.send(sent)?;
    let mut received = [0; MAX_FRAME_BYTES];
    let start_ns = platform.now_ns();
    loop {
        match net.receive(&mut received)? {
            Some(got) if got == len => break,
            // Another's frame on the same network.
            Some(_) => {}
            None if platform.now_ns().saturating_sub(start_ns) > PATIENCE_NS => {
                return Err(VirtioJourneyError::NotReturned {
                    sent: len as u64,
                    received: 0,
                });
            }
            None => platform.relax(),
        }
    }
    match sent
        .iter()
        .zip(&received)
        .position(|(sent, got)| sent != got)
    {
        Some(at) => Err(VirtioJourneyError::Differs { at: at as u64 }),
        None => Ok(()),
    }
}
