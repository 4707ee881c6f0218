//! Who moves the data, as a type: what only the device may read does not compile when read by the CPU.
//!
//! ```
//! use dmamap::map::{AnyDirection, Direction, FromDevice, Permission, ToDevice};
//!
//! assert_eq!(ToDevice.permission(), Permission::Read);
//! assert_eq!(FromDevice.permission(), Permission::Write);
//! assert_eq!(AnyDirection::Bidirectional.permission(), Permission::ReadWrite);
//! ```

use crate::pagetable::Permission;

mod sealed {
    pub trait Sealed {}
}

/// A direction of transfer.
pub trait Direction: sealed::Sealed + Copy + Send + Sync + core::fmt::Debug + 'static {
    /// The same, as a value.
    fn any(self) -> AnyDirection;

    /// What the device may do with the memory.
    fn permission(self) -> Permission {
        match self.any() {
            AnyDirection::ToDevice => Permission::Read,
            AnyDirection::FromDevice => Permission::Write,
            AnyDirection::Bidirectional => Permission::ReadWrite,
        }
    }
}

/// Directions in which the device writes memory: the CPU may read it after a sync.
pub trait DeviceWrites: Direction {}

/// Directions in which the device reads memory: the CPU may write it before a sync.
pub trait DeviceReads: Direction {}

/// The device reads what the CPU wrote (`DMA_TO_DEVICE`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ToDevice;

/// The device writes what the CPU will read (`DMA_FROM_DEVICE`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FromDevice;

/// The device reads and writes (`DMA_BIDIRECTIONAL`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bidirectional;

/// A direction known only at run time, for block layers and virtio.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnyDirection {
    /// As [`ToDevice`].
    ToDevice,
    /// As [`FromDevice`].
    FromDevice,
    /// As [`Bidirectional`].
    Bidirectional,
}

impl AnyDirection {
    /// Whether the device reads the memory.
    pub fn device_reads(self) -> bool {
        self != Self::FromDevice
    }

    /// Whether the device writes the memory.
    pub fn device_writes(self) -> bool {
        self != Self::ToDevice
    }
}

impl sealed::Sealed for ToDevice {}
impl sealed::Sealed for FromDevice {}
impl sealed::Sealed for Bidirectional {}
impl sealed::Sealed for AnyDirection {}

impl Direction for ToDevice {
    fn any(self) -> AnyDirection {
        AnyDirection::ToDevice
    }
}

impl Direction for FromDevice {
    fn any(self) -> AnyDirection {
        AnyDirection::FromDevice
    }
}

impl Direction for Bidirectional {
    fn any(self) -> AnyDirection {
        AnyDirection::Bidirectional
    }
}

impl Direction for AnyDirection {
    fn any(self) -> AnyDirection {
        self
    }
}

impl DeviceReads for ToDevice {}
impl DeviceWrites for FromDevice {}
impl DeviceReads for Bidirectional {}
impl DeviceWrites for Bidirectional {}
