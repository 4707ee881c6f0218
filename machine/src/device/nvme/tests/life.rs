//! Enable, reset, shutdown, doorbells, interrupts.

use hw::nvme::regs::{ShutdownNotification, ShutdownStatus};

use super::super::CompletionOrder;
use super::*;

#[test]
fn a_reset_forgets_queues_and_the_controller_comes_back() {
    let mut bench = Bench::new(read_only(4096));
    let mut pair = bench.create_pair(1, 8);
    assert_eq!(bench.read_blocks(&mut pair, 0, 8), content(4096));
    for _ in 0..5 {
        bench.disable();
        assert_eq!(bench.status(), ControllerStatus::new());
        bench.enable(32);
        let mut pair = bench.create_pair(1, 8);
        assert_eq!(bench.read_blocks(&mut pair, 0, 8), content(4096));
    }
    assert_eq!(bench.findings.total(), 0);
}

#[test]
fn nothing_moves_after_ready_fell() {
    let mut bench = Bench::new(NvmeConfig {
        order: CompletionOrder::Shuffled(1),
        ..read_only(4 << 20)
    });
    for _ in 0..20 {
        let mut pair = bench.create_pair(1, 64);
        let (prp1, prp2) = bench.prp(0, 1 << 20);
        for _ in 0..60 {
            bench.put(&mut pair, io_opcode::READ, blocks(0, 2048, prp1, prp2));
        }
        bench.ring_tail(&pair);
        bench.disable();
        bench.ram.fill(DATA, 2 << 20, 0xee).unwrap();
        bench.ram.fill(pair.completion, 4096, 0).unwrap();
        std::thread::sleep(Duration::from_millis(2));
        assert!(bench.data(0, 1 << 20).iter().all(|&byte| byte == 0xee));
        assert!(bench.poll(&mut pair).is_none());
        bench.enable(16);
    }
}

#[test]
fn shutdown_completes_and_then_no_command_is_taken() {
    let mut bench = Bench::new(read_only(4096));
    let mut pair = bench.create_pair(1, 8);
    let shutdown = Bench::configuration().with_shn(ShutdownNotification::Normal);
    bench.write(regs::CC, shutdown.into_bits());
    bench.wait_for(|status| status.shst() == ShutdownStatus::Complete);
    assert!(bench.status().rdy());
    bench.put(&mut pair, io_opcode::READ, blocks(0, 1, DATA, 0));
    bench.ring_tail(&pair);
    assert_eq!(bench.found(FindingKind::IllegalRegisterUse), 1);
    bench.disable();
    bench.enable(16);
    let mut pair = bench.create_pair(1, 8);
    assert_eq!(bench.read_blocks(&mut pair, 0, 1), content(512));
}

#[test]
fn admin_queues_that_cannot_be_are_fatal_until_reset() {
    let mut bench = Bench::power_on(read_only(512));
    bench.write(regs::CC, Bench::configuration().into_bits());
    bench.wait_for(|status| status.cfs());
    assert!(!bench.status().rdy());
    bench.write(regs::CC, 0);
    bench.wait_for(|status| !status.cfs());
    bench.enable(16);
}

#[test]
fn blocked_queues_are_fatal() {
    for access in [Access::Read, Access::Write] {
        let mut bench = Bench::new(read_only(512));
        let mut pair = bench.create_pair(1, 8);
        let page = if access == Access::Read {
            pair.submission
        } else {
            pair.completion
        };
        bench.gatekeeper.forbid(page, access);
        bench.put(&mut pair, io_opcode::READ, blocks(0, 1, DATA, 0));
        bench.ring_tail(&pair);
        bench.wait_for(|status| status.cfs());
        bench.ring_tail(&pair);
        bench.gatekeeper.forbidden.lock().clear();
        bench.disable();
        assert!(!bench.status().cfs());
        bench.enable(16);
        let mut pair = bench.create_pair(1, 8);
        assert_eq!(bench.read_blocks(&mut pair, 0, 1), content(512));
    }
}

