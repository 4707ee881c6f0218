//! Maintenance and barriers of every kind of mapping, in their order: data is taken out of the caches' way before it is the other
//! side's, and a barrier stands before anything that follows.

use dmamap::addr::{BusAddr, BusRange};
use dmamap::buffer::{DmaMemory, ScatterList, ScatteredBuffer};
use dmamap::device::Device;
use dmamap::map::{AnyDirection, Attributes, Bidirectional};
use dmamap::system::Protection;
use hosted::{Hosted, PlatformCall, Tracer};
use journeys::boot::BootOptions;
use machine::cache::Snooping;
use machine::temper::Temper;
use machine::{Iommu, Machine};

use rig::{EDU, PAGE, Rig, buffer_of, small};

/// Written back, dropped, and the barriers.
pub(crate) fn told(tracer: Tracer<Hosted>) -> String {
    let letter = |call: &PlatformCall| match call {
        PlatformCall::CleanCache(..) => Some('c'),
        PlatformCall::InvalidateCache(..) => Some('i'),
        PlatformCall::WriteBarrier => Some('w'),
        PlatformCall::ReadBarrier => Some('r'),
        PlatformCall::FullBarrier => Some('f'),
        _ => None,
    };
    tracer.take().iter().filter_map(letter).collect()
}

/// The CPU's turn begins: what the device wrote is dropped from the caches before anything is read.
const FOR_CPU: &str = "ir";
/// It ends: what the CPU wrote is in memory before anything that tells the device.
const FOR_DEVICE: &str = "cw";

/// A device that does not snoop, and that nothing translates for: no barrier is that of a table.
fn run(body: impl FnOnce(Tracer<Hosted>, &Device<Tracer<Hosted>>, Hosted)) {
    // The device has few address lines: nothing is to be copied for it.
    let config = small().with_ram(64 << 20).with_iommu(Iommu::None);
    let config = config.with_devices(Snooping::Off).with_temper(Temper::Keep);
    let machine = Machine::boot(config).unwrap();
    let kernel = Hosted::boot(machine.clone()).unwrap();
    let tracer = Tracer::new(kernel, 4096);
    let rig = Rig::boot_on(machine, kernel, tracer, BootOptions::default()).unwrap();
    let device = rig.attach_trusted(EDU, Protection::Identity);
    body(tracer, &device, kernel);
    device.detach().unwrap();
    rig.finish();
}

#[test]
fn owned_memory_is_synced_and_then_ordered() {
    run(|tracer, device, _| {
        let buffer = buffer_of(tracer, PAGE, 1);
        tracer.take();
        let mut mapping = device.map_single(buffer, Bidirectional).unwrap();
        assert_eq!(told(tracer), "c");
        let view = mapping.sync_for_cpu();
        assert_eq!(told(tracer), FOR_CPU);
        drop(view);
        assert_eq!(told(tracer), FOR_DEVICE);
        let view = mapping.sync_range_for_cpu(64, 64).unwrap();
        assert_eq!(told(tracer), FOR_CPU);
        drop(view);
        assert_eq!(told(tracer), FOR_DEVICE);
        let retired = mapping.retire();
        tracer.take();
        retired.read_at(0, &mut [0; 8]).unwrap();
        assert_eq!(told(tracer), FOR_CPU);
        let buffer = retired.finish().unwrap();
        assert_eq!(told(tracer), FOR_CPU);
        let mapping = device.map_single(buffer, Bidirectional).unwrap();
        tracer.take();
        drop(mapping.unmap().unwrap());
        assert_eq!(told(tracer), FOR_CPU);
    });
}

#[test]
fn a_list_is_synced_and_then_ordered() {
    run(|tracer, device, _| {
        let buffer = ScatteredBuffer::allocate(tracer, PAGE).unwrap();
        tracer.take();
        let mut list = device.map_sg(buffer, Bidirectional).unwrap();
        assert_eq!(told(tracer), "c");
        let view = list.sync_for_cpu();
        assert_eq!(told(tracer), FOR_CPU);
        drop(view);
        assert_eq!(told(tracer), FOR_DEVICE);
        drop(list.sync_range_for_cpu(64, 64).unwrap());
        assert_eq!(told(tracer), [FOR_CPU, FOR_DEVICE].concat());
        drop(list.unmap().unwrap());
        assert_eq!(told(tracer), FOR_CPU);
    });
}

