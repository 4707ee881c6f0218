use firmware::{
    Damage, Devicetree, Dmar, Iort, Ivrs, Mcfg, Rimt, Rsdp, TableError, Tables, Unreadable, Viot,
};
use proptest::prelude::*;

use crate::example::{dmar, dmar_of, image, mcfg, rsdp, scope, seal, structure, table, unit};
use crate::{device_memory, devicetree, iort, ivrs, rimt, viot};

/// A good table in which everything occurs, and what is made of any bytes in its place.
struct Kind {
    table: Vec<u8>,
    /// All that can be asked of it, without the answers.
    read: fn(&[u8]) -> Result<(), TableError>,
    /// Where its checksum is, if it has one.
    checksum_at: Option<usize>,
}

fn kinds() -> Vec<Kind> {
    let acpi = |table, read| Kind {
        table,
        read,
        checksum_at: Some(9),
    };
    vec![
        acpi(rich_dmar(), |bytes| {
            Dmar::parse(bytes).map(|table| drop(table.description()))
        }),
        acpi(ivrs::rich(), |bytes| {
            Ivrs::parse(bytes).map(|table| drop(table.description()))
        }),
        acpi(iort::rich(), |bytes| {
            Iort::parse(bytes).map(|table| drop(table.description()))
        }),
        acpi(rimt::rich(), |bytes| {
            Rimt::parse(bytes).map(|table| drop(table.description()))
        }),
        acpi(viot::rich(), |bytes| {
            Viot::parse(bytes).map(|table| drop(table.description()))
        }),
        acpi(mcfg(), |bytes| Mcfg::parse(bytes).map(drop)),
        Kind {
            table: rsdp(0, 0x1000),
            read: |bytes| Rsdp::parse(bytes).map(drop),
            checksum_at: Some(8),
        },
        Kind {
            table: devicetree::rich(),
            read: read_tree,
            checksum_at: None,
        },
        Kind {
            table: device_memory::rich(),
            read: read_tree,
            checksum_at: None,
        },
    ]
}

/// Asks all a tree can tell; one bad answer does not keep the others back.
fn read_tree(bytes: &[u8]) -> Result<(), TableError> {
    let tree = Devicetree::parse(bytes)?;
    let answers = [
        tree.iommus().map(drop),
        tree.host_bridges().map(drop),
        tree.memory().map(drop),
        tree.reserved_memory().map(drop),
        tree.device_memory().map(drop),
    ];
    answers.into_iter().collect()
}

/// A DMAR with a structure and a scope of every type.
fn rich_dmar() -> Vec<u8> {
    let scopes = [1, 2, 3, 4, 5, 6].map(|kind| scope(kind, kind, &[(1, 0), (2, 3)]));
    let mut structures = vec![unit(1, 0xfed9_0000, &scopes)];
    for kind in 1..8 {
        let fixed = [
            0, 0, 0, 0, 0, 0x10, 0xd9, 0xfe, 0, 0, 0, 0, 0xff, 0x1f, 0xd9, 0xfe, 0, 0, 0, 0,
        ];
        structures.push(match kind {
            1 => structure(kind, &fixed, &scopes),
            2 | 5 | 6 => structure(kind, &fixed[..4], &scopes),
            _ => structure(kind, &fixed, &[]),
        });
    }
    dmar_of(&structures)
}

#[test]
fn truncation_at_every_length_is_told() {
    for Kind { table, read, .. } in kinds() {
        assert_eq!(read(&table), Ok(()));
        for len in 0..table.len() {
            let error = read(&table[..len]).unwrap_err();
            assert!(
                matches!(error.damage, Damage::Truncated { .. }),
                "{len} bytes: {error}"
            );
        }
    }
}

#[test]
fn what_follows_a_table_is_ignored() {
    for Kind { table, read, .. } in kinds() {
        let mut bytes = table.clone();
        bytes.extend([0xff; 64]);
        assert_eq!(read(&bytes), Ok(()));
    }
}

#[test]
fn a_stated_length_cut_short_anywhere_is_told() {
    // Ends between structures are ends of good tables.
    let table = rich_dmar();
    let mut ends = vec![48];
    while let Some(end) = ends.last().filter(|end| **end < table.len()) {
        ends.push(end + usize::from(u16::from_le_bytes([table[end + 2], table[end + 3]])));
    }
    for len in 36..table.len() {
        let mut bytes = table[..len].to_vec();
        bytes[4..8].copy_from_slice(&(len as u32).to_le_bytes());
        seal(&mut bytes, 9);
        assert_eq!(
            Dmar::parse(&bytes).is_ok(),
            ends.contains(&len),
            "{len} bytes"
        );
    }
}

