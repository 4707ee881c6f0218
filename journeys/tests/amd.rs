//! Every journey on computers with an AMD-Vi unit.

use drivers::nvme::Settings;
use hw::amd::event::EventCode;
use journeys::differential::differential;
use journeys::reserved_memory::reserved_memory;
use journeys::unmap_blocks_device::unmap_blocks_device;
use machine::cache::Snooping;
use machine::iommu::amd::{AmdConfig, EventInterrupt, Support};
use machine::temper::Temper;
use machine::{Iommu, MachineConfig};
use rig::Rig;
use rig::disks::{read_and_check, test_disk};

const TEMPERS: [Temper; 4] = [
    Temper::Keep,
    Temper::Forget,
    Temper::Random(1),
    Temper::Random(2),
];

/// Bytes of the disk: no whole number of pages.
const DISK_BYTES: u64 = (3 << 20) + 77;

fn rig(unit: AmdConfig, walks: Snooping, temper: Temper) -> Rig {
    let config = MachineConfig::default()
        .with_iommu(Iommu::Amd { unit, walks })
        .with_temper(temper);
    Rig::boot(config.with_disk(test_disk(DISK_BYTES)))
}

#[test]
fn every_journey_of_the_catalogue_is_made() {
    for temper in TEMPERS {
        for walks in [Snooping::On, Snooping::Off] {
            let mut rig = rig(AmdConfig::default(), walks, temper);
            rig.make_every_journey("amd");
            rig.finish_after_faults();
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
    rig.make_every_journey("amd");
    rig.finish_after_faults();
}

#[test]
fn what_the_unit_refuses_is_told_in_its_own_words() {
    let mut rig = rig(AmdConfig::default(), Snooping::On, Temper::Keep);
    let attempt = unmap_blocks_device(&mut rig.computer).expect("the device is blocked");
    let refused = attempt.refused().expect("it is refused");
    let code = u16::from(EventCode::IoPageFault.code());
    assert_eq!(refused.fault.reason.code, code);
    assert_eq!(
        refused.fault.reason.text,
        "I/O page fault: page not present"
    );
    assert_eq!(refused.fault.requester.to_string(), "0000:00:03.0");
    rig.finish_after_faults();
}

#[test]
fn disks_are_read_whole_and_raise_interrupts() {
    for temper in TEMPERS {
        for walks in [Snooping::On, Snooping::Off] {
            let mut rig = rig(AmdConfig::default(), walks, temper);
            let mut disk = rig.start_disk(0, Settings::default());
            read_and_check(&mut disk, DISK_BYTES);
            disk.shutdown()
                .expect("the disk shuts down")
                .detach()
                .expect("the disk detaches");
            rig.finish();
        }
    }
}

#[test]
fn random_steps_agree_with_the_oracle() {
    let given = std::env::var("SEED").map(|seed| seed.parse().expect("a number"));
    let seed = given.unwrap_or_else(|_| u64::from(std::process::id()));
    println!("SEED={seed}");
    for temper in TEMPERS {
        let mut rig = rig(AmdConfig::default(), Snooping::On, temper);
        let report = differential(&mut rig.computer, seed, 500);
        report.unwrap_or_else(|error| panic!("{temper:?}: {error}"));
        rig.finish_after_faults();
    }
}

#[test]
fn what_no_device_may_be_given_is_kept() {
    let mut rig = rig(AmdConfig::default(), Snooping::On, Temper::Keep);
    let found = reserved_memory(&mut rig.computer).expect("everything reserved is kept");
    assert_eq!(found.direct, 1, "{found:?}");
    // The message window, HyperTransport's addresses and both windows of the host bridge, for every device.
    assert_eq!(found.unmappable, 4 * found.devices, "{found:?}");
    rig.finish();
}
