//! QEMU's virtio disk, driven by the published crate `virtio-drivers` through `dmamap`, behind every kind of IOMMU.

mod support;

use std::convert::Infallible;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::Duration;

use dmamap::buffer::BufferError;
use dmamap::device::{Device, Figures};
use dmamap::pci::{BusMaster, Function};
use dmamap::platform::{FrameRequest, Platform};
use dmamap::system::Protection;
use drivers::virtio::virtio_drivers::device::blk::VirtIOBlk;
use drivers::virtio::{
    InstallError, PciTransport, ShareError, Slot, SlotHal, VirtioBlock, VirtioBlockError,
    VirtioStartError,
};
use drivers::virtio_slot;
use hosted::Hosted;
use journeys::virtio_disk::read_virtio_disk;
use qemu::{Disk, Medium};
use support::{Rig, bytes_at, test_file};

const MIB: u64 = 1 << 20;

/// Each kind of IOMMU, and none.
const BOARDS: [&str; 10] = [
    "q35-vtd",
    "q35-vtd-second-stage",
    "q35-vtd-first-stage",
    "q35-amd",
    "q35-virtio",
    "arm-smmu-stage1",
    "arm-smmu-stage2",
    "riscv-platform",
    "riscv-pci",
    "q35",
];

fn boot(board: &str, file: &File, medium: Medium) -> Option<Rig> {
    let file = file.try_clone().expect("a file can be shared");
    Rig::boot(board, |config| config.with_disk(Disk::virtio(file, medium)))
}

fn function(rig: &Rig) -> Function<Hosted> {
    let found = rig.computer.virtio_disks().next();
    found.expect("the computer has the disk").clone()
}

fn attach(rig: &Rig) -> Device<Hosted> {
    let (system, function) = (rig.computer.system(), function(rig));
    let attached = match rig.computer.has_iommu() {
        true => system.attach(&function, Protection::Strict),
        // SAFETY: QEMU's disk keeps to the addresses its driver gives it, which are of live mappings.
        false => unsafe { system.attach_trusted(&function, Protection::Identity) },
    };
    attached.expect("the disk attaches")
}

fn start<S: Slot<Platform = Hosted>>(rig: &mut Rig) -> VirtioBlock<S> {
    let (device, function) = (attach(rig), function(rig));
    VirtioBlock::start(device, &function, rig.computer.resources_mut()).expect("the disk starts")
}

fn assert_nothing_is_lent(figures: Figures) {
    let left = (
        figures.live_mappings,
        figures.live_bytes,
        figures.quarantined_bytes,
    );
    assert_eq!((left, figures.maps - figures.unmaps), ((0, 0, 0), 0));
}

/// Stops a disk that has had its requests answered, and checks that it was left nothing.
fn stop<S: Slot<Platform = Hosted>>(disk: VirtioBlock<S>, rig: Rig) {
    let device = disk.stop().expect("nobody else uses it");
    assert_nothing_is_lent(device.figures());
    assert!(S::place().is_empty());
    device.detach().expect("it is detached");
    rig.finish();
}

fn test_bytes(at: u64, len_bytes: u64) -> Vec<u8> {
    let mut bytes = vec![0; len_bytes as usize];
    bytes_at(at, &mut bytes);
    bytes
}

#[test]
fn a_disk_is_read_whole() {
    virtio_slot! { struct Slot(Hosted); }
    let file = test_file(3 * MIB + 512);
    for board in BOARDS {
        let Some(mut rig) = boot(board, &file, Medium::ReadOnly) else {
            return;
        };
        assert_eq!(rig.computer.has_iommu(), board != "q35", "{board}");
        let mut disk = start::<Slot>(&mut rig);
        assert_eq!(disk.capacity_sectors() * 512, 3 * MIB + 512, "{board}");
        assert!(disk.is_read_only(), "{board}");
        let mut at = 0;
        let read = read_virtio_disk(&mut disk, |bytes| {
            let wanted = test_bytes(at, bytes.len() as u64);
            assert!(bytes == wanted, "{board}: it differs from byte {at} on");
            at += bytes.len() as u64;
            Ok::<(), Infallible>(())
        });
        let report = read.expect(board);
        assert_eq!(
            (at, report.len_bytes),
            (3 * MIB + 512, 3 * MIB + 512),
            "{board}"
        );
        // The request, the data, the answer.
        assert_eq!((report.requests, report.maps), (25, 3 * 25), "{board}");
        // Of single requests nothing is left between them: only the queue.
        assert_eq!(disk.figures().live_mappings, 2, "{board}");
        stop(disk, rig);
    }
}

