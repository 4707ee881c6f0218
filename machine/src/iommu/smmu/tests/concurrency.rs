use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use super::bench::*;
use crate::bus::Access;
use crate::iommu::translator::Translator;
use crate::temper::Temper;

/// Requesters write through a page that is mapped and unmapped all the time. Whoever holds a translation after the
/// synchronised invalidation would be caught.
#[test]
fn nobody_is_in_flight_after_a_synchronised_invalidation() {
    const PAGES: u64 = 8;
    for temper in [Temper::Keep, Temper::Forget, Temper::Random(5)] {
        let (bench, root) = Bench::tempered(first(), temper);
        // Nobody reads the events.
        bench.control(CMDQEN | SMMUEN);
        let mapped: Vec<_> = (0..PAGES).map(|_| AtomicBool::new(false)).collect();
        let stop = AtomicBool::new(false);
        let passed = AtomicU64::new(0);
        thread::scope(|scope| {
            for first in 0..3 {
                let (bench, mapped, stop, passed) = (&bench, &mapped, &stop, &passed);
                scope.spawn(move || {
                    let mut page = first;
                    while !stop.load(Ordering::SeqCst) {
                        page = (page + 1) % PAGES;
                        if page == first {
                            thread::yield_now();
                        }
                        let access = if page % 2 == 0 {
                            Access::Read
                        } else {
                            Access::Write
                        };
                        if let Ok(in_flight) = bench.unit.translate(DEVICE, page << 12, access) {
                            assert!(mapped[page as usize].load(Ordering::SeqCst));
                            passed.fetch_add(1, Ordering::Relaxed);
                            drop(in_flight);
                        }
                    }
                });
            }
            for round in 0..200 {
                let page = round % PAGES;
                mapped[page as usize].store(true, Ordering::SeqCst);
                let leaf = bench.map(root, page << 12, 3, 0x5000 | PAGE);
                if round % 4 == 0 {
                    let before = passed.load(Ordering::Relaxed);
                    bench.wait_until(|| passed.load(Ordering::Relaxed) > before);
                }
                bench.store(leaf, 0);
                bench.submit_and_wait(&[nh_va(DOMAIN, page << 12, 1)]);
                mapped[page as usize].store(false, Ordering::SeqCst);
            }
            stop.store(true, Ordering::SeqCst);
        });
        assert!(passed.load(Ordering::Relaxed) > 0, "{temper:?}");
        assert_eq!(bench.unit.requests_in_flight(), 0);
        bench.assert_no_findings();
    }
}

/// A stream moves between two domains all the time, in two synchronised steps. Whoever still reaches the old one's page
/// after them would be caught.
#[test]
fn nobody_is_in_the_old_domain_after_entry_and_translations_were_invalidated() {
    for temper in [Temper::Keep, Temper::Forget, Temper::Random(6)] {
        let (bench, one) = Bench::tempered(first(), temper);
        bench.control(CMDQEN | SMMUEN);
        let other = bench.frame();
        bench.map(one, 0x1000, 3, 0x5000 | PAGE);
        bench.map(other, 0x1000, 3, 0x6000 | PAGE);
        let forbidden = AtomicU64::new(0);
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            for _ in 0..2 {
                let (bench, forbidden, stop) = (&bench, &forbidden, &stop);
                scope.spawn(move || {
                    while !stop.load(Ordering::SeqCst) {
                        let before = forbidden.load(Ordering::SeqCst);
                        let reached = bench.read(0x1000);
                        // Each round has a value of its own: it held all the time in between.
                        if forbidden.load(Ordering::SeqCst) == before {
                            assert_ne!(reached, Ok(before & 0xffff));
                        }
                        thread::yield_now();
                    }
                });
            }
            for round in 0..50 {
                let (root, old) = [(other, 0x5000), (one, 0x6000)][round % 2];
                bench.store(context_of(DEVICE) + 8, root);
                bench.submit_and_wait(&[cfgi_cd(DEVICE.into())]);
                bench.submit_and_wait(&[nh_asid(DOMAIN)]);
                forbidden.store((round as u64) << 16 | old, Ordering::SeqCst);
                thread::yield_now();
                forbidden.store((round as u64) << 16, Ordering::SeqCst);
            }
            stop.store(true, Ordering::SeqCst);
        });
    }
}
