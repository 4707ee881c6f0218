//! Commands and their memory: what is refused, what fails, and that every buffer comes back.

use dmamap::buffer::{DmaBuffer, ScatteredBuffer};
use dmamap::pci::MsixError;
use drivers::nvme::{
    Blocks, CommandError, Completion, CompletionMode, DiskMemory, Nvme, Operation, PollingReason,
    Settings, StartError,
};
use hosted::Hosted;
use hw::nvme::Status;
use machine::MachineConfig;
use machine::device::nvme::{Medium, NvmeConfig};
use rig::Rig;
use rig::disks::{bytes_at, test_disk, test_file};

type Disk = Nvme<Hosted, DmaBuffer<Hosted>>;

fn buffer(rig: &Rig, len_bytes: u64) -> DmaBuffer<Hosted> {
    DmaBuffer::allocate(rig.kernel, len_bytes).expect("there is memory")
}

/// Interrupts the first disk asked for, the admin queue's masked ones counted.
fn interrupts(rig: &Rig) -> u64 {
    rig.machine.disks()[0].statistics().interrupts
}

fn blocks(first: u64, count: u32) -> Blocks {
    Blocks { first, count }
}

fn expected(at: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    bytes_at(at, &mut bytes);
    bytes
}

fn end<B: DiskMemory<Hosted>>(disk: Nvme<Hosted, B>, rig: Rig) {
    disk.shutdown()
        .expect("the disk shuts down")
        .detach()
        .expect("the disk detaches");
    rig.finish();
}

#[test]
fn the_disk_tells_who_it_is_and_how_large() {
    let mut rig = Rig::boot(MachineConfig::default().with_disk(test_disk(1000)));
    let disk: Disk = rig.start_disk(
        0,
        Settings {
            queues: 3,
            ..Settings::default()
        },
    );
    assert_eq!(disk.info().serial, "nvme");
    assert_eq!(disk.namespace().blocks(), 2);
    assert_eq!(disk.namespace().block_bytes(), 512);
    assert_eq!(disk.max_transfer_bytes(), 1 << 20);
    assert_eq!((disk.queue_count(), disk.queue_depth()), (3, 32));
    assert_eq!(disk.completion_mode(), &CompletionMode::Interrupt);
    end(disk, rig);
}

#[test]
fn contiguous_and_scattered_memory_are_read_alike() {
    let len_bytes = 700 << 10;
    let mut rig = Rig::boot(MachineConfig::default().with_disk(test_disk(len_bytes)));
    let mut disk: Disk = rig.start_disk(0, Settings::default());
    let memory = buffer(&rig, len_bytes);
    let read = disk.read(blocks(0, 1400), memory).expect("it is read");
    assert!(read.as_slice() == expected(0, len_bytes as usize));
    let device = disk.shutdown().expect("the disk shuts down");

    let mut disk: Nvme<_, ScatteredBuffer<_>> = rig
        .start_on(device, 0, Settings::default())
        .expect("the disk comes up again");
    drop(read);
    let memory = ScatteredBuffer::allocate(rig.kernel, len_bytes).expect("there is memory");
    let read = disk.read(blocks(0, 1400), memory).expect("it is read");
    assert!(read.as_slice() == expected(0, len_bytes as usize));
    drop(read);
    end(disk, rig);
}

#[test]
fn tickets_can_be_completed_in_any_order() {
    let mut rig = Rig::boot(MachineConfig::default().with_disk(test_disk(64 << 10)));
    let mut disk: Disk = rig.start_disk(
        0,
        Settings {
            queues: 2,
            ..Settings::default()
        },
    );
    let mut tickets = Vec::new();
    for n in 0..16 {
        let memory = buffer(&rig, 4096);
        let ticket = disk.submit_read(n as usize % 2, blocks(n * 8, 8), memory);
        tickets.push((n, ticket.expect("there is room")));
    }
    tickets.rotate_left(5);
    tickets.reverse();
    for (n, ticket) in tickets {
        let memory = disk.complete(ticket).expect("it is read");
        assert!(memory.as_slice() == expected(n * 4096, 4096));
    }
    end(disk, rig);
}

