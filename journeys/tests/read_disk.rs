//! Whole disks read by DMA through the IOMMU, under every temper, width, depth and number of queues.

use std::convert::Infallible;

use drivers::nvme::Settings;
use hw::vtd::regs::AddressWidths;
use journeys::boot::BootOptions;
use journeys::disk::{DiskOptions, ReadDiskError, read_disk};
use machine::cache::Snooping;
use machine::iommu::vtd::VtdConfig;
use machine::temper::Temper;
use machine::{Iommu, MachineConfig};
use rig::Rig;
use rig::disks::{read_and_check, test_disk};

const TEMPERS: [Temper; 5] = [
    Temper::Keep,
    Temper::Forget,
    Temper::Random(1),
    Temper::Random(2),
    Temper::Random(3),
];

fn settings(queue_depth: usize, queues: usize) -> Settings {
    Settings {
        queue_depth,
        queues,
        ..Settings::default()
    }
}

fn check(config: MachineConfig, options: BootOptions, len_bytes: u64, settings: Settings) {
    let config = config.with_disk(test_disk(len_bytes));
    let mut rig = Rig::boot_with(config, options);
    let mut disk = rig.start_disk(0, settings);
    read_and_check(&mut disk, len_bytes);
    let figures = disk.device().figures();
    disk.shutdown()
        .expect("the disk shuts down")
        .detach()
        .expect("the disk detaches");
    assert!(figures.unmaps > 0 || len_bytes == 0);
    rig.finish();
}

#[test]
fn files_of_any_length_are_read_whole() {
    for len_bytes in [1, 511, 512, 513, 4095, 4096, 4097, (1 << 20) + 1] {
        check(
            MachineConfig::default(),
            BootOptions::default(),
            len_bytes,
            Settings::default(),
        );
    }
}

#[test]
fn every_depth_and_number_of_queues_reads_the_same() {
    for depth in [1, 2, 32, 256] {
        for queues in [1, 2, 4] {
            let options = BootOptions::default();
            check(
                MachineConfig::default(),
                options,
                (9 << 20) + 77,
                settings(depth, queues),
            );
        }
    }
}

#[test]
fn every_temper_reads_the_same() {
    for temper in TEMPERS {
        let config = MachineConfig::default().with_temper(temper);
        check(
            config,
            BootOptions::default(),
            (5 << 20) + 1,
            settings(16, 2),
        );
    }
}

#[test]
fn walks_that_do_not_snoop_find_their_tables() {
    for temper in TEMPERS {
        let iommu = Iommu::Vtd {
            unit: VtdConfig::default(),
            walks: Snooping::Off,
        };
        let config = MachineConfig::default()
            .with_iommu(iommu)
            .with_temper(temper);
        check(
            config,
            BootOptions::default(),
            (5 << 20) + 1,
            settings(16, 2),
        );
    }
}

#[test]
fn tables_of_every_depth_lead_to_memory() {
    for levels in [3, 4, 5] {
        let mut options = BootOptions::default();
        options.units.table_levels = Some(levels);
        let widths = AddressWidths::new()
            .with_bits_39(true)
            .with_bits_48(true)
            .with_bits_57(true);
        let unit = VtdConfig {
            address_widths: widths,
            guest_address_bits: 57,
            ..VtdConfig::default()
        };
        for walks in [Snooping::On, Snooping::Off] {
            let iommu = Iommu::Vtd {
                unit: unit.clone(),
                walks,
            };
            let config = MachineConfig::default().with_iommu(iommu);
            check(config, options, (3 << 20) + 1, settings(16, 1));
        }
    }
}

#[test]
fn a_disk_with_few_address_lines_is_read_behind_the_iommu() {
    for address_lines in [28, 32, 39] {
        let mut disk = test_disk((6 << 20) + 3);
        disk.address_lines = address_lines;
        let mut rig = Rig::boot(MachineConfig::default().with_disk(disk));
        let mut disk = rig.start_disk(0, settings(32, 2));
        assert_eq!(disk.device().mask().bits(), address_lines);
        read_and_check(&mut disk, (6 << 20) + 3);
        disk.shutdown()
            .expect("the disk shuts down")
            .detach()
            .expect("the disk detaches");
        rig.finish();
    }
}

