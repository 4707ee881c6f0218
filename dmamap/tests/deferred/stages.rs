//! What each CPU has retired on its own: it counts as what waits, within the bounds of all, and every flush covers it.

use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use dmamap::addr::BusRange;
use dmamap::device::Device;
use dmamap::system::Protection;
use hosted::Hosted;
use machine::Machine;
use machine::temper::Temper;

use super::kinds::{Kind, kinds};
use super::{BYTES, Gone, LONG_MS, Lent, attach_deferred, flushing, lend, lend_pages, load};
use rig::kinds::{go_on, hang};
use rig::patience::wait_until;
use rig::{EDU, PAGE, Random, Rig, try_write};

const CPUS: usize = 4;

/// Boots with so many CPUs, whatever the host has.
fn boot(kind: &Kind, temper: Temper, entries: u32, window_ms: u64) -> Rig {
    boot_with_cpus(CPUS, kind, temper, (entries, window_ms))
}

fn boot_with_cpus(
    cpus: usize,
    kind: &Kind,
    temper: Temper,
    (entries, window_ms): (u32, u64),
) -> Rig {
    let machine = Machine::boot(kind.config(temper)).unwrap();
    let kernel = Hosted::boot_with_cpus(machine.clone(), cpus).unwrap();
    let options = flushing(kind.options, entries, window_ms);
    Rig::boot_on(machine, kernel, kernel, options).unwrap()
}

/// Retires `each` mappings of a page on each of several threads, which each have mapped them.
fn retire_on_threads(device: &Device<Hosted>, each: usize) -> Vec<(BusRange, Gone)> {
    let together = Barrier::new(CPUS);
    thread::scope(|scope| {
        let threads: Vec<_> = (0..CPUS)
            .map(|_| {
                let together = &together;
                scope.spawn(move || {
                    let lent: Vec<_> = (0..each).map(|_| lend(device, 0x11)).collect();
                    together.wait();
                    let retire = |lent: super::Lent| (lent.range(), lent.retire());
                    lent.into_iter().map(retire).collect::<Vec<_>>()
                })
            })
            .collect();
        let retired = threads.into_iter().map(|thread| thread.join().unwrap());
        retired.flatten().collect()
    })
}

#[test]
fn what_cpus_staged_is_counted_and_one_flush_covers_it() {
    for kind in kinds() {
        for protection in [Protection::Deferred, Protection::Strict] {
            let rig = boot(&kind, Temper::Keep, 512, LONG_MS);
            let device = rig.system().attach(&rig.function(EDU), protection).unwrap();
            for (round, each) in [1, 5, 40].into_iter().enumerate() {
                let before = device.flush_figures();
                let mut retired = retire_on_threads(&device, each);
                let figures = device.flush_figures();
                let count = retired.len() as u64;
                assert_eq!(count, (CPUS * each) as u64);
                assert_eq!(figures.waiting, count, "{}: {figures:?}", kind.name);
                assert_eq!(figures.waiting_bytes, count * PAGE);
                assert_eq!(figures.retired - before.retired, count);
                let settled = retired.iter().any(|(_, one)| one.is_settled());
                assert!(!settled, "{}: nobody flushed", kind.name);
                match round {
                    0 => device.flush().unwrap(),
                    // Who needs one of them has all flushed.
                    1 => drop(retired.swap_remove(each).1.finish().unwrap()),
                    _ => device.reclaim().unwrap(),
                }
                let figures = device.flush_figures();
                assert_eq!((figures.waiting, figures.waiting_bytes), (0, 0));
                assert_eq!(figures.flushes - before.flushes, 1, "{}", kind.name);
                assert!(figures.largest_flush >= count);
                for (_, one) in retired {
                    drop(one.try_finish().expect("it is settled").unwrap());
                }
            }
            device.reclaim().unwrap();
            device.detach().unwrap();
            rig.finish();
        }
    }
}

