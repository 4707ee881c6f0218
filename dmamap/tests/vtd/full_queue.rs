//! More to invalidate than the queue has room for.

use machine::iommu::vtd::VtdConfig;
use rig::modes::{WAYS, Way};
use rig::waiting::no_invalidation_is_lost;
use rig::{Rig, small};

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
    let iommu = rig::vtd(way.unit(VtdConfig::default()));
    let rig = Rig::boot_with(small().with_iommu(iommu), way.options());
    let unit = rig.unit(0).clone();
    no_invalidation_is_lost(rig, &*unit, UNMAPS);
}
