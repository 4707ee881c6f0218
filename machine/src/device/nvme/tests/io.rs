//! Read, write, flush, and what goes wrong with them.

use super::*;

#[test]
fn reads_deliver_the_file_through_every_shape_of_prp() {
    let len = 4 << 20;
    let mut bench = Bench::new(read_only(len));
    let mut pair = bench.create_pair(1, 16);
    let expected = content(len);
    for (block, count, offset) in [
        (0, 1, 0),
        (5, 8, 0),
        (1, 8, 0x200),
        (3, 8, 0xffc),
        (9, 16, 0),
        (100, 17, 0x604),
        (4096, 2048, 0),
        (77, 2048, 0xffc),
    ] {
        bench.ram.fill(DATA, 8 << 20, 0xee).unwrap();
        let status = bench.transfer(&mut pair, io_opcode::READ, block, count, offset);
        assert_eq!(status, Status::Success, "{block} {count} {offset:#x}");
        let (start, bytes) = (512 * block as usize, 512 * count as usize);
        assert_eq!(
            bench.data(offset, 512 * count),
            expected[start..start + bytes]
        );
    }
    assert_eq!(bench.findings.total(), 0);
    assert_eq!(
        bench.controller.statistics().bytes_read,
        512 * (1 + 8 + 8 + 8 + 16 + 17 + 4096)
    );
}

#[test]
fn chained_lists_are_followed() {
    let mut bench = Bench::new(NvmeConfig {
        max_transfer_pages_log2: 12,
        ..read_only(4 << 20)
    });
    let mut pair = bench.create_pair(1, 4);
    assert!(bench.read_blocks(&mut pair, 0, 8192) == content(4 << 20));
}

#[test]
fn bytes_past_the_end_of_the_file_arrive_as_zeroes() {
    for len in [1, 511, 512, 513] {
        let mut bench = Bench::new(read_only(len));
        let mut pair = bench.create_pair(1, 4);
        let count = len.div_ceil(512);
        bench.ram.fill(DATA, 4096, 0xee).unwrap();
        let mut expected = content(len);
        expected.resize(512 * count as usize, 0);
        assert_eq!(bench.read_blocks(&mut pair, 0, count), expected);
        let beyond = bench.transfer(&mut pair, io_opcode::READ, 0, count + 1, 0);
        assert_eq!(beyond, Status::LbaOutOfRange);
    }
}

#[test]
fn a_written_disk_leaves_a_file_of_exactly_its_length() {
    for len in [1, 511, 512, 513, 100_001] {
        let file = tempfile::tempfile().unwrap();
        let view = file.try_clone().unwrap();
        let mut bench = Bench::new(NvmeConfig::new(file, len, Medium::ReadWrite));
        let mut pair = bench.create_pair(1, 4);
        let count = len.div_ceil(512);
        let mut data = content(len);
        data.resize(512 * count as usize, 0xaa);
        bench.set_data(0, &data);
        assert_eq!(
            bench.transfer(&mut pair, io_opcode::WRITE, 0, count, 0),
            Status::Success
        );
        let flush = SubmissionEntry {
            nsid: 1,
            ..Default::default()
        };
        assert_eq!(
            status(&bench.run(&mut pair, io_opcode::FLUSH, flush)),
            Status::Success
        );
        assert_eq!(view.metadata().unwrap().len(), len);
        let mut stored = vec![0; len as usize];
        view.read_exact_at(&mut stored, 0).unwrap();
        assert!(stored == content(len));
        assert_eq!(bench.controller.statistics().bytes_written, 512 * count);
    }
}

