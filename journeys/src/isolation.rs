//! What the isolation journeys share: a device that tries, and the proof that it was refused.

use alloc::boxed::Box;
use core::ptr::NonNull;
use core::time::Duration;

use dmamap::addr::{BusAddr, BusRange, DmaMask};
use dmamap::buffer::{BufferError, DmaBuffer};
use dmamap::device::{Coherence, DetachError, Device, NotConfirmed, ResetError};
use dmamap::iommu::fault::{Access, Fault, FaultReport};
use dmamap::iommu::{Requester, UnitError};
use dmamap::map::{MapError, Quarantined, Rejected};
use dmamap::pci::{Function, PciAddress};
use dmamap::platform::Platform;
use dmamap::system::{AttachError, DmaSystem, Protection, RestartError, ResumeError, SuspendError};
use drivers::edu::{EduError, EduStartError};

use crate::computer::Computer;
use crate::needs::Unmet;

pub(crate) use crate::confined_edu::{ConfinedEdu, first_edu};

/// How long a refused request may take to show in the IOMMU's fault records.
const FAULT_REPORT_TIMEOUT: Duration = Duration::from_secs(5);

/// Address lines of a disk that says nothing else.
const DISK_ADDRESS_LINES: u32 = 64;

/// Bytes an attempt moves.
pub(crate) const ATTEMPT_BYTES: usize = 256;

