use hw::vtd::fault::{FaultReason, FaultRecord, Qualification, RequestType};
use hw::vtd::invalidation::{self, ContextCache, DeviceTlb, InterruptEntryCache, Iotlb, Wait};
use hw::vtd::regs::{self, *};
use hw::vtd::root::{AddressWidth, ContextEntry, RootEntry, TranslationType};
use hw::vtd::second_stage::{self, Entry, Kind};

use crate::fields;

#[test]
fn register_offsets_are_the_manuals() {
    assert_eq!(
        [
            VER_REG,
            CAP_REG,
            ECAP_REG,
            GCMD_REG,
            GSTS_REG,
            RTADDR_REG,
            CCMD_REG,
            FSTS_REG,
            FECTL_REG,
            FEDATA_REG,
            FEADDR_REG,
            FEUADDR_REG,
            AFLOG_REG,
            PMEN_REG,
            PLMBASE_REG,
            PLMLIMIT_REG,
            PHMBASE_REG,
            PHMLIMIT_REG,
            IQH_REG,
            IQT_REG,
            IQA_REG,
            ICS_REG,
            IECTL_REG,
            IEDATA_REG,
            IEADDR_REG,
            IEUADDR_REG,
            IQERCD_REG,
            IRTA_REG,
        ],
        [
            0x00, 0x08, 0x10, 0x18, 0x1c, 0x20, 0x28, 0x34, 0x38, 0x3c, 0x40, 0x44, 0x58, 0x64,
            0x68, 0x6c, 0x70, 0x78, 0x80, 0x88, 0x90, 0x9c, 0xa0, 0xa4, 0xa8, 0xac, 0xb0, 0xb8,
        ]
    );
}

#[test]
fn registers_that_capabilities_place_are_found() {
    let cap = Cap::from_bits(0x0000_0000_2200_0000);
    assert_eq!(regs::fault_record(cap, 0), 0x220);
    assert_eq!(regs::fault_record(cap, 2), 0x240);
    let ecap = Ecap::from_bits(0x0000_f020);
    assert_eq!((regs::iva(ecap), regs::iotlb(ecap)), (0xf00, 0xf08));
}

#[test]
fn cap_fields_lie_where_the_manual_says() {
    let widths = AddressWidths::from_bits(0x1f);
    fields! {
        Version::new().with_min(0xf) => 0x0000_000f;
        Version::new().with_max(0xf) => 0x0000_00f0;
        Cap::new().with_nd(7) => 0x0000_0000_0000_0007;
        Cap::new().with_afl(true) => 0x0000_0000_0000_0008;
        Cap::new().with_rwbf(true) => 0x0000_0000_0000_0010;
        Cap::new().with_plmr(true) => 0x0000_0000_0000_0020;
        Cap::new().with_phmr(true) => 0x0000_0000_0000_0040;
        Cap::new().with_cm(true) => 0x0000_0000_0000_0080;
        Cap::new().with_sagaw(widths) => 0x0000_0000_0000_1f00;
        Cap::new().with_sagaw(AddressWidths::new().with_bits_39(true)) => 0x0000_0000_0000_0200;
        Cap::new().with_sagaw(AddressWidths::new().with_bits_48(true)) => 0x0000_0000_0000_0400;
        Cap::new().with_sagaw(AddressWidths::new().with_bits_57(true)) => 0x0000_0000_0000_0800;
        Cap::new().with_mgaw(0x3f) => 0x0000_0000_003f_0000;
        Cap::new().with_zlr(true) => 0x0000_0000_0040_0000;
        Cap::new().with_fro(0x3ff) => 0x0000_0003_ff00_0000;
        Cap::new().with_sslps(LargePages::from_bits(0xf)) => 0x0000_003c_0000_0000;
        Cap::new().with_sslps(LargePages::new().with_size_2m(true)) => 0x0000_0004_0000_0000;
        Cap::new().with_sslps(LargePages::new().with_size_1g(true)) => 0x0000_0008_0000_0000;
        Cap::new().with_psi(true) => 0x0000_0080_0000_0000;
        Cap::new().with_nfr(0xff) => 0x0000_ff00_0000_0000;
        Cap::new().with_mamv(0x3f) => 0x003f_0000_0000_0000;
        Cap::new().with_dwd(true) => 0x0040_0000_0000_0000;
        Cap::new().with_drd(true) => 0x0080_0000_0000_0000;
        Cap::new().with_fs1gp(true) => 0x0100_0000_0000_0000;
        Cap::new().with_pi(true) => 0x0800_0000_0000_0000;
        Cap::new().with_fs5lp(true) => 0x1000_0000_0000_0000;
        Cap::new().with_ecmds(true) => 0x2000_0000_0000_0000;
        Cap::new().with_esirtps(true) => 0x4000_0000_0000_0000;
        Cap::new().with_esrtps(true) => 0x8000_0000_0000_0000;
    }
}

