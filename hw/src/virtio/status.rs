//! Device status (2.1) and interrupt status (4.1.4.5, 4.2.2).
//!
//! ```
//! use hw::virtio::status::DeviceStatus;
//!
//! let ready = DeviceStatus::from_bits(0x0f);
//! assert!(ready.acknowledge() && ready.driver() && ready.features_ok() && ready.driver_ok());
//! assert_eq!(ready.with_device_needs_reset(true).into_bits(), 0x4f);
//! ```

use bitfield_struct::bitfield;

/// How far the driver got with the device (2.1). The driver adds bits in this order; writing 0 resets the device.
#[bitfield(u8)]
#[derive(PartialEq, Eq)]
pub struct DeviceStatus {
    /// The guest has noticed the device.
    pub acknowledge: bool,
    /// The guest knows how to drive it.
    pub driver: bool,
    /// The driver is ready.
    pub driver_ok: bool,
    /// Features are agreed on. The device refuses by leaving it clear.
    pub features_ok: bool,
    #[bits(2)]
    __: u8,
    /// The device has met an error that it does not recover from without a reset.
    pub device_needs_reset: bool,
    /// The driver has given up.
    pub failed: bool,
}

/// Why the device raises its wired interrupt.
#[bitfield(u8)]
#[derive(PartialEq, Eq)]
pub struct InterruptStatus {
    /// A buffer was used in some queue.
    pub used_buffer: bool,
    /// The configuration changed.
    pub config_change: bool,
    #[bits(6)]
    __: u8,
}
