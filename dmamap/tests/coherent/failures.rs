//! Every allocation fails in turn: an error comes back, or another way is found; and everything taken goes back.
//!
//! Where one request fails alone, a lane's way or the domain's is left, and others stand in for frames in a row. Where all
//! fail that follow, each scenario says how many failures are done without all the same: no more and no fewer.

use dmamap::addr::PhysAddr;
use dmamap::buffer::ContiguousArea;
use dmamap::device::Device;
use dmamap::map::{Bidirectional, CoherentOptions, FromDevice, PoolLayout};
use hosted::{FaultInjector, Hosted, Persistence};
use journeys::boot::BootOptions;
use machine::Machine;

use rig::{EDU, FIRST_BLOCK_FRAMES, FIRST_LANE_FRAMES, PAGE, Rig, small};

type Injector = FaultInjector<Hosted>;

struct Failing {
    rig: Rig<Injector>,
    injector: Injector,
    device: Device<Injector>,
}

impl Failing {
    fn boot() -> Self {
        let machine = Machine::boot(small()).unwrap();
        let kernel = Hosted::boot(machine.clone()).unwrap();
        let injector = FaultInjector::new(kernel);
        let rig = Rig::boot_on(machine, kernel, injector, BootOptions::default()).unwrap();
        let device = rig.attach(EDU);
        Self {
            rig,
            injector,
            device,
        }
    }

    /// Frames lent, scattered mappings, mappings that live and their bytes.
    fn lent(&self) -> (u64, usize, u64, u64) {
        let report = self.rig.kernel.report();
        let figures = self.device.figures();
        (
            report.frames.in_use,
            report.scattered_mappings,
            figures.live_mappings,
            figures.live_bytes,
        )
    }

    /// Fails each request of `scenario` in turn, which says whether it came through, first alone and then with all that follow.
    /// Returns for each how many there are and how many it did not come through without.
    fn fail_each(&self, mut scenario: impl FnMut(&Device<Injector>) -> bool) -> [(u64, u64); 2] {
        let sweeps = [Persistence::Once, Persistence::ForEver];
        sweeps.map(|persistence| self.sweep(persistence, &mut scenario))
    }

    fn sweep(
        &self,
        persistence: Persistence,
        scenario: &mut impl FnMut(&Device<Injector>) -> bool,
    ) -> (u64, u64) {
        self.device.reclaim().unwrap();
        let before = self.lent();
        let first = self.next_bus();
        let mut failed = 0;
        let requests = self.injector.sweep(persistence, |nth| {
            let injected = self.injector.injected();
            let worked = scenario(&self.device);
            let missed = self.injector.injected() != injected;
            assert!(worked || missed, "request {nth} was granted");
            failed += u64::from(!worked);
            self.injector.relent();
            self.device.reclaim().unwrap();
            assert_eq!(self.lent(), before, "request {nth} failed");
            assert_eq!(self.next_bus(), first, "request {nth} failed");
            assert_eq!(self.rig.machine.audit().leaves, []);
            self.rig.assert_no_findings();
            // `relent` above ended the plan: say again that none is to fail.
            self.injector.relent();
        });
        (requests, failed)
    }

    /// The bus address that is chosen next, which a failed call does not use up.
    fn next_bus(&self) -> u64 {
        let memory = self.device.alloc_coherent::<u8>(1).unwrap();
        let bus = memory.bus_addr().as_u64();
        memory.free().unwrap();
        self.device.reclaim().unwrap();
        bus
    }

    fn finish(self) {
        drop(self.device);
        self.rig.finish();
    }
}

/// Requests that one short mapping makes: for a block of bus addresses, for it to be lent, and for tables.
const MAPPING: u64 = FIRST_BLOCK_FRAMES + FIRST_LANE_FRAMES + 3;

/// Of requests that fail alone, `own` are not done without; and of those that all fail from then on, none is.
fn assert_swept([once, exhausted]: [(u64, u64); 2], own: u64) {
    assert!(once.0 >= own.max(1) + MAPPING, "{once:?}");
    assert_eq!(once.1, own);
    assert!(exhausted.0 >= own.max(1) + MAPPING, "{exhausted:?}");
    assert_eq!(exhausted.1, exhausted.0);
}

