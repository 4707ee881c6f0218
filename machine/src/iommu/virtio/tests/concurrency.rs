use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use super::super::VirtioConfig;
use super::bench::*;
use crate::bus::Access;
use crate::iommu::translator::Translator;
use crate::temper::Temper;

/// Requesters go through pages that are mapped and unmapped all the time. Whoever holds a translation after the unmap
/// was answered would be caught.
#[test]
fn nobody_is_in_flight_after_an_unmap() {
    const PAGES: u64 = 8;
    for temper in [Temper::Keep, Temper::Forget, Temper::Random(5)] {
        let bench = Bench::with(VirtioConfig::default(), temper);
        bench.start();
        assert_eq!(bench.ask(&attach(DOMAIN, DEVICE)), OK);
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
                        let bus = (page + 1) << 12;
                        if let Ok(in_flight) = bench.unit.translate(DEVICE, bus, Access::Write) {
                            assert!(mapped[page as usize].load(Ordering::SeqCst));
                            passed.fetch_add(1, Ordering::Relaxed);
                            drop(in_flight);
                        }
                    }
                });
            }
            for round in 0..200 {
                let page = round % PAGES;
                let bus = (page + 1) << 12;
                mapped[page as usize].store(true, Ordering::SeqCst);
                assert_eq!(bench.ask(&map(DOMAIN, bus, bus + 0xfff, 0x5000, RW)), OK);
                if round % 4 == 0 {
                    let before = passed.load(Ordering::Relaxed);
                    bench.wait_until(|| passed.load(Ordering::Relaxed) > before);
                }
                assert_eq!(bench.ask(&unmap(DOMAIN, bus, bus + 0xfff)), OK);
                mapped[page as usize].store(false, Ordering::SeqCst);
            }
            stop.store(true, Ordering::SeqCst);
        });
        assert!(passed.load(Ordering::Relaxed) > 0, "{temper:?}");
        assert_eq!(bench.unit.requests_in_flight(), 0);
        bench.assert_no_findings();
    }
}