#[test]
fn a_real_cap_is_understood() {
    // What the integrated graphics' unit of a desktop processor reports.
    let cap = Cap::from_bits(0x01c0_000c_4066_0462);
    assert_eq!(cap.domain_id_bits(), 8);
    assert_eq!(cap.guest_address_bits(), 39);
    assert_eq!(cap.fault_records(), 1);
    assert!(cap.sagaw().bits_48() && !cap.sagaw().bits_39() && !cap.sagaw().bits_57());
    assert!(cap.sslps().size_2m() && cap.sslps().size_1g());
    assert!(cap.dwd() && cap.drd() && !cap.cm() && !cap.psi());
    assert_eq!(regs::fault_record(cap, 0), 0x400);
}

#[test]
fn ecap_fields_lie_where_the_manual_says() {
    fields! {
        Ecap::new().with_c(true) => 0x0000_0000_0000_0001;
        Ecap::new().with_qi(true) => 0x0000_0000_0000_0002;
        Ecap::new().with_dt(true) => 0x0000_0000_0000_0004;
        Ecap::new().with_ir(true) => 0x0000_0000_0000_0008;
        Ecap::new().with_eim(true) => 0x0000_0000_0000_0010;
        Ecap::new().with_pt(true) => 0x0000_0000_0000_0040;
        Ecap::new().with_sc(true) => 0x0000_0000_0000_0080;
        Ecap::new().with_iro(0x3ff) => 0x0000_0000_0003_ff00;
        Ecap::new().with_mhmv(0xf) => 0x0000_0000_00f0_0000;
        Ecap::new().with_mts(true) => 0x0000_0000_0200_0000;
        Ecap::new().with_nest(true) => 0x0000_0000_0400_0000;
        Ecap::new().with_prs(true) => 0x0000_0000_2000_0000;
        Ecap::new().with_ers(true) => 0x0000_0000_4000_0000;
        Ecap::new().with_srs(true) => 0x0000_0000_8000_0000;
        Ecap::new().with_nwfs(true) => 0x0000_0002_0000_0000;
        Ecap::new().with_eafs(true) => 0x0000_0004_0000_0000;
        Ecap::new().with_pss(0x1f) => 0x0000_00f8_0000_0000;
        Ecap::new().with_pasid(true) => 0x0000_0100_0000_0000;
        Ecap::new().with_dit(true) => 0x0000_0200_0000_0000;
        Ecap::new().with_pds(true) => 0x0000_0400_0000_0000;
        Ecap::new().with_smts(true) => 0x0000_0800_0000_0000;
        Ecap::new().with_vcs(true) => 0x0000_1000_0000_0000;
        Ecap::new().with_ssads(true) => 0x0000_2000_0000_0000;
        Ecap::new().with_ssts(true) => 0x0000_4000_0000_0000;
        Ecap::new().with_fsts(true) => 0x0000_8000_0000_0000;
        Ecap::new().with_smpwc(true) => 0x0001_0000_0000_0000;
        Ecap::new().with_rps(true) => 0x0002_0000_0000_0000;
        Ecap::new().with_pms(true) => 0x0008_0000_0000_0000;
        Ecap::new().with_adms(true) => 0x0010_0000_0000_0000;
        Ecap::new().with_rprivs(true) => 0x0020_0000_0000_0000;
    }
}

#[test]
fn command_and_status_bits_correspond() {
    fields! {
        GlobalCommand::new().with_te(true) => 0x8000_0000;
        GlobalCommand::new().with_srtp(true) => 0x4000_0000;
        GlobalCommand::new().with_sfl(true) => 0x2000_0000;
        GlobalCommand::new().with_eafl(true) => 0x1000_0000;
        GlobalCommand::new().with_wbf(true) => 0x0800_0000;
        GlobalCommand::new().with_qie(true) => 0x0400_0000;
        GlobalCommand::new().with_ire(true) => 0x0200_0000;
        GlobalCommand::new().with_sirtp(true) => 0x0100_0000;
        GlobalCommand::new().with_cfi(true) => 0x0080_0000;
        GlobalStatus::new().with_tes(true) => 0x8000_0000;
        GlobalStatus::new().with_rtps(true) => 0x4000_0000;
        GlobalStatus::new().with_fls(true) => 0x2000_0000;
        GlobalStatus::new().with_afls(true) => 0x1000_0000;
        GlobalStatus::new().with_wbfs(true) => 0x0800_0000;
        GlobalStatus::new().with_qies(true) => 0x0400_0000;
        GlobalStatus::new().with_ires(true) => 0x0200_0000;
        GlobalStatus::new().with_irtps(true) => 0x0100_0000;
        GlobalStatus::new().with_cfis(true) => 0x0080_0000;
    }
}

