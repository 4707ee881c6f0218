//! QEMU's units remember what they were not told to forget: they are judges that bite.

mod support;

#[path = "../../journeys/tests/support/astray.rs"]
mod astray;
#[path = "../../journeys/tests/support/stale.rs"]
mod stale;

use journeys::boot::BootOptions;
use qemu::QemuConfig;

fn check(board: &str) {
    if let Some(qemu) = support::start(board, QemuConfig::with_edu) {
        stale::a_flush_left_out_shows(board, qemu, BootOptions::default());
    }
}

#[test]
fn a_flush_left_out_shows_on_vtd() {
    check("q35-vtd");
}

#[test]
fn a_flush_left_out_shows_on_amd_vi() {
    check("q35-amd");
}

#[test]
fn a_flush_left_out_shows_on_the_riscv_iommu() {
    check("riscv-platform");
}
