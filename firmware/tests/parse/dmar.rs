use firmware::dmar::{
    Affinity, DeviceScope, IntegratedAts, NamespaceDevice, ReservedRegion, RootPortAts, ScopeKind,
    Unit,
};
use firmware::{
    Assignment, Damage, Devices, DirectAccess, Dmar, ReservedKind, Signature, Stream, UnitPlace,
};

use crate::error;
use crate::example::{dmar, dmar_of, reserved_region, scope, seal, structure, table, unit};

/// Parses `structures`, which start at byte 48, and expects `damage` at `offset`.
fn check(structures: &[Vec<u8>], offset: usize, damage: Damage) {
    assert_eq!(
        Dmar::parse(&dmar_of(structures)),
        error(Signature::DMAR, offset, damage)
    );
}

fn parsed(structures: &[Vec<u8>]) -> Dmar {
    Dmar::parse(&dmar_of(structures)).unwrap()
}

fn named(kind: ScopeKind, enumeration_id: u8, path: &[(u8, u8)]) -> DeviceScope {
    DeviceScope {
        kind,
        enumeration_id,
        start_bus: 0,
        path: path.to_vec(),
    }
}

#[test]
fn the_table_typed_from_the_manual_is_read() {
    // Each byte by hand: 8.1, 8.3, 8.3.1.
    #[rustfmt::skip]
    let mut bytes = vec![
        b'D', b'M', b'A', b'R', 0x50, 0, 0, 0, 1, 0, b'O', b'E', b'M', b'I', b'D', b' ',
        b'T', b'A', b'B', b'L', b'E', b' ', b'I', b'D', 1, 0, 0, 0, b'C', b'R', b'E', b'A',
        1, 0, 0, 0, 0x26, 0x05, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        // DRHD, 32 bytes, flags, size 2^1 pages, segment 2, registers at 0x1_fed9_2000.
        0x00, 0x00, 0x20, 0x00, 0x00, 0x01, 0x02, 0x00,
        0x00, 0x20, 0xd9, 0xfe, 0x01, 0x00, 0x00, 0x00,
        // IO APIC 8 as 00:1f.7.
        0x03, 0x08, 0x00, 0x00, 0x08, 0x00, 0x1f, 0x07,
        // HPET 0 as f0:0f.0.
        0x04, 0x08, 0x00, 0x00, 0x00, 0xf0, 0x0f, 0x00,
    ];
    seal(&mut bytes, 9);
    let dmar = Dmar::parse(&bytes).unwrap();
    assert_eq!(dmar.host_address_bits(), 39);
    assert!(dmar.flags().interrupt_remapping());
    assert!(!dmar.flags().x2apic_opt_out());
    assert!(dmar.flags().dma_control_opt_in());
    let hpet = DeviceScope {
        start_bus: 0xf0,
        ..named(ScopeKind::Hpet, 0, &[(0x0f, 0)])
    };
    let unit = Unit {
        segment: 2,
        register_base: 0x1_fed9_2000,
        register_len: 0x2000,
        include_all: false,
        scopes: vec![named(ScopeKind::IoApic, 8, &[(0x1f, 7)]), hpet],
    };
    assert_eq!(dmar.units(), [unit]);
}

#[test]
fn every_scope_kind_is_read() {
    let scopes = [
        scope(1, 0, &[(3, 1)]),
        scope(2, 0, &[(1, 0), (0, 0), (31, 7)]),
        scope(3, 2, &[(4, 0)]),
        scope(4, 1, &[(5, 0)]),
        scope(5, 9, &[(6, 0)]),
    ];
    let dmar = parsed(&[unit(0, 0xfed9_0000, &scopes)]);
    let expected = [
        named(ScopeKind::Endpoint, 0, &[(3, 1)]),
        named(ScopeKind::SubHierarchy, 0, &[(1, 0), (0, 0), (31, 7)]),
        named(ScopeKind::IoApic, 2, &[(4, 0)]),
        named(ScopeKind::Hpet, 1, &[(5, 0)]),
        named(ScopeKind::Namespace, 9, &[(6, 0)]),
    ];
    assert_eq!(dmar.units()[0].scopes, expected);
}

