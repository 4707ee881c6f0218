//! Domains that end, and units that restart, while something waits for a flush.

use std::thread;
use std::time::Duration;

use dmamap::iommu::RevokeError;
use machine::temper::Temper;

use super::kinds::{hold, kinds, release};
use super::{BYTES, LONG_MS, attach_deferred, deferred_edu, flushing, lend, load};
use rig::patience::wait_until;
use rig::{Rig, small, try_write};

#[test]
fn detaching_settles_what_waits() {
    for kind in kinds() {
        let rig = kind.boot(Temper::Keep, 64, LONG_MS);
        let device = attach_deferred(&rig);
        let live = lend(&device, 1);
        let finished = lend(&device, 1).retire();
        let dropped = lend(&device, 1).retire();
        let large = dmamap::buffer::ScatteredBuffer::allocate(rig.kernel, 12 << 20).unwrap();
        let large = device.map_sg(large, dmamap::map::FromDevice).unwrap();
        let with_tables = large.retire();
        device.detach().unwrap();
        assert!(finished.is_settled() && with_tables.is_settled());
        drop(finished.finish().unwrap());
        drop((dropped, with_tables));
        // What is retired afterwards has nothing to wait for.
        let live = live.retire();
        assert!(live.is_settled());
        drop(live.finish().unwrap());
        // And the device can be attached again, in a domain of its own.
        let device = attach_deferred(&rig);
        drop(lend(&device, 1).unmap().unwrap());
        device.detach().unwrap();
        rig.finish();
    }
}

#[test]
fn a_detach_that_is_not_confirmed_keeps_what_waits() {
    let mut kind = kinds().swap_remove(0);
    kind.options.units.wait_bound_ms = 150;
    let rig = kind.boot(Temper::Keep, 64, LONG_MS);
    let device = attach_deferred(&rig);
    let retired = lend(&device, 1).retire();
    let live = lend(&device, 1);
    hold(&rig);
    device.detach().unwrap_err();
    let error = retired.finish().unwrap_err();
    assert_eq!(error.error, RevokeError::DetachUnconfirmed);
    let error = live.retire().finish().unwrap_err();
    assert_eq!(error.error, RevokeError::DetachUnconfirmed);
    release(&rig);
    rig.abandon();
}

#[test]
fn detaching_while_a_flush_is_under_way_waits_for_it() {
    for kind in kinds() {
        let rig = kind.boot(Temper::Keep, 64, LONG_MS);
        let device = attach_deferred(&rig);
        let retired = lend(&device, 1).retire();
        hold(&rig);
        thread::scope(|scope| {
            let finishing = scope.spawn(|| drop(retired.finish().unwrap()));
            thread::sleep(Duration::from_millis(10));
            let detaching = scope.spawn(|| device.detach().unwrap());
            thread::sleep(Duration::from_millis(10));
            release(&rig);
            detaching.join().unwrap();
            finishing.join().unwrap();
        });
        rig.finish();
    }
}

#[test]
fn timers_that_come_after_the_end_do_nothing() {
    let rig = Rig::boot_with(small(), flushing(Default::default(), 64, 20));
    for _ in 0..10 {
        let device = attach_deferred(&rig);
        std::mem::drop(lend(&device, 1).retire());
        let retired = lend(&device, 1).retire();
        device.detach().unwrap();
        drop(retired);
    }
    thread::sleep(Duration::from_millis(50));
    rig.finish();
}

#[test]
fn timers_that_come_while_devices_are_detached_take_nothing_with_them() {
    // The window is so short that timers come at every moment of a detach.
    let rig = Rig::boot_with(small(), flushing(Default::default(), 64, 0));
    // The unit's table of devices stays.
    attach_deferred(&rig).detach().unwrap();
    let in_use = rig.frames_in_use();
    for _ in 0..200 {
        let device = attach_deferred(&rig);
        let retired = [(); 3].map(|()| lend(&device, 1).retire());
        device.detach().unwrap();
        drop(retired);
        // A timer that was in holds the domain for a moment more where the host is busy, and not for good.
        wait_until("all is given back", || rig.frames_in_use() == in_use);
    }
    rig.finish();
}

#[test]
fn a_restart_of_the_units_leaves_what_waits_to_the_flush() {
    for kind in kinds() {
        let mut rig = kind.boot(Temper::Keep, 64, LONG_MS);
        let mut edu = deferred_edu(&mut rig);
        load(&mut edu, 0x22);
        let lent = lend(edu.device(), 0x11);
        let bus = lent.bus_addr();
        edu.fetch(&lent, 0, BYTES).unwrap();
        let retired = lent.retire();
        // SAFETY: the device is idle, and the heartbeat's requests may be refused.
        unsafe { rig.system().restart_units() }.unwrap();
        let retired = retired.try_finish().expect_err("no flush has covered it");
        let mut buffer = retired.finish().unwrap();
        buffer.as_mut_slice().fill(0x33);
        try_write(&mut edu, bus, BYTES);
        assert!(buffer.as_slice().iter().all(|&byte| byte == 0x33));
        drop((edu, buffer));
        rig.finish_after_faults();
    }
}

#[test]
fn what_is_forgotten_is_leaked_and_its_addresses_come_back() {
    let rig = Rig::boot_with(small(), flushing(Default::default(), 64, LONG_MS));
    let device = attach_deferred(&rig);
    let retired = lend(&device, 1).retire();
    let range = retired.range();
    std::mem::forget(retired);
    device.flush().unwrap();
    assert_eq!(lend(&device, 1).range(), range);
    device.detach().unwrap();
    let report = rig.finish_with_losses();
    assert!(report.frames.in_use >= 1);
    assert_eq!(report.frames.disturbed, 0);
}

#[test]
fn reclaiming_flushes_first() {
    for kind in kinds() {
        let rig = kind.boot(Temper::Keep, 64, LONG_MS);
        let device = attach_deferred(&rig);
        let born = device.domain_frames();
        let retired: Vec<_> = (0..20).map(|_| lend(&device, 1).retire()).collect();
        drop(retired);
        let retired = lend(&device, 1).retire();
        device.reclaim().unwrap();
        assert!(retired.is_settled());
        assert_eq!(device.domain_frames(), born, "{}", kind.name);
        drop(retired);
        device.detach().unwrap();
        rig.finish();
    }
}
