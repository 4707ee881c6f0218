//! The computer as the CPU reaches it: registers, interrupts, cache maintenance.

use std::ops::Range;
use std::sync::Arc;

use board::hardware::{
    CacheOperation, DeviceMemory, Hardware, HostBridgeDescription, InterruptSink, Width, WindowKind,
};
use board::ram::Ram;

use crate::Machine;
use crate::assembly::UnitSlot;
use crate::device::fifo::FIFO_REGISTERS;
use crate::devicetree::Described;
use crate::interrupts::MESSAGE_WINDOW;
use crate::memory_map::{ECAM, WINDOWS};
use crate::pci::Space;
use crate::pci::endpoint::Hit;
use crate::pci::segment::ConfigAddress;

impl Hardware for Machine {
    fn name(&self) -> &str {
        "machine"
    }

    fn ram(&self) -> &Arc<Ram> {
        &self.ram
    }

    fn uncached_ram(&self) -> Option<&Arc<Ram>> {
        self.caches.as_ref().map(|caches| caches.memory())
    }

    fn rsdp(&self) -> Option<u64> {
        Some(self.map.tables.start)
    }

    fn devicetree(&self) -> Option<Vec<u8>> {
        let described = Described {
            iommu: &self.iommu,
            map: &self.map,
            inbound: &self.inbound,
            devices: self.devices,
        };
        described.blob()
    }

    fn host_bridges(&self) -> Vec<HostBridgeDescription> {
        vec![HostBridgeDescription {
            segment: 0,
            first_bus: 0,
            last_bus: 255,
            windows: WINDOWS.to_vec(),
            inbound: self.inbound.clone(),
            snooping: self.devices,
        }]
    }

    fn reserved_ram(&self) -> Vec<Range<u64>> {
        let pools = self.map.pools.iter().map(|pool| pool.memory.clone());
        let firmware = [self.map.direct_region.clone(), self.map.tables.clone()];
        firmware.into_iter().chain(pools).collect()
    }

    fn read(&self, phys: u64, width: Width) -> u64 {
        if ECAM.contains(&phys) {
            self.root.read_config(0, config_address(phys), width)
        } else if let Some((slot, offset)) = self.unit_at(phys) {
            slot.unit.read_register(offset, width)
        } else if FIFO_REGISTERS.contains(&phys) {
            let offset = phys - FIFO_REGISTERS.start;
            self.fifo.read(offset, width.bytes() as usize) & width.ones()
        } else if let Some(Hit {
            endpoint,
            bar,
            offset,
        }) = self.find_bar(phys, width.bytes())
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
        } else if FIFO_REGISTERS.contains(&phys) {
            let bytes = &value.to_le_bytes()[..width.bytes() as usize];
            self.fifo.write(phys - FIFO_REGISTERS.start, bytes);
        } else if let Some(Hit {
            endpoint,
            bar,
            offset,
        }) = self.find_bar(phys, width.bytes())
        {
            endpoint.write(bar, offset, width, value);
        } else {
            log::debug!(
                "nobody takes a write of {} bytes at physical {phys:#x}",
                width.bytes()
            );
        }
    }

    fn device_memory(&self, phys: u64, len_bytes: u64) -> Option<DeviceMemory> {
        let (Space::Memory, bus) = bus_address(phys)? else {
            return None;
        };
        // Whether or not it decodes at the moment: mapping it is a matter of page tables.
        let mut found = self.endpoints.iter();
        let (memory, offset) = found.find_map(|endpoint| endpoint.memory_at(bus, len_bytes))?;
        let memory = Arc::clone(memory);
        Some(DeviceMemory { memory, offset })
    }

    fn message_window(&self) -> Range<u64> {
        MESSAGE_WINDOW
    }

    fn connect_interrupts(&self, sink: Arc<dyn InterruptSink>) {
        self.interrupts.connect(sink);
    }

    fn maintain_cache(&self, operation: CacheOperation, phys: u64, len_bytes: u64) {
        let Some(caches) = &self.caches else {
            return;
        };
        match operation {
            CacheOperation::Clean => caches.clean(phys, len_bytes),
            CacheOperation::Invalidate => caches.invalidate(phys, len_bytes),
        }
    }

    fn frames_freed(&self, phys: u64, len_bytes: u64) {
        for slot in &self.units.slots {
            // The units look first, at tables as they were.
            slot.unit.frames_freed(phys, len_bytes);
        }
        if let Some(caches) = &self.caches {
            caches.frames_freed(phys, len_bytes);
        }
    }

    fn idle(&self) {
        for slot in &self.units.slots {
            slot.unit.idle();
        }
        if let Some(caches) = &self.caches {
            caches.idle();
        }
    }
}

impl Machine {
    fn unit_at(&self, phys: u64) -> Option<(&UnitSlot, u64)> {
        let slot = self
            .units
            .slots
            .iter()
            .find(|slot| slot.registers.contains(&phys))?;
        Some((slot, phys - slot.registers.start))
    }

    /// B → A → BAR.
    fn find_bar(&self, phys: u64, len_bytes: u64) -> Option<Hit> {
        let (space, bus) = bus_address(phys)?;
        self.root.find_bar(space, bus, len_bytes)
    }
}

/// B → A, and in which space.
fn bus_address(phys: u64) -> Option<(Space, u64)> {
    let window = WINDOWS
        .iter()
        .find(|window| phys >= window.phys && phys - window.phys < window.len_bytes)?;
    let space = match window.kind {
        WindowKind::Io => Space::Io,
        WindowKind::Memory | WindowKind::PrefetchableMemory => Space::Memory,
    };
    Some((space, window.bus + (phys - window.phys)))
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
