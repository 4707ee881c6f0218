//! The direct route: Z is Y, or Y at the offset at which the bus sees memory.
//!
//! Nothing in hardware stands between the device and memory, so taking a mapping back changes nothing: that
//! the device has finished is the promise of whoever attached it.

use alloc::vec::Vec;

use crate::addr::{BusAddr, BusRange, DmaMask, PhysAddr, PhysRange};
use crate::bridge::{HostBridge, Inbound};
use crate::map::MapFailure;

/// How a device without translation sees memory.
pub(crate) struct Direct {
    /// The host bridge's view (`dma-ranges`); `None` behind an IOMMU, whose output is a physical
    /// address.
    bridge: Option<HostBridge>,
}

impl Direct {
    /// Behind `bridge`, no IOMMU on the way.
    pub(crate) fn behind(bridge: &HostBridge) -> Self {
        Self {
            bridge: Some(bridge.clone()),
        }
    }

    /// Behind an IOMMU that lets the device through, by itself or by tables in which Z equals Y.
    pub(crate) const fn passed_through() -> Self {
        Self { bridge: None }
    }

    /// Whether what the device asks is a bus address, and not a physical one.
    pub(crate) const fn is_on_bus(&self) -> bool {
        self.bridge.is_some()
    }

    /// Y → Z, or `None` where the bus does not see all of this memory.
    pub(crate) fn bus_range(&self, memory: PhysRange) -> Option<BusRange> {
        match &self.bridge {
            Some(bridge) => bridge.memory_to_bus(memory),
            None => BusRange::new(BusAddr::new(memory.start().as_u64()), memory.len_bytes()).ok(),
        }
    }

    /// Z → Y.
    pub(crate) fn phys(&self, bus: BusAddr) -> Option<PhysAddr> {
        match &self.bridge {
            Some(bridge) => bridge
                .bus_to_memory(BusRange::new(bus, 1).ok()?)
                .map(PhysRange::start),
            None => Some(PhysAddr::new(bus.as_u64())),
        }
    }

    /// Y → Z within the device's mask.
    pub(crate) fn reach(&self, memory: PhysRange, mask: DmaMask) -> Result<BusRange, MapFailure> {
        let range = self
            .bus_range(memory)
            .ok_or(MapFailure::NotOnBus { memory })?;
        if mask.covers(range) {
            Ok(range)
        } else {
            Err(MapFailure::BeyondMask { range, mask })
        }
    }

    /// The highest physical address whose bus address is within `mask`, for allocations that must be.
    pub(crate) fn last_within(&self, mask: DmaMask) -> PhysAddr {
        let Some(bridge) = &self.bridge else {
            return PhysAddr::new(mask.last().as_u64());
        };
        let inbound: Vec<Inbound> = bridge.inbound().to_vec();
        if inbound.is_empty() {
            return PhysAddr::new(mask.last().as_u64());
        }
        inbound
            .iter()
            .filter(|view| view.bus.start() <= mask.last())
            .map(|view| {
                let reached = mask.last().as_u64().min(view.bus.last().as_u64());
                let offset = reached - view.bus.start().as_u64();
                PhysAddr::new(view.phys.start().as_u64() + offset)
            })
            .max()
            .unwrap_or(PhysAddr::new(0))
    }
}
