//! Every allocation fails in turn: what is retired is taken back all the same.

use dmamap::map::MapFailure;
use dmamap::system::Protection;
use hosted::{FaultInjector, Hosted, Resource};
use machine::Machine;
use machine::temper::Temper;

use super::kinds::kinds;
use super::{Bidirectional, LONG_MS, flushing};
use rig::{EDU, PAGE, Rig, buffer_of};

#[test]
fn retiring_needs_no_memory_and_relaxing_fails_whole() {
    for kind in kinds() {
        let machine = Machine::boot(kind.config(Temper::Keep)).unwrap();
        let kernel = Hosted::boot(machine.clone()).unwrap();
        let injector = FaultInjector::new(kernel);
        let options = flushing(kind.options, 64, LONG_MS);
        let rig = Rig::boot_on(machine, kernel, injector, options).unwrap();
        // The unit's table of devices stays.
        rig.attach(EDU).detach().unwrap();
        let lent = rig.frames_in_use();
        let function = rig.function(EDU);
        let (mut relaxed, mut retired) = (0, 0);
        injector.fail_each_in_turn(|nth| {
            for protection in [Protection::Strict, Protection::Deferred] {
                let Ok(device) = rig.system().attach(&function, protection) else {
                    continue;
                };
                for _ in 0..3 {
                    let buffer = buffer_of(kernel, PAGE, 1);
                    match device.map_single(buffer, Bidirectional) {
                        Ok(mapping) => {
                            let one = mapping.retire();
                            if let Ok(again) = one.remap(Bidirectional) {
                                drop(again.retire().finish().unwrap());
                                retired += 1;
                            }
                        }
                        Err(rejected) => {
                            let failure = rejected.error.failure;
                            assert!(matches!(failure, MapFailure::Domain(_)), "{failure}");
                        }
                    }
                }
                match device.relax_to_deferred() {
                    Ok(()) => relaxed += 1,
                    Err(_) => assert_eq!(device.protection(), Protection::Strict),
                }
                let _ = device.reclaim();
                device.detach().unwrap();
            }
            assert_eq!(
                rig.frames_in_use(),
                lent,
                "{}: request {nth} failed",
                kind.name
            );
            rig.assert_no_findings();
        });
        assert!(relaxed > 0 && retired > 0);
        drop(function);
        rig.finish();
    }
}

#[test]
fn what_cannot_be_noted_is_not_lent_again_and_comes_back() {
    let kind = kinds().swap_remove(0);
    let machine = Machine::boot(kind.config(Temper::Keep)).unwrap();
    let kernel = Hosted::boot(machine.clone()).unwrap();
    let injector = FaultInjector::new(kernel);
    let options = flushing(kind.options, 64, LONG_MS);
    let rig = Rig::boot_on(machine, kernel, injector, options).unwrap();
    let device = rig.attach(EDU);
    let lend = || {
        let mapping = device.map_single(buffer_of(kernel, PAGE, 1), Bidirectional);
        mapping.unwrap().retire()
    };
    let retired = lend();
    let live = device.figures().live_mappings;
    injector.exhaust_from(Resource::Frames, 1);
    let failed = retired.remap(Bidirectional).unwrap_err();
    injector.relent();
    let failure = failed.error.failure;
    assert!(matches!(failure, MapFailure::NoRecord(_)), "{failure}");
    assert_eq!(device.figures().live_mappings, live);
    let retired = failed.retired.expect("it is as it was");
    drop(retired.finish().unwrap());
    // A note goes with its mapping, however that ends.
    device.reclaim().unwrap();
    let before = rig.frames_in_use();
    for n in 0..200 {
        let again = lend().remap(Bidirectional).unwrap();
        match n % 3 {
            0 => drop(again.unmap().unwrap()),
            1 => drop(again.retire().finish().unwrap()),
            _ => drop(again),
        }
    }
    device.reclaim().unwrap();
    assert_eq!(rig.frames_in_use(), before);
    device.detach().unwrap();
    rig.finish();
}