#[test]
fn what_the_disk_cannot_do_is_refused_with_the_buffer() {
    let mut config = test_disk(64 << 10);
    config.max_transfer_pages_log2 = 2;
    let mut rig = Rig::boot(MachineConfig::default().with_disk(config));
    let mut disk: Disk = rig.start_disk(
        0,
        Settings {
            queue_depth: 1,
            ..Settings::default()
        },
    );
    assert_eq!(disk.max_transfer_bytes(), 16 << 10);

    let memory = buffer(&rig, 32 << 10);
    let refused = disk
        .submit_read(1, blocks(0, 1), memory)
        .expect_err("there is one queue");
    assert!(matches!(
        refused.error,
        CommandError::NoSuchQueue {
            queue: 1,
            queues: 1
        }
    ));
    let memory = refused.buffer.expect("it comes back");
    for (wanted, what) in [
        (blocks(0, 0), "none"),
        (blocks(128, 1), "past the end"),
        (blocks(u64::MAX, 2), "wrap"),
    ] {
        let memory = buffer(&rig, 4096);
        let refused = disk.submit_read(0, wanted, memory).expect_err(what);
        assert!(
            matches!(refused.error, CommandError::OutOfRange { .. }),
            "{what}"
        );
        assert!(refused.buffer.is_some());
    }
    let refused = disk
        .submit_read(0, blocks(0, 33), memory)
        .expect_err("more than MDTS");
    assert!(matches!(
        refused.error,
        CommandError::TransferTooLong { .. }
    ));
    drop(refused);
    let refused = disk
        .submit_write(0, blocks(0, 9), buffer(&rig, 4096))
        .expect_err("too short");
    assert!(matches!(refused.error, CommandError::BufferTooShort { .. }));
    drop(refused);

    let first = disk
        .submit_read(0, blocks(0, 1), buffer(&rig, 512))
        .expect("there is room");
    let refused = disk
        .submit_read(0, blocks(1, 1), buffer(&rig, 512))
        .expect_err("one is out");
    assert!(matches!(
        refused.error,
        CommandError::QueueFull { queue: 0, depth: 1 }
    ));
    assert!(refused.buffer.is_some());
    drop(refused);
    disk.complete(first).expect("it is read");
    end(disk, rig);
}

#[test]
fn a_broken_block_fails_its_command_alone_and_names_the_status() {
    let mut config = test_disk(64 << 10);
    config.misbehaviour.broken_block = Some(9);
    let mut rig = Rig::boot(MachineConfig::default().with_disk(config));
    let mut disk: Disk = rig.start_disk(0, Settings::default());
    let first = disk
        .submit_read(0, blocks(0, 8), buffer(&rig, 4096))
        .expect("there is room");
    let broken = disk
        .submit_read(0, blocks(8, 8), buffer(&rig, 4096))
        .expect("there is room");
    let third = disk
        .submit_read(0, blocks(16, 8), buffer(&rig, 4096))
        .expect("there is room");
    disk.complete(third).expect("it is read");
    let failed = disk.complete(broken).expect_err("a block of it is broken");
    match failed.error {
        CommandError::Status {
            operation: Operation::Read,
            status,
        } => {
            assert_eq!(status.status(), Some(Status::UnrecoveredReadError));
        }
        other => panic!("{other}"),
    }
    assert!(failed.buffer.is_some());
    drop(failed.buffer);
    disk.complete(first).expect("it is read");
    assert_eq!(disk.lost(), None);
    end(disk, rig);
}

