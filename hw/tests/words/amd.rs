use hw::amd::capability::*;
use hw::amd::command::{
    self, CompletionWait, InvalidateAll, InvalidateDeviceEntry, InvalidateInterruptTable,
    InvalidatePages, PageRange,
};
use hw::amd::device_table::{
    self, AttributeWord, DomainWord, InterruptControl, InterruptWord, TranslationWord,
};
use hw::amd::event::{Event, EventCode, HardwareError};
use hw::amd::regs::{self, *};

use crate::fields;

#[test]
fn register_offsets_are_the_manuals() {
    assert_eq!(
        [
            DEVICE_TABLE_BASE,
            COMMAND_BUFFER_BASE,
            EVENT_LOG_BASE,
            CONTROL,
            EXCLUSION_BASE,
            EXCLUSION_LIMIT,
            EXTENDED_FEATURES,
            PPR_LOG_BASE,
            MSI_HEADER,
            MSI_ADDRESS_LOW,
            MSI_ADDRESS_HIGH,
            MSI_DATA,
            INT_CAP_XT_EVENT,
            INT_CAP_XT_PPR,
            INT_CAP_XT_GA,
            COMMAND_HEAD,
            COMMAND_TAIL,
            EVENT_HEAD,
            EVENT_TAIL,
            STATUS,
        ],
        [
            0x00, 0x08, 0x10, 0x18, 0x20, 0x28, 0x30, 0x38, 0x158, 0x15c, 0x160, 0x164, 0x170,
            0x178, 0x180, 0x2000, 0x2008, 0x2010, 0x2018, 0x2020,
        ]
    );
    assert_eq!(regs::REGISTERS_BYTES, 0x4000);
}

#[test]
fn base_register_fields_lie_where_the_manual_says() {
    fields! {
        DeviceTableBase::new().with_size(0x1ff) => 0x0000_0000_0000_01ff;
        DeviceTableBase::new().with_base(u64::MAX) => 0x000f_ffff_ffff_f000;
        RingBase::new().with_base(u64::MAX) => 0x000f_ffff_ffff_f000;
        RingBase::new().with_entries_log2(0xf) => 0x0f00_0000_0000_0000;
        RingPointer::from_offset(u64::MAX) => 0x0000_0000_0007_fff0;
        ExclusionBase::new().with_exen(true) => 0x1;
        ExclusionBase::new().with_allow(true) => 0x2;
        ExclusionBase::new().with_base(u64::MAX) => 0x000f_ffff_ffff_f000;
        ExclusionLimit::new().with_limit(u64::MAX) => 0x000f_ffff_ffff_f000;
    }
    assert_eq!(RingPointer::from_bits(0x0008_1230).offset(), 0x1230);
    assert_eq!(ExclusionBase::from_bits(0x1234_5003).base(), 0x1234_5000);
    assert_eq!(ExclusionLimit::from_bits(0x1234_5000).limit(), 0x1234_5fff);
    assert_eq!(DeviceTableBase::from_bits(0x1234_5003).base(), 0x1234_5000);
}

#[test]
fn reserved_bits_of_registers_are_all_outside_their_fields() {
    for (fields, reserved) in [
        (
            DeviceTableBase::new()
                .with_size(0x1ff)
                .with_base(u64::MAX)
                .into_bits(),
            DeviceTableBase::RESERVED,
        ),
        (
            RingBase::new()
                .with_entries_log2(0xf)
                .with_base(u64::MAX)
                .into_bits(),
            RingBase::RESERVED,
        ),
        (
            RingPointer::from_offset(u64::MAX).into_bits(),
            RingPointer::RESERVED,
        ),
        (
            ExclusionBase::from_bits(3).with_base(u64::MAX).into_bits(),
            ExclusionBase::RESERVED,
        ),
        (
            ExclusionLimit::new().with_limit(u64::MAX).into_bits(),
            ExclusionLimit::RESERVED,
        ),
    ] {
        assert_eq!(!fields, reserved);
    }
}

#[test]
fn lengths_of_tables_and_rings_are_the_manuals() {
    assert_eq!(DeviceTableBase::new().entries(), 128);
    let full = DeviceTableBase::new().with_size(0x1ff);
    assert_eq!((full.entries(), full.len_bytes()), (65536, 0x20_0000));
    for (len, entries) in [
        (0, None),
        (7, None),
        (8, Some(256)),
        (9, Some(512)),
        (15, Some(32768)),
    ] {
        let ring = RingBase::new().with_entries_log2(len);
        assert_eq!(ring.entries(), entries);
        assert_eq!(ring.len_bytes(), entries.map(|entries| entries * 16));
    }
}

