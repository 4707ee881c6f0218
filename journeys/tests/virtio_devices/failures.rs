//! Each allocation that the lives of virtio devices make fails in turn: every failure is an error, and everything taken is
//! given back.

use std::time::Instant;

use dmamap::bridge::PeerForwarding;
use dmamap::platform::{FrameRequest, Platform as _};
use drivers::virtio::{RequestError, Slot, VirtioNet, VirtioNetError, VirtioRng};
use drivers::virtio_slot;
use hosted::{FaultInjector, Hosted};
use hw::virtio::{entropy, net};
use journeys::Computer;
use journeys::boot::BootOptions;
use journeys::catalogue::virtio_journeys;
use machine::device::virtio::{Misbehaviour, VirtioKind};
use machine::{Machine, MachineConfig};

use crate::{NEVER, attach, detach, with, with_all};
use rig::{Rig, boot_kernel, shut_down};

type Platform = FaultInjector<Hosted>;

#[test]
fn devices_survive_every_failed_allocation_and_leak_nothing() {
    virtio_slot! { struct Place(Platform); }
    let machine = Machine::boot(with_all(MachineConfig::default())).expect("it boots");
    let hosted = Hosted::boot(machine.clone()).expect("the kernel boots");
    let injector = FaultInjector::new(hosted);
    let (options, peers) = (BootOptions::default(), PeerForwarding::Unknown);
    let computer = boot_kernel(hosted, injector, options, peers);
    let mut computer: Computer<Platform> = computer.expect("the machine boots");
    let mut devices_given_up = 0;
    for journey in virtio_journeys::<Place>() {
        // SAFETY: nobody else drives the machine.
        let made = unsafe { journey.run(&mut computer) };
        made.unwrap_or_else(|error| panic!("{}: {error}", journey.name));
        let before = hosted.report();
        let (mut errors, mut given_up) = (0, false);
        let failed = injector.fail_each_in_turn(|nth| {
            // SAFETY: as above.
            if let Err(error) = unsafe { journey.run(&mut computer) } {
                errors += 1;
                given_up |= error
                    .to_string()
                    .contains("is stopped: memory cannot be lent");
            }
            let (after, name) = (hosted.report(), journey.name);
            assert_eq!(after.frames.in_use, before.frames.in_use, "{name}, {nth}");
            assert_eq!(
                after.register_windows, before.register_windows,
                "{name}, {nth}"
            );
            assert!(Place::place().is_empty(), "{name}, {nth}");
        });
        assert!(
            failed > 20 && errors > 5,
            "{}: {failed}, {errors}",
            journey.name
        );
        devices_given_up += u32::from(given_up);
    }
    // What some crates' drivers lend they cannot do without: their devices are stopped.
    assert!(devices_given_up > 0, "none was given up");
    let findings: Vec<String> = machine.findings().iter().map(ToString::to_string).collect();
    assert!(findings.is_empty(), "the models found: {findings:#?}");
    shut_down(&computer);
    drop(computer);
    machine.shutdown();
    assert!(hosted.shutdown().is_clean());
}

/// Calls `test` while no frame is free.
fn without_memory<R>(rig: &Rig, test: impl FnOnce() -> R) -> R {
    let mut taken = Vec::new();
    for count in (0..=20).rev().map(|log2| 1 << log2) {
        while let Ok(frames) = rig.kernel.allocate_frames(FrameRequest::new(count)) {
            taken.push(frames);
        }
    }
    let result = test();
    for frames in taken {
        // SAFETY: taken above, and never used.
        unsafe { rig.kernel.free_frames(frames) };
    }
    result
}

#[test]
fn a_request_that_cannot_be_lent_is_not_made_and_the_next_is() {
    virtio_slot! { struct Place(Hosted); }
    let mut rig = with(VirtioKind::Entropy, Misbehaviour::None);
    let (device, function) = attach(&rig, entropy::DEVICE_TYPE, 0);
    let tree = rig.computer.resources_mut();
    let mut rng = VirtioRng::<Place>::start(device, &function, tree).expect("it starts");
    rng.fill(&mut [0; 8]).expect("it works");
    let before = rig.machine.virtio_devices()[0].answered();
    let refused = without_memory(&rig, || rng.fill(&mut [0; 8]));
    assert!(
        matches!(refused, Err(RequestError::Share(_))),
        "{refused:?}"
    );
    let after = rig.machine.virtio_devices()[0].answered();
    assert_eq!(before, after, "the device was not told of it");
    for _ in 0..20 {
        rng.fill(&mut [0; 8]).expect("it goes on");
    }
    detach(rng.stop().expect("nobody else uses it"));
    drop(function);
    rig.finish();
}

#[test]
fn a_network_device_without_memory_to_receive_into_gets_it_later() {
    virtio_slot! { struct Place(Hosted); }
    let mut rig = with(VirtioKind::Net, Misbehaviour::None);
    let (device, function) = attach(&rig, net::DEVICE_TYPE, 0);
    let tree = rig.computer.resources_mut();
    let mut net = VirtioNet::<Place>::start(device, &function, tree).expect("it starts");
    let mut frame = [0; 2000];
    for number in 0..16 {
        net.send(&[number; 70]).expect("it is sent");
    }
    let mut received = 0;
    without_memory(&rig, || {
        let refused = net.send(&[1; 70]);
        let is_share = matches!(
            refused,
            Err(VirtioNetError::Request(RequestError::Share(_)))
        );
        assert!(is_share, "{refused:?}");
        // What has come is fetched; what should come next cannot.
        for _ in 0..1000 {
            match net.receive(&mut frame) {
                Ok(Some(70)) => received += 1,
                Ok(None) => {}
                Ok(other) => panic!("{other:?}"),
                Err(VirtioNetError::Request(RequestError::Share(_))) => break,
                Err(error) => panic!("{error}"),
            }
        }
    });
    for number in 0..40 {
        net.send(&[number; 71]).expect("it is sent");
        let begun = Instant::now();
        while received < 17 + u32::from(number) {
            match net.receive(&mut frame).expect("it receives") {
                Some(_) => received += 1,
                None => std::thread::yield_now(),
            }
            assert!(begun.elapsed() < NEVER, "{received} were received");
        }
    }
    assert_eq!(received, 56, "none was lost");
    detach(net.stop().expect("nobody else uses it"));
    drop(function);
    rig.finish();
}
