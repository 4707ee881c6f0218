//! Every journey on computers with an AMD-Vi unit.

mod support;

use hw::amd::event::EventCode;
use journeys::unmap_blocks_device::unmap_blocks_device;
use machine::cache::Snooping;
use machine::iommu::amd::{AmdConfig, EventInterrupt, Support};
use machine::temper::Temper;
use machine::{Iommu, MachineConfig};
use support::{Expected, Rig, test_disk};

const TEMPERS: [Temper; 4] = [
    Temper::Keep,
    Temper::Forget,
    Temper::Random(1),
    Temper::Random(2),
];

fn rig(unit: AmdConfig, walks: Snooping, temper: Temper) -> Rig {
    let config = MachineConfig::default()
        .with_iommu(Iommu::Amd { unit, walks })
        .with_temper(temper);
    Rig::boot(config.with_disk(test_disk(4096)))
}

#[test]
fn every_journey_of_the_catalogue_is_made() {
    for temper in TEMPERS {
        for walks in [Snooping::On, Snooping::Off] {
            let mut rig = rig(AmdConfig::default(), walks, temper);
            for journey in journeys::catalogue::journeys::<hosted::Hosted>() {
                // SAFETY: nobody else drives the machine.
                let outcome = unsafe { journey.run(&mut rig.computer) };
                outcome.unwrap_or_else(|error| panic!("{}: {error}", journey.name));
            }
            rig.finish_after_faults(Expected::Faults);
        }
    }
}

#[test]
fn a_unit_with_as_little_as_may_be_makes_them_too() {
    let unit = AmdConfig {
        invalidate_all: Support::No,
        event_interrupt: EventInterrupt::ConfigurationSpaceOnly,
        ..AmdConfig::default()
    };
    let mut rig = rig(unit, Snooping::On, Temper::Keep);
    for journey in journeys::catalogue::journeys::<hosted::Hosted>() {
        // SAFETY: nobody else drives the machine.
        let outcome = unsafe { journey.run(&mut rig.computer) };
        outcome.unwrap_or_else(|error| panic!("{}: {error}", journey.name));
    }
    rig.finish_after_faults(Expected::Faults);
}

#[test]
fn what_the_unit_refuses_is_told_in_its_own_words() {
    let mut rig = rig(AmdConfig::default(), Snooping::On, Temper::Keep);
    let refused = unmap_blocks_device(&mut rig.computer).expect("the device is blocked");
    let code = u16::from(EventCode::IoPageFault.code());
    assert_eq!(refused.fault.reason.code, code);
    assert_eq!(
        refused.fault.reason.text,
        "I/O page fault: page not present"
    );
    assert_eq!(refused.fault.requester.to_string(), "0000:00:03.0");
    rig.finish_after_faults(Expected::Faults);
}