#[test]
fn one_shot_commands_are_not_repeated_from_the_status() {
    // 96ffffff is the mask that the manual's programming steps apply.
    let status = GlobalStatus::from_bits(0xffff_ffff);
    assert_eq!(status.to_command().into_bits(), 0xff80_0000 & 0x96ff_ffff);
}

#[test]
fn table_address_fields_lie_where_the_manual_says() {
    let address = 0xffff_ffff_ffff_f000;
    fields! {
        RootTableAddress::new().with_rta(u64::MAX) => address;
        RootTableAddress::new().with_ttm(TranslationTableMode::Scalable) => 0x400;
        RootTableAddress::new().with_ttm(TranslationTableMode::AbortDma) => 0xc00;
        ProtectedMemoryEnable::new().with_prs(true) => 0x0000_0001;
        ProtectedMemoryEnable::new().with_epm(true) => 0x8000_0000;
        InterruptTableAddress::new().with_s(0xf) => 0x00f;
        InterruptTableAddress::new().with_eime(true) => 0x800;
        InterruptTableAddress::new().with_irta(u64::MAX) => address;
    }
    assert_eq!(
        RootTableAddress::from_bits(0x12_3456_7fff).rta(),
        0x12_3456_7000
    );
    assert_eq!(
        InterruptTableAddress::from_bits(0x12_3456_7fff).irta(),
        0x12_3456_7000
    );
}

#[test]
fn fault_and_event_fields_lie_where_the_manual_says() {
    fields! {
        FaultStatus::new().with_pfo(true) => 0x0001;
        FaultStatus::new().with_ppf(true) => 0x0002;
        FaultStatus::new().with_afo(true) => 0x0004;
        FaultStatus::new().with_apf(true) => 0x0008;
        FaultStatus::new().with_iqe(true) => 0x0010;
        FaultStatus::new().with_ice(true) => 0x0020;
        FaultStatus::new().with_ite(true) => 0x0040;
        FaultStatus::new().with_pro(true) => 0x0080;
        FaultStatus::new().with_fri(0xff) => 0xff00;
        EventControl::new().with_ip(true) => 0x4000_0000;
        EventControl::new().with_im(true) => 0x8000_0000;
        EventData::new().with_imd(0xffff) => 0x0000_ffff;
        EventData::new().with_eimd(0xffff) => 0xffff_0000;
        EventAddress::new().with_ma(u32::MAX) => 0xffff_fffc;
    }
    assert_eq!(EventAddress::from_bits(0xfee0_1003).ma(), 0xfee0_1000);
}

#[test]
fn register_based_invalidation_fields_lie_where_the_manual_says() {
    fields! {
        ContextCommand::new().with_did(0xffff) => 0x0000_0000_0000_ffff;
        ContextCommand::new().with_sid(0xffff) => 0x0000_0000_ffff_0000;
        ContextCommand::new().with_fm(FunctionMask::Bits210) => 0x0000_0003_0000_0000;
        ContextCommand::new().with_caig(ContextGranularity::Device) => 0x1800_0000_0000_0000;
        ContextCommand::new().with_cirg(ContextGranularity::Global) => 0x2000_0000_0000_0000;
        ContextCommand::new().with_cirg(ContextGranularity::Domain) => 0x4000_0000_0000_0000;
        ContextCommand::new().with_cirg(ContextGranularity::Device) => 0x6000_0000_0000_0000;
        ContextCommand::new().with_icc(true) => 0x8000_0000_0000_0000;
        InvalidateAddress::new().with_am(0x3f) => 0x3f;
        InvalidateAddress::new().with_ih(true) => 0x40;
        InvalidateAddress::new().with_addr(u64::MAX) => 0xffff_ffff_ffff_f000;
        IotlbInvalidate::new().with_did(0xffff) => 0x0000_ffff_0000_0000;
        IotlbInvalidate::new().with_dw(true) => 0x0001_0000_0000_0000;
        IotlbInvalidate::new().with_dr(true) => 0x0002_0000_0000_0000;
        IotlbInvalidate::new().with_iaig(IotlbGranularity::Page) => 0x0600_0000_0000_0000;
        IotlbInvalidate::new().with_iirg(IotlbGranularity::Global) => 0x1000_0000_0000_0000;
        IotlbInvalidate::new().with_iirg(IotlbGranularity::Domain) => 0x2000_0000_0000_0000;
        IotlbInvalidate::new().with_iirg(IotlbGranularity::Page) => 0x3000_0000_0000_0000;
        IotlbInvalidate::new().with_ivt(true) => 0x8000_0000_0000_0000;
    }
}