#[test]
fn every_structure_is_read() {
    let device = || vec![scope(1, 0, &[(3, 0)])];
    let named = || vec![named(ScopeKind::Endpoint, 0, &[(3, 0)])];
    let dmar = parsed(&[
        unit(1, 0xfed9_0000, &[]),
        reserved_region(0x7f00_0000, 0x7f0f_ffff, &device()),
        structure(2, &[1, 0, 3, 0], &device()),
        structure(
            3,
            &[0, 0, 0, 0, 0x00, 0x00, 0xd9, 0xfe, 0, 0, 0, 0, 7, 0, 0, 0],
            &[],
        ),
        structure(4, &[0, 0, 0, 9, b'\\', b'D', b'M', b'A', 0, 0], &[]),
        structure(5, &[1, 0, 4, 0], &device()),
    ]);
    assert!(dmar.units()[0].include_all);
    let region = ReservedRegion {
        segment: 0,
        base: 0x7f00_0000,
        last: 0x7f0f_ffff,
        scopes: named(),
    };
    assert_eq!(dmar.reserved_regions(), [region]);
    let ports = RootPortAts {
        segment: 3,
        all_ports: true,
        scopes: named(),
    };
    assert_eq!(dmar.root_port_ats(), [ports]);
    let affinity = Affinity {
        register_base: 0xfed9_0000,
        proximity_domain: 7,
    };
    assert_eq!(dmar.affinities(), [affinity]);
    let device = NamespaceDevice {
        device_number: 9,
        name: "\\DMA".into(),
    };
    assert_eq!(dmar.namespace_devices(), [device]);
    let integrated = IntegratedAts {
        segment: 4,
        required: true,
        scopes: named(),
    };
    assert_eq!(dmar.integrated_ats(), [integrated]);
}

#[test]
fn unknown_types_are_passed_over_by_their_length() {
    let unknown = structure(0x1234, &[0xff; 13], &[]);
    let scopes = [vec![0x77, 9, 1, 2, 3, 4, 5, 6, 7], scope(1, 0, &[(3, 0)])];
    let dmar = parsed(&[unknown, unit(0, 0xfed9_0000, &scopes)]);
    assert_eq!(
        dmar.units()[0].scopes,
        [named(ScopeKind::Endpoint, 0, &[(3, 0)])]
    );
}

#[test]
fn lengths_that_would_never_end_are_refused() {
    let good = || unit(1, 0xfed9_0000, &[]);
    for stated in 0..4 {
        let damage = Damage::LengthTooSmall {
            stated: stated.into(),
            least: 4,
        };
        check(
            &[good(), vec![9, 0, stated, 0, 0, 0, 0, 0]],
            48 + 16 + 2,
            damage,
        );
    }
    for stated in 0..8 {
        let mut empty = scope(1, 0, &[(3, 0)]);
        empty[1] = stated;
        let damage = Damage::LengthTooSmall {
            stated: stated.into(),
            least: 8,
        };
        check(&[unit(0, 0xfed9_0000, &[empty])], 48 + 16 + 1, damage);
    }
}

#[test]
fn lengths_past_the_end_are_refused() {
    let mut long = unit(1, 0xfed9_0000, &[]);
    long[2] += 1;
    check(
        &[long],
        48,
        Damage::Truncated {
            needed: 17,
            available: 16,
        },
    );
    let mut long = scope(1, 0, &[(3, 0)]);
    long[1] = 10;
    check(
        &[unit(0, 0xfed9_0000, &[long])],
        64,
        Damage::Truncated {
            needed: 10,
            available: 8,
        },
    );
    check(
        &[vec![0, 0]],
        48,
        Damage::Truncated {
            needed: 4,
            available: 2,
        },
    );
    check(
        &[unit(0, 0xfed9_0000, &[vec![1]])],
        64,
        Damage::Truncated {
            needed: 2,
            available: 1,
        },
    );
}

#[test]
fn structures_too_short_for_their_fields_are_refused() {
    for (kind, least) in [(0, 16), (1, 24), (2, 8), (3, 20), (4, 8), (5, 8)] {
        let damage = Damage::LengthTooSmall { stated: 5, least };
        check(&[structure(kind, &[0], &[])], 48 + 2, damage);
    }
}

#[test]
fn impossible_paths_are_refused() {
    let mut odd = scope(1, 0, &[(3, 0)]);
    odd[1] = 9;
    odd.push(0);
    let damage = Damage::RaggedArray {
        len_bytes: 3,
        entry_bytes: 2,
    };
    check(&[unit(0, 0xfed9_0000, &[odd])], 64 + 6, damage);
    for (device, function) in [(32, 0), (0, 8), (255, 255)] {
        let scope = scope(2, 0, &[(1, 0), (device, function)]);
        let damage = Damage::BadPathStep { device, function };
        check(&[unit(0, 0xfed9_0000, &[scope])], 64 + 8, damage);
    }
}

#[test]
fn impossible_register_addresses_are_refused() {
    let align = 4096;
    check(
        &[unit(1, 0, &[])],
        56,
        Damage::BadAddress { address: 0, align },
    );
    let address = 0xfed9_0800;
    check(
        &[unit(1, address, &[])],
        56,
        Damage::BadAddress { address, align },
    );
    let base = 0xffff_ffff_ffff_f000;
    let mut last_page = unit(1, base, &[]);
    assert_eq!(parsed(&[last_page.clone()]).units()[0].register_base, base);
    last_page[5] = 1;
    check(
        &[last_page],
        56,
        Damage::BadRange {
            base,
            last: u64::MAX,
        },
    );
}

