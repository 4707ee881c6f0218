use firmware::{
    Assignment, Damage, Devices, Entry, Error, Root, Rsdp, Signature, TableError, Tables, UnitKind,
    Unreadable,
};

use crate::error;
use crate::example::{image, rsdp, seal, table};

const BASE: u64 = 0xe_0000;

/// Memory that holds `image` from [`BASE`] on and nothing else.
fn memory(image: &[u8]) -> impl Fn(u64, &mut [u8]) -> Result<(), Unreadable> {
    move |phys, into| {
        let start = phys.checked_sub(BASE).ok_or(Unreadable { phys })? as usize;
        let end = start.checked_add(into.len()).ok_or(Unreadable { phys })?;
        into.copy_from_slice(image.get(start..end).ok_or(Unreadable { phys })?);
        Ok(())
    }
}

fn found(image: &[u8]) -> Result<Vec<Entry>, Error> {
    Tables::find(BASE, &memory(image)).map(|tables| tables.entries().to_vec())
}

fn put(image: &mut [u8], at: usize, bytes: &[u8]) {
    image[at..at + bytes.len()].copy_from_slice(bytes);
}

#[test]
fn xsdt_lists_the_tables() {
    let mcfg = Entry {
        signature: Signature::MCFG,
        phys: 0xe_0200,
    };
    let dmar = Entry {
        signature: Signature::DMAR,
        phys: 0xe_0300,
    };
    assert_eq!(found(&image()), Ok(vec![mcfg, dmar]));
}

#[test]
fn xsdt_is_preferred_to_rsdt() {
    let mut image = image();
    put(&mut image, 0, &rsdp(0xdead_0000, 0xe_0100));
    assert_eq!(found(&image).map(|entries| entries.len()), Ok(2));
}

#[test]
fn rsdt_serves_where_no_xsdt_is() {
    let mut image = image();
    put(&mut image, 0, &rsdp(0xe_0100, 0));
    put(
        &mut image,
        0x100,
        &table(b"RSDT", &0xe_0300u32.to_le_bytes()),
    );
    let dmar = Entry {
        signature: Signature::DMAR,
        phys: 0xe_0300,
    };
    assert_eq!(found(&image), Ok(vec![dmar]));
}

#[test]
fn rsdp_of_acpi_1_may_end_memory() {
    let mut bytes = rsdp(0xe_0000, 0)[..20].to_vec();
    bytes[15] = 0;
    seal(&mut bytes, 8);
    assert_eq!(
        Rsdp::parse(&bytes).map(|rsdp| rsdp.root),
        Ok(Root::Rsdt(0xe_0000))
    );

    let mut image = table(b"RSDT", &[]);
    image.extend_from_slice(&bytes);
    let memory = memory(&image);
    let tables = Tables::find(BASE + 36, &memory).unwrap();
    assert_eq!((tables.rsdp().revision, tables.entries()), (0, &[][..]));
}

#[test]
fn rsdp_may_be_longer_than_known() {
    let mut bytes = rsdp(0, 0xe_0100);
    bytes[20] = 40;
    seal(&mut bytes[..20], 8);
    bytes.extend_from_slice(&[1, 2, 3, 4]);
    seal(&mut bytes, 32);
    let mut image = image();
    put(&mut image, 0, &bytes);
    assert_eq!(found(&image).map(|entries| entries.len()), Ok(2));
}

#[test]
fn damaged_rsdp_is_refused() {
    let check = |at: usize, value: u8, reseal: bool, offset, damage| {
        let mut bytes = rsdp(0, 0xe_0100);
        bytes[at] = value;
        if reseal {
            seal(&mut bytes[..20], 8);
            seal(&mut bytes, 32);
        }
        assert_eq!(Rsdp::parse(&bytes), error(Signature::RSDP, offset, damage));
    };
    let found = Signature(*b"RSD_");
    check(
        3,
        b'_',
        true,
        0,
        Damage::WrongSignature {
            expected: Signature::RSDP,
            found,
        },
    );
    let found = Signature(*b"RSD ");
    check(
        7,
        b'_',
        true,
        0,
        Damage::WrongSignature {
            expected: Signature::RSDP,
            found,
        },
    );
    check(9, b'D' + 1, false, 8, Damage::Checksum { sum: 1 });
    check(24, 1, false, 32, Damage::Checksum { sum: 1 });
    check(
        20,
        0,
        true,
        20,
        Damage::LengthTooSmall {
            stated: 0,
            least: 36,
        },
    );
    check(
        20,
        35,
        true,
        20,
        Damage::LengthTooSmall {
            stated: 35,
            least: 36,
        },
    );
    check(
        21,
        1,
        true,
        20,
        Damage::LengthTooLarge {
            stated: 0x124,
            most: 256,
        },
    );
    check(
        20,
        37,
        true,
        0,
        Damage::Truncated {
            needed: 37,
            available: 36,
        },
    );
    assert_eq!(
        Rsdp::parse(&rsdp(0, 0)),
        error(Signature::RSDP, 16, Damage::NoRootTable)
    );
}

