//! Registers that reset a function, or tell whether requests of it are under way (7.5.2, 7.5.3, 6.6.2, and the engineering
//! change notice *Advanced Capabilities for Conventional PCI*).
//!
//! ```
//! use hw::pci::reset::{DeviceCapabilities, DeviceControl, DeviceStatus, PowerControl, PowerState};
//!
//! assert!(DeviceCapabilities::from_bits(1 << 28).function_level_reset());
//! assert_eq!(DeviceControl::new().with_initiate_reset(true).into_bits(), 0x8000);
//! assert!(DeviceStatus::from_bits(1 << 5).transactions_pending());
//! assert_eq!(PowerControl::new().with_state(PowerState::D3Hot).into_bits(), 3);
//! ```

use bitfield_struct::{bitenum, bitfield};

/// Offset of [`DeviceCapabilities`] in the PCI Express capability, 32 bits.
pub const DEVICE_CAPABILITIES: u16 = 0x04;
/// Offset of [`DeviceControl`] in the PCI Express capability, 16 bits.
pub const DEVICE_CONTROL: u16 = 0x08;
/// Offset of [`DeviceStatus`] in the PCI Express capability, 16 bits.
pub const DEVICE_STATUS: u16 = 0x0a;
/// Offset of Device Control 2 in the PCI Express capability, 16 bits.
pub const DEVICE_CONTROL_2: u16 = 0x28;

/// Device capabilities register (7.5.3.3).
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct DeviceCapabilities {
    #[bits(28)]
    __: u32,
    /// The function can be reset by [`DeviceControl::initiate_reset`].
    pub function_level_reset: bool,
    #[bits(3)]
    __: u8,
}

/// Device control register (7.5.3.4).
#[bitfield(u16)]
#[derive(PartialEq, Eq)]
pub struct DeviceControl {
    #[bits(15)]
    pub settings: u16,
    /// Written as 1: the function is reset. Reads as 0.
    pub initiate_reset: bool,
}

/// Device status register (7.5.3.5).
#[bitfield(u16)]
#[derive(PartialEq, Eq)]
pub struct DeviceStatus {
    /// Errors that were detected; cleared by writing 1.
    #[bits(4)]
    pub errors: u8,
    /// Auxiliary power is there.
    pub auxiliary_power: bool,
    /// Requests of the function wait for their completions.
    pub transactions_pending: bool,
    #[bits(10)]
    __: u16,
}

/// Offset of [`AdvancedCapabilities`] in the advanced features capability, 8 bits.
pub const ADVANCED_CAPABILITIES: u16 = 0x03;
/// Offset of [`AdvancedControl`] in the advanced features capability, 8 bits.
pub const ADVANCED_CONTROL: u16 = 0x04;
/// Offset of [`AdvancedStatus`] in the advanced features capability, 8 bits.
pub const ADVANCED_STATUS: u16 = 0x05;
/// Bytes of the advanced features capability.
pub const ADVANCED_BYTES: u16 = 0x06;

/// What advanced features a conventional function has.
#[bitfield(u8)]
#[derive(PartialEq, Eq)]
pub struct AdvancedCapabilities {
    /// [`AdvancedStatus`] is there.
    pub transactions_pending: bool,
    /// The function can be reset by [`AdvancedControl::initiate_reset`].
    pub function_level_reset: bool,
    #[bits(6)]
    __: u8,
}

/// Advanced features control.
#[bitfield(u8)]
#[derive(PartialEq, Eq)]
pub struct AdvancedControl {
    /// Written as 1: the function is reset. Reads as 0.
    pub initiate_reset: bool,
    #[bits(7)]
    __: u8,
}

/// Advanced features status.
#[bitfield(u8)]
#[derive(PartialEq, Eq)]
pub struct AdvancedStatus {
    /// Requests of the function wait for their answers.
    pub transactions_pending: bool,
    #[bits(7)]
    __: u8,
}

/// Offset of [`PowerControl`] in the power management capability, 16 bits.
pub const POWER_CONTROL: u16 = 0x04;
/// Bytes of the power management capability.
pub const POWER_BYTES: u16 = 0x08;

/// Power states (5.3.1).
#[bitenum]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum PowerState {
    /// At work.
    #[fallback]
    D0 = 0,
    /// Light sleep.
    D1 = 1,
    /// Deeper sleep.
    D2 = 2,
    /// Answers configuration requests only.
    D3Hot = 3,
}

/// Power management control and status register (7.5.2.2).
#[bitfield(u16)]
#[derive(PartialEq, Eq)]
pub struct PowerControl {
    /// The state the function is in, or shall go to.
    #[bits(2)]
    pub state: PowerState,
    __: bool,
    /// The way from D3hot to D0 resets nothing.
    pub no_soft_reset: bool,
    #[bits(12)]
    __: u16,
}

/// Offset of [`MsiControl`] in the MSI capability, 16 bits.
pub const MSI_CONTROL: u16 = 0x02;

/// Message control register of the MSI capability (7.7.1.2).
#[bitfield(u16)]
#[derive(PartialEq, Eq)]
pub struct MsiControl {
    /// MSI is used instead of interrupt pins.
    pub enable: bool,
    /// How many messages the function asks for, and how many it got, as powers of 2.
    #[bits(6)]
    pub messages: u8,
    /// The message's address has 64 bits.
    pub address_64: bool,
    /// There are mask bits.
    pub maskable: bool,
    #[bits(7)]
    __: u8,
}
