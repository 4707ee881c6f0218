//! The journeys on QEMU's models, as they are.

mod support;

use drivers::nvme::Settings;
use qemu::{Disk, Medium};
use support::{Rig, read_and_check, test_file};

const MIB: u64 = 1 << 20;

#[test]
fn a_disk_is_read_through_vtd() {
    let with = |config: qemu::QemuConfig| {
        config.with_disk(Disk::nvme(test_file(16 * MIB), Medium::ReadOnly))
    };
    let Some(mut rig) = Rig::boot("q35-vtd", with) else {
        return;
    };
    assert!(rig.computer.has_iommu());
    let mut disk = rig.start_disk(0, Settings::default());
    let before = (rig.qemu.requests(), std::time::Instant::now());
    read_and_check(&mut disk, 16 * MIB);
    println!(
        "{} requests in {:?}",
        rig.qemu.requests() - before.0,
        before.1.elapsed()
    );
    disk.shutdown()
        .expect("the disk stops")
        .detach()
        .expect("it is detached");
    rig.finish();
}
