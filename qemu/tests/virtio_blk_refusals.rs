//! What virtio disks and the slots they stand in refuse, and how they are given up.

mod support;

use std::time::Duration;

use dmamap::buffer::BufferError;
use dmamap::platform::{FrameRequest, Platform};
use dmamap::system::Protection;
use drivers::virtio::{
    Fault, InstallError, RequestError, ShareError, Slot, VirtioBlock, VirtioBlockError,
    VirtioStartError,
};
use drivers::virtio_slot;
use hosted::Hosted;
use qemu::Medium;
use rig::disks::test_file;
use support::Rig;
use support::virtio::{assert_nothing_is_lent, attach, boot, function, start, stop, test_bytes};

const MIB: u64 = 1 << 20;

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
    let given_up = RequestError::Stopped(Fault::TimedOut { queue: 0 }).into();
    assert_eq!(disk.read(0, &mut sector), Err(given_up));
    assert_eq!(disk.read(0, &mut sector), Err(given_up), "it stays so");
    let device = disk.stop().expect("nobody else uses it");
    assert_nothing_is_lent(device.figures());
    device.detach().expect("it is detached");

    let mut disk = start::<Slot>(&mut rig);
    disk.read(0, &mut sector).expect("it is read");
    assert!(sector[..] == test_bytes(0, 512));
    stop(disk, rig);
}

#[test]
fn without_memory_for_a_request_the_disk_is_not_told_of_it_and_goes_on() {
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
        let mut sector = [0; 512];
        let refused = disk.read(0, &mut sector);
        for frames in taken {
            // SAFETY: taken above, and never used.
            unsafe { rig.hosted.free_frames(frames) };
        }
        let Err(VirtioBlockError::Request(RequestError::Share(ShareError::Buffer(
            BufferError::OutOfFrames(_),
        )))) = refused
        else {
            panic!("{board}: {refused:?}");
        };
        disk.read(0, &mut sector).expect(board);
        assert!(sector[..] == test_bytes(0, 512), "{board}");
        stop(disk, rig);
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