#[test]
fn writes_last_after_a_flush() {
    let file = test_file(64 << 10);
    let config = NvmeConfig::new(
        file.try_clone().expect("shared"),
        64 << 10,
        Medium::ReadWrite,
    );
    let mut rig = Rig::boot(MachineConfig::default().with_disk(config));
    let mut disk: Disk = rig.start_disk(0, Settings::default());
    let mut memory = buffer(&rig, 8192);
    memory.as_mut_slice().fill(0xee);
    let memory = disk.write(blocks(16, 16), memory).expect("it is written");
    disk.flush().expect("it is flushed");
    drop(memory);
    let read = disk
        .read(blocks(15, 18), buffer(&rig, 9216))
        .expect("it is read");
    assert!(read.as_slice()[..512] == expected(15 * 512, 512));
    assert!(read.as_slice()[512..8704].iter().all(|&byte| byte == 0xee));
    assert!(read.as_slice()[8704..] == expected(32 * 512, 512));
    drop(read);
    end(disk, rig);
}

#[test]
fn polling_reads_the_same_and_raises_no_interrupt() {
    let mut rig = Rig::boot(MachineConfig::default().with_disk(test_disk(64 << 10)));
    let settings = Settings {
        completion: Completion::Polling,
        ..Settings::default()
    };
    let mut disk: Disk = rig.start_disk(0, settings);
    assert_eq!(
        disk.completion_mode(),
        &CompletionMode::Polling(PollingReason::Chosen)
    );
    let before = interrupts(&rig);
    let read = disk
        .read(blocks(0, 128), buffer(&rig, 64 << 10))
        .expect("it is read");
    assert!(read.as_slice() == expected(0, 64 << 10));
    drop(read);
    assert_eq!(interrupts(&rig), before);
    end(disk, rig);
}

#[test]
fn each_completion_raises_the_interrupt_of_its_queue() {
    let mut rig = Rig::boot(MachineConfig::default().with_disk(test_disk(64 << 10)));
    let mut disk: Disk = rig.start_disk(
        0,
        Settings {
            queues: 2,
            ..Settings::default()
        },
    );
    let before = interrupts(&rig);
    for n in 0..10 {
        let ticket = disk.submit_read(n % 2, blocks(0, 8), buffer(&rig, 4096));
        disk.complete(ticket.expect("there is room"))
            .expect("it is read");
    }
    assert_eq!(interrupts(&rig) - before, 10);
    end(disk, rig);
}

#[test]
fn a_message_address_out_of_reach_leads_to_polling_and_is_told() {
    let mut config = test_disk(64 << 10);
    config.address_lines = 28;
    let mut rig = Rig::boot(MachineConfig::default().with_disk(config));
    let mut disk: Disk = rig.start_disk(0, Settings::default());
    assert!(matches!(
        disk.completion_mode(),
        CompletionMode::Polling(PollingReason::Msix(MsixError::MessageOutOfReach { .. }))
    ));
    let read = disk
        .read(blocks(0, 128), buffer(&rig, 64 << 10))
        .expect("it is read");
    assert!(read.as_slice() == expected(0, 64 << 10));
    drop(read);
    end(disk, rig);
}

#[test]
fn wide_doorbell_strides_and_short_queues_are_obeyed() {
    let mut config = test_disk(64 << 10);
    config.doorbell_stride_log2 = 5;
    config.queue_entries = 4;
    config.io_queues = 2;
    let mut rig = Rig::boot(MachineConfig::default().with_disk(config));
    let mut disk: Disk = rig.start_disk(
        0,
        Settings {
            queues: 8,
            ..Settings::default()
        },
    );
    assert_eq!((disk.queue_count(), disk.queue_depth()), (2, 3));
    for _ in 0..5 {
        let mut tickets = Vec::new();
        for n in 0..6u64 {
            let ticket = disk.submit_read(n as usize % 2, blocks(n * 8, 8), buffer(&rig, 4096));
            tickets.push(ticket.expect("there is room"));
        }
        for (n, ticket) in tickets.into_iter().enumerate() {
            let memory = disk.complete(ticket).expect("it is read");
            assert!(memory.as_slice() == expected(n as u64 * 4096, 4096));
        }
    }
    end(disk, rig);
}

