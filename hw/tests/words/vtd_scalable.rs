use hw::vtd::invalidation::{
    self, Kind, PasidCache, PasidCacheGranularity, PasidIotlb, PasidIotlbGranularity,
};
use hw::vtd::pasid::{self, DirectoryEntry, Entry, FirstStagePaging, Translation};
use hw::vtd::root::AddressWidth;
use hw::vtd::scalable::{self, ContextEntry, Half, RootEntry};

use crate::fields;

#[test]
fn tables_have_the_manuals_sizes() {
    assert_eq!(
        scalable::ROOT_ENTRIES as u64 * scalable::ROOT_ENTRY_BYTES,
        scalable::TABLE_BYTES
    );
    assert_eq!(
        scalable::CONTEXT_ENTRIES as u64 * scalable::CONTEXT_ENTRY_BYTES,
        scalable::TABLE_BYTES
    );
    assert_eq!(scalable::CONTEXT_ENTRY_BYTES, 32);
    assert_eq!(
        pasid::ENTRIES as u64 * pasid::ENTRY_BYTES,
        pasid::TABLE_BYTES
    );
    assert_eq!((pasid::ENTRY_BYTES, pasid::DIRECTORY_ENTRY_BYTES), (64, 8));
}

#[test]
fn a_requester_is_cut_into_bus_half_and_index() {
    assert_eq!(scalable::root_index(0xa5ff), 0xa5);
    assert_eq!(
        [0x007f, 0x0080].map(|requester| (Half::of(requester), scalable::context_index(requester))),
        [(Half::Lower, 0x7f), (Half::Upper, 0)]
    );
}

#[test]
fn a_pasid_is_cut_into_directory_and_table_index() {
    assert_eq!(
        (
            pasid::directory_index(0xf_ffff),
            pasid::table_index(0xf_ffff)
        ),
        (0x3fff, 0x3f)
    );
    assert_eq!(
        (pasid::directory_index(0x40), pasid::table_index(0x40)),
        (1, 0)
    );
}

#[test]
fn root_entry_fields_lie_where_the_manual_says() {
    let lower = RootEntry::new().with_table(Half::Lower, 0x1234_5678_9abc_d000);
    assert_eq!(lower.to_words(), [0x1234_5678_9abc_d001, 0]);
    let both = lower.with_table(Half::Upper, 0x5fff);
    assert_eq!(both.to_words(), [0x1234_5678_9abc_d001, 0x5001]);
    assert_eq!(lower.table(Half::Upper), None);
    assert_eq!(
        RootEntry::from_words([0x3000, 0x4001]).table(Half::Lower),
        None
    );
    assert_eq!(
        RootEntry::from_words([0x3000, 0x4001]).table(Half::Upper),
        Some(0x4000)
    );
    assert_eq!(RootEntry::RESERVED, 0xffe);
}

#[test]
fn context_entry_fields_lie_where_the_manual_says() {
    fields! {
        ContextEntry::new().with_p(true) => 0x1;
        ContextEntry::new().with_fpd(true) => 0x2;
        ContextEntry::new().with_dte(true) => 0x4;
        ContextEntry::new().with_paside(true) => 0x8;
        ContextEntry::new().with_pre(true) => 0x10;
        ContextEntry::new().with_pdts(7) => 0xe00;
        ContextEntry::new().with_pasiddirptr(!0) => 0xffff_ffff_ffff_f000;
        ContextEntry::new().with_rid_pasid(0xf_ffff) => 0xf_ffff_0000_0000_0000_0000;
        ContextEntry::new().with_rid_priv(true) => 0x10_0000_0000_0000_0000_0000;
    }
    let words = [0x9201, 0x11, 0, 0];
    let entry = ContextEntry::from_words(words);
    assert_eq!(
        (entry.pasiddirptr(), entry.pdts(), entry.rid_pasid()),
        (0x9000, 1, 0x11)
    );
    assert_eq!(entry.to_words(), words);
    assert_eq!(
        ContextEntry::RESERVED,
        [0x1e0, 0xffff_ffff_ffe0_0000, !0, !0]
    );
}

#[test]
fn directory_entry_fields_lie_where_the_manual_says() {
    fields! {
        DirectoryEntry::new().with_p(true) => 0x1;
        DirectoryEntry::new().with_fpd(true) => 0x2;
        DirectoryEntry::new().with_smptblptr(!0) => 0xffff_ffff_ffff_f000;
    }
    assert_eq!(DirectoryEntry::from_bits(0x7003).smptblptr(), 0x7000);
    assert_eq!(DirectoryEntry::RESERVED, 0xffc);
}

