//! NVMe: entries before their doorbells, completions after their phase and before their places are given back.

use dmamap::buffer::DmaBuffer;
use drivers::nvme::{Blocks, Completion, Nvme, Settings};
use hosted::Barrier;
use hw::nvme::regs;
use machine::device::nvme::{Medium, NvmeConfig};

use crate::witness::{Event, Pointer, Witness, assert_ordered_writes};
use rig::{PAGE, small};

/// The doorbells (NVMe Base 2.0, 3.1.3), a submission queue's and then a completion queue's.
const DOORBELLS: u64 = 0x1000;

const READS: usize = 5;

/// What is done from bring-up to shutdown, blocks being read one after the other; with what the admin submission queue held.
fn life() -> Vec<Event> {
    let file = tempfile::tempfile().expect("a temporary file");
    file.set_len(PAGE).expect("it has room");
    let config = small().with_disk(NvmeConfig::new(file, PAGE, Medium::ReadOnly));
    let mut witness = Witness::boot(config);
    let function = witness.rig.computer.disks().next().expect("a disk").clone();
    let queue = Pointer {
        register: regs::ASQ,
        len_bytes: PAGE as usize,
    };
    witness.watch(&function, Some(queue));
    let device = witness.attach(&function);
    // Polled, so that no other thread asks anything of the platform.
    let settings = Settings {
        completion: Completion::Polling,
        ..Settings::default()
    };
    let tree = witness.rig.computer.resources_mut();
    let mut disk = Nvme::start(device, &function, tree, settings).expect("it starts");
    for _ in 0..READS {
        let buffer = DmaBuffer::allocate(witness.platform, PAGE).expect("memory");
        let blocks = Blocks { first: 0, count: 8 };
        disk.read(blocks, buffer).expect("it is read");
    }
    let device = disk.shutdown().expect("it shuts down");
    device.detach().expect("it detaches");
    let events = witness.take();
    drop(function);
    witness.finish();
    events
}

#[test]
fn an_entry_is_in_memory_at_the_last_barrier_before_its_doorbell() {
    let (mut rings, mut at_barrier, mut before) = (0, None, None);
    for event in life() {
        match event {
            Event::Barrier(Barrier::Write | Barrier::Full, memory) => at_barrier = memory,
            // Of the admin submission queue.
            Event::Wrote(DOORBELLS, _, memory) => {
                assert!(
                    memory.is_some() && memory != before,
                    "nothing was submitted"
                );
                assert!(
                    memory == at_barrier,
                    "ring {rings}: stored after the barrier"
                );
                before = memory;
                rings += 1;
            }
            _ => {}
        }
    }
    assert!(rings >= 4, "{rings}");
}

#[test]
fn the_queues_are_in_memory_before_the_controller_is_enabled() {
    let mut events = life();
    let is_enabling =
        |event: &Event| matches!(event.write(), Some((regs::CC, value)) if value & 1 == 1);
    let at = events.iter().position(is_enabling).expect("it is enabled");
    events.truncate(at + 1);
    assert_ordered_writes(&events[at - 1..], regs::CC, 1);
}

#[test]
fn a_completion_is_read_after_its_phase_and_before_its_place_is_given_back() {
    let events = life();
    let is_head = |event: &Event| {
        let offset = event.write().map(|(offset, _)| offset);
        offset.is_some_and(|offset| offset >= DOORBELLS && (offset - DOORBELLS) / 4 % 2 == 1)
    };
    let mut rings = 0;
    for four in events.windows(4).filter(|four| is_head(&four[3])) {
        assert!(four[2].is(Barrier::Full), "{four:?}");
        // And none that belongs to a register that was read.
        let is_own = four[1].is(Barrier::Read) && !matches!(four[0], Event::Read(_));
        assert!(is_own, "{four:?}");
        rings += 1;
    }
    assert!(rings > READS, "{rings}");
}
