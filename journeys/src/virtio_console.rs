//! A console sends pieces of a text and gets back the whole.
//!
//! What it is connected to must send back what it is sent: [`Needs::LOOPED_CONSOLE`].
//!
//! ```
//! # use board as _;
//! use drivers::virtio::Slot;
//! use journeys::Computer;
//! use journeys::virtio_console::virtio_console;
//! use journeys::virtio_device::VirtioJourneyError;
//!
//! /// How many bytes went round.
//! fn bytes<S: Slot>(computer: &mut Computer<S::Platform>) -> Result<u64, VirtioJourneyError> {
//!     // SAFETY: the computer's devices keep to what they are told, and nobody else drives them.
//!     let report = unsafe { virtio_console::<S>(computer)? };
//!     Ok(report.len_bytes)
//! }
//! ```

use dmamap::platform::Platform;
use drivers::virtio::{Slot, VirtioConsole};
use hw::virtio::console::DEVICE_TYPE;

use crate::virtio_device::{VirtioJourneyError, detach};
use crate::{Computer, Needs};

/// What this journey needs.
pub const NEEDS: Needs = Needs::LOOPED_CONSOLE;

/// Lengths of the pieces.
const LENGTHS: [usize; 5] = [1, 13, 100, 1000, 1779];

/// Rounds: more pieces than a queue has entries.
const ROUNDS: u64 = 4;

/// How long a piece may take.
const PATIENCE_NS: u64 = 20_000_000_000;

/// What went round.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VirtioConsoleReport {
    /// Bytes.
    pub len_bytes: u64,
    /// Mappings made.
    pub maps: u64,
}

/// Sends bytes and receives them.
///
/// # Errors
/// [`VirtioJourneyError`].
///
/// # Safety
/// Nobody else uses the first console; without an IOMMU it keeps to the memory that its driver tells it of.
pub unsafe fn virtio_console<S: Slot>(
    computer: &mut Computer<S::Platform>,
) -> Result<VirtioConsoleReport, VirtioJourneyError> {
    NEEDS.check(computer)?;
    let function = computer.virtio_devices(DEVICE_TYPE).next().cloned();
    let function = function.ok_or(NEEDS.unmet())?;
    // SAFETY: the caller vouches for the device.
    let device = unsafe { computer.attach_or_trust(&function)? };
    let started = VirtioConsole::<S>::start(device, &function, computer.resources_mut());
    let mut console = started.map_err(|failed| failed.error)?;
    let mut report = VirtioConsoleReport::default();
    for _ in 0..ROUNDS {
        for len in LENGTHS {
            go_round(computer.platform(), &mut console, report.len_bytes, len)?;
            report.len_bytes += len as u64;
        }
    }
    let device = console.stop()?;
    report.maps = detach(computer, device)?.maps;
    Ok(report)
}

/// Sends `len` bytes, before which `first` were sent, and receives them.
fn go_round<S: Slot>(
    platform: S::Platform,
    console: &mut VirtioConsole<S>,
    first: u64,
    len: usize,
) -> Result<(), VirtioJourneyError> {
    let letter = |at: u64| b'a' + (at % 23) as u8;
    let mut sent = [0; 1780];
    let sent = &mut sent[1..][..len];
    for (at, byte) in (first..).zip(sent.iter_mut()) {
        *byte = letter(at);
    }
    console.send(sent)?;
    let mut received = 0;
    let start_ns = platform.now_ns();
    while received < len {
        let mut piece = [0; 61];
        let got = console.receive(&mut piece)?;
        for byte in &piece[..got] {
            let at = first + received as u64;
            if *byte != letter(at) {
                return Err(VirtioJourneyError::Differs { at });
            }
            received += 1;
        }
        if got == 0 {
            if platform.now_ns().saturating_sub(start_ns) > PATIENCE_NS {
                return Err(VirtioJourneyError::NotReturned {
                    sent: len as u64,
                    received: received as u64,
                });
            }
            platform.relax();
        }
    }
    Ok(())
}
