use hw::smmu::command::{self, ConfigInvalidate, Opcode, Prefetch, Sync, TlbInvalidate};
use hw::smmu::context::{self, Cd0, Cd1, ContextDescriptor};
use hw::smmu::event::{Class, Event0, Event1, EventKind, EventRecord};
use hw::smmu::regs::{self, *};
use hw::smmu::stream::{
    self, AtsTreatment, Config, ContextTableFormat, Granule, Level1Descriptor, Ste0, Ste1, Ste2,
    Ste3, StreamTableEntry,
};

use crate::fields;

#[test]
fn register_offsets_are_the_manuals() {
    assert_eq!(
        [
            IDR0,
            IDR1,
            IDR2,
            IDR3,
            IDR4,
            IDR5,
            IIDR,
            AIDR,
            CR0,
            CR0ACK,
            CR1,
            CR2,
            STATUSR,
            GBPA,
            AGBPA,
            IRQ_CTRL,
            IRQ_CTRLACK,
            GERROR,
            GERRORN,
            GERROR_IRQ_CFG0,
            GERROR_IRQ_CFG1,
            GERROR_IRQ_CFG2,
            STRTAB_BASE,
            STRTAB_BASE_CFG,
            CMDQ_BASE,
            CMDQ_PROD,
            CMDQ_CONS,
            EVENTQ_BASE,
            EVENTQ_IRQ_CFG0,
            EVENTQ_IRQ_CFG1,
            EVENTQ_IRQ_CFG2,
            PRIQ_BASE,
            EVENTQ_PROD,
            EVENTQ_CONS,
            PRIQ_PROD,
            PRIQ_CONS,
        ],
        [
            0x00, 0x04, 0x08, 0x0c, 0x10, 0x14, 0x18, 0x1c, 0x20, 0x24, 0x28, 0x2c, 0x40, 0x44,
            0x48, 0x50, 0x54, 0x60, 0x64, 0x68, 0x70, 0x74, 0x80, 0x88, 0x90, 0x98, 0x9c, 0xa0,
            0xb0, 0xb8, 0xbc, 0xc0, 0x100a8, 0x100ac, 0x100c8, 0x100cc,
        ]
    );
}

