//! The registers of a device in the memory map (4.2.2): version 2 of their layout.
//!
//! Constants are byte offsets from the device's register base; every register below [`CONFIG`] has 32 bits.
//!
//! ```
//! use hw::virtio::mmio;
//!
//! assert_eq!(&mmio::MAGIC.to_le_bytes(), b"virt");
//! ```

/// Value of [`MAGIC_VALUE`].
pub const MAGIC: u32 = 0x7472_6976;
/// Value of [`VERSION`].
pub const VERSION_2: u32 = 2;

/// Magic value, read only: [`MAGIC`].
pub const MAGIC_VALUE: u64 = 0x000;
/// Version of the layout, read only: [`VERSION_2`].
pub const VERSION: u64 = 0x004;
/// Device type, read only; 0 where no device is.
pub const DEVICE_ID: u64 = 0x008;
/// Vendor id, read only.
pub const VENDOR_ID: u64 = 0x00c;
/// Half of the features the device offers, read only.
pub const DEVICE_FEATURES: u64 = 0x010;
/// Which half [`DEVICE_FEATURES`] shows, write only.
pub const DEVICE_FEATURES_SEL: u64 = 0x014;
/// Half of the features the driver accepts, write only.
pub const DRIVER_FEATURES: u64 = 0x020;
/// Which half [`DRIVER_FEATURES`] takes, write only.
pub const DRIVER_FEATURES_SEL: u64 = 0x024;
/// Which queue the registers from [`QUEUE_SIZE_MAX`] on are about, write only.
pub const QUEUE_SEL: u64 = 0x030;
/// Most entries of the queue, read only; 0 where there is no such queue.
pub const QUEUE_SIZE_MAX: u64 = 0x034;
/// Entries the queue has, write only.
pub const QUEUE_SIZE: u64 = 0x038;
/// 1 while the device uses the queue.
pub const QUEUE_READY: u64 = 0x044;
/// Writing a queue's index tells the device of new buffers in it, write only.
pub const QUEUE_NOTIFY: u64 = 0x050;
/// Why the interrupt is raised, read only: [`InterruptStatus`](super::status::InterruptStatus).
pub const INTERRUPT_STATUS: u64 = 0x060;
/// Bits of the interrupt status that were dealt with, write only.
pub const INTERRUPT_ACK: u64 = 0x064;
/// Device status: [`DeviceStatus`](super::status::DeviceStatus).
pub const STATUS: u64 = 0x070;
/// Bits 31:0 of the descriptor table's address, write only.
pub const QUEUE_DESC_LOW: u64 = 0x080;
/// Bits 63:32 of the descriptor table's address, write only.
pub const QUEUE_DESC_HIGH: u64 = 0x084;
/// Bits 31:0 of the available ring's address, write only.
pub const QUEUE_DRIVER_LOW: u64 = 0x090;
/// Bits 63:32 of the available ring's address, write only.
pub const QUEUE_DRIVER_HIGH: u64 = 0x094;
/// Bits 31:0 of the used ring's address, write only.
pub const QUEUE_DEVICE_LOW: u64 = 0x0a0;
/// Bits 63:32 of the used ring's address, write only.
pub const QUEUE_DEVICE_HIGH: u64 = 0x0a4;
/// Changes with the configuration, read only.
pub const CONFIG_GENERATION: u64 = 0x0fc;
/// First byte of the device's configuration.
pub const CONFIG: u64 = 0x100;
