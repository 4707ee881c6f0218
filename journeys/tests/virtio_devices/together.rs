//! Several devices of a kind at once, each in a domain of its own; and the other end of a console.

use std::time::Instant;

use dmamap::addr::BusAddr;
use drivers::virtio::{Slot, VirtioConsole, VirtioRng};
use drivers::virtio_slot;
use hosted::Hosted;
use hw::virtio::{console, entropy};
use machine::MachineConfig;
use machine::device::virtio::{ConsoleEnd, Misbehaviour, VirtioDeviceConfig, VirtioKind};

use crate::{NEVER, attach, detach, with};
use rig::Rig;

#[test]
fn two_devices_of_a_kind_reach_nothing_of_each_others() {
    virtio_slot! { struct First(Hosted); }
    virtio_slot! { struct Second(Hosted); }
    let device = |seed| VirtioDeviceConfig::new(VirtioKind::Entropy).with_seed(seed);
    let config = MachineConfig::default().with_virtio(device(1));
    let mut rig = Rig::boot(config.with_virtio(device(2)));
    let (device, function) = attach(&rig, entropy::DEVICE_TYPE, 0);
    let tree = rig.computer.resources_mut();
    let mut first = VirtioRng::<First>::start(device, &function, tree).expect("it starts");
    let lent = first.figures().live_bytes;
    let (device, other) = attach(&rig, entropy::DEVICE_TYPE, 1);
    let tree = rig.computer.resources_mut();
    let mut second = VirtioRng::<Second>::start(device, &other, tree).expect("it starts");
    assert_eq!(
        first.figures().live_bytes,
        lent,
        "nothing of the second is the first's"
    );
    // Each reaches at its addresses its own memory.
    let reached = |place: &drivers::virtio::Place<Hosted>| {
        let reach = |device: &dmamap::device::Device<Hosted>| {
            let pages = (0..0x10_0000_u64).map(|page| BusAddr::new(page << 12));
            pages
                .filter_map(|bus| device.translate(bus))
                .collect::<Vec<_>>()
        };
        place.with_device(reach).expect("it stands there")
    };
    let (one, another) = (reached(First::place()), reached(Second::place()));
    assert!(one.iter().all(|phys| !another.contains(phys)));
    let mut bytes = [[0; 99]; 2];
    first.fill(&mut bytes[0]).expect("it is filled");
    second.fill(&mut bytes[1]).expect("it is filled");
    assert_ne!(bytes[0], bytes[1]);
    detach(first.stop().expect("nobody else uses it"));
    second.fill(&mut bytes[0]).expect("it goes on");
    detach(second.stop().expect("nobody else uses it"));
    drop((function, other));
    rig.finish();
}

#[test]
fn what_is_typed_comes_and_what_is_said_arrives() {
    virtio_slot! { struct Place(Hosted); }
    let mut rig = with(VirtioKind::Console(ConsoleEnd::Host), Misbehaviour::None);
    let (device, function) = attach(&rig, console::DEVICE_TYPE, 0);
    let tree = rig.computer.resources_mut();
    let mut console = VirtioConsole::<Place>::start(device, &function, tree).expect("it starts");
    let size = console.size().expect("it says").expect("it knows");
    assert_eq!((size.columns, size.rows), (80, 25));
    console.send(b"said").expect("it is sent");
    assert_eq!(rig.machine.virtio_devices()[0].said(), b"said");
    let mut bytes = [0; 8];
    assert_eq!(console.receive(&mut bytes), Ok(0));
    rig.machine.virtio_devices()[0].type_in(b"typed, more than fits");
    let mut got = Vec::new();
    let begun = Instant::now();
    while got.len() < 21 {
        assert!(begun.elapsed() < NEVER, "only {} bytes came", got.len());
        let len = console.receive(&mut bytes).expect("it receives");
        got.extend_from_slice(&bytes[..len]);
    }
    assert_eq!(got, b"typed, more than fits");
    detach(console.stop().expect("nobody else uses it"));
    drop(function);
    rig.finish();
}

#[test]
fn a_driver_that_is_dropped_in_the_middle_leaves_nothing() {
    virtio_slot! { struct Place(Hosted); }
    let mut rig = Rig::boot(crate::with_all(MachineConfig::default()));
    for round in 0..3 {
        // Its receive request is in flight.
        let (device, function) = attach(&rig, console::DEVICE_TYPE, 0);
        let tree = rig.computer.resources_mut();
        let mut console =
            VirtioConsole::<Place>::start(device, &function, tree).expect("it starts");
        console.send(&[round; 3000]).expect("it is sent");
        drop(console);
        assert!(Place::place().is_empty());
        let mut devices = rig.machine.virtio_devices().iter();
        assert!(
            devices.all(|device| device.is_reset()),
            "its queues are freed"
        );
    }
    rig.finish();
}
