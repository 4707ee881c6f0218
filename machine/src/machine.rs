//! The computer: assembled, reached by the CPU, shut down.

use std::fmt;
use std::sync::Arc;

use board::hardware::InboundDescription;
use board::ram::{Ram, RamError};

use crate::acpi;
use crate::assembly::{Units, caches, disks, inbound, units, virtio_devices};
use crate::audit::Audit;
use crate::bus::{Bus, DmaCounters, HeldRequest};
use crate::cache::{CacheReport, CpuCaches, Snooping};
use crate::config::{Greedy, Iommu, MAX_DISKS, MAX_PORTS, MAX_VIRTIO_DEVICES, MachineConfig};
use crate::device::fifo::Fifo;
use crate::device::heartbeat::{Heartbeat, Pulse};
use crate::device::nvme::NvmeController;
use crate::device::passive::Passive;
use crate::device::virtio::VirtioDevice;
use crate::error::MachineError;
use crate::findings::{Finding, Findings};
use crate::interrupts::{Interrupts, MESSAGE_WINDOW};
use crate::iommu::amd::AmdUnit;
use crate::iommu::riscv::RiscvUnit;
use crate::iommu::smmu::SmmuUnit;
use crate::iommu::virtio::VirtioUnit;
use crate::iommu::vtd::VtdUnit;
use crate::memory_map::{ECAM, MAX_RAM_BYTES, MIN_RAM_BYTES, MemoryMap, Pool, WINDOWS};
use crate::pci::endpoint::Endpoint;
use crate::pci::segment::Segment;
use crate::topology::{self, Models, Wiring};

/// A computer made of models. Shut down when dropped.
///
/// ```
/// use board::hardware::{Hardware, Width};
/// use machine::{Machine, MachineConfig};
///
/// let machine = Machine::boot(MachineConfig::default().with_ram(64 << 20))?;
/// // Function 00:03.0 in configuration space is QEMU's educational device.
/// assert_eq!(machine.read(0xe001_8000, Width::Dword), 0x11e8_1234);
/// assert_eq!(machine.findings(), []);
/// machine.shutdown();
/// # Ok::<(), machine::MachineError>(())
/// ```
pub struct Machine {
    pub(crate) map: MemoryMap,
    pub(crate) iommu: Iommu,
    /// Memory as CPUs and all that snoops see it.
    pub(crate) ram: Arc<Ram>,
    pub(crate) caches: Option<Arc<CpuCaches>>,
    pub(crate) devices: Snooping,
    pub(crate) inbound: Vec<InboundDescription>,
    pub(crate) interrupts: Arc<Interrupts>,
    pub(crate) units: Units,
    pub(crate) root: Arc<Segment>,
    pub(crate) endpoints: Vec<Arc<Endpoint>>,
    disks: Vec<Arc<NvmeController>>,
    virtio: Vec<Arc<VirtioDevice>>,
    heartbeat: Arc<Heartbeat>,
    pub(crate) fifo: Arc<Fifo>,
    findings: Findings,
}

/// What one function did on the bus.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequesterReport {
    /// The model's name: "nvme".
    pub name: String,
    /// Bus, device, function, as last programmed.
    pub requester: u16,
    /// Its traffic.
    pub counters: DmaCounters,
}

