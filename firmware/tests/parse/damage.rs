use firmware::{Damage, Dmar, Mcfg, Rsdp, TableError, Tables, Unreadable};
use proptest::prelude::*;

use crate::example::{dmar, dmar_of, image, mcfg, rsdp, scope, seal, structure, unit};

/// What `parse` says of `bytes`, without what it made of them.
type Parse = fn(&[u8]) -> Result<(), TableError>;

const PARSERS: [Parse; 3] = [
    |bytes| Dmar::parse(bytes).map(drop),
    |bytes| Mcfg::parse(bytes).map(drop),
    |bytes| Rsdp::parse(bytes).map(drop),
];

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
    for (table, parse) in [rich_dmar(), mcfg(), rsdp(0, 0x1000)].iter().zip(PARSERS) {
        assert_eq!(parse(table), Ok(()));
        for len in 0..table.len() {
            let error = parse(&table[..len]).unwrap_err();
            assert!(
                matches!(error.damage, Damage::Truncated { .. }),
                "{len} bytes: {error}"
            );
        }
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

proptest! {
    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..512)) {
        for parse in PARSERS {
            let _ = parse(&bytes);
        }
    }

    #[test]
    fn random_structures_never_panic(body in prop::collection::vec(any::<u8>(), 0..256)) {
        let _ = Dmar::parse(&dmar_of(&[body]));
    }

    #[test]
    fn small_random_fields_never_panic(body in prop::collection::vec(0u8..12, 0..256)) {
        let _ = Dmar::parse(&dmar_of(&[body]));
    }

    #[test]
    fn random_damage_never_panics(
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        sealed in any::<bool>(),
    ) {
        for (mut table, parse) in [rich_dmar(), mcfg(), rsdp(0, 0x1000)].into_iter().zip(PARSERS) {
            for (at, value) in &damage {
                let at = at.index(table.len());
                table[at] = *value;
            }
            if sealed {
                let checksum_at = if table.starts_with(b"RSD ") { 8 } else { 9 };
                seal(&mut table, checksum_at);
            }
            let _ = parse(&table);
        }
    }

    #[test]
    fn one_changed_byte_is_always_told(at in any::<prop::sample::Index>(), change in 1u8..) {
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
            let _ = tables.dmar();
        }
    }
}