#[test]
fn misused_doorbells_are_found_and_change_nothing() {
    let mut bench = Bench::new(read_only(512));
    let mut pair = bench.create_pair(1, 8);
    bench.write(regs::DOORBELLS + 8, 8);
    bench.write(regs::DOORBELLS + 8, 0x1_0001);
    bench.write(regs::DOORBELLS + 12, 1);
    bench.write(regs::DOORBELLS + 16, 1);
    assert_eq!(bench.found(FindingKind::DoorbellOutOfRange), 4);
    bench
        .controller
        .write(REGISTERS_BAR, regs::DOORBELLS + 8, Width::Word, 1);
    bench
        .controller
        .write(REGISTERS_BAR, regs::DOORBELLS + 10, Width::Dword, 1);
    bench
        .controller
        .read(REGISTERS_BAR, regs::DOORBELLS, Width::Dword);
    assert_eq!(bench.found(FindingKind::IllegalRegisterUse), 3);
    assert_eq!(bench.read_blocks(&mut pair, 0, 1), content(512));
}

#[test]
fn a_doorbell_before_ready_is_found() {
    let bench = Bench::power_on(read_only(512));
    bench.write(regs::DOORBELLS, 1);
    assert_eq!(bench.found(FindingKind::IllegalRegisterUse), 1);
}

#[test]
fn a_wider_doorbell_stride_moves_the_doorbells() {
    let mut bench = Bench::power_on(NvmeConfig {
        doorbell_stride_log2: 2,
        ..read_only(512)
    });
    assert_eq!(bench.read(regs::CAP + 4) & 0xf, 2);
    bench.enable(16);
    let id = bench.put(
        &mut Pair::new(0, ADMIN_QUEUES, 16),
        admin_opcode::ABORT,
        SubmissionEntry::default(),
    );
    bench.write(regs::DOORBELLS, 1);
    let mut admin = Pair::new(0, ADMIN_QUEUES, 16);
    assert_eq!(eventually(|| bench.poll(&mut admin)).result().cid(), id);
    bench.write(regs::DOORBELLS + 16, 1);
    assert_eq!(bench.findings.total(), 0);
}

#[test]
fn a_masked_vector_delivers_when_it_is_unmasked() {
    let mut bench = Bench::new(read_only(512));
    let mut pair = bench.create_pair(1, 8);
    bench.msix.write(MSIX_BAR, 16 + 12, Width::Dword, 1);
    bench.read_blocks(&mut pair, 0, 1);
    bench.read_blocks(&mut pair, 0, 1);
    eventually(|| (bench.controller.statistics().interrupts >= 4).then_some(()));
    assert_eq!(bench.interrupts(1), 0);
    bench.msix.write(MSIX_BAR, 16 + 12, Width::Dword, 0);
    assert_eq!(bench.interrupts(1), 1);
    bench.read_blocks(&mut pair, 0, 1);
    eventually(|| (bench.interrupts(1) == 2).then_some(()));
    assert_eq!(bench.interrupts(0), 2, "the two create commands");
}

#[test]
fn a_queue_without_interrupts_stays_silent() {
    let mut bench = Bench::new(read_only(512));
    let mut pair = Pair::new(1, IO_QUEUES, 8);
    let cdw10 = 7 << 16 | 1;
    for (opcode, prp1, cdw11) in [
        (admin_opcode::CREATE_COMPLETION_QUEUE, pair.completion, 1),
        (
            admin_opcode::CREATE_SUBMISSION_QUEUE,
            pair.submission,
            1 << 16 | 1,
        ),
    ] {
        bench.admin(
            opcode,
            SubmissionEntry {
                prp1,
                cdw10,
                cdw11,
                ..Default::default()
            },
        );
    }
    bench.read_blocks(&mut pair, 0, 1);
    bench.disable();
    assert_eq!(
        (0..16).map(|vector| bench.interrupts(vector)).sum::<u64>(),
        2
    );
}

#[test]
fn stop_ends_a_controller_that_waits() {
    let mut config = read_only(512);
    config.misbehaviour.delay = Duration::from_secs(3600);
    let mut bench = Bench::new(config);
    let mut pair = bench.create_pair(1, 8);
    bench.put(&mut pair, io_opcode::READ, blocks(0, 1, DATA, 0));
    bench.ring_tail(&pair);
    let started = Instant::now();
    bench.disable();
    bench.controller.stop();
    bench.controller.stop();
    assert!(started.elapsed() < Duration::from_secs(100));
}
