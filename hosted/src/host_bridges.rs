//! What the board says of its host bridges, as `dmamap` checks it.

use board::hardware::{self, HostBridgeDescription, InboundDescription, WindowDescription};
use dmamap::addr::{AddrError, BusAddr, BusRange, PhysAddr, PhysRange};
use dmamap::bridge::{BridgeError, HostBridge, Inbound, Window, WindowKind};
use dmamap::device::Coherence;

/// The board describes a host bridge that cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HostBridgeError {
    /// A range passes the end of the address space.
    #[error(transparent)]
    Address(#[from] AddrError),
    /// The ranges contradict each other.
    #[error(transparent)]
    Bridge(#[from] BridgeError),
}

pub(crate) fn checked(description: &HostBridgeDescription) -> Result<HostBridge, HostBridgeError> {
    let windows: Result<_, _> = description.windows.iter().map(window).collect();
    let inbound: Result<_, _> = description.inbound.iter().map(inbound).collect();
    let HostBridgeDescription {
        segment,
        first_bus,
        last_bus,
        ..
    } = *description;
    let bridge = HostBridge::new(segment, first_bus, last_bus, windows?, inbound?)?;
    Ok(bridge.with_coherence(match description.snooping {
        hardware::Snooping::On => Coherence::Snooped,
        hardware::Snooping::Off => Coherence::NotSnooped,
    }))
}

fn window(description: &WindowDescription) -> Result<Window, AddrError> {
    let kind = match description.kind {
        hardware::WindowKind::Memory => WindowKind::Memory,
        hardware::WindowKind::PrefetchableMemory => WindowKind::PrefetchableMemory,
        hardware::WindowKind::Io => WindowKind::Io,
    };
    let (bus, phys) = sides(description.bus, description.phys, description.len_bytes)?;
    Ok(Window { kind, bus, phys })
}

fn inbound(description: &InboundDescription) -> Result<Inbound, AddrError> {
    let (bus, phys) = sides(description.bus, description.phys, description.len_bytes)?;
    Ok(Inbound { bus, phys })
}

fn sides(bus: u64, phys: u64, len_bytes: u64) -> Result<(BusRange, PhysRange), AddrError> {
    let bus = BusRange::new(BusAddr::new(bus), len_bytes)?;
    Ok((bus, PhysRange::new(PhysAddr::new(phys), len_bytes)?))
}
