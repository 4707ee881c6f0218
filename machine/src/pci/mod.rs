//! PCI as the CPU meets it: configuration space, bridges, and the routing of register accesses.
//!
//! - `config_space`: bytes with a write mask per bit; `bar`: the registers that are sized and assigned;
//! - [`function`]: what a device's model is to the machine; `endpoint`: the configuration around a model;
//! - [`msix`]: message interrupts;
//! - [`reset`]: what resets a function;
//! - `bridge`: root ports, switches and the PCIe-to-PCI bridge; `segment`: the devices on one bus, and who answers;
//!   `peer`: who takes a request of a device before it is at the host bridge.

pub(crate) mod bar;
pub(crate) mod bridge;
pub(crate) mod config_space;
pub mod controls;
pub(crate) mod endpoint;
pub mod function;
pub mod msix;
pub(crate) mod peer;
pub mod reset;
pub(crate) mod segment;

/// Status bits that a written 1 clears: errors of requests (PCI Express base specification, 7.5.1.1.4).
pub(crate) const STATUS_ERRORS: u16 = 0xf900;

/// Which of the two address spaces of a bus an access is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Space {
    Memory,
    Io,
}
