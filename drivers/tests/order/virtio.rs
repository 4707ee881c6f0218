//! Virtio: queues before they are enabled, answers after the index that makes them valid. What is shown to the device before
//! its doorbell rings is `virtio::order`'s.

use std::ptr::NonNull;

use dmamap::pci::Function;
use drivers::virtio::virtio_drivers::{BufferDirection, Hal};
use drivers::virtio::{Slot, SlotHal, VirtioConsole, VirtioRng};
use drivers::virtio_slot;
use hosted::Barrier;
use hw::virtio::pci::QUEUE_ENABLE;
use hw::virtio::{console, entropy};
use machine::device::virtio::{ConsoleEnd, VirtioDeviceConfig, VirtioKind};

use crate::witness::{Event, Kernel, Witness, assert_ordered_reads, assert_ordered_writes};
use rig::small;

virtio_slot! { struct ConsolePlace(Kernel); }
virtio_slot! { struct SharePlace(Kernel); }

/// Where the model has what it was interrupted for, and its notifications.
const ISR: u64 = 0x1000;
const NOTIFY: u64 = 0x3000;

fn boot(kind: VirtioKind, device_type: u32) -> (Witness, Function<Kernel>) {
    let witness = Witness::boot(small().with_virtio(VirtioDeviceConfig::new(kind)));
    let function = witness.rig.computer.virtio_devices(device_type).next();
    let function = function.expect("it has one").clone();
    witness.watch(&function, None);
    (witness, function)
}

/// What is done to bring up a generator, and for each of some requests of it.
fn requests<S: Slot<Platform = Kernel>>() -> (Vec<Event>, Vec<Vec<Event>>) {
    let (mut witness, function) = boot(VirtioKind::Entropy, entropy::DEVICE_TYPE);
    let device = witness.attach(&function);
    let tree = witness.rig.computer.resources_mut();
    let mut rng = VirtioRng::<S>::start(device, &function, tree).expect("it starts");
    let bring_up = witness.take();
    let requests = (0..5).map(|_| {
        rng.fill(&mut [0]).expect("it is filled");
        witness.take()
    });
    let requests = requests.collect();
    let device = rng.stop().expect("nobody else uses it");
    device.detach().expect("it is detached");
    drop(function);
    witness.finish();
    (bring_up, requests)
}

#[test]
fn queues_are_in_memory_before_they_are_enabled() {
    virtio_slot! { struct Place(Kernel); }
    assert_ordered_writes(&requests::<Place>().0, QUEUE_ENABLE, 1);
}

#[test]
fn an_answer_is_read_after_the_index_and_its_memory_after_it() {
    virtio_slot! { struct Place(Kernel); }
    for events in requests::<Place>().1 {
        let is_ring = |event: &Event| event.write().is_some_and(|(at, _)| at >= NOTIFY);
        let ring = events.iter().position(is_ring).expect("it rings");
        // Those of registers that were read are theirs.
        let own = events[ring..].windows(2);
        let own = own.filter(|two| two[1].is(Barrier::Read) && !matches!(two[0], Event::Read(_)));
        // The index; the copy that is taken back; its end.
        assert_eq!(own.count(), 3, "{events:?}");
    }
}

#[test]
fn what_the_device_interrupts_for_is_read_after_its_reason() {
    let kind = VirtioKind::Console(ConsoleEnd::Loop);
    let (mut witness, function) = boot(kind, console::DEVICE_TYPE);
    let device = witness.attach(&function);
    let tree = witness.rig.computer.resources_mut();
    let started = VirtioConsole::<ConsolePlace>::start(device, &function, tree);
    let mut console = started.expect("it starts");
    witness.take();
    console
        .receive(&mut [0])
        .expect("there is nothing to receive");
    assert_ordered_reads(&witness.take(), ISR, 1);
    let device = console.stop().expect("nobody else uses it");
    device.detach().expect("it is detached");
    drop(function);
    witness.finish();
}

#[test]
fn what_is_taken_back_is_the_cpus_before_it_is_copied() {
    // Any device will do.
    let (witness, function) = boot(VirtioKind::Entropy, entropy::DEVICE_TYPE);
    let device = witness.attach(&function);
    let installed = SharePlace::place().install(device, &function);
    installed.expect("the place is free");
    for direction in [BufferDirection::DeviceToDriver, BufferDirection::Both] {
        let mut bytes = [0; 16];
        let memory = NonNull::from(&mut bytes[..]);
        // SAFETY: nobody else accesses the bytes.
        let bus = unsafe { SlotHal::<SharePlace>::share(memory, direction) };
        witness.take();
        // SAFETY: as above; it was shared there.
        unsafe { SlotHal::<SharePlace>::unshare(bus, memory, direction) };
        let barriers = [Barrier::Read, Barrier::Write, Barrier::Read];
        let events = witness.take();
        // The CPU's turn begins and ends, and then the mapping does.
        let barriers = barriers.map(|barrier| Event::Barrier(barrier, None));
        assert_eq!(events, barriers, "{direction:?}");
    }
    let device = SharePlace::place().remove().expect("nothing is in use");
    device
        .expect("it is there")
        .detach()
        .expect("it is detached");
    drop(function);
    witness.finish();
}
