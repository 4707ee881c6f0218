//! Computers with switches and bridges, and how their devices are attached.

use dmamap::device::Device;
use dmamap::iommu::Requester;
use dmamap::pci::{Function, PortType};
use dmamap::system::Protection;
use drivers::edu::Edu;
use hosted::Hosted;
use hw::pci::capability::AcsFlags;
use machine::Iommu;
use machine::bus::ConventionalIds;
use machine::cache::Snooping;
use machine::fabric::{Below, FunctionConfig, Model, PortConfig};
use machine::iommu::amd::AmdConfig;
use machine::iommu::riscv::RiscvConfig;
use machine::iommu::smmu::SmmuConfig;
use machine::iommu::virtio::VirtioConfig;
use machine::iommu::vtd::VtdConfig;

use rig::{Rig, small};

/// A device that all tests here ask to do DMA.
pub const EDU_IDS: (u16, u16) = (hw::edu::VENDOR_ID, hw::edu::DEVICE_ID);
/// A device that is memory.
pub const MEMORY_IDS: (u16, u16) = (0x1b36, 0x00dd);

/// What isolates.
pub const ISOLATING: AcsFlags = AcsFlags::ISOLATING;

pub fn device(functions: &[Model]) -> Below {
    Below::Device(
        functions
            .iter()
            .map(|&model| FunctionConfig::new(model))
            .collect(),
    )
}

/// A port with access control services or without.
pub fn port(acs: Option<AcsFlags>, below: Below) -> PortConfig {
    match acs {
        Some(flags) => PortConfig::new(below).with_acs(flags),
        None => PortConfig::new(below),
    }
}

/// Below a root port that isolates, a switch: an educational device and one of the other kind, each below a port of its own.
pub fn switch(first: Option<AcsFlags>, second: Option<AcsFlags>, other: Model) -> PortConfig {
    let ports = vec![
        port(first, device(&[Model::Edu])),
        port(second, device(&[other])),
    ];
    port(Some(ISOLATING), Below::Switch(ports))
}

/// Below a root port that isolates, a bridge to a conventional bus with two educational devices.
pub fn conventional(ids: ConventionalIds) -> PortConfig {
    let devices = vec![Model::Edu, Model::Edu];
    port(Some(ISOLATING), Below::Conventional { ids, devices })
}

/// One of each unit.
pub fn units() -> [(&'static str, Iommu); 5] {
    let walks = Snooping::On;
    [
        (
            "VT-d",
            Iommu::Vtd {
                unit: VtdConfig::default(),
                walks,
            },
        ),
        (
            "AMD",
            Iommu::Amd {
                unit: AmdConfig::default(),
                walks,
            },
        ),
        (
            "SMMU",
            Iommu::Smmu {
                unit: SmmuConfig::default(),
                walks,
            },
        ),
        (
            "RISC-V",
            Iommu::Riscv {
                unit: RiscvConfig::default(),
                walks,
            },
        ),
        (
            "virtio",
            Iommu::Virtio {
                unit: VirtioConfig::default(),
            },
        ),
    ]
}

pub fn boot_port(iommu: Iommu, port: PortConfig) -> Rig {
    Rig::boot(small().with_iommu(iommu).with_port(port))
}

/// The functions of a kind below a bridge that is not in the default machine, by address.
pub fn functions(rig: &Rig, (vendor, device): (u16, u16)) -> Vec<Function<Hosted>> {
    let functions = rig.computer.topology().functions();
    functions
        .filter(|one| one.parent().is_some() && (one.vendor(), one.device()) == (vendor, device))
        .cloned()
        .collect()
}

/// The only functions that are such ports.
pub fn ports(rig: &Rig, kind: PortType) -> Vec<Function<Hosted>> {
    let functions = rig.computer.topology().functions();
    functions
        .filter(|one| one.port_type() == Some(kind))
        .cloned()
        .collect()
}

pub fn requester_of(function: &Function<Hosted>) -> Requester {
    Requester {
        segment: 0,
        id: function.requester(),
    }
}

/// Attaches a function so that it reaches only what is mapped.
pub fn attach(rig: &Rig, function: &Function<Hosted>) -> Device<Hosted> {
    let device = rig.system().attach(function, Protection::Strict);
    device.unwrap_or_else(|error| panic!("{error}"))
}

/// The educational device that a function is, at work.
pub fn edu(rig: &mut Rig, function: &Function<Hosted>) -> Edu<Hosted> {
    let device = attach(rig, function);
    edu_on(rig, function, device)
}

pub fn edu_on(rig: &mut Rig, function: &Function<Hosted>, device: Device<Hosted>) -> Edu<Hosted> {
    Edu::start(device, function, rig.computer.resources_mut()).expect("the device works")
}