#[test]
fn a_disk_is_written_whole_and_its_file_has_it() {
    virtio_slot! { struct Slot(Hosted); }
    for board in BOARDS {
        let file = tempfile::tempfile().expect("a temporary file");
        file.set_len(2 * MIB).expect("it can be longer");
        let Some(mut rig) = boot(board, &file, Medium::ReadWrite) else {
            return;
        };
        let mut disk = start::<Slot>(&mut rig);
        let wanted = test_bytes(MIB, 2 * MIB);
        disk.write(0, &wanted).expect(board);
        let mut found = vec![0; wanted.len()];
        // Written when the disk says so, without a flush.
        file.read_exact_at(&mut found, 0).expect("it is read");
        assert!(found == wanted, "{board}: the file differs");
        found.fill(0);
        disk.read(0, &mut found).expect(board);
        assert!(found == wanted, "{board}: it reads otherwise");
        stop(disk, rig);
    }
}

#[test]
fn memory_that_does_not_begin_at_a_page_is_read_into_and_its_neighbours_are_not_touched() {
    virtio_slot! { struct Slot(Hosted); }
    let file = test_file(MIB);
    let Some(mut rig) = boot("q35-vtd", &file, Medium::ReadOnly) else {
        return;
    };
    let mut disk = start::<Slot>(&mut rig);
    let mut memory = vec![0xee; 3 * 512 + 26];
    disk.read(7, &mut memory[13..13 + 3 * 512])
        .expect("it is read");
    assert!(memory[13..13 + 3 * 512] == test_bytes(7 * 512, 3 * 512));
    assert!(
        memory[..13]
            .iter()
            .chain(&memory[13 + 3 * 512..])
            .all(|&byte| byte == 0xee)
    );
    stop(disk, rig);
}

#[test]
fn what_a_disk_cannot_do_is_refused_before_it_is_asked() {
    virtio_slot! { struct Slot(Hosted); }
    let file = test_file(MIB);
    let Some(mut rig) = boot("q35-vtd", &file, Medium::ReadOnly) else {
        return;
    };
    let mut disk = start::<Slot>(&mut rig);
    assert_eq!(disk.write(0, &[0; 512]), Err(VirtioBlockError::ReadOnly));
    let part = disk.read(0, &mut [0; 100]);
    assert_eq!(part, Err(VirtioBlockError::PartOfSector { len_bytes: 100 }));
    for first in [2047, u64::MAX] {
        let past = VirtioBlockError::OutOfDisk {
            first,
            sectors: 2,
            capacity: 2048,
        };
        assert_eq!(disk.read(first, &mut [0; 1024]), Err(past));
    }
    disk.read(2046, &mut [0; 1024])
        .expect("the last two sectors are there");
    stop(disk, rig);
}

#[test]
fn a_disk_that_may_not_reach_memory_is_given_up_in_time_and_starts_again() {
    virtio_slot! { struct Slot(Hosted); }
    let file = test_file(MIB);
    let Some(mut rig) = boot("q35-vtd", &file, Medium::ReadOnly) else {
        return;
    };
    let mut disk = start::<Slot>(&mut rig);
    disk.set_timeout(Duration::from_millis(200));
    function(&rig).disable_bus_master();
    let mut sector = [0; 512];
    assert_eq!(disk.read(0, &mut sector), Err(VirtioBlockError::TimedOut));
    assert_eq!(
        disk.read(0, &mut sector),
        Err(VirtioBlockError::TimedOut),
        "it stays so"
    );
    let device = disk.stop().expect("nobody else uses it");
    assert_nothing_is_lent(device.figures());
    device.detach().expect("it is detached");

    let mut disk = start::<Slot>(&mut rig);
    disk.read(0, &mut sector).expect("it is read");
    assert!(sector[..] == test_bytes(0, 512));
    stop(disk, rig);
}

