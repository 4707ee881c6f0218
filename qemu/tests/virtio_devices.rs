//! QEMU's virtio network, console, entropy and graphics devices, driven by the published crate `virtio-drivers` through
//! `dmamap`, behind every kind of IOMMU.

mod support;

use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::time::{Duration, Instant};

use dmamap::device::Device;
use dmamap::pci::Function;
use dmamap::platform::Platform;
use dmamap::system::Protection;
use drivers::virtio::{
    Fault, RequestError, Slot, VirtioConsole, VirtioGpu, VirtioGpuError, VirtioNet, VirtioNetError,
    VirtioRng, VirtioStartError,
};
use drivers::virtio_slot;
use hosted::Hosted;
use hw::virtio::{console, entropy, gpu, net};
use journeys::Needs;
use journeys::catalogue::virtio_journeys;
use qemu::{ConsoleEnd, QemuConfig, VirtioDevice, looped_console, looped_network};
use support::Rig;
use support::virtio::assert_nothing_is_lent;

/// Each kind of IOMMU, and none.
const BOARDS: [&str; 14] = [
    "q35-vtd",
    "q35-vtd-second-stage",
    "q35-vtd-first-stage",
    "q35-amd",
    "q35-virtio",
    "q35",
    "arm-smmu-stage1",
    "arm-smmu-stage2",
    "arm-smmu-nested",
    "arm-virtio",
    "arm",
    "riscv-platform",
    "riscv-pci",
    "riscv",
];

/// How long the other end may take.
const PATIENCE: Duration = Duration::from_secs(100);

fn all(config: QemuConfig) -> QemuConfig {
    config
        .with_virtio(looped_network().expect("a socket"))
        .with_virtio(looped_console().expect("a pipe"))
        .with_virtio(VirtioDevice::Rng)
        .with_virtio(VirtioDevice::Gpu)
}

fn attach(rig: &Rig, kind: u32, index: usize) -> (Device<Hosted>, Function<Hosted>) {
    let function = rig.computer.virtio_devices(kind).nth(index);
    let function = function.expect("the computer has it").clone();
    let system = rig.computer.system();
    let attached = match rig.computer.has_iommu() {
        true => system.attach(&function, Protection::Strict),
        // SAFETY: QEMU's device keeps to the addresses its driver gives it, which are of live mappings.
        false => unsafe { system.attach_trusted(&function, Protection::Identity) },
    };
    (attached.expect("it attaches"), function)
}

fn detach(device: Device<Hosted>) {
    assert_nothing_is_lent(device.figures());
    device.detach().expect("it is detached");
}

fn wait_for<R>(what: &str, platform: Hosted, mut look: impl FnMut() -> Option<R>) -> R {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < end, "{what}");
        platform.relax();
    }
}

#[test]
fn every_virtio_journey_is_made_on_every_board() {
    virtio_slot! { struct Place(Hosted); }
    for board in BOARDS {
        let Some(mut rig) = Rig::boot(board, all) else {
            return;
        };
        for journey in virtio_journeys::<Place>() {
            if let Err(unmet) = journey.needs.check(&rig.computer) {
                // Disks are read in `virtio_blk` and in the catalogue.
                assert!(
                    Needs::VIRTIO_DISK.contains(unmet.lacking),
                    "{board}: {}: {unmet}",
                    journey.name
                );
                continue;
            }
            // SAFETY: the rig's devices have no other driver, and QEMU's keep to what they are told.
            let made = unsafe { journey.run(&mut rig.computer) };
            if let Err(error) = made {
                panic!(
                    "{board}: {}: {error}: {:?}",
                    journey.name,
                    rig.qemu.failure()
                );
            }
            assert!(Place::place().is_empty(), "{board}: {}", journey.name);
        }
        rig.finish();
    }
}