#[test]
fn queue_register_fields_lie_where_the_manual_says() {
    fields! {
        QueuePointer::from_offset(u64::MAX) => 0x0007_fff0;
        QueueAddress::new().with_qs(7) => 0x007;
        QueueAddress::new().with_dw(true) => 0x800;
        QueueAddress::new().with_iqa(u64::MAX) => 0xffff_ffff_ffff_f000;
        CompletionStatus::new().with_iwc(true) => 0x1;
        QueueErrorRecord::new().with_iqei(QueueErrorInfo::InvalidTranslationTableMode) => 0x7;
        QueueErrorRecord::new().with_itesid(0xffff) => 0x0000_ffff_0000_0000;
        QueueErrorRecord::new().with_icesid(0xffff) => 0xffff_0000_0000_0000;
    }
    assert_eq!(QueuePointer::from_bits(0x0008_1230).offset(), 0x1230);
    let queue = QueueAddress::from_bits(0x1234_5803);
    assert_eq!(
        (queue.iqa(), queue.len_bytes(), queue.descriptor_bytes()),
        (0x1234_5000, 0x8000, 32)
    );
}

#[test]
fn root_and_context_entries_lie_as_the_manual_says() {
    assert_eq!(RootEntry::new().with_p(true).to_words(), [1, 0]);
    assert_eq!(
        RootEntry::new().with_ctp(u64::MAX).to_words(),
        [0xffff_ffff_ffff_f000, 0]
    );
    assert_eq!(RootEntry::from_words([0x7_5001, 0]).ctp(), 0x7_5000);

    let entry = ContextEntry::new;
    assert_eq!(entry().to_words(), [0, 0]);
    assert_eq!(entry().with_p(true).to_words(), [0x1, 0]);
    assert_eq!(entry().with_fpd(true).to_words(), [0x2, 0]);
    assert_eq!(
        entry().with_tt(TranslationType::DeviceTlb).to_words(),
        [0x4, 0]
    );
    assert_eq!(
        entry().with_tt(TranslationType::PassThrough).to_words(),
        [0x8, 0]
    );
    assert_eq!(
        entry().with_ssptptr(u64::MAX).to_words(),
        [0xffff_ffff_ffff_f000, 0]
    );
    assert_eq!(entry().with_aw(AddressWidth::Bits39).to_words(), [0, 0x1]);
    assert_eq!(entry().with_aw(AddressWidth::Bits48).to_words(), [0, 0x2]);
    assert_eq!(entry().with_aw(AddressWidth::Bits57).to_words(), [0, 0x3]);
    assert_eq!(entry().with_ign(0xf).to_words(), [0, 0x78]);
    assert_eq!(entry().with_did(0xffff).to_words(), [0, 0xff_ff00]);
    for reserved in [0u64, 4, 5, 6, 7] {
        assert_eq!(
            ContextEntry::from_words([1, reserved]).aw(),
            AddressWidth::Reserved
        );
    }
}

#[test]
fn every_reserved_bit_is_outside_every_field() {
    let full = RootEntry::new().with_p(true).with_ctp(u64::MAX).to_words();
    assert_eq!(full.map(|word| !word), RootEntry::RESERVED);
    let full = ContextEntry::from_words([0xc, 0x7])
        .with_p(true)
        .with_fpd(true)
        .with_ssptptr(u64::MAX)
        .with_ign(0xf)
        .with_did(0xffff)
        .to_words();
    assert_eq!(full.map(|word| !word), ContextEntry::RESERVED);
}

#[test]
fn reserved_bits_survive_the_round_trip() {
    let words = [0xffff_ffff_ffff_ffff; 2];
    assert_eq!(ContextEntry::from_words(words).to_words(), words);
    assert_eq!(Iotlb::from_words(words).to_words(), words);
    assert_eq!(Entry::from_bits(u64::MAX).into_bits(), u64::MAX);
}

