//! The parts a computer is put together from, made as its configuration says.

use std::ops::Range;
use std::sync::Arc;

use board::hardware::{InboundDescription, WindowDescription, WindowKind};
use board::ram::Ram;

use crate::cache::MemoryView;
use crate::config::{Iommu, MachineConfig};
use crate::device::nvme::{NvmeConfig, NvmeController};
use crate::error::MachineError;
use crate::findings::Findings;
use crate::interrupts::{Interrupts, MESSAGE_WINDOW};
use crate::iommu::UnitEnvironment;
use crate::iommu::vtd::VtdUnit;
use crate::memory_map::{MemoryMap, UNIT_REGISTERS, WINDOWS};
use crate::temper::{Dice, Temper};

/// A unit, where its registers are, and what its walks see.
pub(crate) struct UnitSlot {
    pub(crate) registers: u64,
    pub(crate) unit: Arc<VtdUnit>,
    pub(crate) walks: Arc<MemoryView>,
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

pub(crate) fn units(
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