impl Machine {
    /// Builds the computer `config` describes: firmware's tables lie in memory, buses and BARs are not
    /// programmed, translation is off, and the devices' threads run.
    ///
    /// # Errors
    /// [`MachineError`] for a computer that cannot be, or when the host lends no memory.
    pub fn boot(mut config: MachineConfig) -> Result<Arc<Self>, MachineError> {
        let len_bytes = config.ram_len_bytes;
        if len_bytes < MIN_RAM_BYTES {
            return Err(MachineError::RamTooSmall { len_bytes });
        }
        if len_bytes > MAX_RAM_BYTES {
            return Err(MachineError::RamTooLarge { len_bytes });
        }
        if config.disks.len() > MAX_DISKS {
            return Err(MachineError::TooManyDisks(config.disks.len()));
        }
        // They share the root bus with the ports.
        let taken = config.ports.len() + config.virtio.len();
        if config.virtio.len() > MAX_VIRTIO_DEVICES || taken > MAX_PORTS {
            return Err(MachineError::TooManyVirtioDevices(config.virtio.len()));
        }
        let len_of_pools = config.pools.iter().map(|pool| pool.len_bytes);
        let pools = MachineError::Pools {
            len_bytes: len_of_pools.fold(0, u64::saturating_add),
        };
        let pool_configs = std::mem::take(&mut config.pools);
        let map = MemoryMap::new(len_bytes)
            .with_pools(pool_configs)
            .ok_or(pools)?;
        let inbound = inbound(&config, &map)?;
        let ram = Ram::new(&map.ram)?;
        let findings = Findings::new();
        let interrupts = Arc::new(Interrupts::new());
        let bus = Bus::new(
            Arc::clone(&ram),
            WINDOWS.to_vec(),
            inbound.clone(),
            Arc::clone(&interrupts),
        )
        .with_peers(config.peers);
        let caches = caches(&config, &ram)?;
        let units = units(&config, &ram, caches.as_ref(), &interrupts, &findings)?;

        let mut tables = vec![acpi::mcfg(ECAM.start, 0, 255)];
        tables.extend(topology::table(
            &config.iommu,
            config.devices,
            &map.direct_region,
        ));
        let image = acpi::image(map.tables.start, &tables);
        ram.write(map.tables.start, &image)
            .map_err(RamError::from)?;

        if let Some(caches) = &caches {
            // Firmware leaves nothing of its own in the caches, where what it keeps is a device's.
            let direct = &map.direct_region;
            caches.clean(direct.start, direct.end - direct.start);
            for Pool { memory, .. } in &map.pools {
                caches.clean(memory.start, memory.end - memory.start);
            }
        }

        let disks = disks(config.disks, &findings)?;
        // What devices reach: beneath the caches, where they do not snoop.
        let reached = match (&caches, config.devices) {
            (Some(caches), Snooping::Off) => caches.memory(),
            _ => &ram,
        };
        let virtio = virtio_devices(config.virtio, reached, &findings)?;
        let heartbeat = Arc::new(Heartbeat::new(
            map.direct_region.start + config.inbound_offset,
            topology::heartbeat_at_boot(&config.iommu),
        ));
        let bus = Arc::new(bus);
        let fifo = Arc::clone(bus.fifo());
        let wiring = Wiring {
            bus: &bus,
            units: &units
                .slots
                .iter()
                .map(|slot| Arc::clone(&slot.unit))
                .collect::<Vec<_>>(),
            findings: &findings,
            resets: config.resets,
            caches: caches.as_ref(),
            devices: config.devices,
            snooping_exception: config.snooping_exception,
            privileged: config.privileged,
        };
        let root = wiring.root(Models {
            disks: disks.clone(),
            virtio: virtio.clone(),
            heartbeat: Arc::clone(&heartbeat),
            greedy: (config.greedy == Greedy::Present).then(Passive::greedy),
            ports: config.ports,
        });
        let root = Arc::new(root);
        bus.connect(&root);
        let endpoints = root.endpoints();
        Ok(Arc::new(Self {
            map,
            iommu: config.iommu,
            ram,
            caches,
            devices: config.devices,
            inbound,
            interrupts,
            units,
            root,
            endpoints,
            disks,
            virtio,
            heartbeat,
            fifo,
            findings,
        }))
    }

    /// Stops the devices and the units and joins their threads, and lets go of the kernel's interrupt sink.
    /// Registers still answer. May be called more than once.
    pub fn shutdown(&self) {
        for endpoint in &self.endpoints {
            endpoint.stop();
        }
        for slot in &self.units.slots {
            slot.unit.stop();
        }
        self.interrupts.disconnect();
    }

    /// Pulls the functions out that have this requester id: their registers read as all ones, what they were doing never
    /// ends, and they make no requests any more. Requests on their way arrive.
    pub fn remove(&self, requester: u16) {
        let there = |endpoint: &&Arc<Endpoint>| endpoint.requester().id() == requester;
        for endpoint in self.endpoints.iter().filter(there) {
            endpoint.remove();
        }
    }

