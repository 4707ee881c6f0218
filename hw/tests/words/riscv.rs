use hw::riscv::command::{self, DirectoryInvalidation, Fence, Kind, TableInvalidation};
use hw::riscv::directory::*;
use hw::riscv::fault::{Cause, FaultHeader, FaultRecord, TransactionType, UnderDtf};
use hw::riscv::regs::{self, *};

use crate::fields;

#[test]
fn register_offsets_are_the_manuals() {
    assert_eq!(
        [
            CAPABILITIES,
            FCTL,
            DDTP,
            CQB,
            CQH,
            CQT,
            FQB,
            FQH,
            FQT,
            PQB,
            PQH,
            PQT,
            CQCSR,
            FQCSR,
            PQCSR,
            IPSR,
            IOCOUNTOVF,
            TR_REQ_IOVA,
            ICVEC,
            MSI_CFG_TBL,
        ],
        [
            0x00, 0x08, 0x10, 0x18, 0x20, 0x24, 0x28, 0x30, 0x34, 0x38, 0x40, 0x44, 0x48, 0x4c,
            0x50, 0x54, 0x58, 0x258, 0x2f8, 0x300,
        ]
    );
    let last = regs::MSI_CFG_ENTRIES - 1;
    assert_eq!(
        [
            regs::msi_addr(0),
            regs::msi_data(0),
            regs::msi_vec_ctl(0),
            regs::msi_addr(last),
            regs::msi_data(last),
            regs::msi_vec_ctl(last),
        ],
        [0x300, 0x308, 0x30c, 0x3f0, 0x3f8, 0x3fc]
    );
}

#[test]
fn capabilities_fields_lie_where_the_manual_says() {
    fields! {
        Capabilities::new().with_version(0xff) => 0x0000_0000_0000_00ff;
        Capabilities::new().with_sv32(true) => 0x0000_0000_0000_0100;
        Capabilities::new().with_sv39(true) => 0x0000_0000_0000_0200;
        Capabilities::new().with_sv48(true) => 0x0000_0000_0000_0400;
        Capabilities::new().with_sv57(true) => 0x0000_0000_0000_0800;
        Capabilities::new().with_svrsw60t59b(true) => 0x0000_0000_0000_4000;
        Capabilities::new().with_svpbmt(true) => 0x0000_0000_0000_8000;
        Capabilities::new().with_sv32x4(true) => 0x0000_0000_0001_0000;
        Capabilities::new().with_sv39x4(true) => 0x0000_0000_0002_0000;
        Capabilities::new().with_sv48x4(true) => 0x0000_0000_0004_0000;
        Capabilities::new().with_sv57x4(true) => 0x0000_0000_0008_0000;
        Capabilities::new().with_amo_mrif(true) => 0x0000_0000_0020_0000;
        Capabilities::new().with_msi_flat(true) => 0x0000_0000_0040_0000;
        Capabilities::new().with_msi_mrif(true) => 0x0000_0000_0080_0000;
        Capabilities::new().with_amo_hwad(true) => 0x0000_0000_0100_0000;
        Capabilities::new().with_ats(true) => 0x0000_0000_0200_0000;
        Capabilities::new().with_t2gpa(true) => 0x0000_0000_0400_0000;
        Capabilities::new().with_end(true) => 0x0000_0000_0800_0000;
        Capabilities::new().with_igs(InterruptGeneration::Msi) => 0x0000_0000_0000_0000;
        Capabilities::new().with_igs(InterruptGeneration::Wsi) => 0x0000_0000_1000_0000;
        Capabilities::new().with_igs(InterruptGeneration::Both) => 0x0000_0000_2000_0000;
        Capabilities::new().with_hpm(true) => 0x0000_0000_4000_0000;
        Capabilities::new().with_dbg(true) => 0x0000_0000_8000_0000;
        Capabilities::new().with_pas(0x3f) => 0x0000_003f_0000_0000;
        Capabilities::new().with_pd8(true) => 0x0000_0040_0000_0000;
        Capabilities::new().with_pd17(true) => 0x0000_0080_0000_0000;
        Capabilities::new().with_pd20(true) => 0x0000_0100_0000_0000;
        Capabilities::new().with_qosid(true) => 0x0000_0200_0000_0000;
        Capabilities::new().with_nl(true) => 0x0000_0400_0000_0000;
        Capabilities::new().with_s(true) => 0x0000_0800_0000_0000;
        Capabilities::new().with_custom(0xff) => 0xff00_0000_0000_0000;
        Features::new().with_be(true) => 0x0000_0001;
        Features::new().with_wsi(true) => 0x0000_0002;
        Features::new().with_gxl(true) => 0x0000_0004;
        Features::new().with_custom(0xffff) => 0xffff_0000;
    }
    assert_eq!(
        Capabilities::from_bits(0x3000_0000).igs(),
        InterruptGeneration::Reserved
    );
}

