//! What the table says in the words all tables share.

use alloc::format;

use super::{PciRange, Place, Viot};
use crate::description::{
    Assignment, Devices, IommuDescription, Stream, UnitDescription, UnitKind, UnitPlace,
};

impl Viot {
    /// The units and endpoints of this table.
    ///
    /// A unit that is a PCI function is left out of the ranges around it: it does not translate for itself. An
    /// endpoint that is not on PCI is named by the physical address of its registers, as `0x` and hexadecimal digits.
    pub fn description(&self) -> IommuDescription {
        let ranges = self
            .pci_ranges
            .iter()
            .flat_map(|range| self.assignments(range));
        let endpoints = self.mmio_endpoints.iter().map(|endpoint| Assignment {
            devices: Devices::Named(format!("{:#x}", endpoint.base)),
            unit: endpoint.iommu,
            stream: Stream::One(endpoint.endpoint),
        });
        let mut described = IommuDescription {
            units: self.iommus.iter().map(unit).collect(),
            assignments: ranges.chain(endpoints).collect(),
            ..IommuDescription::default()
        };
        described.name_segments();
        described
    }

    /// One or two assignments for each segment of `range`.
    fn assignments(&self, range: &PciRange) -> impl Iterator<Item = Assignment> {
        let range = *range;
        let itself = match self.iommus.get(range.iommu) {
            Some(Place::Function { segment, requester }) => Some((*segment, *requester)),
            _ => None,
        };
        (range.first_segment..=range.last_segment).flat_map(move |segment| {
            let hole = itself
                .filter(|(own, requester)| {
                    *own == segment && (range.first..=range.last).contains(requester)
                })
                .map(|(_, requester)| requester);
            let below = hole.map_or(Some(range.last), |hole| hole.checked_sub(1));
            let above = hole.and_then(|hole| hole.checked_add(1));
            [
                Some(range.first).zip(below),
                above.map(|above| (above, range.last)),
            ]
            .into_iter()
            .flatten()
            .filter(|(first, last)| first <= last)
            .map(move |(first, last)| piece(&range, segment, first, last))
        })
    }
}

fn unit(place: &Place) -> UnitDescription {
    let (place, segment) = match *place {
        Place::Registers(phys) => {
            let len_bytes = Viot::REGISTERS;
            (UnitPlace::Registers { phys, len_bytes }, 0)
        }
        Place::Function { segment, requester } => {
            (UnitPlace::Function { segment, requester }, segment)
        }
    };
    UnitDescription {
        kind: UnitKind::Virtio,
        place,
        segment,
        walks: None,
    }
}

/// Requester ids `first` to `last` of one segment of `range`.
fn piece(range: &PciRange, segment: u16, first: u16, last: u16) -> Assignment {
    let segments = u32::from(segment - range.first_segment) << 16;
    Assignment {
        devices: Devices::Requesters {
            segment,
            first,
            last,
        },
        unit: range.iommu,
        // It cannot overflow: the whole range was checked.
        stream: Stream::From(range.endpoint + segments + u32::from(first - range.first)),
    }
}
