use firmware::iort::{
    IdMapping, MemoryAccess, NamedComponent, NodeKind, Rmr, RmrRange, RootComplex, Smmu, SmmuModel,
    SmmuV3,
};
use firmware::{
    Assignment, Damage, Devices, DirectAccess, Iort, ReservedKind, ReservedRegion, Signature,
    Stream, UnitKind, Walks,
};

use crate::error;
use crate::example::table;

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

/// An IORT of `nodes`, which start at byte 48.
fn iort_of(nodes: &[Vec<u8>]) -> Vec<u8> {
    let mut body = words(&[nodes.len() as u32, 48, 0]);
    body.extend(nodes.concat());
    table(b"IORT", &body)
}

/// A node of `kind` with `fields` and then `mappings`: first id, count less one, first id there, the node's offset,
/// flags.
fn node(kind: u8, revision: u8, fields: &[u8], mappings: &[[u32; 5]]) -> Vec<u8> {
    let mut bytes = vec![kind, 0, 0, revision, 0x11, 0, 0, 0];
    let offset = 16 + fields.len() as u32;
    bytes.extend(words(&[mappings.len() as u32, offset]));
    bytes.extend(fields);
    bytes.extend(mappings.iter().flat_map(|mapping| words(mapping)));
    let len = bytes.len() as u16;
    bytes[1..3].copy_from_slice(&len.to_le_bytes());
    bytes
}

/// 68 bytes.
fn smmu_v3(base: u32, flags: u32) -> Vec<u8> {
    let fields = [base, 0, flags, 0, 0, 0, 2, 0x41, 0x42, 0x43, 0x44, 9, 0];
    node(4, 4, &words(&fields), &[])
}

fn root_complex(segment: u32, mappings: &[[u32; 5]]) -> Vec<u8> {
    node(2, 3, &words(&[1, 0x0300_0000, 1, segment, 40]), mappings)
}

fn component(name: &[u8], mappings: &[[u32; 5]]) -> Vec<u8> {
    let mut fields = words(&[0, 0, 0x0100_0002]);
    fields.push(32);
    fields.extend(name);
    while !fields.len().is_multiple_of(4) {
        fields.push(0);
    }
    node(1, 2, &fields, mappings)
}

/// A reserved range each for streams of the mappings.
fn rmr(ranges: &[[u32; 4]], mappings: &[[u32; 5]]) -> Vec<u8> {
    let mut fields = words(&[3, ranges.len() as u32, 28]);
    for range in ranges {
        fields.extend(words(range));
        fields.extend(words(&[0]));
    }
    node(6, 1, &fields, mappings)
}

/// Where the nodes of [`rich`] start.
const ITS: u32 = 48;
const SMMU: u32 = ITS + 24;
const OLD: u32 = SMMU + 68;

/// An IORT in which everything occurs.
pub(crate) fn rich() -> Vec<u8> {
    iort_of(&[
        node(0, 1, &words(&[1, 7]), &[]),
        smmu_v3(0x905_0000, 0b1101),
        node(
            3,
            3,
            &words(&[0x100_0000, 0, 0x1_0000, 0, 2, 2, 0, 0, 0, 0, 0]),
            &[],
        ),
        root_complex(
            2,
            &[
                [0, 0xff, 0x100, SMMU, 0],
                [0x100, 0xff, 0, OLD, 0],
                [0x200, 0xfdff, 0x200, ITS, 0],
            ],
        ),
        component(
            b"\\_SB.DMA0\0",
            &[[0, 0, 0x500, SMMU, 1], [0, 3, 0x600, SMMU, 0]],
        ),
        node(5, 1, &words(&[0, 0, 0, 0]), &[]),
        rmr(
            &[[0x4000_0000, 0, 0x1000, 0], [0x5000_0000, 0, 0x2_0000, 0]],
            &[[0, 0xf, 0x1f8, SMMU, 0], [0, 0, 0x500, SMMU, 1]],
        ),
        node(99, 0, &[1, 2, 3], &[]),
    ])
}