    /// Keeps a request of the function with this requester id on its way until what this returns is dropped.
    ///
    /// # Panics
    /// If there is no such function.
    pub fn hold_request(&self, requester: u16) -> HeldRequest {
        let mut endpoints = self.endpoints.iter();
        let there = endpoints.find(|endpoint| endpoint.requester().id() == requester);
        let endpoint = there.expect("a function of that number");
        HeldRequest::of(endpoint.requester())
    }

    /// Takes the power away for a moment, but from memory: every unit and every function is as after reset, and bridges
    /// too. Nobody accesses anything meanwhile.
    pub fn power_cycle(&self) {
        self.root.power_cycle();
        self.units_power_cycle();
    }

    /// As [`power_cycle`](Self::power_cycle), for the units alone.
    pub fn units_power_cycle(&self) {
        for slot in &self.units.slots {
            slot.unit.power_cycle();
        }
    }

    /// What the models saw that a correct kernel never causes: the first ones whole, see
    /// [`findings_total`](Self::findings_total).
    pub fn findings(&self) -> Vec<Finding> {
        self.findings.list()
    }

    /// How many findings there are in all.
    pub fn findings_total(&self) -> u64 {
        self.findings.total()
    }

    /// Walks all tables that hang from the units' registers: what devices can still reach, the regions that
    /// firmware keeps for itself left out, and the message window, which is no memory.
    pub fn audit(&self) -> Audit {
        let mut audit = Audit::excluding(vec![self.map.direct_region.clone(), MESSAGE_WINDOW]);
        for slot in &self.units.slots {
            slot.unit.audit(&mut audit);
        }
        audit
    }

    /// What each function did on the bus.
    pub fn requesters(&self) -> Vec<RequesterReport> {
        let report = |endpoint: &Arc<Endpoint>| RequesterReport {
            name: endpoint.name().to_owned(),
            requester: endpoint.requester().id(),
            counters: endpoint.requester().counters(),
        };
        self.endpoints.iter().map(report).collect()
    }

    /// What the CPU's caches did; `None` where everything snoops, so that nobody could tell that there are any.
    pub fn caches(&self) -> Option<CacheReport> {
        self.caches.as_ref().map(|caches| caches.report())
    }

    /// The disks, in the order they were configured.
    pub fn disks(&self) -> &[Arc<NvmeController>] {
        &self.disks
    }

    /// The virtio devices, in the order they were configured.
    pub fn virtio_devices(&self) -> &[Arc<VirtioDevice>] {
        &self.virtio
    }

    /// The VT-d units, in the order of firmware's table; none in a computer with another IOMMU.
    pub fn vtd_units(&self) -> impl Iterator<Item = &Arc<VtdUnit>> {
        self.units.vtd.iter()
    }

    /// The virtio-iommu, if there is one.
    pub fn virtio_units(&self) -> impl Iterator<Item = &Arc<VirtioUnit>> {
        self.units.virtio.iter()
    }

    /// The AMD-Vi units, in the order of firmware's table.
    pub fn amd_units(&self) -> impl Iterator<Item = &Arc<AmdUnit>> {
        self.units.amd.iter()
    }

    /// The RISC-V IOMMU, of which there is one or none.
    pub fn riscv_units(&self) -> impl Iterator<Item = &Arc<RiscvUnit>> {
        self.units.riscv.iter()
    }

    /// The SMMU, if there is one.
    pub fn smmu_units(&self) -> impl Iterator<Item = &Arc<SmmuUnit>> {
        self.units.smmu.iter()
    }

    /// The transmitter that is no PCI function.
    pub fn fifo(&self) -> &Arc<Fifo> {
        &self.fifo
    }

    /// How the device is doing that firmware left running.
    pub fn heartbeat(&self) -> Pulse {
        self.heartbeat.pulse()
    }
}

impl fmt::Debug for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Machine")
            .field("map", &self.map)
            .finish_non_exhaustive()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.shutdown();
    }
}