#[test]
fn identification_fields_lie_where_the_manual_says() {
    fields! {
        Idr0::new().with_s2p(true) => 0x0000_0001;
        Idr0::new().with_s1p(true) => 0x0000_0002;
        Idr0::new().with_ttf(TableFormats::Both) => 0x0000_000c;
        Idr0::new().with_ttf(TableFormats::AArch64) => 0x0000_0008;
        Idr0::new().with_cohacc(true) => 0x0000_0010;
        Idr0::new().with_btm(true) => 0x0000_0020;
        Idr0::new().with_htt_update(3) => 0x0000_00c0;
        Idr0::new().with_dormhint(true) => 0x0000_0100;
        Idr0::new().with_hyp(true) => 0x0000_0200;
        Idr0::new().with_ats(true) => 0x0000_0400;
        Idr0::new().with_ns1ats(true) => 0x0000_0800;
        Idr0::new().with_asid16(true) => 0x0000_1000;
        Idr0::new().with_msi(true) => 0x0000_2000;
        Idr0::new().with_sev(true) => 0x0000_4000;
        Idr0::new().with_atos(true) => 0x0000_8000;
        Idr0::new().with_pri(true) => 0x0001_0000;
        Idr0::new().with_vmw(true) => 0x0002_0000;
        Idr0::new().with_vmid16(true) => 0x0004_0000;
        Idr0::new().with_cd2l(true) => 0x0008_0000;
        Idr0::new().with_vatos(true) => 0x0010_0000;
        Idr0::new().with_ttendian(TableEndianness::Big) => 0x0060_0000;
        Idr0::new().with_ttendian(TableEndianness::Little) => 0x0040_0000;
        Idr0::new().with_atsrecerr(true) => 0x0080_0000;
        Idr0::new().with_stall_model(StallModel::Terminate) => 0x0100_0000;
        Idr0::new().with_stall_model(StallModel::Stall) => 0x0200_0000;
        Idr0::new().with_term_model(true) => 0x0400_0000;
        Idr0::new().with_st_level(StreamTableLevels::TwoLevel) => 0x0800_0000;
        Idr1::new().with_sidsize(0x3f) => 0x0000_003f;
        Idr1::new().with_ssidsize(0x1f) => 0x0000_07c0;
        Idr1::new().with_priqs(0x1f) => 0x0000_f800;
        Idr1::new().with_eventqs(0x1f) => 0x001f_0000;
        Idr1::new().with_cmdqs(0x1f) => 0x03e0_0000;
        Idr1::new().with_attr_perms_ovr(true) => 0x0400_0000;
        Idr1::new().with_attr_types_ovr(true) => 0x0800_0000;
        Idr1::new().with_rel(true) => 0x1000_0000;
        Idr1::new().with_queues_preset(true) => 0x2000_0000;
        Idr1::new().with_tables_preset(true) => 0x4000_0000;
        Idr1::new().with_ecmdq(true) => 0x8000_0000_u32;
        Idr3::new().with_had(true) => 0x0000_0004;
        Idr3::new().with_pbha(true) => 0x0000_0008;
        Idr3::new().with_xnx(true) => 0x0000_0010;
        Idr3::new().with_pps(true) => 0x0000_0020;
        Idr3::new().with_mpam(true) => 0x0000_0080;
        Idr3::new().with_fwb(true) => 0x0000_0100;
        Idr3::new().with_stt(true) => 0x0000_0200;
        Idr3::new().with_ril(true) => 0x0000_0400;
        Idr3::new().with_bbml(3) => 0x0000_1800;
        Idr3::new().with_e0pd(true) => 0x0000_2000;
        Idr3::new().with_ptwnnc(true) => 0x0000_4000;
        Idr3::new().with_dpt(true) => 0x0000_8000;
        Idr5::new().with_oas(7) => 0x0000_0007;
        Idr5::new().with_gran4k(true) => 0x0000_0010;
        Idr5::new().with_gran16k(true) => 0x0000_0020;
        Idr5::new().with_gran64k(true) => 0x0000_0040;
        Idr5::new().with_vax(3) => 0x0000_0c00;
        Idr5::new().with_stall_max(0xffff) => 0xffff_0000_u32;
    }
}

#[test]
fn reserved_identification_values_are_told() {
    assert_eq!(Idr0::from_bits(0).ttf(), TableFormats::Reserved);
    assert_eq!(
        Idr0::from_bits(1 << 21).ttendian(),
        TableEndianness::Reserved
    );
    assert_eq!(Idr0::from_bits(3 << 24).stall_model(), StallModel::Reserved);
    assert_eq!(
        Idr0::from_bits(3 << 27).st_level(),
        StreamTableLevels::Reserved
    );
    assert_eq!(Idr0::from_bits(0).stall_model(), StallModel::Both);
    assert_eq!(Idr0::from_bits(0).ttendian(), TableEndianness::Mixed);
    assert_eq!(
        (0..8).map(address_bits).collect::<Vec<_>>(),
        [
            Some(32),
            Some(36),
            Some(40),
            Some(42),
            Some(44),
            Some(48),
            Some(52),
            None
        ]
    );
}

