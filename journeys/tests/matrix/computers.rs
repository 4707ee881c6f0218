//! The computers: each differs from every other in most of what may matter.

use dmamap::bounce::{BounceSettings, Forced};
use dmamap::bridge::PeerForwarding;
use dmamap::system::Protection;
use journeys::boot::BootOptions;
use machine::cache::Snooping;
use machine::device::nvme::{Medium, NvmeConfig};
use machine::device::virtio::{ConsoleEnd, VirtioDeviceConfig, VirtioKind};
use machine::iommu::amd::AmdConfig;
use machine::iommu::riscv::RiscvConfig;
use machine::iommu::smmu::SmmuConfig;
use machine::iommu::virtio::VirtioConfig;
use machine::iommu::vtd::{ScalableMode, VtdConfig};
use machine::temper::Temper;
use machine::{Iommu, MachineConfig};

use rig::Rig;
use rig::disks::{blank_disk, test_disk, test_file};

pub(crate) const DISK_BYTES: u64 = 1 << 20;
const VIRTIO_DISK_BYTES: u64 = 64 << 10;

/// The way of devices' requests to memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// By an IOMMU, memory being protected so.
    Translated(Protection),
    /// At an offset.
    Offset,
    /// To copies.
    Bounced,
    /// To copies of what the disks' 28 address lines do not reach.
    FewLines,
}

/// A computer.
pub(crate) struct Computer {
    pub(crate) name: &'static str,
    pub(crate) way: Way,
    pub(crate) devices: Snooping,
    temper: Temper,
    iommu: fn(Snooping) -> Iommu,
}

const fn computer(
    name: &'static str,
    iommu: fn(Snooping) -> Iommu,
    way: Way,
    devices: Snooping,
    temper: Temper,
) -> Computer {
    Computer {
        name,
        way,
        devices,
        temper,
        iommu,
    }
}

const DEFERRED: Way = Way::Translated(Protection::Deferred);
const BOUNCE: Way = Way::Translated(Protection::Bounce);
const STRICT: Way = Way::Translated(Protection::Strict);

pub(crate) const COMPUTERS: &[Computer] = &[
    computer("vtd", vtd, BOUNCE, Snooping::Off, Temper::Keep),
    computer(
        "vtd-scalable",
        scalable,
        STRICT,
        Snooping::Off,
        Temper::Forget,
    ),
    computer("amd", amd, BOUNCE, Snooping::On, Temper::Keep),
    computer("smmu", smmu, DEFERRED, Snooping::Off, Temper::Random(5)),
    computer("riscv", riscv, BOUNCE, Snooping::Off, Temper::Random(6)),
    computer("virtio", virtio, DEFERRED, Snooping::Off, Temper::Keep),
    computer("offset", none, Way::Offset, Snooping::Off, Temper::Keep),
    computer("bounced", none, Way::Bounced, Snooping::Off, Temper::Forget),
    computer(
        "few lines",
        none,
        Way::FewLines,
        Snooping::Off,
        Temper::Keep,
    ),
    computer("coherent", none, Way::Bounced, Snooping::On, Temper::Keep),
];

fn vtd(walks: Snooping) -> Iommu {
    let unit = VtdConfig::default();
    Iommu::Vtd { unit, walks }
}

fn scalable(walks: Snooping) -> Iommu {
    let unit = VtdConfig {
        scalable: Some(ScalableMode::default()),
        ..VtdConfig::default()
    };
    Iommu::Vtd { unit, walks }
}

fn amd(walks: Snooping) -> Iommu {
    let unit = AmdConfig::default();
    Iommu::Amd { unit, walks }
}

fn smmu(walks: Snooping) -> Iommu {
    let unit = SmmuConfig::default();
    Iommu::Smmu { unit, walks }
}

fn riscv(_: Snooping) -> Iommu {
    // No table of firmware's tells of walks that do not snoop.
    let (unit, walks) = (RiscvConfig::default(), Snooping::On);
    Iommu::Riscv { unit, walks }
}

fn virtio(_: Snooping) -> Iommu {
    let unit = VirtioConfig::default();
    Iommu::Virtio { unit }
}

fn none(_: Snooping) -> Iommu {
    Iommu::None
}

impl Computer {
    /// Boots it, with a full disk, an empty one, and virtio devices.
    pub(crate) fn boot(&self) -> Rig {
        let address_lines = match self.way {
            Way::FewLines => 28,
            _ => 64,
        };
        let disks = [test_disk(DISK_BYTES), blank_disk(DISK_BYTES)];
        let disks = disks.map(|disk| NvmeConfig {
            address_lines,
            ..disk
        });
        let kinds = [
            VirtioKind::Block(test_file(VIRTIO_DISK_BYTES), Medium::ReadWrite),
            VirtioKind::Net,
            VirtioKind::Console(ConsoleEnd::Loop),
            VirtioKind::Entropy,
            VirtioKind::Gpu(320, 200),
        ];
        let config = MachineConfig::default()
            .with_iommu((self.iommu)(self.devices))
            .with_devices(self.devices)
            .with_peer_forwarding(machine::fabric::PeerForwarding::Forwarded)
            .with_temper(self.temper);
        let config = match self.way {
            Way::Offset => config.with_inbound_offset(0x80_0000_0000),
            _ => config,
        };
        let config = disks.into_iter().fold(config, MachineConfig::with_disk);
        let config = kinds.into_iter().fold(config, |config, kind| {
            config.with_virtio(VirtioDeviceConfig::new(kind))
        });
        let options = BootOptions {
            protection: match self.way {
                Way::Translated(protection) => protection,
                _ => Protection::Strict,
            },
            ..BootOptions::default()
        };
        let known = PeerForwarding::Forwarded;
        let mut rig = Rig::boot_knowing(config, options, known);
        rig.make_removable(1);
        if self.way == Way::Bounced {
            rig.computer.system().set_bounce(BounceSettings {
                forced: Forced::Always,
                ..BounceSettings::default()
            });
        }
        rig
    }
}
