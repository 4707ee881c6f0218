//! IOMMUs and who is behind them, in common words.

use alloc::vec::Vec;

use super::Devicetree;
use super::node::Node;
use crate::description::{
    Assignment, Devices, IommuDescription, Stream, UnitDescription, UnitKind, UnitPlace, Walks,
};
use crate::error::{Damage, TableError};

/// How a binding tells where its unit is.
#[derive(Clone, Copy)]
enum Found {
    Registers,
    Function,
}

/// What `compatible` says of units. A virtio-mmio device is one if it has `#iommu-cells`.
const BINDINGS: [(&str, UnitKind, Found); 7] = [
    ("arm,smmu-v3", UnitKind::SmmuV3, Found::Registers),
    ("riscv,iommu", UnitKind::Riscv, Found::Registers),
    ("riscv,pci-iommu", UnitKind::Riscv, Found::Function),
    ("pci1efd,edf1", UnitKind::Riscv, Found::Function),
    ("virtio,pci-iommu", UnitKind::Virtio, Found::Function),
    ("pci1af4,1057", UnitKind::Virtio, Found::Function),
    ("virtio,mmio", UnitKind::Virtio, Found::Registers),
];

/// Most entries of all `iommus` together; each copies a path.
const ENTRIES_MAX: usize = 1 << 14;

/// The tree's units and host bridges, by the numbers of their nodes.
pub(super) struct Places {
    /// In the order of the tree: a unit's place here is its number.
    pub(super) units: Vec<usize>,
    pub(super) segments: Vec<(usize, u16)>,
}

impl Places {
    /// The number of the unit that is node `node`.
    pub(super) fn unit(&self, node: usize) -> Option<usize> {
        self.units.binary_search(&node).ok()
    }

    /// The segment of the host bridge that is node `node`.
    pub(super) fn segment(&self, node: usize) -> Option<u16> {
        self.segments
            .binary_search_by_key(&node, |(number, _)| *number)
            .ok()
            .and_then(|found| self.segments.get(found))
            .map(|(_, segment)| *segment)
    }
}

impl Devicetree<'_> {
    /// The IOMMUs of the machine, the devices behind each, and the addresses reserved for some.
    ///
    /// A PCI host bridge with `iommu-map` has its devices behind units by requester id, one with `iommus` all under the
    /// same number. Other devices are named by their path. IOMMUs of kinds that [`UnitKind`] does not have are left out.
    ///
    /// # Errors
    /// If a node that is read for this is damaged or refers to none.
    pub fn iommus(&self) -> Result<IommuDescription, TableError> {
        let mut places = Places {
            units: Vec::new(),
            segments: self.segments()?,
        };
        let mut described = IommuDescription::default();
        for (number, node) in self.in_use() {
            if let Some((kind, found)) = binding(node) {
                places.units.push(number);
                let unit = self.unit(number, node, kind, found, &places)?;
                described.units.push(unit);
            }
        }
        self.map_segments(&places, &mut described.assignments)?;
        let mut masters = Vec::new();
        for (number, node) in self.in_use() {
            if node.property("iommus").is_some() {
                self.add_masters(number, node, &places, &mut masters)?;
            }
        }
        described.assignments.extend(masters);
        described.name_segments();
        described.reserved = self.reserved_regions(&places)?;
        Ok(described)
    }

    fn unit(
        &self,
        number: usize,
        node: &Node<'_>,
        kind: UnitKind,
        found: Found,
        places: &Places,
    ) -> Result<UnitDescription, TableError> {
        let place = match found {
            Found::Registers => {
                let first = self.first_register(number)?;
                UnitPlace::Registers {
                    phys: first.base,
                    len_bytes: first.len_bytes,
                }
            }
            Found::Function => {
                let (segment, requester) = self.function(number, places)?.ok_or_else(|| {
                    let address = node.cell_or("reg", 0).unwrap_or(0).into();
                    node.error(Damage::NotReachable { address })
                })?;
                UnitPlace::Function { segment, requester }
            }
        };
        let coherent = match kind {
            // Walks of the others are told by their registers, or are the host's.
            UnitKind::SmmuV3 => Some(self.coherence(number).unwrap_or(false)),
            UnitKind::Riscv => self.coherence(number),
            _ => None,
        };
        Ok(UnitDescription {
            kind,
            segment: match place {
                UnitPlace::Registers { .. } => 0,
                UnitPlace::Function { segment, .. } => segment,
            },
            place,
            walks: coherent.map(|coherent| match coherent {
                true => Walks::Snoop,
                false => Walks::DoNotSnoop,
            }),
        })
    }

    /// Segment and requester id of the node, if it is a function below a PCI host bridge.
    fn function(&self, number: usize, places: &Places) -> Result<Option<(u16, u16)>, TableError> {
        let Some(node) = self.nodes.get(number) else {
            return Ok(None);
        };
        let mut above = node.parent;
        while let Some(number) = above {
            if let Some(segment) = places.segment(number) {
                // Bus in bits 23:16, device in 15:11, function in 10:8.
                let requester = node.required("reg")?.cell(0)? >> 8 & 0xffff;
                return Ok(Some((segment, requester as u16)));
            }
            above = self.nodes.get(number).and_then(|node| node.parent);
        }
        Ok(None)
    }

    /// What the node stands for: all of a segment, one PCI function, or a device that is not on PCI.
    pub(super) fn devices(&self, number: usize, places: &Places) -> Result<Devices, TableError> {
        if let Some(segment) = places.segment(number) {
            return Ok(Devices::Segment { segment });
        }
        Ok(match self.function(number, places)? {
            Some((segment, requester)) => Devices::Requesters {
                segment,
                first: requester,
                last: requester,
            },
            None => Devices::Named(self.path(number)),
        })
    }

    /// Adds what `iommus` of the node says: units, and the numbers under which they know the device.
    fn add_masters(
        &self,
        number: usize,
        node: &Node<'_>,
        places: &Places,
        masters: &mut Vec<Assignment>,
    ) -> Result<(), TableError> {
        let list = node.required("iommus")?;
        let mut at = 0;
        while at * 4 < list.value().len() {
            let to = self.referred(&list, at)?;
            let cells = match self.nodes.get(to) {
                Some(unit) => unit.required("#iommu-cells")?.cell(0)?,
                None => 0,
            };
            let id = match cells {
                0 => 0,
                _ => list.cell(at + 1)?,
            };
            if let Some(unit) = places.unit(to) {
                if masters.len() >= ENTRIES_MAX {
                    let (stated, most) = (masters.len() + 1, ENTRIES_MAX);
                    return Err(list.value().error(at * 4, Damage::TooMany { stated, most }));
                }
                masters.push(Assignment {
                    devices: self.devices(number, places)?,
                    unit,
                    stream: Stream::One(id),
                });
            }
            at = at.saturating_add(1).saturating_add(cells as usize);
        }
        Ok(())
    }
}

fn binding(node: &Node<'_>) -> Option<(UnitKind, Found)> {
    BINDINGS
        .iter()
        .find(|(name, ..)| node.is_compatible(name))
        .filter(|(name, ..)| *name != "virtio,mmio" || node.property("#iommu-cells").is_some())
        .map(|(_, kind, found)| (*kind, *found))
}
