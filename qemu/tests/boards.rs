//! Every board, as firmware leaves it: tables, buses, memory, windows.

mod support;

use std::collections::BTreeSet;

use board::hardware::{Hardware, Width};
use dmamap::addr::{BusAddr, PhysAddr};
use dmamap::platform::{FrameRequest, Platform};
use drivers::iommu_testdev::Verdict;
use firmware::{Signature, Tables, Unreadable};
use hw::iommu_testdev::{
    BUS_LOW, DEVICE_ID, DOORBELL, LENGTH, Outcome, PATTERN, PHYS_LOW, RESULT, TRIGGER, VENDOR_ID,
};
use qemu::{Architecture, Board, Disk, Medium, Qemu, QemuConfig};
use rig::disks::test_file;
use support::{Rig, start};

const GIB: u64 = 1 << 30;

fn tables(qemu: &Qemu) -> (BTreeSet<String>, u64) {
    let memory = |phys: u64, into: &mut [u8]| {
        let read = qemu.ram().read(phys, into);
        read.map_err(|_| Unreadable { phys })
    };
    let rsdp = qemu.rsdp().expect("every board has ACPI");
    let tables = Tables::find(rsdp, &memory).expect("the tables are sound");
    let names = tables.entries().iter().map(|entry| {
        // Loading one checks its length and sum.
        tables
            .load(entry.signature)
            .expect("the table is sound")
            .expect("it is there");
        String::from_utf8_lossy(&entry.signature.0).into_owned()
    });
    let names = names.collect();
    let mcfg = tables.mcfg().expect("MCFG is sound").expect("there is one");
    (names, mcfg.allocations()[0].bus0_phys)
}

#[test]
fn firmwares_tables_name_the_iommu_of_every_board() {
    let expected = |board: &Board| match board.name() {
        "q35-vtd" | "q35-vtd-second-stage" | "q35-vtd-first-stage" => Some("DMAR"),
        "q35-amd" => Some("IVRS"),
        "q35-virtio" | "arm-virtio" => Some("VIOT"),
        name if name.starts_with("arm") => Some("IORT"),
        "riscv-pci" | "riscv-platform" => Some("RIMT"),
        "q35" | "riscv" => None,
        name => panic!("what has {name}?"),
    };
    for board in Board::all() {
        let Some(qemu) = start(board.name(), |config| config) else {
            return;
        };
        let (names, ecam) = tables(&qemu);
        let iommus = ["DMAR", "IVRS", "VIOT", "IORT", "RIMT"];
        println!("{:22} ECAM {ecam:#x} {names:?}", board.name());
        let found = iommus.into_iter().find(|name| names.contains(*name));
        assert_eq!(found, expected(board), "{}", board.name());
        let bridge = match board.architecture() {
            Architecture::X86_64 => 0x29c0_8086,
            Architecture::Aarch64 | Architecture::Riscv64 => 0x0008_1b36,
        };
        assert_eq!(qemu.read(ecam, Width::Dword), bridge, "{}", board.name());
        assert_eq!(qemu.failure(), None);
    }
}

#[test]
fn the_devices_asked_for_are_on_the_bus_of_every_board() {
    for board in Board::all() {
        let with = |config: QemuConfig| {
            let nvme = Disk::nvme(test_file(1 << 20), Medium::ReadOnly);
            let virtio = Disk::virtio(test_file(1 << 20), Medium::ReadOnly);
            config
                .with_edu()
                .with_disk(nvme)
                .with_disk(virtio)
                .with_iommu_testdevs(2)
        };
        let Some(qemu) = start(board.name(), with) else {
            return;
        };
        let (_, ecam) = tables(&qemu);
        let functions: Vec<u64> = (0..256)
            .map(|function| qemu.read(ecam + (function << 12), Width::Dword))
            .collect();
        for (index, id) in functions
            .iter()
            .enumerate()
            .filter(|(_, id)| **id != 0xffff_ffff)
        {
            println!(
                "{:22} 00:{:02x}.{} {id:08x}",
                board.name(),
                index >> 3,
                index & 7
            );
        }
        let count = |id| functions.iter().filter(|&&found| found == id).count();
        // Edu, virtio block, IOMMU test device, and a root port with the NVMe controller behind it.
        let found = [0x11e8_1234, 0x1042_1af4, 0x0005_1b36, 0x000c_1b36].map(count);
        assert_eq!(found, [1, 1, 2, 1], "{}", board.name());
        assert_eq!(qemu.failure(), None);
    }
}

