use firmware::mcfg::Allocation;
use firmware::{Damage, Mcfg, Signature};

use crate::error;
use crate::example::{allocation, mcfg, mcfg_of, table};

/// Parses `allocations` and expects `damage` at `offset`.
fn check(allocations: &[Vec<u8>], offset: usize, damage: Damage) {
    assert_eq!(
        Mcfg::parse(&mcfg_of(allocations)),
        error(Signature::MCFG, offset, damage)
    );
}

#[test]
fn allocations_are_read_in_order() {
    let bytes = mcfg_of(&[
        allocation(0xe000_0000, 0, 0x10, 0x1f),
        allocation(0x60_0000_0000, 0x0102, 0, 255),
    ]);
    let mcfg = Mcfg::parse(&bytes).unwrap();
    let first = Allocation {
        bus0_phys: 0xe000_0000,
        segment: 0,
        first_bus: 0x10,
        last_bus: 0x1f,
    };
    assert_eq!(mcfg.allocations()[0], first);
    assert_eq!(
        (first.phys(), first.len_bytes()),
        (0xe100_0000, 0x0100_0000)
    );
    assert_eq!(mcfg.allocations()[1].segment, 0x0102);
    assert_eq!(mcfg.allocations()[1].len_bytes(), 0x1000_0000);
}

#[test]
fn bytes_after_the_table_are_ignored() {
    let mut bytes = mcfg();
    bytes.extend_from_slice(&[0xff; 7]);
    assert_eq!(Mcfg::parse(&bytes), Mcfg::parse(&mcfg()));
}

#[test]
fn damaged_allocations_are_refused() {
    let good = || allocation(0xe000_0000, 0, 0, 0x7f);
    let align = 0x10_0000;
    check(
        &[allocation(0, 0, 0, 1)],
        44,
        Damage::BadAddress { address: 0, align },
    );
    let address = 0xe000_1000;
    check(
        &[good(), allocation(address, 1, 0, 1)],
        60,
        Damage::BadAddress { address, align },
    );
    check(
        &[allocation(0xe000_0000, 0, 2, 1)],
        54,
        Damage::BadBuses { first: 2, last: 1 },
    );
    let base = 0xffff_ffff_fff0_0000;
    check(
        &[allocation(base, 0, 0, 1)],
        44,
        Damage::BadRange {
            base,
            last: u64::MAX,
        },
    );
    let again = allocation(0xd000_0000, 0, 0x7f, 0x80);
    check(
        &[good(), again],
        68,
        Damage::BusesOverlap {
            segment: 0,
            bus: 0x7f,
        },
    );
}

#[test]
fn the_same_buses_of_another_segment_are_fine() {
    let bytes = mcfg_of(&[
        allocation(0xe000_0000, 0, 0, 1),
        allocation(0xe000_0000, 1, 0, 1),
    ]);
    assert!(Mcfg::parse(&bytes).is_ok());
}

#[test]
fn a_table_too_short_for_its_layout_is_refused() {
    let damage = Damage::LengthTooSmall {
        stated: 36,
        least: 44,
    };
    assert_eq!(
        Mcfg::parse(&table(b"MCFG", &[])),
        error(Signature::MCFG, 4, damage)
    );
    let damage = Damage::RaggedArray {
        len_bytes: 15,
        entry_bytes: 16,
    };
    assert_eq!(
        Mcfg::parse(&table(b"MCFG", &[0; 23])),
        error(Signature::MCFG, 44, damage)
    );
}
