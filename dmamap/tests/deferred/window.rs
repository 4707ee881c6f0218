//! How many mappings wait for a flush, and how long.

use std::time::{Duration, Instant};

use machine::temper::Temper;

use super::kinds::kinds;
use super::{BYTES, LONG_MS, attach_deferred, deferred_edu, flushing, lend, load};
use rig::patience::wait_until;
use rig::{EDU, PAGE, Rig, small, try_write};

#[test]
fn a_timer_flushes_what_nobody_asks_for() {
    const WINDOW_MS: u64 = 30;
    for kind in kinds() {
        let mut rig = kind.boot(Temper::Keep, 64, WINDOW_MS);
        let mut edu = deferred_edu(&mut rig);
        load(&mut edu, 0x22);
        let retired: Vec<_> = (0..3).map(|_| lend(edu.device(), 0x11)).collect();
        let buses: Vec<_> = retired.iter().map(|lent| lent.bus_addr()).collect();
        for lent in &retired {
            edu.fetch(lent, 0, BYTES).unwrap();
        }
        load(&mut edu, 0x22);
        edu.device().flush().unwrap();
        let before = edu.device().flush_figures().flushes;
        let begun = Instant::now();
        let retired: Vec<_> = retired.into_iter().map(|lent| lent.retire()).collect();
        let window = Duration::from_millis(WINDOW_MS);
        // On a busy host a timer may come before all are retired.
        let together = begun.elapsed() < window;
        wait_until("a timer flushes", || {
            edu.device().flush_figures().waiting == 0
        });
        assert!(begun.elapsed() >= window);
        let figures = edu.device().flush_figures();
        let flushes = figures.flushes - before;
        assert!(
            flushes >= 1 && (flushes == 1 || !together),
            "{}: {flushes}",
            kind.name
        );
        assert!(figures.longest_window_ns >= WINDOW_MS * 1_000_000);
        for (retired, bus) in retired.into_iter().zip(buses) {
            let mut buffer = retired.try_finish().expect("it is settled").unwrap();
            buffer.as_mut_slice().fill(0x11);
            try_write(&mut edu, bus, BYTES);
            assert!(buffer.as_slice().iter().all(|&byte| byte == 0x11));
        }
        // And again: each window has its timer.
        let again = lend(edu.device(), 0x11).retire();
        wait_until("a timer flushes again", || again.is_settled());
        drop((again, edu));
        rig.finish_after_faults();
    }
}

#[test]
fn strict_devices_have_a_timer_too() {
    let rig = Rig::boot_with(small(), flushing(Default::default(), 64, 20));
    let device = rig.attach(EDU);
    std::mem::forget(lend(&device, 1).retire());
    wait_until("a timer flushes", || device.flush_figures().waiting == 0);
    let figures = device.flush_figures();
    assert_eq!((figures.retired, figures.flushes, figures.lost), (1, 1, 0));
    device.detach().unwrap();
    let report = rig.finish_with_losses();
    assert!(report.frames.in_use >= 1, "what was forgotten is leaked");
}

#[test]
fn who_finds_the_queue_full_flushes() {
    for kind in kinds() {
        let rig = kind.boot(Temper::Keep, 4, LONG_MS);
        let device = attach_deferred(&rig);
        let lent: Vec<_> = (0..9).map(|_| lend(&device, 1)).collect();
        let commands = rig.system().invalidations();
        let mut retired = Vec::new();
        for (n, lent) in lent.into_iter().enumerate() {
            retired.push(lent.retire());
            let figures = device.flush_figures();
            assert!(figures.waiting <= 4, "{}: {figures:?}", kind.name);
            assert_eq!(figures.flushes, n as u64 / 4, "{}", kind.name);
        }
        let figures = device.flush_figures();
        assert_eq!((figures.waiting, figures.waiting_bytes), (1, PAGE));
        assert_eq!((figures.largest_flush, figures.retired), (4, 9));
        let commands = rig.system().invalidations() - commands;
        assert!(commands <= 2 * 4, "{}: {commands} commands", kind.name);
        let settled = retired.iter().filter(|one| one.is_settled()).count();
        assert_eq!(settled, 8);
        for one in retired {
            drop(one.finish().unwrap());
        }
        device.detach().unwrap();
        rig.finish();
    }
}

#[test]
fn a_deferred_domain_needs_two_frames_more_and_no_unmap_needs_any() {
    let rig = Rig::boot_with(small(), flushing(Default::default(), 256, LONG_MS));
    let strict = rig.attach(EDU);
    let born = strict.domain_frames();
    strict.detach().unwrap();
    let device = attach_deferred(&rig);
    assert_eq!(device.domain_frames(), born + 2);
    for _ in 0..3 {
        let lent: Vec<_> = (0..40).map(|_| lend(&device, 1)).collect();
        let in_use = rig.frames_in_use();
        let retired: Vec<_> = lent.into_iter().map(|lent| lent.retire()).collect();
        assert_eq!(rig.frames_in_use(), in_use);
        drop(retired);
    }
    device.reclaim().unwrap();
    assert_eq!(device.domain_frames(), born + 2);
    device.detach().unwrap();
    rig.finish();
}

#[test]
fn what_a_strict_device_retires_takes_frames_that_reclaiming_gives_back() {
    let rig = Rig::boot_with(small(), flushing(Default::default(), 256, LONG_MS));
    let device = rig.attach(EDU);
    let born = device.domain_frames();
    let retired = lend(&device, 1).retire();
    assert!(device.domain_frames() >= born + 2);
    device.reclaim().unwrap();
    assert!(retired.is_settled(), "what waits is flushed first");
    assert_eq!(device.domain_frames(), born);
    drop(retired);
    device.detach().unwrap();
    rig.finish();
}