#[test]
fn control_fields_lie_where_the_manual_says() {
    fields! {
        Control::new().with_iommuen(true) => 1 << 0;
        Control::new().with_httunen(true) => 1 << 1;
        Control::new().with_eventlogen(true) => 1 << 2;
        Control::new().with_eventinten(true) => 1 << 3;
        Control::new().with_comwaitinten(true) => 1 << 4;
        Control::new().with_invtimeout(InvalidationTimeout::Ms1) => 1 << 5;
        Control::new().with_invtimeout(InvalidationTimeout::S100) => 6 << 5;
        Control::new().with_passpw(true) => 1 << 8;
        Control::new().with_respasspw(true) => 1 << 9;
        Control::new().with_coherent(true) => 1 << 10;
        Control::new().with_isoc(true) => 1 << 11;
        Control::new().with_cmdbufen(true) => 1 << 12;
        Control::new().with_pprlogen(true) => 1 << 13;
        Control::new().with_pprinten(true) => 1 << 14;
        Control::new().with_ppren(true) => 1 << 15;
        Control::new().with_gten(true) => 1 << 16;
        Control::new().with_gaen(true) => 1 << 17;
        Control::new().with_crw(0xf) => 0xf << 18;
        Control::new().with_filters_and_logs(0xfff) => 0xfff << 22;
        Control::new().with_devtblsegen(7) => 7 << 34;
        Control::new().with_functions(0x1fff) => 0x1fff << 37;
        Control::new().with_xten(true) => 1 << 50;
        Control::new().with_intcapxten(true) => 1 << 51;
        Control::new().with_above(0xfff) => 0xfff << 52;
    }
}

#[test]
fn status_fields_lie_where_the_manual_says() {
    fields! {
        Status::new().with_eventoverflow(true) => 0x001;
        Status::new().with_eventlogint(true) => 0x002;
        Status::new().with_comwaitint(true) => 0x004;
        Status::new().with_eventlogrun(true) => 0x008;
        Status::new().with_cmdbufrun(true) => 0x010;
        Status::new().with_pproverflow(true) => 0x020;
        Status::new().with_pprint(true) => 0x040;
        Status::new().with_pprlogrun(true) => 0x080;
        Status::new().with_galogrun(true) => 0x100;
        Status::new().with_galoverflow(true) => 0x200;
        Status::new().with_gaint(true) => 0x400;
    }
}

#[test]
fn feature_fields_lie_where_the_manual_says() {
    let none = ExtendedFeatures::new;
    fields! {
        none().with_prefsup(true) => 1 << 0;
        none().with_pprsup(true) => 1 << 1;
        none().with_xtsup(true) => 1 << 2;
        none().with_nxsup(true) => 1 << 3;
        none().with_gtsup(true) => 1 << 4;
        none().with_iasup(true) => 1 << 6;
        none().with_gasup(true) => 1 << 7;
        none().with_hesup(true) => 1 << 8;
        none().with_pcsup(true) => 1 << 9;
        none().with_hats(HostLevels::Five) => 1 << 10;
        none().with_hats(HostLevels::Six) => 2 << 10;
        none().with_gats(3) => 3 << 12;
        none().with_glxsup(3) => 3 << 14;
        none().with_smifsup(3) => 3 << 16;
        none().with_smifrc(7) => 7 << 18;
        none().with_gamsup(7) => 7 << 21;
        none().with_dualpprlogsup(3) => 3 << 24;
        none().with_dualeventlogsup(3) => 3 << 28;
        none().with_pasmax(0x1f) => 0x1f << 32;
        none().with_ussup(true) => 1 << 37;
        none().with_devtblsegsup(3) => 3 << 38;
        none().with_pprovrflwearlysup(true) => 1 << 40;
        none().with_pprautorspsup(true) => 1 << 41;
        none().with_marcsup(3) => 3 << 42;
        none().with_blkstopmrksup(true) => 1 << 44;
        none().with_perfoptsup(true) => 1 << 45;
        none().with_msicapmmiosup(true) => 1 << 46;
        none().with_giosup(true) => 1 << 48;
        none().with_hasup(true) => 1 << 49;
        none().with_ephsup(true) => 1 << 50;
        none().with_attrfwsup(true) => 1 << 51;
        none().with_hdsup(true) => 1 << 52;
    }
    let levels =
        [0u64, 1, 2, 3].map(|hats| ExtendedFeatures::from_bits(hats << 10).hats().levels());
    assert_eq!(levels, [Some(4), Some(5), Some(6), None]);
}

