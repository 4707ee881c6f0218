//! QEMU's units remember what they were not told to forget: they are judges that bite.

mod support;

use dmamap::system::Stage;
use journeys::boot::BootOptions;
use qemu::QemuConfig;
use rig::stale;

fn check(board: &str, stage: Option<Stage>) {
    if let Some(qemu) = support::start(board, QemuConfig::with_edu) {
        let mut options = BootOptions::default();
        options.units.stage = stage;
        stale::a_flush_left_out_shows(board, qemu, options);
    }
}

#[test]
fn a_flush_left_out_shows_on_vtd() {
    check("q35-vtd", None);
}

#[test]
fn a_flush_left_out_shows_on_vtd_in_scalable_mode() {
    check("q35-vtd-first-stage", None);
    check("q35-vtd-second-stage", None);
}

#[test]
fn a_flush_left_out_shows_on_the_smmu() {
    check("arm-smmu-stage1", None);
    check("arm-smmu-stage2", None);
}

#[test]
fn a_flush_left_out_shows_on_amd_vi() {
    check("q35-amd", None);
}

#[test]
fn a_flush_left_out_shows_on_the_riscv_iommu() {
    check("riscv-platform", Some(Stage::First));
    check("riscv-platform", Some(Stage::Second));
}
