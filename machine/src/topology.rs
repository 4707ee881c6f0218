//! How the functions are wired: which is below which, and which unit translates for whom.
//!
//! ```text
//!   00:00.0 host bridge
//!   00:01.0 root port ── nvme                                 unit 0
//!   00:02.0 root port ── nvme, if there is a second disk      unit 1
//!   00:03.0 edu                                               unit 0
//!   00:04.0 root port ── PCIe-to-PCI bridge ── legacy         unit 1
//!   00:05.0 heartbeat, at work since boot (see below)         unit 1, RMRR or IVMD
//!   00:06.0 greedy, if wanted                                 unit 1
//!   00:08.0 root port ── … as configured (fabric.rs), and the next ones likewise    unit 1
//!   behind the last of them: virtio devices, as configured                          unit 1
//! ```
//!
//! Unit 1 is the one that translates for all that unit 0 does not list. A computer with one unit has it translate for
//! all functions. The heartbeat is at work where firmware can tell of the memory it uses.

use std::ops::Range;
use std::sync::Arc;

use crate::acpi::{
    CoherenceOverride, Device, Dmar, Iort, Ivrs, ReservedMemory, RmrTable, Scope,
    Unit as UnitTable, UnityMemory, Viot, rimt,
};
use crate::bus::{Bus, ConventionalIds, DmaPort, Privilege, Requester};
use crate::cache::{CpuCaches, Snooping};
use crate::config::Iommu;
use crate::device::edu::Edu;
use crate::device::heartbeat::Heartbeat;
use crate::device::legacy::Legacy;
use crate::device::nvme::NvmeController;
use crate::device::passive::Passive;
use crate::device::virtio::VirtioDevice;
use crate::fabric::PortConfig;
use crate::findings::Findings;
use crate::iommu::Unit;
use crate::iommu::amd::AmdConfig;
use crate::iommu::smmu::{CoherenceTold, SmmuConfig};
use crate::iommu::virtio::VirtioConfig;
use crate::memory_map::{
    AMD_REGISTERS, HOST_ADDRESS_BITS, RISCV_REGISTERS, SMMU_REGISTERS, VIRTIO_REGISTERS,
    VTD_REGISTERS,
};
use crate::pci::bridge::{Bridge, BridgeKind};
use crate::pci::endpoint::{AtBoot, Endpoint, InDevice};
use crate::pci::function::FunctionModel;
use crate::pci::reset::Resets;
use crate::pci::segment::{Node, Segment, SegmentKind};

const LISTED: usize = 0;
pub(crate) const ALL_OTHERS: usize = 1;

const HOST_BRIDGE: u8 = 0;
const DISK_PORTS: [(u8, usize); 2] = [(1, LISTED), (2, ALL_OTHERS)];
const EDU: u8 = 3;
const LEGACY_PORT: u8 = 4;
const HEARTBEAT: u8 = 5;
const GREEDY: u8 = 6;
const FIRST_CONFIGURED: u8 = 8;

/// Bridges drive all address lines.
pub(crate) const ALL_LINES: u32 = 64;

/// The models to wire.
pub(crate) struct Models {
    pub(crate) disks: Vec<Arc<NvmeController>>,
    pub(crate) virtio: Vec<Arc<VirtioDevice>>,
    pub(crate) heartbeat: Arc<Heartbeat>,
    pub(crate) greedy: Option<Passive>,
    pub(crate) ports: Vec<PortConfig>,
}

/// What every function is wired to.
pub(crate) struct Wiring<'a> {
    pub(crate) bus: &'a Arc<Bus>,
    /// Two units, one for all, or none.
    pub(crate) units: &'a [Arc<dyn Unit>],
    pub(crate) findings: &'a Findings,
    pub(crate) resets: Resets,
    /// The CPU's caches, where memory has two copies.
    pub(crate) caches: Option<&'a Arc<CpuCaches>>,
    /// Whether devices snoop.
    pub(crate) devices: Snooping,
    /// The device on bus 0, or what is behind the port there, that snoops all the same.
    pub(crate) snooping_exception: Option<u8>,
    /// Whose requests are privileged, likewise.
    pub(crate) privileged: Option<u8>,
}

