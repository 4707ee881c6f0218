//! What is taken back is the CPU's before anything is read that follows, also where nothing is to be maintained: a barrier
//! stands behind whatever the unit was asked, and behind the caches' maintenance.

use dmamap::addr::{DmaMask, PhysAddr, PhysRange};
use dmamap::buffer::DmaMemory;
use dmamap::device::Device;
use dmamap::map::{AnyDirection, Attributes, FromDevice};
use dmamap::mmio::Mmio;
use dmamap::platform::MemoryAttribute;
use dmamap::system::Protection;
use hosted::{Hosted, Tracer};
use journeys::boot::BootOptions;
use machine::cache::Snooping;
use machine::device::fifo::FIFO_REGISTERS;
use machine::{Iommu, Machine, MachineConfig};

use crate::order::told;
use rig::kinds::kinds;
use rig::{EDU, PAGE, Rig, buffer_of, small};

type Traced = Tracer<Hosted>;

fn traced(config: MachineConfig) -> (Traced, Rig<Traced>) {
    let machine = Machine::boot(config).unwrap();
    let kernel = Hosted::boot(machine.clone()).unwrap();
    let tracer = Tracer::new(kernel, 4096);
    let rig = Rig::boot_on(machine, kernel, tracer, BootOptions::default()).unwrap();
    (tracer, rig)
}

/// Without a unit, and behind each kind: the name, and how a device is attached that no order is made for by waiting.
fn everywhere() -> Vec<(&'static str, Iommu, Protection)> {
    let mut found = vec![("none", Iommu::None, Protection::Identity)];
    for (name, iommu) in kinds() {
        found.push((name, iommu.clone(), Protection::Strict));
        found.push((name, iommu, Protection::Deferred));
    }
    found
}

#[test]
fn memory_without_an_owner_that_needs_no_maintenance_is_ordered() {
    for (name, iommu, protection) in everywhere() {
        let (tracer, rig) = traced(small().with_ram(64 << 20).with_iommu(iommu));
        let device = rig.attach_trusted(EDU, protection);
        let buffer = buffer_of(tracer, PAGE, 1);
        let both = AnyDirection::Bidirectional;
        // SAFETY: the buffer is not touched while it is mapped, and the device does nothing.
        unsafe {
            let range = device.map_single_raw(buffer.virt(), PAGE, both).unwrap();
            tracer.take();
            device.unmap_phys(range, both, Attributes::NONE).unwrap();
        }
        let calls = told(tracer);
        println!("{name} {protection:?}: {calls}");
        assert!(calls.ends_with('r'), "{name} {protection:?}: {calls}");
        device.detach().unwrap();
        drop(buffer);
        rig.finish();
    }
}

#[test]
fn links_without_owners_are_synced_and_then_ordered() {
    for (name, iommu) in kinds() {
        for (snooping, last) in [(Snooping::On, "r"), (Snooping::Off, "ir")] {
            let (tracer, rig) = traced(small().with_iommu(iommu.clone()).with_devices(snooping));
            let device = rig.attach_trusted(EDU, Protection::Strict);
            let buffer = buffer_of(tracer, PAGE, 1);
            let memory = buffer.segment(0);
            let both = AnyDirection::Bidirectional;
            let span = device.iova_try_alloc_raw(memory.start(), PAGE, both, Attributes::NONE);
            let mut span = span.unwrap().expect("the device is behind an IOMMU");
            // SAFETY: the buffer is not touched while it is linked, and the device does nothing.
            unsafe {
                span.link(0, memory).unwrap();
                span.sync(0, PAGE).unwrap();
                tracer.take();
                span.unlink(0, PAGE).unwrap();
            }
            let calls = told(tracer);
            println!("{name} {snooping:?}: {calls}");
            assert!(calls.ends_with(last), "{name} {snooping:?}: {calls}");
            span.free().unwrap();
            device.detach().unwrap();
            drop(buffer);
            rig.finish();
        }
    }
}

/// The registers, claimed.
fn claimed(rig: &mut Rig<Traced>, platform: Traced) -> Mmio<Traced> {
    let start = PhysAddr::new(FIFO_REGISTERS.start);
    let range = PhysRange::new(start, FIFO_REGISTERS.end - FIFO_REGISTERS.start).unwrap();
    let tree = rig.computer.resources_mut();
    // SAFETY: the machine has registers there, and nothing else; they make no requests.
    unsafe { tree.insert_registers("fifo", range) }.unwrap();
    let claim = tree.request("fifo", range).unwrap();
    Mmio::ioremap(platform, claim, MemoryAttribute::WriteCombining).unwrap()
}

#[test]
fn registers_that_the_cpu_may_read_early_are_ordered() {
    for (name, iommu, protection) in everywhere() {
        let (tracer, mut rig) = traced(small().with_ram(64 << 20).with_iommu(iommu));
        let device: Device<_> = rig.attach_trusted(EDU, protection);
        device.set_mask(DmaMask::ALL).unwrap();
        let window = claimed(&mut rig, tracer);
        let registers = window.phys();
        let mapping = device.map_registers(window, FromDevice).unwrap();
        tracer.take();
        drop(mapping.unmap().unwrap());
        let owned = told(tracer);
        // SAFETY: nobody drives the registers, which make no requests.
        let raw = unsafe {
            let direction = AnyDirection::FromDevice;
            let bus = device.map_registers_raw(registers, direction).unwrap();
            tracer.take();
            device.unmap_resource_raw(bus).unwrap();
            told(tracer)
        };
        println!("{name} {protection:?}: {owned} {raw}");
        for calls in [owned, raw] {
            assert!(calls.ends_with('r'), "{name} {protection:?}: {calls}");
        }
        device.detach().unwrap();
        rig.finish();
    }
}
