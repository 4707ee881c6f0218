use hw::smmu::page_table::{self, Kind, Stage1, Stage2, Table, kind};

use crate::fields;

#[test]
fn table_fields_lie_where_the_manual_says() {
    fields! {
        Table::new().with_valid(true) => 0x0000_0000_0000_0001;
        Table::new().with_table(true) => 0x0000_0000_0000_0002;
        Table::new().with_ign(0x3ff) => 0x0000_0000_0000_0ffc;
        Table::new().with_addr(u64::MAX) => 0x0000_ffff_ffff_f000;
        Table::new().with_ign51(0xff) => 0x07f8_0000_0000_0000;
        Table::new().with_pxn_table(true) => 0x0800_0000_0000_0000;
        Table::new().with_xn_table(true) => 0x1000_0000_0000_0000;
        Table::new().with_ap_table(3) => 0x6000_0000_0000_0000;
        Table::new().with_ns_table(true) => 0x8000_0000_0000_0000;
    }
    assert_eq!(
        Table::from_bits(0xffff_8765_4321_0fff).addr(),
        0x0000_8765_4321_0000
    );
    assert_eq!(page_table::TABLE_RESERVED, 0x0007_0000_0000_0000);
    assert_eq!(page_table::TABLE_LIMITS, 0xf800_0000_0000_0000);
}

#[test]
fn stage_1_fields_lie_where_the_manual_says() {
    fields! {
        Stage1::new().with_valid(true) => 0x0000_0000_0000_0001;
        Stage1::new().with_page(true) => 0x0000_0000_0000_0002;
        Stage1::new().with_attr_indx(7) => 0x0000_0000_0000_001c;
        Stage1::new().with_ns(true) => 0x0000_0000_0000_0020;
        Stage1::new().with_ap(3) => 0x0000_0000_0000_00c0;
        Stage1::new().with_sh(3) => 0x0000_0000_0000_0300;
        Stage1::new().with_af(true) => 0x0000_0000_0000_0400;
        Stage1::new().with_n_g(true) => 0x0000_0000_0000_0800;
        Stage1::new().with_addr(u64::MAX) => 0x0000_ffff_ffff_f000;
        Stage1::new().with_gp(true) => 0x0004_0000_0000_0000;
        Stage1::new().with_dbm(true) => 0x0008_0000_0000_0000;
        Stage1::new().with_contiguous(true) => 0x0010_0000_0000_0000;
        Stage1::new().with_pxn(true) => 0x0020_0000_0000_0000;
        Stage1::new().with_uxn(true) => 0x0040_0000_0000_0000;
        Stage1::new().with_ign(0xf) => 0x0780_0000_0000_0000;
        Stage1::new().with_pbha(0xf) => 0x7800_0000_0000_0000;
        Stage1::new().with_ign63(true) => 0x8000_0000_0000_0000;
        Stage1::new().with_ap(page_table::AP_READ_WRITE) => 0x40;
        Stage1::new().with_ap(page_table::AP_READ) => 0xc0;
        Stage1::new().with_sh(page_table::SH_NON) => 0x000;
        Stage1::new().with_sh(page_table::SH_OUTER) => 0x200;
        Stage1::new().with_sh(page_table::SH_INNER) => 0x300;
    }
    assert_eq!(
        Stage1::from_bits(0xffff_8765_4321_0fff).addr(),
        0x0000_8765_4321_0000
    );
    assert_eq!(page_table::STAGE1_RESERVED, 0x0003_0000_0000_0000);
}

#[test]
fn stage_2_fields_lie_where_the_manual_says() {
    fields! {
        Stage2::new().with_valid(true) => 0x0000_0000_0000_0001;
        Stage2::new().with_page(true) => 0x0000_0000_0000_0002;
        Stage2::new().with_mem_attr(0xf) => 0x0000_0000_0000_003c;
        Stage2::new().with_s2ap(3) => 0x0000_0000_0000_00c0;
        Stage2::new().with_sh(3) => 0x0000_0000_0000_0300;
        Stage2::new().with_af(true) => 0x0000_0000_0000_0400;
        Stage2::new().with_fnxs(true) => 0x0000_0000_0000_0800;
        Stage2::new().with_addr(u64::MAX) => 0x0000_ffff_ffff_f000;
        Stage2::new().with_dbm(true) => 0x0008_0000_0000_0000;
        Stage2::new().with_contiguous(true) => 0x0010_0000_0000_0000;
        Stage2::new().with_xn(3) => 0x0060_0000_0000_0000;
        Stage2::new().with_ns(true) => 0x0080_0000_0000_0000;
        Stage2::new().with_ign(7) => 0x0700_0000_0000_0000;
        Stage2::new().with_pbha(0xf) => 0x7800_0000_0000_0000;
        Stage2::new().with_ign63(true) => 0x8000_0000_0000_0000;
        Stage2::new().with_s2ap(page_table::S2AP_READ) => 0x40;
        Stage2::new().with_s2ap(page_table::S2AP_WRITE) => 0x80;
        Stage2::new().with_s2ap(page_table::S2AP_READ_WRITE) => 0xc0;
        Stage2::new().with_mem_attr(page_table::MEM_ATTR_WRITE_BACK) => 0x3c;
        Stage2::new().with_mem_attr(page_table::MEM_ATTR_NON_CACHEABLE) => 0x14;
    }
    assert_eq!(
        Stage2::from_bits(0xffff_8765_4321_0fff).addr(),
        0x0000_8765_4321_0000
    );
    assert_eq!(page_table::STAGE2_RESERVED, 0x0007_0000_0000_0000);
    assert_eq!(
        (page_table::MAIR_DEVICE, page_table::MEM_ATTR_DEVICE),
        (0x04, 1)
    );
    assert_eq!(
        (page_table::MAIR_WRITE_BACK, page_table::MAIR_NON_CACHEABLE),
        (0xff, 0x44)
    );
}

#[test]
fn the_lowest_bits_say_what_a_descriptor_is() {
    for level in 1..=4 {
        assert_eq!(kind(level, 0xffff_ffff_ffff_fffc), Kind::Invalid);
        assert_eq!(kind(level, 0xffff_ffff_ffff_fffe), Kind::Invalid);
    }
    assert_eq!(kind(1, 0x3), Kind::Page);
    assert_eq!(kind(1, 0x1), Kind::Reserved);
    assert_eq!(kind(2, 0x3), Kind::Table);
    assert_eq!(kind(2, 0x1), Kind::Block);
    assert_eq!(kind(3, 0x1), Kind::Block);
}

#[test]
fn address_bits_below_the_size_are_reserved() {
    assert_eq!(page_table::below_size(12), 0);
    assert_eq!(page_table::below_size(14), 0x3000);
    assert_eq!(page_table::below_size(16), 0xf000);
    assert_eq!(page_table::below_size(21), 0x001f_f000);
    assert_eq!(page_table::below_size(30), 0x3fff_f000);
}
