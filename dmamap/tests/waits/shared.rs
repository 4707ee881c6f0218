//! Strict unmaps of several CPUs at once share waits, and each is over only when the unit has forgotten.

use std::collections::HashSet;
use std::sync::{Arc, Barrier, Mutex};
use std::thread::{self, ThreadId};

use crate::did::{Did, reaches, ring_kinds, slow_waits};
use board::between::Between;
use board::hardware::Hardware;
use dmamap::map::ToDevice;
use hosted::Hosted;
use machine::Machine;
use machine::temper::Temper;
use rig::kinds::{go_on, hang};
use rig::patience::wait_until;
use rig::{EDU, PAGE, Rig, buffer_of, impatient, small};

/// So long that nobody loses patience, on a busy host either.
const BOUND_MS: u64 = 20_000;
/// What nobody is in time for.
const SHORT_MS: u64 = 150;
const THREADS: usize = 6;
const ROUNDS: u64 = 120;
/// Most waits that a unit is to have at once.
const AT_ONCE: u64 = 2;

/// Threads that map and unmap, over units that take their time: in every temper nothing is reached after its unmap.
#[test]
fn no_more_than_two_waits_stand_at_a_unit_however_many_cpus_unmap() {
    for (kind, iommu) in ring_kinds() {
        for temper in [Temper::Keep, Temper::Forget, Temper::Random(5)] {
            let config = small().with_iommu(iommu.clone()).with_temper(temper);
            let rig = Rig::boot_with(config, impatient(BOUND_MS));
            let device = rig.attach(EDU);
            slow_waits(&rig.machine);
            let before = Did::read(&rig.machine);
            let together = Barrier::new(THREADS);
            thread::scope(|scope| {
                for _ in 0..THREADS {
                    scope.spawn(|| {
                        together.wait();
                        let mut buffer = buffer_of(rig.kernel, PAGE, 1);
                        for _ in 0..ROUNDS {
                            let mapping = device.map_single(buffer, ToDevice).unwrap();
                            let bus = mapping.bus_addr().as_u64();
                            assert!(reaches(&rig.machine, EDU.id, bus), "{kind}");
                            buffer = mapping.unmap().unwrap();
                        }
                    });
                }
            });
            let did = Did::read(&rig.machine) - before;
            let unmaps = THREADS as u64 * ROUNDS;
            println!(
                "{kind}, {temper:?}: {} waits for {unmaps} unmaps",
                did.waits
            );
            assert_eq!(
                did.invalidations, unmaps,
                "{kind}: one for each, of one page"
            );
            assert!(did.waits <= unmaps, "{kind}: {did:?} for {unmaps} unmaps");
            assert!(did.waits_at_once <= AT_ONCE, "{kind}: {did:?}");
            drop(device);
            rig.finish();
        }
    }
}

/// A machine that knows which threads have waited for it.
struct Waited {
    machine: Arc<Machine>,
    threads: Arc<Mutex<HashSet<ThreadId>>>,
}

impl Between for Waited {
    fn board(&self) -> &dyn Hardware {
        &*self.machine
    }

    fn on_idle(&self) {
        self.threads.lock().unwrap().insert(thread::current().id());
        self.machine.idle();
    }
}

/// Who unmaps while the unit is busy with two waits shares the third.
#[test]
fn all_who_unmap_while_a_unit_hangs_share_one_wait() {
    for (kind, iommu) in ring_kinds() {
        let machine = Machine::boot(small().with_iommu(iommu)).unwrap();
        let waited = Arc::new(Mutex::new(HashSet::new()));
        let kernel = Hosted::boot(Arc::new(Waited {
            machine: machine.clone(),
            threads: waited.clone(),
        }));
        let kernel = kernel.unwrap();
        let rig = Rig::boot_on(machine, kernel, kernel, impatient(BOUND_MS)).unwrap();
        let device = rig.attach(EDU);
        let mappings: Vec<_> = (0..THREADS)
            .map(|_| {
                let buffer = buffer_of(rig.kernel, PAGE, 1);
                device.map_single(buffer, ToDevice).unwrap()
            })
            .collect();
        let reached = |bus: &u64| reaches(&rig.machine, EDU.id, *bus);
        let all: Vec<u64> = mappings
            .iter()
            .map(|mapping| mapping.bus_addr().as_u64())
            .collect();
        assert!(all.iter().all(reached));
        let before = Did::read(&rig.machine);
        waited.lock().unwrap().clear();
        thread::scope(|scope| {
            let hung = Hung::new(&rig.machine);
            for mapping in mappings {
                scope.spawn(move || mapping.unmap().unwrap());
            }
            // Whoever waits has handed over its command.
            let all_wait = || waited.lock().unwrap().len() >= THREADS;
            wait_until("all wait", all_wait);
            drop(hung);
        });
        let did = Did::read(&rig.machine) - before;
        assert_eq!(did.invalidations, THREADS as u64, "{kind}");
        assert_eq!(did.waits, AT_ONCE + 1, "{kind}: for {THREADS} unmaps");
        assert_eq!(did.waits_at_once, AT_ONCE, "{kind}");
        assert!(!all.iter().any(reached), "{kind}: a translation is left");
        drop(device);
        rig.finish_after_faults();
    }
}

/// A unit that does not get on with two waits is given a third: each who waits has a bound of its own, and counts on
/// what others wait for only for half of it.
#[test]
fn who_loses_patience_with_what_others_wait_for_gets_a_wait_of_its_own() {
    for (kind, iommu) in ring_kinds() {
        let rig = Rig::boot_with(small().with_iommu(iommu), impatient(SHORT_MS));
        let device = rig.attach(EDU);
        let map = || {
            let buffer = buffer_of(rig.kernel, PAGE, 1);
            device.map_single(buffer, ToDevice).unwrap()
        };
        let mappings = [map(), map(), map()];
        thread::scope(|scope| {
            let hung = Hung::new(&rig.machine);
            let unmaps = mappings.map(|mapping| scope.spawn(|| mapping.unmap().map(drop)));
            for unmap in unmaps {
                let unmapped = unmap.join().unwrap();
                assert!(unmapped.is_err(), "{kind}: nothing was confirmed");
            }
            drop(hung);
        });
        device.recover().unwrap();
        let did = Did::read(&rig.machine);
        assert!(did.waits_at_once > AT_ONCE, "{kind}: {did:?}");
        drop(device);
        rig.finish();
    }
}

/// Units that hang until this is dropped: also when the test fails.
struct Hung<'a>(&'a Machine);

impl<'a> Hung<'a> {
    fn new(machine: &'a Machine) -> Self {
        hang(machine);
        Self(machine)
    }
}

impl Drop for Hung<'_> {
    fn drop(&mut self) {
        go_on(self.0);
    }
}