#[test]
fn widths_and_levels_correspond() {
    for (width, levels, bits) in [
        (AddressWidth::Bits39, 3, 39),
        (AddressWidth::Bits48, 4, 48),
        (AddressWidth::Bits57, 5, 57),
    ] {
        assert_eq!(width.levels(), Some(levels));
        assert_eq!(AddressWidth::from_levels(levels), Some(width));
        assert_eq!(width.address_bits(), Some(bits));
    }
    assert_eq!(AddressWidth::from_levels(2), None);
    assert_eq!(AddressWidth::from_levels(6), None);
    assert_eq!(AddressWidth::Reserved.levels(), None);
}

#[test]
fn second_stage_fields_lie_where_the_manual_says() {
    fields! {
        Entry::new().with_r(true) => 0x0000_0000_0000_0001;
        Entry::new().with_w(true) => 0x0000_0000_0000_0002;
        Entry::new().with_x(true) => 0x0000_0000_0000_0004;
        Entry::new().with_emt(7) => 0x0000_0000_0000_0038;
        Entry::new().with_ipat(true) => 0x0000_0000_0000_0040;
        Entry::new().with_ps(true) => 0x0000_0000_0000_0080;
        Entry::new().with_a(true) => 0x0000_0000_0000_0100;
        Entry::new().with_d(true) => 0x0000_0000_0000_0200;
        Entry::new().with_snp(true) => 0x0000_0000_0000_0800;
        Entry::new().with_addr(u64::MAX) => 0x000f_ffff_ffff_f000;
        Entry::new().with_ign(0x3ff) => 0x3ff0_0000_0000_0000;
        Entry::new().with_tm(true) => 0x4000_0000_0000_0000;
        Entry::new().with_ign63(true) => 0x8000_0000_0000_0000;
    }
    assert_eq!(
        Entry::from_bits(0xfff1_2345_6789_afff).addr(),
        0x0001_2345_6789_a000
    );
    assert!(!Entry::from_bits(0x0000_0000_0000_0004).is_present());
    assert!(Entry::from_bits(0x0000_0000_0000_0002).is_present());
}

#[test]
fn second_stage_reserved_bits_are_the_manuals() {
    assert_eq!(
        second_stage::reserved(5, Kind::Table),
        0x4000_0000_0000_0880
    );
    assert_eq!(
        second_stage::reserved(4, Kind::Table),
        0x4000_0000_0000_0880
    );
    assert_eq!(
        second_stage::reserved(3, Kind::Table),
        0x4000_0000_0000_0800
    );
    assert_eq!(
        second_stage::reserved(2, Kind::Table),
        0x4000_0000_0000_0800
    );
    assert_eq!(second_stage::reserved(3, Kind::Leaf), 0x3fff_f000);
    assert_eq!(second_stage::reserved(2, Kind::Leaf), 0x001f_f000);
    assert_eq!(second_stage::reserved(1, Kind::Leaf), 0);
}

#[test]
fn an_address_is_cut_into_indices_of_9_bits() {
    assert_eq!(second_stage::index(0x0000_7fc0_4020_3000, 1), 0x003);
    assert_eq!(second_stage::index(0x0000_7fc0_4020_3000, 2), 0x001);
    assert_eq!(second_stage::index(0x0000_7fc0_4020_3000, 3), 0x101);
    assert_eq!(second_stage::index(0x0000_7fc0_4020_3000, 4), 0x0ff);
    assert_eq!(second_stage::index(0x01ab_0000_0000_0000, 5), 0x1ab);
    assert_eq!(
        [1, 2, 3, 4, 5].map(second_stage::size_log2),
        [12, 21, 30, 39, 48]
    );
}

