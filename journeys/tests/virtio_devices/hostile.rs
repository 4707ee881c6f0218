//! Devices that lie, stop, or are taken away: each is answered with a typed error, and leaves nothing behind.

use std::time::{Duration, Instant};

use drivers::virtio::{
    Fault, RequestError, Slot, VirtioBlock, VirtioBlockError, VirtioConsole, VirtioGpu,
    VirtioGpuError, VirtioNet, VirtioNetError, VirtioRng, VirtioStartError,
};
use drivers::virtio_slot;
use hosted::Hosted;
use hw::virtio::{block, console, entropy, gpu, net};
use machine::device::nvme::Medium;
use machine::device::virtio::{ConsoleEnd, Misbehaviour, VirtioKind};

use crate::{NEVER, attach, detach, with};
use rig::disks::test_file;

const SHORT: Duration = Duration::from_millis(150);

/// How long to wait for what comes to `fault`: only silence lasts to the end of it.
fn patience(fault: Fault) -> Duration {
    match fault {
        Fault::TimedOut { .. } | Fault::NeedsReset => SHORT,
        _ => NEVER,
    }
}

/// What each lie of a device comes to, told in queue `queue`.
fn lies(queue: u16) -> [(Misbehaviour, Fault); 8] {
    let wrong = Fault::WrongAnswer { queue };
    let late = Fault::TimedOut { queue };
    [
        (Misbehaviour::UnknownId, wrong),
        (Misbehaviour::HugeId, wrong),
        (Misbehaviour::Twice, wrong),
        (Misbehaviour::IndexJumps, wrong),
        (Misbehaviour::TooLong, wrong),
        (Misbehaviour::Silent, late),
        (Misbehaviour::SilentAndDeaf, late),
        (Misbehaviour::NeedsReset, Fault::NeedsReset),
    ]
}

#[test]
fn an_entropy_device_that_lies_is_given_up() {
    virtio_slot! { struct Place(Hosted); }
    for (misbehaviour, fault) in lies(0) {
        let mut rig = with(VirtioKind::Entropy, misbehaviour);
        let (device, function) = attach(&rig, entropy::DEVICE_TYPE, 0);
        let tree = rig.computer.resources_mut();
        let mut rng = VirtioRng::<Place>::start(device, &function, tree).expect("it starts");
        rng.set_timeout(patience(fault));
        let filled = rng.fill(&mut [0; 5000]);
        if fault == Fault::NeedsReset {
            // The first answer is one; whether it says it in time to be heard before the last is its own affair.
            let late = Fault::TimedOut { queue: 0 };
            let faults = [fault, late].map(|fault| Err(RequestError::Stopped(fault)));
            assert!(faults.contains(&filled), "{misbehaviour:?}: {filled:?}");
        } else {
            assert_eq!(
                filled,
                Err(RequestError::Stopped(fault)),
                "{misbehaviour:?}"
            );
        }
        assert_eq!(
            rng.fill(&mut [0; 8]),
            filled,
            "{misbehaviour:?}: it stays so"
        );
        detach(rng.stop().expect("nobody else uses it"));
        drop(function);
        rig.finish_after_faults();
    }
}

#[test]
fn an_entropy_device_that_gives_nothing_is_told_so() {
    virtio_slot! { struct Place(Hosted); }
    let mut rig = with(VirtioKind::Entropy, Misbehaviour::Empty);
    let (device, function) = attach(&rig, entropy::DEVICE_TYPE, 0);
    let tree = rig.computer.resources_mut();
    let mut rng = VirtioRng::<Place>::start(device, &function, tree).expect("it starts");
    assert!(matches!(
        rng.fill(&mut [0; 50]),
        Err(RequestError::Refused(_))
    ));
    detach(rng.stop().expect("nobody else uses it"));
    drop(function);
    rig.finish();
}

#[test]
fn a_disk_that_lies_is_given_up() {
    virtio_slot! { struct Disk(Hosted); }
    for (misbehaviour, fault) in lies(0) {
        if misbehaviour == Misbehaviour::NeedsReset {
            continue;
        }
        let kind = VirtioKind::Block(test_file(1 << 16), Medium::ReadOnly);
        let mut rig = with(kind, misbehaviour);
        let (device, function) = attach(&rig, block::DEVICE_TYPE, 0);
        let tree = rig.computer.resources_mut();
        let mut disk = VirtioBlock::<Disk>::start(device, &function, tree).expect("it starts");
        disk.set_timeout(patience(fault));
        let expected = VirtioBlockError::Request(RequestError::Stopped(fault));
        assert_eq!(
            disk.read(0, &mut [0; 512]),
            Err(expected),
            "{misbehaviour:?}"
        );
        detach(disk.stop().expect("nobody else uses it"));
        drop(function);
        rig.finish_after_faults();
    }
}

