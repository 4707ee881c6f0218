//! Admin commands.

use hw::nvme::StatusField;
use hw::nvme::command::{FeaturesDword10, NumberOfQueues, cns, feature};
use hw::nvme::identify::{IdentifyController, IdentifyNamespace};
use zerocopy::FromBytes;

use super::*;

fn identify(bench: &mut Bench, cns: u8, nsid: u32) -> Result<Vec<u8>, Status> {
    bench.ram.fill(DATA, 4096, 0xee).unwrap();
    let entry = SubmissionEntry {
        nsid,
        prp1: DATA,
        cdw10: cns.into(),
        ..Default::default()
    };
    match status(&bench.admin(admin_opcode::IDENTIFY, entry)) {
        Status::Success => Ok(bench.data(0, 4096)),
        status => Err(status),
    }
}

#[test]
fn identify_tells_controller_and_namespace() {
    let mut bench = Bench::new(read_only(1025));
    let data = identify(&mut bench, cns::CONTROLLER, 0).unwrap();
    let controller = IdentifyController::read_from_bytes(&data).unwrap();
    assert_eq!((controller.mdts, controller.nn), (8, 1));
    assert_eq!((controller.sqes, controller.cqes), (0x66, 0x44));
    assert_eq!(&controller.sn, b"nvme                ");
    let data = identify(&mut bench, cns::NAMESPACE, 1).unwrap();
    let namespace = IdentifyNamespace::read_from_bytes(&data).unwrap();
    assert_eq!(namespace.nsze, 3);
    assert_eq!(namespace.format().lbads(), 9);
    let list = identify(&mut bench, cns::ACTIVE_NAMESPACES, 0).unwrap();
    assert_eq!(list[..8], [1, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(
        identify(&mut bench, cns::NAMESPACE, 2),
        Err(Status::InvalidNamespace)
    );
    assert_eq!(identify(&mut bench, 0x7f, 1), Err(Status::InvalidField));
    assert_eq!(bench.findings.total(), 0);
}

#[test]
fn identify_data_may_cross_a_page() {
    let mut bench = Bench::new(read_only(512));
    let (prp1, prp2) = bench.prp(0x800, 4096);
    let entry = SubmissionEntry {
        prp1,
        prp2,
        cdw10: cns::CONTROLLER.into(),
        ..Default::default()
    };
    assert_eq!(
        status(&bench.admin(admin_opcode::IDENTIFY, entry)),
        Status::Success
    );
    assert_eq!(bench.data(0x800, 4096)[77], 8);
}

#[test]
fn queues_that_cannot_be_are_refused_with_the_reason() {
    let mut bench = Bench::new(NvmeConfig {
        queue_entries: 64,
        io_queues: 3,
        ..read_only(512)
    });
    let queue = |qid, qsize| {
        QueueDword10::new()
            .with_qid(qid)
            .with_qsize(qsize)
            .into_bits()
    };
    let completion = CreateCompletionQueueDword11::new().with_pc(true);
    let good = SubmissionEntry {
        prp1: IO_QUEUES,
        cdw10: queue(1, 63),
        cdw11: completion.into_bits(),
        ..Default::default()
    };
    let cq = admin_opcode::CREATE_COMPLETION_QUEUE;
    for (entry, expected) in [
        (
            SubmissionEntry {
                cdw10: queue(0, 63),
                ..good
            },
            Status::InvalidQueueId,
        ),
        (
            SubmissionEntry {
                cdw10: queue(4, 63),
                ..good
            },
            Status::InvalidQueueId,
        ),
        (
            SubmissionEntry {
                cdw10: queue(1, 0),
                ..good
            },
            Status::InvalidQueueSize,
        ),
        (
            SubmissionEntry {
                cdw10: queue(1, 64),
                ..good
            },
            Status::InvalidQueueSize,
        ),
        (
            SubmissionEntry {
                prp1: IO_QUEUES + 64,
                ..good
            },
            Status::PrpOffsetInvalid,
        ),
        (SubmissionEntry { cdw11: 0, ..good }, Status::InvalidField),
        (
            SubmissionEntry {
                cdw11: completion.with_iv(4).into_bits(),
                ..good
            },
            Status::InvalidInterruptVector,
        ),
        (good, Status::Success),
        (good, Status::InvalidQueueId),
    ] {
        assert_eq!(status(&bench.admin(cq, entry)), expected, "{entry:?}");
    }
    let submission = CreateSubmissionQueueDword11::new().with_pc(true);
    let to = |cqid| SubmissionEntry {
        cdw11: submission.with_cqid(cqid).into_bits(),
        ..good
    };
    let sq = admin_opcode::CREATE_SUBMISSION_QUEUE;
    assert_eq!(
        status(&bench.admin(sq, to(2))),
        Status::CompletionQueueInvalid
    );
    assert_eq!(
        status(&bench.admin(sq, to(0))),
        Status::CompletionQueueInvalid
    );
    assert_eq!(status(&bench.admin(sq, to(1))), Status::Success);
    assert_eq!(status(&bench.admin(sq, to(1))), Status::InvalidQueueId);
}

#[test]
fn a_completion_queue_outlives_its_submission_queues() {
    let mut bench = Bench::new(read_only(512));
    bench.create_pair(1, 8);
    let id = SubmissionEntry {
        cdw10: 1,
        ..Default::default()
    };
    let (cq, sq) = (
        admin_opcode::DELETE_COMPLETION_QUEUE,
        admin_opcode::DELETE_SUBMISSION_QUEUE,
    );
    assert_eq!(status(&bench.admin(cq, id)), Status::InvalidQueueDeletion);
    assert_eq!(status(&bench.admin(sq, id)), Status::Success);
    assert_eq!(status(&bench.admin(sq, id)), Status::InvalidQueueId);
    assert_eq!(status(&bench.admin(cq, id)), Status::Success);
    assert_eq!(status(&bench.admin(cq, id)), Status::InvalidQueueId);
    let mut again = bench.create_pair(1, 8);
    assert_eq!(bench.read_blocks(&mut again, 0, 1), content(512));
}

#[test]
fn the_number_of_queues_is_negotiated_before_any_is_created() {
    let mut bench = Bench::new(read_only(512));
    let number = FeaturesDword10::new()
        .with_fid(feature::NUMBER_OF_QUEUES)
        .into_bits();
    let ask = |nsq, ncq| SubmissionEntry {
        cdw10: number,
        cdw11: NumberOfQueues::new()
            .with_nsq(nsq)
            .with_ncq(ncq)
            .into_bits(),
        ..Default::default()
    };
    let set = admin_opcode::SET_FEATURES;
    assert_eq!(bench.admin(set, ask(99, 99)).dw0, 0x0007_0007);
    assert_eq!(bench.admin(set, ask(1, 1)).dw0, 0x0001_0001);
    assert_eq!(
        bench.admin(admin_opcode::GET_FEATURES, ask(0, 0)).dw0,
        0x0001_0001
    );
    assert_eq!(
        status(&bench.admin(set, ask(0xffff, 0))),
        Status::InvalidField
    );
    let third = SubmissionEntry {
        cdw10: 7 << 16 | 3,
        cdw11: 1,
        ..Default::default()
    };
    assert_eq!(
        status(&bench.admin(admin_opcode::CREATE_COMPLETION_QUEUE, third)),
        Status::InvalidQueueId
    );
    bench.create_pair(2, 8);
    assert_eq!(
        status(&bench.admin(set, ask(3, 3))),
        Status::CommandSequenceError
    );
}

#[test]
fn unknown_commands_features_and_formats_are_refused() {
    let mut bench = Bench::new(read_only(512));
    let none = SubmissionEntry::default();
    assert_eq!(
        status(&bench.admin(admin_opcode::GET_LOG_PAGE, none)),
        Status::InvalidOpcode
    );
    assert_eq!(status(&bench.admin(0xc0, none)), Status::InvalidOpcode);
    let unknown = SubmissionEntry {
        cdw10: 0x7e,
        ..none
    };
    assert_eq!(
        status(&bench.admin(admin_opcode::GET_FEATURES, unknown)),
        Status::InvalidField
    );
    let sgl = SubmissionEntry {
        cdw0: Dword0::new().with_psdt(1).into_bits(),
        ..none
    };
    assert_eq!(
        status(&bench.admin(admin_opcode::IDENTIFY, sgl)),
        Status::InvalidField
    );
    let abort = bench.admin(admin_opcode::ABORT, none);
    assert_eq!((status(&abort), abort.dw0), (Status::Success, 1));
}

#[test]
fn an_event_request_waits_for_a_misused_doorbell() {
    let mut bench = Bench::new(read_only(512));
    let mut admin = std::mem::replace(&mut bench.admin, Pair::new(0, 0, 2));
    let request = bench.put(
        &mut admin,
        admin_opcode::ASYNC_EVENT_REQUEST,
        SubmissionEntry::default(),
    );
    bench.ring_tail(&admin);
    let abort = bench.run(&mut admin, admin_opcode::ABORT, SubmissionEntry::default());
    assert_eq!(
        status(&abort),
        Status::Success,
        "the request is kept, later commands go on"
    );
    bench.write(regs::DOORBELLS, 77);
    let event = bench.reap(&mut admin);
    assert_eq!((event.result().cid(), event.dw0), (request, 0x01_01_00));
    assert_eq!(bench.found(FindingKind::DoorbellOutOfRange), 1);
}

#[test]
fn event_requests_beyond_the_limit_are_refused() {
    let mut bench = Bench::new(read_only(512));
    let mut admin = std::mem::replace(&mut bench.admin, Pair::new(0, 0, 2));
    for _ in 0..5 {
        bench.put(
            &mut admin,
            admin_opcode::ASYNC_EVENT_REQUEST,
            SubmissionEntry::default(),
        );
    }
    bench.ring_tail(&admin);
    let refused = StatusField::new().with_sct(1).with_sc(5);
    assert_eq!(bench.reap(&mut admin).result().sf(), refused);
}
