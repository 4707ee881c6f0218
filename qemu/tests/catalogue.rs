//! Every journey of the catalogue on every board.

mod support;

use journeys::catalogue::journeys;
use qemu::{Board, Disk, Medium};
use support::{Rig, test_file};

fn every_journey_on(board: &str) {
    let with = |config: qemu::QemuConfig| {
        config
            .with_edu()
            .with_disk(Disk::nvme(test_file(1 << 20), Medium::ReadOnly))
    };
    let Some(mut rig) = Rig::boot(board, with) else {
        return;
    };
    assert!(Board::named(board).is_some());
    for journey in journeys::<hosted::Hosted>() {
        if let Err(unmet) = journey.needs.check(&rig.computer) {
            println!("{board}: {}: {unmet}", journey.name);
            continue;
        }
        // SAFETY: nobody else drives the computer.
        let outcome = unsafe { journey.run(&mut rig.computer) };
        outcome.unwrap_or_else(|error| panic!("{board}: {}: {error}", journey.name));
        println!("{board}: {}: passed", journey.name);
    }
    rig.finish_after_faults();
}

#[test]
fn every_journey_is_made_on_vtd() {
    every_journey_on("q35-vtd");
}

#[test]
fn every_journey_is_made_on_virtio() {
    every_journey_on("q35-virtio");
}

#[test]
fn every_journey_is_made_on_virtio_of_arm() {
    every_journey_on("arm-virtio");
}

#[test]
fn every_journey_is_made_on_amd_vi() {
    every_journey_on("q35-amd");
}

#[test]
fn every_journey_is_made_on_an_smmu_with_stage_1() {
    every_journey_on("arm-smmu-stage1");
}

#[test]
fn every_journey_is_made_on_an_smmu_with_stage_2() {
    every_journey_on("arm-smmu-stage2");
}

#[test]
fn every_journey_is_made_on_an_smmu_with_both_stages() {
    every_journey_on("arm-smmu-nested");
}

#[test]
fn every_journey_is_made_on_vtd_with_first_stage_tables() {
    every_journey_on("q35-vtd-first-stage");
}

#[test]
fn every_journey_is_made_on_vtd_with_second_stage_tables() {
    every_journey_on("q35-vtd-second-stage");
}

#[test]
fn every_journey_is_made_on_a_riscv_iommu_on_pci() {
    every_journey_on("riscv-pci");
}

#[test]
fn every_journey_is_made_on_a_riscv_iommu_of_the_platform() {
    every_journey_on("riscv-platform");
}
