//! What waits for a unit: that it does, and that nothing is lost or hidden meanwhile. The same for every kind of unit.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use crate::patience::wait_until;
use crate::{EDU, PAGE, Rig, buffer_of};
use dmamap::map::ToDevice;
use machine::bus::Access;
use machine::iommu::amd::AmdUnit;
use machine::iommu::riscv::RiscvUnit;
use machine::iommu::smmu::SmmuUnit;
use machine::iommu::translator::Translator;
use machine::iommu::virtio::VirtioUnit;
use machine::iommu::vtd::VtdUnit;

/// Long enough for what does not wait to be over.
pub const A_WHILE: Duration = Duration::from_millis(30);

/// Long enough for each of many threads that have begun to be waiting.
const FOR_ALL: Duration = Duration::from_millis(50);

/// A unit whose queue can be held.
pub trait Stalls {
    /// From now on it does no command.
    fn hold_queue(&self);
    /// It goes on.
    fn release_queue(&self);
}

macro_rules! stalls {
    ($($unit:ty)+) => {$(
        impl Stalls for $unit {
            fn hold_queue(&self) {
                self.hold_queue();
            }
            fn release_queue(&self) {
                self.release_queue();
            }
        }
    )+};
}

stalls!(AmdUnit RiscvUnit SmmuUnit VirtioUnit VtdUnit);

impl<U: Stalls> Stalls for Arc<U> {
    fn hold_queue(&self) {
        (**self).hold_queue();
    }
    fn release_queue(&self) {
        (**self).release_queue();
    }
}

/// A queue that is held until this is dropped: also when the test fails.
pub struct Held<'a, U: Stalls>(&'a U);

impl<'a, U: Stalls> Held<'a, U> {
    /// Holds the queue of `unit`.
    pub fn new(unit: &'a U) -> Self {
        unit.hold_queue();
        Self(unit)
    }
}

impl<U: Stalls> Drop for Held<'_, U> {
    fn drop(&mut self) {
        self.0.release_queue();
    }
}

/// Counts what has begun.
#[derive(Default)]
struct Begun(AtomicUsize);

impl Begun {
    fn one_more(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }

    fn wait_for(&self, all: usize) {
        wait_until("all have begun", || self.0.load(Ordering::SeqCst) == all);
    }
}

/// Runs `wait`, and `meanwhile` beside it; asserts that `wait` does not end before `until` is dropped.
pub fn while_there_is<T, R: Send>(
    until: T,
    wait: impl FnOnce() -> R + Send,
    meanwhile: impl FnOnce(),
) -> R {
    let (begun, done) = (Begun::default(), AtomicBool::new(false));
    thread::scope(|scope| {
        // Dropped first should anything fail, so that the thread ends.
        let until = until;
        let waiting = scope.spawn(|| {
            begun.one_more();
            let result = wait();
            done.store(true, Ordering::SeqCst);
            result
        });
        begun.wait_for(1);
        thread::sleep(A_WHILE);
        assert!(!done.load(Ordering::SeqCst), "it did not wait");
        meanwhile();
        assert!(!done.load(Ordering::SeqCst), "it did not wait");
        drop(until);
        waiting.join().expect("it ends well")
    })
}

/// [`while_there_is`] a request under way, or a queue that is held, and nothing else happens.
pub fn while_under_way<T, R: Send>(until: T, wait: impl FnOnce() -> R + Send) -> R {
    while_there_is(until, wait, || {})
}

/// As many unmaps as `unmaps`, for which the queue of `unit` has no room: each is waited for, and none is lost.
pub fn no_invalidation_is_lost(rig: Rig, unit: &(impl Translator + Stalls), unmaps: usize) {
    let device = rig.attach(EDU);
    let mappings: Vec<_> = (0..unmaps)
        .map(|_| {
            device
                .map_single(buffer_of(rig.kernel, PAGE, 1), ToDevice)
                .unwrap()
        })
        .collect();
    let reaches = |bus| unit.translate(EDU.id, bus, Access::Read).is_ok();
    let all: Vec<u64> = mappings
        .iter()
        .map(|mapping| mapping.bus_addr().as_u64())
        .collect();
    // The unit remembers each of them from here on.
    assert!(all.iter().all(|&bus| reaches(bus)));
    let begun = &Begun::default();
    thread::scope(|scope| {
        let held = Held::new(unit);
        for mapping in mappings {
            scope.spawn(move || {
                begun.one_more();
                mapping.unmap().unwrap()
            });
        }
        begun.wait_for(unmaps);
        thread::sleep(FOR_ALL);
        drop(held);
    });
    assert!(
        !all.iter().any(|&bus| reaches(bus)),
        "an invalidation was lost"
    );
    drop(device);
    rig.finish_after_faults();
}

/// A unit that remembers the way to a table somebody is unlinking finds what is mapped meanwhile.
pub fn an_unlinked_table_hides_nothing(rig: Rig, unit: Arc<impl Translator + Stalls>) {
    let device = rig.attach(EDU);
    let buffer = || buffer_of(rig.kernel, PAGE, 1);
    let reaches = |bus| unit.translate(EDU.id, bus, Access::Read).is_ok();
    let warm = device.map_single(buffer(), ToDevice).unwrap();
    let place = warm.bus_addr().as_u64();
    assert!(reaches(place));
    drop(warm);
    // The unit now remembers the way to a table that is empty.
    let begun = Begun::default();
    thread::scope(|scope| {
        let held = Held::new(&*unit);
        scope.spawn(|| {
            begun.one_more();
            device.reclaim().unwrap();
        });
        begun.wait_for(1);
        thread::sleep(A_WHILE);
        scope.spawn(|| {
            begun.one_more();
            let mapping = device.map_single(buffer(), ToDevice).unwrap();
            // Mapping waits for the unit, or needs not: in either case the device may be told now.
            let bus = mapping.bus_addr().as_u64();
            assert_eq!(bus >> 21, place >> 21, "this test is about one table");
            assert!(reaches(bus), "the unit looked in the old table");
            drop(mapping);
        });
        begun.wait_for(2);
        thread::sleep(A_WHILE);
        drop(held);
    });
    drop(device);
    rig.finish();
}
