//! The computer: assembled, reached by the CPU, shut down.

use std::ops::Range;
use std::sync::Arc;

use board::hardware::{
    CacheOperation, Hardware, HostBridgeDescription, InboundDescription, InterruptSink, Width,
    WindowDescription, WindowKind,
};
use board::ram::{Ram, RamError};

use crate::acpi;
use crate::audit::Audit;
use crate::bus::{Bus, DmaCounters};
use crate::cache::MemoryView;
use crate::config::{Greedy, Iommu, MAX_DISKS, MachineConfig};
use crate::device::heartbeat::{Heartbeat, Pulse};
use crate::device::nvme::{NvmeConfig, NvmeConfigError, NvmeController};
use crate::device::passive::Passive;
use crate::findings::{Finding, Findings};
use crate::interrupts::{Interrupts, MESSAGE_WINDOW};
use crate::iommu::vtd::{VtdConfigError, VtdUnit};
use crate::iommu::{Unit, UnitEnvironment};
use crate::memory_map::{
    ECAM, MAX_RAM_BYTES, MIN_RAM_BYTES, MemoryMap, UNIT_BYTES, UNIT_REGISTERS, WINDOWS,
};
use crate::pci::Space;
use crate::pci::endpoint::{Endpoint, Hit};
use crate::pci::segment::{ConfigAddress, Segment};
use crate::temper::{Dice, Temper};
use crate::topology::{self, Models, Wiring};

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
    /// A disk's file cannot be used.
    #[error("disk {index}: {source}")]
    Disk {
        /// Which disk, from 0.
        index: usize,
        /// Why.
        source: NvmeConfigError,
    },
    /// A unit cannot be as its configuration says.
    #[error(transparent)]
    Iommu(#[from] VtdConfigError),
    /// Memory shifted by the offset would not be memory for every device, or an IOMMU is there as well.
    #[error("devices cannot see memory {offset:#x} bytes higher: {reason}")]
    InboundOffset {
        /// The offset.
        offset: u64,
        /// What is in the way.
        reason: &'static str,
    },
}

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
    map: MemoryMap,
    ram: Arc<Ram>,
    inbound: Vec<InboundDescription>,
    interrupts: Arc<Interrupts>,
    units: Vec<UnitSlot>,
    root: Segment,
    endpoints: Vec<Arc<Endpoint>>,
    disks: Vec<Arc<NvmeController>>,
    heartbeat: Arc<Heartbeat>,
    findings: Findings,
}

/// A unit, where its registers are, and what its walks see.
struct UnitSlot {
    registers: u64,
    unit: Arc<VtdUnit>,
    walks: Arc<MemoryView>,
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
    pub fn boot(config: MachineConfig) -> Result<Arc<Self>, MachineError> {
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
        let map = MemoryMap::new(len_bytes);
        let inbound = inbound(&config, &map)?;
        let ram = Ram::new(&map.ram)?;
        let findings = Findings::new();
        let interrupts = Arc::new(Interrupts::new());
        let bus = Bus::new(
            Arc::clone(&ram),
            WINDOWS.to_vec(),
            inbound.clone(),
            Arc::clone(&interrupts),
        );
        let units = units(&config, &ram, &interrupts, &findings)?;

        let mut tables = vec![acpi::mcfg(ECAM.start, 0, 255)];
        if !units.is_empty() {
            tables.push(topology::dmar(&map.direct_region).into_table());
        }
        let image = acpi::image(map.tables.start, &tables);
        ram.write(map.tables.start, &image)
            .map_err(RamError::from)?;

        let disks = disks(config.disks, &findings)?;
        let heartbeat = Arc::new(Heartbeat::new(
            map.direct_region.start + config.inbound_offset,
        ));
        let wiring = Wiring {
            bus: &Arc::new(bus),
            units: &units
                .iter()
                .map(|slot| slot.unit.clone() as Arc<dyn Unit>)
                .collect::<Vec<_>>(),
            findings: &findings,
        };
        let root = wiring.root(Models {
            disks: disks.clone(),
            heartbeat: Arc::clone(&heartbeat),
            greedy: (config.greedy == Greedy::Present).then(Passive::greedy),
        });
        let endpoints = root.endpoints();
        Ok(Arc::new(Self {
            map,
            ram,
            inbound,
            interrupts,
            units,
            root,
            endpoints,
            disks,
            heartbeat,
            findings,
        }))
    }

