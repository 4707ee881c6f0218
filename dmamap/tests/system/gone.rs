//! A unit that is gone, as one that is unplugged or loses its power: its registers read as all ones. Nothing that it was
//! to confirm counts as confirmed, nobody waits for it long, and it tells of no faults.

use std::thread;
use std::time::{Duration, Instant};

use crate::altered::Altered;
use dmamap::iommu::{RevokeError, UnitError};
use dmamap::map::ToDevice;
use machine::Iommu;
use rig::kinds::kinds;
use rig::{EDU, PAGE, buffer_of, impatient, small};

/// More than the entries of any queue, each time one submission of two or more: all places in a ring are met.
const TIMES: usize = 300;

/// For how long a driver waits for a unit that is there and does not answer.
const PATIENCE: Duration = Duration::from_secs(20);

/// Far less than that, and far more than what is done without a wait takes on a busy host.
const SOON: Duration = Duration::from_secs(10);

fn confirms_nothing(kind: &str, iommu: Iommu) {
    let (fading, rig) = Altered::boot(
        small().with_iommu(iommu),
        impatient(PATIENCE.as_millis() as u64),
    );
    let device = rig.attach(EDU);
    for time in 0..TIMES {
        let buffer = buffer_of(rig.kernel, PAGE, 1);
        let mapping = device.map_single(buffer, ToDevice).expect("it is mapped");
        fading.go();
        let begun = Instant::now();
        let ended = mapping.unmap();
        rig.system().service_faults();
        let waited = begun.elapsed();
        fading.come_back();
        match ended.map_err(|quarantined| quarantined.error) {
            Err(RevokeError::Unit(UnitError::QueueStopped { .. })) => {}
            other => panic!("{kind}, time {time}: {other:?}"),
        }
        assert!(waited < SOON, "{kind}, time {time}: {waited:?} were waited");
    }
    assert_eq!(rig.system().faults().total, 0, "{kind}");
    fading.go();
    let begun = Instant::now();
    let detached = device.detach().map_err(|error| error.to_string());
    let error = detached.expect_err("nobody confirms it");
    assert!(
        error.contains("stopped its command queue"),
        "{kind}: {error}"
    );
    let waited = begun.elapsed();
    assert!(waited < SOON, "{kind}: {waited:?} were waited");
    rig.abandon();
}

#[test]
fn a_unit_that_is_gone_confirms_nothing_and_is_not_waited_for() {
    // Once it is back, the first that finds no room behind what it never heard of waits for half of `PATIENCE`: all at once.
    thread::scope(|scope| {
        for (kind, iommu) in kinds() {
            scope.spawn(move || confirms_nothing(kind, iommu));
        }
    });
}
