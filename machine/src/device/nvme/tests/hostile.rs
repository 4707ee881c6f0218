//! Faults on purpose, and the rogue disk.

use std::collections::HashSet;

use super::super::{CompletionOrder, Misbehaviour, NeverReady, RogueTarget};
use super::*;

fn misbehaving(misbehaviour: Misbehaviour) -> (Bench, Pair) {
    let mut bench = Bench::new(NvmeConfig {
        misbehaviour,
        ..read_only(8 * 512)
    });
    let pair = bench.create_pair(1, 8);
    (bench, pair)
}

#[test]
fn one_bit_of_one_byte_is_flipped() {
    let flip = Misbehaviour {
        flip_bit_of_byte: Some(4096 + 700),
        ..Default::default()
    };
    let (bench, mut pair) = misbehaving(flip);
    let expected = content(8 * 512);
    assert_eq!(bench.read_blocks(&mut pair, 0, 8), expected);
    let mut flipped = expected.clone();
    flipped[700] ^= 1;
    assert_eq!(bench.read_blocks(&mut pair, 0, 8), flipped);
    assert_eq!(bench.read_blocks(&mut pair, 0, 8), expected);
}

#[test]
fn a_broken_block_fails_those_who_touch_it() {
    let (bench, mut pair) = misbehaving(Misbehaviour {
        broken_block: Some(3),
        ..Default::default()
    });
    for (block, count, expected) in [
        (0, 3, Status::Success),
        (0, 4, Status::UnrecoveredReadError),
        (3, 1, Status::UnrecoveredReadError),
        (4, 4, Status::Success),
    ] {
        assert_eq!(
            bench.transfer(&mut pair, io_opcode::READ, block, count, 0),
            expected
        );
    }
}

#[test]
fn a_command_may_never_complete_while_others_do() {
    let (bench, mut pair) = misbehaving(Misbehaviour {
        never_complete: Some(0),
        ..Default::default()
    });
    bench.put(&mut pair, io_opcode::READ, blocks(0, 1, DATA, 0));
    let second = bench.put(&mut pair, io_opcode::READ, blocks(0, 1, DATA, 0));
    bench.ring_tail(&pair);
    assert_eq!(bench.reap(&mut pair).result().cid(), second);
}

#[test]
fn the_controller_may_die() {
    let (bench, mut pair) = misbehaving(Misbehaviour {
        fatal_at: Some(1),
        ..Default::default()
    });
    bench.read_blocks(&mut pair, 0, 1);
    bench.put(&mut pair, io_opcode::READ, blocks(0, 1, DATA, 0));
    bench.ring_tail(&pair);
    bench.wait_for(|status| status.cfs());
    assert!(bench.poll(&mut pair).is_none());
}

#[test]
fn completions_may_come_twice_or_for_nobody() {
    let twice = Misbehaviour {
        complete_twice_at: Some(0),
        unknown_command_at: Some(1),
        ..Default::default()
    };
    let (bench, mut pair) = misbehaving(twice);
    bench.read_blocks(&mut pair, 0, 1);
    assert_eq!(bench.reap(&mut pair).result().cid(), 0x100);
    bench.read_blocks(&mut pair, 0, 1);
    assert_eq!(bench.reap(&mut pair).result().cid(), !0x101);
}

#[test]
fn a_completion_with_the_wrong_phase_looks_old() {
    let (bench, mut pair) = misbehaving(Misbehaviour {
        wrong_phase_at: Some(0),
        ..Default::default()
    });
    bench.put(&mut pair, io_opcode::READ, blocks(0, 1, DATA, 0));
    bench.ring_tail(&pair);
    eventually(|| (bench.interrupts(1) == 1).then_some(()));
    assert!(bench.poll(&mut pair).is_none());
    let mut entry = CompletionEntry::new_zeroed();
    bench
        .ram
        .read(pair.completion, entry.as_mut_bytes())
        .unwrap();
    assert_eq!((entry.result().cid(), entry.result().p()), (0x100, false));
}

#[test]
fn commands_may_complete_in_any_order() {
    let config = NvmeConfig {
        order: CompletionOrder::Shuffled(3),
        ..read_only(64 * 512)
    };
    let mut bench = Bench::new(config);
    let mut pair = bench.create_pair(1, 32);
    let mut order = Vec::new();
    for round in 0..20u64 {
        let page = |index: u64| DATA + PAGE * index;
        let mut sent: Vec<u16> = (0..30)
            .map(|index| blocks((round + index) % 64, 1, page(index), 0))
            .map(|entry| bench.put(&mut pair, io_opcode::READ, entry))
            .collect();
        bench.ring_tail(&pair);
        let mut came: Vec<u16> = Vec::new();
        for _ in 0..30 {
            let done = bench.reap(&mut pair);
            assert_eq!(status(&done), Status::Success);
            came.push(done.result().cid());
        }
        order.push(came.is_sorted());
        came.sort_unstable();
        sent.sort_unstable();
        assert_eq!(came, sent, "each completes once");
        for index in 0..30 {
            let block = ((round + index) % 64) as usize * 512;
            let mut data = vec![0; 512];
            bench.ram.read(page(index), &mut data).unwrap();
            assert_eq!(data, content(64 * 512)[block..block + 512]);
        }
    }
    assert!(order.contains(&false), "some round was out of order");
    assert_eq!(bench.findings.total(), 0);
}