#[test]
fn the_smmu_has_the_stages_of_its_board() {
    for (board, stages) in [
        ("arm-smmu-stage1", 0b10),
        ("arm-smmu-stage2", 0b01),
        ("arm-smmu-nested", 0b11),
    ] {
        let Some(qemu) = start(board, |config| config) else {
            return;
        };
        let iort = load(&qemu, *b"IORT").expect("Arm boards have one");
        let number = |at: usize, len: usize| {
            iort[at..at + len]
                .iter()
                .rev()
                .fold(0, |number, &byte| number << 8 | u64::from(byte))
        };
        // IORT nodes: type, length in bytes 1 and 2; an SMMUv3 (4) has its registers' address at byte 16.
        let mut node = number(40, 4) as usize;
        while iort[node] != 4 {
            node += number(node + 1, 2) as usize;
        }
        // SMMU_IDR0.S1P and S2P (SMMUv3 manual, 6.3.1).
        let idr0 = qemu.read(number(node + 16, 8), Width::Dword);
        assert_eq!(idr0 & 0b11, stages, "{board}: {idr0:#x}");
    }
}

fn load(qemu: &Qemu, signature: [u8; 4]) -> Option<Vec<u8>> {
    let memory = |phys: u64, into: &mut [u8]| {
        let read = qemu.ram().read(phys, into);
        read.map_err(|_| Unreadable { phys })
    };
    let rsdp = qemu.rsdp().expect("every board has ACPI");
    let tables = Tables::find(rsdp, &memory).expect("the tables are sound");
    tables
        .load(Signature(signature))
        .expect("the table is sound")
}

/// An IOMMU that nobody has set up lets devices reach memory, or does not.
#[test]
fn what_devices_reach_at_reset_depends_on_the_iommu() {
    for board in Board::all() {
        let Some(qemu) = start(board.name(), |config| config.with_iommu_testdevs(1)) else {
            return;
        };
        let (_, ecam) = tables(&qemu);
        let functions = (0..256).map(|function| ecam + (function << 12));
        let id = u64::from(DEVICE_ID) << 16 | u64::from(VENDOR_ID);
        let mut found = functions.filter(|config| qemu.read(*config, Width::Dword) == id);
        let config = found.next().expect("the device is on the root bus");
        let bar = qemu.host_bridges()[0].windows[0].bus;
        qemu.write(config + 0x10, Width::Dword, bar);
        qemu.write(config + 4, Width::Word, 0x6);
        let phys = qemu.ram().regions().last().expect("there is memory").start + (32 << 20);
        let registers = [
            (BUS_LOW, phys),
            (PHYS_LOW, phys),
            (LENGTH, 64),
            (DOORBELL, 1),
        ];
        for (register, value) in registers {
            qemu.write(bar + register, Width::Dword, value);
        }
        qemu.read(bar + TRIGGER, Width::Dword);
        let outcome = Outcome::from_code(qemu.read(bar + RESULT, Width::Dword) as u32);
        let is_blocked = board.name().contains("virtio") || board.name().starts_with("riscv-");
        let expected = if is_blocked {
            Outcome::WriteFailed
        } else {
            Outcome::Passed
        };
        println!("{:22} {outcome:?}", board.name());
        assert_eq!(outcome, Some(expected), "{}", board.name());
    }
}

