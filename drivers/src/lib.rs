//! Device drivers written only against `dmamap`, and the words of `hw`.
//!
//! - [`nvme`]: NVM Express controllers, disks that fetch commands and data by DMA
//! - [`edu`]: QEMU's educational device, a DMA engine with 28 address lines
//! - [`iommu_testdev`]: QEMU's device that writes one pattern and says whether it arrived
//! - [`virtio`]: virtio disks, networks, consoles, entropy and graphics devices, driven by the published crate
//!   `virtio-drivers`, and what lets it run on `dmamap`
//!
//! A driver takes a [`Device`](dmamap::device::Device) that somebody attached, claims its registers, and gives the device
//! back when it is done: what the device may reach was decided before the driver was asked.
#![no_std]

extern crate alloc;

pub mod edu;
pub mod iommu_testdev;
pub mod nvme;
pub mod virtio;
mod wait;