/// Whoever flushes gives back what others staged: nothing of it is left in their lanes, nor anything that is alive lost.
#[test]
fn what_cpus_staged_comes_back_whoever_flushes_and_whatever_its_length() {
    let seeds = Random::from_environment(11);
    for kind in kinds() {
        let rig = boot(&kind, Temper::Forget, 2048, LONG_MS);
        let device = attach_deferred(&rig);
        drop(lend(&device, 1).unmap().unwrap());
        device.reclaim().unwrap();
        let empty = device.domain_frames();
        for _ in 0..3 {
            let together = Barrier::new(CPUS);
            let alive = thread::scope(|scope| {
                let threads = [(); CPUS].map(|()| {
                    let (device, together, seed) = (&device, &together, seeds.next());
                    scope.spawn(move || {
                        let random = Random::seeded(seed);
                        // Mostly pages, as drivers have them, in runs of many in one word.
                        let pages = |_| match random.below(40) {
                            0..36 => 1,
                            36..39 => 1 + random.below(8),
                            _ => 64,
                        };
                        let lent = (0..200)
                            .map(pages)
                            .map(|pages| lend_pages(device, pages, 1));
                        let lent: Vec<_> = lent.collect();
                        together.wait();
                        let (alive, gone): (Vec<_>, Vec<_>) =
                            lent.into_iter().partition(|_| random.below(20) == 0);
                        (
                            alive,
                            gone.into_iter().map(Lent::retire).collect::<Vec<_>>(),
                        )
                    })
                });
                threads.map(|thread| thread.join().unwrap())
            });
            device.flush().unwrap();
            for (alive, gone) in alive {
                assert!(gone.iter().all(Gone::is_settled), "{}", kind.name);
                alive.into_iter().for_each(|one| drop(one.unmap().unwrap()));
            }
        }
        device.reclaim().unwrap();
        assert_eq!(device.domain_frames(), empty, "{}", kind.name);
        device.detach().unwrap();
        rig.finish();
    }
}

/// Of blocks of its own, too, a CPU keeps no more than it chooses from next.
#[test]
fn blocks_that_a_flush_empties_are_given_back() {
    for (n, kind) in kinds().into_iter().enumerate() {
        let rig = boot_with_cpus(1, &kind, Temper::Forget, (16384, LONG_MS));
        let device = attach_deferred(&rig);
        drop(lend(&device, 1).unmap().unwrap());
        device.reclaim().unwrap();
        let empty = device.domain_frames();
        // Of 512 pages each; and once more than the queue's list has words for in a row.
        let blocks = if n == 0 { 11 } else { 5 };
        let lent: Vec<_> = (0..blocks * 512).map(|_| lend(&device, 1)).collect();
        let gone: Vec<_> = lent.into_iter().map(Lent::retire).collect();
        device.flush().unwrap();
        assert!(gone.iter().all(Gone::is_settled), "{}", kind.name);
        drop(gone);
        device.reclaim().unwrap();
        assert_eq!(device.domain_frames(), empty, "{}", kind.name);
        device.detach().unwrap();
        rig.finish();
    }
}

#[test]
fn no_more_waits_than_is_allowed_on_all_cpus_together() {
    for kind in kinds() {
        // So few that a CPU has no stage, few, and many.
        for entries in [4, 16, 64] {
            let rig = boot(&kind, Temper::Forget, entries, LONG_MS);
            let device = attach_deferred(&rig);
            let at_work = AtomicUsize::new(CPUS);
            thread::scope(|scope| {
                for _ in 0..CPUS {
                    let (device, at_work) = (&device, &at_work);
                    scope.spawn(move || {
                        for round in 0..25 {
                            let lent: Vec<_> = (0..8).map(|_| lend(device, 1)).collect();
                            let mut retired: Vec<_> =
                                lent.into_iter().map(|lent| lent.retire()).collect();
                            if round % 5 == 0 {
                                drop(retired.remove(0).finish().unwrap());
                            }
                        }
                        at_work.fetch_sub(1, Ordering::SeqCst);
                    });
                }
                while at_work.load(Ordering::SeqCst) > 0 && !thread::panicking() {
                    let waiting = device.flush_figures().waiting;
                    // And as much again in a flush that is under way.
                    assert!(
                        waiting <= 2 * u64::from(entries),
                        "{}: {waiting}",
                        kind.name
                    );
                }
            });
            device.flush().unwrap();
            let figures = device.flush_figures();
            let total = (CPUS * 25 * 8) as u64;
            assert_eq!(figures.waiting, 0);
            crate::assert_put_off(figures.retired, total);
            let largest = figures.largest_flush;
            assert!(largest <= u64::from(entries), "{}: {figures:?}", kind.name);
            device.reclaim().unwrap();
            device.detach().unwrap();
            rig.finish();
        }
    }
}

