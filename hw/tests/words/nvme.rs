use core::mem::offset_of;

use hw::nvme::command::{
    CreateCompletionQueueDword11, CreateSubmissionQueueDword11, Dword0, FeatureSelect,
    FeaturesDword10, IdentifyDword10, NumberOfQueues, QueueDword10, ReadWriteDword12, admin_opcode,
    cns, feature, io_opcode,
};
use hw::nvme::completion::{CompletionQueueDword, CompletionResultDword};
use hw::nvme::identify::{FormattedLbaSize, IdentifyController, IdentifyNamespace, LbaFormat};
use hw::nvme::regs::{self, *};
use hw::nvme::{CompletionEntry, Status, StatusField, SubmissionEntry};

use crate::fields;

#[test]
fn registers_lie_where_the_manual_says() {
    assert_eq!(
        [
            CAP, VS, INTMS, INTMC, CC, CSTS, NSSR, AQA, ASQ, ACQ, DOORBELLS
        ],
        [
            0x00, 0x08, 0x0c, 0x10, 0x14, 0x1c, 0x20, 0x24, 0x28, 0x30, 0x1000
        ]
    );
}

#[test]
fn doorbells_are_a_stride_apart() {
    let packed = Capabilities::new();
    assert_eq!(regs::submission_doorbell(packed, 0), 0x1000);
    assert_eq!(regs::completion_doorbell(packed, 0), 0x1004);
    assert_eq!(regs::submission_doorbell(packed, 2), 0x1010);
    let strided = Capabilities::new().with_dstrd(3);
    assert_eq!(regs::completion_doorbell(strided, 0), 0x1020);
    assert_eq!(regs::submission_doorbell(strided, 1), 0x1040);
}

#[test]
fn register_fields_lie_where_the_manual_says() {
    fields! {
        Capabilities::new().with_mqes(0xffff) => 0x0000_0000_0000_ffff;
        Capabilities::new().with_cqr(true) => 0x0000_0000_0001_0000;
        Capabilities::new().with_ams(3) => 0x0000_0000_0006_0000;
        Capabilities::new().with_to(0xff) => 0x0000_0000_ff00_0000;
        Capabilities::new().with_dstrd(0xf) => 0x0000_000f_0000_0000;
        Capabilities::new().with_nssrs(true) => 0x0000_0010_0000_0000;
        Capabilities::new().with_css(0xff) => 0x0000_1fe0_0000_0000;
        Capabilities::new().with_css(Capabilities::CSS_NVM) => 0x0000_0020_0000_0000;
        Capabilities::new().with_bps(true) => 0x0000_2000_0000_0000;
        Capabilities::new().with_cps(3) => 0x0000_c000_0000_0000;
        Capabilities::new().with_mpsmin(0xf) => 0x000f_0000_0000_0000;
        Capabilities::new().with_mpsmax(0xf) => 0x00f0_0000_0000_0000;
        Capabilities::new().with_pmrs(true) => 0x0100_0000_0000_0000;
        Capabilities::new().with_cmbs(true) => 0x0200_0000_0000_0000;
        Capabilities::new().with_nsss(true) => 0x0400_0000_0000_0000;
        Capabilities::new().with_crms(3) => 0x1800_0000_0000_0000;
        Version::new().with_ter(0xff) => 0x0000_00ff;
        Version::new().with_mnr(0xff) => 0x0000_ff00;
        Version::new().with_mjr(0xffff) => 0xffff_0000;
        Configuration::new().with_en(true) => 0x0000_0001;
        Configuration::new().with_css(7) => 0x0000_0070;
        Configuration::new().with_mps(0xf) => 0x0000_0780;
        Configuration::new().with_ams(7) => 0x0000_3800;
        Configuration::new().with_shn(ShutdownNotification::Normal) => 0x0000_4000;
        Configuration::new().with_shn(ShutdownNotification::Abrupt) => 0x0000_8000;
        Configuration::new().with_iosqes(0xf) => 0x000f_0000;
        Configuration::new().with_iocqes(0xf) => 0x00f0_0000;
        Configuration::new().with_crime(true) => 0x0100_0000;
        ControllerStatus::new().with_rdy(true) => 0x01;
        ControllerStatus::new().with_cfs(true) => 0x02;
        ControllerStatus::new().with_shst(ShutdownStatus::Occurring) => 0x04;
        ControllerStatus::new().with_shst(ShutdownStatus::Complete) => 0x08;
        ControllerStatus::new().with_nssro(true) => 0x10;
        ControllerStatus::new().with_pp(true) => 0x20;
        ControllerStatus::new().with_st(true) => 0x40;
        AdminQueueAttributes::new().with_asqs(0xfff) => 0x0000_0fff;
        AdminQueueAttributes::new().with_acqs(0xfff) => 0x0fff_0000;
    }
    assert_eq!(Capabilities::new().with_mqes(63).queue_entries_max(), 64);
    assert_eq!(Capabilities::new().with_to(20).timeout_ms(), 10_000);
}