#[test]
fn frames_reach_the_network_and_come_from_it_as_they_are() {
    virtio_slot! { struct Place(Hosted); }
    let (host, device) = UnixDatagram::pair().expect("sockets");
    host.set_read_timeout(Some(PATIENCE)).expect("a time");
    let with = |config: QemuConfig| config.with_virtio(VirtioDevice::Net(OwnedFd::from(device)));
    let Some(mut rig) = Rig::boot("q35-vtd", with) else {
        return;
    };
    let (device, function) = attach(&rig, net::DEVICE_TYPE, 0);
    let mut net = VirtioNet::<Place>::start(device, &function, rig.computer.resources_mut())
        .expect("it starts");
    // QEMU's own prefix.
    let mac = net.mac_address().expect("it is at work");
    assert_eq!(mac[..3], [0x52, 0x54, 0x00]);
    let mut received = [0; 2048];
    net.send(b"to the network, as it is").expect("it is sent");
    let len = host.recv(&mut received).expect("it comes");
    assert_eq!(&received[..len], b"to the network, as it is");

    // More than the queue keeps at once; the socket keeps the others.
    for number in 0..40_u8 {
        let mut frame = vec![number; 60 + usize::from(number)];
        frame[..6].copy_from_slice(&mac);
        host.send(&frame).expect("it is sent");
    }
    for number in 0..40_u8 {
        let len = wait_for("a frame", rig.hosted, || {
            net.receive(&mut received).expect("it receives")
        });
        assert_eq!(len, 60 + usize::from(number));
        assert!(received[6..len].iter().all(|&byte| byte == number));
    }
    host.send(&[0xff; 100]).expect("a broadcast is sent");
    let too_long = wait_for("a frame", rig.hosted, || {
        match net.receive(&mut received[..99]) {
            Ok(None) => None,
            other => Some(other),
        }
    });
    let no_room = VirtioNetError::NoRoom {
        len_bytes: 100,
        room: 99,
    };
    assert_eq!(too_long, Err(no_room));
    assert_eq!(net.receive(&mut received), Ok(Some(100)), "it was kept");
    assert!(net.send(&[0; 1515]).is_err() && net.send(&[]).is_err());
    detach(net.stop().expect("nobody else uses it"));
    drop(function);
    rig.finish();
}

#[test]
fn what_is_typed_comes_and_what_is_said_arrives() {
    virtio_slot! { struct Place(Hosted); }
    let (mut host, device) = UnixStream::pair().expect("sockets");
    host.set_read_timeout(Some(PATIENCE)).expect("a time");
    let end = VirtioDevice::Console(ConsoleEnd::Socket(device));
    let Some(mut rig) = Rig::boot("q35-amd", |config| config.with_virtio(end)) else {
        return;
    };
    let (device, function) = attach(&rig, console::DEVICE_TYPE, 0);
    let started = VirtioConsole::<Place>::start(device, &function, rig.computer.resources_mut());
    let mut console = started.expect("it starts");
    let mut bytes = [0; 10_000];
    assert_eq!(console.receive(&mut bytes), Ok(0), "nobody typed");
    console.send(&[b'x'; 10_000]).expect("it is sent");
    host.read_exact(&mut bytes).expect("it arrives");
    assert_eq!(bytes, [b'x'; 10_000]);
    host.write_all(b"typed").expect("it is typed");
    let mut got = Vec::new();
    wait_for("what is typed", rig.hosted, || {
        let len = console.receive(&mut bytes[..2]).expect("it receives");
        got.extend_from_slice(&bytes[..len]);
        (got.len() == 5).then_some(())
    });
    assert_eq!(got, b"typed");
    detach(console.stop().expect("nobody else uses it"));
    drop(function);
    rig.finish();
}