#[test]
fn a_disk_with_fewer_bus_addresses_than_buffers_is_read_all_the_same() {
    let mut config = test_disk(6 << 20);
    config.address_lines = 21;
    let mut rig = Rig::boot(MachineConfig::default().with_disk(config));
    let mut disk = rig.start_disk(0, settings(32, 1));
    read_and_check(&mut disk, 6 << 20);
    disk.shutdown()
        .expect("the disk shuts down")
        .detach()
        .expect("the disk detaches");
    rig.finish();
}

#[test]
fn a_trusted_disk_is_read_without_an_iommu() {
    let config = MachineConfig::default().with_iommu(Iommu::None);
    let config = config.with_disk(test_disk((6 << 20) + 3));
    let mut rig = Rig::boot(config);
    let device = rig.attach_trusted_disk(0);
    let mut disk = rig
        .start_on(device, 0, settings(32, 2))
        .expect("the disk comes up");
    read_and_check(&mut disk, (6 << 20) + 3);
    disk.shutdown()
        .expect("the disk shuts down")
        .detach()
        .expect("the disk detaches");
    rig.finish();
}

#[test]
fn nothing_is_mapped_but_queues_when_the_disk_is_idle() {
    let mut rig = Rig::boot(MachineConfig::default().with_disk(test_disk(4 << 20)));
    let mut disk = rig.start_disk(0, settings(8, 1));
    let idle = disk.device().figures();
    read_and_check(&mut disk, 4 << 20);
    let after = disk.device().figures();
    assert_eq!(
        (after.live_mappings, after.live_bytes),
        (idle.live_mappings, idle.live_bytes)
    );
    assert_eq!(after.maps - idle.maps, after.unmaps - idle.unmaps);
    assert!(after.maps - idle.maps >= 16);
    disk.shutdown()
        .expect("the disk shuts down")
        .detach()
        .expect("the disk detaches");
    rig.finish();
}

#[test]
fn a_sink_that_stops_leaves_the_disk_usable() {
    let mut rig = Rig::boot(MachineConfig::default().with_disk(test_disk(8 << 20)));
    let mut disk = rig.start_disk(0, settings(16, 2));
    let mut pieces = 0;
    let stopped = read_disk(&mut disk, &DiskOptions::default(), |_| {
        pieces += 1;
        if pieces == 3 { Err("enough") } else { Ok(()) }
    });
    assert!(matches!(stopped, Err(ReadDiskError::Sink("enough"))));
    assert_eq!(disk.outstanding(), 0);
    read_and_check(&mut disk, 8 << 20);
    disk.shutdown()
        .expect("the disk shuts down")
        .detach()
        .expect("the disk detaches");
    rig.finish();
}

#[test]
fn a_rogue_disk_reaches_nothing_and_the_job_still_ends_right() {
    let mut disk = test_disk(8 << 20);
    disk.rogue = Some(7);
    let mut rig = Rig::boot(MachineConfig::default().with_disk(disk));
    let mut disk = rig.start_disk(0, settings(16, 2));
    read_and_check(&mut disk, 8 << 20);
    let who = disk.device().requester();
    disk.shutdown()
        .expect("the disk shuts down")
        .detach()
        .expect("the disk detaches");
    let report = rig.machine.disks()[0].rogue_report();
    assert!(report.attempts > 0);
    assert_eq!(report.breaches_total, 0, "{:?}", report.breaches);
    let faults = rig.computer.system().faults();
    assert!(
        faults
            .first_per_requester
            .iter()
            .any(|fault| fault.requester == who)
    );
    rig.finish_after_faults();
}

#[test]
fn more_than_the_disk_has_is_refused() {
    let mut rig = Rig::boot(MachineConfig::default().with_disk(test_disk(4096)));
    let mut disk = rig.start_disk(0, settings(4, 1));
    let options = DiskOptions {
        len_bytes: Some(4097),
        ..DiskOptions::default()
    };
    let refused = read_disk(&mut disk, &options, |_| Ok::<(), Infallible>(()));
    assert!(matches!(refused, Err(ReadDiskError::Disk(_))));
    disk.shutdown()
        .expect("the disk shuts down")
        .detach()
        .expect("the disk detaches");
    rig.finish();
}
