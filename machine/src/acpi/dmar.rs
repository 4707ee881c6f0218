//! DMAR: the IOMMU units, whose devices each translates, and memory that stays mapped (VT-d, chapter 8).

use super::table::table;

/// Structure types (8.2).
const DRHD: u16 = 0;
const RMRR: u16 = 1;

/// `INCLUDE_PCI_ALL` in a DRHD's flags (8.3).
const INCLUDE_PCI_ALL: u8 = 1;

/// A device by the path to it: from `start_bus` through bridges, as pairs of device and function (8.3.1).
#[derive(Clone, Debug)]
pub(crate) struct Device {
    pub(crate) start_bus: u8,
    pub(crate) path: Vec<(u8, u8)>,
}

/// What a unit translates for.
#[derive(Clone, Debug)]
pub(crate) enum Scope {
    /// One PCI endpoint.
    Endpoint(Device),
    /// A bridge and everything behind it.
    SubHierarchy(Device),
}

/// A remapping hardware unit (8.3).
#[derive(Clone, Debug)]
pub(crate) struct Unit {
    pub(crate) registers: u64,
    /// `None`: all devices that no other unit lists.
    pub(crate) scopes: Option<Vec<Scope>>,
}

/// A reserved memory region (8.4): devices that firmware left running use it from boot on.
#[derive(Clone, Debug)]
pub(crate) struct ReservedMemory {
    pub(crate) base: u64,
    /// Last address, inclusive.
    pub(crate) last: u64,
    pub(crate) devices: Vec<Device>,
}

/// The whole table (8.1).
#[derive(Clone, Debug)]
pub(crate) struct Dmar {
    /// Width of physical addresses.
    pub(crate) host_address_bits: u8,
    pub(crate) units: Vec<Unit>,
    pub(crate) reserved: Vec<ReservedMemory>,
}

impl Dmar {
    /// The table's bytes.
    pub(crate) fn into_table(self) -> Vec<u8> {
        let mut body = vec![self.host_address_bits - 1, 0];
        body.extend([0; 10]);
        for unit in &self.units {
            body.extend(unit.structure());
        }
        for reserved in &self.reserved {
            body.extend(reserved.structure());
        }
        table(*b"DMAR", 1, &body)
    }
}

impl Unit {
    fn structure(&self) -> Vec<u8> {
        let flags = if self.scopes.is_none() {
            INCLUDE_PCI_ALL
        } else {
            0
        };
        let mut fields = vec![flags, 0];
        fields.extend(0_u16.to_le_bytes()); // segment
        fields.extend(self.registers.to_le_bytes());
        for scope in self.scopes.iter().flatten() {
            fields.extend(match scope {
                Scope::Endpoint(device) => device.scope(1),
                Scope::SubHierarchy(device) => device.scope(2),
            });
        }
        structure(DRHD, &fields)
    }
}

impl ReservedMemory {
    fn structure(&self) -> Vec<u8> {
        let mut fields = vec![0; 2];
        fields.extend(0_u16.to_le_bytes()); // segment
        fields.extend(self.base.to_le_bytes());
        fields.extend(self.last.to_le_bytes());
        for device in &self.devices {
            fields.extend(device.scope(1));
        }
        structure(RMRR, &fields)
    }
}

impl Device {
    /// A device scope structure of this type (table 8-3).
    fn scope(&self, kind: u8) -> Vec<u8> {
        let len = 6 + 2 * self.path.len();
        let mut scope = vec![kind, len as u8, 0, 0, 0, self.start_bus];
        scope.extend(
            self.path
                .iter()
                .flat_map(|(device, function)| [*device, *function]),
        );
        scope
    }
}

fn structure(kind: u16, fields: &[u8]) -> Vec<u8> {
    let len = 4 + fields.len();
    let mut structure = Vec::with_capacity(len);
    structure.extend(kind.to_le_bytes());
    structure.extend((len as u16).to_le_bytes());
    structure.extend(fields);
    structure
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn structures_are_laid_out_as_the_manual_says() {
        let device = Device {
            start_bus: 0,
            path: vec![(1, 0)],
        };
        let dmar = Dmar {
            host_address_bits: 46,
            units: vec![
                Unit {
                    registers: 0xfed9_0000,
                    scopes: Some(vec![Scope::SubHierarchy(device.clone())]),
                },
                Unit {
                    registers: 0xfed9_1000,
                    scopes: None,
                },
            ],
            reserved: vec![ReservedMemory {
                base: 0x7000,
                last: 0x7fff,
                devices: vec![device],
            }],
        };
        let table = dmar.into_table();
        let expected: &[u8] = &[
            45, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, //
            0, 0, 24, 0, 0, 0, 0, 0, 0, 0, 0xd9, 0xfe, 0, 0, 0, 0, // DRHD
            2, 8, 0, 0, 0, 0, 1, 0, // its scope
            0, 0, 16, 0, 1, 0, 0, 0, 0, 0x10, 0xd9, 0xfe, 0, 0, 0, 0, // DRHD, all others
            1, 0, 32, 0, 0, 0, 0, 0, 0, 0x70, 0, 0, 0, 0, 0, 0, 0xff, 0x7f, 0, 0, 0, 0, 0,
            0, // RMRR
            1, 8, 0, 0, 0, 0, 1, 0, // its scope
        ];
        assert_eq!(&table[36..], expected);
    }
}