    /// Stops the devices and the units and joins their threads, and lets go of the kernel's interrupt sink.
    /// Registers still answer. May be called more than once.
    pub fn shutdown(&self) {
        for endpoint in &self.endpoints {
            endpoint.stop();
        }
        for slot in &self.units {
            slot.unit.stop();
        }
        self.interrupts.disconnect();
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
    /// firmware keeps for itself left out.
    pub fn audit(&self) -> Audit {
        let mut audit = Audit::excluding(vec![self.map.direct_region.clone()]);
        for slot in &self.units {
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

    /// The disks, in the order they were configured.
    pub fn disks(&self) -> &[Arc<NvmeController>] {
        &self.disks
    }

    /// The VT-d units, in the order of firmware's table.
    pub fn vtd_units(&self) -> impl Iterator<Item = &Arc<VtdUnit>> {
        self.units.iter().map(|slot| &slot.unit)
    }

    /// How the device is doing that firmware left running.
    pub fn heartbeat(&self) -> Pulse {
        self.heartbeat.pulse()
    }

    fn unit_at(&self, phys: u64) -> Option<(&UnitSlot, u64)> {
        self.units.iter().find_map(|slot| {
            let offset = phys.checked_sub(slot.registers)?;
            (offset < UNIT_BYTES).then_some((slot, offset))
        })
    }

    /// B → A → BAR.
    fn find_bar(&self, phys: u64, width: Width) -> Option<Hit> {
        let window = WINDOWS
            .iter()
            .find(|window| phys >= window.phys && phys - window.phys < window.len_bytes)?;
        let bus = window.bus + (phys - window.phys);
        let space = match window.kind {
            WindowKind::Io => Space::Io,
            WindowKind::Memory | WindowKind::PrefetchableMemory => Space::Memory,
        };
        self.root.find_bar(space, bus, width.bytes())
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.shutdown();
    }
}

impl Hardware for Machine {
    fn name(&self) -> &str {
        "machine"
    }

    fn ram(&self) -> &Arc<Ram> {
        &self.ram
    }

    fn rsdp(&self) -> Option<u64> {
        Some(self.map.tables.start)
    }

    fn host_bridges(&self) -> Vec<HostBridgeDescription> {
        vec![HostBridgeDescription {
            segment: 0,
            first_bus: 0,
            last_bus: 255,
            windows: WINDOWS.to_vec(),
            inbound: self.inbound.clone(),
        }]
    }

    fn reserved_ram(&self) -> Vec<Range<u64>> {
        vec![self.map.direct_region.clone(), self.map.tables.clone()]
    }

    fn read(&self, phys: u64, width: Width) -> u64 {
        if ECAM.contains(&phys) {
            self.root.read_config(0, config_address(phys), width)
        } else if let Some((slot, offset)) = self.unit_at(phys) {
            slot.unit.read_register(offset, width)
        } else if let Some(Hit {
            endpoint,
            bar,
            offset,
        }) = self.find_bar(phys, width)
        {
            endpoint.read(bar, offset, width)
        } else {
            log::debug!(
                "nobody answers a read of {} bytes at physical {phys:#x}",
                width.bytes()
            );
            width.ones()
        }
    }

    fn write(&self, phys: u64, width: Width, value: u64) {
        if ECAM.contains(&phys) {
            self.root
                .write_config(0, config_address(phys), width, value);
        } else if let Some((slot, offset)) = self.unit_at(phys) {
            slot.unit.write_register(offset, width, value);
        } else if let Some(Hit {
            endpoint,
            bar,
            offset,
        }) = self.find_bar(phys, width)
        {
            endpoint.write(bar, offset, width, value);
        } else {
            log::debug!(
                "nobody takes a write of {} bytes at physical {phys:#x}",
                width.bytes()
            );
        }
    }

    fn message_window(&self) -> Range<u64> {
        MESSAGE_WINDOW
    }

    fn connect_interrupts(&self, sink: Arc<dyn InterruptSink>) {
        self.interrupts.connect(sink);
    }

    fn maintain_cache(&self, operation: CacheOperation, phys: u64, len_bytes: u64) {
        match operation {
            CacheOperation::Clean => {
                for slot in &self.units {
                    slot.walks.clean(phys, len_bytes);
                }
            }
            // Devices snoop, so the CPU's lines are never older than memory.
            CacheOperation::Invalidate => {}
        }
    }

    fn frames_freed(&self, phys: u64, len_bytes: u64) {
        for slot in &self.units {
            // The unit looks first, at tables as they were.
            slot.unit.frames_freed(phys, len_bytes);
            slot.walks.frames_freed(phys, len_bytes);
        }
    }
}

/// Function and register behind an address in ECAM (PCI Express base specification, 7.2.2).
fn config_address(phys: u64) -> ConfigAddress {
    let offset = phys - ECAM.start;
    ConfigAddress {
        bus: (offset >> 20) as u8,
        device_function: (offset >> 12) as u8,
        register: (offset & 0xfff) as u16,
    }
}

fn inbound(
    config: &MachineConfig,
    map: &MemoryMap,
) -> Result<Vec<InboundDescription>, MachineError> {
    let offset = config.inbound_offset;
    if offset == 0 {
        return Ok(Vec::new());
    }
    let refused = |reason| Err(MachineError::InboundOffset { offset, reason });
    if matches!(config.iommu, Iommu::Vtd { .. }) {
        return refused("an IOMMU's output is physical");
    }
    let len_bytes = map.ram_end();
    let Some(end) = offset.checked_add(len_bytes) else {
        return refused("it passes the end of the address space");
    };
    let overlaps = |range: Range<u64>| offset < range.end && range.start < end;
    let windows = WINDOWS
        .iter()
        .filter(|window| window.kind != WindowKind::Io);
    if windows.map(bus_range).chain([MESSAGE_WINDOW]).any(overlaps) {
        return refused("a window of the host bridge or the message window is there");
    }
    Ok(vec![InboundDescription {
        bus: offset,
        phys: 0,
        len_bytes,
    }])
}

fn bus_range(window: &WindowDescription) -> Range<u64> {
    window.bus..window.bus + window.len_bytes
}

fn units(
    config: &MachineConfig,
    ram: &Arc<Ram>,
    interrupts: &Arc<Interrupts>,
    findings: &Findings,
) -> Result<Vec<UnitSlot>, MachineError> {
    let Iommu::Vtd {
        unit,
        walks: snooping,
    } = &config.iommu
    else {
        return Ok(Vec::new());
    };
    let dice = Dice::new(match config.temper {
        Temper::Random(seed) => config.seed ^ seed.rotate_left(32),
        Temper::Keep | Temper::Forget => config.seed,
    });
    let slot = |(index, registers): (usize, &u64)| {
        let walks = Arc::new(MemoryView::new(Arc::clone(ram), *snooping, dice.next_u64()));
        let environment = UnitEnvironment {
            name: format!("dmar{index}"),
            walks: Arc::clone(&walks),
            ram: Arc::clone(ram),
            interrupts: Arc::clone(interrupts),
            findings: findings.clone(),
            temper: config.temper,
            seed: dice.next_u64(),
        };
        let mut unit = unit.clone();
        unit.register_base = *registers;
        let unit = VtdUnit::new(unit, environment)?;
        Ok(UnitSlot {
            registers: *registers,
            unit,
            walks,
        })
    };
    UNIT_REGISTERS.iter().enumerate().map(slot).collect()
}

fn disks(
    configs: Vec<NvmeConfig>,
    findings: &Findings,
) -> Result<Vec<Arc<NvmeController>>, MachineError> {
    let disk = |(index, config)| {
        NvmeController::new(config, findings.clone())
            .map(Arc::new)
            .map_err(|source| MachineError::Disk { index, source })
    };
    configs.into_iter().enumerate().map(disk).collect()
}
