use hw::amd::page_table::{self, Entry};

use crate::fields;

#[test]
fn fields_lie_where_the_manual_says() {
    fields! {
        Entry::new().with_pr(true) => 0x0000_0000_0000_0001;
        Entry::new().with_ign1(0xf) => 0x0000_0000_0000_001e;
        Entry::new().with_a(true) => 0x0000_0000_0000_0020;
        Entry::new().with_d(true) => 0x0000_0000_0000_0040;
        Entry::new().with_ign7(3) => 0x0000_0000_0000_0180;
        Entry::new().with_next_level(7) => 0x0000_0000_0000_0e00;
        Entry::new().with_addr(u64::MAX) => 0x000f_ffff_ffff_f000;
        Entry::new().with_u(true) => 0x0800_0000_0000_0000;
        Entry::new().with_fc(true) => 0x1000_0000_0000_0000;
        Entry::new().with_ir(true) => 0x2000_0000_0000_0000;
        Entry::new().with_iw(true) => 0x4000_0000_0000_0000;
        Entry::new().with_ign63(true) => 0x8000_0000_0000_0000;
    }
    assert_eq!(
        Entry::from_bits(0xfff1_2345_6789_afff).addr(),
        0x0001_2345_6789_a000
    );
    assert_eq!(Entry::from_bits(u64::MAX).into_bits(), u64::MAX);
}

#[test]
fn reserved_bits_are_the_manuals() {
    assert_eq!(page_table::LEAF_RESERVED, 0x07f0_0000_0000_0000);
    assert_eq!(page_table::TABLE_RESERVED, 0x1ff0_0000_0000_0000);
    assert_eq!(page_table::ADDRESS_MASK, 0x000f_ffff_ffff_f000);
    assert_eq!(
        (page_table::NEXT_LEVEL_LEAF, page_table::NEXT_LEVEL_SIZED),
        (0, 7)
    );
}

#[test]
fn a_sized_page_holds_ones_up_to_a_zero_below_its_address() {
    for (log2, bits) in [
        (13, 0x0000_0000),
        (14, 0x0000_1000),
        (15, 0x0000_3000),
        (16, 0x0000_7000),
        (22, 0x001f_f000),
        (25, 0x00ff_f000),
        (31, 0x3fff_f000),
        (34, 0x1_ffff_f000),
    ] {
        assert_eq!(page_table::sized_bits(log2), bits);
        assert_eq!(page_table::sized_log2(bits), log2);
        assert_eq!(page_table::sized_log2(bits | 1 << log2), log2);
    }
}