#[test]
fn control_fields_lie_where_the_manual_says() {
    fields! {
        Cr0::new().with_smmuen(true) => 0x0000_0001;
        Cr0::new().with_priqen(true) => 0x0000_0002;
        Cr0::new().with_eventqen(true) => 0x0000_0004;
        Cr0::new().with_cmdqen(true) => 0x0000_0008;
        Cr0::new().with_atschk(true) => 0x0000_0010;
        Cr0::new().with_vmw(7) => 0x0000_01c0;
        Cr1::new().with_queue_ic(3) => 0x0000_0003;
        Cr1::new().with_queue_oc(3) => 0x0000_000c;
        Cr1::new().with_queue_sh(3) => 0x0000_0030;
        Cr1::new().with_table_ic(3) => 0x0000_00c0;
        Cr1::new().with_table_oc(3) => 0x0000_0300;
        Cr1::new().with_table_sh(3) => 0x0000_0c00;
        Cr2::new().with_e2h(true) => 0x0000_0001;
        Cr2::new().with_recinvsid(true) => 0x0000_0002;
        Cr2::new().with_ptm(true) => 0x0000_0004;
        Cr2::new().with_rec_cfg_ats(true) => 0x0000_0008;
        Gbpa::new().with_memattr(0xf) => 0x0000_000f;
        Gbpa::new().with_mtcfg(true) => 0x0000_0010;
        Gbpa::new().with_alloccfg(0xf) => 0x0000_0f00;
        Gbpa::new().with_shcfg(3) => 0x0000_3000;
        Gbpa::new().with_privcfg(3) => 0x0003_0000;
        Gbpa::new().with_instcfg(3) => 0x000c_0000;
        Gbpa::new().with_abort(true) => 0x0010_0000;
        Gbpa::new().with_update(true) => 0x8000_0000_u32;
    }
    assert_eq!(
        [
            Cr1::NON_CACHEABLE,
            Cr1::WRITE_BACK,
            Cr1::NON_SHAREABLE,
            Cr1::OUTER_SHAREABLE,
            Cr1::INNER_SHAREABLE
        ],
        [0, 1, 0, 2, 3]
    );
}

#[test]
fn error_and_message_fields_lie_where_the_manual_says() {
    fields! {
        IrqCtrl::new().with_gerror_irqen(true) => 0x1;
        IrqCtrl::new().with_priq_irqen(true) => 0x2;
        IrqCtrl::new().with_eventq_irqen(true) => 0x4;
        Gerror::new().with_cmdq_err(true) => 0x001;
        Gerror::new().with_eventq_abt_err(true) => 0x004;
        Gerror::new().with_priq_abt_err(true) => 0x008;
        Gerror::new().with_msi_cmdq_abt_err(true) => 0x010;
        Gerror::new().with_msi_eventq_abt_err(true) => 0x020;
        Gerror::new().with_msi_priq_abt_err(true) => 0x040;
        Gerror::new().with_msi_gerror_abt_err(true) => 0x080;
        Gerror::new().with_sfm_err(true) => 0x100;
        Gerror::new().with_cmdqp_err(true) => 0x200;
        MessageAddress::new().with_addr(!0) => 0x000f_ffff_ffff_fffc_u64;
        MessageAttributes::new().with_memattr(0xf) => 0x0f;
        MessageAttributes::new().with_sh(3) => 0x30;
    }
    assert_eq!(MessageAddress::from_bits(!0).addr(), 0x000f_ffff_ffff_fffc);
}

#[test]
fn table_and_queue_registers_lie_where_the_manual_says() {
    fields! {
        StreamTableBase::new().with_addr(!0) => 0x000f_ffff_ffff_ffc0_u64;
        StreamTableBase::new().with_ra(true) => 0x4000_0000_0000_0000_u64;
        StreamTableConfig::new().with_log2size(0x3f) => 0x0000_003f;
        StreamTableConfig::new().with_split(0x1f) => 0x0000_07c0;
        StreamTableConfig::new().with_fmt(StreamTableFormat::TwoLevel) => 0x0001_0000;
        QueueBase::new().with_log2size(0x1f) => 0x0000_0000_0000_001f_u64;
        QueueBase::new().with_addr(!0) => 0x000f_ffff_ffff_ffe0_u64;
        QueueBase::new().with_allocate(true) => 0x4000_0000_0000_0000_u64;
        QueueIndex::new().with_index(0xf_ffff) => 0x000f_ffff;
        QueueIndex::new().with_overflow(true) => 0x8000_0000_u32;
        CommandConsumer::new().with_index(0xf_ffff) => 0x000f_ffff;
        CommandConsumer::new().with_err(CommandError::Reserved) => 0x7f00_0000;
        CommandConsumer::new().with_err(CommandError::Illegal) => 0x0100_0000;
        CommandConsumer::new().with_err(CommandError::Abort) => 0x0200_0000;
        CommandConsumer::new().with_err(CommandError::AtcInvalidation) => 0x0300_0000;
    }
    assert_eq!(
        StreamTableConfig::from_bits(0x3_0000).fmt(),
        StreamTableFormat::Reserved
    );
    assert_eq!(
        CommandConsumer::from_bits(4 << 24).err(),
        CommandError::Reserved
    );
    assert_eq!(StreamTableBase::from_bits(!0).addr(), 0x000f_ffff_ffff_ffc0);
    assert_eq!(QueueBase::from_bits(!0).addr(), 0x000f_ffff_ffff_ffe0);
}