impl Wiring<'_> {
    /// Bus 0, and all behind it. The devices' threads run from here on.
    pub(crate) fn root(&self, models: Models) -> Segment {
        let mut nodes = vec![self.top(HOST_BRIDGE, ALL_OTHERS, Arc::new(Passive::host_bridge()))];
        let mut disks = models.disks.into_iter();
        for (device, unit) in DISK_PORTS {
            let disk = disks.next();
            // Firmware's tables name the first port, so it is there without a disk too.
            if device == DISK_PORTS[0].0 || disk.is_some() {
                nodes.push(self.root_port(device, |port| {
                    let disk =
                        disk.map(|disk| self.endpoint(0, vec![Arc::clone(port)], unit, disk));
                    disk.into_iter().map(Node::Endpoint).collect()
                }));
            }
        }
        nodes.push(self.top(EDU, LISTED, Arc::new(Edu::new(self.findings.clone()))));
        nodes.push(self.root_port(LEGACY_PORT, |port| {
            let bridge = Requester::new(0, 0, ALL_LINES, vec![Arc::clone(port)]);
            let bridge = Arc::new(bridge.to_conventional(ConventionalIds::Bridge));
            let upstream = vec![Arc::clone(port), Arc::clone(&bridge)];
            let legacy = self.endpoint(0, upstream, ALL_OTHERS, Arc::new(Legacy::new()));
            let behind = self.segment(SegmentKind::Conventional, vec![Node::Endpoint(legacy)]);
            vec![Node::Bridge(Arc::new(Bridge::new(
                BridgeKind::ExpressToPci,
                bridge,
                behind,
                None,
            )))]
        }));
        let at_boot = models.heartbeat.at_boot();
        let heartbeat =
            self.endpoint_at(HEARTBEAT, Vec::new(), ALL_OTHERS, models.heartbeat, at_boot);
        nodes.push(Node::Endpoint(heartbeat));
        nodes.extend(
            models
                .greedy
                .map(|greedy| self.top(GREEDY, ALL_OTHERS, Arc::new(greedy))),
        );
        let configured = (FIRST_CONFIGURED..32).zip(&models.ports);
        nodes.extend(configured.map(|(device, port)| self.configured_port(device, port)));
        for (device, model) in (FIRST_CONFIGURED + models.ports.len() as u8..).zip(models.virtio) {
            nodes.push(self.top(device, ALL_OTHERS, model));
        }
        self.segment(SegmentKind::Root, nodes)
    }

    fn top(&self, device: u8, unit: usize, model: Arc<dyn FunctionModel>) -> Node {
        Node::Endpoint(self.endpoint(device, Vec::new(), unit, model))
    }

    fn root_port(&self, device: u8, behind: impl FnOnce(&Arc<Requester>) -> Vec<Node>) -> Node {
        let port = Arc::new(Requester::new(device, 0, ALL_LINES, Vec::new()));
        let behind = self.segment(SegmentKind::Link, behind(&port));
        Node::Bridge(Arc::new(Bridge::new(
            BridgeKind::RootPort,
            port,
            behind,
            None,
        )))
    }

    fn endpoint(
        &self,
        device: u8,
        upstream: Vec<Arc<Requester>>,
        unit: usize,
        model: Arc<dyn FunctionModel>,
    ) -> Arc<Endpoint> {
        self.endpoint_at(device, upstream, unit, model, AtBoot::Idle)
    }

    fn endpoint_at(
        &self,
        device: u8,
        upstream: Vec<Arc<Requester>>,
        unit: usize,
        model: Arc<dyn FunctionModel>,
        at_boot: AtBoot,
    ) -> Arc<Endpoint> {
        let description = model.description();
        let requester = Requester::new(device, 0, description.address_lines, upstream);
        let privilege = match self.privileged == Some(on_root(device, &requester)) {
            true => Privilege::Privileged,
            false => Privilege::Unprivileged,
        };
        let requester = Arc::new(requester.with_privilege(privilege));
        let port = self.dma_port(unit, device, requester);
        let alone = InDevice::default();
        Arc::new(Endpoint::new(
            model,
            description,
            port,
            at_boot,
            alone,
            self.resets,
            self.findings.clone(),
        ))
    }

    /// The way to memory of `requester`, which is on a bus as device `device`.
    pub(crate) fn dma_port(&self, unit: usize, device: u8, requester: Arc<Requester>) -> DmaPort {
        let on_root = on_root(device, &requester);
        let port = DmaPort::new(Arc::clone(self.bus), self.unit(unit), requester);
        let Some(caches) = self.caches.cloned() else {
            return port;
        };
        match self.devices {
            Snooping::Off if self.snooping_exception != Some(on_root) => port.beside(caches),
            _ => port.through(caches),
        }
    }

    /// The unit of that number, or the only one.
    fn unit(&self, unit: usize) -> Option<Arc<dyn Unit>> {
        let unit = match self.units {
            [only] => Some(only),
            units => units.get(unit),
        };
        unit.cloned()
    }

    fn segment(&self, kind: SegmentKind, nodes: Vec<Node>) -> Segment {
        Segment::new(kind, nodes, self.findings.clone())
    }
}

