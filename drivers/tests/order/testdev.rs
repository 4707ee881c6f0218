//! The IOMMU test device, whose registers another device's memory stands in for here: it answers nothing, and the order in which
//! it is asked shows.

use board::hardware::{Hardware, Width};
use dmamap::buffer::DmaBuffer;
use dmamap::map::Bidirectional;
use drivers::iommu_testdev::{IommuTestdev, IommuTestdevError};
use hw::iommu_testdev::{DOORBELL, Outcome, RESULT};
use machine::MachineConfig;
use machine::fabric::{Below, FunctionConfig, Model, PortConfig};

use crate::witness::{Event, Witness, assert_ordered_reads, assert_ordered_writes};
use rig::PAGE;

/// What is done for a write.
fn write() -> Vec<Event> {
    let memory = Below::Device(vec![FunctionConfig::new(Model::Memory)]);
    let config = MachineConfig::default().with_ram(64 << 20);
    let mut witness = Witness::boot(config.with_port(PortConfig::new(memory)));
    let mut functions = witness.rig.computer.topology().functions();
    let is_memory = functions.find(|one| one.device() == 0x00dd);
    let function = is_memory.expect("the memory").clone();
    drop(functions);
    witness.watch(&function, None);
    function.enable_memory().expect("it answers");
    let bar = function.bar(0).and_then(|bar| bar.phys).expect("a place");
    let idle = u64::from(Outcome::Idle.code());
    let machine = witness.rig.machine.clone();
    machine.write(bar.start().as_u64() + RESULT, Width::Dword, idle);
    drop(machine);
    let device = witness.attach(&function);
    let tree = witness.rig.computer.resources_mut();
    let mut testdev = IommuTestdev::start(device, &function, tree).expect("it is idle");
    let buffer = DmaBuffer::allocate(witness.platform, PAGE).expect("memory");
    let mapping = testdev.device().map_single(buffer, Bidirectional);
    let mapping = mapping.expect("it maps");
    witness.take();
    let written = testdev.write(&mapping, 0, 64);
    assert!(matches!(written, Err(IommuTestdevError::Answer { .. })));
    let events = witness.take();
    mapping.unmap().expect("it unmaps");
    testdev.stop().detach().expect("it detaches");
    drop(function);
    witness.finish();
    events
}

#[test]
fn what_is_to_be_overwritten_is_in_memory_before_the_device_is_armed() {
    assert_ordered_writes(&write(), DOORBELL, 1);
}

#[test]
fn what_was_written_is_read_after_the_result() {
    assert_ordered_reads(&write(), RESULT, 1);
}
