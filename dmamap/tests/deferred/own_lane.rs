//! What the owner of a lane has retired on its own: it counts as what waits, within the bounds of all, and every flush covers it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use dmamap::addr::BusRange;
use dmamap::device::Device;
use dmamap::map::{Bidirectional, Lane};
use dmamap::platform::Platform;
use dmamap::system::Protection;
use drivers::edu::Edu;
use hosted::Hosted;
use machine::temper::Temper;

use super::kinds::{Kind, kinds};
use super::{BYTES, Gone, LONG_MS, Lent, attach_deferred, flushing, load};
use rig::kinds::{go_on, hang};
use rig::patience::wait_until;
use rig::wide::{start, wide_functions, with_wide_edu};
use rig::{EDU, HEARTBEAT, PAGE, Rig, buffer_of, try_write};

fn boot(kind: &Kind, temper: Temper, entries: u32, window_ms: u64) -> Rig {
    let options = flushing(kind.options, entries, window_ms);
    Rig::boot_with(with_wide_edu(kind.config(temper)), options)
}

/// The device whose addresses reach far, at work.
fn edu(rig: &mut Rig) -> Edu<Hosted> {
    let function = wide_functions(rig).remove(0);
    let device = rig.system().attach(&function, Protection::Deferred);
    start(rig, &function, device.expect("the device attaches"))
}

fn lend<P: Platform>(lane: &mut Lane<P>, kernel: P, pages: u64) -> Lent<P> {
    let buffer = buffer_of(kernel, pages * PAGE, 0x11);
    lane.map_single(buffer, Bidirectional)
        .expect("it is mapped")
}

/// Retires `count` pages that the lane maps first.
fn retire(lane: &mut Lane<Hosted>, kernel: Hosted, count: usize) -> Vec<(BusRange, Gone)> {
    let lent: Vec<_> = (0..count).map(|_| lend(lane, kernel, 1)).collect();
    let retired = lent
        .into_iter()
        .map(|lent| (lent.range(), lane.retire(lent)));
    retired.collect()
}

/// Who makes the flush.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flush {
    Finish,
    Elsewhere,
    Timer,
    OthersFinish,
    Shrink,
    End,
    LaneGoesOn,
}

#[test]
fn what_a_lane_retired_is_out_of_reach_whoever_flushes() {
    for kind in kinds() {
        for how in [
            Flush::Finish,
            Flush::Elsewhere,
            Flush::Timer,
            Flush::OthersFinish,
            Flush::Shrink,
            Flush::End,
            Flush::LaneGoesOn,
        ] {
            if kind.name == "virtio" && matches!(how, Flush::Shrink | Flush::End) {
                // There lanes stage nothing.
                continue;
            }
            println!("{} {how:?}", kind.name);
            let window_ms = if how == Flush::Timer { 30 } else { LONG_MS };
            let mut rig = boot(&kind, Temper::Keep, 64, window_ms);
            let kernel = rig.kernel;
            let mut edu = edu(&mut rig);
            let mut lane = edu.device().lane();
            load(&mut edu, 0x22);
            let lent: Vec<_> = (1..4).map(|pages| lend(&mut lane, kernel, pages)).collect();
            for lent in &lent {
                // The unit remembers it.
                edu.fetch(lent, 0, BYTES).unwrap();
            }
            load(&mut edu, 0x22);
            let buses: Vec<_> = lent.iter().map(|lent| lent.range()).collect();
            let mut retired: Vec<_> = lent.into_iter().map(|lent| lane.retire(lent)).collect();
            if how != Flush::Timer {
                let settled = retired.iter().any(|one| one.is_settled());
                assert!(!settled, "{} {how:?}: nobody flushed", kind.name);
            }
            let mut buffers = Vec::new();
            match how {
                Flush::Finish => buffers.push(retired.remove(0).finish().unwrap()),
                Flush::Elsewhere => thread::scope(|scope| {
                    scope.spawn(|| edu.device().flush().unwrap());
                }),
                Flush::Timer => wait_until("a timer flushes", || {
                    retired.iter().all(|one| one.is_settled())
                }),
                Flush::OthersFinish => {
                    let other = super::lend(edu.device(), 1).retire();
                    drop(other.finish().unwrap());
                }
                Flush::Shrink => lane.shrink(),
                Flush::End => drop(std::mem::replace(&mut lane, edu.device().lane())),
                // So many that it must flush for itself.
                Flush::LaneGoesOn => drop(retire(&mut lane, kernel, 200)),
            }
            for one in retired {
                buffers.push(one.try_finish().expect("it is settled").unwrap());
            }
            for bus in &buses {
                try_write(&mut edu, bus.start(), BYTES);
            }
            for buffer in &buffers {
                let unharmed = buffer.as_slice().iter().all(|&byte| byte == 0x11);
                assert!(unharmed, "{} {how:?}", kind.name);
            }
            drop((buffers, lane, edu));
            rig.finish_after_faults();
        }
    }
}

