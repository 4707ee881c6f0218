//! Errors at the beginning of a device's life; the device survives them.

use core::fmt;

use dmamap::device::Device;
use dmamap::mmio::MmioError;
use dmamap::pci::{ClaimBarError, ConfigError, PciAddress};
use dmamap::platform::Platform;
use virtio_drivers::transport::DeviceType;

use super::{Fault, InstallError, ShareError};

/// Why a virtio device could not be taken.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VirtioStartError {
    /// The device cannot stand in the slot.
    #[error(transparent)]
    Install(#[from] InstallError),
    /// No device stands in the place.
    #[error("no device stands in the place")]
    NotInstalled,
    /// The function is no virtio device, or a transitional one.
    #[error("{function}: {vendor:04x}:{device:04x} is not a modern virtio device")]
    NotVirtio {
        /// Which function.
        function: PciAddress,
        /// Its vendor id.
        vendor: u16,
        /// Its device id.
        device: u16,
    },
    /// It is a virtio device of another type.
    #[error("{function} is a virtio device of type {found:?}")]
    WrongType {
        /// Which function.
        function: PciAddress,
        /// What it is.
        found: DeviceType,
    },
    /// The function does not say where a structure is.
    #[error("{function} has no {name} structure")]
    NoStructure {
        /// Which function.
        function: PciAddress,
        /// Which structure.
        name: &'static str,
    },
    /// The registers could not be claimed or mapped.
    #[error(transparent)]
    Registers(#[from] ClaimBarError),
    /// A configuration register is missing, or the function's registers have no address.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The registers are too short.
    #[error(transparent)]
    Mmio(#[from] MmioError),
    /// The device does not reset.
    #[error("the device does not become ready in time")]
    NotReady,
    /// The device has only the legacy interface.
    #[error("the device does not offer VIRTIO_F_VERSION_1")]
    Legacy,
    /// The device reaches memory by physical address, past every IOMMU.
    #[error("the device does not offer VIRTIO_F_ACCESS_PLATFORM: it reaches memory past the IOMMU")]
    PastIommu,
    /// The device was given up before it was at work.
    #[error(transparent)]
    Device(#[from] Fault),
    /// Memory could not be lent for its first requests.
    #[error(transparent)]
    Share(#[from] ShareError),
    /// What the crate says.
    #[error(transparent)]
    Driver(virtio_drivers::Error),
}

/// A virtio device that could not be taken, with its device.
pub struct VirtioStartFailed<P: Platform> {
    /// Why.
    pub error: VirtioStartError,
    /// The device, to be detached. `None` where somebody uses it [in its place](crate::virtio::Place::with_device).
    pub device: Option<Device<P>>,
}

impl<P: Platform> fmt::Debug for VirtioStartFailed<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VirtioStartFailed")
            .field("error", &self.error)
            .finish_non_exhaustive()
    }
}

impl<P: Platform> fmt::Display for VirtioStartFailed<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl<P: Platform> core::error::Error for VirtioStartFailed<P> {}
