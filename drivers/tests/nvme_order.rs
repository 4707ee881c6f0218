//! In what order the driver touches memory and doorbells, also where a processor would not keep it by itself.

use std::sync::{Arc, Mutex, OnceLock};

use dmamap::addr::PhysRange;
use dmamap::buffer::DmaBuffer;
use dmamap::iommu::Requester;
use drivers::nvme::{Blocks, Completion, Nvme, Settings};
use hosted::{Hosted, PlatformCall, Tracer};
use journeys::boot::BootOptions;
use machine::Machine;
use machine::device::nvme::{Medium, NvmeConfig};
use rig::observed::{Observed, Touch};
use rig::{PAGE, Rig, small};

/// Offset of the first doorbell, of the admin submission queue (NVMe Base 2.0, 3.1.3).
const DOORBELLS: u64 = 0x1000;

/// Commands read in a row.
const READS: usize = 5;

/// A doorbell that rang, and the barriers since the one before.
struct Ring {
    kind: Doorbell,
    barriers: Vec<PlatformCall>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Doorbell {
    SubmissionTail,
    CompletionHead,
}

/// Where the disk's registers are; set once the machine was enumerated.
type Registers = OnceLock<(Tracer<Hosted>, PhysRange)>;

/// Notes doorbells as they are written, with what the platform was asked for before.
fn note(registers: &Registers, rings: &Mutex<Vec<Ring>>, touch: Touch) {
    let (Some((tracer, bar)), Touch::Wrote { phys, .. }) = (registers.get(), touch) else {
        return;
    };
    let first = bar.start().as_u64() + DOORBELLS;
    let Some(number) = phys.checked_sub(first).map(|offset| offset / 4) else {
        return;
    };
    if phys > bar.last().as_u64() {
        return;
    }
    let is_barrier = |call: &PlatformCall| {
        matches!(
            call,
            PlatformCall::WriteBarrier | PlatformCall::ReadBarrier | PlatformCall::FullBarrier
        )
    };
    let barriers = tracer.take().into_iter().filter(is_barrier).collect();
    let kind = match number % 2 {
        0 => Doorbell::SubmissionTail,
        _ => Doorbell::CompletionHead,
    };
    rings.lock().unwrap().push(Ring { kind, barriers });
}

/// Reads blocks one after the other; returns the doorbells that rang, those of bring-up among them.
fn rings_of_reads() -> Vec<Ring> {
    let file = tempfile::tempfile().unwrap();
    file.set_len(PAGE).unwrap();
    let config = small().with_disk(NvmeConfig::new(file, PAGE, Medium::ReadOnly));
    let machine = Machine::boot(config).unwrap();
    let registers = Arc::new(Registers::new());
    let rings = Arc::new(Mutex::new(Vec::new()));
    let kernel = {
        let (registers, rings) = (registers.clone(), rings.clone());
        let observer = move |_: &Machine, touch| note(&registers, &rings, touch);
        Hosted::boot(Observed::new(machine.clone(), observer)).unwrap()
    };
    let tracer = Tracer::new(kernel, 4096);
    let mut rig = Rig::boot_on(machine, kernel, tracer, BootOptions::default()).unwrap();

    let function = rig.computer.disks().next().unwrap().clone();
    let bar = function.bar(0).and_then(|bar| bar.phys).unwrap();
    assert!(registers.set((tracer, bar)).is_ok());
    let device = rig.attach(Requester {
        segment: 0,
        id: function.requester(),
    });
    // Polled, so that no other thread asks anything of the platform.
    let settings = Settings {
        completion: Completion::Polling,
        ..Settings::default()
    };
    let resources = rig.computer.resources_mut();
    let mut disk = Nvme::start(device, &function, resources, settings).unwrap();
    for _ in 0..READS {
        let buffer = DmaBuffer::allocate(tracer, PAGE).unwrap();
        disk.read(Blocks { first: 0, count: 8 }, buffer).unwrap();
    }
    assert_eq!(tracer.lost(), 0);
    disk.shutdown().unwrap().detach().unwrap();
    drop(function);
    rig.finish();
    let mut rings = rings.lock().unwrap();
    assert!(rings.len() > 2 * READS);
    std::mem::take(&mut rings)
}

#[test]
fn the_entry_is_in_memory_before_the_doorbell_rings() {
    for Ring { barriers, .. } in of_kind(rings_of_reads(), Doorbell::SubmissionTail) {
        assert_eq!(barriers.last(), Some(&PlatformCall::WriteBarrier));
    }
}

#[test]
fn what_a_completion_is_about_is_read_after_its_phase() {
    for Ring { barriers, .. } in of_kind(rings_of_reads(), Doorbell::CompletionHead) {
        assert!(
            barriers.contains(&PlatformCall::ReadBarrier),
            "{barriers:?}"
        );
    }
}

#[test]
fn completions_are_read_before_their_places_are_given_back() {
    for Ring { barriers, .. } in of_kind(rings_of_reads(), Doorbell::CompletionHead) {
        assert_eq!(barriers.last(), Some(&PlatformCall::FullBarrier));
    }
}

fn of_kind(rings: Vec<Ring>, kind: Doorbell) -> impl Iterator<Item = Ring> {
    rings.into_iter().filter(move |ring| ring.kind == kind)
}
