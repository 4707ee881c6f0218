//! No bus address and no frame is used again while a device could reach it.

use std::collections::HashMap;
use std::sync::Mutex;
use std::thread;

use dmamap::addr::BusRange;

use super::kinds::{TEMPERS, kinds};
use super::{Gone, Lent, attach_deferred, lend_pages};
use rig::Random;
use rig::share_a_page;

/// What was retired, by any thread.
#[derive(Default)]
struct AllGone(Mutex<Vec<Gone>>);

impl AllGone {
    /// Asserts that `range`, which was just mapped, is nowhere that a device may still reach something else.
    fn assert_apart_from(&self, range: BusRange) {
        for other in self.0.lock().unwrap().iter() {
            assert!(
                !share_a_page(range, other.range()) || other.is_settled(),
                "{range} was given out while {other:?} waits for a flush"
            );
        }
    }

    fn take(&self, random: &Random) -> Option<Gone> {
        let mut gone = self.0.lock().unwrap();
        if gone.is_empty() {
            return None;
        }
        let chosen = random.below(gone.len() as u64) as usize;
        Some(gone.swap_remove(chosen))
    }
}

#[test]
fn addresses_are_not_given_out_again_before_the_flush_whatever_threads_do() {
    let seeds = Random::from_environment(5);
    for kind in kinds() {
        for temper in TEMPERS {
            let rig = kind.boot(temper, 16, 2);
            let device = attach_deferred(&rig);
            let gone = AllGone::default();
            thread::scope(|scope| {
                for _ in 0..3 {
                    let (device, gone, seed) = (&device, &gone, seeds.next());
                    scope.spawn(move || {
                        let random = Random::seeded(seed);
                        let mut lent: Vec<Lent> = Vec::new();
                        for _ in 0..200 {
                            match random.below(6) {
                                0..3 => {
                                    let mapping = lend_pages(device, 1 + random.below(3), 1);
                                    gone.assert_apart_from(mapping.range());
                                    lent.push(mapping);
                                }
                                3 if !lent.is_empty() => {
                                    let chosen = random.below(lent.len() as u64) as usize;
                                    let retired = lent.swap_remove(chosen).retire();
                                    gone.0.lock().unwrap().push(retired);
                                }
                                4 => {
                                    let finished = gone.take(&random).map(Gone::finish);
                                    drop(finished.transpose().unwrap());
                                }
                                _ => drop(gone.take(&random)),
                            }
                        }
                    });
                }
            });
            drop(gone);
            assert_eq!(device.flush_figures().lost, 0);
            device.detach().unwrap();
            rig.finish();
        }
    }
}

/// What frees thousands of addresses takes long enough to be looked at meanwhile.
#[test]
fn what_a_large_flush_frees_is_settled_before_it_is_given_out() {
    const ENTRIES: u32 = 4096;
    for kind in kinds() {
        let rig = kind.boot(TEMPERS[0], ENTRIES, super::LONG_MS);
        let device = attach_deferred(&rig);
        let lent: Vec<_> = (0..ENTRIES - 32)
            .map(|_| lend_pages(&device, 1, 1))
            .collect();
        let gone: HashMap<_, _> = lent
            .into_iter()
            .map(|one| (one.range().start(), one.retire()))
            .collect();
        let mut again = Vec::new();
        let mut given_out = 0;
        thread::scope(|scope| {
            let flush = scope.spawn(|| device.flush().unwrap());
            while !flush.is_finished() || given_out == 0 {
                assert!(again.len() < 4 * ENTRIES as usize, "{}", kind.name);
                let mapping = lend_pages(&device, 1, 1);
                if let Some(before) = gone.get(&mapping.range().start()) {
                    assert!(before.is_settled(), "{}: {before:?}", kind.name);
                    given_out += 1;
                }
                again.push(mapping);
            }
        });
        drop((gone, again));
        device.detach().unwrap();
        rig.finish();
    }
}

#[test]
fn an_address_comes_back_after_the_flush() {
    let kind = &kinds()[0];
    let rig = kind.boot(TEMPERS[0], 64, super::LONG_MS);
    let device = attach_deferred(&rig);
    let first = lend_pages(&device, 1, 1);
    let range = first.range();
    let retired = first.retire();
    let second = lend_pages(&device, 1, 1);
    assert_ne!(second.range(), range);
    drop(retired.finish().unwrap());
    assert_eq!(lend_pages(&device, 1, 1).range(), range);
    drop(second);
    device.detach().unwrap();
    rig.finish();
}