#[test]
fn a_network_device_that_lies_is_given_up() {
    virtio_slot! { struct Place(Hosted); }
    for (misbehaviour, fault) in lies(net::TRANSMIT_QUEUE) {
        if misbehaviour == Misbehaviour::NeedsReset {
            continue;
        }
        let mut rig = with(VirtioKind::Net, misbehaviour);
        let (device, function) = attach(&rig, net::DEVICE_TYPE, 0);
        let tree = rig.computer.resources_mut();
        let mut net = VirtioNet::<Place>::start(device, &function, tree).expect("it starts");
        net.set_timeout(patience(fault));
        let expected = VirtioNetError::Request(RequestError::Stopped(fault));
        assert_eq!(net.send(&[1; 100]), Err(expected), "{misbehaviour:?}");
        assert_eq!(
            net.receive(&mut [0; 2000]),
            Err(expected),
            "{misbehaviour:?}"
        );
        detach(net.stop().expect("nobody else uses it"));
        drop(function);
        rig.finish_after_faults();
    }
}

#[test]
fn a_console_that_lies_about_what_it_received_is_given_up() {
    virtio_slot! { struct Place(Hosted); }
    let wrong = Fault::WrongAnswer {
        queue: console::RECEIVE_QUEUE,
    };
    // An answer of nothing is one that the crate would panic at.
    for misbehaviour in [
        Misbehaviour::Empty,
        Misbehaviour::TooLong,
        Misbehaviour::IndexJumps,
        Misbehaviour::HugeId,
        Misbehaviour::UnknownId,
    ] {
        let mut rig = with(VirtioKind::Console(ConsoleEnd::Host), misbehaviour);
        let (device, function) = attach(&rig, console::DEVICE_TYPE, 0);
        let tree = rig.computer.resources_mut();
        let mut console =
            VirtioConsole::<Place>::start(device, &function, tree).expect("it starts");
        rig.machine.virtio_devices()[0].type_in(b"typed");
        let mut bytes = [0; 16];
        let begun = Instant::now();
        let outcome = loop {
            match console.receive(&mut bytes) {
                Ok(0) => std::thread::yield_now(),
                other => break other,
            }
            assert!(begun.elapsed() < NEVER, "{misbehaviour:?}: nothing comes");
        };
        assert_eq!(
            outcome,
            Err(RequestError::Stopped(wrong)),
            "{misbehaviour:?}"
        );
        detach(console.stop().expect("nobody else uses it"));
        drop(function);
        rig.finish_after_faults();
    }
}

#[test]
fn a_graphics_adapter_that_stops_answering_has_no_picture() {
    virtio_slot! { struct Place(Hosted); }
    for (misbehaviour, fault) in lies(0) {
        if misbehaviour == Misbehaviour::NeedsReset {
            continue;
        }
        let mut rig = with(VirtioKind::Gpu(64, 64), misbehaviour);
        let (device, function) = attach(&rig, gpu::DEVICE_TYPE, 0);
        let tree = rig.computer.resources_mut();
        let mut gpu = VirtioGpu::<Place>::start(device, &function, tree).expect("it starts");
        gpu.set_timeout(patience(fault));
        let stopped = VirtioGpuError::Request(RequestError::Stopped(fault));
        assert_eq!(gpu.set_up(64, 64).err(), Some(stopped), "{misbehaviour:?}");
        assert_eq!(
            gpu.flush(),
            Err(VirtioGpuError::NoPicture),
            "{misbehaviour:?}"
        );
        detach(gpu.stop().expect("nobody else uses it"));
        drop(function);
        rig.finish_after_faults();
    }
}

#[test]
fn pictures_of_impossible_sizes_are_refused() {
    virtio_slot! { struct Place(Hosted); }
    // A screen that makes the crate multiply more than a number holds.
    let mut rig = with(VirtioKind::Gpu(u32::MAX, 7), Misbehaviour::None);
    let (device, function) = attach(&rig, gpu::DEVICE_TYPE, 0);
    let tree = rig.computer.resources_mut();
    let mut gpu = VirtioGpu::<Place>::start(device, &function, tree).expect("it starts");
    let (width, height) = gpu.resolution().expect("it says");
    for (width, height) in [(width, height), (0, 1), (1, 0), (8193, 1)] {
        let refused = gpu.set_up(width, height).err();
        assert!(matches!(refused, Some(VirtioGpuError::Resolution { .. })));
    }
    // One that this model has not: it refuses after the crate has begun.
    let refused = gpu.set_up(8192, 1).err();
    let half_done = RequestError::Stopped(Fault::HalfDone(
        drivers::virtio::virtio_drivers::Error::IoError,
    ));
    assert_eq!(refused, Some(VirtioGpuError::Request(half_done)));
    detach(gpu.stop().expect("nobody else uses it"));
    drop(function);
    rig.finish();
}

