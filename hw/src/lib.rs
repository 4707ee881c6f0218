#![no_std]
//! The words hardware and its drivers share: registers, table entries, commands, descriptors, fault codes.
//!
//! Types and bit layouts only: no algorithm, no allocation, no access to anything. A driver (in `dmamap` and
//! `drivers`) and the model of its hardware (in `machine`) are written independently and meet in these words
//! alone; the tests check each against constants typed anew from the manual.
//!
//! - [`pci`]: configuration space, BARs, bridges, capabilities, MSI-X
//! - [`vtd`]: Intel VT-d
//! - [`amd`]: AMD-Vi, the AMD IOMMU
//! - [`smmu`]: Arm SMMUv3
//! - [`riscv`]: the RISC-V IOMMU
//! - [`virtio`]: virtio transports and queues, and the devices on them: virtio-iommu, disks, networks, consoles, entropy, graphics
//! - [`nvme`]: NVM Express registers, queue entries and identify data
//! - [`edu`]: QEMU's educational DMA device
//! - [`iommu_testdev`]: QEMU's device that tests IOMMUs
//!
//! # Conventions
//! Fields bear their manual's abbreviations in lower case. A bit field is a transparent word: `from_bits`
//! takes what was read, `into_bits` gives what to write, and reserved bits survive the round trip, so that a
//! model can see them set. Where a field holds an address without its lower bits, its accessors speak in whole
//! addresses. Addresses are plain `u64` here; what kind each is, physical or bus, its documentation says.

#[cfg(not(target_endian = "little"))]
compile_error!("hardware structures are little-endian in memory; so must the target be");

pub mod amd;
pub mod edu;
pub mod iommu_testdev;
pub mod nvme;
pub mod pci;
pub mod riscv;
pub mod smmu;
pub mod virtio;
pub mod vtd;