#[test]
fn queue_entries_lie_as_the_manual_says() {
    assert_eq!(size_of::<SubmissionEntry>(), 64);
    assert_eq!(
        [
            offset_of!(SubmissionEntry, cdw0),
            offset_of!(SubmissionEntry, nsid),
            offset_of!(SubmissionEntry, mptr),
            offset_of!(SubmissionEntry, prp1),
            offset_of!(SubmissionEntry, prp2),
            offset_of!(SubmissionEntry, cdw10),
            offset_of!(SubmissionEntry, cdw15),
        ],
        [0, 4, 16, 24, 32, 40, 60]
    );
    assert_eq!(size_of::<CompletionEntry>(), 16);
    assert_eq!(offset_of!(CompletionEntry, dw2), 8);
    assert_eq!(offset_of!(CompletionEntry, dw3), 12);
    fields! {
        Dword0::new().with_opc(0xff) => 0x0000_00ff;
        Dword0::new().with_fuse(3) => 0x0000_0300;
        Dword0::new().with_psdt(3) => 0x0000_c000;
        Dword0::new().with_cid(0xffff) => 0xffff_0000;
        CompletionQueueDword::new().with_sqhd(0xffff) => 0x0000_ffff;
        CompletionQueueDword::new().with_sqid(0xffff) => 0xffff_0000;
        CompletionResultDword::new().with_cid(0xffff) => 0x0000_ffff;
        CompletionResultDword::new().with_p(true) => 0x0001_0000;
        CompletionResultDword::new().with_sf(StatusField::from_bits(0x7fff)) => 0xfffe_0000;
    }
}

#[test]
fn status_lies_as_the_manual_says() {
    let status = |field: StatusField| CompletionResultDword::new().with_sf(field);
    fields! {
        status(StatusField::new().with_sc(0xff)) => 0x01fe_0000;
        status(StatusField::new().with_sct(7)) => 0x0e00_0000;
        status(StatusField::new().with_crd(3)) => 0x3000_0000;
        status(StatusField::new().with_m(true)) => 0x4000_0000;
        status(StatusField::new().with_dnr(true)) => 0x8000_0000;
    }
}

#[test]
fn status_codes_are_the_manuals() {
    use Status::*;
    let codes = [
        (Success, 0, 0x00),
        (InvalidOpcode, 0, 0x01),
        (InvalidField, 0, 0x02),
        (CommandIdConflict, 0, 0x03),
        (DataTransferError, 0, 0x04),
        (AbortedPowerLoss, 0, 0x05),
        (InternalError, 0, 0x06),
        (AbortRequested, 0, 0x07),
        (AbortedQueueDeletion, 0, 0x08),
        (InvalidNamespace, 0, 0x0b),
        (CommandSequenceError, 0, 0x0c),
        (PrpOffsetInvalid, 0, 0x13),
        (LbaOutOfRange, 0, 0x80),
        (CapacityExceeded, 0, 0x81),
        (NamespaceNotReady, 0, 0x82),
        (CompletionQueueInvalid, 1, 0x00),
        (InvalidQueueId, 1, 0x01),
        (InvalidQueueSize, 1, 0x02),
        (InvalidInterruptVector, 1, 0x08),
        (InvalidQueueDeletion, 1, 0x0c),
        (FeatureNotSaveable, 1, 0x0d),
        (FeatureNotChangeable, 1, 0x0e),
        (WriteFault, 2, 0x80),
        (UnrecoveredReadError, 2, 0x81),
        (AccessDenied, 2, 0x86),
    ];
    assert_eq!(Status::ALL, codes.map(|(status, ..)| status));
    for (status, code_type, code) in codes {
        assert_eq!((status.code_type(), status.code()), (code_type, code));
        assert_eq!(Status::from_code(code_type, code), Some(status));
        assert_eq!(StatusField::from(status).status(), Some(status));
    }
    assert_eq!(Status::from_code(7, 0xff), None);
    let unknown = StatusField::new().with_sct(7).with_sc(0x12);
    assert_eq!(unknown.to_string(), "unknown status (type 0x7 code 0x12)");
    assert!(!unknown.is_success());
}

