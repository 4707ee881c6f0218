//! QEMU's RISC-V IOMMU, as a platform device and as a PCI function, by either stage.

mod support;

use dmamap::system::{Settings as UnitSettings, Stage};
use drivers::nvme::Settings;
use hosted::Hosted;
use journeys::boot::{BootOptions, MachineDescription, boot};
use journeys::catalogue::journeys;
use journeys::unmap_blocks_device::unmap_blocks_device;
use qemu::{Disk, Medium};
use support::{Rig, read_and_check, start, test_file};

const BOARDS: [&str; 2] = ["riscv-platform", "riscv-pci"];
const MIB: u64 = 1 << 20;

/// `board` with an educational device and a disk of `disk_len_bytes`, translated by `stage`.
fn boot_by(board: &str, stage: Stage, disk_len_bytes: u64) -> Option<Rig> {
    let qemu = start(board, |config| {
        config
            .with_edu()
            .with_disk(Disk::nvme(test_file(disk_len_bytes), Medium::ReadOnly))
    })?;
    let hosted = Hosted::boot(qemu.clone()).expect("the kernel boots");
    let mut bridges = hosted.host_bridges().expect("the bridge is sound");
    let description = MachineDescription {
        rsdp: hosted.rsdp().expect("the board has ACPI"),
        host_bridge: bridges.remove(0),
    };
    let options = BootOptions {
        units: UnitSettings {
            stage: Some(stage),
            ..UnitSettings::default()
        },
        ..BootOptions::default()
    };
    // SAFETY: the description is the board's own, which exists for this rig alone.
    let computer = unsafe { boot(hosted, &description, &hosted, options) };
    let computer = computer.unwrap_or_else(|error| panic!("no boot: {error}"));
    assert!(computer.has_iommu());
    Some(Rig {
        qemu,
        hosted,
        computer,
    })
}

#[test]
fn every_journey_of_the_catalogue_is_made_by_either_stage() {
    for board in BOARDS {
        for stage in [Stage::First, Stage::Second] {
            let Some(mut rig) = boot_by(board, stage, MIB) else {
                return;
            };
            for journey in journeys::<Hosted>() {
                if let Err(unmet) = journey.needs.check(&rig.computer) {
                    println!("{board}, {stage:?}: {}: {unmet}", journey.name);
                    continue;
                }
                // SAFETY: nobody else drives the computer.
                let outcome = unsafe { journey.run(&mut rig.computer) };
                outcome.unwrap_or_else(|error| {
                    panic!("{board}, {stage:?}: {}: {error}", journey.name)
                });
            }
            rig.finish_after_faults();
        }
    }
}

#[test]
fn a_disk_is_read_by_either_stage() {
    for board in BOARDS {
        for stage in [Stage::First, Stage::Second] {
            let Some(mut rig) = boot_by(board, stage, 2 * MIB) else {
                return;
            };
            let mut disk = rig.start_disk(0, Settings::default());
            read_and_check(&mut disk, 2 * MIB);
            disk.shutdown()
                .expect("the disk stops")
                .detach()
                .expect("it is detached");
            rig.finish();
        }
    }
}

#[test]
fn a_refusal_tells_who_how_and_why() {
    for board in BOARDS {
        for (stage, code, text) in [
            (Stage::First, 15, "write/AMO page fault"),
            (Stage::Second, 23, "write/AMO guest-page fault"),
        ] {
            let Some(mut rig) = boot_by(board, stage, MIB) else {
                return;
            };
            let refused = unmap_blocks_device(&mut rig.computer).expect("the device is blocked");
            let reason = refused.fault.reason;
            assert_eq!((reason.code, reason.text), (code, text), "{board}");
            rig.finish_after_faults();
        }
    }
}