#[test]
fn queue_indices_carry_the_wrap_bit_above_the_entry() {
    let index = regs::QueueIndex::from_bits(0x8000_01ff);
    assert_eq!((index.entry(8), index.wrapped(8)), (0xff, true));
    assert_eq!((index.entry(9), index.wrapped(9)), (0x1ff, false));
    assert!(index.overflow());
}

#[test]
fn stream_table_words_lie_where_the_manual_says() {
    fields! {
        Level1Descriptor::new().with_span(0x1f) => 0x0000_0000_0000_001f_u64;
        Level1Descriptor::new().with_l2ptr(!0) => 0x000f_ffff_ffff_ffc0_u64;
        Ste0::new().with_v(true) => 0x0000_0000_0000_0001_u64;
        Ste0::new().with_config(Config::Nested) => 0x0000_0000_0000_000e_u64;
        Ste0::new().with_config(Config::Bypass) => 0x0000_0000_0000_0008_u64;
        Ste0::new().with_config(Config::Stage1) => 0x0000_0000_0000_000a_u64;
        Ste0::new().with_config(Config::Stage2) => 0x0000_0000_0000_000c_u64;
        Ste0::new().with_s1fmt(ContextTableFormat::Reserved) => 0x0000_0000_0000_0030_u64;
        Ste0::new().with_s1fmt(ContextTableFormat::TwoLevel64K) => 0x0000_0000_0000_0020_u64;
        Ste0::new().with_s1_context_ptr(!0) => 0x000f_ffff_ffff_ffc0_u64;
        Ste0::new().with_s1cdmax(0x1f) => 0xf800_0000_0000_0000_u64;
        Ste1::new().with_s1dss(3) => 0x0000_0000_0000_0003_u64;
        Ste1::new().with_s1cir(3) => 0x0000_0000_0000_000c_u64;
        Ste1::new().with_s1cor(3) => 0x0000_0000_0000_0030_u64;
        Ste1::new().with_s1csh(3) => 0x0000_0000_0000_00c0_u64;
        Ste1::new().with_s2hwu(0xf) => 0x0000_0000_0000_0f00_u64;
        Ste1::new().with_dre(true) => 0x0000_0000_0000_1000_u64;
        Ste1::new().with_cont(0xf) => 0x0000_0000_0001_e000_u64;
        Ste1::new().with_dcp(true) => 0x0000_0000_0002_0000_u64;
        Ste1::new().with_ppar(true) => 0x0000_0000_0004_0000_u64;
        Ste1::new().with_mev(true) => 0x0000_0000_0008_0000_u64;
        Ste1::new().with_software(0xf) => 0x0000_0000_00f0_0000_u64;
        Ste1::new().with_s2fwb(true) => 0x0000_0000_0200_0000_u64;
        Ste1::new().with_s1mpam(true) => 0x0000_0000_0400_0000_u64;
        Ste1::new().with_s1stalld(true) => 0x0000_0000_0800_0000_u64;
        Ste1::new().with_eats(AtsTreatment::Checked) => 0x0000_0000_3000_0000_u64;
        Ste1::new().with_strw(3) => 0x0000_0000_c000_0000_u64;
        Ste1::new().with_memattr(0xf) => 0x0000_000f_0000_0000_u64;
        Ste1::new().with_mtcfg(true) => 0x0000_0010_0000_0000_u64;
        Ste1::new().with_alloccfg(0xf) => 0x0000_01e0_0000_0000_u64;
        Ste1::new().with_shcfg(3) => 0x0000_3000_0000_0000_u64;
        Ste1::new().with_nscfg(3) => 0x0000_c000_0000_0000_u64;
        Ste1::new().with_privcfg(3) => 0x0003_0000_0000_0000_u64;
        Ste1::new().with_instcfg(3) => 0x000c_0000_0000_0000_u64;
        Ste1::new().with_implementation(0xfff) => 0xfff0_0000_0000_0000_u64;
        Ste2::new().with_s2vmid(0xffff) => 0x0000_0000_0000_ffff_u64;
        Ste2::new().with_implementation(0xffff) => 0x0000_0000_ffff_0000_u64;
        Ste2::new().with_s2t0sz(0x3f) => 0x0000_003f_0000_0000_u64;
        Ste2::new().with_s2sl0(3) => 0x0000_00c0_0000_0000_u64;
        Ste2::new().with_s2ir0(3) => 0x0000_0300_0000_0000_u64;
        Ste2::new().with_s2or0(3) => 0x0000_0c00_0000_0000_u64;
        Ste2::new().with_s2sh0(3) => 0x0000_3000_0000_0000_u64;
        Ste2::new().with_s2tg(Granule::Reserved) => 0x0000_c000_0000_0000_u64;
        Ste2::new().with_s2ps(7) => 0x0007_0000_0000_0000_u64;
        Ste2::new().with_s2aa64(true) => 0x0008_0000_0000_0000_u64;
        Ste2::new().with_s2endi(true) => 0x0010_0000_0000_0000_u64;
        Ste2::new().with_s2affd(true) => 0x0020_0000_0000_0000_u64;
        Ste2::new().with_s2ptw(true) => 0x0040_0000_0000_0000_u64;
        Ste2::new().with_s2hd(true) => 0x0080_0000_0000_0000_u64;
        Ste2::new().with_s2ha(true) => 0x0100_0000_0000_0000_u64;
        Ste2::new().with_s2s(true) => 0x0200_0000_0000_0000_u64;
        Ste2::new().with_s2r(true) => 0x0400_0000_0000_0000_u64;
        Ste3::new().with_s2ttb(!0) => 0x000f_ffff_ffff_fff0_u64;
    }
    assert_eq!((stream::ENTRY_BYTES, stream::LEVEL1_BYTES), (64, 8));
    assert_eq!(
        [
            Ste0::RESERVED,
            Ste1::RESERVED,
            Ste2::RESERVED,
            Ste3::RESERVED
        ],
        [
            0x07f0_0000_0000_0000,
            0x0000_0e00_0100_0000,
            0xf800_0000_0000_0000,
            0xfff0_0000_0000_000f
        ]
    );
}