#[test]
fn commands_that_cannot_be_are_refused_with_the_reason() {
    let mut bench = Bench::new(read_only(10 * 512));
    let mut pair = bench.create_pair(1, 4);
    let good = blocks(0, 1, DATA, 0);
    let mut run = |opcode, entry| status(&bench.run(&mut pair, opcode, entry));
    let read = io_opcode::READ;
    assert_eq!(run(read, blocks(9, 2, DATA, 0)), Status::LbaOutOfRange);
    assert_eq!(
        run(read, blocks(u64::MAX, 1, DATA, 0)),
        Status::LbaOutOfRange
    );
    assert_eq!(
        run(read, blocks(0, 2049, DATA, LISTS)),
        Status::InvalidField
    );
    assert_eq!(
        run(read, SubmissionEntry { nsid: 2, ..good }),
        Status::InvalidNamespace
    );
    assert_eq!(
        run(
            read,
            SubmissionEntry {
                prp1: DATA + 1,
                ..good
            }
        ),
        Status::PrpOffsetInvalid
    );
    assert_eq!(
        run(read, blocks(0, 10, DATA, DATA + 8)),
        Status::PrpOffsetInvalid
    );
    let fused = SubmissionEntry {
        cdw0: Dword0::new().with_fuse(1).into_bits(),
        ..good
    };
    assert_eq!(run(read, fused), Status::InvalidField);
    assert_eq!(run(0x77, good), Status::InvalidOpcode);
    assert_eq!(
        run(io_opcode::FLUSH, SubmissionEntry::default()),
        Status::InvalidNamespace
    );
    assert_eq!(run(io_opcode::WRITE, good), Status::AccessDenied);
    assert_eq!(run(read, good), Status::Success);
    assert_eq!(bench.controller.statistics().errors, 10);
}

#[test]
fn blocked_data_is_a_transfer_error_and_nothing_worse() {
    let file = file_of(16 * 512);
    let view = file.try_clone().unwrap();
    let mut bench = Bench::new(NvmeConfig::new(file, 16 * 512, Medium::ReadWrite));
    let mut pair = bench.create_pair(1, 4);
    bench.gatekeeper.forbid(DATA + 2 * PAGE, Access::Write);
    bench.gatekeeper.forbid(DATA + 2 * PAGE, Access::Read);
    for opcode in [io_opcode::READ, io_opcode::WRITE] {
        let status = bench.transfer(&mut pair, opcode, 0, 16, 0);
        assert_eq!(status, Status::DataTransferError);
    }
    let mut stored = vec![0; 16 * 512];
    view.read_exact_at(&mut stored, 0).unwrap();
    assert!(
        stored == content(16 * 512),
        "a write that failed changed nothing"
    );
    bench.gatekeeper.forbid(LISTS, Access::Read);
    let list = blocks(0, 16, DATA + 0x200, LISTS);
    assert_eq!(
        status(&bench.run(&mut pair, io_opcode::READ, list)),
        Status::DataTransferError
    );
    assert_eq!(bench.read_blocks(&mut pair, 0, 8), content(8 * 512));
    assert!(!bench.status().cfs());
}

#[test]
fn a_file_that_shrinks_gives_a_read_error() {
    let file = file_of(16 * 512);
    let view = file.try_clone().unwrap();
    let mut bench = Bench::new(NvmeConfig::new(file, 16 * 512, Medium::ReadOnly));
    let mut pair = bench.create_pair(1, 4);
    view.set_len(8 * 512).unwrap();
    assert_eq!(bench.read_blocks(&mut pair, 0, 8), content(8 * 512));
    let status = bench.transfer(&mut pair, io_opcode::READ, 7, 2, 0);
    assert_eq!(status, Status::UnrecoveredReadError);
}

#[test]
fn a_full_backing_file_gives_capacity_exceeded() {
    let full = File::options()
        .read(true)
        .write(true)
        .open("/dev/full")
        .unwrap();
    let mut bench = Bench::new(NvmeConfig::new(full, 4096, Medium::ReadWrite));
    let mut pair = bench.create_pair(1, 4);
    let status = bench.transfer(&mut pair, io_opcode::WRITE, 0, 8, 0);
    assert_eq!(status, Status::CapacityExceeded);
}

