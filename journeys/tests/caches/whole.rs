//! Every journey passes, whatever the caches do by themselves.

use journeys::catalogue::journeys;
use journeys::differential::{self, differential};

use crate::rig::{Rig, TEMPERS, config, iommus};

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
