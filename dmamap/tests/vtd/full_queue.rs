//! More to invalidate than the queue has room for.

use std::thread;
use std::time::Duration;

use crate::modes::{WAYS, Way};
use crate::rig::{EDU, PAGE, Rig, buffer_of, small};
use dmamap::map::ToDevice;
use machine::bus::Access;
use machine::iommu::translator::Translator;
use machine::iommu::vtd::VtdConfig;

/// Each unmap takes two descriptors, an invalidation and its wait; the queue has room for 255, or for 127 of scalable
/// mode.
const UNMAPS: usize = 160;

#[test]
fn no_invalidation_is_lost_when_the_queue_is_full() {
    for way in WAYS {
        check(way);
    }
}

fn check(way: Way) {
    let iommu = crate::rig::vtd(way.unit(VtdConfig::default()));
    let rig = Rig::boot_with(small().with_iommu(iommu), way.options());
    let device = rig.attach(EDU);
    let unit = rig.unit(0);
    let mappings: Vec<_> = (0..UNMAPS)
        .map(|_| {
            device
                .map_single(buffer_of(rig.kernel, PAGE, 1), ToDevice)
                .unwrap()
        })
        .collect();
    let reaches = |bus| unit.translate(EDU.id, bus, Access::Read).is_ok();
    let all: Vec<u64> = mappings
        .iter()
        .map(|mapping| mapping.bus_addr().as_u64())
        .collect();
    // The unit remembers each of them from here on.
    assert!(all.iter().all(|&bus| reaches(bus)));
    unit.hold_queue();
    thread::scope(|scope| {
        for mapping in mappings {
            scope.spawn(move || mapping.unmap().unwrap());
        }
        thread::sleep(Duration::from_millis(50));
        unit.release_queue();
    });
    assert!(
        !all.iter().any(|&bus| reaches(bus)),
        "an invalidation was lost"
    );
    drop(device);
    rig.finish_after_faults();
}