#[test]
fn noncoherent_memory_is_synced_and_then_ordered() {
    run(|tracer, device, _| {
        let mut row = device.alloc_noncoherent(PAGE, Bidirectional).unwrap();
        tracer.take();
        drop(row.sync_for_cpu());
        drop(row.sync_range_for_cpu(64, 64).unwrap());
        let turn = [FOR_CPU, FOR_DEVICE].concat();
        assert_eq!(told(tracer), turn.repeat(2));
        row.free().unwrap();
        let mut pieces = device.alloc_noncontiguous(PAGE, Bidirectional).unwrap();
        tracer.take();
        drop(pieces.vmap());
        drop(pieces.sync_range_for_cpu(64, 64).unwrap());
        assert_eq!(told(tracer), turn.repeat(2));
        pieces.free().unwrap();
    });
}

#[test]
fn memory_without_an_owner_is_synced_and_then_ordered() {
    run(|tracer, device, _| {
        let mut buffer = buffer_of(tracer, PAGE, 1);
        tracer.take();
        let both = AnyDirection::Bidirectional;
        // SAFETY: the buffer is not touched while it is mapped, and the device does nothing.
        unsafe {
            let range = device.map_single_raw(buffer.virt(), PAGE, both).unwrap();
            assert_eq!(told(tracer), "c");
            device.sync_raw_range_for_cpu(range, 0, 64, both).unwrap();
            assert_eq!(told(tracer), FOR_CPU);
            device
                .sync_raw_range_for_device(range, 0, 64, both)
                .unwrap();
            assert_eq!(told(tracer), FOR_DEVICE);
            device.unmap_phys(range, both, Attributes::NONE).unwrap();
            assert_eq!(told(tracer), FOR_CPU);
        }
        buffer.as_mut_slice()[0] = 2;
    });
}

fn list_of<B: DmaMemory>(buffer: B) -> ScatterList<B> {
    let mut list = ScatterList::with_room(1).unwrap();
    assert!(list.push(buffer).is_ok(), "there is room");
    list
}

#[test]
fn a_table_of_buffers_is_synced_and_then_ordered() {
    run(|tracer, device, _| {
        let list = list_of(buffer_of(tracer, PAGE, 1));
        tracer.take();
        let mut table = device.map_sgtable(list, Bidirectional).unwrap();
        assert_eq!(told(tracer), "c");
        drop(table.sync_for_cpu());
        assert_eq!(told(tracer), [FOR_CPU, FOR_DEVICE].concat());
        drop(table.unmap().unwrap());
        assert_eq!(told(tracer), FOR_CPU);
        // Whoever syncs alone still has what the device told ordered before what is read next.
        let list = list_of(buffer_of(tracer, PAGE, 1));
        let skipped = Attributes::NONE.skip_cpu_sync();
        let table = device.map_sgtable_attrs(list, Bidirectional, skipped);
        tracer.take();
        drop(table.unwrap().unmap().unwrap());
        assert_eq!(told(tracer), "r");
    });
}

#[test]
fn a_list_without_an_owner_is_synced_and_then_ordered() {
    run(|tracer, device, _| {
        let buffer = buffer_of(tracer, PAGE, 1);
        let pieces = [buffer.segment(0)];
        let mut list = [BusRange::new(BusAddr::new(0), 0).unwrap()];
        for direction in [AnyDirection::Bidirectional, AnyDirection::ToDevice] {
            let for_cpu = match direction {
                AnyDirection::ToDevice => "r",
                _ => FOR_CPU,
            };
            tracer.take();
            // SAFETY: the buffer is not touched while it is mapped, and the device does nothing.
            unsafe {
                device.map_sg_raw(&pieces, &mut list, direction).unwrap();
                assert_eq!(told(tracer), "c");
                device.sync_raw_sg_for_cpu(&pieces, &list, direction);
                assert_eq!(told(tracer), for_cpu);
                device.sync_raw_sg_for_device(&pieces, &list, direction);
                assert_eq!(told(tracer), FOR_DEVICE);
                let none = Attributes::NONE;
                device
                    .unmap_sg_raw(&pieces, &list, direction, none)
                    .unwrap();
                assert_eq!(told(tracer), for_cpu);
            }
        }
        let skipped = Attributes::NONE.skip_cpu_sync();
        let both = AnyDirection::Bidirectional;
        // SAFETY: as above.
        unsafe {
            let range = device.map_phys_attrs(pieces[0], both, skipped).unwrap();
            tracer.take();
            device.unmap_phys(range, both, skipped).unwrap();
        }
        assert_eq!(told(tracer), "r");
    });
}
