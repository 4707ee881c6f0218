//! Every journey, and a disk, behind a virtio-iommu.

use std::time::Duration;

use drivers::nvme::Settings;
use journeys::differential::differential;
use journeys::reserved_memory::reserved_memory;
use machine::iommu::virtio::VirtioConfig;
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

/// A machine whose only unit is like `unit`.
fn behind(unit: VirtioConfig, temper: Temper) -> MachineConfig {
    MachineConfig::default()
        .with_iommu(Iommu::Virtio { unit })
        .with_temper(temper)
        .with_disk(test_disk(4096))
}

fn units() -> [VirtioConfig; 3] {
    let defaults = VirtioConfig::default();
    [
        defaults.clone(),
        // Endpoints are not called as requesters are.
        VirtioConfig {
            first_endpoint: 0x1_0000,
            ..defaults.clone()
        },
        // Little of everything, and none of what can be left out.
        VirtioConfig {
            features: defaults
                .features
                .with_bypass_config(false)
                .with_domain_range(false)
                .with_mmio(false),
            input_range: 0x10_0000..=0xff_ffff_ffff,
            queue_size_max: 8,
            ..defaults
        },
    ]
}

#[test]
fn every_journey_of_the_catalogue_is_made() {
    for unit in units() {
        for temper in TEMPERS {
            let mut rig = Rig::boot(behind(unit.clone(), temper));
            rig.make_every_journey("virtio");
            rig.finish_after_faults();
        }
    }
}

#[test]
fn disks_are_read_whole() {
    const LEN_BYTES: u64 = (5 << 20) + 77;
    for unit in units() {
        for temper in TEMPERS {
            let config = behind(unit.clone(), temper).with_disk(test_disk(LEN_BYTES));
            let mut rig = Rig::boot(config);
            let mut disk = rig.start_disk(1, Settings::default());
            read_and_check(&mut disk, LEN_BYTES);
            disk.shutdown()
                .expect("the disk shuts down")
                .detach()
                .expect("the disk detaches");
            let unit = rig.machine.virtio_units().next().expect("it is there");
            let statistics = unit.statistics();
            assert!(
                statistics.maps > 0 && statistics.unmaps > 0,
                "{statistics:?}"
            );
            assert_eq!(statistics.attaches, statistics.detaches, "{statistics:?}");
            rig.finish();
        }
    }
}

#[test]
fn a_unit_that_takes_its_time_is_waited_for() {
    let config = behind(VirtioConfig::default(), Temper::Keep);
    let mut rig = Rig::boot(config);
    let unit = rig.machine.virtio_units().next().expect("it is there");
    unit.delay_queue(Duration::from_millis(1));
    let mut disk = rig.start_disk(0, Settings::default());
    read_and_check(&mut disk, 4096);
    disk.shutdown()
        .expect("the disk shuts down")
        .detach()
        .expect("the disk detaches");
    rig.finish();
}

#[test]
fn what_the_unit_reserves_is_kept() {
    let mut rig = Rig::boot(behind(VirtioConfig::default(), Temper::Keep));
    let found = reserved_memory(&mut rig.computer).expect("everything reserved is kept");
    // The message window, what lies above the addresses that can be mapped, and both windows of the host bridge.
    assert_eq!((found.direct, found.unmappable), (0, 4 * found.devices));
    rig.finish();
}

#[test]
fn a_thousand_random_steps_agree_with_the_oracle() {
    let given = std::env::var("SEED").ok();
    let seed = given
        .and_then(|seed| seed.parse().ok())
        .unwrap_or_else(|| u64::from(std::process::id()));
    println!("SEED={seed}");
    for unit in units() {
        for temper in TEMPERS {
            let mut rig = Rig::boot(behind(unit.clone(), temper));
            let report = differential(&mut rig.computer, seed, 1_000);
            let report = report.unwrap_or_else(|error| panic!("{temper:?}: {error}"));
            assert!(report.allowed > 100 && report.refused > 100, "{report:?}");
            rig.finish_after_faults();
        }
    }
}