#[test]
fn what_lanes_staged_is_counted_and_one_flush_covers_it() {
    for kind in kinds() {
        for protection in [Protection::Deferred, Protection::Strict] {
            let rig = boot(&kind, Temper::Keep, 512, LONG_MS);
            let device = rig.system().attach(&rig.function(EDU), protection).unwrap();
            let mut lanes = [device.lane(), device.lane()];
            for (round, each) in [1, 5, 40].into_iter().enumerate() {
                let before = device.flush_figures();
                let mut retired = Vec::new();
                for lane in &mut lanes {
                    retired.extend(retire(lane, rig.kernel, each));
                }
                let figures = device.flush_figures();
                let count = retired.len() as u64;
                assert_eq!(figures.waiting, count, "{}: {figures:?}", kind.name);
                assert_eq!(figures.waiting_bytes, count * PAGE, "{}", kind.name);
                assert_eq!(figures.retired - before.retired, count, "{}", kind.name);
                let settled = retired.iter().any(|(_, one)| one.is_settled());
                assert!(!settled, "{}: nobody flushed", kind.name);
                match round {
                    0 => device.flush().unwrap(),
                    1 => drop(retired.swap_remove(each).1.finish().unwrap()),
                    _ => device.reclaim().unwrap(),
                }
                let figures = device.flush_figures();
                assert_eq!((figures.waiting, figures.waiting_bytes), (0, 0));
                assert_eq!(figures.retired - before.retired, count, "{}", kind.name);
                assert_eq!(figures.flushes - before.flushes, 1, "{}", kind.name);
                assert!(figures.largest_flush >= count);
                for (_, one) in retired {
                    drop(one.try_finish().expect("it is settled").unwrap());
                }
            }
            let before = device.flush_figures().retired;
            drop(lanes);
            assert_eq!(device.flush_figures().retired, before, "{}", kind.name);
            device.detach().unwrap();
            rig.finish();
        }
    }
}

/// Mappings that a lane retires before it flushes for itself, where there is room for so many.
const STAGED: u64 = 128;

