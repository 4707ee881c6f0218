//! The parts a computer is put together from, made as its configuration says.

use std::ops::Range;
use std::sync::Arc;

use board::hardware::{InboundDescription, WindowDescription, WindowKind};
use board::ram::Ram;

use crate::cache::{CpuCaches, MemoryView, Snooping};
use crate::config::{Iommu, MachineConfig};
use crate::device::nvme::{NvmeConfig, NvmeController};
use crate::device::virtio::{VirtioDevice, VirtioDeviceConfig};
use crate::error::MachineError;
use crate::findings::Findings;
use crate::interrupts::{Interrupts, MESSAGE_WINDOW};
use crate::iommu::amd::{AmdConfig, AmdUnit};
use crate::iommu::riscv::{RiscvConfig, RiscvUnit};
use crate::iommu::smmu::{SmmuConfig, SmmuUnit};
use crate::iommu::virtio::{VirtioConfig, VirtioUnit};
use crate::iommu::vtd::{VtdConfig, VtdUnit};
use crate::iommu::{Unit, UnitEnvironment};
use crate::memory_map::{
    AMD_REGISTERS, MemoryMap, RISCV_REGISTERS, SMMU_REGISTERS, VIRTIO_REGISTERS, VTD_REGISTERS,
    WINDOWS,
};
use crate::temper::{Dice, Temper};

/// A unit, and where its registers are.
pub(crate) struct UnitSlot {
    /// Physical addresses.
    pub(crate) registers: Range<u64>,
    pub(crate) unit: Arc<dyn Unit>,
}

/// The units of a computer: each has a slot, and each kind a list of its own for tests.
#[derive(Default)]
pub(crate) struct Units {
    pub(crate) slots: Vec<UnitSlot>,
    pub(crate) vtd: Vec<Arc<VtdUnit>>,
    pub(crate) virtio: Vec<Arc<VirtioUnit>>,
    pub(crate) amd: Vec<Arc<AmdUnit>>,
    pub(crate) riscv: Vec<Arc<RiscvUnit>>,
    pub(crate) smmu: Vec<Arc<SmmuUnit>>,
}

pub(crate) fn inbound(
    config: &MachineConfig,
    map: &MemoryMap,
) -> Result<Vec<InboundDescription>, MachineError> {
    let offset = config.inbound_offset;
    if offset == 0 {
        return Ok(Vec::new());
    }
    let refused = |reason| Err(MachineError::InboundOffset { offset, reason });
    if !matches!(config.iommu, Iommu::None) {
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

/// What units are built from.
struct Parts<'a> {
    ram: &'a Arc<Ram>,
    caches: Option<&'a Arc<CpuCaches>>,
    interrupts: &'a Arc<Interrupts>,
    findings: &'a Findings,
    temper: Temper,
    dice: Dice,
}

impl Parts<'_> {
    /// The surroundings of one unit.
    fn environment(&self, name: String, walks: Snooping) -> UnitEnvironment {
        let seed = self.dice.next_u64();
        let view = match (walks, self.caches) {
            (Snooping::Off, Some(caches)) => MemoryView::beside(Arc::clone(caches)),
            _ => MemoryView::new(Arc::clone(self.ram), walks, seed),
        };
        UnitEnvironment {
            name,
            walks: Arc::new(view),
            ram: Arc::clone(self.ram),
            interrupts: Arc::clone(self.interrupts),
            findings: self.findings.clone(),
            temper: self.temper,
            seed: self.dice.next_u64(),
        }
    }
}

pub(crate) fn units(
    config: &MachineConfig,
    ram: &Arc<Ram>,
    caches: Option<&Arc<CpuCaches>>,
    interrupts: &Arc<Interrupts>,
    findings: &Findings,
) -> Result<Units, MachineError> {
    let parts = Parts {
        ram,
        caches,
        interrupts,
        findings,
        temper: config.temper,
        dice: Dice::new(match config.temper {
            Temper::Random(seed) => config.seed ^ seed.rotate_left(32),
            Temper::Keep | Temper::Forget => config.seed,
        }),
    };
    let mut units = Units::default();
    match &config.iommu {
        Iommu::None => {}
        Iommu::Vtd { unit, walks } => units.add_vtd(&parts, unit, *walks)?,
        Iommu::Virtio { unit } => units.add_virtio(&parts, unit)?,
        Iommu::Amd { unit, walks } => units.add_amd(&parts, unit, *walks)?,
        Iommu::Riscv { unit, walks } => units.add_riscv(&parts, unit, *walks)?,
        Iommu::Smmu { unit, walks } => units.add_smmu(&parts, unit, *walks)?,
    }
    Ok(units)
}

