//! Hostile models of a computer's hardware: RAM, host bridge, PCI, IOMMU units and devices.
//!
//! ```text
//!            CPU (the process's threads)
//!             │ B                    ▲ messages
//!   memory_map.rs, pci/ (A)     interrupts.rs
//!             │                      │
//!   device/: threads of their own ───┤
//!             │ Z                    │
//!           bus/ ── iommu/ ── Y ── board::ram
//! ```
//!
//! [`Machine`] is a [`board::hardware::Hardware`]: a kernel in the process boots on it as on any other board.
//! The models know the words of `hw` and never the driver's code; tables, queues and registers are in the
//! vendors' formats, in RAM. What a correct kernel never causes is a [finding](findings::Finding).
//!
//! In reading order:
//! - [`MachineConfig`] and [`Machine`]: the computer; `hardware.rs`: as the CPU reaches it; `assembly.rs` and
//!   `topology.rs`: its parts and how they are wired; `memory_map.rs`: where things are; `acpi/` and `devicetree.rs`:
//!   what firmware tells of all that;
//! - [`fabric`]: switches and bridges that a computer can have in addition;
//! - [`temper`]: what hardware is free to do, and the dice that decide; [`findings`] and [`audit`]: what the
//!   models tell;
//! - [`bus`] and [`interrupts`]: devices' requests and messages;
//! - [`iommu`]: the units on that way; [`cache`]: memory as their walks see it;
//! - [`pci`]: configuration space, bridges, routing of registers, MSI-X, and what a function's model is;
//! - [`device`]: the devices;
//! - [`at_once`]: a unit without a pace of its own, for who counts what a driver does.

mod assembly;
mod config;
mod devicetree;
mod error;
mod hardware;
mod machine;
mod memory_map;
mod topology;

pub mod fabric;

mod acpi;

pub mod audit;
pub mod findings;
pub mod temper;

pub mod bus;
pub mod interrupts;

pub mod cache;
pub mod iommu;

pub mod pci;

pub mod device;

pub mod at_once;

pub use config::{
    Iommu, MAX_DISKS, MAX_PORTS, MAX_VIRTIO_DEVICES, MachineConfig, PoolConfig, PoolPurpose,
    PoolUser,
};
pub use device::heartbeat::Pulse;
pub use error::MachineError;
pub use machine::{Machine, RequesterReport};
pub use memory_map::{MAX_RAM_BYTES, MIN_RAM_BYTES};
