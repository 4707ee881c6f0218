//! QEMU's virtio disk, driven by the published crate `virtio-drivers` through `dmamap`, behind every kind of IOMMU.

mod support;

use std::convert::Infallible;
use std::os::unix::fs::FileExt;

use drivers::virtio::virtio_drivers::device::blk::VirtIOBlk;
use drivers::virtio::{PciTransport, Slot, SlotHal, Terms};
use drivers::virtio_slot;
use hosted::Hosted;
use journeys::virtio_disk::read_virtio_disk;
use qemu::Medium;
use rig::disks::{blank_file, test_file};
use support::virtio::{assert_nothing_is_lent, attach, boot, function, start, stop, test_bytes};

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
        let file = blank_file(2 * MIB);
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
fn the_crates_own_calls_work_with_the_features_of_disks_that_it_knows() {
    virtio_slot! { struct Slot(Hosted); }
    for board in BOARDS {
        let file = blank_file(MIB);
        let Some(mut rig) = boot(board, &file, Medium::ReadWrite) else {
            return;
        };
        let (device, function) = (attach(&rig), function(&rig));
        Slot::place()
            .install(device, &function)
            .expect("the slot is free");
        let tree = rig.computer.resources_mut();
        let transport = PciTransport::open(Slot::place(), tree, Terms::new()).expect(board);
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
