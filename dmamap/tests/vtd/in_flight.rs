//! Requests under way when memory is taken from a device: nothing is given back before they have arrived.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use crate::modes::{WAYS, Way};
use crate::rig::{EDU, PAGE, Rig, small};
use dmamap::buffer::DmaBuffer;
use dmamap::device::Device;
use dmamap::map::{Bidirectional, ToDevice};
use hosted::Hosted;
use machine::bus::Access;
use machine::iommu::translator::{InFlight, Translator};
use machine::iommu::vtd::VtdConfig;

/// Long enough for what does not wait to be over.
const A_WHILE: Duration = Duration::from_millis(30);

fn buffer(device: &Device<Hosted>) -> DmaBuffer<Hosted> {
    DmaBuffer::allocate(device.platform(), PAGE).unwrap()
}

/// Runs `wait` while `request` is under way; asserts that it did not end before the request arrived.
fn while_in_flight<R: Send>(request: InFlight<'_>, wait: impl FnOnce() -> R + Send) -> R {
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            let result = wait();
            done.store(true, Ordering::SeqCst);
            result
        });
        thread::sleep(A_WHILE);
        assert!(
            !done.load(Ordering::SeqCst),
            "a request was still under way"
        );
        drop(request);
        waiting.join().expect("it ends well")
    })
}

fn in_every_way() -> impl Iterator<Item = (Way, Access)> {
    let accesses = [Access::Read, Access::Write];
    WAYS.into_iter()
        .flat_map(move |way| accesses.map(|access| (way, access)))
}

fn boot(way: Way) -> Rig {
    let iommu = crate::rig::vtd(way.unit(VtdConfig::default()));
    Rig::boot_with(small().with_iommu(iommu), way.options())
}

#[test]
fn unmapping_waits_for_requests_that_are_under_way() {
    for (way, access) in in_every_way() {
        let rig = boot(way);
        let device = rig.attach(EDU);
        let mapping = device.map_single(buffer(&device), Bidirectional).unwrap();
        let bus = mapping.bus_addr().as_u64();
        let request = rig.unit(0).translate(EDU.id, bus, access).unwrap();
        drop(while_in_flight(request, move || mapping.unmap().unwrap()));
        drop(device);
        rig.finish();
    }
}

#[test]
fn detaching_waits_for_requests_that_are_under_way() {
    for (way, access) in in_every_way() {
        let rig = boot(way);
        let device = rig.attach(EDU);
        let mapping = device.map_single(buffer(&device), Bidirectional).unwrap();
        let bus = mapping.bus_addr().as_u64();
        let request = rig.unit(0).translate(EDU.id, bus, access).unwrap();
        while_in_flight(request, move || device.detach().unwrap());
        drop(mapping);
        rig.finish();
    }
}

#[test]
fn a_table_that_is_being_unlinked_does_not_hide_what_is_mapped_meanwhile() {
    for way in WAYS {
        let rig = boot(way);
        check_unlinked(&rig);
        rig.finish();
    }
}

fn check_unlinked(rig: &Rig) {
    let device = rig.attach(EDU);
    let unit = rig.unit(0).clone();
    let reaches = |bus| unit.translate(EDU.id, bus, Access::Read).is_ok();
    let warm = device.map_single(buffer(&device), ToDevice).unwrap();
    let place = warm.bus_addr().as_u64();
    assert!(reaches(place));
    drop(warm);
    // The unit now remembers the way to a table that is empty.
    unit.hold_queue();
    thread::scope(|scope| {
        scope.spawn(|| device.reclaim().unwrap());
        thread::sleep(A_WHILE);
        scope.spawn(|| {
            let mapping = device.map_single(buffer(&device), ToDevice).unwrap();
            // Mapping waits for the unit, or needs not: in either case the device may be told now.
            let bus = mapping.bus_addr().as_u64();
            assert_eq!(bus >> 21, place >> 21, "this test is about one table");
            assert!(reaches(bus), "the unit looked in the old table");
            drop(mapping);
        });
        thread::sleep(A_WHILE);
        unit.release_queue();
    });
    drop(device);
}
