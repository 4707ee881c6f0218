//! What QEMU's devicetree says of the boards that have one, against what this crate knows of them.

mod support;

use std::collections::BTreeMap;

use board::hardware::{Hardware, WindowKind};
use drivers::nvme::Settings;
use hosted::Hosted;
use journeys::boot::{BootOptions, boot_from_devicetree};
use journeys::unmap_blocks_device::unmap_blocks_device;
use qemu::{Architecture, Board, Disk, Medium, QemuConfig};
use rig::disks::{read_and_check, test_file};
use support::{Rig, start};

/// The properties of every node of a flattened devicetree, by path (Devicetree specification 0.4, chapter 5).
fn nodes(blob: &[u8]) -> BTreeMap<String, BTreeMap<String, Vec<u8>>> {
    let word = |at: usize| u32::from_be_bytes(blob[at..at + 4].try_into().unwrap()) as usize;
    let text = |at: usize| {
        let end = at
            + blob[at..]
                .iter()
                .position(|&byte| byte == 0)
                .expect("names end");
        String::from_utf8(blob[at..end].to_vec()).expect("names are text")
    };
    assert_eq!(word(0), 0xd00d_feed, "no devicetree");
    let (mut at, strings) = (word(8), word(12));
    let mut path: Vec<String> = Vec::new();
    let mut nodes: BTreeMap<String, BTreeMap<String, Vec<u8>>> = BTreeMap::new();
    loop {
        let token = word(at);
        at += 4;
        match token {
            1 => {
                let name = text(at);
                at = (at + name.len() + 1).next_multiple_of(4);
                path.push(name);
                nodes.insert(path.join("/"), BTreeMap::new());
            }
            2 => drop(path.pop()),
            3 => {
                let (len, name) = (word(at), text(strings + word(at + 4)));
                let value = blob[at + 8..at + 8 + len].to_vec();
                at = (at + 8 + len).next_multiple_of(4);
                nodes.get_mut(&path.join("/")).unwrap().insert(name, value);
            }
            4 => {}
            9 => return nodes,
            token => panic!("token {token}"),
        }
    }
}

fn cells(value: &[u8]) -> Vec<u64> {
    let cells = value.chunks_exact(4);
    cells
        .map(|cell| u32::from_be_bytes(cell.try_into().unwrap()).into())
        .collect()
}

fn pair(cells: &[u64]) -> u64 {
    cells[0] << 32 | cells[1]
}

#[test]
fn windows_and_memory_are_as_the_devicetree_says() {
    for ram_gib in [1, 20] {
        for board in Board::all() {
            let with = |config: QemuConfig| config.with_ram(ram_gib << 30);
            let Some(qemu) = start(board.name(), with) else {
                return;
            };
            let Some(blob) = qemu.devicetree() else {
                assert_eq!(
                    board.architecture(),
                    Architecture::X86_64,
                    "{}",
                    board.name()
                );
                continue;
            };
            let nodes = nodes(&blob);
            let named = |prefix: &str| {
                let is_it = |path: &&String| path.rsplit('/').next().unwrap().starts_with(prefix);
                let path = nodes.keys().find(is_it);
                &nodes[path.unwrap_or_else(|| panic!("{}: no {prefix}", board.name()))]
            };

            let mut told: Vec<(WindowKind, u64, u64, u64)> = cells(&named("pci")["ranges"])
                .chunks_exact(7)
                .map(|range| {
                    let kind = match range[0] >> 24 & 3 {
                        1 => WindowKind::Io,
                        2 => WindowKind::Memory,
                        // Not said to be prefetchable, but above what 32 bits reach.
                        3 => WindowKind::PrefetchableMemory,
                        space => panic!("space {space}"),
                    };
                    (
                        kind,
                        pair(&range[1..]),
                        pair(&range[3..]),
                        pair(&range[5..]),
                    )
                })
                .collect();
            let mut known: Vec<_> = qemu.host_bridges()[0]
                .windows
                .iter()
                .map(|window| (window.kind, window.bus, window.phys, window.len_bytes))
                .collect();
            told.sort_by_key(|window| window.2);
            known.sort_by_key(|window| window.2);
            assert_eq!(told, known, "{} with {ram_gib} GiB", board.name());

            let memory = cells(&named("memory@")["reg"]);
            let region = &qemu.ram().regions()[0];
            assert_eq!(
                (pair(&memory), pair(&memory[2..])),
                (region.start, region.end - region.start)
            );
        }
    }
}

