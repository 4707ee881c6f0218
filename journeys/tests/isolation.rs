//! The journeys that show what a device cannot do.

use hw::vtd::fault::FaultReason;
use journeys::mask_limits::mask_limits;
use journeys::read_only_mapping::read_only_mapping;
use journeys::reserved_memory::reserved_memory;
use journeys::two_domains::two_domains;
use journeys::unmap_blocks_device::unmap_blocks_device;
use journeys::{IsolationError, Needs};
use machine::cache::Snooping;
use machine::iommu::vtd::VtdConfig;
use machine::temper::Temper;
use machine::{Iommu, MachineConfig};
use rig::Rig;
use rig::disks::test_disk;

/// Runs `journey` on computers of every temper, with walks that snoop and walks that do not.
fn on_every_computer(journey: impl Fn(&mut Rig)) {
    for temper in [
        Temper::Keep,
        Temper::Forget,
        Temper::Random(1),
        Temper::Random(2),
    ] {
        for walks in [Snooping::On, Snooping::Off] {
            let iommu = Iommu::Vtd {
                unit: VtdConfig::default(),
                walks,
            };
            let config = MachineConfig::default()
                .with_iommu(iommu)
                .with_temper(temper);
            let mut rig = Rig::boot(config.with_disk(test_disk(4096)));
            journey(&mut rig);
            rig.finish_after_faults();
        }
    }
}

#[test]
fn unmap_takes_memory_away_from_the_device() {
    on_every_computer(|rig| {
        let attempt = unmap_blocks_device(&mut rig.computer).expect("the device is blocked");
        let refused = attempt.refused().expect("it is refused");
        assert_eq!(
            refused.fault.reason.code,
            u16::from(FaultReason::WriteNotPermitted.code())
        );
        assert_eq!(refused.fault.requester.to_string(), "0000:00:03.0");
    });
}

#[test]
fn a_mapping_to_the_device_cannot_be_written_by_it() {
    on_every_computer(|rig| {
        read_only_mapping(&mut rig.computer).expect("the write is refused");
    });
}

#[test]
fn devices_do_not_reach_each_others_memory() {
    on_every_computer(|rig| {
        two_domains(&mut rig.computer).expect("the neighbour's memory is out of reach");
    });
}

#[test]
fn few_address_lines_reach_memory_above_4_gib() {
    let mut rig = Rig::boot(MachineConfig::default());
    // SAFETY: the device is behind an IOMMU.
    let limits = unsafe { mask_limits(&mut rig.computer) }.expect("high memory is reached");
    assert_eq!(limits.mask.bits(), 28);
    assert!(limits.phys.as_u64() >= 1 << 32);
    rig.finish();
}

#[test]
fn journeys_can_follow_each_other_on_one_computer() {
    let mut rig = Rig::boot(MachineConfig::default().with_disk(test_disk(4096)));
    for _ in 0..3 {
        unmap_blocks_device(&mut rig.computer).expect("the device is blocked");
        read_only_mapping(&mut rig.computer).expect("the write is refused");
        two_domains(&mut rig.computer).expect("the neighbour's memory is out of reach");
        // SAFETY: the device is behind an IOMMU.
        unsafe { mask_limits(&mut rig.computer) }.expect("high memory is reached");
    }
    rig.finish_after_faults();
}

#[test]
fn a_journey_says_what_the_computer_lacks() {
    let mut rig = Rig::boot(
        MachineConfig::default()
            .with_iommu(Iommu::None)
            .with_inbound_offset(0x80_0000_0000)
            .with_ram(1 << 30),
    );
    // SAFETY: the device does what it is told.
    let lacking = match unsafe { mask_limits(&mut rig.computer) } {
        Err(IsolationError::Unmet(unmet)) => unmet.lacking,
        other => panic!("{other:?}"),
    };
    assert_eq!(lacking, Needs::NEAR_MEMORY.and(Needs::HIGH_MEMORY));
    rig.finish();
}

#[test]
fn the_device_firmware_left_running_goes_on() {
    let rig = Rig::boot(MachineConfig::default());
    let before = rig.machine.heartbeat();
    let begun = std::time::Instant::now();
    while rig.machine.heartbeat().beats == before.beats {
        assert!(begun.elapsed().as_secs() < 100, "{before:?}, and no more");
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    rig.finish();
}

#[test]
fn every_journey_of_the_catalogue_is_made() {
    on_every_computer(|rig| {
        rig.make_every_journey("isolation");
    });
}

#[test]
fn what_firmware_left_to_a_device_is_among_what_is_kept() {
    let mut rig = Rig::boot(MachineConfig::default().with_disk(test_disk(4096)));
    let found = reserved_memory(&mut rig.computer).expect("everything reserved is kept");
    assert_eq!(found.direct, 1, "{found:?}");
    // The message window and both windows of the host bridge, for every device.
    assert_eq!(found.unmappable, 3 * found.devices, "{found:?}");
    rig.finish();
}