#[test]
fn stream_table_spans_are_encoded_as_the_manual_says() {
    let entries = |span| Level1Descriptor::new().with_span(span).entries();
    assert_eq!(
        [0, 1, 2, 9, 11, 12, 31].map(entries),
        [0, 1, 2, 256, 1024, 0, 0]
    );
}

#[test]
fn configurations_say_which_stages_translate() {
    let stages = |config: Config| (config.translates_stage1(), config.translates_stage2());
    assert_eq!(stages(Config::Bypass), (false, false));
    assert_eq!(stages(Config::Stage1), (true, false));
    assert_eq!(stages(Config::Stage2), (false, true));
    assert_eq!(stages(Config::Nested), (true, true));
    for reserved in 1..4 {
        assert_eq!(
            stages(Ste0::from_bits(reserved << 1).config()),
            (false, false)
        );
    }
}

#[test]
fn granules_and_start_levels_are_encoded_as_the_manual_says() {
    fields! {
        Ste2::new().with_s2tg(Granule::Size4K) => 0_u64;
        Ste2::new().with_s2tg(Granule::Size64K) => 0x0000_4000_0000_0000_u64;
        Ste2::new().with_s2tg(Granule::Size16K) => 0x0000_8000_0000_0000_u64;
    }
    for granule in [Granule::Size4K, Granule::Size16K, Granule::Size64K] {
        let log2 = granule.size_log2().unwrap();
        assert_eq!(Granule::from_size_log2(log2), Some(granule));
    }
    assert_eq!(Granule::Reserved.size_log2(), None);
    assert_eq!(Granule::from_size_log2(13), None);
    let starts = |granule| [0, 1, 2, 3].map(|sl0| stream::stage2_start_level(granule, sl0));
    assert_eq!(starts(Granule::Size4K), [Some(2), Some(1), Some(0), None]);
    assert_eq!(starts(Granule::Size16K), [Some(3), Some(2), Some(1), None]);
    assert_eq!(starts(Granule::Size64K), [Some(3), Some(2), Some(1), None]);
    for granule in [Granule::Size4K, Granule::Size16K, Granule::Size64K] {
        for sl0 in 0..3 {
            let level = stream::stage2_start_level(granule, sl0).unwrap();
            assert_eq!(stream::stage2_sl0(granule, level), Some(sl0));
        }
    }
    assert_eq!(stream::stage2_sl0(Granule::Size4K, 3), None);
    assert_eq!(stream::stage2_sl0(Granule::Size64K, 0), None);
}

