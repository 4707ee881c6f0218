//! What the table says in the words all tables share.

use super::{IdMapping, Iommu, Place, Rimt};
use crate::description::{
    Assignment, Devices, IommuDescription, Stream, UnitDescription, UnitKind, UnitPlace,
};

impl Rimt {
    /// The units and devices of this table. Of the ids of a root complex only requester ids count, those below
    /// 65536.
    pub fn description(&self) -> IommuDescription {
        let mut described = IommuDescription {
            units: self.iommus.iter().map(unit).collect(),
            ..IommuDescription::default()
        };
        for root in &self.root_complexes {
            for mapping in &root.mappings {
                let devices =
                    Devices::requesters(root.segment, mapping.first, mapping.count.into());
                described
                    .assignments
                    .extend(devices.map(|devices| assignment(devices, mapping)));
            }
        }
        for platform in &self.platforms {
            described.assignments.extend(
                platform
                    .mappings
                    .iter()
                    .map(|mapping| assignment(Devices::Named(platform.name.clone()), mapping)),
            );
        }
        described.name_segments();
        described
    }
}

fn unit(iommu: &Iommu) -> UnitDescription {
    let (place, segment) = match iommu.place {
        Place::Registers(phys) => (
            UnitPlace::Registers {
                phys,
                len_bytes: Iommu::REGISTERS,
            },
            0,
        ),
        Place::Function { segment, requester } => {
            (UnitPlace::Function { segment, requester }, segment)
        }
    };
    UnitDescription {
        kind: UnitKind::Riscv,
        place,
        segment,
        walks: None,
    }
}

fn assignment(devices: Devices, mapping: &IdMapping) -> Assignment {
    Assignment {
        devices,
        unit: mapping.iommu,
        stream: match mapping.count {
            1 => Stream::One(mapping.device_id),
            _ => Stream::From(mapping.device_id),
        },
    }
}