#[test]
fn without_memory_for_its_requests_a_disk_is_stopped_and_says_why() {
    virtio_slot! { struct Slot(Hosted); }
    let file = test_file(MIB);
    for board in ["q35-vtd", "q35"] {
        let Some(mut rig) = boot(board, &file, Medium::ReadOnly) else {
            return;
        };
        let mut disk = start::<Slot>(&mut rig);
        let mut taken = Vec::new();
        for count in (0..=18).rev().map(|log2| 1 << log2) {
            while let Ok(frames) = rig.hosted.allocate_frames(FrameRequest::new(count)) {
                taken.push(frames);
            }
        }
        let refused = disk.read(0, &mut [0; 512]);
        for frames in taken {
            // SAFETY: taken above, and never used.
            unsafe { rig.hosted.free_frames(frames) };
        }
        let Err(VirtioBlockError::Share(ShareError::Buffer(BufferError::OutOfFrames(_)))) = refused
        else {
            panic!("{board}: {refused:?}");
        };
        assert_eq!(function(&rig).read_bus_master(), BusMaster::Off, "{board}");
        assert_eq!(disk.read(0, &mut [0; 512]), refused, "{board}: it stays so");
        stop(disk, rig);
    }
}

#[test]
fn the_crates_own_calls_work_with_all_the_features_it_knows() {
    virtio_slot! { struct Slot(Hosted); }
    for board in BOARDS {
        let file = tempfile::tempfile().expect("a temporary file");
        file.set_len(MIB).expect("it can be longer");
        let Some(mut rig) = boot(board, &file, Medium::ReadWrite) else {
            return;
        };
        let (device, function) = (attach(&rig), function(&rig));
        Slot::place()
            .install(device, &function)
            .expect("the slot is free");
        let tree = rig.computer.resources_mut();
        let transport = PciTransport::open(rig.hosted, &function, tree, 0).expect(board);
        let mut disk = VirtIOBlk::<SlotHal<Slot>, _>::new(transport).expect(board);
        let wanted = test_bytes(0, 64 << 10);
        disk.write_blocks(8, &wanted).expect(board);
        disk.flush().expect(board);
        let mut found = vec![0; wanted.len()];
        disk.read_blocks(8, &mut found).expect(board);
        assert!(found == wanted, "{board}: it reads otherwise");
        disk.device_id(&mut [0; 20]).expect(board);
        drop(disk);
        let device = Slot::place()
            .remove()
            .expect("no queue lives")
            .expect("it is there");
        assert_nothing_is_lent(device.figures());
        device.detach().expect("it is detached");
        drop(function);
        rig.finish();
    }
}

#[test]
fn a_slot_has_room_for_one_device_and_keeps_it_while_its_queue_lives() {
    virtio_slot! { struct Slot(Hosted); }
    let (file, other_file) = (test_file(MIB), test_file(MIB));
    let Some(mut rig) = boot("q35-vtd", &file, Medium::ReadOnly) else {
        return;
    };
    let Some(mut other_rig) = boot("q35-vtd", &other_file, Medium::ReadOnly) else {
        return;
    };
    let mut disk = start::<Slot>(&mut rig);
    let (device, other) = (attach(&other_rig), function(&other_rig));
    let second = VirtioBlock::<Slot>::start(device, &other, other_rig.computer.resources_mut());
    let refused = second.err().expect("the slot is taken");
    assert!(matches!(
        refused.error,
        VirtioStartError::Install(InstallError::Taken)
    ));
    let device = refused.device.expect("it comes back");
    device.detach().expect("it is detached");
    drop(other);
    other_rig.finish();

    let in_use = Slot::place().remove().expect_err("the queue lives");
    assert_eq!(in_use.live_queues, 2);
    disk.read(0, &mut [0; 512]).expect("it goes on");
    stop(disk, rig);
}

#[test]
fn dropping_a_disk_detaches_it() {
    virtio_slot! { struct Slot(Hosted); }
    let file = test_file(MIB);
    for board in ["q35-vtd", "q35"] {
        let Some(mut rig) = boot(board, &file, Medium::ReadOnly) else {
            return;
        };
        drop(start::<Slot>(&mut rig));
        assert!(Slot::place().is_empty(), "{board}");
        drop(attach(&rig));
        rig.finish();
    }
}

#[test]
fn another_device_is_no_disk() {
    virtio_slot! { struct Slot(Hosted); }
    let Some(mut rig) = Rig::boot("q35-vtd", qemu::QemuConfig::with_edu) else {
        return;
    };
    let edu = rig.computer.edus().next().expect("it has one").clone();
    let device = rig
        .computer
        .system()
        .attach(&edu, Protection::Strict)
        .expect("it attaches");
    let started = VirtioBlock::<Slot>::start(device, &edu, rig.computer.resources_mut());
    let refused = started.err().expect("it is none");
    assert!(
        matches!(refused.error, VirtioStartError::NotVirtio { .. }),
        "{refused}"
    );
    refused
        .device
        .expect("it comes back")
        .detach()
        .expect("it is detached");
    drop(edu);
    rig.finish();
}