#[test]
fn context_descriptor_words_lie_where_the_manual_says() {
    fields! {
        context::Level1Descriptor::new().with_v(true) => 0x0000_0000_0000_0001_u64;
        context::Level1Descriptor::new().with_l2ptr(!0) => 0x000f_ffff_ffff_f000_u64;
        Cd0::new().with_t0sz(0x3f) => 0x0000_0000_0000_003f_u64;
        Cd0::new().with_tg0(Granule::Reserved) => 0x0000_0000_0000_00c0_u64;
        Cd0::new().with_ir0(3) => 0x0000_0000_0000_0300_u64;
        Cd0::new().with_or0(3) => 0x0000_0000_0000_0c00_u64;
        Cd0::new().with_sh0(3) => 0x0000_0000_0000_3000_u64;
        Cd0::new().with_epd0(true) => 0x0000_0000_0000_4000_u64;
        Cd0::new().with_endi(true) => 0x0000_0000_0000_8000_u64;
        Cd0::new().with_t1sz(0x3f) => 0x0000_0000_003f_0000_u64;
        Cd0::new().with_tg1(3) => 0x0000_0000_00c0_0000_u64;
        Cd0::new().with_ir1(3) => 0x0000_0000_0300_0000_u64;
        Cd0::new().with_or1(3) => 0x0000_0000_0c00_0000_u64;
        Cd0::new().with_sh1(3) => 0x0000_0000_3000_0000_u64;
        Cd0::new().with_epd1(true) => 0x0000_0000_4000_0000_u64;
        Cd0::new().with_v(true) => 0x0000_0000_8000_0000_u64;
        Cd0::new().with_ips(7) => 0x0000_0007_0000_0000_u64;
        Cd0::new().with_affd(true) => 0x0000_0008_0000_0000_u64;
        Cd0::new().with_wxn(true) => 0x0000_0010_0000_0000_u64;
        Cd0::new().with_uwxn(true) => 0x0000_0020_0000_0000_u64;
        Cd0::new().with_tbi(3) => 0x0000_00c0_0000_0000_u64;
        Cd0::new().with_pan(true) => 0x0000_0100_0000_0000_u64;
        Cd0::new().with_aa64(true) => 0x0000_0200_0000_0000_u64;
        Cd0::new().with_hd(true) => 0x0000_0400_0000_0000_u64;
        Cd0::new().with_ha(true) => 0x0000_0800_0000_0000_u64;
        Cd0::new().with_s(true) => 0x0000_1000_0000_0000_u64;
        Cd0::new().with_r(true) => 0x0000_2000_0000_0000_u64;
        Cd0::new().with_a(true) => 0x0000_4000_0000_0000_u64;
        Cd0::new().with_aset(true) => 0x0000_8000_0000_0000_u64;
        Cd0::new().with_asid(0xffff) => 0xffff_0000_0000_0000_u64;
        Cd1::new().with_nscfg0(true) => 0x0000_0000_0000_0001_u64;
        Cd1::new().with_had0(true) => 0x0000_0000_0000_0002_u64;
        Cd1::new().with_e0pd0(true) => 0x0000_0000_0000_0004_u64;
        Cd1::new().with_ttb0(!0) => 0x000f_ffff_ffff_fff0_u64;
        Cd1::new().with_hwu0(0xf) => 0xf000_0000_0000_0000_u64;
    }
    assert_eq!(context::DESCRIPTOR_BYTES, 64);
    assert_eq!(Cd1::RESERVED, 0x0ff0_0000_0000_0008);
}