#[test]
fn queues_wrap_at_every_size_and_depth() {
    let mut bench = Bench::new(read_only(64 * 512));
    for (id, entries) in [(1, 2), (2, 3), (3, 64), (4, 1024)] {
        let mut pair = bench.create_pair(id, entries);
        let depth = (entries - 1).min(100);
        let mut expected = Vec::new();
        for round in 0..(3 * entries / depth + 3) {
            expected.clear();
            for _ in 0..depth {
                let entry = blocks(u64::from(round % 64), 1, DATA, 0);
                expected.push(bench.put(&mut pair, io_opcode::READ, entry));
            }
            bench.ring_tail(&pair);
            for id in &expected {
                let done = bench.reap(&mut pair);
                assert_eq!((status(&done), done.result().cid()), (Status::Success, *id));
            }
        }
        let sent = u64::from(3 * entries / depth + 3) * u64::from(depth);
        eventually(|| (bench.interrupts(id.into()) == sent).then_some(()));
    }
    assert_eq!(bench.findings.total(), 0);
}

#[test]
fn a_completion_waits_for_room_in_its_queue() {
    let mut bench = Bench::new(read_only(512));
    let mut pair = bench.create_pair(1, 4);
    let small = bench.create_pair(2, 2);
    // A second submission queue on the completion queue of two entries.
    let cdw11 = CreateSubmissionQueueDword11::new()
        .with_pc(true)
        .with_cqid(2)
        .into_bits();
    let entry = SubmissionEntry {
        prp1: LISTS,
        cdw10: 15 << 16 | 3,
        cdw11,
        ..Default::default()
    };
    assert_eq!(
        status(&bench.admin(admin_opcode::CREATE_SUBMISSION_QUEUE, entry)),
        Status::Success
    );
    let mut both = Pair {
        id: 3,
        submission: LISTS,
        completion: small.completion,
        ..Pair::new(3, 0, 16)
    };
    for _ in 0..10 {
        bench.put(&mut both, io_opcode::READ, blocks(0, 1, DATA, 0));
    }
    bench.ring_tail(&both);
    both = Pair { entries: 2, ..both };
    let mut seen = Vec::new();
    for _ in 0..10 {
        // Other queues go on while this one is full.
        bench.read_blocks(&mut pair, 0, 1);
        let done = eventually(|| bench.poll(&mut both));
        seen.push(done.result().cid());
        bench.write(regs::DOORBELLS + 8 * 2 + 4, both.head);
    }
    assert_eq!(seen, (0x100..0x10a).collect::<Vec<_>>());
    assert_eq!(bench.findings.total(), 0);
}

#[test]
#[ignore = "a measurement: cargo test --release -p machine -- --ignored --nocapture throughput"]
fn throughput() {
    let len = 256 << 20;
    let file = tempfile::tempfile().unwrap();
    file.set_len(len).unwrap();
    let mut bench = Bench::new(NvmeConfig::new(file, len, Medium::ReadOnly));
    let mut pair = bench.create_pair(1, 64);
    let (prp1, prp2) = bench.prp(0, 1 << 20);
    let commands = len >> 20;
    let mut pass = || {
        let started = Instant::now();
        let (mut sent, mut done) = (0, 0);
        while done < commands {
            while sent < commands && sent - done < 32 {
                bench.put(
                    &mut pair,
                    io_opcode::READ,
                    blocks(sent * 2048, 2048, prp1, prp2),
                );
                sent += 1;
                bench.ring_tail(&pair);
            }
            std::thread::sleep(Duration::from_micros(500));
            while let Some(completion) = bench.poll(&mut pair) {
                assert_eq!(status(&completion), Status::Success);
                bench.ring_head(&pair);
                done += 1;
            }
        }
        len as f64 / started.elapsed().as_secs_f64() / 1e9
    };
    // The first passes fill the host's page cache.
    let rates: Vec<f64> = (0..6).map(|_| pass()).collect();
    println!("{rates:.2?} GB/s");
    assert!(rates.into_iter().fold(0.0, f64::max) > 2.0);
}