#[test]
fn capabilities_of_an_emulated_unit_are_understood() {
    // What QEMU 11.1 reports for the unit of its riscv64 machine.
    let capabilities = Capabilities::from_bits(0x0000_0078_e2cf_4f10);
    assert_eq!(capabilities.major_version(), 1);
    assert_eq!(capabilities.pas(), 56);
    assert_eq!(capabilities.igs(), InterruptGeneration::Both);
    assert!(capabilities.sv39() && capabilities.sv57() && capabilities.sv39x4());
    assert!(capabilities.msi_flat() && capabilities.ats() && capabilities.pd8());
    assert!(!capabilities.end() && !capabilities.amo_hwad() && !capabilities.s());
}

#[test]
fn ddtp_modes_and_root_lie_where_the_manual_says() {
    fields! {
        Ddtp::new().with_iommu_mode(IommuMode::Off) => 0;
        Ddtp::new().with_iommu_mode(IommuMode::Bare) => 1;
        Ddtp::new().with_iommu_mode(IommuMode::OneLevel) => 2;
        Ddtp::new().with_iommu_mode(IommuMode::TwoLevel) => 3;
        Ddtp::new().with_iommu_mode(IommuMode::ThreeLevel) => 4;
        Ddtp::new().with_busy(true) => 0x10;
        Ddtp::new().with_ppn((1 << 44) - 1) => 0x003f_ffff_ffff_fc00;
        Ddtp::new().with_root(0x00ff_ffff_ffff_f000) => 0x003f_ffff_ffff_fc00;
    }
    assert_eq!(Ddtp::from_bits(0x400).root(), 0x1000);
    for reserved in 5..16 {
        let mode = Ddtp::from_bits(reserved).iommu_mode();
        assert_eq!((mode, mode.levels()), (IommuMode::Reserved, None));
    }
    for (levels, mode) in [
        (1, IommuMode::OneLevel),
        (2, IommuMode::TwoLevel),
        (3, IommuMode::ThreeLevel),
    ] {
        assert_eq!(IommuMode::from_levels(levels), Some(mode));
        assert_eq!(mode.levels(), Some(levels));
    }
    assert_eq!(IommuMode::from_levels(4), None);
}