#[test]
fn command_dwords_lie_as_the_manual_says() {
    fields! {
        IdentifyDword10::new().with_cns(0xff) => 0x0000_00ff;
        IdentifyDword10::new().with_cntid(0xffff) => 0xffff_0000;
        QueueDword10::new().with_qid(0xffff) => 0x0000_ffff;
        QueueDword10::new().with_qsize(0xffff) => 0xffff_0000;
        CreateCompletionQueueDword11::new().with_pc(true) => 0x0000_0001;
        CreateCompletionQueueDword11::new().with_ien(true) => 0x0000_0002;
        CreateCompletionQueueDword11::new().with_iv(0xffff) => 0xffff_0000;
        CreateSubmissionQueueDword11::new().with_pc(true) => 0x0000_0001;
        CreateSubmissionQueueDword11::new().with_qprio(3) => 0x0000_0006;
        CreateSubmissionQueueDword11::new().with_cqid(0xffff) => 0xffff_0000;
        FeaturesDword10::new().with_fid(0xff) => 0x0000_00ff;
        FeaturesDword10::new().with_sel(FeatureSelect::SupportedCapabilities) => 0x0000_0300;
        FeaturesDword10::new().with_sv(true) => 0x8000_0000;
        NumberOfQueues::new().with_nsq(0xffff) => 0x0000_ffff;
        NumberOfQueues::new().with_ncq(0xffff) => 0xffff_0000;
        ReadWriteDword12::new().with_nlb(0xffff) => 0x0000_ffff;
        ReadWriteDword12::new().with_dtype(0xf) => 0x00f0_0000;
        ReadWriteDword12::new().with_stc(true) => 0x0100_0000;
        ReadWriteDword12::new().with_prinfo(0xf) => 0x3c00_0000;
        ReadWriteDword12::new().with_fua(true) => 0x4000_0000;
        ReadWriteDword12::new().with_lr(true) => 0x8000_0000;
    }
    use admin_opcode::*;
    assert_eq!(
        [
            DELETE_SUBMISSION_QUEUE,
            CREATE_SUBMISSION_QUEUE,
            GET_LOG_PAGE
        ],
        [0, 1, 2]
    );
    assert_eq!(
        [DELETE_COMPLETION_QUEUE, CREATE_COMPLETION_QUEUE, IDENTIFY],
        [4, 5, 6]
    );
    assert_eq!(
        [ABORT, SET_FEATURES, GET_FEATURES, ASYNC_EVENT_REQUEST],
        [8, 9, 10, 12]
    );
    assert_eq!(
        [io_opcode::FLUSH, io_opcode::WRITE, io_opcode::READ],
        [0, 1, 2]
    );
    assert_eq!(
        [feature::VOLATILE_WRITE_CACHE, feature::NUMBER_OF_QUEUES],
        [6, 7]
    );
    assert_eq!(
        [cns::NAMESPACE, cns::CONTROLLER, cns::ACTIVE_NAMESPACES],
        [0, 1, 2]
    );
}

#[test]
fn identify_data_lies_as_the_manual_says() {
    assert_eq!(
        [
            offset_of!(IdentifyController, vid),
            offset_of!(IdentifyController, ssvid),
            offset_of!(IdentifyController, sn),
            offset_of!(IdentifyController, mn),
            offset_of!(IdentifyController, fr),
            offset_of!(IdentifyController, rab),
            offset_of!(IdentifyController, ieee),
            offset_of!(IdentifyController, cmic),
            offset_of!(IdentifyController, mdts),
            offset_of!(IdentifyController, cntlid),
            offset_of!(IdentifyController, ver),
            offset_of!(IdentifyController, oacs),
            offset_of!(IdentifyController, acl),
            offset_of!(IdentifyController, aerl),
            offset_of!(IdentifyController, frmw),
            offset_of!(IdentifyController, lpa),
            offset_of!(IdentifyController, elpe),
            offset_of!(IdentifyController, npss),
            offset_of!(IdentifyController, sqes),
            offset_of!(IdentifyController, cqes),
            offset_of!(IdentifyController, maxcmd),
            offset_of!(IdentifyController, nn),
            offset_of!(IdentifyController, oncs),
            offset_of!(IdentifyController, fuses),
            offset_of!(IdentifyController, fna),
            offset_of!(IdentifyController, vwc),
            offset_of!(IdentifyController, subnqn),
            size_of::<IdentifyController>(),
        ],
        [
            0, 2, 4, 24, 64, 72, 73, 76, 77, 78, 80, 256, 258, 259, 260, 261, 262, 263, 512, 513,
            514, 516, 520, 522, 524, 525, 768, 4096,
        ]
    );
    assert_eq!(
        [
            offset_of!(IdentifyNamespace, nsze),
            offset_of!(IdentifyNamespace, ncap),
            offset_of!(IdentifyNamespace, nuse),
            offset_of!(IdentifyNamespace, nsfeat),
            offset_of!(IdentifyNamespace, nlbaf),
            offset_of!(IdentifyNamespace, flbas),
            offset_of!(IdentifyNamespace, mc),
            offset_of!(IdentifyNamespace, dpc),
            offset_of!(IdentifyNamespace, dps),
            offset_of!(IdentifyNamespace, lbaf),
            size_of::<IdentifyNamespace>(),
        ],
        [0, 8, 16, 24, 25, 26, 27, 28, 29, 128, 4096]
    );
    fields! {
        LbaFormat::new().with_ms(0xffff) => 0x0000_ffff;
        LbaFormat::new().with_lbads(0xff) => 0x00ff_0000;
        LbaFormat::new().with_rp(3) => 0x0300_0000;
        FormattedLbaSize::new().with_index_low(0xf) => 0x0f;
        FormattedLbaSize::new().with_extended(true) => 0x10;
        FormattedLbaSize::new().with_index_high(3) => 0x60;
    }
    assert_eq!(FormattedLbaSize::from_bits(0xff).index(), 63);
}
