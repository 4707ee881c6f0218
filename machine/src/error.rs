//! Why a computer cannot be built.

use board::ram::RamError;

use crate::config::{MAX_DISKS, MAX_VIRTIO_DEVICES};
use crate::device::nvme::NvmeConfigError;
use crate::iommu::amd::AmdConfigError;
use crate::iommu::riscv::RiscvConfigError;
use crate::iommu::smmu::SmmuConfigError;
use crate::iommu::virtio::VirtioConfigError;
use crate::iommu::vtd::VtdConfigError;
use crate::memory_map::{MAX_RAM_BYTES, MIN_RAM_BYTES};

/// Why a computer cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum MachineError {
    /// Less memory than firmware and a kernel need.
    #[error("{len_bytes} bytes of RAM are too few: this computer needs at least {} MiB", MIN_RAM_BYTES >> 20)]
    RamTooSmall {
        /// What was asked for.
        len_bytes: u64,
    },
    /// More memory than lies below the window for registers.
    #[error("{len_bytes} bytes of RAM are too many: this computer takes at most {} GiB", MAX_RAM_BYTES >> 30)]
    RamTooLarge {
        /// What was asked for.
        len_bytes: u64,
    },
    /// The host lends no memory.
    #[error(transparent)]
    Ram(#[from] RamError),
    /// More disks than ports.
    #[error("{0} disks are too many: this computer has ports for {MAX_DISKS}")]
    TooManyDisks(
        /// How many were asked for.
        usize,
    ),
    /// More virtio devices than there is room for.
    #[error("{0} virtio devices are too many: this computer has room for {MAX_VIRTIO_DEVICES}")]
    TooManyVirtioDevices(
        /// How many were asked for.
        usize,
    ),
    /// A virtio disk's file cannot be used.
    #[error("virtio device {index}: {source}")]
    VirtioDevice {
        /// Which device, from 0.
        index: usize,
        /// Why.
        source: std::io::Error,
    },
    /// A disk's file cannot be used.
    #[error("disk {index}: {source}")]
    Disk {
        /// Which disk, from 0.
        index: usize,
        /// Why.
        source: NvmeConfigError,
    },
    /// A VT-d unit cannot be as its configuration says.
    #[error(transparent)]
    Vtd(#[from] VtdConfigError),
    /// A virtio-iommu cannot be as its configuration says.
    #[error(transparent)]
    Virtio(#[from] VirtioConfigError),
    /// An AMD-Vi unit cannot be as its configuration says.
    #[error(transparent)]
    Amd(#[from] AmdConfigError),
    /// A RISC-V IOMMU cannot be as its configuration says.
    #[error(transparent)]
    Riscv(#[from] RiscvConfigError),
    /// An SMMU cannot be as its configuration says.
    #[error(transparent)]
    Smmu(#[from] SmmuConfigError),
    /// Memory set aside for devices leaves too little for a kernel, or is no whole page.
    #[error("{len_bytes} bytes cannot be set aside for devices")]
    Pools {
        /// What was asked for in all.
        len_bytes: u64,
    },
    /// Memory shifted by the offset would not be memory for every device, or an IOMMU is there as well.
    #[error("devices cannot see memory {offset:#x} bytes higher: {reason}")]
    InboundOffset {
        /// The offset.
        offset: u64,
        /// What is in the way.
        reason: &'static str,
    },
}
