//! What computer to build.

use crate::cache::Snooping;
use crate::device::nvme::NvmeConfig;
use crate::device::virtio::VirtioDeviceConfig;
use crate::fabric::{PeerForwarding, PortConfig};
use crate::iommu::amd::AmdConfig;
use crate::iommu::riscv::RiscvConfig;
use crate::iommu::smmu::SmmuConfig;
use crate::iommu::virtio::VirtioConfig;
use crate::iommu::vtd::VtdConfig;
use crate::pci::reset::Resets;
use crate::temper::Temper;

/// The IOMMU of a computer.
#[derive(Clone, Debug)]
pub enum Iommu {
    /// None: bus addresses are physical ones, or as the host bridge's inbound ranges say.
    None,
    /// Two VT-d units alike, but for where their registers are.
    Vtd {
        /// What the units can do. The machine sets the address of their registers.
        unit: VtdConfig,
        /// Whether their walks see the CPU's caches.
        walks: Snooping,
    },
    /// One virtio-iommu.
    Virtio {
        /// What it can do. The machine sets the address of its registers.
        unit: VirtioConfig,
    },
    /// One AMD-Vi unit for all devices.
    Amd {
        /// What the unit can do. The machine sets the address of its registers.
        unit: AmdConfig,
        /// Whether its walks see the CPU's caches.
        walks: Snooping,
    },
    /// One Arm SMMUv3.
    Smmu {
        /// What it can do. The machine sets the address of its registers.
        unit: SmmuConfig,
        /// Whether its accesses see the CPU's caches.
        walks: Snooping,
    },
    /// One RISC-V IOMMU.
    Riscv {
        /// What the unit can do. The machine sets the address of its registers.
        unit: RiscvConfig,
        /// Whether its walks see the CPU's caches.
        walks: Snooping,
    },
}

/// Whether the greedy device is there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Greedy {
    #[default]
    Absent,
    Present,
}

/// Memory that firmware sets aside for the DMA of some devices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolConfig {
    /// What for.
    pub purpose: PoolPurpose,
    /// How much; whole pages of it.
    pub len_bytes: u64,
    /// For whom.
    pub users: Vec<PoolUser>,
}

/// What memory is set aside for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PoolPurpose {
    /// The devices are to reach no other (`restricted-dma-pool`).
    Restricted,
    /// It is their coherent memory (`shared-dma-pool`).
    Coherent,
}

/// Who is named as a user of memory that was set aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PoolUser {
    /// The device of this number on bus 0.
    Device(u8),
    /// The host bridge, for all that name none themselves.
    AllDevices,
}

/// A computer to [boot](crate::Machine::boot). The default is the one `dmamap run` uses: 8 GiB, VT-d units
/// that snoop and keep everything, no disk yet.
#[derive(Debug)]
pub struct MachineConfig {
    pub(crate) ram_len_bytes: u64,
    pub(crate) iommu: Iommu,
    pub(crate) disks: Vec<NvmeConfig>,
    pub(crate) virtio: Vec<VirtioDeviceConfig>,
    pub(crate) temper: Temper,
    pub(crate) seed: u64,
    pub(crate) inbound_offset: u64,
    pub(crate) greedy: Greedy,
    pub(crate) resets: Resets,
    pub(crate) ports: Vec<PortConfig>,
    pub(crate) peers: PeerForwarding,
    pub(crate) devices: Snooping,
    pub(crate) snooping_exception: Option<u8>,
    pub(crate) privileged: Option<u8>,
    pub(crate) pools: Vec<PoolConfig>,
}

impl Default for MachineConfig {
    fn default() -> Self {
        Self {
            ram_len_bytes: 8 << 30,
            iommu: Iommu::Vtd {
                unit: VtdConfig::default(),
                walks: Snooping::On,
            },
            disks: Vec::new(),
            virtio: Vec::new(),
            temper: Temper::Keep,
            seed: 0,
            inbound_offset: 0,
            greedy: Greedy::Absent,
            resets: Resets::default(),
            ports: Vec::new(),
            peers: PeerForwarding::Refused,
            devices: Snooping::On,
            snooping_exception: None,
            privileged: None,
            pools: Vec::new(),
        }
    }
}

