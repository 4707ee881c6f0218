//! DMAR in the words of every table.

use alloc::vec::Vec;

use super::Dmar;
use crate::description::{
    Assignment, Devices, DirectAccess, IommuDescription, ReservedKind, ReservedRegion, Stream,
    UnitDescription, UnitKind, UnitPlace,
};

impl Dmar {
    /// What the table says, as [`IommuDescription`]. Scopes come before the units that take all others (8.3), and a
    /// unit's capability register, not the table, says whether its walks snoop.
    pub fn description(&self) -> IommuDescription {
        let units = self.units().iter().map(|unit| UnitDescription {
            kind: UnitKind::Vtd,
            place: UnitPlace::Registers {
                phys: unit.register_base,
                len_bytes: unit.register_len,
            },
            segment: unit.segment,
            walks: None,
        });
        let mut assignments = Vec::new();
        for (n, unit) in self.units().iter().enumerate() {
            assignments.extend(unit.scopes.iter().map(|scope| Assignment {
                devices: Devices::Scope {
                    segment: unit.segment,
                    scope: scope.clone(),
                },
                unit: n,
                stream: Stream::Requester,
            }));
        }
        let others = self.units().iter().enumerate();
        assignments.extend(
            others
                .filter(|(_, unit)| unit.include_all)
                .map(|(n, unit)| Assignment {
                    devices: Devices::Segment {
                        segment: unit.segment,
                    },
                    unit: n,
                    stream: Stream::Requester,
                }),
        );
        let mut reserved = Vec::new();
        for region in self.reserved_regions() {
            reserved.extend(region.scopes.iter().map(|scope| ReservedRegion {
                devices: Devices::Scope {
                    segment: region.segment,
                    scope: scope.clone(),
                },
                base: region.base,
                last: region.last,
                kind: ReservedKind::Direct(DirectAccess::ReadWrite),
            }));
        }
        IommuDescription {
            units: units.collect(),
            assignments,
            reserved,
            host_address_bits: Some(self.host_address_bits()),
        }
    }
}