#[test]
fn every_node_is_read() {
    let iort = Iort::parse(&rich()).unwrap();
    let kinds: Vec<_> = iort.nodes().iter().map(|node| node.kind.clone()).collect();
    let memory = |coherent, flags| MemoryAccess {
        coherent,
        hints: 0,
        flags,
    };
    let smmu = SmmuV3 {
        register_base: 0x905_0000,
        coherent_override: true,
        httu_override: 2,
        model: SmmuModel::CaviumCn99xx,
        event_gsiv: 0x41,
        pri_gsiv: 0x42,
        error_gsiv: 0x43,
        sync_gsiv: 0x44,
        proximity_domain: Some(9),
    };
    let old = Smmu {
        register_base: 0x100_0000,
        register_len: 0x1_0000,
        model: 2,
        coherent_walks: true,
    };
    let root = RootComplex {
        memory: memory(true, 3),
        ats: true,
        segment: 2,
        address_bits: 40,
    };
    let component = NamedComponent {
        memory: MemoryAccess {
            coherent: false,
            hints: 2,
            flags: 1,
        },
        address_bits: 32,
        name: "\\_SB.DMA0".into(),
    };
    let rmr = Rmr {
        remapping_permitted: true,
        privileged: true,
        ranges: vec![
            RmrRange {
                base: 0x4000_0000,
                last: 0x4000_0fff,
            },
            RmrRange {
                base: 0x5000_0000,
                last: 0x5001_ffff,
            },
        ],
    };
    let expected = [
        NodeKind::ItsGroup(vec![7]),
        NodeKind::SmmuV3(smmu),
        NodeKind::Smmu(old),
        NodeKind::RootComplex(root),
        NodeKind::NamedComponent(component),
        NodeKind::Other(5),
        NodeKind::Rmr(rmr),
        NodeKind::Other(99),
    ];
    assert_eq!(kinds, expected);
    assert_eq!((iort.nodes()[1].id, iort.nodes()[1].revision), (0x11, 4));
    let mapping = |first, count, to_first, to, single| IdMapping {
        first,
        count,
        to_first,
        to,
        single,
    };
    assert_eq!(
        iort.nodes()[3].mappings,
        [
            mapping(0, 0x100, 0x100, 1, false),
            mapping(0x100, 0x100, 0, 2, false),
            mapping(0x200, 0xfe00, 0x200, 0, false),
        ]
    );
    assert_eq!(
        iort.nodes()[4].mappings,
        [
            mapping(0, 1, 0x500, 1, true),
            mapping(0, 4, 0x600, 1, false)
        ]
    );
}

#[test]
fn smmus_of_version_3_are_described_with_what_is_wired_to_them() {
    let described = Iort::parse(&rich()).unwrap().description();
    let [unit] = described.units.as_slice() else {
        panic!()
    };
    assert_eq!((unit.kind, unit.segment), (UnitKind::SmmuV3, 2));
    assert_eq!(unit.walks, Some(Walks::Snoop));
    let requesters = |first, last| Devices::Requesters {
        segment: 2,
        first,
        last,
    };
    let named = || Devices::Named("\\_SB.DMA0".into());
    let one = |devices, stream| Assignment {
        devices,
        unit: 0,
        stream,
    };
    let expected = [
        one(requesters(0, 0xff), Stream::From(0x100)),
        one(named(), Stream::One(0x500)),
        one(named(), Stream::From(0x600)),
    ];
    assert_eq!(described.assignments, expected);
    // Streams 0x1f8 to 0x207, of which the root complex has those up to 0x1ff; and the component's.
    let region = |devices, base, last| ReservedRegion {
        devices,
        base,
        last,
        kind: ReservedKind::Direct(DirectAccess::ReadWrite),
    };
    let both = |devices: Devices| {
        [
            region(devices.clone(), 0x4000_0000, 0x4000_0fff),
            region(devices, 0x5000_0000, 0x5001_ffff),
        ]
    };
    assert_eq!(
        described.reserved,
        [both(requesters(0xf8, 0xff)), both(named())].concat()
    );
}

