//! PCI host bridges: configuration space, windows, and what their bus sees of memory.

use alloc::string::String;
use alloc::vec::Vec;

use super::Devicetree;
use super::address::{Entry, Span};
use super::node::Node;
use crate::error::{Damage, TableError};

/// A host bridge with memory-mapped configuration space, `pci-host-ecam-generic`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostBridge {
    /// Its full name.
    pub path: String,
    /// PCI segment: what `linux,pci-domain` says, else the lowest that no host bridge before it has.
    pub segment: u16,
    /// First bus.
    pub first_bus: u8,
    /// Last bus, inclusive.
    pub last_bus: u8,
    /// Physical address of the first bus's configuration space.
    pub ecam_phys: u64,
    /// Bytes of configuration space.
    pub ecam_len: u64,
    /// Addresses that it passes down.
    pub windows: Vec<Window>,
    /// Memory that devices reach, where bus addresses are not physical ones; empty if they are.
    pub dma_ranges: Vec<DmaRange>,
    /// Requests of its devices see the CPU's caches: what `dma-coherent` or `dma-noncoherent` of the node, or of the next
    /// one above it that has either, says. `None` where none does: then it is as always on machines of that architecture.
    pub dma_coherent: Option<bool>,
}

/// Addresses that a host bridge passes from the CPU to its bus.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// The kind of accesses that come out.
    pub space: Space,
    /// Devices may be read ahead.
    pub prefetchable: bool,
    /// First address on the bus.
    pub bus_base: u64,
    /// First physical address.
    pub phys: u64,
    /// Bytes.
    pub len_bytes: u64,
}

/// The address spaces of a PCI bus.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Space {
    /// IO ports.
    Io,
    /// Memory below 4 GiB.
    Memory32,
    /// Memory anywhere.
    Memory64,
}

/// Memory that a bus sees at other addresses than the CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DmaRange {
    /// First address on the bus.
    pub bus_base: u64,
    /// First physical address.
    pub phys: u64,
    /// Bytes.
    pub len_bytes: u64,
}

/// Cells of an address on PCI: one of flags, two of address.
const PCI_ADDRESS_CELLS: u32 = 3;
const PCI_SIZE_CELLS: u32 = 2;

