//! In what order the transport touches memory and doorbells, also where a processor would not keep it by itself: the crate's own
//! fences are between CPUs only.

use std::sync::{Arc, Mutex, OnceLock};

use dmamap::addr::PhysRange;
use dmamap::iommu::Requester;
use dmamap::system::Protection;
use drivers::virtio::VirtioRng;
use drivers::virtio_slot;
use hosted::PlatformCall::{FullBarrier, ReadBarrier, WriteBarrier};
use hosted::{Hosted, PlatformCall, Tracer};
use hw::virtio::entropy::DEVICE_TYPE;
use journeys::boot::BootOptions;
use machine::device::virtio::{VirtioDeviceConfig, VirtioKind};
use machine::{Iommu, Machine};

use rig::observed::{Observed, Touch};
use rig::{Rig, small};

virtio_slot! { struct Place(Tracer<Hosted>); }

/// Where the model has its notifications.
const NOTIFY: u64 = 0x3000;

/// Requests made in a row.
const REQUESTS: usize = 5;

/// Where the device's registers are; set once the machine was enumerated.
type Registers = OnceLock<(Tracer<Hosted>, PhysRange)>;

/// The barriers from one request's notification to the next one's, for each.
fn barriers_of_requests() -> Vec<Vec<PlatformCall>> {
    // Without an IOMMU, so that no barrier is that of a mapping.
    let config = small()
        .with_iommu(Iommu::None)
        .with_virtio(VirtioDeviceConfig::new(VirtioKind::Entropy));
    let machine = Machine::boot(config).expect("it boots");
    let registers = Arc::new(Registers::new());
    let rings: Arc<Mutex<Vec<Vec<PlatformCall>>>> = Arc::default();
    let kernel = {
        let (registers, rings) = (registers.clone(), rings.clone());
        let observer = move |_: &Machine, touch: Touch| {
            let (Some((tracer, bar)), Touch::Wrote { phys, .. }) = (registers.get(), touch) else {
                return;
            };
            let bar: &PhysRange = bar;
            if !(bar.start().as_u64() + NOTIFY..=bar.last().as_u64()).contains(&phys) {
                return;
            }
            let is_barrier =
                |call: &PlatformCall| matches!(call, WriteBarrier | ReadBarrier | FullBarrier);
            let barriers = tracer.take().into_iter().filter(is_barrier).collect();
            rings.lock().expect("nobody panicked").push(barriers);
        };
        Hosted::boot(Observed::new(machine.clone(), observer)).expect("the kernel boots")
    };
    let tracer = Tracer::new(kernel, 4096);
    let mut rig =
        Rig::boot_on(machine, kernel, tracer, BootOptions::default()).expect("the machine boots");
    let function = rig.computer.virtio_devices(DEVICE_TYPE).next();
    let function = function.expect("it has one").clone();
    let bar = function
        .bar(0)
        .and_then(|bar| bar.phys)
        .expect("it is placed");
    assert!(registers.set((tracer, bar)).is_ok());
    let requester = Requester {
        segment: 0,
        id: function.requester(),
    };
    let device = rig.attach_trusted(requester, Protection::Identity);
    let tree = rig.computer.resources_mut();
    let mut rng = VirtioRng::<Place>::start(device, &function, tree).expect("it starts");
    for _ in 0..REQUESTS {
        rng.fill(&mut [0]).expect("it is filled");
    }
    assert_eq!(tracer.lost(), 0);
    let device = rng.stop().expect("nobody else uses it");
    device.detach().expect("it is detached");
    drop(function);
    rig.finish();
    let mut rings = rings.lock().expect("nobody panicked");
    assert_eq!(rings.len(), REQUESTS);
    std::mem::take(&mut rings)
}

#[test]
fn a_request_is_in_memory_before_its_index_and_that_before_the_doorbell_rings() {
    // The first begins with all that brings the device up.
    for barriers in &barriers_of_requests()[1..] {
        // The memory that is lent; then the request before its index, and that before the register.
        let expected = [const { WriteBarrier }; 3];
        let not_read = barriers.iter().filter(|call| **call != ReadBarrier);
        let found: Vec<_> = not_read.cloned().collect();
        assert_eq!(found, expected, "{barriers:?}");
    }
}
