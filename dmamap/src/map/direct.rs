//! The direct route: Z is Y, or Y at the offset at which the bus sees memory.
//!
//! Nothing in hardware stands between the device and memory, so taking a mapping back changes nothing: that
//! the device has finished is the promise of whoever attached it.

use crate::addr::{BusAddr, BusRange, DmaMask, PhysAddr, PhysRange};
use crate::bridge::{HostBridge, Inbound};
use crate::map::MapFailure;
use crate::pagetable::PhysList;
use crate::platform::Platform;

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

    /// As [`reach`](Self::reach) for the first piece, if all pieces are within reach.
    pub(crate) fn reach_all(
        &self,
        first: PhysRange,
        pieces: &mut dyn PhysList,
        mask: DmaMask,
    ) -> Result<BusRange, MapFailure> {
        let reached = self.reach(first, mask)?;
        pieces.restart();
        while let Some(piece) = pieces.next_range() {
            self.reach(piece, mask)?;
        }
        Ok(reached)
    }

    /// The least memory that the device reaches with `mask`: a byte and the bus address it has, of the memory whose bus
    /// addresses are lowest.
    pub(crate) fn lowest<P: Platform>(&self, platform: P) -> Option<(PhysAddr, BusAddr)> {
        let mut lowest: Option<(BusAddr, PhysAddr)> = None;
        let mut consider = |memory: PhysRange| {
            if let Some(bus) = self.bus_range(memory) {
                let found = (bus.start(), memory.start());
                lowest = Some(lowest.map_or(found, |known| known.min(found)));
            }
        };
        platform.memory_map(&mut |ram| match self.inbound() {
            [] => consider(ram),
            // Where the bus shows parts of memory, those.
            views => {
                for view in views {
                    let start = ram.start().max(view.phys.start());
                    let last = ram.last().min(view.phys.last());
                    if let Some(more) = last.as_u64().checked_sub(start.as_u64())
                        && let Ok(seen) = PhysRange::new(start, more + 1)
                    {
                        consider(seen);
                    }
                }
            }
        });
        lowest.map(|(bus, memory)| (memory, bus))
    }

    fn inbound(&self) -> &[Inbound] {
        self.bridge.as_ref().map_or(&[], HostBridge::inbound)
    }

    /// The highest physical address whose bus address is within `mask`, for allocations that must be.
    pub(crate) fn last_within(&self, mask: DmaMask) -> PhysAddr {
        let inbound = self.inbound();
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