#[test]
fn descriptors_lie_as_the_manual_says() {
    let context = ContextCache::new;
    assert_eq!(context().to_words(), [0x1, 0]);
    assert_eq!(
        context().with_g(ContextGranularity::Global).to_words(),
        [0x11, 0]
    );
    assert_eq!(
        context().with_g(ContextGranularity::Domain).to_words(),
        [0x21, 0]
    );
    assert_eq!(
        context().with_g(ContextGranularity::Device).to_words(),
        [0x31, 0]
    );
    assert_eq!(context().with_did(0xffff).to_words(), [0xffff_0001, 0]);
    assert_eq!(
        context().with_sid(0xffff).to_words(),
        [0x0000_ffff_0000_0001, 0]
    );
    assert_eq!(
        context().with_fm(FunctionMask::Bits210).to_words(),
        [0x0003_0000_0000_0001, 0]
    );

    let iotlb = Iotlb::new;
    assert_eq!(iotlb().to_words(), [0x2, 0]);
    assert_eq!(
        iotlb().with_g(IotlbGranularity::Global).to_words(),
        [0x12, 0]
    );
    assert_eq!(
        iotlb().with_g(IotlbGranularity::Domain).to_words(),
        [0x22, 0]
    );
    assert_eq!(iotlb().with_g(IotlbGranularity::Page).to_words(), [0x32, 0]);
    assert_eq!(iotlb().with_dw(true).to_words(), [0x42, 0]);
    assert_eq!(iotlb().with_dr(true).to_words(), [0x82, 0]);
    assert_eq!(iotlb().with_did(0xffff).to_words(), [0xffff_0002, 0]);
    assert_eq!(iotlb().with_am(0x3f).to_words(), [0x2, 0x3f]);
    assert_eq!(iotlb().with_ih(true).to_words(), [0x2, 0x40]);
    assert_eq!(
        iotlb().with_addr(u64::MAX).to_words(),
        [0x2, 0xffff_ffff_ffff_f000]
    );

    let device = DeviceTlb::new;
    assert_eq!(device().to_words(), [0x3, 0]);
    assert_eq!(device().with_pfsid_low(0xf).to_words(), [0xf003, 0]);
    assert_eq!(device().with_mip(0x1f).to_words(), [0x001f_0003, 0]);
    assert_eq!(
        device().with_sid(0xffff).to_words(),
        [0x0000_ffff_0000_0003, 0]
    );
    assert_eq!(
        device().with_pfsid_high(0xfff).to_words(),
        [0xfff0_0000_0000_0003, 0]
    );
    assert_eq!(device().with_s(true).to_words(), [0x3, 1]);
    assert_eq!(
        device().with_addr(u64::MAX).to_words(),
        [0x3, 0xffff_ffff_ffff_f000]
    );

    let interrupt = InterruptEntryCache::new;
    assert_eq!(interrupt().to_words(), [0x4, 0]);
    assert_eq!(interrupt().with_g(true).to_words(), [0x14, 0]);
    assert_eq!(interrupt().with_im(0x1f).to_words(), [0xf800_0004, 0]);
    assert_eq!(
        interrupt().with_iidx(0xffff).to_words(),
        [0x0000_ffff_0000_0004, 0]
    );

    let wait = Wait::new;
    assert_eq!(wait().to_words(), [0x5, 0]);
    assert_eq!(wait().with_interrupt(true).to_words(), [0x15, 0]);
    assert_eq!(wait().with_sw(true).to_words(), [0x25, 0]);
    assert_eq!(wait().with_fence(true).to_words(), [0x45, 0]);
    assert_eq!(wait().with_pd(true).to_words(), [0x85, 0]);
    assert_eq!(
        wait().with_status_data(u32::MAX).to_words(),
        [0xffff_ffff_0000_0005, 0]
    );
    assert_eq!(
        wait().with_status_address(u64::MAX).to_words(),
        [0x5, 0xffff_ffff_ffff_fffc]
    );
}

#[test]
fn descriptors_reserved_bits_are_all_outside_their_fields() {
    // A descriptor with every field at its maximum; its type is in bits 11:9 and 3:0.
    let mut full = [
        ContextCache::from_words([0x0003_ffff_ffff_003f, 0])
            .with_type_high(7)
            .to_words(),
        Iotlb::from_words([0xffff_00ff, 0xffff_ffff_ffff_f07f])
            .with_type_high(7)
            .to_words(),
        DeviceTlb::from_words([0xfff0_ffff_001f_f00f, 0xffff_ffff_ffff_f001])
            .with_type_high(7)
            .to_words(),
        InterruptEntryCache::from_words([0x0000_ffff_f800_001f, 0])
            .with_type_high(7)
            .to_words(),
        Wait::from_words([0xffff_ffff_0000_00ff, 0xffff_ffff_ffff_fffc])
            .with_type_high(7)
            .to_words(),
    ];
    for words in &mut full {
        *words = words.map(|word| !word);
    }
    let reserved = [
        ContextCache::RESERVED,
        Iotlb::RESERVED,
        DeviceTlb::RESERVED,
        InterruptEntryCache::RESERVED,
        Wait::RESERVED,
    ];
    assert_eq!(full, reserved);
}

#[test]
fn descriptors_are_told_apart_by_all_seven_type_bits() {
    use invalidation::{Kind, kind, type_code};
    assert_eq!(kind([0x1, 0]), Some(Kind::ContextCache));
    assert_eq!(kind([0x2, 0]), Some(Kind::Iotlb));
    assert_eq!(kind([0x3, 0]), Some(Kind::DeviceTlb));
    assert_eq!(kind([0x4, 0]), Some(Kind::InterruptEntryCache));
    assert_eq!(kind([0x5, 0]), Some(Kind::Wait));
    assert_eq!(kind([0x0, 0]), None);
    assert_eq!(kind([0x8, 0]), None);
    assert_eq!(kind([0x202, 0]), None);
    assert_eq!(type_code(0xfff), 0x7f);
    assert_eq!(type_code(0x205), 0x15);
}