#[test]
fn a_timer_flushes_what_another_cpu_staged() {
    const WINDOW_MS: u64 = 30;
    for kind in kinds() {
        let rig = boot(&kind, Temper::Keep, 512, WINDOW_MS);
        let device = attach_deferred(&rig);
        for each in [1, 20] {
            let begun = Instant::now();
            let retired = retire_on_threads(&device, each);
            // Only looking whether they are settled, which takes in nothing.
            wait_until("a timer flushes", || {
                retired.iter().all(|(_, one)| one.is_settled())
            });
            assert!(begun.elapsed() >= Duration::from_millis(WINDOW_MS));
            for (_, one) in retired {
                drop(one.try_finish().expect("it is settled").unwrap());
            }
        }
        let figures = device.flush_figures();
        assert_eq!((figures.waiting, figures.lost), (0, 0), "{}", kind.name);
        device.detach().unwrap();
        rig.finish();
    }
}

#[test]
fn what_is_staged_is_chosen_by_nobody_and_out_of_reach_once_flushed() {
    for kind in kinds() {
        let mut rig = boot(&kind, Temper::Keep, 512, LONG_MS);
        let mut edu = super::deferred_edu(&mut rig);
        load(&mut edu, 0x22);
        let lent: Vec<_> = (0..8).map(|_| lend(edu.device(), 0x11)).collect();
        for lent in &lent {
            // The unit remembers it.
            edu.fetch(lent, 0, BYTES).unwrap();
        }
        load(&mut edu, 0x22);
        let buses: Vec<_> = lent.iter().map(|lent| lent.range()).collect();
        let retire = move || {
            lent.into_iter()
                .map(|lent| lent.retire())
                .collect::<Vec<_>>()
        };
        let retired = thread::spawn(retire).join().unwrap();
        let others: Vec<_> = (0..4)
            .flat_map(|_| {
                thread::scope(|scope| {
                    let more = || (0..300).map(|_| lend(edu.device(), 1)).collect::<Vec<_>>();
                    scope.spawn(more).join().unwrap()
                })
            })
            .collect();
        for other in &others {
            let taken = buses.iter().any(|bus| bus.overlaps(other.range()));
            assert!(!taken, "{}: {} is not flushed", kind.name, other.range());
        }
        edu.device().flush().unwrap();
        for (one, bus) in retired.into_iter().zip(&buses) {
            let buffer = one.try_finish().expect("it is settled").unwrap();
            try_write(&mut edu, bus.start(), BYTES);
            assert!(buffer.as_slice().iter().all(|&byte| byte == 0x11));
        }
        drop((others, edu));
        rig.finish_after_faults();
    }
}

#[test]
fn what_is_staged_when_the_device_goes_comes_back() {
    for kind in kinds() {
        let rig = boot(&kind, Temper::Keep, 512, LONG_MS);
        rig.attach(EDU).detach().unwrap();
        let lent = rig.frames_in_use();
        let device = attach_deferred(&rig);
        let retired = retire_on_threads(&device, 10);
        device.detach().unwrap();
        for (_, one) in retired {
            let buffer = one.try_finish().expect("the device has lost it").unwrap();
            assert!(buffer.as_slice().iter().all(|&byte| byte == 0x11));
        }
        assert_eq!(rig.frames_in_use(), lent, "{}", kind.name);
        rig.finish();
    }
}

#[test]
fn what_was_staged_for_a_flush_that_failed_is_kept_until_it_is_recovered() {
    for kind in kinds() {
        let mut kind = kind.clone();
        kind.options.units.wait_bound_ms = 100;
        let rig = boot(&kind, Temper::Keep, 512, LONG_MS);
        let device = attach_deferred(&rig);
        let retired = retire_on_threads(&device, 3);
        let longer = lend_pages(&device, 5, 1);
        hang(&rig.machine);
        device.flush().expect_err("nobody confirms it");
        let figures = device.flush_figures();
        let count = retired.len() as u64;
        assert_eq!((figures.waiting, figures.lost), (0, count), "{}", kind.name);
        assert_eq!(figures.lost_bytes, count * PAGE);
        go_on(&rig.machine);
        let buses: Vec<_> = retired.iter().map(|one| one.0).collect();
        let more: Vec<_> = (0..600).map(|_| lend(&device, 1)).collect();
        for other in &more {
            let taken = buses.iter().any(|bus| bus.overlaps(other.range()));
            assert!(!taken, "{}: {}", kind.name, other.range());
        }
        drop((more, longer));
        for (_, one) in retired {
            drop(one.finish());
        }
        device.recover().unwrap();
        device.flush().unwrap();
        assert_eq!(device.figures().quarantined_bytes, 0, "{}", kind.name);
        device.reclaim().unwrap();
        device.detach().unwrap();
        rig.finish();
    }
}