#[test]
fn counted_nodes_cut_short_anywhere_are_told() {
    let counted = |kind: &Kind| matches!(&kind.table[..4], b"IORT" | b"RIMT" | b"VIOT");
    for Kind { table, read, .. } in kinds().into_iter().filter(counted) {
        for len in 36..table.len() {
            let mut bytes = table[..len].to_vec();
            bytes[4..8].copy_from_slice(&(len as u32).to_le_bytes());
            seal(&mut bytes, 9);
            assert!(read(&bytes).is_err(), "{len} bytes");
        }
    }
}

#[test]
fn no_field_that_lies_makes_reading_panic() {
    let lies = [0, 1, 4, 0x10, 0x7f, 0x80, 0xff];
    for Kind {
        table,
        read,
        checksum_at,
    } in kinds()
    {
        // All fields of a devicetree are cells.
        let step = if checksum_at.is_none() { 4 } else { 1 };
        for at in (0..table.len()).step_by(step) {
            // A byte, a half and a word: lengths, counts and offsets of all sizes.
            for (lie, len) in lies.iter().flat_map(|lie| [1, 2, 4].map(|len| (*lie, len))) {
                let mut bytes = table.clone();
                let end = (at + len).min(bytes.len());
                bytes[at..end].fill(lie);
                if let Some(checksum_at) = checksum_at {
                    seal(&mut bytes, checksum_at);
                }
                let _ = read(&bytes);
            }
        }
    }
}

proptest! {
    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..512)) {
        for kind in kinds() {
            let _ = (kind.read)(&bytes);
        }
    }

    #[test]
    fn random_bodies_never_panic(
        body in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..256),
            prop::collection::vec(0u8..12, 0..256),
            prop::collection::vec(prop_oneof![Just(0u8), 1u8..80, Just(0x10), Just(0x40)], 0..256),
        ],
    ) {
        for Kind { table: good, read, .. } in kinds() {
            let Some(signature) = good.first_chunk::<4>() else { continue };
            let _ = read(&table(signature, &body));
            // The good table's own header, and what is random only from there on.
            for kept in [40, 44, 48, 64] {
                let mut bytes: Vec<u8> = good.iter().copied().take(kept).collect();
                bytes.extend(&body);
                let len = bytes.len() as u32;
                if signature == b"RSD " {
                    seal(&mut bytes, 8);
                } else if good.starts_with(&[0xd0, 0x0d]) {
                    bytes[4..8].copy_from_slice(&len.to_be_bytes());
                } else {
                    bytes[4..8].copy_from_slice(&len.to_le_bytes());
                    seal(&mut bytes, 9);
                }
                let _ = read(&bytes);
            }
        }
    }

    #[test]
    fn random_damage_never_panics(
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        sealed in any::<bool>(),
    ) {
        for Kind { mut table, read, checksum_at } in kinds() {
            for (at, value) in &damage {
                let at = at.index(table.len());
                table[at] = *value;
            }
            if let Some(checksum_at) = checksum_at.filter(|_| sealed) {
                seal(&mut table, checksum_at);
            }
            let _ = read(&table);
        }
    }

    #[test]
    fn one_changed_byte_is_always_told(at in any::<prop::sample::Index>(), change in 1u8..) {
        for mut kind in kinds() {
            if kind.checksum_at == Some(9) {
                let at = at.index(kind.table.len());
                kind.table[at] ^= change;
                prop_assert!((kind.read)(&kind.table).is_err());
            }
        }
        let mut table = dmar();
        let at = at.index(table.len());
        table[at] ^= change;
        prop_assert!(Dmar::parse(&table).is_err());
    }

    #[test]
    fn damaged_memory_never_panics(
        damage in prop::collection::vec((0usize..0x400, any::<u8>()), 1..16),
        rsdp_phys in prop_oneof![Just(0xe_0000u64), any::<u64>()],
    ) {
        let mut image = image();
        for (at, value) in damage {
            image[at] = value;
        }
        let memory = |phys: u64, into: &mut [u8]| {
            let start = phys.checked_sub(0xe_0000).ok_or(Unreadable { phys })? as usize;
            let end = start.checked_add(into.len()).ok_or(Unreadable { phys })?;
            into.copy_from_slice(image.get(start..end).ok_or(Unreadable { phys })?);
            Ok(())
        };
        if let Ok(tables) = Tables::find(rsdp_phys, &memory) {
            let _ = tables.mcfg();
            let _ = tables.iommus();
        }
    }
}