#[test]
fn fault_records_lie_as_the_manual_says() {
    let record = FaultRecord::new;
    assert_eq!(
        record().with_fi(u64::MAX).to_words(),
        [0xffff_ffff_ffff_f000, 0]
    );
    assert_eq!(
        record().with_sid(0xffff).to_words(),
        [0, 0x0000_0000_0000_ffff]
    );
    assert_eq!(
        record().with_t2(true).to_words(),
        [0, 0x0000_0000_1000_0000]
    );
    assert_eq!(
        record().with_privileged(true).to_words(),
        [0, 0x0000_0000_2000_0000]
    );
    assert_eq!(
        record().with_exe(true).to_words(),
        [0, 0x0000_0000_4000_0000]
    );
    assert_eq!(
        record().with_pp(true).to_words(),
        [0, 0x0000_0000_8000_0000]
    );
    assert_eq!(
        record().with_fr(0xff).to_words(),
        [0, 0x0000_00ff_0000_0000]
    );
    assert_eq!(
        record().with_pv(0xf_ffff).to_words(),
        [0, 0x0fff_ff00_0000_0000]
    );
    assert_eq!(record().with_at(3).to_words(), [0, 0x3000_0000_0000_0000]);
    assert_eq!(
        record().with_t1(true).to_words(),
        [0, 0x4000_0000_0000_0000]
    );
    assert_eq!(record().with_f(true).to_words(), [0, 0x8000_0000_0000_0000]);
}

#[test]
fn request_types_round_trip() {
    for (wanted, bits) in [
        (RequestType::Write, 0x0000_0000_0000_0000),
        (RequestType::Page, 0x0000_0000_1000_0000),
        (RequestType::Read, 0x4000_0000_0000_0000),
        (RequestType::AtomicOp, 0x4000_0000_1000_0000),
    ] {
        let record = FaultRecord::new().with_request_type(wanted);
        assert_eq!(record.to_words(), [0, bits]);
        assert_eq!(record.request_type(), wanted);
    }
}

#[test]
fn fault_reasons_have_the_manuals_codes() {
    use FaultReason::*;
    let codes = [
        (RootNotPresent, 0x01),
        (ContextNotPresent, 0x02),
        (ContextInvalid, 0x03),
        (AddressBeyondWidth, 0x04),
        (WriteNotPermitted, 0x05),
        (ReadNotPermitted, 0x06),
        (PageTableUnreachable, 0x07),
        (RootTableUnreachable, 0x08),
        (ContextTableUnreachable, 0x09),
        (RootReserved, 0x0a),
        (ContextReserved, 0x0b),
        (PageTableReserved, 0x0c),
        (TranslationTypeBlocks, 0x0d),
        (OutputIsInterruptRange, 0x0e),
        (RootAddressInvalid, 0x30),
        (ScalableRootTableUnreachable, 0x38),
        (ScalableRootNotPresent, 0x39),
        (ScalableRootReserved, 0x3a),
        (ScalableContextTableUnreachable, 0x40),
        (ScalableContextNotPresent, 0x41),
        (ScalableContextReserved, 0x42),
        (ScalableContextInvalid, 0x43),
        (RidPasidBeyondDirectory, 0x48),
        (PasidDirectoryUnreachable, 0x50),
        (PasidDirectoryNotPresent, 0x51),
        (PasidDirectoryReserved, 0x52),
        (PasidTableUnreachable, 0x58),
        (PasidNotPresent, 0x59),
        (PasidReserved, 0x5a),
        (PasidInvalid, 0x5b),
        (FirstStageUnreachable, 0x70),
        (FirstStageNotPresent, 0x71),
        (FirstStageReserved, 0x72),
        (FirstStageTopUnreachable, 0x73),
        (SecondStageUnreachable, 0x78),
        (SecondStageNotPresent, 0x79),
        (SecondStageReserved, 0x7a),
        (SecondStageTopUnreachable, 0x7b),
        (NotCanonical, 0x80),
        (SupervisorOnly, 0x81),
        (ScalableAddressBeyondWidth, 0x84),
        (ScalableWriteNotPermitted, 0x85),
        (ScalableReadNotPermitted, 0x86),
        (ScalableOutputIsInterruptRange, 0x87),
        (AccessedFlagNoSnoop, 0x90),
        (AccessedFlagUnwritable, 0x91),
    ];
    assert_eq!(FaultReason::ALL, codes.map(|(reason, _)| reason));
    for (reason, code) in codes {
        assert_eq!(reason.code(), code);
        assert_eq!(FaultReason::from_code(code), Some(reason));
    }
    assert_eq!(FaultReason::from_code(0), None);
    assert_eq!(FaultReason::from_code(0xff), None);
    assert_eq!(RootNotPresent.qualification(), Qualification::Unqualified);
    assert_eq!(ReadNotPermitted.qualification(), Qualification::Qualified);
    assert_eq!(WriteNotPermitted.to_string(), "write not permitted");
}

