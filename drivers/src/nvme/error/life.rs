//! Errors at the beginning and the end of a controller's life; the device survives them.

use core::fmt;

use dmamap::device::{Device, MaskError};
use dmamap::iommu::Requester;
use dmamap::map::CoherentError;
use dmamap::mmio::MmioError;
use dmamap::pci::{ClaimBarError, ConfigError, PciAddress};
use dmamap::platform::Platform;

use super::{CommandError, ControllerError};

/// Why a controller could not be brought up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
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
    /// The registers are too short for what the controller says it has.
    #[error(transparent)]
    Mmio(#[from] MmioError),
    /// The function says that it drives an impossible number of address lines.
    #[error("the function says it drives {bits} address lines: 1 to 64 are possible")]
    AddressLines {
        /// What it says.
        bits: u32,
    },
    /// The device's addresses do not suffice.
    #[error(transparent)]
    Mask(#[from] MaskError),
    /// Memory for queues and lists could not be had.
    #[error(transparent)]
    Coherent(#[from] CoherentError),
    /// The controller does not work with pages of 4 KiB.
    #[error("the controller's smallest memory page is 2^{page_size_log2} bytes: 2^12 is needed")]
    PageSize {
        /// log2 of its smallest page.
        page_size_log2: u32,
    },
    /// The controller does not have the NVM command set.
    #[error("the controller does not support the NVM command set (CAP.CSS {css:#04x})")]
    CommandSet {
        /// The sets it supports.
        css: u8,
    },
    /// The namespace does not exist.
    #[error("there is no namespace {namespace}: the controller has {namespaces}")]
    NoSuchNamespace {
        /// The one asked for.
        namespace: u32,
        /// How many there are.
        namespaces: u32,
    },
    /// The namespace's format is one the driver does not know.
    #[error(
        "namespace {namespace} has blocks of 2^{block_size_log2} bytes with {metadata_bytes} bytes of metadata: 2^9 to 2^16 bytes without are supported"
    )]
    Format {
        /// The namespace.
        namespace: u32,
        /// log2 of a block's bytes.
        block_size_log2: u8,
        /// Metadata bytes of each block.
        metadata_bytes: u16,
    },
    /// An admin command failed.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// The controller failed.
    #[error(transparent)]
    Controller(#[from] ControllerError),
}

/// A controller that could not be brought up, with its device: it is disabled and may be detached.
pub struct StartFailed<P: Platform> {
    /// Why.
    pub error: StartError,
    /// The device.
    pub device: Device<P>,
}

/// Why a controller did not shut down as it should.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ShutdownError {
    /// A queue could not be deleted.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// The controller failed.
    #[error(transparent)]
    Controller(#[from] ControllerError),
}

/// A controller that did not shut down as it should. It was cut off from memory all the same, and its device may
/// be detached.
pub struct ShutdownFailed<P: Platform> {
    /// The first error.
    pub error: ShutdownError,
    /// The device.
    pub device: Device<P>,
}

macro_rules! error_with_device {
    ($failed:ident) => {
        impl<P: Platform> fmt::Debug for $failed<P> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($failed))
                    .field("error", &self.error)
                    .finish()
            }
        }

        impl<P: Platform> fmt::Display for $failed<P> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.error.fmt(f)
            }
        }

        impl<P: Platform> core::error::Error for $failed<P> {
            fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
                self.error.source()
            }
        }
    };
}
error_with_device!(StartFailed);
error_with_device!(ShutdownFailed);
