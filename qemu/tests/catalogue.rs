//! Every journey of the catalogue on every board.

mod support;

use drivers::virtio_slot;
use hosted::Hosted;
use journeys::Needs;
use journeys::catalogue::{journeys, virtio_journeys};
use parking_lot::Mutex;
use qemu::{Board, Disk, Medium, VirtioDevice, looped_console, looped_network};
use rig::disks::test_file;
use support::Rig;

virtio_slot! { struct Place(Hosted); }

/// Whose device stands in the place: tests run at once.
static IN_PLACE: Mutex<()> = Mutex::new(());

/// What only some boards or no board of QEMU's has: a disk is pulled out in `life.rs`, and reserved addresses some IOMMUs
/// know none of.
const MAY_LACK: Needs = Needs::REMOVABLE.and(Needs::RESERVED);

fn every_journey_on(board: &str) {
    let with = |config: qemu::QemuConfig| {
        config
            .with_edu()
            .with_disk(Disk::nvme(test_file(1 << 20), Medium::ReadOnly))
            .with_disk(Disk::virtio(test_file(64 << 10), Medium::ReadWrite))
            .with_virtio(looped_network().expect("sockets"))
            .with_virtio(looped_console().expect("sockets"))
            .with_virtio(VirtioDevice::Rng)
            .with_virtio(VirtioDevice::Gpu)
            .with_ram(4 << 30)
    };
    let Some(mut rig) = Rig::boot(board, with) else {
        return;
    };
    let has_iommu = Board::named(board).is_some_and(Board::has_iommu);
    let may_lack = match has_iommu {
        true => MAY_LACK,
        false => MAY_LACK.and(Needs::IOMMU),
    };
    let virtio = virtio_journeys::<Place>();
    let of_virtio = virtio.each_ref().map(|journey| journey.name);
    for journey in journeys::<Hosted>().into_iter().chain(virtio) {
        if let Err(unmet) = journey.needs.check(&rig.computer) {
            assert!(may_lack.contains(unmet.lacking), "{board}: {unmet}");
            println!("{board}: {}: {unmet}", journey.name);
            continue;
        }
        let _alone = of_virtio.contains(&journey.name).then(|| IN_PLACE.lock());
        // SAFETY: nobody else drives the computer, and QEMU's devices do what they are told.
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

/// All but those that need translation.
#[test]
fn every_journey_is_made_without_an_iommu() {
    every_journey_on("q35");
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
