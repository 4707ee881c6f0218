//! Boot: what a computer knows of itself before any driver runs.

use hw::pci::config::class;
use journeys::Needs;
use journeys::boot::{BootError, BootOptions, IommuUse, MachineDescription, boot};
use machine::{Iommu, MachineConfig};
use rig::Rig;
use rig::disks::{blank_disk, test_disk};

#[test]
fn the_tree_names_memory_windows_configuration_space_and_units() {
    let rig = Rig::boot(MachineConfig::default().with_disk(test_disk(4096)));
    let tree = rig.computer.resources().to_string();
    for name in [
        "System RAM",
        "PCI Bus 0000:00",
        "PCI MMCONFIG",
        "dmar0",
        "dmar1",
        "0000:01:00.0",
    ] {
        assert!(tree.contains(name), "{name} is not in\n{tree}");
    }
    rig.finish();
}

#[test]
fn every_disk_and_the_educational_device_are_found() {
    let config = MachineConfig::default()
        .with_disk(test_disk(4096))
        .with_disk(blank_disk(4096));
    let rig = Rig::boot(config);
    assert_eq!(rig.computer.disks().count(), 2);
    assert!(rig.computer.disks().all(|disk| disk.class() == class::NVME));
    assert_eq!(rig.computer.edus().count(), 1);
    assert!(rig.computer.topology().problems().is_empty());
    let all = Needs::DISK
        .and(Needs::EDU)
        .and(Needs::IOMMU)
        .and(Needs::HIGH_MEMORY)
        .and(Needs::RESERVED)
        .and(Needs::NEAR_MEMORY);
    assert_eq!(Needs::of(&rig.computer), all);
    rig.finish();
}

#[test]
fn units_that_are_there_can_be_left_alone() {
    let rig = Rig::boot_without_iommu(MachineConfig::default());
    assert!(!rig.computer.has_iommu());
    rig.finish();
}

#[test]
fn a_machine_without_units_has_no_iommu() {
    let rig = Rig::boot(MachineConfig::default().with_iommu(Iommu::None));
    assert!(!rig.computer.has_iommu());
    rig.finish();
}

#[test]
fn damaged_tables_end_the_boot_with_an_error() {
    let rig = Rig::boot_without_iommu(MachineConfig::default());
    let mut bridges = rig
        .kernel
        .host_bridges()
        .expect("the machine's bridge is sound");
    let rsdp = rig.kernel.rsdp().expect("the machine has ACPI");
    let description = MachineDescription {
        rsdp: rsdp.checked_add(1).expect("it is no last address"),
        host_bridge: bridges.remove(0),
    };
    let options = BootOptions {
        iommu: IommuUse::Ignored,
        ..BootOptions::default()
    };
    // SAFETY: the bridge is the machine's; no table is found where the description points.
    let failed = unsafe { boot(rig.kernel, &description, &rig.kernel, options) };
    assert!(matches!(failed.err(), Some(BootError::Firmware(_))));
    rig.finish();
}