#[test]
fn queue_registers_lie_where_the_manual_says() {
    fields! {
        QueueBase::new().with_log2sz_1(0x1f) => 0x1f;
        QueueBase::new().with_entries_log2(8) => 0x07;
        QueueBase::new().with_ppn((1 << 44) - 1) => 0x003f_ffff_ffff_fc00;
        QueueBase::new().with_base(0x8000_3000) => 0x2000_0c00;
        CommandQueueControl::new().with_cqen(true) => 0x0000_0001;
        CommandQueueControl::new().with_cie(true) => 0x0000_0002;
        CommandQueueControl::new().with_cqmf(true) => 0x0000_0100;
        CommandQueueControl::new().with_cmd_to(true) => 0x0000_0200;
        CommandQueueControl::new().with_cmd_ill(true) => 0x0000_0400;
        CommandQueueControl::new().with_fence_w_ip(true) => 0x0000_0800;
        CommandQueueControl::new().with_cqon(true) => 0x0001_0000;
        CommandQueueControl::new().with_busy(true) => 0x0002_0000;
        CommandQueueControl::new().with_custom(0xf) => 0xf000_0000;
        FaultQueueControl::new().with_fqen(true) => 0x0000_0001;
        FaultQueueControl::new().with_fie(true) => 0x0000_0002;
        FaultQueueControl::new().with_fqmf(true) => 0x0000_0100;
        FaultQueueControl::new().with_fqof(true) => 0x0000_0200;
        FaultQueueControl::new().with_fqon(true) => 0x0001_0000;
        FaultQueueControl::new().with_busy(true) => 0x0002_0000;
        FaultQueueControl::new().with_custom(0xf) => 0xf000_0000;
        PageRequestQueueControl::new().with_pqen(true) => 0x0000_0001;
        PageRequestQueueControl::new().with_pie(true) => 0x0000_0002;
        PageRequestQueueControl::new().with_pqmf(true) => 0x0000_0100;
        PageRequestQueueControl::new().with_pqof(true) => 0x0000_0200;
        PageRequestQueueControl::new().with_pqon(true) => 0x0001_0000;
        PageRequestQueueControl::new().with_busy(true) => 0x0002_0000;
        PageRequestQueueControl::new().with_custom(0xf) => 0xf000_0000;
    }
    assert_eq!(QueueBase::new().entries(), 2);
    assert_eq!(QueueBase::from_bits(7).entries(), 256);
    assert_eq!(QueueBase::from_bits(0x1f).entries(), 1 << 32);
    assert_eq!(QueueBase::from_bits(0x2000_0c07).base(), 0x8000_3000);
}

#[test]
fn interrupt_registers_lie_where_the_manual_says() {
    fields! {
        InterruptPending::new().with_cip(true) => 0x1;
        InterruptPending::new().with_fip(true) => 0x2;
        InterruptPending::new().with_pmip(true) => 0x4;
        InterruptPending::new().with_pip(true) => 0x8;
        InterruptPending::new().with_custom(0xff) => 0xff00;
        CauseVectors::new().with_civ(0xf) => 0x000f;
        CauseVectors::new().with_fiv(0xf) => 0x00f0;
        CauseVectors::new().with_pmiv(0xf) => 0x0f00;
        CauseVectors::new().with_piv(0xf) => 0xf000;
        CauseVectors::new().with_custom(u32::MAX) => 0xffff_ffff_0000_0000;
        MessageAddress::new().with_addr(u64::MAX) => 0x00ff_ffff_ffff_fffc;
        MessageAddress::new().with_addr(0x2800_0006) => 0x2800_0004;
        VectorControl::new().with_m(true) => 0x1;
    }
    assert_eq!(
        MessageAddress::from_bits(u64::MAX).addr(),
        0x00ff_ffff_ffff_fffc
    );
}

#[test]
fn device_ids_are_split_as_the_format_says() {
    // 24 bits, each part alone set.
    let base = ContextFormat::Base;
    for (level, mask, most) in [(0, 0x7f, 0x7f), (1, 0xff80, 0x1ff), (2, 0xff_0000, 0xff)] {
        assert_eq!(base.index(mask, level), most);
        assert_eq!(base.index(!mask & 0xff_ffff, level), 0);
    }
    let extended = ContextFormat::Extended;
    for (level, mask, most) in [(0, 0x3f, 0x3f), (1, 0x7fc0, 0x1ff), (2, 0xff_8000, 0x1ff)] {
        assert_eq!(extended.index(mask, level), most);
        assert_eq!(extended.index(!mask & 0xff_ffff, level), 0);
    }
    assert_eq!([1, 2, 3].map(|n| base.device_id_bits(n)), [7, 16, 24]);
    assert_eq!([1, 2, 3].map(|n| extended.device_id_bits(n)), [6, 15, 24]);
    assert_eq!((base.context_bytes(), extended.context_bytes()), (32, 64));
    assert_eq!((TABLE_BYTES, ENTRY_BYTES, DEVICE_ID_BITS), (4096, 8, 24));
}

