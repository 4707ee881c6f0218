//! Memory that is set aside for the DMA of some devices: children of `reserved-memory` that are compatible with
//! `restricted-dma-pool` or `shared-dma-pool`, and the devices whose `memory-region` names them (the binding
//! `shared-dma-pool`).

use alloc::string::String;
use alloc::vec::Vec;

use super::Devicetree;
use super::iommu::Places;
use super::memory::MemoryRange;
use super::node::Node;
use crate::description::Devices;
use crate::error::{Damage, TableError};

/// Memory that is set aside for the DMA of some devices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceMemory {
    /// Full name of its node.
    pub path: String,
    /// What it is for.
    pub purpose: Purpose,
    /// Where it is.
    pub memory: MemoryRange,
    /// For whom. A PCI host bridge stands for all devices below it that name no memory for the purpose themselves.
    pub users: Vec<Devices>,
}

/// What memory is set aside for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// All the devices' data is copied there (`restricted-dma-pool`): they are to reach no other memory.
    Restricted,
    /// Coherent memory of the devices comes from there (`shared-dma-pool` that is not `reusable`).
    Coherent,
}

/// Most entries of `memory-region` that name such memory.
const ENTRIES_MAX: usize = 4096;

impl Devicetree<'_> {
    /// All memory that is set aside for the DMA of devices that are in use. Each device is named once for each
    /// [`Purpose`]: the first such memory that it names counts.
    ///
    /// # Errors
    /// If a node that is read for this is damaged or refers to none; if such memory has no place
    /// ([`Damage::MissingProperty`]: memory that the operating system is to place is not read here), is not memory of the machine
    /// ([`Damage::NotMemory`]), shares addresses with other reserved memory ([`Damage::MemoryShared`]), or is
    /// restricted and may be used for other things or is not to be mapped ([`Damage::UnfitProperty`]).
    pub fn device_memory(&self) -> Result<Vec<DeviceMemory>, TableError> {
        let mut regions: Vec<(usize, DeviceMemory)> = Vec::new();
        let memory = self.memory()?;
        for (number, node) in self.reserved_nodes() {
            if let Some(purpose) = purpose(node) {
                let region = self.set_aside(number, node, purpose, &memory)?;
                regions.push((number, region));
            }
        }
        // A tree without such memory is not asked for all it reserves.
        if !regions.is_empty() {
            self.check_apart(&regions)?;
            self.name_users(&mut regions)?;
        }
        Ok(regions.into_iter().map(|(_, region)| region).collect())
    }

    fn set_aside(
        &self,
        number: usize,
        node: &Node<'_>,
        purpose: Purpose,
        memory: &[MemoryRange],
    ) -> Result<DeviceMemory, TableError> {
        if purpose == Purpose::Restricted {
            for name in ["reusable", "no-map"] {
                if let Some(property) = node.property(name) {
                    let damage = Damage::UnfitProperty { name };
                    return Err(property.value().error(0, damage));
                }
            }
        }
        let reg = node.required("reg")?;
        // Of several ranges the first is the pool.
        let first = self.ranges_of(number)?.first().copied();
        let range = first.ok_or(node.error(Damage::MissingProperty { name: "reg" }))?;
        let MemoryRange { base, last } = range;
        if !memory
            .iter()
            .any(|ram| ram.base <= base && last <= ram.last)
        {
            return Err(reg.value().error(0, Damage::NotMemory { base, last }));
        }
        Ok(DeviceMemory {
            path: self.path(number),
            purpose,
            memory: range,
            users: Vec::new(),
        })
    }

    /// Nobody else has any of the memory.
    fn check_apart(&self, regions: &[(usize, DeviceMemory)]) -> Result<(), TableError> {
        let mut taken: Vec<(MemoryRange, usize)> = Vec::new();
        for (number, node) in self.reserved_nodes() {
            if node.property("reg").is_some() {
                let ranges = self.ranges_of(number)?;
                taken.extend(ranges.into_iter().map(|range| (range, number)));
            }
        }
        taken.sort_unstable_by_key(|(range, number)| (range.base, *number));
        let is_pool = |number: usize| {
            let found = regions.binary_search_by_key(&number, |(number, _)| *number);
            found.is_ok()
        };
        // The range that ends last of those before, and the one that does of the pools before.
        let mut reaches: [Option<(MemoryRange, usize)>; 2] = [None; 2];
        for (range, number) in taken {
            let [all, pools] = &mut reaches;
            let before = if is_pool(number) { *all } else { *pools };
            if let Some((other, _)) = before.filter(|(other, _)| range.base <= other.last) {
                let damage = Damage::MemoryShared {
                    base: range.base,
                    last: range.last.min(other.last),
                };
                return self
                    .nodes
                    .get(number)
                    .map_or(Ok(()), |node| Err(node.error(damage)));
            }
            let further = |known: &Option<(MemoryRange, usize)>| {
                known.is_none_or(|(known, _)| known.last < range.last)
            };
            if further(all) {
                *all = Some((range, number));
            }
            if is_pool(number) && further(pools) {
                *pools = Some((range, number));
            }
        }
        Ok(())
    }

    fn name_users(&self, regions: &mut [(usize, DeviceMemory)]) -> Result<(), TableError> {
        let places = Places {
            units: Vec::new(),
            segments: self.segments()?,
        };
        let mut entries = 0;
        for (number, node) in self.in_use() {
            let Some(list) = node.property("memory-region") else {
                continue;
            };
            let mut named: Vec<Purpose> = Vec::new();
            for index in 0..list.entries(1)?.count() {
                let to = self.referred(&list, index)?;
                let Ok(found) = regions.binary_search_by_key(&to, |(number, _)| *number) else {
                    continue;
                };
                let Some((_, region)) = regions.get_mut(found) else {
                    continue;
                };
                if named.contains(&region.purpose) {
                    continue;
                }
                entries += 1;
                if entries > ENTRIES_MAX {
                    let (stated, most) = (entries, ENTRIES_MAX);
                    return Err(node.error(Damage::TooMany { stated, most }));
                }
                named.push(region.purpose);
                region.users.push(self.devices(number, &places)?);
            }
        }
        Ok(())
    }
}

/// What a child of `reserved-memory` is set aside for, if for the DMA of devices.
fn purpose(node: &Node<'_>) -> Option<Purpose> {
    if node.is_compatible("restricted-dma-pool") {
        return Some(Purpose::Restricted);
    }
    let is_coherent = node.is_compatible("shared-dma-pool") && node.property("reusable").is_none();
    // What the operating system is to place is for it to set aside.
    (is_coherent && node.property("reg").is_some()).then_some(Purpose::Coherent)
}