impl MachineConfig {
    /// Memory modules of so many bytes; the holes of the memory map take a little. Untouched memory costs
    /// the host nothing.
    #[must_use]
    pub fn with_ram(mut self, len_bytes: u64) -> Self {
        self.ram_len_bytes = len_bytes;
        self
    }

    /// The IOMMU units.
    #[must_use]
    pub fn with_iommu(mut self, iommu: Iommu) -> Self {
        self.iommu = iommu;
        self
    }

    /// One more disk; there is room for [`MAX_DISKS`].
    #[must_use]
    pub fn with_disk(mut self, disk: NvmeConfig) -> Self {
        self.disks.push(disk);
        self
    }

    /// One more virtio device, from 00:08.0 on, or behind the last configured port; there is room for [`MAX_VIRTIO_DEVICES`].
    #[must_use]
    pub fn with_virtio(mut self, device: VirtioDeviceConfig) -> Self {
        self.virtio.push(device);
        self
    }

    /// How caches of the hardware behave.
    #[must_use]
    pub fn with_temper(mut self, temper: Temper) -> Self {
        self.temper = temper;
        self
    }

    /// The seed of every choice the hardware makes.
    #[must_use]
    pub fn with_seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Devices see memory at its physical address plus `offset` (`dma-ranges`); 0 for none. Only without an
    /// IOMMU.
    #[must_use]
    pub fn with_inbound_offset(mut self, offset: u64) -> Self {
        self.inbound_offset = offset;
        self
    }

    /// One more root port, with what is below it: the first is 00:08.0, and there is room for
    /// [`MAX_PORTS`].
    #[must_use]
    pub fn with_port(mut self, port: PortConfig) -> Self {
        self.ports.push(port);
        self
    }

    /// What the host bridge does with requests of devices to other devices.
    #[must_use]
    pub fn with_peer_forwarding(mut self, peers: PeerForwarding) -> Self {
        self.peers = peers;
        self
    }

    /// How functions are reset.
    #[must_use]
    pub fn with_resets(mut self, resets: Resets) -> Self {
        self.resets = resets;
        self
    }

    /// Whether devices' accesses see the CPU's caches. Firmware says so of the host bridge. Where they do not, the
    /// computer has two copies of memory, and a forgotten sync shows as wrong data.
    #[must_use]
    pub fn with_devices(mut self, snooping: Snooping) -> Self {
        self.devices = snooping;
        self
    }

    /// The device of this number on bus 0, or what is behind the port of that number, snoops in any case. No table of
    /// firmware's says so.
    #[must_use]
    pub fn with_snooping_device(mut self, device: u8) -> Self {
        self.snooping_exception = Some(device);
        self
    }

    /// All requests of the device of this number on bus 0, or of what is behind the port of that number, are
    /// [privileged](crate::bus::Privilege::Privileged). No table of firmware's says so.
    #[must_use]
    pub fn with_privileged_device(mut self, device: u8) -> Self {
        self.privileged = Some(device);
        self
    }

    /// Memory that firmware sets aside for the DMA of some devices. Its devicetree says so, ACPI does not.
    #[must_use]
    pub fn with_pool(mut self, pool: PoolConfig) -> Self {
        self.pools.push(pool);
        self
    }

    /// A device at 00:06.0 one of whose BARs fits in no window.
    #[must_use]
    pub fn with_greedy_device(mut self) -> Self {
        self.greedy = Greedy::Present;
        self
    }
}

/// Most root ports that can be configured.
pub const MAX_PORTS: usize = 24;

/// Most disks one computer can have.
pub const MAX_DISKS: usize = 2;

/// Most virtio devices one computer can have.
pub const MAX_VIRTIO_DEVICES: usize = 16;