#[test]
fn impossible_reserved_regions_are_refused() {
    let device = || vec![scope(1, 0, &[(3, 0)])];
    let region = |base, last| reserved_region(base, last, &device());
    let address = 0x7f00_0001;
    check(
        &[region(address, 0x7f00_0fff)],
        56,
        Damage::BadAddress {
            address,
            align: 4096,
        },
    );
    for (base, last) in [
        (0x7f00_0000, 0x7eff_ffff),
        (0x7f00_0000, 0x7f00_0000),
        (0x7f00_0000, 0x7f00_1000),
        (0x7f00_0000, 0),
    ] {
        check(&[region(base, last)], 64, Damage::BadRange { base, last });
    }
    check(
        &[reserved_region(0x7f00_0000, 0x7f00_0fff, &[])],
        72,
        Damage::NoDeviceScope,
    );
}

#[test]
fn a_second_catch_all_unit_of_a_segment_is_refused() {
    let first = || unit(1, 0xfed9_0000, &[]);
    let mut second = unit(1, 0xfed9_1000, &[]);
    check(
        &[first(), second.clone()],
        64 + 4,
        Damage::DuplicateIncludeAll { segment: 0 },
    );
    second[6] = 1;
    assert_eq!(parsed(&[first(), second]).units().len(), 2);
}

#[test]
fn a_catch_all_unit_need_not_come_last() {
    let named = unit(0, 0xfed9_1000, &[scope(1, 0, &[(3, 0)])]);
    assert_eq!(parsed(&[unit(1, 0xfed9_0000, &[]), named]).units().len(), 2);
}

#[test]
fn two_units_with_the_same_registers_are_refused() {
    let units = [unit(0, 0xfed9_0000, &[]), unit(0, 0xfed9_0000, &[])];
    check(
        &units,
        64 + 8,
        Damage::DuplicateUnit {
            register_base: 0xfed9_0000,
        },
    );
}

#[test]
fn names_must_end() {
    check(
        &[structure(4, &[0, 0, 0, 9, b'\\', b'D'], &[])],
        56,
        Damage::BadName,
    );
    check(
        &[structure(4, &[0, 0, 0, 9, 0xc3, 0xa4, 0], &[])],
        56,
        Damage::BadName,
    );
}

#[test]
fn the_header_is_checked() {
    let edited = |at: usize, value: u8| {
        let mut bytes = dmar();
        bytes[at] = value;
        seal(&mut bytes, 9);
        Dmar::parse(&bytes)
    };
    let found = Signature(*b"DMAX");
    let expected = Signature::DMAR;
    assert_eq!(
        edited(3, b'X'),
        error(expected, 0, Damage::WrongSignature { expected, found })
    );
    let damage = Damage::LengthTooSmall {
        stated: 35,
        least: 48,
    };
    assert_eq!(edited(4, 35), error(expected, 4, damage));
    assert_eq!(
        edited(36, 64),
        error(expected, 36, Damage::BadAddressWidth { bits: 65 })
    );
    let mut bytes = dmar();
    bytes[100] ^= 0x10;
    let Err(found) = Dmar::parse(&bytes) else {
        panic!("a wrong checksum was accepted")
    };
    assert!(
        matches!(found.damage, Damage::Checksum { sum: 0x10 | 0xf0 }),
        "{found}"
    );
    assert_eq!(found.offset, 9);
    let damage = Damage::LengthTooSmall {
        stated: 44,
        least: 48,
    };
    assert_eq!(
        Dmar::parse(&table(b"DMAR", &[0; 8])),
        error(expected, 4, damage)
    );
}

#[test]
fn the_table_is_described_with_its_catch_all_unit_last() {
    let scopes = [
        scope(3, 2, &[(4, 0)]),
        scope(1, 0, &[(3, 0)]),
        scope(4, 0, &[(5, 0)]),
    ];
    let regions = [scope(2, 0, &[(6, 0)]), scope(1, 0, &[(7, 0)])];
    let described = parsed(&[
        unit(1, 0xfed9_0000, &[]),
        unit(0, 0xfed9_1000, &scopes),
        reserved_region(0x7f00_0000, 0x7f00_0fff, &regions),
    ])
    .description();
    let devices = |kind, device| Devices::Scope {
        segment: 0,
        scope: named(kind, 0, &[(device, 0)]),
    };
    let behind = |unit, devices| Assignment {
        devices,
        unit,
        stream: Stream::Requester,
    };
    let expected = [
        behind(1, devices(ScopeKind::Endpoint, 3)),
        behind(0, Devices::Segment { segment: 0 }),
    ];
    assert_eq!(described.assignments, expected);
    let region = |devices| firmware::ReservedRegion {
        devices,
        base: 0x7f00_0000,
        last: 0x7f00_0fff,
        kind: ReservedKind::Direct(DirectAccess::ReadWrite),
    };
    let expected = [
        region(devices(ScopeKind::SubHierarchy, 6)),
        region(devices(ScopeKind::Endpoint, 7)),
    ];
    assert_eq!(described.reserved, expected);
    assert_eq!(described.host_address_bits, Some(46));
    let place = UnitPlace::Registers {
        phys: 0xfed9_1000,
        len_bytes: 4096,
    };
    assert_eq!(described.units[1].place, place);
}
