//! Every journey passes, whatever the caches do by themselves.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use board::hardware::Hardware;
use journeys::catalogue::journeys;
use journeys::differential::{self, differential};
use machine::temper::Temper;

use crate::rig::{Rig, TEMPERS, config, iommus, read_and_check, write_content};

#[test]
fn disks_are_read_and_written_whole() {
    for (name, iommu) in iommus() {
        for temper in TEMPERS {
            let mut rig = Rig::boot(config(iommu.clone(), temper));
            rig.read()
                .unwrap_or_else(|error| panic!("{name} {temper:?}: read: {error}"));
            rig.write()
                .unwrap_or_else(|error| panic!("{name} {temper:?}: write: {error}"));
            let did = rig.machine.caches().expect("the machine has caches");
            assert!(did.cleaned_dirty_lines > 0 && did.invalidated_lines > 0);
            assert_eq!(
                did.invalidated_dirty_lines, 0,
                "{name} {temper:?}: a store was lost"
            );
            rig.finish();
        }
    }
}

#[test]
fn every_journey_of_the_catalogue_passes() {
    for (name, iommu) in iommus() {
        for temper in TEMPERS {
            let mut rig = Rig::boot(config(iommu.clone(), temper));
            for journey in journeys() {
                if journey.needs.check(&rig.computer).is_err() {
                    continue;
                }
                // SAFETY: nobody else drives the computer.
                let outcome = unsafe { journey.run(&mut rig.computer) };
                outcome
                    .unwrap_or_else(|error| panic!("{name} {temper:?}: {}: {error}", journey.name));
            }
            rig.finish();
        }
    }
}

#[test]
fn random_steps_agree_with_the_oracle() {
    for (name, iommu) in iommus() {
        for temper in TEMPERS {
            let mut rig = Rig::boot(config(iommu.clone(), temper));
            if differential::NEEDS.check(&rig.computer).is_err() {
                continue;
            }
            differential(&mut rig.computer, 7, 400)
                .unwrap_or_else(|error| panic!("{name} {temper:?}: {error}"));
            rig.finish();
        }
    }
}

#[test]
fn two_cpus_drive_two_disks_while_lines_come_and_go() {
    for (name, iommu) in iommus() {
        for temper in [Temper::Forget, Temper::Random(5)] {
            let mut rig = Rig::boot(config(iommu.clone(), temper));
            let full = rig.start_disk(0).expect("the disk comes up");
            let mut empty = rig.start_disk(1).expect("the disk comes up");
            let (machine, done) = (&rig.machine, &AtomicBool::new(false));
            std::thread::scope(|scope| {
                let reader = scope.spawn(|| read_and_check(full));
                let writer = scope.spawn(|| {
                    write_content(&mut empty)?;
                    read_and_check(empty)
                });
                scope.spawn(|| {
                    while !done.load(Ordering::Relaxed) {
                        machine.idle();
                        std::thread::sleep(Duration::from_micros(20));
                    }
                });
                let outcomes = [reader.join(), writer.join()];
                done.store(true, Ordering::Relaxed);
                for outcome in outcomes {
                    let outcome = outcome.expect("no thread panics");
                    outcome.unwrap_or_else(|error| panic!("{name} {temper:?}: {error}"));
                }
            });
            rig.finish();
        }
    }
}
