//! What the table says in the words all tables share.

use alloc::vec::Vec;

use super::{IdMapping, Iort, Node, NodeKind, SmmuV3};
use crate::description::{
    Assignment, Devices, DirectAccess, IommuDescription, ReservedKind, ReservedRegion, Stream,
    UnitDescription, UnitKind, UnitPlace, Walks,
};

impl Iort {
    /// The SMMUv3s, devices and reserved memory of this table.
    ///
    /// SMMUs of version 1 and 2 are left out, and with them what is behind them. Of the ids of a root complex only
    /// requester ids count, those below 65536. Reserved memory is given for the devices whose streams it names.
    pub fn description(&self) -> IommuDescription {
        let mut described = IommuDescription::default();
        let mut unit_of = Vec::new();
        for node in &self.nodes {
            unit_of.push(match &node.kind {
                NodeKind::SmmuV3(smmu) => {
                    described.units.push(unit(smmu));
                    Some(described.units.len() - 1)
                }
                _ => None,
            });
        }
        let unit_of = |mapping: &IdMapping| unit_of.get(mapping.to).copied().flatten();
        for node in &self.nodes {
            for mapping in &node.mappings {
                let Some(unit) = unit_of(mapping) else {
                    continue;
                };
                described
                    .assignments
                    .extend(assignment(node, mapping, unit));
            }
        }
        described.name_segments();
        for node in &self.nodes {
            let NodeKind::Rmr(rmr) = &node.kind else {
                continue;
            };
            for mapping in &node.mappings {
                let Some(unit) = unit_of(mapping) else {
                    continue;
                };
                let behind = described.assignments.iter().filter(|one| one.unit == unit);
                for devices in behind.filter_map(|one| one.devices_of_streams(mapping)) {
                    described
                        .reserved
                        .extend(rmr.ranges.iter().map(|range| ReservedRegion {
                            devices: devices.clone(),
                            base: range.base,
                            last: range.last,
                            kind: ReservedKind::Direct(DirectAccess::ReadWrite),
                        }));
                }
            }
        }
        described
    }
}

fn unit(smmu: &SmmuV3) -> UnitDescription {
    UnitDescription {
        kind: UnitKind::SmmuV3,
        place: UnitPlace::Registers {
            phys: smmu.register_base,
            len_bytes: SmmuV3::REGISTERS,
        },
        segment: 0,
        // Without the override the unit's own register counts.
        walks: smmu.coherent_override.then_some(Walks::Snoop),
    }
}

fn assignment(node: &Node, mapping: &IdMapping, unit: usize) -> Option<Assignment> {
    let stream = match mapping.count {
        1 => Stream::One(mapping.to_first),
        _ => Stream::From(mapping.to_first),
    };
    let devices = match &node.kind {
        NodeKind::RootComplex(root) if mapping.single => Devices::Segment {
            segment: root.segment,
        },
        NodeKind::RootComplex(root) => {
            Devices::requesters(root.segment, mapping.first, mapping.count)?
        }
        NodeKind::NamedComponent(component) => Devices::Named(component.name.clone()),
        _ => return None,
    };
    Some(Assignment {
        devices,
        unit,
        stream,
    })
}

impl Assignment {
    /// Those of the devices whose streams `mapping`, of the same unit, names.
    fn devices_of_streams(&self, mapping: &IdMapping) -> Option<Devices> {
        let (first, end) = (
            u64::from(mapping.to_first),
            u64::from(mapping.to_first) + mapping.count,
        );
        match (&self.devices, self.stream) {
            (
                Devices::Requesters {
                    segment,
                    first: requester,
                    last,
                },
                Stream::From(stream),
            ) => {
                let stream = u64::from(stream);
                let (requester, last) = (u64::from(*requester), u64::from(*last));
                let from = first.max(stream);
                let to = end.min(stream + (last - requester) + 1);
                let requesters = requester + from.checked_sub(stream)?;
                let count = to.checked_sub(from).filter(|count| *count != 0)?;
                Devices::requesters(*segment, requesters.try_into().ok()?, count)
            }
            // The device has all streams from that one on; which are its last is not known.
            (Devices::Named(_), Stream::From(stream)) => {
                (u64::from(stream) < end).then(|| self.devices.clone())
            }
            (devices, Stream::One(stream)) => (first..end)
                .contains(&stream.into())
                .then(|| devices.clone()),
            _ => None,
        }
    }
}