#[test]
fn reserved_memory_is_for_the_requesters_whose_streams_it_names() {
    let reserved = |mapping: [u32; 5]| {
        let root = root_complex(0, &[[0x10, 0xf, 0x1010, 48, 0]]);
        let rmr = rmr(&[[0x4000_0000, 0, 0x1000, 0]], &[mapping]);
        let described = Iort::parse(&iort_of(&[smmu_v3(0x905_0000, 0), root, rmr]))
            .unwrap()
            .description();
        let devices = described
            .reserved
            .first()
            .map(|region| region.devices.clone());
        devices.map(|devices| match devices {
            Devices::Requesters { first, last, .. } => (first, last),
            _ => panic!("{devices:?}"),
        })
    };
    assert_eq!(reserved([0, 0, 0x1010, 48, 0]), Some((0x10, 0x10)));
    assert_eq!(reserved([0, 0, 0x101f, 48, 1]), Some((0x1f, 0x1f)));
    assert_eq!(reserved([0, 0xffff, 0, 48, 0]), Some((0x10, 0x1f)));
    assert_eq!(reserved([0, 3, 0x1014, 48, 0]), Some((0x14, 0x17)));
    assert_eq!(reserved([0, 0, 0x100f, 48, 0]), None);
    assert_eq!(reserved([0, 0, 0x1020, 48, 0]), None);
    assert_eq!(reserved([0, 0, u32::MAX, 48, 0]), None);
}

#[test]
fn ids_that_are_no_requesters_are_passed_over() {
    let root = root_complex(
        0,
        &[[0xff00, 0x1ff, 0, 48, 0], [0x1_0000, 0xff, 0x100, 48, 0]],
    );
    let described = Iort::parse(&iort_of(&[smmu_v3(0x905_0000, 0), root]))
        .unwrap()
        .description();
    let [one] = described.assignments.as_slice() else {
        panic!()
    };
    let requesters = Devices::Requesters {
        segment: 0,
        first: 0xff00,
        last: 0xffff,
    };
    assert_eq!(one.devices, requesters);
    assert_eq!(described.units[0].walks, None);
}

