//! Every allocation of every call fails in turn: an error comes back with the memory, and nothing is lost or left mapped.
//!
//! One that fails alone may be done without, as there is another way; not so where all fail that follow.

use dmamap::addr::{BusAddr, BusRange, PhysRange};
use dmamap::buffer::{DmaBuffer, ScatterList};
use dmamap::map::{AnyDirection, Attributes, FromDevice, ToDevice};
use hosted::{FaultInjector, Hosted, Persistence};
use journeys::boot::BootOptions;
use machine::Machine;

use rig::{EDU, PAGE, Rig, small};

type Kernel = FaultInjector<Hosted>;

/// Fails each request for memory that `scenario` makes in turn, which maps one short range, alone and with all that follow; its
/// outcome says whether it worked. Alone, `own` requests are not done without: the memory's, and for a span the tables'.
fn each_fails(
    own: u64,
    scenario: impl Fn(&dmamap::device::Device<Kernel>, &[DmaBuffer<Kernel>]) -> bool,
) {
    let machine = Machine::boot(small()).unwrap();
    let kernel = Hosted::boot(machine.clone()).unwrap();
    let injector = FaultInjector::new(kernel);
    let rig = Rig::boot_on(machine, kernel, injector, BootOptions::default()).unwrap();
    let device = rig.attach(EDU);
    let buffers: Vec<_> = (0..2)
        .map(|_| DmaBuffer::allocate(injector, 2 * PAGE).unwrap())
        .collect();
    let (born, lent) = (device.domain_frames(), rig.frames_in_use());
    for persistence in [Persistence::Once, Persistence::ForEver] {
        let mut noticed = 0;
        let requests = injector.sweep(persistence, |nth| {
            let before = injector.injected();
            let worked = scenario(&device, &buffers);
            let failed = injector.injected() != before;
            assert!(worked || failed, "request {nth}");
            noticed += u64::from(!worked);
            assert_eq!(rig.machine.audit().leaves, [], "request {nth}");
            let figures = device.figures();
            assert_eq!((figures.live_mappings, figures.quarantined_bytes), (0, 0));
            device.reclaim().unwrap();
            assert_eq!((device.domain_frames(), rig.frames_in_use()), (born, lent));
        });
        let missed = match persistence {
            Persistence::Once => own,
            Persistence::ForEver => requests,
        };
        assert_eq!(noticed, missed, "{persistence:?} of {requests}");
        assert!(requests >= 6, "only {requests} requests can fail");
    }
    drop(buffers);
    device.detach().unwrap();
    rig.finish();
}

fn memory(buffer: &DmaBuffer<Kernel>) -> PhysRange {
    PhysRange::new(buffer.phys(0).unwrap(), 2 * PAGE).unwrap()
}

#[test]
fn lists_of_buffers() {
    each_fails(2, |device, _| {
        let mut list = ScatterList::with_room(2).unwrap();
        for _ in 0..2 {
            match DmaBuffer::allocate(device.platform(), PAGE + 1) {
                Ok(buffer) => list.push(buffer).unwrap(),
                Err(_) => return false,
            }
        }
        match device.map_sgtable(list, FromDevice) {
            Ok(mapping) => {
                drop(mapping.unmap().unwrap());
                true
            }
            Err(refused) => {
                assert_eq!(refused.buffer.unwrap().len(), 2);
                false
            }
        }
    });
}

#[test]
fn spans_and_links() {
    each_fails(5, |device, _| {
        let mut buffers = Vec::new();
        for _ in 0..2 {
            match DmaBuffer::allocate(device.platform(), PAGE) {
                Ok(buffer) => buffers.push(buffer),
                Err(_) => return false,
            }
        }
        let first = buffers[0].phys(0).unwrap();
        let room = ScatterList::with_room(2).unwrap();
        let mut span = match device.iova_try_alloc(first, 2 * PAGE, room, ToDevice) {
            Ok(span) => span,
            Err(refused) => {
                assert!(refused.buffer.is_some());
                return false;
            }
        };
        let mut worked = true;
        for buffer in buffers {
            if let Err(refused) = span.link(buffer) {
                assert!(refused.buffer.is_some());
                worked = false;
            }
        }
        // What could be linked is usable.
        if span.links() > 0 {
            drop(span.sync().unwrap().destroy().unwrap());
        }
        worked
    });
}

#[test]
fn raw_mappings_and_lists() {
    let direction = AnyDirection::ToDevice;
    each_fails(0, |device, buffers| {
        // SAFETY: the buffers outlive the mapping, and nobody writes them.
        match unsafe { device.map_phys(memory(&buffers[0]), direction) } {
            // SAFETY: mapped above.
            Ok(range) => unsafe { device.unmap_phys(range, direction, Attributes::NONE) }.is_ok(),
            Err(_) => false,
        }
    });
    each_fails(0, |device, buffers| {
        let pieces = [
            memory(&buffers[0]).slice(0, PAGE).unwrap(),
            memory(&buffers[1]),
        ];
        let mut told = [BusRange::new(BusAddr::new(0), 0).unwrap(); 2];
        // SAFETY: as above.
        match unsafe { device.map_sg_raw(&pieces, &mut told, direction) } {
            Ok(used) => {
                // SAFETY: mapped above.
                unsafe { device.unmap_sg_raw(&pieces, &told[..used], direction, Attributes::NONE) }
                    .is_ok()
            }
            Err(_) => false,
        }
    });
}

#[test]
fn raw_spans() {
    let direction = AnyDirection::ToDevice;
    each_fails(3, |device, buffers| {
        let memory = memory(&buffers[0]);
        let none = Attributes::NONE;
        let span = device.iova_try_alloc_raw(memory.start(), 2 * PAGE, direction, none);
        let Ok(span) = span else { return false };
        let mut span = span.expect("the device is behind an IOMMU");
        // SAFETY: as above.
        let linked = unsafe { span.link(0, memory) }.is_ok();
        if linked {
            span.sync(0, 2 * PAGE).unwrap();
            // SAFETY: linked above.
            unsafe { span.unlink(0, 2 * PAGE) }.unwrap();
        }
        span.free().unwrap();
        linked
    });
}