#[test]
fn damaged_list_is_refused_where_it_lies() {
    let check = |xsdt: &[u8], offset, damage| {
        let mut image = image();
        put(&mut image, 0x100, xsdt);
        let error = TableError {
            signature: Signature::XSDT,
            offset,
            damage,
        };
        assert_eq!(
            found(&image),
            Err(Error::Damaged {
                phys: 0xe_0100,
                error
            })
        );
    };
    let expected = Signature::XSDT;
    let wrong = Damage::WrongSignature {
        expected,
        found: Signature(*b"XSDX"),
    };
    check(&table(b"XSDX", &[]), 0, wrong);
    let ragged = Damage::RaggedArray {
        len_bytes: 12,
        entry_bytes: 8,
    };
    check(&table(b"XSDT", &[0; 12]), 36, ragged);
    let mut long = table(b"XSDT", &[]);
    long[7] = 0xff;
    check(
        &long,
        4,
        Damage::LengthTooLarge {
            stated: 0xff00_0024,
            most: 1 << 20,
        },
    );
    let mut unsealed = table(b"XSDT", &[]);
    unsealed[9] ^= 1;
    let Err(Error::Damaged { error, .. }) = ({
        let mut image = image();
        put(&mut image, 0x100, &unsealed);
        found(&image)
    }) else {
        panic!("a wrong checksum was accepted");
    };
    assert_eq!(error.offset, 9);
}

#[test]
fn pointers_outside_memory_are_errors() {
    let outside = |signature, phys| {
        Err(Error::OutsideMemory {
            signature,
            phys,
            source: Unreadable { phys },
        })
    };
    let image = image();
    assert_eq!(
        Tables::find(0x10, &memory(&image)).map(|_| ()),
        outside(Signature::RSDP, 0x10)
    );

    let mut image = image;
    put(&mut image, 0, &rsdp(0, u64::MAX));
    assert_eq!(found(&image).map(drop), outside(Signature::XSDT, u64::MAX));

    put(&mut image, 0, &rsdp(0, 0xe_0100));
    put(
        &mut image,
        0x100,
        &table(b"XSDT", &0xf_0000u64.to_le_bytes()),
    );
    assert_eq!(found(&image).map(drop), outside(Signature::XSDT, 0xf_0000));

    // A table that starts in memory but ends outside.
    put(
        &mut image,
        0x100,
        &table(b"XSDT", &0xe_0ff0u64.to_le_bytes()),
    );
    put(&mut image, 0xff0, b"DMAR");
    let memory = memory(&image);
    let tables = Tables::find(BASE, &memory).unwrap();
    assert_eq!(
        tables.dmar().map(|_| ()),
        outside(Signature::DMAR, 0xe_0ff0)
    );
}

#[test]
fn blanked_entries_are_passed_over() {
    let mut image = image();
    let addresses = [0u64, 0xe_0200].map(u64::to_le_bytes).concat();
    put(&mut image, 0x100, &table(b"XSDT", &addresses));
    assert_eq!(found(&image).map(|entries| entries.len()), Ok(1));
}

#[test]
fn a_damaged_table_does_not_hide_the_others() {
    let mut image = image();
    image[0x200 + 40] ^= 1;
    let memory = memory(&image);
    let tables = Tables::find(BASE, &memory).unwrap();
    let Err(Error::Damaged {
        phys: 0xe_0200,
        error,
    }) = tables.mcfg()
    else {
        panic!("a damaged MCFG was accepted");
    };
    assert_eq!((error.signature, error.offset), (Signature::MCFG, 9));
    assert!(tables.load(Signature::MCFG).is_err());
    assert!(tables.dmar().unwrap().is_some());
    assert_eq!(tables.load(Signature(*b"HPET")), Ok(None));
    assert_eq!(
        tables.load(Signature::DMAR),
        Ok(Some(crate::example::dmar()))
    );
}