#[test]
fn directory_entry_and_translation_control_lie_where_the_manual_says() {
    fields! {
        DirectoryEntry::new().with_v(true) => 0x1;
        DirectoryEntry::new().with_ppn((1 << 44) - 1) => 0x003f_ffff_ffff_fc00;
        DirectoryEntry::new().with_table(0x8000_1000) => 0x2000_0400;
        TranslationControl::new().with_v(true) => 0x001;
        TranslationControl::new().with_en_ats(true) => 0x002;
        TranslationControl::new().with_en_pri(true) => 0x004;
        TranslationControl::new().with_t2gpa(true) => 0x008;
        TranslationControl::new().with_dtf(true) => 0x010;
        TranslationControl::new().with_pdtv(true) => 0x020;
        TranslationControl::new().with_prpr(true) => 0x040;
        TranslationControl::new().with_gade(true) => 0x080;
        TranslationControl::new().with_sade(true) => 0x100;
        TranslationControl::new().with_dpe(true) => 0x200;
        TranslationControl::new().with_sbe(true) => 0x400;
        TranslationControl::new().with_sxl(true) => 0x800;
        TranslationControl::new().with_custom(0xff) => 0xff00_0000;
    }
    assert_eq!(DirectoryEntry::RESERVED, !0x003f_ffff_ffff_fc01);
    assert_eq!(TranslationControl::RESERVED, !0xff00_0fff);
    assert_eq!(DirectoryEntry::from_bits(0x2000_0401).table(), 0x8000_1000);
}

#[test]
fn stages_and_attributes_lie_where_the_manual_says() {
    fields! {
        SecondStage::new().with_ppn((1 << 44) - 1) => 0x0000_0fff_ffff_ffff;
        SecondStage::new().with_root(0x8000_4000) => 0x0008_0004;
        SecondStage::new().with_gscid(0xffff) => 0x0fff_f000_0000_0000;
        SecondStage::new().with_mode(SecondStageMode::Bare) => 0;
        SecondStage::new().with_mode(SecondStageMode::Sv39x4) => 0x8000_0000_0000_0000;
        SecondStage::new().with_mode(SecondStageMode::Sv48x4) => 0x9000_0000_0000_0000;
        SecondStage::new().with_mode(SecondStageMode::Sv57x4) => 0xa000_0000_0000_0000;
        TranslationAttributes::new().with_pscid(0xf_ffff) => 0xffff_f000;
        TranslationAttributes::new().with_rcid(0xfff) => 0x000f_ff00_0000_0000;
        TranslationAttributes::new().with_mcid(0xfff) => 0xfff0_0000_0000_0000;
        FirstStage::new().with_ppn((1 << 44) - 1) => 0x0000_0fff_ffff_ffff;
        FirstStage::new().with_root(0x8000_1000) => 0x0008_0001;
        FirstStage::new().with_mode(FirstStageMode::Bare) => 0;
        FirstStage::new().with_mode(FirstStageMode::Sv39) => 0x8000_0000_0000_0000;
        FirstStage::new().with_mode(FirstStageMode::Sv48) => 0x9000_0000_0000_0000;
        FirstStage::new().with_mode(FirstStageMode::Sv57) => 0xa000_0000_0000_0000;
        MsiTable::new().with_ppn((1 << 44) - 1) => 0x0000_0fff_ffff_ffff;
        MsiTable::new().with_mode(MsiTableMode::Off) => 0;
        MsiTable::new().with_mode(MsiTableMode::Flat) => 0x1000_0000_0000_0000;
    }
    assert_eq!(TranslationAttributes::RESERVED, 0x0000_00ff_0000_0fff);
    assert_eq!(TranslationAttributes::QOS, 0xffff_ff00_0000_0000);
    assert_eq!(FirstStage::RESERVED, !0xf000_0fff_ffff_ffff);
    assert_eq!(MsiTable::RESERVED, !0xf000_0fff_ffff_ffff);
    assert_eq!(MSI_PAGE_RESERVED, !0x000f_ffff_ffff_ffff);
    assert_eq!(SecondStage::ROOT_BYTES, 16 * 1024);
    assert_eq!(SecondStage::from_bits(0x8_0004).root(), 0x8000_4000);
    assert_eq!(FirstStage::from_bits(0x8_0001).root(), 0x8000_1000);
}

