//! Disks written by DMA, read back, and compared.

use std::convert::Infallible;
use std::io::Read;

use drivers::nvme::{CommandError, Settings};
use journeys::disk::{
    DiskError, DiskOptions, VerifyDiskError, WriteDiskError, verify_disk, write_disk,
};
use machine::MachineConfig;
use machine::device::nvme::Medium;
use machine::device::nvme::NvmeConfig;
use rig::Rig;
use rig::disks::{blank_disk, bytes_at, test_disk};

/// A source of test bytes from the disk's start on.
fn test_bytes() -> impl FnMut(&mut [u8]) -> Result<(), Infallible> {
    let mut at = 0;
    move |into| {
        bytes_at(at, into);
        at += into.len() as u64;
        Ok(())
    }
}

fn whole(len_bytes: u64) -> DiskOptions {
    DiskOptions {
        len_bytes: Some(len_bytes),
        ..DiskOptions::default()
    }
}

#[test]
fn what_is_written_is_on_the_disk_and_reads_back() {
    for (depth, queues, len_bytes) in [
        (1, 1, 513),
        (2, 1, 1),
        (32, 4, (7 << 20) + 77),
        (256, 2, 5 << 20),
    ] {
        let config = blank_disk(len_bytes);
        let mut file = config.file.try_clone().expect("a file can be shared");
        let mut rig = Rig::boot(MachineConfig::default().with_disk(config));
        let settings = Settings {
            queue_depth: depth,
            queues,
            ..Settings::default()
        };
        let mut disk = rig.start_disk(0, settings);
        let report = write_disk(&mut disk, &whole(len_bytes), test_bytes()).expect("it is written");
        assert_eq!(report.len_bytes, len_bytes);
        verify_disk(&mut disk, &whole(len_bytes), test_bytes()).expect("it reads back");
        disk.shutdown()
            .expect("the disk shuts down")
            .detach()
            .expect("the disk detaches");
        rig.finish();

        let mut found = Vec::new();
        file.read_to_end(&mut found).expect("the file can be read");
        let mut expected = vec![0; len_bytes as usize];
        bytes_at(0, &mut expected);
        assert!(found == expected);
    }
}

#[test]
fn a_disk_with_fewer_bus_addresses_than_buffers_is_written_all_the_same() {
    let mut config = blank_disk(6 << 20);
    config.address_lines = 21;
    let mut rig = Rig::boot(MachineConfig::default().with_disk(config));
    let mut disk = rig.start_disk(0, Settings::default());
    write_disk(&mut disk, &whole(6 << 20), test_bytes()).expect("it is written");
    verify_disk(&mut disk, &whole(6 << 20), test_bytes()).expect("it reads back");
    disk.shutdown()
        .expect("the disk shuts down")
        .detach()
        .expect("the disk detaches");
    rig.finish();
}

#[test]
fn two_disks_work_side_by_side() {
    let len_bytes = (4 << 20) + 5;
    let config = MachineConfig::default().with_disk(test_disk(len_bytes));
    let mut rig = Rig::boot(config.with_disk(blank_disk(len_bytes)));
    let mut from = rig.start_disk(0, Settings::default());
    let mut to = rig.start_disk(
        1,
        Settings {
            queues: 2,
            ..Settings::default()
        },
    );
    rig::disks::read_and_check(&mut from, len_bytes);
    write_disk(&mut to, &whole(len_bytes), test_bytes()).expect("it is written");
    verify_disk(&mut to, &whole(len_bytes), test_bytes()).expect("it reads back");
    for disk in [from, to] {
        disk.shutdown()
            .expect("the disk shuts down")
            .detach()
            .expect("the disk detaches");
    }
    rig.finish();
}

#[test]
fn a_difference_is_told_with_its_place() {
    let mut rig = Rig::boot(MachineConfig::default().with_disk(test_disk(1 << 20)));
    let mut disk = rig.start_disk(0, Settings::default());
    let mut at = 0;
    let verdict = verify_disk(&mut disk, &whole(1 << 20), |into: &mut [u8]| {
        bytes_at(at, into);
        let wrong = 700_001;
        if (at..at + into.len() as u64).contains(&wrong) {
            into[(wrong - at) as usize] ^= 0x10;
        }
        at += into.len() as u64;
        Ok::<(), Infallible>(())
    });
    assert!(matches!(
        verdict,
        Err(VerifyDiskError::Differs {
            at_byte: 700_001,
            ..
        })
    ));
    disk.shutdown()
        .expect("the disk shuts down")
        .detach()
        .expect("the disk detaches");
    rig.finish();
}

#[test]
fn a_flipped_bit_is_found() {
    let mut config = test_disk(1 << 20);
    config.misbehaviour.flip_bit_of_byte = Some(777_777);
    let mut rig = Rig::boot(MachineConfig::default().with_disk(config));
    let mut disk = rig.start_disk(0, Settings::default());
    let verdict = verify_disk(&mut disk, &whole(1 << 20), test_bytes());
    assert!(matches!(verdict, Err(VerifyDiskError::Differs { .. })));
    disk.shutdown()
        .expect("the disk shuts down")
        .detach()
        .expect("the disk detaches");
    rig.finish();
}

#[test]
fn a_disk_that_cannot_be_written_says_so_and_all_memory_comes_back() {
    let config = NvmeConfig::new(rig::disks::test_file(4 << 20), 4 << 20, Medium::ReadOnly);
    let mut rig = Rig::boot(MachineConfig::default().with_disk(config));
    let mut disk = rig.start_disk(
        0,
        Settings {
            queues: 2,
            ..Settings::default()
        },
    );
    let verdict = write_disk(&mut disk, &whole(4 << 20), test_bytes());
    assert!(matches!(
        verdict,
        Err(WriteDiskError::Disk(DiskError::Command {
            at_byte: 0,
            error: CommandError::Status { .. }
        }))
    ));
    assert_eq!(disk.outstanding(), 0);
    rig::disks::read_and_check(&mut disk, 4 << 20);
    disk.shutdown()
        .expect("the disk shuts down")
        .detach()
        .expect("the disk detaches");
    rig.finish();
}