#[test]
fn commands_fetched_ahead_end_with_their_queue() {
    let config = NvmeConfig {
        order: CompletionOrder::Shuffled(3),
        misbehaviour: Misbehaviour {
            delay: Duration::from_millis(5),
            ..Default::default()
        },
        ..read_only(512)
    };
    let mut bench = Bench::new(config);
    for _ in 0..3 {
        let mut pair = bench.create_pair(1, 32);
        for _ in 0..30 {
            bench.put(&mut pair, io_opcode::READ, blocks(0, 1, DATA, 0));
        }
        bench.ring_tail(&pair);
        eventually(|| bench.poll(&mut pair));
        let id = SubmissionEntry {
            cdw10: 1,
            ..Default::default()
        };
        for opcode in [
            admin_opcode::DELETE_SUBMISSION_QUEUE,
            admin_opcode::DELETE_COMPLETION_QUEUE,
        ] {
            assert_eq!(status(&bench.admin(opcode, id)), Status::Success);
        }
        bench.ram.fill(DATA, 512, 0xee).unwrap();
        std::thread::sleep(Duration::from_millis(12));
        assert_eq!(bench.data(0, 512), [0xee; 512]);
    }
}

#[test]
fn a_controller_may_never_become_ready() {
    let misbehaviour = Misbehaviour {
        never_ready: NeverReady::Yes,
        ..Default::default()
    };
    let bench = Bench::power_on(NvmeConfig {
        misbehaviour,
        ..read_only(512)
    });
    bench.write(regs::CC, Bench::configuration().into_bits());
    std::thread::sleep(Duration::from_millis(20));
    assert_eq!(bench.status(), ControllerStatus::new());
}

/// A rogue disk behind a unit that lets pass exactly what a strict driver maps.
fn rogue(len_bytes: u64, medium: Medium) -> (Bench, Pair) {
    let config = NvmeConfig::new(file_of(len_bytes), len_bytes, medium);
    let mut bench = Bench::new(NvmeConfig {
        rogue: Some(11),
        ..config
    });
    let pair = bench.create_pair(1, 8);
    let mut allowed = HashSet::new();
    for base in [ADMIN_QUEUES, IO_QUEUES] {
        allowed.insert((base / PAGE, false));
        allowed.insert(((base + 0x1_0000) / PAGE, true));
    }
    for page in 0..16 {
        allowed.insert((DATA / PAGE + page, medium == Medium::ReadOnly));
    }
    *bench.gatekeeper.allowed.lock() = Some(allowed);
    (bench, pair)
}

#[test]
fn a_rogue_disk_tries_everything_for_a_single_byte_and_is_refused() {
    let (bench, mut pair) = rogue(1, Medium::ReadOnly);
    bench.read_blocks(&mut pair, 0, 1);
    let report = bench.controller.rogue_report();
    assert_eq!(
        (report.attempts, report.breaches_total),
        (5, 0),
        "{:?}",
        report.breaches
    );
    assert!(!bench.status().cfs());
}

#[test]
fn a_rogue_disk_keeps_trying_at_a_moderate_rate() {
    for (medium, opcode) in [
        (Medium::ReadOnly, io_opcode::READ),
        (Medium::ReadWrite, io_opcode::WRITE),
    ] {
        let (bench, mut pair) = rogue(8 * 512, medium);
        for _ in 0..400 {
            assert_eq!(bench.transfer(&mut pair, opcode, 0, 8, 0), Status::Success);
        }
        let report = bench.controller.rogue_report();
        assert_eq!(
            (report.attempts, report.breaches_total),
            (105, 0),
            "{:?}",
            report.breaches
        );
    }
}

#[test]
fn missing_protection_is_a_breach_with_its_details() {
    let (bench, mut pair) = rogue(8 * 512, Medium::ReadOnly);
    *bench.gatekeeper.allowed.lock() = None;
    for _ in 0..400 {
        bench.transfer(&mut pair, io_opcode::READ, 0, 8, 0);
    }
    let report = bench.controller.rogue_report();
    for target in [RogueTarget::PageZero, RogueTarget::WrongDirection] {
        let found = report
            .breaches
            .iter()
            .find(|breach| breach.target == target);
        let breach = found.unwrap_or_else(|| panic!("no breach of {target:?}"));
        let page = if target == RogueTarget::PageZero {
            0
        } else {
            DATA
        };
        assert_eq!(breach.bus & !0xfff, page);
    }
    let wrong =
        |breach: &&crate::device::nvme::Breach| breach.target == RogueTarget::WrongDirection;
    assert!(
        report
            .breaches
            .iter()
            .filter(wrong)
            .all(|breach| breach.access == Access::Read)
    );
    assert!(report.breaches_total <= report.attempts);
}
