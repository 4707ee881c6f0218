//! The educational device: memory before the engine starts, and after it stopped.

use dmamap::buffer::DmaBuffer;
use dmamap::map::Bidirectional;
use drivers::edu::Edu;
use hw::edu::DMA_COMMAND;

use crate::witness::{Event, Witness, assert_ordered_reads, assert_ordered_writes};
use machine::MachineConfig;
use rig::PAGE;

/// What is done for a transfer there and one back, of memory that is mapped already.
fn transfers() -> Vec<Event> {
    let mut witness = Witness::boot(MachineConfig::default().with_ram(64 << 20));
    let function = witness
        .rig
        .computer
        .edus()
        .next()
        .expect("a device")
        .clone();
    witness.watch(&function, None);
    let device = witness.attach(&function);
    let tree = witness.rig.computer.resources_mut();
    let mut edu = Edu::start(device, &function, tree).expect("it starts");
    let buffer = DmaBuffer::allocate(witness.platform, PAGE).expect("memory");
    let mapping = edu
        .device()
        .map_single(buffer, Bidirectional)
        .expect("it maps");
    witness.take();
    edu.fetch(&mapping, 0, 64).expect("it is fetched");
    edu.store(&mapping, 64, 64).expect("it is stored");
    let events = witness.take();
    mapping.unmap().expect("it unmaps");
    edu.stop().detach().expect("it detaches");
    drop(function);
    witness.finish();
    events
}

#[test]
fn what_is_to_be_fetched_is_in_memory_before_the_engine_starts() {
    assert_ordered_writes(&transfers(), DMA_COMMAND, 2);
}

#[test]
fn what_was_stored_is_read_after_the_engine_stopped() {
    // Before and after each.
    assert_ordered_reads(&transfers(), DMA_COMMAND, 4);
}