#[test]
fn a_real_feature_register_is_understood() {
    // What the IOMMU of a server processor reports.
    let features = ExtendedFeatures::from_bits(0x058f_77ef_2229_4a5a);
    assert!(features.iasup() && features.nxsup() && features.gtsup());
    assert_eq!(features.hats().levels(), Some(6));
}

#[test]
fn interrupt_registers_lie_where_the_manual_says() {
    fields! {
        MsiHeader::new().with_msicapid(0xff) => 0x0000_00ff;
        MsiHeader::new().with_msicapptr(0xff) => 0x0000_ff00;
        MsiHeader::new().with_msien(true) => 0x0001_0000;
        MsiHeader::new().with_msimultmesscap(7) => 0x000e_0000;
        MsiHeader::new().with_msimultmessen(7) => 0x0070_0000;
        MsiHeader::new().with_msi64en(true) => 0x0080_0000;
        IntCapXt::new().with_destmode(true) => 0x0000_0000_0000_0004;
        IntCapXt::new().with_destination(u32::MAX) => 0xff00_0000_ffff_ff00;
        IntCapXt::new().with_destination(0x0100_0002) => 0x0100_0000_0000_0200;
        IntCapXt::new().with_vector(0xff) => 0x0000_00ff_0000_0000;
        IntCapXt::new().with_dm(true) => 0x0000_0100_0000_0000;
    }
    assert_eq!(
        IntCapXt::from_bits(0x0100_0000_0000_0200).destination(),
        0x0100_0002
    );
}

#[test]
fn capability_fields_lie_where_the_manual_says() {
    fields! {
        CapabilityHeader::new().with_capid(0xff) => 0x0000_00ff;
        CapabilityHeader::new().with_capptr(0xff) => 0x0000_ff00;
        CapabilityHeader::new().with_captype(7) => 0x0007_0000;
        CapabilityHeader::new().with_caprev(0x1f) => 0x00f8_0000;
        CapabilityHeader::new().with_iotlbsup(true) => 0x0100_0000;
        CapabilityHeader::new().with_httunnel(true) => 0x0200_0000;
        CapabilityHeader::new().with_npcache(true) => 0x0400_0000;
        CapabilityHeader::new().with_efrsup(true) => 0x0800_0000;
        CapabilityHeader::new().with_capext(true) => 0x1000_0000;
        BaseAddressLow::new().with_enable(true) => 0x0000_0001;
        BaseAddressLow::new().with_base(u32::MAX) => 0xffff_c000;
        Miscellaneous::new().with_msinum(0x1f) => 0x0000_001f;
        Miscellaneous::new().with_gvasize(7) => 0x0000_00e0;
        Miscellaneous::new().with_pasize(0x7f) => 0x0000_7f00;
        Miscellaneous::new().with_vasize(0x7f) => 0x003f_8000;
        Miscellaneous::new().with_htatsresv(true) => 0x0040_0000;
        Miscellaneous::new().with_msinumppr(0x1f) => 0xf800_0000;
    }
    assert_eq!(BaseAddressLow::from_bits(0xfed8_0001).base(), 0xfed8_0000);
    assert_eq!(
        [HEADER, BASE_LOW, BASE_HIGH, RANGE, MISCELLANEOUS],
        [0, 4, 8, 0xc, 0x10]
    );
    assert_eq!((CAPABILITY_ID, CAPABILITY_TYPE), (0xf, 3));
}

