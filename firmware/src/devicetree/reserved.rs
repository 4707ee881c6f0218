//! Reserved memory, and bus addresses that are reserved for some devices.

use alloc::string::String;
use alloc::vec::Vec;

use super::Devicetree;
use super::iommu::Places;
use super::memory::MemoryRange;
use super::node::Node;
use crate::description::{DirectAccess, ReservedKind, ReservedRegion};
use crate::error::{Damage, TableError};

/// Memory that is reserved for some purpose: a child of the node `reserved-memory`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReservedMemory {
    /// Its full name.
    pub path: String,
    /// Where it is; empty if the operating system is to choose, or if only bus addresses are reserved.
    pub ranges: Vec<MemoryRange>,
    /// The CPU must not map it.
    pub no_map: bool,
    /// It may be used for other things while its devices do not need it.
    pub reusable: bool,
    /// Bus addresses that are reserved for some devices (`iommu-addresses`).
    pub bus_ranges: Vec<BusRange>,
    /// Full names of the devices that it is for (`memory-region`).
    pub users: Vec<String>,
}

/// Bus addresses that are reserved for one device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BusRange {
    /// Full name of the device.
    pub device: String,
    /// First bus address.
    pub base: u64,
    /// Last bus address, inclusive.
    pub last: u64,
}

/// Bus addresses that are reserved for the device that is node `device`.
struct Reserved {
    device: usize,
    base: u64,
    last: u64,
}

/// Most entries of `memory-region` and of `iommu-addresses`; each copies a path.
const ENTRIES_MAX: usize = 4096;

impl Devicetree<'_> {
    /// All children of the node `reserved-memory`.
    ///
    /// # Errors
    /// If a node that is read for this is damaged or refers to none.
    pub fn reserved_memory(&self) -> Result<Vec<ReservedMemory>, TableError> {
        let mut users = self.users()?;
        let mut entries = 0;
        let mut all = Vec::new();
        for (number, node) in self.reserved_nodes() {
            let reserved = self.bus_ranges(node, &mut entries)?;
            let from = users.partition_point(|(region, _)| *region < number);
            let to = users.partition_point(|(region, _)| *region <= number);
            all.push(ReservedMemory {
                path: self.path(number),
                ranges: self.places_of(number, node)?,
                no_map: node.property("no-map").is_some(),
                reusable: node.property("reusable").is_some(),
                bus_ranges: reserved
                    .iter()
                    .map(|reserved| BusRange {
                        device: self.path(reserved.device),
                        base: reserved.base,
                        last: reserved.last,
                    })
                    .collect(),
                users: users
                    .drain(from..to)
                    .map(|(_, user)| self.path(user))
                    .collect(),
            });
        }
        Ok(all)
    }

    /// Bus addresses that are reserved for some devices, in common words.
    pub(super) fn reserved_regions(
        &self,
        places: &Places,
    ) -> Result<Vec<ReservedRegion>, TableError> {
        let mut entries = 0;
        let mut regions = Vec::new();
        for (number, node) in self.reserved_nodes() {
            let memory = self.places_of(number, node)?;
            for reserved in self.bus_ranges(node, &mut entries)? {
                let Reserved { device, base, last } = reserved;
                // Memory at equal bus addresses is in use by the device; other addresses are just not free.
                let kind = match memory.contains(&MemoryRange { base, last }) {
                    true => ReservedKind::Direct(DirectAccess::ReadWrite),
                    false => ReservedKind::Unmappable,
                };
                regions.push(ReservedRegion {
                    devices: self.devices(device, places)?,
                    base,
                    last,
                    kind,
                });
            }
        }
        Ok(regions)
    }

    /// The children of the node `reserved-memory` that are in use, in the order of their numbers.
    pub(super) fn reserved_nodes(&self) -> impl Iterator<Item = (usize, &Node<'_>)> {
        self.in_use().filter(|(_, node)| {
            let above = node.parent.and_then(|parent| self.nodes.get(parent));
            above.is_some_and(|above| above.name == "reserved-memory" && above.parent == Some(0))
        })
    }

    fn places_of(&self, number: usize, node: &Node<'_>) -> Result<Vec<MemoryRange>, TableError> {
        match node.property("reg") {
            Some(_) => self.ranges_of(number),
            None => Ok(Vec::new()),
        }
    }

    /// Regions and the nodes that use them, sorted.
    fn users(&self) -> Result<Vec<(usize, usize)>, TableError> {
        let mut users = Vec::new();
        for (number, node) in self.in_use() {
            let Some(regions) = node.property("memory-region") else {
                continue;
            };
            for index in 0..regions.entries(1)?.count() {
                let region = self.referred(&regions, index)?;
                users.push((region, number));
                if users.len() > ENTRIES_MAX {
                    let (stated, most) = (users.len(), ENTRIES_MAX);
                    return Err(node.error(Damage::TooMany { stated, most }));
                }
            }
        }
        users.sort_unstable();
        Ok(users)
    }

    /// What `iommu-addresses` of the node says: a phandle each, and addresses as the device's bus counts them.
    /// `entries` counts those of all nodes.
    fn bus_ranges(
        &self,
        node: &Node<'_>,
        entries: &mut usize,
    ) -> Result<Vec<Reserved>, TableError> {
        let mut ranges = Vec::new();
        let Some(list) = node.property("iommu-addresses") else {
            return Ok(ranges);
        };
        let mut rest = list.value();
        while rest.len() != 0 {
            let at = rest.offset() - list.value().offset();
            let device = self.referred(&list, at / 4)?;
            let bus = self.nodes.get(device).and_then(|device| device.parent);
            let (address, size) = match bus.and_then(|bus| self.nodes.get(bus)) {
                Some(bus) => (bus.address_cells()?, bus.size_cells()?),
                None => (2, 1),
            };
            let numbers = rest.rest(4)?;
            let base = numbers.be_cells(0, address)?;
            let len_at = address as usize * 4;
            let len_bytes = numbers.be_cells(len_at, size)?;
            if len_bytes != 0 {
                let last = numbers.last_of(0, base, len_bytes)?;
                ranges.push(Reserved { device, base, last });
            }
            rest = numbers.rest(len_at + size as usize * 4)?;
            *entries += 1;
            if *entries > ENTRIES_MAX {
                let (stated, most) = (*entries, ENTRIES_MAX);
                return Err(node.error(Damage::TooMany { stated, most }));
            }
        }
        Ok(ranges)
    }
}