/// QEMU names in its tables the buses that have numbers when it is asked for them.
#[test]
fn buses_behind_ports_are_numbered_before_the_tables_are_made() {
    for board in ["q35", "arm", "riscv", "q35-virtio", "arm-virtio"] {
        let with = |config: QemuConfig| {
            let disk = || Disk::nvme(test_file(1 << 20), Medium::ReadOnly);
            config.with_disk(disk()).with_edu().with_disk(disk())
        };
        let Some(qemu) = start(board, with) else {
            return;
        };
        if let Some(viot) = load(&qemu, *b"VIOT") {
            // The node behind the one of the IOMMU is a range of functions, its last one at byte 14 (ACPI 6.5, 5.2.34).
            assert_eq!(
                viot[64..][14..16],
                [0xff, 0x02],
                "{board}: bus 2 is the last"
            );
            continue;
        }
        drop(qemu);
        // Whoever enumerates later comes to the same numbers.
        let Some(rig) = Rig::boot(board, with) else {
            return;
        };
        let disks: Vec<String> = rig
            .computer
            .disks()
            .map(|disk| disk.address().to_string())
            .collect();
        assert_eq!(disks, ["0000:01:00.0", "0000:02:00.0"], "{board}");
        rig.finish();
    }
}

#[test]
fn memory_is_where_qemu_has_it_also_above_four_gib() {
    for board in ["q35", "arm", "riscv"] {
        let with = |config: QemuConfig| config.with_ram(5 * GIB).with_iommu_testdevs(1);
        let Some(mut rig) = Rig::boot(board, with) else {
            return;
        };
        let total = rig.hosted.frames().total * 4096;
        assert!(
            (5 * GIB - (4 << 20)..5 * GIB).contains(&total),
            "{board}: {total:#x} bytes"
        );
        let mut testdev = support::start_testdev(&mut rig, 0);
        for last in [u64::MAX, 4 * GIB - 1] {
            let request = FrameRequest {
                last: PhysAddr::new(last),
                ..FrameRequest::new(1)
            };
            let frame = rig
                .hosted
                .allocate_frames(request)
                .expect("there is memory");
            let phys = frame.start();
            assert_eq!(
                phys.as_u64() >= 4 * GIB,
                last == u64::MAX,
                "{board}: {phys}"
            );
            // SAFETY: without an IOMMU the bus address is the physical one, of a frame that is the test's.
            let verdict = unsafe { testdev.write_at(BusAddr::new(phys.as_u64()), phys, 64) };
            assert_eq!(verdict, Ok(Verdict::Arrived), "{board}: {phys}");
            // SAFETY: as above; the device has written, synchronously, and is done.
            let seen = unsafe { rig.hosted.frame_pointer(phys).cast::<u32>().read_volatile() };
            assert_eq!(seen, PATTERN, "{board}: {phys}");
            assert_eq!(
                rig.qemu.ram().load_u32(phys.as_u64()),
                Ok(PATTERN),
                "{board}: {phys}"
            );
            // SAFETY: the device does not write any more.
            unsafe { rig.hosted.free_frames(frame) };
        }
        testdev.stop().detach().expect("it is detached");
        rig.finish();
    }
}

#[test]
fn ports_are_reached_through_memory_on_x86() {
    let Some(qemu) = start("q35", |config| config) else {
        return;
    };
    let io = &qemu.host_bridges()[0].windows[2];
    let port = |port: u64| io.phys - io.bus + port;
    qemu.write(port(0xcf8), Width::Dword, 0x8000_0000);
    assert_eq!(qemu.read(port(0xcfc), Width::Dword), 0x29c0_8086);
    assert_eq!(qemu.read(port(0xcfe), Width::Word), 0x29c0);
    assert_eq!(
        qemu.read(port(0xcf8), Width::Qword),
        u64::MAX,
        "no port has 64 bits"
    );
    assert_eq!(qemu.failure(), None);
}