#[test]
fn a_lane_that_goes_on_flushes_for_itself_alone() {
    for kind in kinds() {
        if kind.name == "virtio" {
            // There lanes stage nothing.
            continue;
        }
        let rig = boot(&kind, Temper::Keep, 512, LONG_MS);
        let device = attach_deferred(&rig);
        let (mut lane, mut idle) = (device.lane(), device.lane());
        let others: Vec<_> = retire(&mut idle, rig.kernel, 5)
            .into_iter()
            .map(|(_, one)| one)
            .chain([super::lend(&device, 2).retire()])
            .collect();
        let before = device.flush_figures();
        let mut retired = Vec::new();
        for _ in 0..1000 {
            retired.extend(retire(&mut lane, rig.kernel, 1));
        }
        let figures = device.flush_figures();
        // As many as it stages wait, and those of others.
        let last = figures.waiting - before.waiting;
        assert!((1..=STAGED).contains(&last), "{}: {figures:?}", kind.name);
        assert_eq!(figures.retired - before.retired, 1000, "{}", kind.name);
        let flushes = figures.flushes - before.flushes;
        assert!(
            (1000 - last).div_ceil(STAGED) == flushes,
            "{flushes} flushes"
        );
        assert!(
            figures.largest_flush <= STAGED,
            "{}: {figures:?}",
            kind.name
        );
        let (settled, unsettled): (Vec<_>, Vec<_>) =
            retired.into_iter().partition(|(_, one)| one.is_settled());
        assert_eq!(unsettled.len() as u64, last, "{}", kind.name);
        let is_any = others.iter().any(|one| one.is_settled());
        assert!(!is_any, "{}: nobody flushed what others retired", kind.name);
        for (_, one) in settled {
            drop(one.try_finish().expect("it is settled").unwrap());
        }
        // One is about all.
        device.flush().unwrap();
        let figures = device.flush_figures();
        assert_eq!((figures.waiting, figures.waiting_bytes), (0, 0));
        for one in others
            .into_iter()
            .chain(unsettled.into_iter().map(|one| one.1))
        {
            drop(one.try_finish().expect("it is settled").unwrap());
        }
        drop((lane, idle));
        device.detach().unwrap();
        rig.finish();
    }
}

#[test]
fn what_a_lane_could_not_flush_for_itself_is_lost_and_what_it_stages_next_is_not() {
    for kind in kinds() {
        if kind.name == "virtio" {
            continue;
        }
        let (rig, device) = attach_impatiently(&kind);
        let mut lane = device.lane();
        let lent: Vec<_> = (0..STAGED + 6)
            .map(|_| lend(&mut lane, rig.kernel, 1))
            .collect();
        let mut lent = lent.into_iter();
        let lost: Vec<_> = lent
            .by_ref()
            .take(STAGED as usize)
            .map(|one| lane.retire(one))
            .collect();
        hang(&rig.machine);
        // One too many, and so the lane asks the units.
        let next = lane.retire(lent.next().unwrap());
        go_on(&rig.machine);
        let figures = device.flush_figures();
        assert_eq!((figures.lost, figures.lost_bytes), (STAGED, STAGED * PAGE));
        assert!(!next.is_settled(), "{}", kind.name);
        let later: Vec<_> = lent.map(|one| lane.retire(one)).collect();
        device.flush().unwrap();
        for one in later.into_iter().chain([next]) {
            drop(one.try_finish().expect("it is settled").unwrap());
        }
        for one in lost {
            one.finish().expect_err("the lane's flush failed");
        }
        assert_eq!(device.figures().quarantined_bytes, STAGED * PAGE);
        assert_eq!(device.recover(), Ok(STAGED * PAGE), "{}", kind.name);
        drop(lane);
        assert_eq!(device.recover(), Ok(0), "{}", kind.name);
        assert_eq!(rig.machine.audit().leaves, []);
        device.detach().unwrap();
        rig.finish();
    }
}

#[test]
fn no_more_waits_than_is_allowed_in_all_lanes_together() {
    const LANES: usize = 3;
    for kind in kinds() {
        // So few that a lane stages nothing, few, and many.
        for entries in [3, 16, 64] {
            let rig = boot(&kind, Temper::Forget, entries, LONG_MS);
            let device = attach_deferred(&rig);
            let at_work = AtomicUsize::new(LANES);
            thread::scope(|scope| {
                for _ in 0..LANES {
                    let (device, at_work, kernel) = (&device, &at_work, rig.kernel);
                    scope.spawn(move || {
                        let mut lane = device.lane();
                        for round in 0..25 {
                            let mut retired = retire(&mut lane, kernel, 8);
                            drop(super::lend(device, 1).retire());
                            if round % 5 == 0 {
                                drop(retired.remove(0).1.finish().unwrap());
                            }
                            if round % 7 == 0 {
                                lane.shrink();
                            }
                        }
                        at_work.fetch_sub(1, Ordering::SeqCst);
                    });
                }
                while at_work.load(Ordering::SeqCst) > 0 && !thread::panicking() {
                    let waiting = device.flush_figures().waiting;
                    // And as much again in a flush that is under way.
                    let most = 2 * u64::from(entries);
                    assert!(waiting <= most, "{}: {waiting}", kind.name);
                }
            });
            device.flush().unwrap();
            let figures = device.flush_figures();
            assert_eq!((figures.waiting, figures.waiting_bytes), (0, 0));
            let largest = figures.largest_flush;
            assert!(largest <= u64::from(entries), "{}: {figures:?}", kind.name);
            device.reclaim().unwrap();
            device.detach().unwrap();
            rig.finish();
        }
    }
}

