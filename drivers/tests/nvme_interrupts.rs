//! Interrupts of the disk's queues arrive.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use dmamap::buffer::DmaBuffer;
use dmamap::iommu::Requester;
use drivers::nvme::{Blocks, CompletionMode, Nvme, Settings};
use hosted::Hosted;
use journeys::boot::BootOptions;
use machine::Machine;
use machine::device::nvme::{Medium, NvmeConfig};
use rig::observed::{Observed, Touch};
use rig::{PAGE, Rig, small};

#[test]
fn the_message_of_each_completion_reaches_the_kernel() {
    const READS: u64 = 8;
    let file = tempfile::tempfile().unwrap();
    file.set_len(PAGE).unwrap();
    let config = small().with_disk(NvmeConfig::new(file, PAGE, Medium::ReadOnly));
    let machine = Machine::boot(config).unwrap();
    let arrived = Arc::new(AtomicU64::new(0));
    let counted = arrived.clone();
    let observer = move |_: &Machine, touch| {
        if matches!(touch, Touch::Interrupted { .. }) {
            counted.fetch_add(1, Ordering::Relaxed);
        }
    };
    let kernel = Hosted::boot(Observed::new(machine.clone(), observer)).unwrap();
    let mut rig = Rig::boot_on(machine, kernel, kernel, BootOptions::default()).unwrap();

    let function = rig.computer.disks().next().unwrap().clone();
    let device = rig.attach(Requester {
        segment: 0,
        id: function.requester(),
    });
    let resources = rig.computer.resources_mut();
    let mut disk = Nvme::start(device, &function, resources, Settings::default()).unwrap();
    drop(function);
    assert_eq!(disk.completion_mode(), &CompletionMode::Interrupt);
    for _ in 0..READS {
        let buffer = DmaBuffer::allocate(kernel, PAGE).unwrap();
        disk.read(Blocks { first: 0, count: 8 }, buffer).unwrap();
    }
    // The driver may see a completion before its message is there.
    let deadline = Instant::now() + Duration::from_secs(100);
    while arrived.load(Ordering::Relaxed) < READS {
        let now = arrived.load(Ordering::Relaxed);
        assert!(Instant::now() < deadline, "{now} messages arrived");
        thread::sleep(Duration::from_millis(1));
    }
    disk.shutdown().unwrap().detach().unwrap();
    rig.finish();
}
