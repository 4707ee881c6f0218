//! A controller that is given up is stopped before its commands' memory comes back.

use std::thread;
use std::time::Duration;

use dmamap::buffer::DmaBuffer;
use drivers::nvme::{Blocks, CommandError, ControllerError, Nvme, Settings};
use hosted::Hosted;
use machine::device::nvme::Misbehaviour;
use machine::{Iommu, MachineConfig};
use rig::Rig;
use rig::disks::test_disk;

/// How long the disk takes for a command, and how long the driver waits for one.
const DELAY: Duration = Duration::from_millis(1500);
const PATIENCE: Duration = Duration::from_millis(300);

#[test]
fn a_trusted_disk_that_is_given_up_writes_nothing_afterwards() {
    // Nothing stands between this disk and memory: only that it was stopped keeps it away.
    let mut config = test_disk(1 << 20);
    config.misbehaviour = Misbehaviour {
        delay: DELAY,
        ..Misbehaviour::default()
    };
    let config = MachineConfig::default()
        .with_iommu(Iommu::None)
        .with_disk(config);
    let mut rig = Rig::boot(config);
    let device = rig.attach_trusted_disk(0);
    let settings = Settings {
        queues: 1,
        command_timeout: PATIENCE,
        ..Settings::default()
    };
    let mut disk: Nvme<Hosted, DmaBuffer<Hosted>> = rig
        .start_on(device, 0, settings)
        .expect("the disk comes up");
    let tickets: Vec<_> = (0..2)
        .map(|n| {
            let memory = DmaBuffer::allocate(rig.kernel, 4096).expect("there is memory");
            let blocks = Blocks {
                first: 8 * n,
                count: 8,
            };
            disk.submit_read(0, blocks, memory).expect("there is room")
        })
        .collect();
    let buffers: Vec<_> = tickets
        .into_iter()
        .map(|ticket| {
            let failed = disk.complete(ticket).expect_err("the disk is too slow");
            let error = failed.error;
            assert!(
                matches!(
                    error,
                    CommandError::Controller(ControllerError::TimedOut { .. })
                ),
                "{error}"
            );
            failed.buffer.expect("the memory comes back")
        })
        .collect();
    let contents = |buffers: &[DmaBuffer<Hosted>]| -> Vec<Vec<u8>> {
        buffers
            .iter()
            .map(|buffer| buffer.as_slice().to_vec())
            .collect()
    };
    let before = contents(&buffers);
    // The commands wait their turn in one queue, so the last would have been done by then.
    thread::sleep(DELAY * 5 / 2);
    assert!(
        contents(&buffers) == before,
        "the disk wrote to memory it had lost"
    );
    drop(buffers);
    drop(disk);
    rig.finish();
}