#[test]
fn a_lane_that_finds_the_queue_full_flushes_and_stages_on() {
    const ENTRIES: u32 = 32;
    for kind in kinds() {
        let rig = boot(&kind, Temper::Forget, ENTRIES, LONG_MS);
        let device = attach_deferred(&rig);
        // Unless its units are told of every mapping: then lanes have no part in it.
        let mut lane = device.lane();
        let before: Vec<_> = (0..ENTRIES)
            .map(|_| super::lend(&device, 1).retire())
            .collect();
        let full = device.flush_figures();
        let retired = retire(&mut lane, rig.kernel, 2 * ENTRIES as usize);
        let figures = device.flush_figures();
        let count = figures.retired - full.retired;
        assert_eq!(
            count,
            2 * u64::from(ENTRIES),
            "{}: each is staged",
            kind.name
        );
        let flushes = figures.flushes - full.flushes;
        assert!(
            flushes <= 12,
            "{}: {flushes} flushes for {count}",
            kind.name
        );
        drop((before, retired));
        drop(lane);
        device.reclaim().unwrap();
        device.detach().unwrap();
        rig.finish();
    }
}

#[test]
fn a_timer_flushes_what_an_idle_lane_staged() {
    const WINDOW_MS: u64 = 30;
    for kind in kinds() {
        let rig = boot(&kind, Temper::Keep, 512, WINDOW_MS);
        let device = attach_deferred(&rig);
        let mut lane = device.lane();
        for each in [1, 20] {
            let begun = Instant::now();
            let retired = retire(&mut lane, rig.kernel, each);
            wait_until("a timer flushes", || {
                retired.iter().all(|(_, one)| one.is_settled())
            });
            assert!(begun.elapsed() >= Duration::from_millis(WINDOW_MS));
            for (_, one) in retired {
                drop(one.try_finish().expect("it is settled").unwrap());
            }
            let figures = device.flush_figures();
            assert_eq!((figures.waiting, figures.lost), (0, 0), "{}", kind.name);
        }
        drop(lane);
        device.detach().unwrap();
        rig.finish();
    }
}

#[test]
fn what_a_lane_staged_is_chosen_by_nobody_before_it_is_flushed() {
    for kind in kinds() {
        let rig = boot(&kind, Temper::Keep, 512, LONG_MS);
        let device = attach_deferred(&rig);
        let mut lane = device.lane();
        let mut other_lane = device.lane();
        let retired = retire(&mut lane, rig.kernel, 20);
        let mut others = Vec::new();
        for _ in 0..600 {
            others.push(lend(&mut lane, rig.kernel, 1));
            others.push(lend(&mut other_lane, rig.kernel, 1));
            others.push(super::lend(&device, 1));
        }
        assert!(!retired.iter().any(|(_, one)| one.is_settled()));
        for other in &others {
            let taken = retired.iter().any(|(bus, _)| bus.overlaps(other.range()));
            assert!(!taken, "{}: {} is not flushed", kind.name, other.range());
        }
        drop((others, retired, lane, other_lane));
        device.detach().unwrap();
        rig.finish();
    }
}

