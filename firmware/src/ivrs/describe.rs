//! What the table says in the words all tables share.

use alloc::format;
use alloc::string::String;

use super::{AcpiName, Ivrs, MemoryBlock, MemoryFlags, Named, Selected, Uid, Unit};
use crate::description::{
    Assignment, Devices, DirectAccess, IommuDescription, ReservedKind, ReservedRegion, Stream,
    UnitDescription, UnitKind, UnitPlace, Walks,
};

impl Ivrs {
    /// The units, devices and memory of this table.
    ///
    /// Later entries of a unit come before earlier ones, which they outweigh, and entries for all devices come
    /// last. An ACPI device is named by the text of its unique id if it has one, else by `hardware id:unique id`.
    /// IO APICs and HPETs are left out: they raise interrupts only.
    pub fn description(&self) -> IommuDescription {
        let numbered = || self.units.iter().enumerate();
        let certain = numbered().flat_map(|(number, unit)| {
            unit.entries
                .iter()
                .rev()
                .filter_map(move |entry| assignment(number, unit, &entry.devices))
        });
        let others = numbered()
            .filter(|(_, unit)| {
                unit.entries
                    .iter()
                    .any(|entry| entry.devices == Selected::All)
            })
            .map(|(number, unit)| Assignment {
                devices: Devices::Segment {
                    segment: unit.segment,
                },
                unit: number,
                stream: Stream::Requester,
            });
        let bits = self.info.physical_address_bits();
        IommuDescription {
            units: self.units.iter().map(described).collect(),
            assignments: certain.chain(others).collect(),
            reserved: self.memory_blocks.iter().map(reserved).collect(),
            host_address_bits: (bits != 0).then_some(bits),
        }
    }
}

fn described(unit: &Unit) -> UnitDescription {
    UnitDescription {
        kind: UnitKind::AmdVi,
        place: UnitPlace::Registers {
            phys: unit.register_base,
            len_bytes: unit.register_len(),
        },
        segment: unit.segment,
        // A clear flag does not say they do not: the driver may ask for it.
        walks: unit.flags.coherent().then_some(Walks::Snoop),
    }
}

fn assignment(number: usize, unit: &Unit, selected: &Selected) -> Option<Assignment> {
    let requesters = |first, last| Devices::Requesters {
        segment: unit.segment,
        first,
        last,
    };
    let (devices, stream) = match selected {
        Selected::Range { first, last } => (requesters(*first, *last), Stream::Requester),
        Selected::Alias { first, last, alias } => {
            (requesters(*first, *last), Stream::One((*alias).into()))
        }
        Selected::Acpi { requester, name } => {
            (Devices::Named(path(name)), Stream::One((*requester).into()))
        }
        Selected::All | Selected::Special { .. } => return None,
    };
    Some(Assignment {
        devices,
        unit: number,
        stream,
    })
}

fn path(name: &AcpiName) -> String {
    match &name.uid {
        Uid::Text(path) => path.clone(),
        Uid::Number(uid) => format!("{}:{uid}", name.hid),
        Uid::None => name.hid.clone(),
    }
}

fn reserved(block: &MemoryBlock) -> ReservedRegion {
    let segment = block.segment;
    ReservedRegion {
        devices: match block.devices {
            Named::All => Devices::Segment { segment },
            Named::Range { first, last } => Devices::Requesters {
                segment,
                first,
                last,
            },
        },
        base: block.base,
        last: block.last,
        kind: kind(block.flags),
    }
}

/// Memory that devices are neither let through to nor may access is kept free of anything else.
fn kind(flags: MemoryFlags) -> ReservedKind {
    if flags.exclusion() {
        return ReservedKind::Untranslated;
    }
    match (flags.unity(), flags.read(), flags.write()) {
        (true, true, true) => ReservedKind::Direct(DirectAccess::ReadWrite),
        (true, true, false) => ReservedKind::Direct(DirectAccess::Read),
        (true, false, true) => ReservedKind::Direct(DirectAccess::Write),
        _ => ReservedKind::Unmappable,
    }
}