#[test]
fn pasid_entry_fields_lie_where_the_manual_says() {
    let entry = Entry::new;
    let at = |index: usize, entry: Entry| {
        let words = entry.to_words();
        assert!((0..8).all(|other| other == index || words[other] == 0));
        words[index]
    };
    let word_0 = [
        (entry().with_p(true), 0x1),
        (entry().with_fpd(true), 0x2),
        (entry().with_aw(AddressWidth::Bits57), 0xc),
        (entry().with_ssee(true), 0x20),
        (entry().with_pgtt(Translation::FirstStage), 0x40),
        (entry().with_pgtt(Translation::SecondStage), 0x80),
        (entry().with_pgtt(Translation::Nested), 0xc0),
        (entry().with_pgtt(Translation::PassThrough), 0x100),
        (entry().with_ssade(true), 0x200),
        (entry().with_ssptptr(!0), 0xffff_ffff_ffff_f000),
    ];
    for (entry, bits) in word_0 {
        assert_eq!(at(0, entry), bits);
    }
    let word_1 = [
        (entry().with_did(0xffff), 0xffff),
        (entry().with_pwsnp(true), 0x80_0000),
        (entry().with_pgsnp(true), 0x100_0000),
        (entry().with_cd(true), 0x200_0000),
        (entry().with_emte(true), 0x400_0000),
        (entry().with_emt(7), 0x3800_0000),
        (entry().with_pwt(true), 0x4000_0000),
        (entry().with_pcd(true), 0x8000_0000),
        (entry().with_pat(!0), 0xffff_ffff_0000_0000),
    ];
    for (entry, bits) in word_1 {
        assert_eq!(at(1, entry), bits);
    }
    let word_2 = [
        (entry().with_sre(true), 0x1),
        (entry().with_ere(true), 0x2),
        (entry().with_fspm(FirstStagePaging::Levels5), 0x4),
        (entry().with_wpe(true), 0x10),
        (entry().with_nxe(true), 0x20),
        (entry().with_smep(true), 0x40),
        (entry().with_eafe(true), 0x80),
        (entry().with_fsptptr(!0), 0xffff_ffff_ffff_f000),
    ];
    for (entry, bits) in word_2 {
        assert_eq!(at(2, entry), bits);
    }
    let words = [0x8089, 7, 0x9000, 1, 2, 3, 4, 5];
    let entry = Entry::from_words(words);
    assert_eq!(
        (entry.ssptptr(), entry.fsptptr(), entry.did()),
        (0x8000, 0x9000, 7)
    );
    assert_eq!(
        (entry.aw(), entry.pgtt()),
        (AddressWidth::Bits48, Translation::SecondStage)
    );
    assert_eq!(entry.to_words(), words);
    assert_eq!(
        Entry::RESERVED,
        [0xc00, 0x7f_0000, 0xf00, !0, !0, !0, !0, !0]
    );
}

#[test]
fn translation_types_and_paging_modes_round_trip() {
    let types = [0, 1, 2, 3, 4, 5, 6, 7]
        .map(|code: u64| Entry::from_words([code << 6, 0, 0, 0, 0, 0, 0, 0]).pgtt());
    use Translation::*;
    assert_eq!(
        types,
        [
            Reserved,
            FirstStage,
            SecondStage,
            Nested,
            PassThrough,
            Reserved,
            Reserved,
            Reserved
        ]
    );
    let modes = [0, 1, 2, 3].map(|code: u64| {
        Entry::from_words([0, 0, code << 2, 0, 0, 0, 0, 0])
            .fspm()
            .levels()
    });
    assert_eq!(modes, [Some(4), Some(5), None, None]);
    assert_eq!(
        FirstStagePaging::from_levels(5),
        Some(FirstStagePaging::Levels5)
    );
    assert_eq!(FirstStagePaging::from_levels(3), None);
}

#[test]
fn pasid_descriptors_lie_where_the_manual_says() {
    fields! {
        PasidCache::new() => 0x7;
        PasidCache::new().with_g(PasidCacheGranularity::Pasid) => 0x17;
        PasidCache::new().with_g(PasidCacheGranularity::Global) => 0x37;
        PasidCache::new().with_did(0xffff) => 0xffff_0007;
        PasidCache::new().with_pasid(0xf_ffff) => 0xf_ffff_0000_0007;
        PasidIotlb::new().with_g(PasidIotlbGranularity::Pasid) => 0x26;
        PasidIotlb::new().with_g(PasidIotlbGranularity::Page) => 0x36;
        PasidIotlb::new().with_did(0xffff) => 0xffff_0006;
        PasidIotlb::new().with_pasid(0xf_ffff) => 0xf_ffff_0000_0006;
    }
    let pages = PasidIotlb::new()
        .with_am(0x3f)
        .with_ih(true)
        .with_addr(0xffff_ffff_ffff_ffff);
    assert_eq!(pages.to_words(), [0x6, 0xffff_ffff_ffff_f07f]);
    assert_eq!(pages.addr(), 0xffff_ffff_ffff_f000);
    assert_eq!(PasidCache::RESERVED, [0xfff0_0000_0000_f1c0, !0]);
    assert_eq!(PasidIotlb::RESERVED, [0xfff0_0000_0000_f1c0, 0xf80]);
    assert_eq!(invalidation::kind([0x6, 0]), Some(Kind::PasidIotlb));
    assert_eq!(invalidation::kind([0x7, 0]), Some(Kind::PasidCache));
    assert_eq!(
        (
            invalidation::DESCRIPTOR_BYTES,
            invalidation::WIDE_DESCRIPTOR_BYTES
        ),
        (16, 32)
    );
}