#[test]
fn the_devicetree_has_the_boards_iommu() {
    for (board, compatible) in [
        ("arm-smmu-stage1", Some("arm,smmu-v3")),
        ("arm-smmu-nested", Some("arm,smmu-v3")),
        ("arm-virtio", Some("virtio,pci-iommu")),
        ("arm", None),
        ("riscv-pci", Some("riscv,pci-iommu")),
        ("riscv-platform", Some("riscv,iommu")),
        ("riscv", None),
    ] {
        let Some(qemu) = start(board, |config| config) else {
            return;
        };
        let nodes = nodes(&qemu.devicetree().expect("this board has a devicetree"));
        let (mut maps, mut units) = (0, Vec::new());
        for (path, properties) in &nodes {
            maps += usize::from(properties.contains_key("iommu-map"));
            let is_unit = properties.contains_key("#iommu-cells");
            if is_unit {
                units.push((
                    path,
                    String::from_utf8_lossy(&properties["compatible"]).into_owned(),
                ));
            }
        }
        println!("{board}: {units:?}");
        let found = units
            .first()
            .map(|(_, compatible)| compatible.split('\0').next().unwrap());
        assert_eq!(found, compatible, "{board}");
        assert_eq!(maps, units.len(), "{board}");
    }
}

/// `board` with an educational device and a disk of [`DISK_BYTES`], booted without a look at its ACPI tables.
fn boot_without_acpi(board: &str) -> Option<Rig> {
    let qemu = start(board, |config| {
        let disk = Disk::nvme(test_file(DISK_BYTES), Medium::ReadOnly);
        config.with_edu().with_disk(disk)
    })?;
    let hosted = Hosted::boot(qemu.clone()).expect("the kernel boots");
    let blob = hosted.devicetree().expect("the board has a devicetree");
    // SAFETY: the devicetree is the board's own, which exists for this rig alone.
    let computer = unsafe { boot_from_devicetree(hosted, &blob, BootOptions::default()) };
    let computer = match computer {
        Ok(computer) => computer,
        Err(error) => panic!("{board}: no boot: {error}; {:?}", qemu.failure()),
    };
    Some(Rig {
        qemu,
        hosted,
        computer,
    })
}

const DISK_BYTES: u64 = 2 << 20;

/// The boards with an IOMMU that their devicetree describes.
const DESCRIBED: [&str; 6] = [
    "arm-smmu-stage1",
    "arm-smmu-stage2",
    "arm-smmu-nested",
    "arm-virtio",
    "riscv-platform",
    "riscv-pci",
];

#[test]
fn the_devicetree_alone_is_enough_to_confine_a_device() {
    for board in DESCRIBED {
        let Some(mut rig) = boot_without_acpi(board) else {
            return;
        };
        assert_eq!(rig.computer.system().unit_count(), 1, "{board}");
        let refused = unmap_blocks_device(&mut rig.computer);
        let attempt = refused.unwrap_or_else(|error| panic!("{board}: {error}"));
        let refused = attempt.refused().expect("it is refused");
        let edu = rig.computer.edus().next().expect("it is there").requester();
        assert_eq!(refused.fault.requester.id, edu, "{board}");
        rig.finish_after_faults();
    }
}

#[test]
fn the_devicetree_alone_is_enough_to_read_a_disk() {
    for board in DESCRIBED {
        let Some(mut rig) = boot_without_acpi(board) else {
            return;
        };
        assert!(rig.computer.has_iommu(), "{board}");
        let mut disk = rig.start_disk(0, Settings::default());
        read_and_check(&mut disk, DISK_BYTES);
        disk.shutdown()
            .expect("the disk stops")
            .detach()
            .expect("it is detached");
        rig.finish();
    }
}