#[test]
fn two_devices_of_a_kind_work_at_once_each_in_its_own_domain() {
    virtio_slot! { struct First(Hosted); }
    virtio_slot! { struct Second(Hosted); }
    let with = |config: QemuConfig| {
        config
            .with_virtio(VirtioDevice::Rng)
            .with_virtio(VirtioDevice::Rng)
    };
    for board in BOARDS {
        let Some(mut rig) = Rig::boot(board, with) else {
            return;
        };
        let (device, function) = attach(&rig, entropy::DEVICE_TYPE, 0);
        let (other, other_function) = attach(&rig, entropy::DEVICE_TYPE, 1);
        let tree = rig.computer.resources_mut();
        let mut first = VirtioRng::<First>::start(device, &function, tree).expect(board);
        let mut second = VirtioRng::<Second>::start(other, &other_function, tree).expect(board);
        let (mut one, mut another) = ([0; 100], [0; 100]);
        first.fill(&mut one).expect(board);
        second.fill(&mut another).expect(board);
        assert_ne!(one, another, "{board}");
        // One's end is not the other's.
        detach(first.stop().expect("nobody else uses it"));
        second.fill(&mut one).expect(board);
        assert_ne!(one, another, "{board}");
        if rig.computer.has_iommu() {
            let reach = |bus| Second::place().with_device(|device| device.translate(bus));
            let zero = dmamap::addr::BusAddr::new(0);
            assert_eq!(reach(zero), Some(None), "{board}: address 0 leads nowhere");
        }
        detach(second.stop().expect("nobody else uses it"));
        drop((function, other_function));
        rig.finish();
    }
}

#[test]
fn a_device_that_may_not_reach_memory_is_given_up_in_time_and_starts_again() {
    virtio_slot! { struct Place(Hosted); }
    for board in ["q35-vtd", "riscv-platform", "q35"] {
        let with = |config: QemuConfig| {
            config
                .with_virtio(VirtioDevice::Rng)
                .with_virtio(VirtioDevice::Gpu)
        };
        let Some(mut rig) = Rig::boot(board, with) else {
            return;
        };
        let (device, function) = attach(&rig, entropy::DEVICE_TYPE, 0);
        let tree = rig.computer.resources_mut();
        let mut rng = VirtioRng::<Place>::start(device, &function, tree).expect(board);
        rng.set_timeout(Duration::from_millis(200));
        function.disable_bus_master();
        let stopped = RequestError::Stopped(Fault::TimedOut { queue: 0 });
        assert_eq!(rng.fill(&mut [0; 8]), Err(stopped), "{board}");
        assert_eq!(rng.fill(&mut [0; 8]), Err(stopped), "{board}: it stays so");
        detach(rng.stop().expect("nobody else uses it"));

        let (device, _) = attach(&rig, entropy::DEVICE_TYPE, 0);
        let tree = rig.computer.resources_mut();
        let mut rng = VirtioRng::<Place>::start(device, &function, tree).expect(board);
        rng.fill(&mut [0; 8]).expect(board);
        drop(rng);
        assert!(Place::place().is_empty(), "{board}: it was detached");
        drop(function);

        let (device, function) = attach(&rig, gpu::DEVICE_TYPE, 0);
        let tree = rig.computer.resources_mut();
        let mut gpu = VirtioGpu::<Place>::start(device, &function, tree).expect(board);
        gpu.set_up(640, 480).expect(board).fill(1);
        gpu.set_timeout(Duration::from_millis(200));
        function.disable_bus_master();
        let stopped = VirtioGpuError::Request(stopped);
        assert_eq!(gpu.flush(), Err(stopped), "{board}");
        let none = Some(VirtioGpuError::NoPicture);
        assert_eq!(gpu.pixels().err(), none, "{board}: it went with the driver");
        detach(gpu.stop().expect("nobody else uses it"));
        drop(function);
        rig.finish_after_faults();
    }
}

#[test]
fn a_device_is_taken_for_what_it_is() {
    virtio_slot! { struct Place(Hosted); }
    let with = |config: QemuConfig| config.with_virtio(VirtioDevice::Rng);
    let Some(mut rig) = Rig::boot("q35-vtd", with) else {
        return;
    };
    let (device, function) = attach(&rig, entropy::DEVICE_TYPE, 0);
    let started = VirtioGpu::<Place>::start(device, &function, rig.computer.resources_mut());
    let refused = started.err().expect("it is another");
    assert!(
        matches!(refused.error, VirtioStartError::WrongType { .. }),
        "{refused}"
    );
    detach(refused.device.expect("it comes back"));
    drop(function);
    rig.finish();
}
