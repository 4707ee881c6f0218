//! Several threads need a flush, and few are made.

use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use dmamap::buffer::ScatteredBuffer;
use dmamap::map::Mapping;
use machine::temper::Temper;

use super::kinds::{hold, kinds, release};
use super::{LONG_MS, attach_deferred, lend};
use crate::flushing;
use rig::patience::wait_until;
use rig::{EDU, MORE_THAN_IS_KEPT, Rig, small};

#[test]
fn the_first_of_many_that_were_retired_flushes_for_all() {
    for kind in kinds() {
        for protection in ["strict", "deferred"] {
            let rig = kind.boot(Temper::Keep, 256, LONG_MS);
            let device = match protection {
                "strict" => rig.attach(EDU),
                _ => attach_deferred(&rig),
            };
            let lent: Vec<_> = (0..200).map(|_| lend(&device, 1)).collect();
            let before = rig.system().invalidations();
            let retired: Vec<_> = lent.into_iter().map(Mapping::retire).collect();
            assert_eq!(rig.system().invalidations(), before);
            for one in retired {
                drop(one.finish().unwrap());
            }
            let commands = rig.system().invalidations() - before;
            let figures = device.flush_figures();
            assert_eq!((figures.flushes, figures.largest_flush), (1, 200));
            assert!(commands <= 8, "{}: {commands} commands", kind.name);
            device.detach().unwrap();
            rig.finish();
        }
    }
}

#[test]
fn threads_that_need_a_flush_while_one_is_under_way_share_the_next() {
    const THREADS: usize = 8;
    for kind in kinds() {
        let rig = kind.boot(Temper::Keep, 256, LONG_MS);
        let device = attach_deferred(&rig);
        let lent: Vec<_> = (0..THREADS).map(|_| lend(&device, 1)).collect();
        let done = AtomicUsize::new(0);
        hold(&rig);
        thread::scope(|scope| {
            for one in lent {
                let done = &done;
                scope.spawn(move || {
                    drop(one.unmap().unwrap());
                    done.fetch_add(1, Ordering::SeqCst);
                });
            }
            wait_until("all are retired", || {
                device.flush_figures().retired == THREADS as u64
            });
            assert_eq!(done.load(Ordering::SeqCst), 0, "{}", kind.name);
            release(&rig);
        });
        let figures = device.flush_figures();
        assert_eq!(figures.retired, THREADS as u64);
        // One that began with the first, and one for those who came meanwhile.
        assert!(figures.flushes <= 2, "{}: {figures:?}", kind.name);
        device.detach().unwrap();
        rig.finish();
    }
}

#[test]
fn who_waits_too_long_for_the_flush_of_another_invalidates_for_itself() {
    let rig = Rig::boot_with(small(), flushing(Default::default(), 64, LONG_MS));
    let device = attach_deferred(&rig);
    let (first, second) = (lend(&device, 1), lend(&device, 2));
    hold(&rig);
    thread::scope(|scope| {
        scope.spawn(|| drop(first.unmap().unwrap()));
        thread::sleep(Duration::from_millis(20));
        let waiting = scope.spawn(|| drop(second.unmap().unwrap()));
        // Longer than anybody waits for somebody else.
        thread::sleep(Duration::from_millis(300));
        release(&rig);
        waiting.join().unwrap();
    });
    device.flush().unwrap();
    let figures = device.flush_figures();
    assert_eq!((figures.waiting, figures.lost), (0, 0));
    device.detach().unwrap();
    rig.finish();
}

#[test]
fn threads_retire_and_finish_in_any_order_and_few_flushes_are_made() {
    const THREADS: usize = 6;
    const ROUNDS: usize = 60;
    for kind in kinds() {
        let rig = kind.boot(Temper::Random(3), 32, 1);
        let device = attach_deferred(&rig);
        let together = Barrier::new(THREADS);
        let before = rig.system().invalidations();
        thread::scope(|scope| {
            for thread in 0..THREADS {
                let (device, together) = (&device, &together);
                scope.spawn(move || {
                    together.wait();
                    for round in 0..ROUNDS {
                        let lent: Vec<_> = (0..4).map(|_| lend(device, 1)).collect();
                        let mut retired: Vec<_> = lent.into_iter().map(Mapping::retire).collect();
                        if (thread + round) % 2 == 0 {
                            retired.reverse();
                        }
                        for one in retired {
                            drop(one.finish().unwrap());
                        }
                    }
                });
            }
        });
        device.flush().unwrap();
        let figures = device.flush_figures();
        let total = (THREADS * ROUNDS * 4) as u64;
        assert_eq!(figures.waiting, 0);
        crate::assert_put_off(figures.retired, total);
        assert_eq!(figures.lost, 0);
        assert!(figures.flushes <= total / 4 + 100, "{figures:?}");
        let _ = before;
        assert_eq!(device.figures().live_mappings, 0);
        device.reclaim().unwrap();
        device.detach().unwrap();
        rig.finish();
    }
}

#[test]
fn what_is_mapped_while_a_table_waits_for_its_flush_is_found() {
    // A unit that keeps everything remembers the way to a table that became empty.
    let mut rig = Rig::boot_with(small(), flushing(Default::default(), 64, LONG_MS));
    let mut edu = crate::deferred_edu(&mut rig);
    let warm = lend(edu.device(), 1);
    let bus = warm.bus_addr();
    edu.fetch(&warm, 0, 8).unwrap();
    drop(warm);
    // So many tables that the one for `bus` is unlinked.
    let large = ScatteredBuffer::allocate(rig.kernel, MORE_THAN_IS_KEPT).unwrap();
    let large = edu.device().map_sg(large, dmamap::map::FromDevice).unwrap();
    let retired = large.retire();
    assert_eq!(edu.device().flush_figures().waiting, 1);
    let mapping = edu
        .device()
        .map_single(
            rig::buffer_of(rig.kernel, rig::PAGE, 7),
            dmamap::map::ToDevice,
        )
        .unwrap();
    assert_eq!(edu.device().flush_figures().waiting, 0, "the map flushed");
    let again = lend(edu.device(), 3);
    let commands = rig.system().invalidations();
    let more: Vec<_> = (0..10).map(|_| lend(edu.device(), 3)).collect();
    assert_eq!(
        rig.system().invalidations(),
        commands,
        "later maps invalidate nothing"
    );
    let _ = bus;
    edu.fetch(&mapping, 0, 8).unwrap();
    edu.fetch(&again, 0, 8).unwrap();
    drop((retired, mapping, again, more, edu));
    rig.finish();
}
