//! What can go wrong with the IOMMU test device.

use core::fmt;

use dmamap::addr::BusRange;
use dmamap::device::{Device, MaskError};
use dmamap::iommu::Requester;
use dmamap::mmio::MmioError;
use dmamap::pci::{ClaimBarError, ConfigError, PciAddress};
use dmamap::platform::Platform;

use super::MAX_WRITE_BYTES;

/// Why the device did not do what it was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IommuTestdevError {
    /// The device answered with something that is no result of a write.
    #[error("the IOMMU test device answered {result:#010x}")]
    Answer {
        /// What its result register held.
        result: u32,
    },
    /// A length that the device is not asked for: none, or too long.
    #[error("{len_bytes} bytes: 1 to {MAX_WRITE_BYTES} are possible")]
    Length {
        /// What was asked for.
        len_bytes: u64,
    },
    /// The mapping lets another device reach memory, not this one.
    #[error("the mapping was made for {owner}, not for {device}")]
    ForeignMapping {
        /// The IOMMU test device.
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
pub enum IommuTestdevStartError {
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
    /// What answers is another device.
    #[error("result register {result:#010x} is not that of an idle IOMMU test device")]
    NotIdle {
        /// What it says.
        result: u32,
    },
}

/// An IOMMU test device that could not be taken, with its device.
pub struct IommuTestdevStartFailed<P: Platform> {
    /// Why.
    pub error: IommuTestdevStartError,
    /// The device, to be detached.
    pub device: Device<P>,
}

impl<P: Platform> fmt::Debug for IommuTestdevStartFailed<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IommuTestdevStartFailed")
            .field("error", &self.error)
            .finish_non_exhaustive()
    }
}

impl<P: Platform> fmt::Display for IommuTestdevStartFailed<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl<P: Platform> core::error::Error for IommuTestdevStartFailed<P> {}
