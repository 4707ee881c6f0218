//! A unit that is gone, as one that is unplugged or loses its power: its registers read as all ones. Nothing that it was
//! to confirm counts as confirmed, nobody waits for it long, and it tells of no faults.

use std::time::{Duration, Instant};

use crate::altered::Altered;
use crate::kinds::kinds;
use crate::rig::{EDU, PAGE, buffer_of, small};
use dmamap::iommu::{RevokeError, UnitError};
use dmamap::map::ToDevice;
use journeys::boot::BootOptions;

/// More than the entries of any queue, each time one submission of two or more: all places in a ring are met.
const TIMES: usize = 300;

/// Far less than so many waits of a driver that waits to the end of its patience, each a second or more.
const SOON: Duration = Duration::from_secs(60);

#[test]
fn a_unit_that_is_gone_confirms_nothing_and_is_not_waited_for() {
    for (kind, iommu) in kinds() {
        let (fading, rig) = Altered::boot(small().with_iommu(iommu), BootOptions::default());
        let device = rig.attach(EDU);
        let started = Instant::now();
        for time in 0..TIMES {
            let buffer = buffer_of(rig.kernel, PAGE, 1);
            let mapping = device.map_single(buffer, ToDevice).expect("it is mapped");
            fading.go();
            let ended = mapping.unmap();
            rig.system().service_faults();
            fading.come_back();
            match ended.map_err(|quarantined| quarantined.error) {
                Err(RevokeError::Unit(UnitError::QueueStopped { .. })) => {}
                other => panic!("{kind}, time {time}: {other:?}"),
            }
            assert!(started.elapsed() < SOON, "{kind}: it was waited for");
        }
        assert_eq!(rig.system().faults().total, 0, "{kind}");
        fading.go();
        let detached = device.detach().map_err(|error| error.to_string());
        let error = detached.expect_err("nobody confirms it");
        assert!(
            error.contains("stopped its command queue"),
            "{kind}: {error}"
        );
        assert!(started.elapsed() < SOON, "{kind}: it was waited for");
        rig.abandon();
    }
}
