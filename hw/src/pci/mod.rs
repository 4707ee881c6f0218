//! PCI configuration space: registers, base addresses, bridges, capabilities, MSI-X.
//!
//! Section numbers are those of the *PCI Express Base Specification*, revision 6, chapter 7, and for bridges
//! of the *PCI-to-PCI Bridge Architecture Specification*, revision 1.2.
//!
//! - [`config`]: the registers that every function has, and those of type 0 and 1 headers
//! - [`bar`]: base address registers
//! - [`bridge`]: the windows a bridge forwards
//! - [`capability`]: both lists of capabilities, and the capabilities used here
//! - [`control`]: control registers of further capabilities
//! - [`msix`]: the MSI-X capability and its table
//! - [`reset`]: what resets a function, and tells whether it is still waiting for answers
//! - [`ecam_offset`]: where a register lies in memory-mapped configuration space

pub mod bar;
pub mod bridge;
pub mod capability;
pub mod config;
pub mod control;
pub mod msix;
pub mod reset;

/// Bytes of one function's configuration space behind ECAM (7.2.2).
pub const ECAM_FUNCTION_BYTES: u64 = 4096;

/// Bytes of one bus behind ECAM: 32 devices of 8 functions (7.2.2).
pub const ECAM_BUS_BYTES: u64 = 1 << 20;

/// Devices of one bus.
pub const DEVICES_PER_BUS: u8 = 32;

/// Functions of one device.
pub const FUNCTIONS_PER_DEVICE: u8 = 8;

/// Offset of `register` of function `bus:device.function` from the physical address that MCFG gives for bus 0
/// (7.2.2). Only the 5, 3 and 12 low bits of the last three are used.
///
/// ```
/// assert_eq!(hw::pci::ecam_offset(1, 2, 3, 0x10), 0x11_3010);
/// ```
pub const fn ecam_offset(bus: u8, device: u8, function: u8, register: u16) -> u64 {
    (bus as u64) << 20
        | (device as u64 & 0x1f) << 15
        | (function as u64 & 0x7) << 12
        | (register as u64 & 0xfff)
}

/// The id under which function `bus:device.function` makes its requests (2.2.6.2). Only the 5 and 3 low bits of
/// the last two are used.
///
/// ```
/// assert_eq!(hw::pci::requester_id(1, 2, 3), 0x0113);
/// ```
pub const fn requester_id(bus: u8, device: u8, function: u8) -> u16 {
    (bus as u16) << 8 | (device as u16 & 0x1f) << 3 | (function as u16 & 0x7)
}
