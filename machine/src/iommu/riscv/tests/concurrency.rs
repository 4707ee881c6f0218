use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use super::super::RiscvConfig;
use super::bench::*;
use crate::bus::Access;
use crate::cache::Snooping;
use crate::iommu::translator::Translator;
use crate::temper::Temper;

/// Requesters write through a page that is mapped and unmapped all the time. Whoever holds a translation after the
/// fence that ordered reads and writes would be caught.
#[test]
fn nobody_is_in_flight_after_an_invalidation_and_its_fence() {
    const PAGES: u64 = 8;
    for temper in [Temper::Keep, Temper::Forget, Temper::Random(5)] {
        let bench = Bench::with(RiscvConfig::default(), temper, Snooping::On);
        let top = bench.start(4);
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
                let number = round % PAGES;
                mapped[number as usize].store(true, Ordering::SeqCst);
                let leaf = bench.map(top, 4, number << 12, 1, entry(0x5000, RW));
                if round % 4 == 0 {
                    let before = passed.load(Ordering::Relaxed);
                    bench.wait_until(|| passed.load(Ordering::Relaxed) > before);
                }
                bench.store(leaf, 0);
                bench.submit_and_wait(&[page(SPACE, number << 12)]);
                mapped[number as usize].store(false, Ordering::SeqCst);
            }
            stop.store(true, Ordering::SeqCst);
        });
        assert!(passed.load(Ordering::Relaxed) > 0, "{temper:?}");
        assert_eq!(bench.unit.requests_in_flight(), 0);
        bench.assert_no_findings();
    }
}