#[test]
fn device_table_entries_lie_as_the_manual_says() {
    fields! {
        TranslationWord::new().with_v(true) => 0x1;
        TranslationWord::new().with_tv(true) => 0x2;
        TranslationWord::new().with_had(3) => 0x180;
        TranslationWord::new().with_mode(7) => 0xe00;
        TranslationWord::new().with_root(u64::MAX) => 0x000f_ffff_ffff_f000;
        TranslationWord::new().with_ppr(true) => 1 << 52;
        TranslationWord::new().with_gprp(true) => 1 << 53;
        TranslationWord::new().with_giov(true) => 1 << 54;
        TranslationWord::new().with_gv(true) => 1 << 55;
        TranslationWord::new().with_glx(3) => 3 << 56;
        TranslationWord::new().with_gcr3trp_low(7) => 7 << 58;
        TranslationWord::new().with_ir(true) => 1 << 61;
        TranslationWord::new().with_iw(true) => 1 << 62;
        DomainWord::new().with_domainid(0xffff) => 0xffff;
        DomainWord::new().with_gcr3trp_middle(0xffff) => 0xffff_0000;
        DomainWord::new().with_iotlb(true) => 1 << 32;
        DomainWord::new().with_se(true) => 1 << 33;
        DomainWord::new().with_sa(true) => 1 << 34;
        DomainWord::new().with_ioctl(3) => 3 << 35;
        DomainWord::new().with_cache(true) => 1 << 37;
        DomainWord::new().with_sd(true) => 1 << 38;
        DomainWord::new().with_ex(true) => 1 << 39;
        DomainWord::new().with_sysmgt(3) => 3 << 40;
        DomainWord::new().with_sats(true) => 1 << 42;
        DomainWord::new().with_gcr3trp_high(0x1f_ffff) => 0x1f_ffff << 43;
        InterruptWord::new().with_iv(true) => 1;
        InterruptWord::new().with_inttablen(0xf) => 0x1e;
        InterruptWord::new().with_ig(true) => 0x20;
        InterruptWord::new().with_table(u64::MAX) => 0x000f_ffff_ffff_ffc0;
        InterruptWord::new().with_gpm(3) => 3 << 54;
        InterruptWord::new().with_initpass(true) => 1 << 56;
        InterruptWord::new().with_eintpass(true) => 1 << 57;
        InterruptWord::new().with_nmipass(true) => 1 << 58;
        InterruptWord::new().with_hptmode(true) => 1 << 59;
        InterruptWord::new().with_intctl(InterruptControl::Forward) => 1 << 60;
        InterruptWord::new().with_intctl(InterruptControl::Remap) => 2 << 60;
        InterruptWord::new().with_lint0pass(true) => 1 << 62;
        InterruptWord::new().with_lint1pass(true) => 1 << 63;
        AttributeWord::new().with_vimuen(true) => 1 << 15;
        AttributeWord::new().with_gdeviceid(0xffff) => 0xffff << 16;
        AttributeWord::new().with_guestid(0xffff) => 0xffff << 32;
        AttributeWord::new().with_attrv(true) => 1 << 54;
        AttributeWord::new().with_mode0fc(true) => 1 << 55;
        AttributeWord::new().with_snoopattribute(0xff) => 0xff << 56;
    }
    assert_eq!(
        TranslationWord::from_bits(0x6000_0012_3456_7803).root(),
        0x12_3456_7000
    );
    assert_eq!(InterruptWord::from_bits(0x0fff_0040).table(), 0x0fff_0040);
    assert_eq!(device_table::entry_offset(0xffff), 0x1f_ffe0);
    assert_eq!(
        device_table::ENTRY_BYTES,
        8 * device_table::ENTRY_WORDS as u64
    );
}

#[test]
fn reserved_bits_of_device_table_entries_are_the_manuals() {
    // Bits 6:2 and 63; 181:180; 206:192 and 245:240.
    assert_eq!(TranslationWord::RESERVED, 0x1f << 2 | 1 << 63);
    assert_eq!(InterruptWord::RESERVED, 3 << 52);
    assert_eq!(AttributeWord::RESERVED, 0x7fff | 0x3f << 48);
    // HAD, and all that belongs to page requests and guests; the device's own cache, and guests.
    assert_eq!(TranslationWord::OPTIONAL, 3 << 7 | 0x1ff << 52);
    assert_eq!(
        DomainWord::OPTIONAL,
        0xffff << 16 | 1 << 32 | 0x3f_ffff << 42
    );
}

