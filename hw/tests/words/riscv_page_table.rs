use hw::riscv::page_table::{self, Entry};

use crate::fields;

#[test]
fn fields_lie_where_the_manual_says() {
    fields! {
        Entry::new().with_v(true) => 0x0000_0000_0000_0001;
        Entry::new().with_r(true) => 0x0000_0000_0000_0002;
        Entry::new().with_w(true) => 0x0000_0000_0000_0004;
        Entry::new().with_x(true) => 0x0000_0000_0000_0008;
        Entry::new().with_u(true) => 0x0000_0000_0000_0010;
        Entry::new().with_g(true) => 0x0000_0000_0000_0020;
        Entry::new().with_a(true) => 0x0000_0000_0000_0040;
        Entry::new().with_d(true) => 0x0000_0000_0000_0080;
        Entry::new().with_rsw(3) => 0x0000_0000_0000_0300;
        Entry::new().with_ppn(0xfff_ffff_ffff) => 0x003f_ffff_ffff_fc00;
        Entry::new().with_addr(u64::MAX) => 0x003f_ffff_ffff_fc00;
        Entry::new().with_addr(0x0080_0000_0000_1000) => 0x0020_0000_0000_0400;
        Entry::new().with_pbmt(3) => 0x6000_0000_0000_0000;
        Entry::new().with_n(true) => 0x8000_0000_0000_0000;
    }
    assert_eq!(
        Entry::from_bits(0xffc4_8d15_9e26_afff).addr(),
        0x0012_3456_789a_b000
    );
    assert_eq!(Entry::from_bits(u64::MAX).into_bits(), u64::MAX);
}

#[test]
fn reserved_bits_are_the_manuals() {
    assert_eq!(page_table::RESERVED, 0x1fc0_0000_0000_0000);
    assert_eq!(page_table::PBMT, 0x6000_0000_0000_0000);
    assert_eq!(page_table::N, 0x8000_0000_0000_0000);
    assert_eq!(page_table::TABLE_RESERVED, 0x0000_0000_0000_00d0);
}

#[test]
fn permissions_make_a_leaf() {
    assert!(!Entry::from_bits(0x1).is_leaf());
    assert!(!Entry::from_bits(0xf1).is_leaf());
    assert!(Entry::from_bits(0x3).is_leaf());
    assert!(Entry::from_bits(0x5).is_leaf());
    assert!(Entry::from_bits(0x9).is_leaf());
}

#[test]
fn a_run_of_64_kib_is_said_by_a_one_and_three_zeros() {
    let entry = Entry::new()
        .with_n(true)
        .with_addr(0x1234_0000 | page_table::NAPOT_64K);
    // PPN[3:0] is 0b1000.
    assert_eq!(entry.into_bits(), 0x8000_0000_048d_2000);
    assert_eq!(page_table::NAPOT_64K_MASK, 0xf000);
}
