use firmware::rimt::{IdMapping, Iommu, Place, Platform, RootComplex, Wire};
use firmware::{Assignment, Damage, Devices, Rimt, Signature, Stream, UnitKind, UnitPlace};

use crate::error;
use crate::example::{seal, table};

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

/// A RIMT of `nodes`, which start at byte 48.
fn rimt_of(nodes: &[Vec<u8>]) -> Vec<u8> {
    let mut body = words(&[nodes.len() as u32, 48, 0]);
    body.extend(nodes.concat());
    table(b"RIMT", &body)
}

fn node(kind: u8, id: u16, fields: &[u8]) -> Vec<u8> {
    let len = 8 + fields.len() as u16;
    let mut bytes = vec![kind, 1];
    for half in [len, 0, id] {
        bytes.extend(half.to_le_bytes());
    }
    bytes.extend(fields);
    bytes
}

/// 40 bytes and 8 for each of `wires`.
fn iommu(id: u16, base: u32, flags: u32, place: u32, wires: &[[u32; 2]]) -> Vec<u8> {
    let mut fields = b"RSCV0004".to_vec();
    fields.extend(words(&[base, 0, flags, 5, place]));
    fields.extend(words(&[40 << 16 | wires.len() as u32]));
    fields.extend(wires.iter().flat_map(|wire| words(wire)));
    node(0, id, &fields)
}

/// Mappings: first id, count, device id, the IOMMU's offset, flags.
fn root_complex(segment: u32, mappings: &[[u32; 5]]) -> Vec<u8> {
    let mut fields = words(&[3, segment << 16, (mappings.len() as u32) << 16 | 20]);
    fields.extend(mappings.iter().flat_map(|mapping| words(mapping)));
    node(1, 7, &fields)
}

fn platform(name: &[u8], mappings: &[[u32; 5]]) -> Vec<u8> {
    let offset = (12 + name.len() as u32).next_multiple_of(4);
    let mut fields = words(&[(mappings.len() as u32) << 16 | offset]);
    fields.extend(name);
    fields.resize(offset as usize - 8, 0);
    fields.extend(mappings.iter().flat_map(|mapping| words(mapping)));
    node(2, 8, &fields)
}

const FIRST: u32 = 48;
const SECOND: u32 = FIRST + 56;

/// A RIMT in which everything occurs.
pub(crate) fn rich() -> Vec<u8> {
    rimt_of(&[
        iommu(1, 0x301_0000, 2, 0, &[[0x24, 3], [0x25, 0]]),
        iommu(2, 0, 1, 0x0008_0004, &[]),
        root_complex(4, &[[0, 8, 0x100, SECOND, 0], [9, 0xfff7, 9, SECOND, 3]]),
        platform(
            b"\\_SB.DMA0\0",
            &[[0, 1, 0x10, FIRST, 1], [1, 2, 0x20, SECOND, 2]],
        ),
        node(77, 0, &[1, 2, 3]),
    ])
}

#[test]
fn every_node_is_read() {
    let rimt = Rimt::parse(&rich()).unwrap();
    let wire = |gsi, level, active_high| Wire {
        gsi,
        level,
        active_high,
    };
    let iommu = |id, place, proximity_domain, wires: &[Wire]| Iommu {
        id,
        hardware_id: *b"RSCV0004",
        place,
        proximity_domain,
        wires: wires.to_vec(),
    };
    let function = Place::Function {
        segment: 4,
        requester: 8,
    };
    let wires = [wire(0x24, true, true), wire(0x25, false, false)];
    assert_eq!(
        rimt.iommus(),
        [
            iommu(1, Place::Registers(0x301_0000), Some(5), &wires),
            iommu(2, function, None, &[]),
        ]
    );
    let mapping = |first, count, device_id, iommu, flags: u8| IdMapping {
        first,
        count,
        device_id,
        iommu,
        ats_required: flags & 1 != 0,
        page_requests_required: flags & 2 != 0,
    };
    let root = RootComplex {
        id: 7,
        ats: true,
        page_requests: true,
        segment: 4,
        mappings: vec![mapping(0, 8, 0x100, 1, 0), mapping(9, 0xfff7, 9, 1, 3)],
    };
    assert_eq!(rimt.root_complexes(), [root]);
    let platform = Platform {
        id: 8,
        name: "\\_SB.DMA0".into(),
        mappings: vec![mapping(0, 1, 0x10, 0, 1), mapping(1, 2, 0x20, 1, 2)],
    };
    assert_eq!(rimt.platforms(), [platform]);
}