#[test]
fn commands_lie_as_the_manual_says() {
    let wait = CompletionWait::new;
    assert_eq!(wait().to_words(), [0x1000_0000_0000_0000, 0]);
    assert_eq!(wait().with_s(true).to_words(), [0x1000_0000_0000_0001, 0]);
    assert_eq!(wait().with_i(true).to_words(), [0x1000_0000_0000_0002, 0]);
    assert_eq!(wait().with_f(true).to_words(), [0x1000_0000_0000_0004, 0]);
    assert_eq!(
        wait().with_store_address(u64::MAX).to_words(),
        [0x100f_ffff_ffff_fff8, 0]
    );
    assert_eq!(
        wait().with_store_data(u64::MAX).to_words(),
        [0x1000_0000_0000_0000, u64::MAX]
    );
    assert_eq!(
        CompletionWait::from_words([0x1000_0001_2345_6001, 0]).store_address(),
        0x1_2345_6000
    );

    assert_eq!(
        InvalidateDeviceEntry::new()
            .with_deviceid(0xffff)
            .to_words(),
        [0x2000_0000_0000_ffff, 0]
    );
    assert_eq!(
        InvalidateInterruptTable::new()
            .with_deviceid(0xffff)
            .to_words(),
        [0x5000_0000_0000_ffff, 0]
    );
    assert_eq!(InvalidateAll::new().to_words(), [0x8000_0000_0000_0000, 0]);

    let pages = InvalidatePages::new;
    assert_eq!(pages().to_words(), [0x3000_0000_0000_0000, 0]);
    assert_eq!(
        pages().with_pasid(0xf_ffff).to_words(),
        [0x3000_0000_000f_ffff, 0]
    );
    assert_eq!(
        pages().with_domainid(0xffff).to_words(),
        [0x3000_ffff_0000_0000, 0]
    );
    assert_eq!(pages().with_s(true).to_words(), [0x3000_0000_0000_0000, 1]);
    assert_eq!(
        pages().with_pde(true).to_words(),
        [0x3000_0000_0000_0000, 2]
    );
    assert_eq!(pages().with_gn(true).to_words(), [0x3000_0000_0000_0000, 4]);
}

#[test]
fn sizes_of_invalidations_are_encoded_as_the_manual_says() {
    for (range, high) in [
        (
            PageRange::Block {
                start: 0x5000,
                len_log2: 12,
            },
            0x5000,
        ),
        (
            PageRange::Block {
                start: 0x6000,
                len_log2: 13,
            },
            0x6001,
        ),
        (
            PageRange::Block {
                start: 0x4000,
                len_log2: 14,
            },
            0x5001,
        ),
        (
            PageRange::Block {
                start: 0x8000,
                len_log2: 15,
            },
            0xb001,
        ),
        (
            PageRange::Block {
                start: 0x20_0000,
                len_log2: 21,
            },
            0x2f_f001,
        ),
        (
            PageRange::Block {
                start: 0x4000_0000,
                len_log2: 30,
            },
            0x5fff_f001,
        ),
        (
            PageRange::Block {
                start: 0,
                len_log2: 51,
            },
            0x0003_ffff_ffff_f001,
        ),
        (PageRange::All, 0x7fff_ffff_ffff_f001),
    ] {
        let command = InvalidatePages::new().with_range(range);
        assert_eq!(command.to_words()[1], high, "{range:?}");
        assert_eq!(command.range(), range);
    }
    // Everything, as others write it, and blocks too large to name.
    let all = InvalidatePages::from_words([0, 0x0007_ffff_ffff_f001]);
    assert_eq!(all.range(), PageRange::All);
    let large = PageRange::Block {
        start: 0,
        len_log2: 52,
    };
    assert_eq!(
        InvalidatePages::new().with_range(large).range(),
        PageRange::All
    );
}

#[test]
fn commands_reserved_bits_are_all_outside_their_fields() {
    let full = [
        CompletionWait::from_words([7, u64::MAX])
            .with_opcode(0xf)
            .with_store_address(u64::MAX)
            .to_words(),
        InvalidateDeviceEntry::from_words([0xffff, 0])
            .with_opcode(0xf)
            .to_words(),
        InvalidatePages::from_words([0xf_ffff, 0xffff_ffff_ffff_f007])
            .with_domainid(0xffff)
            .with_opcode(0xf)
            .to_words(),
        InvalidateInterruptTable::from_words([0xffff, 0])
            .with_opcode(0xf)
            .to_words(),
        InvalidateAll::new().with_opcode(0xf).to_words(),
    ];
    let reserved = [
        CompletionWait::RESERVED,
        InvalidateDeviceEntry::RESERVED,
        InvalidatePages::RESERVED,
        InvalidateInterruptTable::RESERVED,
        InvalidateAll::RESERVED,
    ];
    assert_eq!(full.map(|words| words.map(|word| !word)), reserved);
}