/// The number on bus 0 of `requester`, which is on a bus as `device`, or of the port that it is behind.
fn on_root(device: u8, requester: &Requester) -> u8 {
    match requester.root_port() {
        Some(port) => port.device_function() >> 3,
        None => device,
    }
}

/// What firmware left of the device that uses the direct region: at work where its tables can tell the kernel so.
pub(crate) fn heartbeat_at_boot(iommu: &Iommu) -> AtBoot {
    match iommu {
        Iommu::None | Iommu::Vtd { .. } | Iommu::Amd { .. } | Iommu::Smmu { .. } => AtBoot::Running,
        Iommu::Virtio { .. } => AtBoot::Idle,
        Iommu::Riscv { .. } => AtBoot::Idle,
    }
}

/// The table by which firmware tells of the units and of the wiring above.
pub(crate) fn table(
    iommu: &Iommu,
    devices: Snooping,
    direct_region: &Range<u64>,
) -> Option<Vec<u8>> {
    match iommu {
        Iommu::None => None,
        Iommu::Vtd { .. } => Some(dmar(direct_region).into_table()),
        Iommu::Virtio { unit } => Some(viot(unit).into_table()),
        Iommu::Riscv { .. } => Some(rimt(RISCV_REGISTERS.start)),
        Iommu::Smmu { unit, walks } => {
            Some(iort(unit, *walks, devices, direct_region).into_table())
        }
        Iommu::Amd { unit, walks } => Some(ivrs(unit, *walks, direct_region).into_table()),
    }
}

fn iort(unit: &SmmuConfig, walks: Snooping, devices: Snooping, direct_region: &Range<u64>) -> Iort {
    let told = unit.coherence_told;
    let coherence = if walks == Snooping::On && told == CoherenceTold::ByFirmware {
        CoherenceOverride::Coherent
    } else {
        CoherenceOverride::None
    };
    Iort {
        registers: SMMU_REGISTERS.start,
        coherence,
        first_stream: unit.first_stream,
        address_bits: unit.root_complex_bits,
        devices,
        reserved: vec![RmrTable {
            base: direct_region.start,
            len_bytes: direct_region.end - direct_region.start,
            requester: u16::from(HEARTBEAT) << 3,
        }],
    }
}

fn viot(unit: &VirtioConfig) -> Viot {
    Viot {
        registers: VIRTIO_REGISTERS.start,
        first_endpoint: unit.first_endpoint,
    }
}

fn dmar(direct_region: &Range<u64>) -> Dmar {
    let on_root = |device| Device {
        start_bus: 0,
        path: vec![(device, 0)],
    };
    let listed = vec![
        Scope::SubHierarchy(on_root(DISK_PORTS[0].0)),
        Scope::Endpoint(on_root(EDU)),
    ];
    Dmar {
        host_address_bits: HOST_ADDRESS_BITS,
        units: vec![
            UnitTable {
                registers: VTD_REGISTERS[LISTED].start,
                scopes: Some(listed),
            },
            UnitTable {
                registers: VTD_REGISTERS[ALL_OTHERS].start,
                scopes: None,
            },
        ],
        reserved: vec![ReservedMemory {
            base: direct_region.start,
            last: direct_region.end - 1,
            devices: vec![on_root(HEARTBEAT)],
        }],
    }
}

fn ivrs(config: &AmdConfig, walks: Snooping, direct_region: &Range<u64>) -> Ivrs {
    Ivrs {
        host_address_bits: HOST_ADDRESS_BITS,
        registers: AMD_REGISTERS.start,
        coherent: walks == Snooping::On,
        // A unit without features was refused when it was built.
        features: config.features().map_or(0, |features| features.into_bits()),
        unity: vec![UnityMemory {
            device: u16::from(HEARTBEAT) << 3,
            base: direct_region.start,
            len_bytes: direct_region.end - direct_region.start,
        }],
    }
}