#[test]
fn everything_is_described() {
    let described = Rimt::parse(&rich()).unwrap().description();
    let units: Vec<_> = described
        .units
        .iter()
        .map(|unit| (unit.kind, unit.place, unit.segment))
        .collect();
    let registers = UnitPlace::Registers {
        phys: 0x301_0000,
        len_bytes: 4096,
    };
    let function = UnitPlace::Function {
        segment: 4,
        requester: 8,
    };
    let expected = [
        (UnitKind::Riscv, registers, 0),
        (UnitKind::Riscv, function, 4),
    ];
    assert_eq!(units, expected);
    let requesters = |first, last| Devices::Requesters {
        segment: 4,
        first,
        last,
    };
    let named = || Devices::Named("\\_SB.DMA0".into());
    let one = |devices, unit, stream| Assignment {
        devices,
        unit,
        stream,
    };
    let expected = [
        one(requesters(0, 7), 1, Stream::From(0x100)),
        one(requesters(9, 0xffff), 1, Stream::From(9)),
        one(named(), 0, Stream::One(0x10)),
        one(named(), 1, Stream::From(0x20)),
    ];
    assert_eq!(described.assignments, expected);
}

#[test]
fn a_unit_beside_pci_gets_the_segment_of_its_first_root_complex() {
    let nodes = [
        iommu(1, 0x301_0000, 0, 0, &[]),
        root_complex(3, &[[0, 1, 0, FIRST, 0]]),
        root_complex(2, &[[0, 1, 0, FIRST, 0]]),
    ];
    let described = Rimt::parse(&rimt_of(&nodes)).unwrap().description();
    assert_eq!(described.units[0].segment, 3);
}

#[test]
fn an_iommu_may_come_after_what_is_wired_to_it() {
    let root = root_complex(0, &[[0, 1, 0, 48 + 40, 0]]);
    let nodes = [root, iommu(1, 0x301_0000, 0, 0, &[])];
    let rimt = Rimt::parse(&rimt_of(&nodes)).unwrap();
    assert_eq!(rimt.root_complexes()[0].mappings[0].iommu, 0);
}

/// Parses `nodes`, which start at byte 48, and expects `damage` at `offset`.
fn check(nodes: &[Vec<u8>], offset: usize, damage: Damage) {
    assert_eq!(
        Rimt::parse(&rimt_of(nodes)),
        error(Signature::RIMT, offset, damage)
    );
}

#[test]
fn bad_mappings_are_refused() {
    let at = 48 + 40 + 20;
    let check = |mapping, offset: usize, damage| {
        let nodes = [iommu(1, 0x301_0000, 0, 0, &[]), root_complex(0, &[mapping])];
        check(&nodes, at + offset, damage);
    };
    let bad = |first, count| Damage::BadIds { first, count };
    check([0, 0, 0, FIRST, 0], 0, bad(0, 0));
    check([u32::MAX, 2, 0, FIRST, 0], 0, bad(u32::MAX, 2));
    check([0, 2, u32::MAX, FIRST, 0], 8, bad(u32::MAX, 2));
    // A node, but no IOMMU.
    let to = 48 + 40;
    check([0, 1, 0, to, 0], 12, Damage::BadReference { to: to.into() });
}

#[test]
fn bad_nodes_are_refused() {
    for (kind, least) in [(0, 40), (1, 20), (2, 13)] {
        let damage = Damage::LengthTooSmall { stated: 9, least };
        check(&[node(kind, 0, &[0])], 48 + 2, damage);
    }
    let mut short = node(9, 0, &[]);
    short[2] = 7;
    let damage = Damage::LengthTooSmall {
        stated: 7,
        least: 8,
    };
    check(&[short], 48 + 2, damage);
    let address = 0x301_0800;
    let damage = Damage::BadAddress {
        address,
        align: 4096,
    };
    check(&[iommu(1, address as u32, 0, 0, &[])], 48 + 16, damage);
    let mut wires = iommu(1, 0x301_0000, 0, 0, &[[1, 0]]);
    wires[36] = 2;
    let damage = Damage::Truncated {
        needed: 16,
        available: 8,
    };
    check(&[wires], 48 + 40, damage);
    let one = || iommu(1, 0x301_0000, 0, 0, &[]);
    let register_base = 0x301_0000;
    check(
        &[one(), one()],
        48 + 40 + 16,
        Damage::DuplicateUnit { register_base },
    );
    let unnamed = platform(&[b'x'; 4], &[]);
    check(&[unnamed], 48 + 12, Damage::BadName);
    let mut bytes = rimt_of(&[]);
    bytes[40] = 12;
    seal(&mut bytes, 9);
    let damage = Damage::BadReference { to: 12 };
    assert_eq!(Rimt::parse(&bytes), error(Signature::RIMT, 40, damage));
}