impl Units {
    fn add_vtd(
        &mut self,
        parts: &Parts<'_>,
        config: &VtdConfig,
        walks: Snooping,
    ) -> Result<(), MachineError> {
        for (index, registers) in VTD_REGISTERS.into_iter().enumerate() {
            let environment = parts.environment(format!("dmar{index}"), walks);
            let mut config = config.clone();
            config.register_base = registers.start;
            let unit = VtdUnit::new(config, environment)?;
            self.vtd.push(Arc::clone(&unit));
            self.slots.push(UnitSlot { registers, unit });
        }
        Ok(())
    }

    fn add_virtio(&mut self, parts: &Parts<'_>, config: &VirtioConfig) -> Result<(), MachineError> {
        // It reads its queues only, and these are coherent.
        let environment = parts.environment("viommu".to_owned(), Snooping::On);
        let mut config = config.clone();
        config.register_base = VIRTIO_REGISTERS.start;
        let unit = VirtioUnit::new(config, environment)?;
        self.virtio.push(Arc::clone(&unit));
        self.slots.push(UnitSlot {
            registers: VIRTIO_REGISTERS,
            unit,
        });
        Ok(())
    }

    fn add_amd(
        &mut self,
        parts: &Parts<'_>,
        config: &AmdConfig,
        walks: Snooping,
    ) -> Result<(), MachineError> {
        let environment = parts.environment("ivhd0".to_owned(), walks);
        let mut config = config.clone();
        config.register_base = AMD_REGISTERS.start;
        let unit = AmdUnit::new(config, environment)?;
        self.amd.push(Arc::clone(&unit));
        self.slots.push(UnitSlot {
            registers: AMD_REGISTERS,
            unit,
        });
        Ok(())
    }

    fn add_riscv(
        &mut self,
        parts: &Parts<'_>,
        config: &RiscvConfig,
        walks: Snooping,
    ) -> Result<(), MachineError> {
        let environment = parts.environment("iommu0".to_owned(), walks);
        let mut config = config.clone();
        config.register_base = RISCV_REGISTERS.start;
        let unit = RiscvUnit::new(config, environment)?;
        self.riscv.push(Arc::clone(&unit));
        self.slots.push(UnitSlot {
            registers: RISCV_REGISTERS,
            unit,
        });
        Ok(())
    }

    fn add_smmu(
        &mut self,
        parts: &Parts<'_>,
        config: &SmmuConfig,
        walks: Snooping,
    ) -> Result<(), MachineError> {
        let environment = parts.environment("smmu0".to_owned(), walks);
        let mut config = config.clone();
        config.register_base = SMMU_REGISTERS.start;
        let unit = SmmuUnit::new(config, environment)?;
        self.smmu.push(Arc::clone(&unit));
        self.slots.push(UnitSlot {
            registers: SMMU_REGISTERS,
            unit,
        });
        Ok(())
    }
}

pub(crate) fn virtio_devices(
    configs: Vec<VirtioDeviceConfig>,
    ram: &Ram,
    findings: &Findings,
) -> Result<Vec<Arc<VirtioDevice>>, MachineError> {
    if configs.is_empty() {
        return Ok(Vec::new());
    }
    let memory = crate::iommu::virtio::memory::map(ram)?;
    let device = |(index, config)| {
        VirtioDevice::new(config, Arc::clone(&memory), findings.clone())
            .map(Arc::new)
            .map_err(|source| MachineError::VirtioDevice { index, source })
    };
    configs.into_iter().enumerate().map(device).collect()
}

/// The CPU's caches, where some hardware does not snoop.
pub(crate) fn caches(
    config: &MachineConfig,
    ram: &Arc<Ram>,
) -> Result<Option<Arc<CpuCaches>>, MachineError> {
    let walks = match &config.iommu {
        Iommu::None | Iommu::Virtio { .. } => Snooping::On,
        Iommu::Vtd { walks, .. }
        | Iommu::Amd { walks, .. }
        | Iommu::Smmu { walks, .. }
        | Iommu::Riscv { walks, .. } => *walks,
    };
    if config.devices == Snooping::On && walks == Snooping::On {
        return Ok(None);
    }
    let caches = CpuCaches::new(Arc::clone(ram), config.temper, !config.seed)?;
    Ok(Some(caches))
}

pub(crate) fn disks(
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
