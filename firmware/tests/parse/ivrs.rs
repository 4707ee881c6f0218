use firmware::ivrs::{
    AcpiName, BlockType, DeviceEntry, MemoryBlock, MemoryFlags, Named, Selected, Settings,
    SpecialKind, Uid, Unit, UnitFlags,
};
use firmware::{
    Assignment, Damage, Devices, DirectAccess, Ivrs, ReservedKind, Signature, Stream, UnitPlace,
    Walks,
};

use crate::error;
use crate::example::{seal, table};

/// An IVRS of `blocks`, for 48 physical and 64 virtual address bits.
fn ivrs_of(blocks: &[Vec<u8>]) -> Vec<u8> {
    let mut body = vec![0x41, 0x30, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    body.extend(blocks.concat());
    table(b"IVRS", &body)
}

/// An IVHD block of segment 0 with `entries`; `features` are there but in type 10h.
fn unit(kind: u8, requester: u16, base: u64, features: u64, entries: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = vec![kind, 0x20, 0, 0];
    bytes.extend(requester.to_le_bytes());
    bytes.extend([0x40, 0]);
    bytes.extend(base.to_le_bytes());
    bytes.extend([0, 0, 0, 0, 0, 0, 0, 0]);
    if kind != 0x10 {
        bytes.extend(features.to_le_bytes());
        bytes.extend([7, 0, 0, 0, 0, 0, 0, 0]);
    }
    bytes.extend(entries.concat());
    sized(bytes)
}

/// Sets the length of a block.
fn sized(mut bytes: Vec<u8>) -> Vec<u8> {
    let len = bytes.len() as u16;
    bytes[2..4].copy_from_slice(&len.to_le_bytes());
    bytes
}

fn entry(kind: u8, device: u16, settings: u8) -> Vec<u8> {
    let [low, high] = device.to_le_bytes();
    vec![kind, low, high, settings]
}

/// An entry with an alias or, if `handle` and `kind` are not 0, a special device.
fn wide(kind: u8, device: u16, more: [u8; 4]) -> Vec<u8> {
    let mut bytes = entry(kind, device, 0);
    bytes.extend(more);
    bytes
}

fn acpi(device: u16, hid: &[u8; 8], format: u8, uid: &[u8]) -> Vec<u8> {
    let mut bytes = entry(240, device, 0);
    bytes.extend(hid);
    bytes.extend([0; 8]);
    bytes.extend([format, uid.len() as u8]);
    bytes.extend(uid);
    bytes
}

/// An IVMD block of segment 3.
fn memory(kind: u8, flags: u8, first: u16, last: u16, base: u64, len: u64) -> Vec<u8> {
    let mut bytes = vec![kind, flags, 32, 0];
    for half in [first, last, 3, 0, 0, 0] {
        bytes.extend(half.to_le_bytes());
    }
    bytes.extend(base.to_le_bytes());
    bytes.extend(len.to_le_bytes());
    bytes
}

/// Every entry there is, in the order in which [`all_selected`] has them.
fn all_entries() -> Vec<Vec<u8>> {
    vec![
        entry(0, 0, 0),
        entry(1, 0, 0xd7),
        entry(2, 0x0010, 0),
        entry(3, 0x0100, 0),
        entry(4, 0x01ff, 0),
        wide(66, 0x0208, [0, 0x00, 0x02, 0]),
        wide(67, 0x0300, [0, 0x01, 0x02, 0]),
        wide(64, 0, [0; 4]),
        entry(0, 0, 0),
        entry(4, 0x03ff, 0),
        wide(70, 0x0400, [0, 0, 0, 0x80]),
        wide(71, 0x0500, [0, 0, 0, 0]),
        entry(4, 0x0507, 0),
        wide(72, 0, [33, 0xa0, 0x00, 1]),
        wide(72, 0, [0, 0xa1, 0x00, 2]),
        wide(72, 0, [0, 0xa2, 0x00, 3]),
        vec![130; 16],
        vec![200; 32],
        acpi(0x0098, b"AMDI0020", 1, &5u64.to_le_bytes()),
        acpi(0x0099, b"AMDI0021", 2, b"\\_SB.FUR0\0"),
        acpi(0x009a, b"AMD\0\0\0\0\0", 0, b""),
        acpi(0x009b, b"AMDI0022", 0, b"")
            .into_iter()
            .enumerate()
            .map(|(at, byte)| if at == 0 { 250 } else { byte })
            .collect(),
    ]
}

fn all_selected() -> Vec<Selected> {
    let range = |first, last| Selected::Range { first, last };
    let special = |kind, handle, requester| Selected::Special {
        kind,
        handle,
        requester,
    };
    let name = |hid: &str, uid| AcpiName {
        hid: hid.into(),
        cid: String::new(),
        uid,
    };
    let acpi = |requester, name| Selected::Acpi { requester, name };
    vec![
        Selected::All,
        range(0x0010, 0x0010),
        range(0x0100, 0x01ff),
        Selected::Alias {
            first: 0x0208,
            last: 0x0208,
            alias: 0x0200,
        },
        Selected::Alias {
            first: 0x0300,
            last: 0x03ff,
            alias: 0x0201,
        },
        range(0x0400, 0x0400),
        range(0x0500, 0x0507),
        special(SpecialKind::IoApic, 33, 0xa0),
        special(SpecialKind::Hpet, 0, 0xa1),
        acpi(0x98, name("AMDI0020", Uid::Number(5))),
        acpi(0x99, name("AMDI0021", Uid::Text("\\_SB.FUR0".into()))),
        acpi(0x9a, name("AMD", Uid::None)),
    ]
}

/// An IVRS in which everything occurs.
pub(crate) fn rich() -> Vec<u8> {
    ivrs_of(&[
        unit(0x10, 2, 0xfd20_0000, 0, &all_entries()[..15]),
        unit(0x11, 2, 0xfd20_0000, 0x200, &all_entries()[..15]),
        unit(0x40, 2, 0xfd20_0000, 0x200, &all_entries()),
        memory(0x20, 0b0111, 0, 0, 0x1000, 0x1000),
        memory(0x21, 0b0011, 0x18, 0, 0x2000, 0x1000),
        memory(0x22, 0b1000, 0x20, 0x27, 0x3000, 0x2000),
        sized(vec![0x77, 0, 0, 0, 1, 2, 3]),
    ])
}

#[test]
fn the_table_typed_from_the_manual_is_read() {
    // Each byte by hand: 5.2.1, 5.2.2.1, 5.2.2.4.
    #[rustfmt::skip]
    let mut bytes = vec![
        b'I', b'V', b'R', b'S', 0x5c, 0, 0, 0, 2, 0, b'O', b'E', b'M', b'I', b'D', b' ',
        b'T', b'A', b'B', b'L', b'E', b' ', b'I', b'D', 1, 0, 0, 0, b'C', b'R', b'E', b'A',
        1, 0, 0, 0,
        // IVinfo: EFRSup, DMA protection, GVASize 2, PASize 48, VASize 64, HtAtsResv.
        0x43, 0x30, 0x60, 0x00, 0, 0, 0, 0, 0, 0, 0, 0,
        // IVHD 11h, 44 bytes, unit 00:00.2 with its capability at 0x40, registers at 0x1_fd20_0000.
        0x11, 0xb0, 0x2c, 0x00, 0x02, 0x00, 0x40, 0x00,
        0x00, 0x00, 0x20, 0xfd, 0x01, 0x00, 0x00, 0x00,
        // Segment 5, unit 2 with message 3, 15 counters of 8 banks.
        0x05, 0x00, 0x03, 0x02, 0x00, 0xe0, 0x11, 0x00,
        // Extended features with performance counters, the second register.
        0xfa, 0xf6, 0xcf, 0x22, 0x94, 0xff, 0x33, 0x00,
        0x10, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
        // Select 01:00.0: pass NMI, LINT1.
        0x02, 0x00, 0x01, 0x84,
    ];
    seal(&mut bytes, 9);
    let ivrs = Ivrs::parse(&bytes).unwrap();
    let info = ivrs.info();
    assert!(info.features_reported() && info.preboot_protection() && info.ats_range_reserved());
    assert_eq!(info.guest_address_bits(), 48);
    assert_eq!(info.physical_address_bits(), 48);
    assert_eq!(info.virtual_address_bits(), 64);
    let unit = Unit {
        block_type: BlockType::Type11,
        flags: UnitFlags(0xb0),
        requester: 2,
        capability_offset: 0x40,
        register_base: 0x1_fd20_0000,
        segment: 5,
        info: 0x0203,
        attributes: 0x0011_e000,
        features: Some(0x0033_ff94_22cf_f6fa),
        features2: Some(0x10),
        entries: vec![DeviceEntry {
            devices: Selected::Range {
                first: 0x0100,
                last: 0x0100,
            },
            settings: Settings(0x84),
            ats_disabled: false,
        }],
    };
    assert_eq!(ivrs.units(), [unit]);
    let unit = &ivrs.units()[0];
    assert!(unit.flags.device_caches() && unit.flags.coherent() && unit.flags.page_requests());
    assert!(!unit.flags.tunnel() && !unit.flags.pass_posted_writes() && !unit.flags.prefetch());
    assert!(!unit.flags.responses_pass_posted_writes() && !unit.flags.isochronous());
    assert_eq!(unit.register_len(), 512 << 10);
    let settings = unit.entries[0].settings;
    assert!(settings.nmi() && settings.lint1());
    assert!(!settings.init() && !settings.external() && !settings.lint0());
    assert_eq!(settings.system_management(), 0);

    let described = ivrs.description();
    assert_eq!(described.host_address_bits, Some(48));
    assert_eq!(described.units[0].walks, Some(Walks::Snoop));
    assert_eq!(described.units[0].segment, 5);
    let place = UnitPlace::Registers {
        phys: 0x1_fd20_0000,
        len_bytes: 512 << 10,
    };
    assert_eq!(described.units[0].place, place);
}

#[test]
fn every_entry_is_read_and_unknown_ones_are_passed_over() {
    let ivrs = Ivrs::parse(&rich()).unwrap();
    let [unit] = ivrs.units() else { panic!() };
    let selected: Vec<_> = unit.entries.iter().map(|entry| &entry.devices).collect();
    assert_eq!(selected, all_selected().iter().collect::<Vec<_>>());
    let disabled: Vec<_> = unit
        .entries
        .iter()
        .map(|entry| entry.ats_disabled)
        .collect();
    let expected = all_selected()
        .iter()
        .map(|devices| matches!(devices, Selected::Range { first: 0x0400, .. }))
        .collect::<Vec<_>>();
    assert_eq!(disabled, expected);
    assert_eq!(unit.entries[0].settings.system_management(), 1);
}

#[test]
fn every_memory_block_is_read() {
    let ivrs = Ivrs::parse(&rich()).unwrap();
    let block = |devices, flags, base, last| MemoryBlock {
        devices,
        segment: 3,
        flags: MemoryFlags(flags),
        base,
        last,
    };
    let range = |first, last| Named::Range { first, last };
    let expected = [
        block(Named::All, 0b0111, 0x1000, 0x1fff),
        block(range(0x18, 0x18), 0b0011, 0x2000, 0x2fff),
        block(range(0x20, 0x27), 0b1000, 0x3000, 0x4fff),
    ];
    assert_eq!(ivrs.memory_blocks(), expected);
    let flags = expected[0].flags;
    assert!(flags.unity() && flags.read() && flags.write() && !flags.exclusion());
}

#[test]
fn the_richest_block_of_a_unit_counts() {
    let select = |device| [entry(2, device, 0)];
    let block = |kind, device| unit(kind, 2, 0xfd20_0000, 0, &select(device));
    for order in [[0x10, 0x11, 0x40], [0x40, 0x11, 0x10], [0x11, 0x40, 0x10]] {
        let blocks = order.map(|kind| block(kind, kind.into()));
        let ivrs = Ivrs::parse(&ivrs_of(&blocks)).unwrap();
        assert_eq!(ivrs.units().len(), 1);
        assert_eq!(ivrs.units()[0].block_type, BlockType::Type40);
        let first = 0x40;
        assert_eq!(
            ivrs.units()[0].entries[0].devices,
            Selected::Range { first, last: first }
        );
    }
    // Units keep their order, whichever block came last.
    let other = |kind| unit(kind, 3, 0xfd30_0000, 0, &[]);
    let blocks = [block(0x10, 1), other(0x10), other(0x11), block(0x11, 1)];
    let ivrs = Ivrs::parse(&ivrs_of(&blocks)).unwrap();
    let requesters: Vec<u16> = ivrs.units().iter().map(|unit| unit.requester).collect();
    assert_eq!(requesters, [2, 3]);
    assert!(
        ivrs.units()
            .iter()
            .all(|unit| unit.block_type == BlockType::Type11)
    );
}

#[test]
fn later_entries_outweigh_earlier_ones_and_all_outweighs_none() {
    let first = unit(
        0x11,
        2,
        0xfd20_0000,
        0,
        &[
            entry(1, 0, 0),
            entry(3, 0x0200, 0),
            entry(4, 0x02ff, 0),
            wide(66, 0x0208, [0, 0x00, 0x02, 0]),
        ],
    );
    let second = unit(0x11, 3, 0xfd30_0000, 0, &[entry(2, 0x0300, 0)]);
    let described = Ivrs::parse(&ivrs_of(&[first, second]))
        .unwrap()
        .description();
    let one = |unit, first, last, stream| Assignment {
        devices: Devices::Requesters {
            segment: 0,
            first,
            last,
        },
        unit,
        stream,
    };
    let expected = [
        one(0, 0x0208, 0x0208, Stream::One(0x0200)),
        one(0, 0x0200, 0x02ff, Stream::Requester),
        one(1, 0x0300, 0x0300, Stream::Requester),
        Assignment {
            devices: Devices::Segment { segment: 0 },
            unit: 0,
            stream: Stream::Requester,
        },
    ];
    assert_eq!(described.assignments, expected);
}

#[test]
fn acpi_devices_are_named_by_path_or_ids() {
    let described = Ivrs::parse(&rich()).unwrap().description();
    let named: Vec<_> = described
        .assignments
        .iter()
        .filter_map(|one| match &one.devices {
            Devices::Named(name) => Some((name.as_str(), one.stream)),
            _ => None,
        })
        .collect();
    let expected = [
        ("AMD", Stream::One(0x9a)),
        ("\\_SB.FUR0", Stream::One(0x99)),
        ("AMDI0020:5", Stream::One(0x98)),
    ];
    assert_eq!(named, expected);
}

#[test]
fn memory_blocks_are_described_by_their_flags() {
    let kind = |flags| {
        let block = memory(0x21, flags, 0x18, 0, 0x1000, 0x1000);
        let described = Ivrs::parse(&ivrs_of(&[block])).unwrap().description();
        let region = described.reserved[0].clone();
        let devices = Devices::Requesters {
            segment: 3,
            first: 0x18,
            last: 0x18,
        };
        assert_eq!(
            (region.devices, region.base, region.last),
            (devices, 0x1000, 0x1fff)
        );
        region.kind
    };
    assert_eq!(kind(0b0111), ReservedKind::Direct(DirectAccess::ReadWrite));
    assert_eq!(kind(0b0011), ReservedKind::Direct(DirectAccess::Read));
    assert_eq!(kind(0b0101), ReservedKind::Direct(DirectAccess::Write));
    assert_eq!(kind(0b1000), ReservedKind::Untranslated);
    assert_eq!(kind(0b1111), ReservedKind::Untranslated);
    assert_eq!(kind(0b0001), ReservedKind::Unmappable);
    assert_eq!(kind(0b0110), ReservedKind::Unmappable);
}

#[test]
fn counters_make_the_register_set_longer() {
    let len = |kind: u8, attributes: u32, features| {
        let mut block = unit(kind, 2, 0xfd20_0000, features, &[]);
        block[20..24].copy_from_slice(&attributes.to_le_bytes());
        Ivrs::parse(&ivrs_of(&[block])).unwrap().units()[0].register_len()
    };
    assert_eq!(len(0x10, 0, 0), 16 << 10);
    assert_eq!(len(0x10, 1 << 13, 0), 16 << 10);
    assert_eq!(len(0x10, 1 << 17, 0), 16 << 10);
    assert_eq!(len(0x10, 1 << 13 | 1 << 17, 0), 512 << 10);
    assert_eq!(len(0x11, 1 << 13 | 1 << 17, 0), 16 << 10);
    assert_eq!(len(0x11, 0, 1 << 9), 512 << 10);
    assert_eq!(len(0x40, 0, 1 << 9), 512 << 10);
}

/// Parses `blocks`, which start at byte 48, and expects `damage` at `offset`.
fn check(blocks: &[Vec<u8>], offset: usize, damage: Damage) {
    assert_eq!(
        Ivrs::parse(&ivrs_of(blocks)),
        error(Signature::IVRS, offset, damage)
    );
}

#[test]
fn ranges_with_one_end_or_the_wrong_way_round_are_refused() {
    let block = |entries: &[Vec<u8>]| [unit(0x11, 2, 0xfd20_0000, 0, entries)];
    let start = || entry(3, 0x0100, 0);
    let at = 48 + 40;
    check(&block(&[start()]), at, Damage::UnpairedRange);
    check(
        &block(&[start(), entry(2, 0x0101, 0)]),
        at,
        Damage::UnpairedRange,
    );
    check(&block(&[start(), start()]), at, Damage::UnpairedRange);
    check(&block(&[entry(4, 0x0101, 0)]), at, Damage::UnpairedRange);
    let damage = Damage::BadIds {
        first: 0x0100,
        count: 0,
    };
    check(&block(&[start(), entry(4, 0x00ff, 0)]), at + 5, damage);
    check(
        &[memory(0x22, 0, 0x0100, 0x00ff, 0, 0x1000)],
        48 + 6,
        damage,
    );
}

#[test]
fn entries_past_the_end_are_refused() {
    let block = |entry: Vec<u8>| [unit(0x40, 2, 0xfd20_0000, 0, &[entry])];
    let at = 48 + 40;
    let cut = |needed, available| Damage::Truncated { needed, available };
    check(&block(vec![2, 0, 0]), at, cut(4, 3));
    check(&block(vec![66, 0, 0, 0, 0, 0, 0]), at, cut(8, 7));
    check(&block(vec![240; 21]), at, cut(22, 21));
    let mut named = acpi(0x98, b"AMDI0020", 2, b"\\_SB");
    named[21] = 5;
    check(&block(named), at, cut(27, 26));
    check(
        &block(acpi(0x98, b"AMDI0020", 1, &[1; 7])),
        at + 22,
        cut(8, 7),
    );
    let damage = Damage::BadName;
    check(&block(acpi(0x98, b"AMDI\xff020", 0, b"")), at + 4, damage);
}

#[test]
fn blocks_too_short_for_their_fields_are_refused() {
    for (kind, least) in [
        (0x10, 24),
        (0x11, 40),
        (0x40, 40),
        (0x20, 32),
        (0x21, 32),
        (0x22, 32),
    ] {
        let damage = Damage::LengthTooSmall { stated: 5, least };
        check(&[sized(vec![kind, 0, 0, 0, 0])], 48 + 2, damage);
    }
    for stated in 0..4 {
        let damage = Damage::LengthTooSmall {
            stated: stated.into(),
            least: 4,
        };
        check(&[vec![0x77, 0, stated, 0]], 48 + 2, damage);
    }
}

#[test]
fn impossible_addresses_are_refused() {
    let align = 16 << 10;
    for address in [0, 0xfd20_1000] {
        let block = unit(0x11, 2, address, 0, &[]);
        check(&[block], 48 + 8, Damage::BadAddress { address, align });
    }
    let base = 0xffff_ffff_ffff_c000;
    assert!(Ivrs::parse(&ivrs_of(&[unit(0x11, 2, base, 0, &[])])).is_ok());
    let long = unit(0x11, 2, base, 1 << 9, &[]);
    let last = base.wrapping_add(0x7_ffff);
    check(&[long], 48 + 8, Damage::BadRange { base, last });
    for (base, len, at) in [
        (0x1000, 0, 24),
        (0x1800, 0x1000, 16),
        (0x1000, 0x800, 16),
        (0xffff_ffff_ffff_f000, 0x2000, 24),
    ] {
        let last = u64::wrapping_add(base, len).wrapping_sub(1);
        check(
            &[memory(0x20, 0, 0, 0, base, len)],
            48 + at,
            Damage::BadRange { base, last },
        );
    }
}

#[test]
fn two_units_with_the_same_registers_or_function_are_refused() {
    let register_base = 0xfd20_0000;
    let damage = Damage::DuplicateUnit { register_base };
    let one = || unit(0x11, 2, register_base, 0, &[]);
    check(&[one(), one()], 48 + 40 + 8, damage);
    let other = unit(0x11, 3, register_base, 0, &[]);
    check(&[one(), other], 48 + 40 + 8, damage);
}

#[test]
fn an_impossible_address_width_is_refused() {
    let mut bytes = ivrs_of(&[]);
    bytes[37] = 65;
    seal(&mut bytes, 9);
    assert_eq!(
        Ivrs::parse(&bytes),
        error(Signature::IVRS, 37, Damage::BadAddressWidth { bits: 65 })
    );
}
