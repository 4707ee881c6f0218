//! The registers of a device on a PCI bus (4.1): vendor capabilities say in which BAR they lie.
//!
//! ```
//! use hw::virtio::pci::{self, StructureType};
//!
//! assert_eq!(pci::device_id(hw::virtio::DEVICE_TYPE_IOMMU), 0x1057);
//! assert_eq!(StructureType::from_code(2), Some(StructureType::Notify));
//! // Queue 1 of a device whose notifications lie 4 bytes apart.
//! assert_eq!(pci::notify_offset(1, 4), Some(4));
//! ```

use bitfield_struct::bitfield;

/// PCI vendor id of virtio devices (4.1.2).
pub const VENDOR_ID: u16 = 0x1af4;

/// PCI device id of a device of `device_type` that is none of the legacy ones (4.1.2).
pub const fn device_id(device_type: u32) -> u16 {
    0x1040 + device_type as u16
}

/// First word of a vendor capability of a virtio device (4.1.4): a vendor-specific PCI capability.
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct CapabilityHeader {
    /// `cap_vndr`: [`VENDOR_SPECIFIC`](crate::pci::capability::id::VENDOR_SPECIFIC).
    #[bits(8, default = crate::pci::capability::id::VENDOR_SPECIFIC)]
    pub id: u8,
    /// `cap_next`: offset of the next capability.
    pub next: u8,
    /// `cap_len`: bytes of the capability.
    pub len_bytes: u8,
    /// `cfg_type`: a [`StructureType`].
    pub structure: u8,
}

/// Offset of the BAR's index in a vendor capability, 8 bits; values above 5 are reserved.
pub const CAP_BAR: u16 = 0x04;
/// Offset of the id that tells structures of one type apart, 8 bits.
pub const CAP_ID: u16 = 0x05;
/// Offset of the structure's offset in the BAR, 32 bits.
pub const CAP_OFFSET: u16 = 0x08;
/// Offset of the structure's length, 32 bits.
pub const CAP_LENGTH: u16 = 0x0c;
/// Bytes of a vendor capability.
pub const CAP_BYTES: u8 = 16;
/// Offset of the multiplier of notification offsets, 32 bits; only in [`StructureType::Notify`] (4.1.4.4).
pub const CAP_NOTIFY_OFF_MULTIPLIER: u16 = 0x10;
/// Bytes of the capability of [`StructureType::Notify`].
pub const CAP_NOTIFY_BYTES: u8 = 20;

/// What a vendor capability places (4.1.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum StructureType {
    /// Common configuration.
    Common = 1,
    /// Notifications.
    Notify = 2,
    /// Interrupt status.
    Isr = 3,
    /// The device's own configuration.
    Device = 4,
    /// Access to the others through configuration space.
    Pci = 5,
    /// Memory that device and driver share.
    SharedMemory = 8,
    /// Whatever the vendor means.
    Vendor = 9,
}

impl StructureType {
    /// The type of `code`, `None` for those that are reserved and to be ignored.
    pub const fn from_code(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::Common),
            2 => Some(Self::Notify),
            3 => Some(Self::Isr),
            4 => Some(Self::Device),
            5 => Some(Self::Pci),
            8 => Some(Self::SharedMemory),
            9 => Some(Self::Vendor),
            _ => None,
        }
    }

    /// Its code in [`CapabilityHeader::structure`].
    pub const fn code(self) -> u8 {
        self as u8
    }
}

/// Which half [`DEVICE_FEATURE`] shows, 32 bits.
pub const DEVICE_FEATURE_SELECT: u64 = 0x00;
/// Half of the features the device offers, 32 bits, read only.
pub const DEVICE_FEATURE: u64 = 0x04;
/// Which half [`DRIVER_FEATURE`] shows, 32 bits.
pub const DRIVER_FEATURE_SELECT: u64 = 0x08;
/// Half of the features the driver accepts, 32 bits.
pub const DRIVER_FEATURE: u64 = 0x0c;
/// MSI-X vector of configuration changes, 16 bits.
pub const CONFIG_MSIX_VECTOR: u64 = 0x10;
/// Number of queues, 16 bits, read only.
pub const NUM_QUEUES: u64 = 0x12;
/// Device status, 8 bits: [`DeviceStatus`](super::status::DeviceStatus).
pub const DEVICE_STATUS: u64 = 0x14;
/// Changes with the configuration, 8 bits, read only.
pub const CONFIG_GENERATION: u64 = 0x15;
/// Which queue the registers from [`QUEUE_SIZE`] on are about, 16 bits.
pub const QUEUE_SELECT: u64 = 0x16;
/// Entries of the queue, 16 bits: at reset the most it can have, 0 where there is no such queue.
pub const QUEUE_SIZE: u64 = 0x18;
/// MSI-X vector of the queue, 16 bits.
pub const QUEUE_MSIX_VECTOR: u64 = 0x1a;
/// 1 while the device uses the queue, 16 bits; only a reset clears it.
pub const QUEUE_ENABLE: u64 = 0x1c;
/// Where the queue is notified, 16 bits, read only: see [`notify_offset`].
pub const QUEUE_NOTIFY_OFF: u64 = 0x1e;
/// Physical address of the descriptor table, 64 bits, accessed in halves or whole.
pub const QUEUE_DESC: u64 = 0x20;
/// Physical address of the available ring, 64 bits, accessed in halves or whole.
pub const QUEUE_DRIVER: u64 = 0x28;
/// Physical address of the used ring, 64 bits, accessed in halves or whole.
pub const QUEUE_DEVICE: u64 = 0x30;
/// Bytes of the common configuration, as far as every device has it.
pub const COMMON_BYTES: u64 = 0x38;

/// In a vector register: no vector; what is read back when the device could not take a vector.
pub const NO_VECTOR: u16 = 0xffff;

/// Offset in the notification structure where a queue is notified, by writing its index in 16 bits: from the
/// queue's `queue_notify_off` and the capability's multiplier (4.1.4.4). `None` where that overflows.
pub const fn notify_offset(queue_notify_off: u16, multiplier: u32) -> Option<u64> {
    (queue_notify_off as u64).checked_mul(multiplier as u64)
}