#[test]
fn a_namespace_that_is_not_there_is_an_error_and_the_device_comes_back() {
    let mut rig = Rig::boot(MachineConfig::default().with_disk(test_disk(4096)));
    let device = rig.attach_disk(0);
    let settings = Settings {
        namespace: 2,
        ..Settings::default()
    };
    let failed = rig
        .start_on::<DmaBuffer<_>>(device, 0, settings)
        .err()
        .expect("there is one");
    assert!(matches!(
        failed.error,
        StartError::NoSuchNamespace { namespace: 2, .. }
    ));
    let disk: Disk = rig
        .start_on(failed.device, 0, Settings::default())
        .expect("the disk comes up");
    end(disk, rig);
}

#[test]
fn the_registers_of_a_running_disk_are_held() {
    let config = MachineConfig::default()
        .with_disk(test_disk(4096))
        .with_disk(test_disk(4096));
    let mut rig = Rig::boot(config);
    let disk: Disk = rig.start_disk(0, Settings::default());
    assert!(rig.computer.resources().to_string().contains(" : nvme\n"));
    // Another device cannot take the first one's registers.
    let other = rig.attach_disk(1);
    let failed = rig
        .start_on::<DmaBuffer<_>>(other, 0, Settings::default())
        .err();
    let failed = failed.expect("function and device differ");
    assert!(matches!(failed.error, StartError::WrongFunction { .. }));
    failed.device.detach().expect("the device detaches");
    end(disk, rig);
}

#[test]
fn a_disk_that_is_dropped_in_flight_gives_everything_back() {
    let mut config = test_disk(1 << 20);
    config.misbehaviour.delay = std::time::Duration::from_millis(20);
    let mut rig = Rig::boot(MachineConfig::default().with_disk(config));
    let mut disk: Disk = rig.start_disk(0, Settings::default());
    for n in 0..8 {
        let ticket = disk.submit_read(0, blocks(n * 64, 64), buffer(&rig, 32 << 10));
        drop(ticket.expect("there is room"));
    }
    drop(disk);
    rig.finish();
}

#[test]
fn a_trusted_disk_that_is_dropped_in_flight_writes_nothing_afterwards() {
    let mut config = test_disk(1 << 20);
    config.misbehaviour.delay = std::time::Duration::from_millis(5);
    let mut rig = Rig::boot_without_iommu(MachineConfig::default().with_disk(config));
    let device = rig.attach_trusted_disk(0);
    let mut disk: Disk = rig
        .start_on(device, 0, Settings::default())
        .expect("it comes up");
    for n in 0..8 {
        let ticket = disk.submit_read(0, blocks(n * 64, 64), buffer(&rig, 32 << 10));
        drop(ticket.expect("there is room"));
    }
    drop(disk);
    // Freed frames are poisoned: a late write would be noticed.
    std::thread::sleep(std::time::Duration::from_millis(100));
    rig.finish();
}

#[test]
fn a_ticket_of_another_disk_is_refused() {
    let config = MachineConfig::default()
        .with_disk(test_disk(4096))
        .with_disk(test_disk(4096));
    let mut rig = Rig::boot(config);
    let mut first: Disk = rig.start_disk(0, Settings::default());
    let mut second: Disk = rig.start_disk(1, Settings::default());
    let ticket = first
        .submit_read(0, blocks(0, 1), buffer(&rig, 512))
        .expect("there is room");
    let other = second
        .submit_read(0, blocks(0, 1), buffer(&rig, 512))
        .expect("there is room");
    let refused = second.complete(ticket).expect_err("it is the first disk's");
    assert!(matches!(refused.error, CommandError::ForeignTicket));
    second.complete(other).expect("its own ticket is good");
    second
        .shutdown()
        .expect("the disk shuts down")
        .detach()
        .expect("the disk detaches");
    end(first, rig);
}