#[test]
fn commands_are_told_apart_by_their_opcode() {
    use command::{Kind, kind, opcode};
    let kinds = [
        (1, Kind::CompletionWait),
        (2, Kind::InvalidateDeviceEntry),
        (3, Kind::InvalidatePages),
        (4, Kind::InvalidateIotlb),
        (5, Kind::InvalidateInterruptTable),
        (6, Kind::Prefetch),
        (7, Kind::CompletePageRequest),
        (8, Kind::InvalidateAll),
    ];
    for (code, expected) in kinds {
        assert_eq!(kind([code << 60, u64::MAX]), Some(expected));
        assert_eq!(expected as u64, code);
    }
    assert_eq!(kind([0, 0]), None);
    assert_eq!(kind([9 << 60, 0]), None);
    assert_eq!(opcode(u64::MAX), 0xf);
}

#[test]
fn events_lie_as_the_manual_says() {
    let event = Event::new;
    for (event, words) in [
        (event().with_deviceid(0xffff), [0xffff, 0]),
        (event().with_pasid_high(0xf), [0x000f_0000, 0]),
        (event().with_domainid(0xffff), [0x0000_ffff_0000_0000, 0]),
        (event().with_gn(true), [1 << 48, 0]),
        (event().with_nx(true), [1 << 49, 0]),
        (event().with_us(true), [1 << 50, 0]),
        (event().with_i(true), [1 << 51, 0]),
        (event().with_pr(true), [1 << 52, 0]),
        (event().with_rw(true), [1 << 53, 0]),
        (event().with_pe(true), [1 << 54, 0]),
        (event().with_rz(true), [1 << 55, 0]),
        (event().with_tr(true), [1 << 56, 0]),
        (event().with_kind(7), [7 << 57, 0]),
        (event().with_code(EventCode::IoPageFault), [2 << 60, 0]),
        (event().with_address(u64::MAX), [0, u64::MAX]),
    ] {
        assert_eq!(event.to_words(), words);
        assert_eq!(Event::from_words(words), event);
    }
    use HardwareError::*;
    assert_eq!(
        [MasterAbort, TargetAbort, DataError].map(HardwareError::code),
        [1, 2, 3]
    );
}

#[test]
fn event_codes_are_the_manuals() {
    use EventCode::*;
    let codes = [
        (IllegalDeviceTableEntry, 1),
        (IoPageFault, 2),
        (DeviceTableHardwareError, 3),
        (PageTableHardwareError, 4),
        (IllegalCommandError, 5),
        (CommandHardwareError, 6),
        (IotlbInvalidationTimeout, 7),
        (InvalidDeviceRequest, 8),
        (InvalidPageRequest, 9),
        (EventCounterZero, 10),
    ];
    assert_eq!(EventCode::ALL, codes.map(|(code, _)| code));
    for (code, number) in codes {
        assert_eq!(code.code(), number);
        assert_eq!(EventCode::from_code(number), Some(code));
        assert_eq!(Event::new().with_code(code).code(), Some(code));
    }
    assert_eq!(Event::new().code(), None);
    assert_eq!(IoPageFault.to_string(), "I/O page fault");
}

#[test]
fn reserved_bits_survive_the_round_trip() {
    let words = [u64::MAX; 2];
    assert_eq!(CompletionWait::from_words(words).to_words(), words);
    assert_eq!(InvalidatePages::from_words(words).to_words(), words);
    assert_eq!(Event::from_words(words).to_words(), words);
    assert_eq!(TranslationWord::from_bits(u64::MAX).into_bits(), u64::MAX);
    assert_eq!(Control::from_bits(u64::MAX).into_bits(), u64::MAX);
    assert_eq!(ExtendedFeatures::from_bits(u64::MAX).into_bits(), u64::MAX);
}

#[test]
fn words_put_together_are_those_of_the_fields() {
    use hw::amd::command::{CompletionWait, InvalidatePages, PageRange};
    let wait = CompletionWait::new()
        .with_s(true)
        .with_store_address(0xf_ffff_ffff_fff8)
        .with_store_data(0xfedc_ba98_7654_3210);
    let words = CompletionWait::store_words(0xfedc_ba98_7654_3210, u64::MAX);
    assert_eq!(words, wait.to_words());
    let start = 0x7_ffff_8000_0000;
    let blocks = (0..=64).map(|len_log2| PageRange::Block { start, len_log2 });
    for range in blocks.chain([PageRange::All]) {
        for (domain, pde) in [(0, false), (0xffff, true)] {
            let fields = InvalidatePages::new()
                .with_domainid(domain)
                .with_pde(pde)
                .with_range(range);
            assert_eq!(
                InvalidatePages::words(domain, pde, range),
                fields.to_words()
            );
        }
    }
}
