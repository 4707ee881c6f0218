//! What the isolation journeys share: a device that tries, and the proof that it was refused.

use alloc::boxed::Box;
use core::time::Duration;

use dmamap::addr::{BusAddr, BusRange};
use dmamap::buffer::{BufferError, DmaBuffer};
use dmamap::device::{DetachError, Device, NotConfirmed, ResetError};
use dmamap::iommu::fault::{Access, Fault};
use dmamap::iommu::{Requester, UnitError};
use dmamap::map::{FromDevice, MapError, Permission, Quarantined, Rejected, ToDevice};
use dmamap::pci::PciAddress;
use dmamap::platform::Platform;
use dmamap::system::{AttachError, DmaSystem, Protection, RestartError, ResumeError, SuspendError};
use drivers::edu::{Edu, EduError, EduStartError};

use crate::computer::Computer;
use crate::needs::{Needs, Unmet};

/// How long a refused request may take to show in the IOMMU's fault records.
const FAULT_REPORT_TIMEOUT: Duration = Duration::from_secs(1);

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

/// The educational device behind an IOMMU: whatever it is told to do, it reaches only what is mapped for it.
pub(crate) struct ConfinedEdu<P: Platform> {
    system: &'static DmaSystem<P>,
    protection: Protection,
    edu: Edu<P>,
}

impl<P: Platform> ConfinedEdu<P> {
    /// Attaches the computer's first educational device so that it need not be trusted.
    pub(crate) fn attach(computer: &mut Computer<P>) -> Result<Self, IsolationError> {
        let system = computer.system;
        let function = computer.edus().next().cloned().ok_or(Unmet {
            lacking: Needs::EDU,
        })?;
        let protection = computer.protection;
        let device = computer.attach(&function)?;
        let edu = Edu::start(device, &function, &mut computer.resources);
        Ok(Self {
            system,
            protection,
            edu: edu.map_err(|failed| failed.error)?,
        })
    }

    pub(crate) fn requester(&self) -> Requester {
        self.edu.device().requester()
    }

    pub(crate) fn edu(&mut self) -> &mut Edu<P> {
        &mut self.edu
    }

    /// Fills the device's buffer with `pattern`, by way of memory mapped for it.
    pub(crate) fn load(&mut self, pattern: u8) -> Result<(), IsolationError> {
        let device = self.edu.device();
        let buffer = buffer_of(device, pattern)?;
        let mapping = device.map_single(buffer, ToDevice).map_err(not_mapped)?;
        self.edu.fetch(&mapping, 0, ATTEMPT_BYTES as u64)?;
        mapping.unmap()?;
        Ok(())
    }

    /// Puts `bytes` into the device's buffer, by way of memory mapped for it.
    pub(crate) fn load_bytes(&mut self, bytes: &[u8]) -> Result<(), IsolationError> {
        let device = self.edu.device();
        let mut buffer = DmaBuffer::allocate_for(device, bytes.len() as u64)?;
        buffer.as_mut_slice()[..bytes.len()].copy_from_slice(bytes);
        let mapping = device.map_single(buffer, ToDevice).map_err(not_mapped)?;
        self.edu.fetch(&mapping, 0, bytes.len() as u64)?;
        mapping.unmap()?;
        Ok(())
    }

    /// Takes what the device's buffer holds, by way of memory mapped for it.
    pub(crate) fn stored_bytes(&mut self, into: &mut [u8]) -> Result<(), IsolationError> {
        let device = self.edu.device();
        let buffer = DmaBuffer::allocate_for(device, into.len() as u64)?;
        let mapping = device.map_single(buffer, FromDevice).map_err(not_mapped)?;
        self.edu.store(&mapping, 0, into.len() as u64)?;
        let bytes = mapping.unmap()?;
        into.copy_from_slice(&bytes.as_slice()[..into.len()]);
        Ok(())
    }

    /// Whether the device's buffer is full of `pattern`, by way of memory mapped for it.
    pub(crate) fn holds(&mut self, pattern: u8) -> Result<Held, IsolationError> {
        let device = self.edu.device();
        let buffer = buffer_of(device, !pattern)?;
        let mapping = device.map_single(buffer, FromDevice).map_err(not_mapped)?;
        self.edu.store(&mapping, 0, ATTEMPT_BYTES as u64)?;
        Ok(Held::of(&mapping.unmap()?, pattern))
    }

    /// Has the device write at `bus`, where it must reach nobody's memory; the caller then looks at the memory.
    pub(crate) fn attempt_write(&mut self, bus: BusAddr) -> Result<Attempt, IsolationError> {
        let faults_before = self.system.faults();
        // SAFETY: the device was attached by the safe `attach`, so it is confined.
        unsafe { self.edu.store_at(bus, ATTEMPT_BYTES as u64)? };
        let allowed = self.edu.device().permission(bus);
        if self.protection == Protection::Bounce && allowed.is_some_and(Permission::writes) {
            return Ok(Attempt::Absorbed(bus));
        }
        let device = self.requester();
        let platform = self.edu.device().platform();
        let timeout_ns = FAULT_REPORT_TIMEOUT.as_nanos() as u64;
        let deadline_ns = platform.now_ns().saturating_add(timeout_ns);
        let faults = loop {
            let now_ns = platform.now_ns();
            let faults = self.system.faults();
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
        Ok(Attempt::Refused(Refused {
            bus,
            fault,
            faults: faults.total - faults_before.total,
        }))
    }

    /// That the device wrote where it must not.
    pub(crate) fn breached(&self, bus: BusAddr) -> IsolationError {
        IsolationError::Breached {
            device: self.requester(),
            bus,
            access: Access::Write,
        }
    }

    /// That the device did not reach what was mapped for it.
    pub(crate) fn not_reached(&self, bus: BusAddr) -> IsolationError {
        IsolationError::NotReached {
            device: self.requester(),
            bus,
        }
    }

    /// Gives the device back.
    pub(crate) fn detach(self) -> Result<(), IsolationError> {
        Ok(self.edu.stop().detach()?)
    }
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

pub(crate) fn not_mapped<B>(rejected: Rejected<B>) -> IsolationError {
    rejected.error.into()
}