/// Why isolation was not shown.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IsolationError {
    /// The computer lacks something.
    #[error(transparent)]
    Unmet(#[from] Unmet),
    /// A device could not be attached.
    #[error(transparent)]
    Attach(Box<AttachError>),
    /// The educational device could not be taken.
    #[error(transparent)]
    EduStart(Box<EduStartError>),
    /// The educational device failed.
    #[error(transparent)]
    Edu(#[from] EduError),
    /// There is no memory.
    #[error(transparent)]
    Buffer(#[from] BufferError),
    /// A buffer could not be mapped.
    #[error(transparent)]
    Map(#[from] MapError),
    /// A buffer could not be taken back.
    #[error(transparent)]
    Quarantined(#[from] Quarantined),
    /// A flush was not confirmed.
    #[error(transparent)]
    Revoke(#[from] NotConfirmed),
    /// The device could not be detached.
    #[error(transparent)]
    Detach(#[from] DetachError),
    /// A device did not reach what was mapped for it.
    #[error("{device} did not reach bus {bus} while it was mapped")]
    NotReached {
        /// The device.
        device: Requester,
        /// Where it was told to go.
        bus: BusAddr,
    },
    /// A device reached what it must not reach: the protection failed.
    #[error("{device} reached bus {bus}, which it must not: {access}")]
    Breached {
        /// The device.
        device: Requester,
        /// Where it was told to go.
        bus: BusAddr,
        /// What it did.
        access: Access,
    },
    /// An attempt failed, as it should, but nobody was told.
    #[error("{device} was refused at bus {bus}, but no fault was reported")]
    NotReported {
        /// The device.
        device: Requester,
        /// Where it was told to go.
        bus: BusAddr,
    },
    /// The attempt was reported as something else.
    #[error("{device} was refused at bus {bus}, but the report says: {fault}")]
    Misreported {
        /// The device.
        device: Requester,
        /// Where it was told to go.
        bus: BusAddr,
        /// What was reported.
        fault: Fault,
    },
    /// A reserved region is not kept.
    #[error("{device}: the reserved bus addresses {region} are not kept")]
    Reserved {
        /// The device.
        device: Requester,
        /// The region.
        region: BusRange,
    },
    /// A unit did not answer.
    #[error(transparent)]
    Unit(#[from] UnitError),
    /// The units were not restarted.
    #[error(transparent)]
    Restart(#[from] RestartError),
    /// The machine was not suspended.
    #[error(transparent)]
    Suspend(#[from] SuspendError),
    /// The machine was not resumed.
    #[error(transparent)]
    Resume(#[from] ResumeError),
    /// A function did not come back as it was.
    #[error("{0} did not come back")]
    Lost(PciAddress),
    /// A device was not reset.
    #[error(transparent)]
    Reset(#[from] ResetError),
    /// A disk failed.
    #[error("{0}")]
    Disk(Box<dyn core::error::Error + Send + Sync>),
    /// Memory or registers could not be lent, or a view of them not be had.
    #[error("not lent: {0}")]
    NotLent(Box<dyn core::error::Error + Send + Sync>),
    /// A disk does not read what it read before.
    #[error("{device} reads something else than before")]
    Differs {
        /// The disk.
        device: Requester,
    },
    /// Something is not as a device that is gone, or was reset, has to be.
    #[error("{device}: {what}")]
    Unexpected {
        /// The device.
        device: Requester,
        /// What it is.
        what: &'static str,
    },
    /// A bus address is beyond the device's mask.
    #[error("{device} was given bus {bus}, beyond its address lines")]
    BeyondMask {
        /// The device.
        device: Requester,
        /// What it was given.
        bus: BusAddr,
    },
}

// Boxed, as they are larger than all others.
impl From<AttachError> for IsolationError {
    fn from(error: AttachError) -> Self {
        Self::Attach(Box::new(error))
    }
}

impl From<EduStartError> for IsolationError {
    fn from(error: EduStartError) -> Self {
        Self::EduStart(Box::new(error))
    }
}

/// An attempt that was refused, and how it was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Where the device tried to go.
    pub bus: BusAddr,
    /// The first fault of that device. Only a device's first is kept: it is of this attempt unless the device
    /// was refused before.
    pub fault: Fault,
    /// Faults of all devices that were reported with this attempt.
    pub faults: u64,
}

/// What became of an attempt to reach memory that is not mapped, or no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attempt {
    /// The IOMMU refused it.
    Refused(Refused),
    /// It went into memory that is the device's for as long as it is attached, and nobody else's: that is how
    /// [`Protection::Bounce`] protects.
    Absorbed(BusAddr),
}

impl Attempt {
    /// The refusal, if it was one.
    pub fn refused(&self) -> Option<&Refused> {
        match self {
            Self::Refused(refused) => Some(refused),
            Self::Absorbed(_) => None,
        }
    }
}

/// What the units tell of the attempt that `device` made at `bus` since `faults_before`.
pub(crate) fn refusal<P: Platform>(
    system: &DmaSystem<P>,
    platform: P,
    device: Requester,
    bus: BusAddr,
    faults_before: &FaultReport,
) -> Result<Refused, IsolationError> {
    let timeout_ns = FAULT_REPORT_TIMEOUT.as_nanos() as u64;
    let deadline_ns = platform.now_ns().saturating_add(timeout_ns);
    let faults = loop {
        let now_ns = platform.now_ns();
        let faults = system.faults();
        if faults.total > faults_before.total {
            break faults;
        }
        if now_ns >= deadline_ns {
            return Err(IsolationError::NotReported { device, bus });
        }
        platform.relax();
    };
    let is_ours = |fault: &&Fault| fault.requester == device;
    let fault = faults.first_per_requester.iter().find(is_ours);
    let fault = *fault.ok_or(IsolationError::NotReported { device, bus })?;
    let is_first = !faults_before
        .first_per_requester
        .iter()
        .any(|fault| is_ours(&fault));
    let page = bus.align_down(dmamap::addr::FRAME_SIZE_LOG2);
    // Units report the page, or the very byte.
    let reported = fault.address.align_down(dmamap::addr::FRAME_SIZE_LOG2);
    let wrong = reported != page || fault.access == Access::Read;
    // QEMU's AMD-Vi unit logs neither where nor how: 0, where nothing is ever mapped and nobody tries to go.
    let is_told = reported != BusAddr::new(0);
    if is_first && is_told && wrong {
        return Err(IsolationError::Misreported { device, bus, fault });
    }
    Ok(Refused {
        bus,
        fault,
        faults: faults.total - faults_before.total,
    })
}

/// Tells `device` of all address lines that the disk of `function` has, as its driver will: memory is lent before it starts.
pub(crate) fn with_all_lines<P: Platform>(
    device: Device<P>,
    function: &Function<P>,
) -> Result<Device<P>, IsolationError> {
    let bits = function.address_lines().unwrap_or(DISK_ADDRESS_LINES);
    let mask = DmaMask::from_bits(bits).map_err(not_lent)?;
    device.set_mask_and_coherent(mask).map_err(not_lent)?;
    Ok(device)
}

/// Detaches `device`, whose mappings must have been treated as `protection` says if that is the computer's.
pub(crate) fn detach_treated<P: Platform>(
    computer: &Computer<P>,
    device: Device<P>,
    protection: Protection,
) -> Result<(), IsolationError> {
    if protection == computer.protection && !computer.treats_as_asked(&device) {
        return Err(IsolationError::Unexpected {
            device: device.requester(),
            what: "its mappings were not treated as its protection says",
        });
    }
    Ok(device.detach()?)
}

/// What a buffer holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Held {
    /// The pattern asked for, everywhere.
    Pattern,
    /// Anything else.
    SomethingElse,
}

impl Held {
    pub(crate) fn of<P: Platform>(buffer: &DmaBuffer<P>, pattern: u8) -> Self {
        // What follows is the rest of a larger page.
        let bytes = &buffer.as_slice()[..ATTEMPT_BYTES];
        match bytes.iter().all(|&byte| byte == pattern) {
            true => Self::Pattern,
            false => Self::SomethingElse,
        }
    }
}

/// A buffer full of `pattern` that can be mapped for `device`.
pub(crate) fn buffer_of<P: Platform>(
    device: &Device<P>,
    pattern: u8,
) -> Result<DmaBuffer<P>, BufferError> {
    let mut buffer = DmaBuffer::allocate_for(device, ATTEMPT_BYTES as u64)?;
    buffer.as_mut_slice().fill(pattern);
    Ok(buffer)
}

/// As [`buffer_of`], two pages of the device's IOMMU that it shares with nothing.
///
/// Copies that stand in for short buffers share pages, and hardware that remembers a read-only translation from a read may
/// refuse a write to that page without a report (QEMU's does).
pub(crate) fn two_pages_of<P: Platform>(
    device: &Device<P>,
    pattern: u8,
) -> Result<DmaBuffer<P>, BufferError> {
    let mut buffer = DmaBuffer::allocate_for(device, 2 * device.page_bytes())?;
    buffer.as_mut_slice().fill(pattern);
    Ok(buffer)
}

pub(crate) fn not_lent(error: impl core::error::Error + Send + Sync + 'static) -> IsolationError {
    IsolationError::NotLent(Box::new(error))
}

pub(crate) fn not_mapped<B>(rejected: Rejected<B>) -> IsolationError {
    rejected.error.into()
}

/// Fills memory with `kept`, past the caches where a device of this `coherence` does not see them.
pub(crate) fn refill<P: Platform>(
    platform: P,
    coherence: Coherence,
    buffer: &mut DmaBuffer<P>,
    kept: u8,
) {
    buffer.as_mut_slice().fill(kept);
    if coherence == Coherence::NotSnooped {
        let bytes = NonNull::from(buffer.as_mut_slice());
        platform.clean_cache(bytes.cast(), bytes.len());
    }
}

/// Whether memory holds `kept`, whatever of it the caches held.
pub(crate) fn is_kept<P: Platform>(
    platform: P,
    coherence: Coherence,
    buffer: &mut DmaBuffer<P>,
    kept: u8,
) -> bool {
    see_memory(platform, coherence, buffer);
    buffer.as_slice().iter().all(|&byte| byte == kept)
}

/// Has the CPU see what is in memory, where a device of this `coherence` may have changed it unseen.
pub(crate) fn see_memory<P: Platform>(
    platform: P,
    coherence: Coherence,
    buffer: &mut DmaBuffer<P>,
) {
    if coherence == Coherence::NotSnooped {
        let bytes = NonNull::from(buffer.as_mut_slice());
        platform.invalidate_cache(bytes.cast(), bytes.len());
    }
}