#[test]
fn table_depths_are_encoded_as_the_manual_says() {
    for (levels, first, second) in [
        (3, FirstStageMode::Sv39, SecondStageMode::Sv39x4),
        (4, FirstStageMode::Sv48, SecondStageMode::Sv48x4),
        (5, FirstStageMode::Sv57, SecondStageMode::Sv57x4),
    ] {
        assert_eq!(FirstStageMode::from_levels(levels), Some(first));
        assert_eq!(SecondStageMode::from_levels(levels), Some(second));
        assert_eq!(
            (first.levels(), second.levels()),
            (Some(levels), Some(levels))
        );
    }
    for levels in [0, 1, 2, 6] {
        assert_eq!(FirstStageMode::from_levels(levels), None);
        assert_eq!(SecondStageMode::from_levels(levels), None);
    }
    for mode in (1..8).chain(11..16) {
        let word = mode << 60;
        assert_eq!(FirstStage::from_bits(word).mode(), FirstStageMode::Reserved);
        assert_eq!(
            SecondStage::from_bits(word).mode(),
            SecondStageMode::Reserved
        );
        assert_eq!(FirstStage::from_bits(word).into_bits(), word);
        assert_eq!(SecondStage::from_bits(word).into_bits(), word);
    }
    assert_eq!(MsiTable::from_bits(2 << 60).mode(), MsiTableMode::Reserved);
}

#[test]
fn device_context_words_are_in_the_manuals_order() {
    let words = [1, 2, 3, 4, 5, 6, 7, 8];
    let context = DeviceContext::from_words(words);
    assert_eq!(context.to_words(), words);
    assert_eq!(context.tc.into_bits(), 1);
    assert_eq!(context.iohgatp.into_bits(), 2);
    assert_eq!(context.ta.into_bits(), 3);
    assert_eq!(context.fsc.into_bits(), 4);
    assert_eq!(context.msiptp.into_bits(), 5);
    assert_eq!((context.msi_addr_mask, context.msi_addr_pattern), (6, 7));
    assert_eq!(DeviceContext::default().to_words(), [0; 8]);
}

#[test]
fn table_invalidation_fields_lie_where_the_manual_says() {
    let blank = TableInvalidation::new().with_opcode(0);
    fields! {
        TableInvalidation::vma() => 0x001;
        TableInvalidation::gvma() => 0x081;
        blank.with_opcode(0x7f) => 0x7f;
        blank.with_func3(7) => 0x380;
        blank.with_av(true) => 0x400;
        blank.with_pscid(0xf_ffff) => 0xffff_f000;
        blank.with_pscv(true) => 0x1_0000_0000;
        blank.with_gv(true) => 0x2_0000_0000;
        blank.with_nl(true) => 0x4_0000_0000;
        blank.with_gscid(0xffff) => 0x0fff_f000_0000_0000;
        blank.with_s(true) => 0x200_u128 << 64;
        blank.with_addr(0xffff_ffff_ffff_f000) => 0x3fff_ffff_ffff_fc00_u128 << 64;
        blank.with_addr(0x1000) => 0x400_u128 << 64;
    }
    assert_eq!(
        TableInvalidation::RESERVED,
        [!0x0fff_f007_ffff_f7ff, !0x3fff_ffff_ffff_fe00]
    );
    assert_eq!(TableInvalidation::NL, [1 << 34, 0]);
    assert_eq!(TableInvalidation::S, [0, 1 << (73 - 64)]);
}