#[test]
fn revision_0_nodes_lack_the_newer_fields() {
    let smmu = words(&[0x905_0000, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    let root = words(&[1, 0, 0, 0]);
    let nodes = [node(4, 0, &smmu, &[]), node(2, 0, &root, &[])];
    let iort = Iort::parse(&iort_of(&nodes)).unwrap();
    assert!(
        matches!(&iort.nodes()[0].kind, NodeKind::SmmuV3(smmu) if smmu.proximity_domain.is_none())
    );
    assert!(matches!(&iort.nodes()[1].kind, NodeKind::RootComplex(root) if root.address_bits == 0));
}

#[test]
fn root_complexes_tell_what_addresses_they_pass_on() {
    let of_bits = |segment, bits: u32| node(2, 1, &words(&[1, 0, 0, segment, bits]), &[]);
    let nodes = [
        of_bits(0, 64),
        of_bits(1, 40),
        of_bits(1, 36),
        of_bits(2, 0),
    ];
    let iort = Iort::parse(&iort_of(&nodes)).unwrap();
    assert_eq!(iort.bus_limit(0), None);
    assert_eq!(iort.bus_limit(1), Some((1 << 36) - 1));
    assert_eq!((iort.bus_limit(2), iort.bus_limit(3)), (None, None));
}

/// Parses `nodes`, which start at byte 48, and expects `damage` at `offset`.
fn check(nodes: &[Vec<u8>], offset: usize, damage: Damage) {
    assert_eq!(
        Iort::parse(&iort_of(nodes)),
        error(Signature::IORT, offset, damage)
    );
}

#[test]
fn references_to_no_node_are_refused() {
    for to in [0, 47, 49, 48 + 68 + 1, u32::MAX] {
        let root = root_complex(0, &[[0, 0, 0, to, 0]]);
        let damage = Damage::BadReference { to: to.into() };
        check(&[smmu_v3(0x905_0000, 0), root], 48 + 68 + 36 + 12, damage);
    }
    let mut bytes = iort_of(&[]);
    bytes[40] = 47;
    crate::example::seal(&mut bytes, 9);
    let damage = Damage::BadReference { to: 47 };
    assert_eq!(Iort::parse(&bytes), error(Signature::IORT, 40, damage));
}

#[test]
fn ids_past_the_last_are_refused() {
    let at = 48 + 68 + 36;
    for (mapping, at, first, count) in [
        ([1, u32::MAX, 0, 48, 0], at, 1, 1 << 32),
        ([0, 1, u32::MAX, 48, 0], at + 8, u32::MAX, 2),
    ] {
        let nodes = [smmu_v3(0x905_0000, 0), root_complex(0, &[mapping])];
        check(&nodes, at, Damage::BadIds { first, count });
    }
    // All there are.
    let all = root_complex(0, &[[0, u32::MAX, 0, 48, 0]]);
    assert!(Iort::parse(&iort_of(&[smmu_v3(0x905_0000, 0), all])).is_ok());
}

#[test]
fn arrays_past_the_end_of_their_node_are_refused() {
    let mut root = root_complex(0, &[[0, 0, 0, 48, 0]]);
    root[8] = 2;
    let cut = |needed, available| Damage::Truncated { needed, available };
    check(&[smmu_v3(0x905_0000, 0), root], 48 + 68 + 36, cut(40, 20));
    let mut its = node(0, 1, &words(&[1, 7]), &[]);
    its[19] = 0x80;
    check(&[its], 48 + 20, cut(0x8000_0001 * 4, 4));
    let mut reserved = rmr(&[[0x4000_0000, 0, 0x1000, 0]], &[]);
    reserved[24] = 29;
    check(&[reserved], 48 + 29, cut(20, 19));
}

#[test]
fn nodes_too_short_for_their_fields_are_refused() {
    for (kind, least) in [(0, 20), (1, 30), (2, 32), (3, 60), (4, 60), (6, 28)] {
        let damage = Damage::LengthTooSmall { stated: 17, least };
        check(&[node(kind, 0, &[0], &[])], 48 + 1, damage);
    }
    let mut short = node(9, 0, &[], &[]);
    short[1] = 15;
    let damage = Damage::LengthTooSmall {
        stated: 15,
        least: 16,
    };
    check(&[short], 48 + 1, damage);
    // More nodes than there are.
    let mut bytes = iort_of(&[smmu_v3(0x905_0000, 0)]);
    bytes[36] = 2;
    crate::example::seal(&mut bytes, 9);
    let damage = Damage::Truncated {
        needed: 16,
        available: 0,
    };
    assert_eq!(Iort::parse(&bytes), error(Signature::IORT, 48 + 68, damage));
}

#[test]
fn impossible_addresses_and_segments_are_refused() {
    for address in [0, 0x905_1000] {
        let damage = Damage::BadAddress {
            address: address.into(),
            align: 64 << 10,
        };
        check(&[smmu_v3(address, 0)], 48 + 16, damage);
    }
    let twice = [smmu_v3(0x905_0000, 0), smmu_v3(0x905_0000, 0)];
    let register_base = 0x905_0000;
    check(
        &twice,
        48 + 68 + 16,
        Damage::DuplicateUnit { register_base },
    );
    let damage = Damage::BadSegment { segment: 0x1_0000 };
    check(&[root_complex(0x1_0000, &[])], 48 + 28, damage);
    for (range, at, base, last) in [
        ([0x1000, 0, 0, 0], 8, 0x1000, 0xfff),
        ([0x1800, 0, 0x1000, 0], 0, 0x1800, 0x27ff),
        ([0x1000, 0, 0x1800, 0], 0, 0x1000, 0x27ff),
    ] {
        let nodes = [rmr(&[range], &[])];
        check(&nodes, 48 + 28 + at, Damage::BadRange { base, last });
    }
    let to_the_end = rmr(&[[0, u32::MAX, 0, 1]], &[]);
    assert!(Iort::parse(&iort_of(&[to_the_end])).is_ok());
    check(&[component(b"\\_SB\xff\0", &[])], 48 + 29, Damage::BadName);
}

#[test]
fn a_table_whose_description_would_never_end_is_refused() {
    let ranges = vec![[0x4000_0000, 0, 0x1000, 0]; 200];
    let streams = vec![[0, 0, 0x1000, 48, 0]; 200];
    let wires = vec![[0, 0, 0x1000, 48, 0]; 100];
    let nodes = [
        smmu_v3(0x905_0000, 0),
        root_complex(0, &wires),
        rmr(&ranges, &streams),
    ];
    let damage = Damage::TooMany {
        stated: 200 * 200 * 100,
        most: 1 << 20,
    };
    check(&nodes, 36, damage);
}