#[test]
fn first_stage_fields_lie_where_the_manual_says() {
    use hw::vtd::first_stage::Entry;
    fields! {
        Entry::new().with_p(true) => 0x0000_0000_0000_0001;
        Entry::new().with_rw(true) => 0x0000_0000_0000_0002;
        Entry::new().with_us(true) => 0x0000_0000_0000_0004;
        Entry::new().with_pwt(true) => 0x0000_0000_0000_0008;
        Entry::new().with_pcd(true) => 0x0000_0000_0000_0010;
        Entry::new().with_a(true) => 0x0000_0000_0000_0020;
        Entry::new().with_d(true) => 0x0000_0000_0000_0040;
        Entry::new().with_ps(true) => 0x0000_0000_0000_0080;
        Entry::new().with_g(true) => 0x0000_0000_0000_0100;
        Entry::new().with_ign9(true) => 0x0000_0000_0000_0200;
        Entry::new().with_ea(true) => 0x0000_0000_0000_0400;
        Entry::new().with_ign11(true) => 0x0000_0000_0000_0800;
        Entry::new().with_addr(u64::MAX) => 0x000f_ffff_ffff_f000;
        Entry::new().with_ign(0x7ff) => 0x7ff0_0000_0000_0000;
        Entry::new().with_xd(true) => 0x8000_0000_0000_0000;
    }
    assert_eq!(
        Entry::from_bits(0xfff1_2345_6789_afff).addr(),
        0x0001_2345_6789_a000
    );
    assert_eq!(Entry::from_bits(u64::MAX).into_bits(), u64::MAX);
}

#[test]
fn first_stage_reserved_bits_are_the_manuals() {
    use hw::vtd::first_stage;
    let tables = [1, 2, 3, 4, 5].map(|level| first_stage::reserved(level, Kind::Table));
    assert_eq!(tables, [0, 0, 0, 0x80, 0x80]);
    let leaves = [1, 2, 3].map(|level| first_stage::reserved(level, Kind::Leaf));
    assert_eq!(leaves, [0, 0x001f_e000, 0x3fff_e000]);
    assert_eq!(first_stage::PAT, 0x80);
    assert_eq!(first_stage::LARGE_PAT, 0x1000);
    assert_eq!(first_stage::XD, 0x8000_0000_0000_0000);
    assert_eq!(first_stage::ADDRESS_MASK, 0x000f_ffff_ffff_f000);
}

#[test]
fn words_put_together_are_those_of_the_fields() {
    use hw::vtd::invalidation::{PasidIotlb, PasidIotlbGranularity, page_bits};
    let wait = Wait::new()
        .with_sw(true)
        .with_status_data(0xfedc_ba98)
        .with_status_address(0xff_ffff_fffc);
    assert_eq!(
        Wait::status_words(0xfedc_ba98, 0xff_ffff_ffff),
        wait.to_words()
    );
    for (did, am, ih, addr) in [
        (0, 0, false, 0),
        (0xffff, 63, true, !0),
        (7, 9, true, 0x1_2345_6000),
    ] {
        let page = Iotlb::new().with_g(IotlbGranularity::Page).with_dr(true);
        let first = PasidIotlb::new()
            .with_g(PasidIotlbGranularity::Page)
            .with_pasid(3);
        let bits = page_bits(did, am, ih, addr);
        let or = |[low, high]: [u64; 2]| [low | bits[0], high | bits[1]];
        let whole = page.with_did(did).with_am(am).with_ih(ih).with_addr(addr);
        assert_eq!(or(page.to_words()), whole.to_words());
        let whole = first.with_did(did).with_am(am).with_ih(ih).with_addr(addr);
        assert_eq!(or(first.to_words()), whole.to_words());
    }
    for offset in [0, 16, 0x7_fff0, 0xff_ffff] {
        let place = QueuePointer::from_offset(offset);
        assert_eq!(place.offset(), offset & 0x7_fff0);
        assert_eq!(place.into_bits(), offset & 0x7_fff0);
    }
}
