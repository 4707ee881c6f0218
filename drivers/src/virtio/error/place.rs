//! Errors of a place and of the memory lent through it.

use core::fmt;

use dmamap::buffer::BufferError;
use dmamap::device::{Device, MaskError};
use dmamap::iommu::Requester;
use dmamap::map::MapError;
use dmamap::pci::PciAddress;
use dmamap::platform::Platform;

/// Why bytes could not be lent to the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ShareError {
    /// There is no memory for the copy.
    #[error(transparent)]
    Buffer(#[from] BufferError),
    /// The copy cannot be mapped.
    #[error(transparent)]
    Map(#[from] MapError),
    /// It would lie at bus address 0, which the crate takes for nowhere.
    #[error("memory at bus address 0 is not lent")]
    AtZero,
    /// There is no memory to remember it.
    #[error("no memory to remember what is lent")]
    OutOfMemory,
}

/// Why a device cannot stand in a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InstallError {
    /// Another device stands there.
    #[error("another device stands in the slot")]
    Taken,
    /// Device and function are not the same.
    #[error("device {device} was attached, but function {function} is to be driven")]
    WrongFunction {
        /// The device that was attached.
        device: Requester,
        /// The function given.
        function: PciAddress,
    },
    /// The function says that it drives an impossible number of address lines.
    #[error("the function says it drives {bits} address lines: 1 to 64 are possible")]
    AddressLines {
        /// What it says.
        bits: u32,
    },
    /// The device's addresses do not suffice.
    #[error(transparent)]
    Mask(#[from] MaskError),
}

/// A device that could not be put into a place.
pub struct InstallFailed<P: Platform> {
    /// Why.
    pub error: InstallError,
    /// The device, to be detached.
    pub device: Device<P>,
}

impl<P: Platform> fmt::Debug for InstallFailed<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InstallFailed")
            .field("error", &self.error)
            .finish_non_exhaustive()
    }
}

impl<P: Platform> fmt::Display for InstallFailed<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl<P: Platform> core::error::Error for InstallFailed<P> {}

/// A device stays in its place: something of it is in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the device stays in its slot: {live_queues} parts of queues are in use, or its device is")]
pub struct InUse {
    /// Pieces of queue memory that the crate has not given back.
    pub live_queues: usize,
}
