//! Boot where firmware speaks devicetree.

use alloc::vec::Vec;

use dmamap::addr::{AddrError, BusAddr, BusRange, PhysAddr, PhysRange};
use dmamap::bridge::{HostBridge, Inbound, Window, WindowKind};
use dmamap::device::Coherence;
use dmamap::platform::Platform;
use firmware::devicetree::{self, DmaRange, Space};
use firmware::{Devicetree, IommuDescription};

use super::{BootError, BootOptions, IommuUse, bring_up};
use crate::computer::Computer;

/// As [`boot`](super::boot), on a machine that a devicetree describes: the first PCI host bridge in it is used.
///
/// # Errors
/// [`BootError`].
///
/// # Safety
/// - `blob` is the devicetree of this machine: the host bridge, configuration space and IOMMU registers are where it
///   says, and not memory, and devices meet the CPU's caches as it says.
/// - Where it does not say, they do as `options` says.
/// - What it sets aside for devices is RAM that `platform` lends to nobody, and none of it is in a cache of the CPU's.
/// - Nobody else drives this machine's devices or IOMMU units, now or later.
pub unsafe fn boot_from_devicetree<P: Platform>(
    platform: P,
    blob: &[u8],
    options: BootOptions,
) -> Result<Computer<P>, BootError> {
    let tree = Devicetree::parse(blob)?;
    let described = tree.host_bridges()?.into_iter().next();
    let described = described.ok_or(BootError::NoHostBridge)?;
    let coherence = match described.dma_coherent {
        Some(true) => Coherence::Snooped,
        Some(false) => Coherence::NotSnooped,
        None => options.coherence_if_unsaid,
    };
    let bridge = host_bridge(&described)?.with_coherence(coherence);
    let ecam = PhysRange::new(PhysAddr::new(described.ecam_phys), described.ecam_len)?;
    let iommus = match options.iommu {
        IommuUse::AsFirmwareSays => tree.iommus()?,
        IommuUse::Ignored => IommuDescription::default(),
    };
    let set_aside = tree.device_memory()?;
    // SAFETY: the caller's promise.
    let computer = unsafe { bring_up(platform, &bridge, ecam, &iommus, options)? };
    // SAFETY: the caller's promise.
    unsafe { computer.system().adopt_device_memory(&set_aside)? };
    Ok(computer)
}

fn host_bridge(described: &devicetree::HostBridge) -> Result<HostBridge, BootError> {
    let windows: Result<Vec<_>, _> = described.windows.iter().map(window).collect();
    let inbound: Result<Vec<_>, _> = described.dma_ranges.iter().map(inbound).collect();
    Ok(HostBridge::new(
        described.segment,
        described.first_bus,
        described.last_bus,
        windows?,
        inbound?,
    )?)
}

fn window(window: &devicetree::Window) -> Result<Window, AddrError> {
    let kind = match window.space {
        Space::Io => WindowKind::Io,
        // Bridges forward to 64-bit addresses only what may be prefetched (PCI-to-PCI bridge specification 3.2.5),
        // so a window up there is used as such, whatever the tree says.
        Space::Memory64 => WindowKind::PrefetchableMemory,
        Space::Memory32 if window.prefetchable => WindowKind::PrefetchableMemory,
        Space::Memory32 => WindowKind::Memory,
    };
    Ok(Window {
        kind,
        bus: BusRange::new(BusAddr::new(window.bus_base), window.len_bytes)?,
        phys: PhysRange::new(PhysAddr::new(window.phys), window.len_bytes)?,
    })
}

fn inbound(range: &DmaRange) -> Result<Inbound, AddrError> {
    Ok(Inbound {
        bus: BusRange::new(BusAddr::new(range.bus_base), range.len_bytes)?,
        phys: PhysRange::new(PhysAddr::new(range.phys), range.len_bytes)?,
    })
}
