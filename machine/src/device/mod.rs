//! The devices: each on threads of its own, reaching memory only through its
//! [`FunctionPort`](crate::pci::function::FunctionPort).
//!
//! - [`nvme`]: a disk over a file of the host;
//! - [`virtio`]: virtio disk, network, console, entropy and graphics devices;
//! - `edu`: QEMU's educational device, 28 address lines or more;
//! - `legacy`: a conventional device with all three kinds of BAR, no DMA;
//! - [`fifo`]: a transmitter that is no PCI function, and makes no requests;
//! - `heartbeat`: one that firmware left running;
//! - `memory`: one that is memory behind a BAR; `local_memory`: what it and others have;
//! - `passive`: functions that only exist.

pub(crate) mod edu;
pub mod fifo;
pub(crate) mod heartbeat;
pub(crate) mod legacy;
pub(crate) mod local_memory;
pub(crate) mod memory;
pub mod nvme;
pub(crate) mod passive;
pub(crate) mod thread;
pub mod virtio;
