//! What the table says in the words all tables share.

use super::{DeviceScope, Dmar, ReservedRegion, ScopeKind, Unit};
use crate::description::{
    self, Assignment, Devices, DirectAccess, IommuDescription, ReservedKind, Stream,
    UnitDescription, UnitKind, UnitPlace,
};

impl Dmar {
    /// The units, devices and reserved memory of this table.
    ///
    /// Units that are for all remaining devices of a segment come last, wherever the table has them. Scopes of IO
    /// APICs and HPETs are left out: they raise interrupts only.
    ///
    /// ```
    /// use firmware::{Devices, Dmar};
    ///
    /// # mod example { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/example/mod.rs")); }
    /// # let bytes = example::dmar();
    /// let described = Dmar::parse(&bytes)?.description();
    /// let last = described.assignments.last().unwrap();
    /// assert_eq!((last.unit, &last.devices), (1, &Devices::Segment { segment: 0 }));
    /// # Ok::<(), firmware::TableError>(())
    /// ```
    pub fn description(&self) -> IommuDescription {
        let numbered = || self.units.iter().enumerate();
        let named = numbered().flat_map(|(number, unit)| {
            devices(unit.segment, &unit.scopes).map(move |devices| assignment(number, devices))
        });
        let others = numbered()
            .filter(|(_, unit)| unit.include_all)
            .map(|(number, unit)| {
                let segment = unit.segment;
                assignment(number, Devices::Segment { segment })
            });
        IommuDescription {
            units: self.units.iter().map(unit).collect(),
            assignments: named.chain(others).collect(),
            reserved: self.reserved_regions.iter().flat_map(reserved).collect(),
            host_address_bits: Some(self.host_address_bits),
        }
    }
}

fn unit(unit: &Unit) -> UnitDescription {
    UnitDescription {
        kind: UnitKind::Vtd,
        place: UnitPlace::Registers {
            phys: unit.register_base,
            len_bytes: unit.register_len,
        },
        segment: unit.segment,
        // Its own registers say.
        walks: None,
    }
}

fn assignment(unit: usize, devices: Devices) -> Assignment {
    Assignment {
        devices,
        unit,
        stream: Stream::Requester,
    }
}

fn reserved(region: &ReservedRegion) -> impl Iterator<Item = description::ReservedRegion> {
    devices(region.segment, &region.scopes).map(|devices| description::ReservedRegion {
        devices,
        base: region.base,
        last: region.last,
        kind: ReservedKind::Direct(DirectAccess::ReadWrite),
    })
}

/// Those of `scopes` that name devices which make requests of memory.
fn devices(segment: u16, scopes: &[DeviceScope]) -> impl Iterator<Item = Devices> {
    scopes
        .iter()
        .filter(|scope| !matches!(scope.kind, ScopeKind::IoApic | ScopeKind::Hpet))
        .map(move |scope| Devices::Scope {
            segment,
            scope: scope.clone(),
        })
}