#[test]
fn what_a_lane_staged_when_the_device_goes_comes_back() {
    for kind in kinds() {
        let rig = boot(&kind, Temper::Keep, 512, LONG_MS);
        rig.attach(EDU).detach().unwrap();
        rig.attach(HEARTBEAT).detach().unwrap();
        let lent = rig.frames_in_use();
        let device = attach_deferred(&rig);
        let mut lane = device.lane();
        let retired = retire(&mut lane, rig.kernel, 10);
        let live: Vec<_> = (0..5).map(|_| lend(&mut lane, rig.kernel, 3)).collect();
        device.detach().unwrap();
        for (_, one) in retired {
            let buffer = one.try_finish().expect("the device has lost it").unwrap();
            assert!(buffer.as_slice().iter().all(|&byte| byte == 0x11));
        }
        for one in live {
            drop(lane.retire(one).try_finish().expect("it is lost").unwrap());
        }
        drop(lane);
        // Which looks for what nobody needs any more.
        rig.attach(HEARTBEAT).detach().unwrap();
        assert_eq!(rig.frames_in_use(), lent, "{}", kind.name);
        rig.finish();
    }
}

/// Whether the lane ends while units hang, or goes on until they were asked again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ends {
    WhileUnitsHang,
    Later,
}

fn attach_impatiently(kind: &Kind) -> (Rig, Device<Hosted>) {
    let mut kind = kind.clone();
    kind.options.units.wait_bound_ms = 100;
    let rig = boot(&kind, Temper::Keep, 512, LONG_MS);
    let device = attach_deferred(&rig);
    (rig, device)
}

#[test]
fn what_a_lane_staged_for_a_flush_that_failed_is_kept_until_it_is_recovered() {
    for kind in kinds() {
        for ends in [Ends::WhileUnitsHang, Ends::Later] {
            println!("{} {ends:?}", kind.name);
            let (rig, device) = attach_impatiently(&kind);
            device.reclaim().unwrap();
            let before = (device.domain_frames(), rig.frames_in_use());
            let mut lane = device.lane();
            let retired = retire(&mut lane, rig.kernel, 3);
            hang(&rig.machine);
            match ends {
                Ends::Later => drop(device.flush().expect_err("nobody confirms it")),
                Ends::WhileUnitsHang => {
                    drop(lane);
                    lane = device.lane();
                }
            }
            if kind.name == "virtio" {
                // Lanes are the device's own way there.
                let _ = device.flush();
            }
            let figures = device.flush_figures();
            assert_eq!((figures.waiting, figures.lost), (0, 3), "{}", kind.name);
            assert_eq!(figures.lost_bytes, 3 * PAGE, "{}", kind.name);
            go_on(&rig.machine);
            let mut more = Vec::new();
            for _ in 0..300 {
                more.push(lend(&mut lane, rig.kernel, 1));
                more.push(super::lend(&device, 1));
            }
            for other in &more {
                let taken = retired.iter().any(|(bus, _)| bus.overlaps(other.range()));
                assert!(!taken, "{}: {}", kind.name, other.range());
            }
            drop(more);
            let lost: Vec<_> = retired.iter().map(|one| one.0).collect();
            for (_, one) in retired {
                one.finish().expect_err("the flush failed");
            }
            assert_eq!(device.figures().quarantined_bytes, 3 * PAGE);
            assert_eq!(device.recover(), Ok(3 * PAGE), "{}", kind.name);
            drop(lane);
            device.flush().unwrap();
            assert_eq!(device.figures().quarantined_bytes, 0, "{}", kind.name);
            // What the lane kept the device has again, once units were asked about it.
            assert_eq!(device.recover(), Ok(0), "{}", kind.name);
            assert_eq!(rig.machine.audit().leaves, []);
            let mut lane = device.lane();
            let again: Vec<_> = (0..1100).map(|_| lend(&mut lane, rig.kernel, 1)).collect();
            for bus in lost {
                let is_chosen = again.iter().any(|one| bus.overlaps(one.range()));
                assert!(is_chosen, "{} {ends:?}: {bus}", kind.name);
            }
            drop((again, lane));
            device.reclaim().unwrap();
            let after = (device.domain_frames(), rig.frames_in_use());
            assert_eq!(after, before, "{} {ends:?}", kind.name);
            device.detach().unwrap();
            rig.finish();
        }
    }
}
