//! What can go wrong with the educational device.

use core::fmt;

use dmamap::addr::BusRange;
use dmamap::device::{Device, MaskError};
use dmamap::iommu::Requester;
use dmamap::mmio::MmioError;
use dmamap::pci::{ClaimBarError, ConfigError, PciAddress};
use dmamap::platform::Platform;

use super::MAX_TRANSFER_BYTES;

/// Why the device did not do what it was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EduError {
    /// Registers read as all ones: nothing answers there any more.
    #[error("the device is gone: its registers read as all ones")]
    Removed,
    /// The liveness register did not invert what it was given.
    #[error("the liveness check answered {read:#010x} to {wrote:#010x}")]
    NotAlive {
        /// What was written.
        wrote: u32,
        /// What was read.
        read: u32,
    },
    /// A computation did not end in time.
    #[error("the device did not finish computing in time")]
    ComputationTimedOut,
    /// A transfer did not end in time. The device may not reach memory any more.
    #[error("the device did not finish its transfer in time; its bus mastering is off")]
    TransferTimedOut,
    /// More bytes than the device's buffer has.
    #[error("{len_bytes} bytes are more than the {MAX_TRANSFER_BYTES} of the device's buffer")]
    TooLong {
        /// What was asked for.
        len_bytes: u64,
    },
    /// The mapping lets another device reach memory, not this one.
    #[error("the mapping was made for {owner}, not for {device}")]
    ForeignMapping {
        /// The educational device.
        device: Requester,
        /// Whom the mapping was made for.
        owner: Requester,
    },
    /// The bytes are not within the mapping.
    #[error("{len_bytes} bytes at offset {offset} are not within the mapping {mapping}")]
    OutOfMapping {
        /// First byte asked for.
        offset: u64,
        /// Bytes asked for.
        len_bytes: u64,
        /// The mapping.
        mapping: BusRange,
    },
}

/// Why the device could not be taken.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EduStartError {
    /// Device and function are not the same.
    #[error("device {device} was attached, but function {function} is to be driven")]
    WrongFunction {
        /// The device that was attached.
        device: Requester,
        /// The function given.
        function: PciAddress,
    },
    /// The registers could not be claimed or mapped.
    #[error(transparent)]
    Registers(#[from] ClaimBarError),
    /// The function's registers have no address.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The registers are too short.
    #[error(transparent)]
    Mmio(#[from] MmioError),
    /// The device's addresses do not suffice.
    #[error(transparent)]
    Mask(#[from] MaskError),
    /// The function says that it drives an impossible number of address lines.
    #[error("the function says it drives {bits} address lines: 1 to 64 are possible")]
    AddressLines {
        /// What it says.
        bits: u32,
    },
    /// What answers is another device.
    #[error("identification {identification:#010x} is not that of an educational device")]
    NotEdu {
        /// What it says.
        identification: u32,
    },
    /// The device does not end what it was doing.
    #[error(transparent)]
    Device(#[from] EduError),
}

/// An educational device that could not be taken, with its device.
pub struct EduStartFailed<P: Platform> {
    /// Why.
    pub error: EduStartError,
    /// The device, to be detached.
    pub device: Device<P>,
}

impl<P: Platform> fmt::Debug for EduStartFailed<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EduStartFailed")
            .field("error", &self.error)
            .finish_non_exhaustive()
    }
}

impl<P: Platform> fmt::Display for EduStartFailed<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl<P: Platform> core::error::Error for EduStartFailed<P> {}
