use firmware::viot::{MmioEndpoint, PciRange, Place};
use firmware::{Assignment, Damage, Devices, Signature, Stream, UnitKind, UnitPlace, Viot};

use crate::error;
use crate::example::{seal, table};

/// A VIOT of `nodes`, which start at byte 48.
fn viot_of(nodes: &[Vec<u8>]) -> Vec<u8> {
    let mut body = (nodes.len() as u16).to_le_bytes().to_vec();
    body.extend([48, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    body.extend(nodes.concat());
    table(b"VIOT", &body)
}

fn node(kind: u8, fields: &[u8]) -> Vec<u8> {
    let mut bytes = vec![kind, 0, 4 + fields.len() as u8, 0];
    bytes.extend(fields);
    bytes
}

fn halves(halves: &[u16]) -> Vec<u8> {
    halves.iter().flat_map(|half| half.to_le_bytes()).collect()
}

/// 24 bytes.
fn range(endpoint: u32, segments: [u16; 2], requesters: [u16; 2], iommu: u16) -> Vec<u8> {
    let mut fields = endpoint.to_le_bytes().to_vec();
    fields.extend(halves(&[segments, requesters].concat()));
    fields.extend(halves(&[iommu, 0, 0, 0]));
    node(1, &fields)
}

/// 24 bytes.
fn endpoint(endpoint: u32, base: u64, iommu: u16) -> Vec<u8> {
    let mut fields = endpoint.to_le_bytes().to_vec();
    fields.extend(base.to_le_bytes());
    fields.extend(halves(&[iommu, 0, 0, 0]));
    node(2, &fields)
}

/// 16 bytes.
fn on_pci(segment: u16, requester: u16) -> Vec<u8> {
    node(3, &halves(&[segment, requester, 0, 0, 0, 0]))
}

/// 16 bytes.
fn on_mmio(base: u64) -> Vec<u8> {
    let mut fields = vec![0; 4];
    fields.extend(base.to_le_bytes());
    node(4, &fields)
}

const FIRST: u16 = 48;
const SECOND: u16 = FIRST + 16;

/// A VIOT in which everything occurs.
pub(crate) fn rich() -> Vec<u8> {
    viot_of(&[
        on_pci(1, 0x0010),
        on_mmio(0xa00_0000),
        range(0x100, [0, 1], [0x0008, 0x00ff], FIRST),
        range(0x9_0000, [7, 7], [0, 0xffff], SECOND),
        endpoint(0x50, 0xa00_0200, SECOND),
        node(99, &[1, 2, 3]),
    ])
}

#[test]
fn every_node_is_read() {
    let viot = Viot::parse(&rich()).unwrap();
    let function = Place::Function {
        segment: 1,
        requester: 0x0010,
    };
    assert_eq!(viot.iommus(), [function, Place::Registers(0xa00_0000)]);
    let range = |endpoint, segments: [u16; 2], requesters: [u16; 2], iommu| PciRange {
        endpoint,
        first_segment: segments[0],
        last_segment: segments[1],
        first: requesters[0],
        last: requesters[1],
        iommu,
    };
    assert_eq!(
        viot.pci_ranges(),
        [
            range(0x100, [0, 1], [0x0008, 0x00ff], 0),
            range(0x9_0000, [7, 7], [0, 0xffff], 1),
        ]
    );
    let endpoint = MmioEndpoint {
        endpoint: 0x50,
        base: 0xa00_0200,
        iommu: 1,
    };
    assert_eq!(viot.mmio_endpoints(), [endpoint]);
}

#[test]
fn everything_is_described_but_a_unit_does_not_translate_for_itself() {
    let described = Viot::parse(&rich()).unwrap().description();
    let units: Vec<_> = described
        .units
        .iter()
        .map(|unit| (unit.kind, unit.place, unit.segment))
        .collect();
    let function = UnitPlace::Function {
        segment: 1,
        requester: 0x0010,
    };
    let registers = UnitPlace::Registers {
        phys: 0xa00_0000,
        len_bytes: 512,
    };
    assert_eq!(
        units,
        [
            (UnitKind::Virtio, function, 1),
            (UnitKind::Virtio, registers, 7),
        ]
    );
    let one = |unit, segment, first, last, stream| Assignment {
        devices: Devices::Requesters {
            segment,
            first,
            last,
        },
        unit,
        stream: Stream::From(stream),
    };
    let expected = [
        one(0, 0, 0x0008, 0x00ff, 0x100),
        one(0, 1, 0x0008, 0x000f, 0x1_0100),
        one(0, 1, 0x0011, 0x00ff, 0x1_0109),
        one(1, 7, 0, 0xffff, 0x9_0000),
        Assignment {
            devices: Devices::Named("0xa000200".into()),
            unit: 1,
            stream: Stream::One(0x50),
        },
    ];
    assert_eq!(described.assignments, expected);
}

#[test]
fn a_unit_at_either_end_of_a_range_or_alone_in_it_leaves_no_empty_range() {
    let around = |first, last, requester| {
        let nodes = [on_pci(0, requester), range(0, [0, 0], [first, last], FIRST)];
        let described = Viot::parse(&viot_of(&nodes)).unwrap().description();
        let pieces = described.assignments.into_iter();
        pieces
            .map(|piece| match piece.devices {
                Devices::Requesters { first, last, .. } => (first, last),
                _ => panic!(),
            })
            .collect::<Vec<_>>()
    };
    assert_eq!(around(0, 0xffff, 0), [(1, 0xffff)]);
    assert_eq!(around(0, 0xffff, 0xffff), [(0, 0xfffe)]);
    assert_eq!(around(8, 8, 8), []);
    assert_eq!(around(8, 9, 8), [(9, 9)]);
    assert_eq!(around(8, 9, 7), [(8, 9)]);
}

/// Parses `nodes`, which start at byte 48, and expects `damage` at `offset`.
fn check(nodes: &[Vec<u8>], offset: usize, damage: Damage) {
    assert_eq!(
        Viot::parse(&viot_of(nodes)),
        error(Signature::VIOT, offset, damage)
    );
}

#[test]
fn bad_ranges_are_refused() {
    let check = |range: Vec<u8>, offset: usize, damage| {
        check(&[on_pci(0, 8), range], 48 + 16 + offset, damage);
    };
    let bad = |first, count| Damage::BadIds { first, count };
    check(range(0, [2, 1], [0, 0], FIRST), 8, bad(2, 0));
    check(range(0, [0, 0], [2, 1], FIRST), 12, bad(2, 0));
    check(range(u32::MAX, [0, 0], [0, 1], FIRST), 4, bad(u32::MAX, 2));
    let count = (0xffff << 16) + 0x1_0000;
    check(range(1, [0, 0xffff], [0, 0xffff], FIRST), 4, bad(1, count));
    check(
        range(0, [0, 0], [0, 0], 50),
        16,
        Damage::BadReference { to: 50 },
    );
    // The range itself is a node, but no unit.
    check(endpoint(0, 0, 64), 16, Damage::BadReference { to: 64 });
    let all = range(0, [0, 0xffff], [0, 0xffff], FIRST);
    assert!(Viot::parse(&viot_of(&[on_pci(0, 8), all])).is_ok());
}

#[test]
fn more_segments_than_there_are_are_refused() {
    let all = || range(0, [0, 0xffff], [0, 0], FIRST);
    let damage = Damage::TooMany {
        stated: 2 << 16,
        most: 1 << 16,
    };
    check(&[on_pci(0, 8), all(), all()], 36, damage);
}

#[test]
fn bad_nodes_are_refused() {
    for (kind, least) in [(1, 24), (2, 24), (3, 16), (4, 16)] {
        let damage = Damage::LengthTooSmall { stated: 5, least };
        check(&[node(kind, &[0])], 48 + 2, damage);
    }
    for stated in 0..4 {
        let damage = Damage::LengthTooSmall {
            stated: stated.into(),
            least: 4,
        };
        check(&[vec![9, 0, stated, 0]], 48 + 2, damage);
    }
    for address in [0, 0xa00_0002] {
        check(
            &[on_mmio(address)],
            48 + 8,
            Damage::BadAddress { address, align: 4 },
        );
    }
    let register_base = 8;
    check(
        &[on_pci(0, 8), on_pci(0, 8)],
        48 + 16,
        Damage::DuplicateUnit { register_base },
    );
    let mut bytes = viot_of(&[]);
    bytes[38] = 47;
    seal(&mut bytes, 9);
    let damage = Damage::BadReference { to: 47 };
    assert_eq!(Viot::parse(&bytes), error(Signature::VIOT, 38, damage));
}