#[test]
fn coherent_memory_is_had_otherwise_or_refused_whole() {
    let failing = Failing::boot();
    // The frames in a row are the one thing that others may stand in for.
    let swept = failing.fail_each(|device| {
        let memory = device.alloc_attrs::<u64>(3000, CoherentOptions::NONE.no_warn());
        memory.map(|memory| memory.free().unwrap()).is_ok()
    });
    assert_swept(swept, 0);
    let swept = failing.fail_each(|device| {
        let options = CoherentOptions::NONE.no_warn().force_contiguous();
        let memory = device.alloc_attrs::<u64>(3000, options);
        memory.map(|memory| memory.free().unwrap()).is_ok()
    });
    assert_swept(swept, 1);
    let swept = failing.fail_each(|device| {
        let memory = device.alloc_opaque(1, CoherentOptions::NONE.no_warn());
        memory.map(|memory| memory.free().unwrap()).is_ok()
    });
    assert_swept(swept, 1);
    failing.finish();
}

#[test]
fn scattered_coherent_memory_fails_cleanly_half_way() {
    let failing = Failing::boot();
    // Of the two ways the second, from its first frame to its last table: a frame for each page, and what a
    // mapping needs. With no frame for a block, or for it to be lent, there is none for a table.
    let needed = 9 + MAPPING;
    let before = failing.lent();
    for nth in 2..=needed + 1 {
        failing.injector.exhaust_from(hosted::Resource::Frames, 1);
        let refused = failing
            .device
            .alloc_attrs::<u64>(9 * 512, CoherentOptions::NONE.no_warn());
        failing.injector.relent();
        assert!(refused.is_err());
        failing.injector.exhaust_from(hosted::Resource::Frames, nth);
        let outcome = failing
            .device
            .alloc_noncontiguous(9 * PAGE, FromDevice)
            .map(drop);
        failing.injector.relent();
        assert_eq!(outcome.is_err(), nth <= needed, "{nth}: {outcome:?}");
        failing.device.reclaim().unwrap();
        assert_eq!(failing.lent(), before);
    }
    failing.finish();
}

#[test]
fn noncoherent_and_noncontiguous_memory_fail_cleanly() {
    let failing = Failing::boot();
    let swept = failing.fail_each(|device| {
        let memory = device.alloc_noncoherent(3 * PAGE, Bidirectional);
        memory.map(|memory| memory.free().unwrap()).is_ok()
    });
    assert_swept(swept, 1);
    let swept = failing.fail_each(|device| {
        let memory = device.alloc_noncontiguous(5 * PAGE, FromDevice);
        memory.map(|memory| memory.free().unwrap()).is_ok()
    });
    assert_swept(swept, 6);
    failing.finish();
}

#[test]
fn a_pool_fails_cleanly_and_goes_on() {
    let failing = Failing::boot();
    let pool = failing
        .device
        .create_pool::<u64>("lists", PoolLayout::of(32))
        .unwrap();
    let swept = failing.fail_each(|device| {
        let figures = pool.figures();
        let outcome = pool.alloc(device);
        let ok = outcome.is_ok();
        drop(outcome);
        if !ok {
            assert_eq!(pool.figures(), figures);
        }
        pool.shrink().unwrap();
        ok
    });
    assert_swept(swept, 4);
    let swept = failing.fail_each(|device| {
        let ok = pool.reserve(device, 50).is_ok();
        pool.shrink().unwrap();
        ok
    });
    assert_swept(swept, 7);
    pool.destroy().unwrap();
    failing.finish();
}

#[test]
fn an_atomic_pool_fails_cleanly() {
    let failing = Failing::boot();
    let swept = failing.fail_each(|device| {
        let made = device.create_atomic_pool(1);
        made.map(|pool| pool.destroy().unwrap()).is_ok()
    });
    assert_swept(swept, 1);
    failing.finish();
}

#[test]
fn an_area_fails_cleanly() {
    let failing = Failing::boot();
    let platform = failing.injector;
    let swept = failing.fail_each(|_| {
        ContiguousArea::reserve(platform, 4 * PAGE, PhysAddr::new(u64::MAX), 12).is_ok()
    });
    assert_eq!(swept, [(1, 1); 2]);
    failing.finish();
}