impl Devicetree<'_> {
    /// All host bridges with memory-mapped configuration space that are in use.
    ///
    /// # Errors
    /// If one of them is damaged.
    pub fn host_bridges(&self) -> Result<Vec<HostBridge>, TableError> {
        let mut bridges = Vec::new();
        for (number, segment) in self.segments()? {
            let Some(node) = self.nodes.get(number) else {
                continue;
            };
            if node.is_compatible("pci-host-ecam-generic") {
                bridges.push(self.host_bridge(number, segment, node)?);
            }
        }
        Ok(bridges)
    }

    fn host_bridge(
        &self,
        number: usize,
        segment: u16,
        node: &Node<'_>,
    ) -> Result<HostBridge, TableError> {
        let (first_bus, last_bus) = buses(node)?;
        let ecam = self.first_register(number)?;
        Ok(HostBridge {
            path: self.path(number),
            segment,
            first_bus,
            last_bus,
            ecam_phys: ecam.base,
            ecam_len: ecam.len_bytes,
            windows: self.windows(node)?,
            dma_ranges: self.dma_ranges(node)?,
            dma_coherent: self.coherence(number),
        })
    }

    /// The numbers of all nodes that are PCI host bridges, whatever their registers, and their segments.
    pub(super) fn segments(&self) -> Result<Vec<(usize, u16)>, TableError> {
        let mut bridges: Vec<(usize, Option<u16>)> = Vec::new();
        // Below a host bridge there are only other bridges.
        let mut on_pci: Vec<bool> = Vec::with_capacity(self.nodes.len());
        for node in &self.nodes {
            let below = node.parent.and_then(|parent| on_pci.get(parent).copied());
            let is_pci = node.is_of_type("pci") || node.is_compatible("pci-host-ecam-generic");
            on_pci.push(is_pci || below.unwrap_or(false));
        }
        let on_pci = |number: usize| on_pci.get(number).copied().unwrap_or(false);
        for (number, node) in self.in_use() {
            if !on_pci(number) || node.parent.is_some_and(on_pci) {
                continue;
            }
            if bridges.len() > u16::MAX.into() {
                let (stated, most) = (bridges.len() + 1, 1 << 16);
                return Err(node.error(Damage::TooMany { stated, most }));
            }
            let stated = match node.property("linux,pci-domain") {
                None => None,
                Some(domain) => {
                    let segment = domain.cell(0)?;
                    let wrong = domain.value().error(0, Damage::BadSegment { segment });
                    Some(u16::try_from(segment).map_err(|_| wrong)?)
                }
            };
            bridges.push((number, stated));
        }
        let mut taken: Vec<u16> = bridges.iter().filter_map(|(_, segment)| *segment).collect();
        taken.sort_unstable();
        let mut free = (0..=u16::MAX).filter(|segment| taken.binary_search(segment).is_err());
        Ok(bridges
            .iter()
            .filter_map(|(number, stated)| Some((*number, stated.or_else(|| free.next())?)))
            .collect())
    }

    fn windows(&self, node: &Node<'_>) -> Result<Vec<Window>, TableError> {
        let mut windows = Vec::new();
        for range in self.pci_ranges(node, "ranges")? {
            let space = match range.flags >> 24 & 3 {
                1 => Space::Io,
                2 => Space::Memory32,
                3 => Space::Memory64,
                // Configuration space; `reg` has it.
                _ => continue,
            };
            windows.push(Window {
                space,
                prefetchable: range.flags & 1 << 30 != 0,
                bus_base: range.bus_base,
                phys: range.phys,
                len_bytes: range.len_bytes,
            });
        }
        Ok(windows)
    }

    fn dma_ranges(&self, node: &Node<'_>) -> Result<Vec<DmaRange>, TableError> {
        let ranges = self.pci_ranges(node, "dma-ranges")?;
        Ok(ranges
            .iter()
            .map(|range| DmaRange {
                bus_base: range.bus_base,
                phys: range.phys,
                len_bytes: range.len_bytes,
            })
            .collect())
    }

    /// The entries of `ranges` or `dma-ranges` of a host bridge, seen by the CPU.
    fn pci_ranges(&self, node: &Node<'_>, name: &str) -> Result<Vec<PciRange>, TableError> {
        let (Some(property), Some(bus)) = (node.property(name), node.parent) else {
            return Ok(Vec::new());
        };
        for (name, expected) in [
            ("#address-cells", PCI_ADDRESS_CELLS),
            ("#size-cells", PCI_SIZE_CELLS),
        ] {
            let cells = node.cell_or(name, expected)?;
            if cells != expected {
                return Err(node.error(Damage::BadCells { cells }));
            }
        }
        let above = match self.nodes.get(bus) {
            Some(above) => above.address_cells()?,
            None => 2,
        };
        let cells = PCI_ADDRESS_CELLS
            .saturating_add(above)
            .saturating_add(PCI_SIZE_CELLS);
        let mut ranges = Vec::new();
        if property.value().len() != 0 {
            for entry in property.entries(cells)? {
                ranges.extend(self.pci_range(&entry, bus, above)?);
            }
        }
        Ok(ranges)
    }

    fn pci_range(
        &self,
        entry: &Entry<'_>,
        bus: usize,
        above: u32,
    ) -> Result<Option<PciRange>, TableError> {
        let bus_base = entry.number(1, 2)?;
        let base = entry.number(PCI_ADDRESS_CELLS, above)?;
        let len_bytes = entry.number(PCI_ADDRESS_CELLS + above, PCI_SIZE_CELLS)?;
        if len_bytes == 0 {
            return Ok(None);
        }
        entry.last_of(1, bus_base, len_bytes)?;
        entry.last_of(PCI_ADDRESS_CELLS, base, len_bytes)?;
        let phys = self.seen_by_cpu(Some(bus), Span { base, len_bytes })?;
        entry.last_of(PCI_ADDRESS_CELLS, phys, len_bytes)?;
        Ok(Some(PciRange {
            flags: entry.cell(0)?,
            bus_base,
            phys,
            len_bytes,
        }))
    }
}

/// Some addresses of a PCI bus, with the flags that say of which space.
struct PciRange {
    flags: u32,
    bus_base: u64,
    phys: u64,
    len_bytes: u64,
}

/// First and last bus of a host bridge: all, unless it says otherwise.
fn buses(node: &Node<'_>) -> Result<(u8, u8), TableError> {
    let Some(range) = node.property("bus-range") else {
        return Ok((0, u8::MAX));
    };
    let cells = (range.cell(0)?, range.cell(1)?);
    let bus = |cell: u32| u8::try_from(cell).unwrap_or(u8::MAX);
    let (first, last) = (bus(cells.0), bus(cells.1));
    if last < first || u32::from(first) != cells.0 {
        return Err(range.value().error(0, Damage::BadBuses { first, last }));
    }
    Ok((first, last))
}
