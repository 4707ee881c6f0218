//! Each allocation a disk's life makes fails in turn: every failure is an error, and everything taken is given back.

use dmamap::bridge::PeerForwarding;
use dmamap::buffer::DmaBuffer;
use dmamap::system::Protection;
use drivers::nvme::{Blocks, CompletionMode, Nvme, Settings};
use hosted::{FaultInjector, Hosted};
use journeys::Computer;
use journeys::boot::BootOptions;
use machine::{Machine, MachineConfig};
use rig::boot_kernel;
use rig::disks::{bytes_at, test_disk};

type Platform = FaultInjector<Hosted>;

/// Brings the disk up, reads four blocks, shuts it down; whether it came to the end.
fn life_of_a_disk(computer: &mut Computer<Platform>) -> Result<CompletionMode, String> {
    let platform = computer.platform();
    let function = computer
        .disks()
        .next()
        .expect("the machine has a disk")
        .clone();
    let device = computer
        .system()
        .attach(&function, Protection::Strict)
        .map_err(|error| error.to_string())?;
    let settings = Settings {
        queues: 2,
        queue_depth: 2,
        ..Settings::default()
    };
    let tree = computer.resources_mut();
    let mut disk: Nvme<Platform, DmaBuffer<Platform>> =
        Nvme::start(device, &function, tree, settings).map_err(|failed| failed.to_string())?;
    let mode = disk.completion_mode().clone();
    let buffer = DmaBuffer::allocate(platform, 2048).map_err(|error| error.to_string())?;
    let buffer = disk
        .read(Blocks { first: 1, count: 4 }, buffer)
        .map_err(|failed| failed.error.to_string())?;
    let mut expected = [0; 2048];
    bytes_at(512, &mut expected);
    assert!(buffer.as_slice() == expected);
    let device = disk.shutdown().map_err(|failed| failed.to_string())?;
    device.detach().map_err(|error| error.to_string())?;
    Ok(mode)
}

/// Frames of a block of bus addresses, and of what the lane of a CPU takes, without which its domain does.
const DONE_WITHOUT: u64 = 11;

#[test]
fn a_disk_survives_every_failed_allocation_and_leaks_nothing() {
    let machine =
        Machine::boot(MachineConfig::default().with_disk(test_disk(64 << 10))).expect("it boots");
    let hosted = Hosted::boot(machine.clone()).expect("the kernel boots");
    let injector = FaultInjector::new(hosted);
    let (options, peers) = (BootOptions::default(), PeerForwarding::Unknown);
    let computer = boot_kernel(hosted, injector, options, peers);
    let mut computer = computer.expect("the machine boots");
    life_of_a_disk(&mut computer).expect("nothing fails yet");

    let before = hosted.report();
    let is_as_before = |nth| {
        let after = hosted.report();
        let frames = (after.frames.in_use, before.frames.in_use);
        assert_eq!(frames.0, frames.1, "allocation {nth}");
        assert_eq!(
            after.scattered_mappings, before.scattered_mappings,
            "allocation {nth}"
        );
        assert_eq!(
            after.register_windows, before.register_windows,
            "allocation {nth}"
        );
        assert_eq!(after.interrupts, before.interrupts, "allocation {nth}");
    };
    let (mut errors, mut polled, mut spared) = (0, 0, 0);
    let failed = injector.fail_each_in_turn(|nth| {
        match life_of_a_disk(&mut computer) {
            Ok(CompletionMode::Interrupt) => spared += 1,
            // Without an interrupt the driver polls: nothing else may be lacking and the job still be done.
            Ok(_) => polled += 1,
            Err(_) => errors += 1,
        }
        is_as_before(nth);
    });
    assert!(failed > 20, "{failed}");
    assert_eq!(errors + polled + DONE_WITHOUT, failed);
    // And nothing fails at last.
    assert_eq!(spared, DONE_WITHOUT + 1);
    assert!(polled >= 2, "{polled}");

    // And all that follow the first that fails.
    let mut errors = 0;
    injector.exhaust_each_in_turn(|nth| {
        errors += u64::from(life_of_a_disk(&mut computer).is_err());
        is_as_before(nth);
    });
    assert!(errors > 20, "{errors}");

    let findings: Vec<String> = machine.findings().iter().map(ToString::to_string).collect();
    assert!(findings.is_empty(), "the models found: {findings:#?}");
    // SAFETY: every device was detached, and models obey their bus-master bit.
    unsafe { computer.system().shutdown() }.expect("the units stop");
    drop(computer);
    machine.shutdown();
    assert!(hosted.shutdown().is_clean());
}