#[test]
fn entries_and_descriptors_keep_every_bit() {
    let words = [1, 2, 3, 4, 5, 6, 7, 8].map(|n: u64| n.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    assert_eq!(StreamTableEntry::from_words(words).to_words(), words);
    assert_eq!(ContextDescriptor::from_words(words).to_words(), words);
    let four = [words[0], words[1], words[2], words[3]];
    assert_eq!(EventRecord::from_words(four).to_words(), four);
}

#[test]
fn commands_lie_where_the_manual_says() {
    let cfgi = |command: ConfigInvalidate| command.to_words();
    assert_eq!(cfgi(ConfigInvalidate::new().with_op(0xff)), [0xff, 0]);
    assert_eq!(cfgi(ConfigInvalidate::new().with_ssec(true)), [0x400, 0]);
    assert_eq!(
        cfgi(ConfigInvalidate::new().with_substream(0xf_ffff)),
        [0xffff_f000, 0]
    );
    assert_eq!(
        cfgi(ConfigInvalidate::new().with_stream(!0)),
        [0xffff_ffff_0000_0000, 0]
    );
    assert_eq!(cfgi(ConfigInvalidate::new().with_leaf(true)), [0, 1]);
    for range in 0..32 {
        let command = ConfigInvalidate::new().with_range(range);
        assert_eq!(cfgi(command), [0, range.into()]);
        assert_eq!(command.range(), range);
    }
    assert_eq!(ConfigInvalidate::ALL, 31);

    let tlbi = |command: TlbInvalidate| command.to_words();
    assert_eq!(
        tlbi(TlbInvalidate::new().with_op(0x12).with_num(0x1f)),
        [0x1_f012, 0]
    );
    assert_eq!(
        tlbi(TlbInvalidate::new().with_scale(0x1f)),
        [0x01f0_0000, 0]
    );
    assert_eq!(
        tlbi(TlbInvalidate::new().with_vmid(!0)),
        [0x0000_ffff_0000_0000, 0]
    );
    assert_eq!(
        tlbi(TlbInvalidate::new().with_asid(!0)),
        [0xffff_0000_0000_0000, 0]
    );
    assert_eq!(tlbi(TlbInvalidate::new().with_leaf(true)), [0, 1]);
    assert_eq!(tlbi(TlbInvalidate::new().with_ttl(3)), [0, 0x300]);
    assert_eq!(tlbi(TlbInvalidate::new().with_tg(3)), [0, 0xc00]);
    assert_eq!(
        tlbi(TlbInvalidate::new().with_address(!0)),
        [0, 0xffff_ffff_ffff_f000]
    );

    let sync = |command: Sync| command.to_words();
    assert_eq!(sync(Sync::new()), [0x46, 0]);
    assert_eq!(sync(Sync::new().with_cs(3)), [0x3046, 0]);
    assert_eq!(sync(Sync::new().with_msh(3)), [0x00c0_0046, 0]);
    assert_eq!(sync(Sync::new().with_msi_attr(0xf)), [0x0f00_0046, 0]);
    assert_eq!(
        sync(Sync::new().with_msi_data(!0)),
        [0xffff_ffff_0000_0046, 0]
    );
    assert_eq!(
        sync(Sync::new().with_msi_address(!0)),
        [0x46, 0x000f_ffff_ffff_fffc]
    );

    let prefetch = Prefetch::new()
        .with_op(1)
        .with_ssv(true)
        .with_substream(2)
        .with_stream(3)
        .with_size(4);
    assert_eq!(prefetch.to_words(), [0x0000_0003_0000_2801, 4]);
}

/// The fields of a form of command and its reserved bits fill it without overlap.
#[test]
fn reserved_bits_of_commands_are_those_no_field_has() {
    assert_eq!(
        Sync::RESERVED,
        [0x0000_0000_f03f_cf00, 0xfff0_0000_0000_0003]
    );
    assert_eq!(
        TlbInvalidate::RESERVED,
        [0x0000_0000_fe0e_0f00, 0x0000_0000_0000_00fe]
    );
    assert_eq!(
        ConfigInvalidate::RESERVED,
        [0x0000_0000_0000_0b00, 0xffff_ffff_ffff_ffe0]
    );
    assert_eq!(
        Prefetch::RESERVED,
        [0x0000_0000_0000_0700, 0x0000_0000_0000_0fe0]
    );
}

#[test]
fn opcodes_are_the_manuals() {
    assert_eq!(
        Opcode::ALL.iter().map(|op| *op as u8).collect::<Vec<_>>(),
        [
            0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x10, 0x11, 0x12, 0x13, 0x20, 0x28, 0x2a, 0x30,
            0x40, 0x41, 0x44, 0x45, 0x46
        ]
    );
    for op in Opcode::ALL {
        assert_eq!(command::opcode([*op as u64, 0]), Some(*op));
    }
    assert_eq!(command::opcode([0xff, 0]), None);
    assert_eq!(command::COMMAND_BYTES, 16);
}

#[test]
fn event_words_lie_where_the_manual_says() {
    fields! {
        Event0::new().with_kind(0xff) => 0x0000_0000_0000_00ff_u64;
        Event0::new().with_ssv(true) => 0x0000_0000_0000_0800_u64;
        Event0::new().with_substream(0xf_ffff) => 0x0000_0000_ffff_f000_u64;
        Event0::new().with_stream(!0) => 0xffff_ffff_0000_0000_u64;
        Event1::new().with_stag(!0) => 0x0000_0000_0000_ffff_u64;
        Event1::new().with_stall(true) => 0x0000_0000_8000_0000_u64;
        Event1::new().with_pnu(true) => 0x0000_0002_0000_0000_u64;
        Event1::new().with_ind(true) => 0x0000_0004_0000_0000_u64;
        Event1::new().with_rnw(true) => 0x0000_0008_0000_0000_u64;
        Event1::new().with_nsipa(true) => 0x0000_0040_0000_0000_u64;
        Event1::new().with_s2(true) => 0x0000_0080_0000_0000_u64;
        Event1::new().with_class(Class::Reserved) => 0x0000_0300_0000_0000_u64;
        Event1::new().with_class(Class::Walk) => 0x0000_0100_0000_0000_u64;
    }
}

#[test]
fn event_codes_are_the_manuals() {
    assert_eq!(
        EventKind::ALL
            .iter()
            .map(|kind| kind.code())
            .collect::<Vec<_>>(),
        [
            0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08, 0x09, 0x0a, 0x0b, 0x10, 0x11, 0x12,
            0x13, 0x20, 0x21, 0x24, 0x25
        ]
    );
    for kind in EventKind::ALL {
        assert_eq!(EventKind::from_code(kind.code()), Some(*kind));
        assert_eq!(kind.to_string(), kind.text());
    }
    assert_eq!(EventKind::from_code(0), None);
    assert_eq!(EventKind::from_code(0x14), None);
}

#[test]
fn words_put_together_are_those_of_the_fields() {
    use hw::smmu::command::{Opcode, TlbInvalidate};
    for (asid, vmid, leaf, address) in [
        (0, 0, false, 0),
        (0xffff, 0, true, !0),
        (0, 0xffff, true, 0x1_2345_6000),
    ] {
        let op = Opcode::TlbiS2Ipa;
        let fields = TlbInvalidate::new()
            .with_op(op as u8)
            .with_asid(asid)
            .with_vmid(vmid);
        let fields = fields.with_leaf(leaf).with_address(address);
        let words = TlbInvalidate::address_words(op, (asid, vmid), leaf, address);
        assert_eq!(words, fields.to_words());
        for (tg, num, scale) in [(1, 0, 0), (3, 31, 31), (2, 5, 9)] {
            let bits = TlbInvalidate::range_bits(tg, num, scale);
            let fields = fields.with_tg(tg).with_num(num).with_scale(scale);
            assert_eq!([words[0] | bits[0], words[1] | bits[1]], fields.to_words());
        }
    }
}