#[test]
fn an_error_says_table_byte_and_damage() {
    let damage = Damage::LengthTooSmall {
        stated: 0,
        least: 4,
    };
    let error = TableError {
        signature: Signature::DMAR,
        offset: 0x32,
        damage,
    };
    let damaged = Error::Damaged {
        phys: 0x7fe0_0000,
        error,
    };
    assert_eq!(
        damaged.to_string(),
        "at physical address 0x7fe00000: DMAR table, byte 0x32: \
         a length of 0 is stated, below the least possible of 4"
    );
}

/// An image whose list leads to `tables`.
fn image_of(tables: &[Vec<u8>]) -> Vec<u8> {
    let mut image = image();
    image.resize(0x4000, 0);
    let mut addresses = Vec::new();
    let mut at = 0x400;
    for table in tables {
        put(&mut image, at, table);
        addresses.extend((BASE + at as u64).to_le_bytes());
        at += table.len().next_multiple_of(16);
    }
    put(&mut image, 0x100, &table(b"XSDT", &addresses));
    image
}

#[test]
fn the_iommus_of_all_tables_are_joined() {
    use crate::{example, iort, ivrs, rimt, viot};
    use UnitKind::{AmdVi, Riscv, SmmuV3, Virtio, Vtd};

    let image = image_of(&[
        viot::rich(),
        rimt::rich(),
        iort::rich(),
        ivrs::rich(),
        example::dmar(),
    ]);
    let memory = memory(&image);
    let tables = Tables::find(BASE, &memory).unwrap();
    let all = tables.iommus().unwrap();
    let kinds: Vec<UnitKind> = all.units.iter().map(|unit| unit.kind).collect();
    assert_eq!(
        kinds,
        [Vtd, Vtd, AmdVi, SmmuV3, Riscv, Riscv, Virtio, Virtio]
    );
    assert_eq!(all.host_address_bits, Some(46));
    // Each table's own assignments, with the number of units before it added, and what is for all the rest last.
    let for_all = |one: &&Assignment| matches!(one.devices, Devices::Segment { .. });
    let certain: Vec<_> = all.assignments.iter().filter(|one| !for_all(one)).collect();
    let viot = tables.viot().unwrap().unwrap().description();
    let last = &certain[certain.len() - viot.assignments.len()..];
    for (joined, alone) in last.iter().zip(&viot.assignments) {
        assert_eq!(
            (&joined.devices, joined.stream),
            (&alone.devices, alone.stream)
        );
        assert_eq!(joined.unit, alone.unit + 6);
    }
    let rest = &all.assignments[certain.len()..];
    assert!(rest.iter().all(|one| for_all(&one)));
    assert_eq!(rest.iter().map(|one| one.unit).collect::<Vec<_>>(), [1, 2]);
    let reserved = [
        tables.dmar().unwrap().unwrap().description().reserved.len(),
        tables.ivrs().unwrap().unwrap().description().reserved.len(),
        tables.iort().unwrap().unwrap().description().reserved.len(),
        tables.rimt().unwrap().unwrap().description().reserved.len(),
    ];
    assert_eq!(all.reserved.len(), reserved.iter().sum());
    assert!(all.reserved.len() > 3);
}

#[test]
fn a_machine_without_iommus_has_an_empty_description() {
    let image = image_of(&[]);
    let memory = memory(&image);
    let tables = Tables::find(BASE, &memory).unwrap();
    assert_eq!(tables.iommus(), Ok(Default::default()));
    assert!(tables.ivrs().unwrap().is_none() && tables.iort().unwrap().is_none());
}

#[test]
fn one_damaged_table_of_iommus_is_told() {
    let mut damaged = crate::iort::rich();
    damaged[60] ^= 1;
    let image = image_of(&[crate::example::dmar(), damaged]);
    let memory = memory(&image);
    let tables = Tables::find(BASE, &memory).unwrap();
    let Err(Error::Damaged { error, .. }) = tables.iommus() else {
        panic!("a damaged IORT was accepted");
    };
    assert_eq!((error.signature, error.offset), (Signature::IORT, 9));
}