#[test]
fn invalidated_ranges_are_encoded_by_their_lowest_zero() {
    let one = TableInvalidation::vma().with_addr(0x7000);
    assert_eq!(one.range(), (0x7000, 0));
    // 8 KiB: the lowest bit of the page number is 0; 16 KiB: it is 1 and the next 0.
    for (bus, pages_log2, page_number) in [
        (0x2000, 1, 0b10),
        (0x4000, 2, 0b101),
        (0x20_0000, 9, 0x2ff),
        (0, 51, 0x3_ffff_ffff_ffff),
    ] {
        let range = TableInvalidation::vma().with_range(bus, pages_log2);
        assert_eq!(range.to_words()[1], page_number << 10 | 1 << 9);
        assert_eq!(range.range(), (bus, pages_log2));
    }
}

#[test]
fn fence_and_directory_invalidation_lie_where_the_manual_says() {
    let blank = Fence::new().with_opcode(0);
    let directory = DirectoryInvalidation::new().with_opcode(0);
    fields! {
        Fence::new() => 0x2;
        blank.with_func3(7) => 0x380;
        blank.with_av(true) => 0x400;
        blank.with_wsi(true) => 0x800;
        blank.with_pr(true) => 0x1000;
        blank.with_pw(true) => 0x2000;
        blank.with_data(u32::MAX) => 0xffff_ffff_0000_0000;
        blank.with_addr(0x8000_2004) => 0x2000_0801_u128 << 64;
        blank.with_addr(u64::MAX) => 0x3fff_ffff_ffff_ffff_u128 << 64;
        DirectoryInvalidation::ddt() => 0x003;
        DirectoryInvalidation::pdt() => 0x083;
        directory.with_pid(0xf_ffff) => 0xffff_f000;
        directory.with_dv(true) => 0x2_0000_0000;
        directory.with_did(0xff_ffff) => 0xffff_ff00_0000_0000;
    }
    assert_eq!(Fence::RESERVED, [!0xffff_ffff_0000_3fff, 3 << 62]);
    assert_eq!(Fence::from_words([0, 0x2000_0801]).addr(), 0x8000_2004);
    assert_eq!(
        DirectoryInvalidation::RESERVED,
        [!0xffff_ff02_ffff_f3ff, u64::MAX]
    );
    assert_eq!(DirectoryInvalidation::PID, [0xffff_f000, 0]);
}

#[test]
fn commands_are_told_by_opcode_and_function() {
    for (low, expected) in [
        (0x001, Some(Kind::InvalidateFirstStage)),
        (0x081, Some(Kind::InvalidateSecondStage)),
        (0x002, Some(Kind::Fence)),
        (0x003, Some(Kind::InvalidateDevice)),
        (0x083, Some(Kind::InvalidateProcess)),
        (0x004, Some(Kind::InvalidateDeviceCache)),
        (0x084, Some(Kind::PageResponse)),
        (0x000, None),
        (0x101, None),
        (0x082, None),
        (0x103, None),
        (0x005, None),
        (0x041, None),
    ] {
        assert_eq!(command::kind([low | 0xffff_fc00, 0]), expected, "{low:#x}");
    }
}

