//! The SMMU of QEMU's Arm boards, with either stage, and what it says of what it refuses.

mod support;

use drivers::nvme::Settings;
use journeys::unmap_blocks_device::unmap_blocks_device;
use qemu::{Disk, Medium};
use support::{Rig, read_and_check, test_file};

const MIB: u64 = 1 << 20;

/// `F_TRANSLATION`.
const NO_TRANSLATION: u16 = 0x10;

const BOARDS: [&str; 3] = ["arm-smmu-stage1", "arm-smmu-stage2", "arm-smmu-nested"];

#[test]
fn a_disk_is_read_through_either_stage() {
    for board in BOARDS {
        let with = |config: qemu::QemuConfig| {
            config.with_disk(Disk::nvme(test_file(4 * MIB), Medium::ReadOnly))
        };
        let Some(mut rig) = Rig::boot(board, with) else {
            return;
        };
        assert!(rig.computer.has_iommu(), "{board}");
        let mut disk = rig.start_disk(0, Settings::default());
        read_and_check(&mut disk, 4 * MIB);
        disk.shutdown()
            .expect("the disk stops")
            .detach()
            .expect("it is detached");
        rig.finish();
    }
}

#[test]
fn an_unmapped_page_is_out_of_reach_and_the_event_says_so() {
    for board in BOARDS {
        let Some(mut rig) = Rig::boot(board, qemu::QemuConfig::with_edu) else {
            return;
        };
        let refused = unmap_blocks_device(&mut rig.computer).expect(board);
        assert_eq!(refused.fault.reason.code, NO_TRANSLATION, "{board}");
        rig.finish_after_faults();
    }
}