#[test]
fn a_device_that_is_taken_away_is_gone() {
    virtio_slot! { struct Place(Hosted); }
    let mut rig = with(VirtioKind::Entropy, Misbehaviour::None);
    let (device, function) = attach(&rig, entropy::DEVICE_TYPE, 0);
    let tree = rig.computer.resources_mut();
    let mut rng = VirtioRng::<Place>::start(device, &function, tree).expect("it starts");
    rng.fill(&mut [0; 8]).expect("it is there");
    rig.machine.virtio_devices()[0].unplug();
    let gone = Err(RequestError::Stopped(Fault::Gone));
    assert_eq!(rng.fill(&mut [0; 8]), gone);
    detach(rng.stop().expect("nobody else uses it"));
    drop(function);
    rig.finish();

    let mut rig = with(VirtioKind::Console(ConsoleEnd::Loop), Misbehaviour::None);
    let (device, function) = attach(&rig, console::DEVICE_TYPE, 0);
    let tree = rig.computer.resources_mut();
    let mut console = VirtioConsole::<Place>::start(device, &function, tree).expect("it starts");
    rig.machine.virtio_devices()[0].unplug();
    // Nobody waits for what may never come, and yet it shows.
    let gone = RequestError::Stopped(Fault::Gone);
    assert_eq!(console.receive(&mut [0; 8]), Err(gone));
    detach(console.stop().expect("nobody else uses it"));
    drop(function);
    rig.finish();
}

#[test]
fn a_device_that_does_not_reset_loses_its_leave_to_reach_memory() {
    virtio_slot! { struct Place(Hosted); }
    let mut rig = with(VirtioKind::Entropy, Misbehaviour::NeverResets);
    let (device, function) = attach(&rig, entropy::DEVICE_TYPE, 0);
    let tree = rig.computer.resources_mut();
    let mut rng = VirtioRng::<Place>::start(device, &function, tree).expect("it starts");
    rng.fill(&mut [0; 8]).expect("it works");
    let device = rng.stop().expect("nobody else uses it");
    assert_eq!(
        function.read_bus_master(),
        dmamap::pci::BusMaster::Off,
        "its memory was taken back"
    );
    detach(device);
    let (device, _) = attach(&rig, entropy::DEVICE_TYPE, 0);
    let tree = rig.computer.resources_mut();
    let refused = VirtioRng::<Place>::start(device, &function, tree);
    let refused = refused.err().expect("it is not ready");
    assert!(
        matches!(refused.error, VirtioStartError::NotReady),
        "{refused}"
    );
    detach(refused.device.expect("it comes back"));
    drop(function);
    rig.finish();
}

#[test]
fn what_a_device_refuses_at_the_beginning_is_told() {
    virtio_slot! { struct Place(Hosted); }
    let start = |kind: VirtioKind, device_type, misbehaviour| {
        let mut rig = with(kind, misbehaviour);
        let (device, function) = attach(&rig, device_type, 0);
        let tree = rig.computer.resources_mut();
        let failed = match device_type {
            net::DEVICE_TYPE => VirtioNet::<Place>::start(device, &function, tree).err(),
            _ => VirtioRng::<Place>::start(device, &function, tree).err(),
        };
        let failed = failed.expect("it does not start");
        detach(failed.device.expect("it comes back"));
        drop(function);
        rig.finish();
        failed.error
    };
    let refuses = Misbehaviour::RefusesFeatures;
    let error = start(VirtioKind::Entropy, entropy::DEVICE_TYPE, refuses);
    assert!(
        matches!(error, VirtioStartError::Device(Fault::FeaturesRefused)),
        "{error}"
    );
    let past = Misbehaviour::WithoutPlatform;
    let error = start(VirtioKind::Entropy, entropy::DEVICE_TYPE, past);
    assert!(matches!(error, VirtioStartError::PastIommu), "{error}");
    let error = start(VirtioKind::Net, net::DEVICE_TYPE, Misbehaviour::Unsteady);
    assert!(
        matches!(error, VirtioStartError::Device(Fault::Unsteady)),
        "{error}"
    );
    assert!(Place::place().is_empty());
}