#[test]
fn fault_header_fields_lie_where_the_manual_says() {
    fields! {
        FaultHeader::new().with_cause(0xfff) => 0xfff;
        FaultHeader::new().with_pid(0xf_ffff) => 0xffff_f000;
        FaultHeader::new().with_pv(true) => 0x1_0000_0000;
        FaultHeader::new().with_privileged(true) => 0x2_0000_0000;
        FaultHeader::new().with_ttyp(TransactionType::UntranslatedExecute) => 0x4_0000_0000;
        FaultHeader::new().with_ttyp(TransactionType::UntranslatedRead) => 0x8_0000_0000;
        FaultHeader::new().with_ttyp(TransactionType::UntranslatedWrite) => 0xc_0000_0000;
        FaultHeader::new().with_ttyp(TransactionType::TranslatedExecute) => 0x14_0000_0000;
        FaultHeader::new().with_ttyp(TransactionType::TranslatedRead) => 0x18_0000_0000;
        FaultHeader::new().with_ttyp(TransactionType::TranslatedWrite) => 0x1c_0000_0000;
        FaultHeader::new().with_ttyp(TransactionType::TranslationRequest) => 0x20_0000_0000;
        FaultHeader::new().with_ttyp(TransactionType::MessageRequest) => 0x24_0000_0000;
        FaultHeader::new().with_did(0xff_ffff) => 0xffff_ff00_0000_0000;
    }
    assert_eq!(FaultHeader::from_bits(0xff << 34).into_bits(), 0xff << 34);
    let record = FaultRecord::from_words([1, 2, 3, 4]);
    assert_eq!(record.to_words(), [1, 2, 3, 4]);
    assert_eq!(
        (
            record.header.into_bits(),
            record.custom,
            record.iotval,
            record.iotval2
        ),
        (1, 2, 3, 4)
    );
}

#[test]
fn causes_have_the_manuals_codes() {
    let codes: Vec<u16> = Cause::ALL.iter().map(|cause| cause.code()).collect();
    let expected: Vec<u16> = [1, 4, 5, 6, 7, 12, 13, 15, 20, 21, 23]
        .into_iter()
        .chain(256..=274)
        .collect();
    assert_eq!(codes, expected);
    for cause in Cause::ALL {
        assert_eq!(Cause::from_code(cause.code()), Some(*cause));
    }
    for reserved in [0, 2, 14, 22, 255, 275, 2048] {
        assert_eq!(Cause::from_code(reserved), None);
    }
    let despite_dtf: Vec<u16> = Cause::ALL
        .iter()
        .filter(|cause| cause.under_dtf() == UnderDtf::Recorded)
        .map(|cause| cause.code())
        .collect();
    assert_eq!(despite_dtf, [256, 257, 258, 259, 268, 272, 273]);
}

#[test]
fn causes_are_named_as_the_manual_names_them() {
    for (code, text) in [
        (13, "read page fault"),
        (15, "write/AMO page fault"),
        (21, "read guest-page fault"),
        (256, "all inbound transactions disallowed"),
        (258, "DDT entry not valid"),
        (259, "DDT entry misconfigured"),
        (260, "transaction type disallowed"),
    ] {
        assert_eq!(Cause::from_code(code).map(Cause::text), Some(text));
    }
}

#[test]
fn words_put_together_are_those_of_the_fields() {
    use hw::riscv::command::{Fence, TableInvalidation};
    let fence = Fence::new().with_pr(true).with_pw(true).with_av(true);
    let fence = fence.with_data(0xfedc_ba98).with_addr(0xff_ffff_fffc);
    assert_eq!(
        Fence::status_words(0xfedc_ba98, 0xff_ffff_ffff),
        fence.to_words()
    );
    let first = TableInvalidation::vma()
        .with_pscv(true)
        .with_pscid(0xf_ffff);
    assert_eq!(TableInvalidation::pscid_words(0xf_ffff), first.to_words());
    let second = TableInvalidation::gvma().with_gv(true).with_gscid(0xffff);
    assert_eq!(TableInvalidation::gscid_words(0xffff), second.to_words());
    for pages_log2 in 0..=51 {
        let bus = u64::MAX << 12 << pages_log2;
        for (all, nl) in [(first, false), (second, true)] {
            let page = all.with_av(true).with_nl(nl);
            let page = match pages_log2 {
                0 => page.with_addr(bus),
                _ => page.with_range(bus, pages_log2),
            };
            let ([low, high], bits) = (
                all.to_words(),
                TableInvalidation::page_bits(nl, bus, pages_log2),
            );
            assert_eq!(
                [low | bits[0], high | bits[1]],
                page.to_words(),
                "{pages_log2}"
            );
        }
    }
}
