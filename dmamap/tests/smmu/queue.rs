//! The command queue: full, stopped by an error, and going on after a reset.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use dmamap::buffer::DmaBuffer;
use dmamap::iommu::{RevokeError, UnitError};
use dmamap::map::{Bidirectional, ToDevice};
use hosted::Hosted;
use machine::Machine;
use machine::bus::Access;
use machine::iommu::smmu::{QueueFault, SmmuConfig};
use machine::iommu::translator::Translator;

use super::{STAGES, UNIT, boot, model, with};
use rig::observed::{Observed, Touch};
use rig::patience::wait_until;
use rig::waiting::no_invalidation_is_lost;
use rig::{EDU, PAGE, Rig, buffer_of, impatient, restart_under_load};

/// Each unmap takes two commands, an invalidation and its synchronisation; the queue has room for 255.
const UNMAPS: usize = 160;

#[test]
fn no_invalidation_is_lost_when_the_queue_is_full() {
    for stage in STAGES {
        let rig = boot(stage);
        let unit = model(&rig);
        no_invalidation_is_lost(rig, &*unit, UNMAPS);
    }
}

#[test]
fn the_queue_goes_around_its_ring_many_times() {
    let rig = boot(dmamap::system::Stage::First);
    let device = rig.attach(EDU);
    for _ in 0..1000 {
        let mapping = device
            .map_single(buffer_of(rig.kernel, PAGE, 1), ToDevice)
            .unwrap();
        mapping.unmap().unwrap();
    }
    assert!(model(&rig).statistics().syncs >= 1000);
    drop(device);
    rig.finish();
}

#[test]
fn a_command_error_stops_the_queue_and_a_reset_makes_it_go_on() {
    let rig = Rig::boot_with(with(SmmuConfig::default()), impatient(10_000));
    let device = rig.attach(EDU);
    let buffer = DmaBuffer::allocate(rig.kernel, PAGE).unwrap();
    let mapping = device.map_single(buffer, Bidirectional).unwrap();
    let unit = model(&rig);
    unit.fail_queue(QueueFault::FetchError);
    let error = mapping.unmap().unwrap_err();
    match error.error {
        RevokeError::Unit(UnitError::QueueStopped { unit, reason, .. }) => {
            assert_eq!((unit, reason), (UNIT, "command fetch aborted"));
        }
        other => panic!("{other}"),
    }
    // SAFETY: nobody makes the devices do anything meanwhile but the heartbeat, which may be refused.
    unsafe { rig.system().restart_units() }.expect("the unit restarts");
    let buffer = DmaBuffer::allocate(rig.kernel, PAGE).unwrap();
    let mapping = device.map_single(buffer, Bidirectional).unwrap();
    mapping.unmap().unwrap();
    drop(device);
    rig.assert_no_findings();
    rig.abandon();
}

#[test]
fn nobody_submits_to_a_ring_that_begins_anew() {
    const COMMAND_QUEUE_BASE: u64 = 0x90;
    // The unit's queue is off, and its indices are still those of before: long enough for others to submit.
    let begins_anew = Arc::new(AtomicBool::new(false));
    let (armed, seen) = (Arc::new(AtomicBool::new(false)), begins_anew.clone());
    let is_armed = armed.clone();
    let observer = move |_: &Machine, touch| {
        let Touch::Wrote { phys, .. } = touch else {
            return;
        };
        if phys == UNIT.as_u64() + COMMAND_QUEUE_BASE && is_armed.load(Ordering::SeqCst) {
            seen.store(true, Ordering::SeqCst);
            thread::sleep(Duration::from_millis(30));
        }
    };
    let machine = Machine::boot(with(SmmuConfig::default())).unwrap();
    let kernel = Hosted::boot(Observed::new(machine.clone(), observer)).unwrap();
    let rig = Rig::boot_on(machine, kernel, kernel, impatient(20_000)).unwrap();
    let device = rig.attach(EDU);
    let map = || {
        let buffer = DmaBuffer::allocate(rig.kernel, PAGE).unwrap();
        device.map_single(buffer, Bidirectional).unwrap()
    };
    let unit = model(&rig);
    for _ in 0..8 {
        map().unmap().unwrap();
    }
    for _ in 0..3 {
        let mapping = map();
        let bus = mapping.bus_addr().as_u64();
        assert!(unit.translate(EDU.id, bus, Access::Write).is_ok());
        begins_anew.store(false, Ordering::SeqCst);
        armed.store(true, Ordering::SeqCst);
        thread::scope(|scope| {
            let unmapping = scope.spawn(|| {
                wait_until("the ring begins anew", || {
                    begins_anew.load(Ordering::SeqCst)
                });
                mapping.unmap().map(drop)
            });
            // SAFETY: the device is idle.
            unsafe { rig.system().restart_units() }.expect("the unit restarts");
            unmapping.join().expect("it ends well").unwrap();
        });
        armed.store(false, Ordering::SeqCst);
        assert!(unit.translate(EDU.id, bus, Access::Write).is_err());
    }
    drop(device);
    rig.finish_after_faults();
}

#[test]
fn others_map_and_unmap_while_the_unit_restarts() {
    let rig = boot(dmamap::system::Stage::First);
    restart_under_load(&rig);
    rig.finish_after_faults();
}
